"""Options of the evaluation pipeline."""

from typing import Literal

from pydantic import Field

from mental_slm.language_model.options import EngineOptions
from mental_slm.options import Options
from mental_slm.pipelines.evaluation.judge.options import JudgeOptions
from mental_slm.pipelines.evaluation.labels.options import LabelOptions
from mental_slm.pipelines.evaluation.profiles.options import ProfileOptions
from mental_slm.pipelines.evaluation.reference.options import ReferenceOptions
from mental_slm.pipelines.evaluation.safety_suite.options import SafetyOptions

Dtype = Literal["auto", "float32", "bfloat16"]


class BertScoreOptions(Options):
    """How the explanation part of an answer is compared with its reference."""

    encoder: str = Field(
        description="`embedded` (the packaged all-MiniLM-L6-v2) or a local folder of an encoder in "
        "the Hugging Face format. Scores of different encoders cannot be compared."
    )
    layers: int = Field(
        ge=1,
        description="Hidden layer whose token vectors are compared; 6 is the last one of the "
        "embedded encoder, 17 is usual for roberta-large.",
    )
    batch_size: int = Field(ge=1, description="Texts encoded at a time; affects memory and speed.")
    dtype: Dtype = Field(
        default="float32",
        description="Number format of the encoder. In bfloat16 a score moves by up to 0.001 and "
        "processors with AMX take a third of the time; `auto` is bfloat16 there, float32 elsewhere.",
    )


class EvaluationOptions(Options):
    """Options of the evaluation pipeline."""

    environment: str = Field(description="Name of the model environment, stated in the metrics.")
    data: str = Field(description="Name of the data edition, stated in the metrics.")
    max_items_per_task: int | None = Field(
        ge=1,
        description="Test items per task, drawn in proportion to the labels; null takes all. "
        "Fewer items mean wider intervals.",
    )
    max_new_tokens: int = Field(
        ge=1,
        description="Tokens after which an answer is cut. A cut answer has no answer line and "
        "counts as wrong.",
    )
    batch_size: int = Field(
        ge=1,
        description="Answers under way at a time: speed against memory. In bfloat16 on a GPU it can "
        "also shift single answers, so it belongs to the settings there.",
    )
    engine: EngineOptions = Field(
        default=EngineOptions(), description="What runs the models while they answer."
    )
    dtype: Dtype = Field(
        description="Number format of the weights while generating. `auto` is bfloat16 where the "
        "processor computes in it and float32 elsewhere."
    )
    bertscore: BertScoreOptions = Field(description="Comparison of explanations with references.")
    keep_text: bool = Field(
        default=False,
        description="Put the answers into the scores table as well. They quote posts, so a table "
        "with them must be kept as private as the posts.",
    )
    reference: ReferenceOptions | None = Field(
        default=None,
        description="A server that answers the same items, for comparison; null asks nobody.",
    )
    resamples: int = Field(
        ge=100,
        description="Bootstrap resamples behind the intervals, and random exchanges behind the "
        "p-values; no p-value is below 1 / (resamples + 1).",
    )
    seed: int = Field(
        ge=0, description="Seed of the bootstrap and of the shuffled references (the floor)."
    )
    labels: LabelOptions = Field(
        default=LabelOptions(), description="Likelihood of every option, and what it is used for."
    )
    judge: JudgeOptions = Field(
        default=JudgeOptions(), description="Language models that score answers by a rubric."
    )
    profiles: ProfileOptions = Field(
        default=ProfileOptions(), description="Emotion profiles: how they are asked for."
    )
    safety: SafetyOptions = Field(
        default=SafetyOptions(), description="The safety suite, its judge and the release gate."
    )
