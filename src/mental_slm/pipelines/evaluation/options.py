"""Options of the evaluation pipeline."""

from typing import Literal

from pydantic import Field

from mental_slm.options import Options

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
        description="Prompts answered at a time: speed against memory. In "
        "bfloat16 it also shifts single answers, so it belongs to the settings there.",
    )
    dtype: Dtype = Field(
        description="Number format of the weights while generating. `auto` is bfloat16 where the "
        "processor computes in it and float32 elsewhere."
    )
    bertscore: BertScoreOptions = Field(description="Comparison of explanations with references.")
    resamples: int = Field(
        ge=100,
        description="Bootstrap resamples behind the intervals of macro F1, BERTScore, gains.",
    )
    seed: int = Field(
        ge=0, description="Seed of the bootstrap and of the shuffled references (the floor)."
    )
