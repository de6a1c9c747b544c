"""The ``fine_tuning`` block of the parameters."""

from typing import Literal

from pydantic import Field

from mental_slm.options import Options
from mental_slm.training.config import TrainingOptions


class MergeOptions(Options):
    """How the adapter becomes part of the model."""

    dtype: Literal["bfloat16", "float32"] = Field(
        default="float32",
        description=(
            "Type of the saved weights. bfloat16 takes half the disk, but rounds small updates away: "
            "of the loss that 10 steps on SmolLM2-135M won (1.72 nats), it gave back 0.11; float32 "
            "gave back less than 1e-5."
        ),
    )
    check_pairs: int = Field(
        default=16,
        gt=0,
        description="Validation pairs on which the loss is compared before and after merging.",
    )
    tolerance: float = Field(
        default=0.01,
        gt=0,
        description="Largest allowed difference of the two losses, in nats per answer token.",
    )


class FineTuningOptions(TrainingOptions):
    """What the fine-tuning pipeline can be told."""

    merge: MergeOptions = Field(default=MergeOptions(), description="The merged model.")

    def training(self) -> TrainingOptions:
        """Return the part that shapes the adapter; the rest must not cause a new training."""
        return TrainingOptions(**self.model_dump(include=set(TrainingOptions.model_fields)))
