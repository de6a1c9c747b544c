"""Options of label scoring."""

from pydantic import Field

from mental_slm.options import Options

#: The task that gets a threshold, and the label that must not be missed.
RISK_TASK = "suicide_risk"
RISK_LABEL = "suicidal"


class LabelOptions(Options):
    """How labels are scored by likelihood, and what the scores are used for."""

    batch_size: int = Field(
        default=10,
        ge=1,
        description="Prompts scored at a time: speed against memory. In bfloat16 it also shifts "
        "scores by a hundredth or so.",
    )
    validation_items: int | None = Field(
        default=200,
        ge=1,
        description="Validation pairs of the suicide-risk task that choose its threshold, drawn "
        "in proportion to the labels; null takes all. More cost time and hold the rate better.",
    )
    false_positive_rate: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of validation posts without suicidal thoughts that may be flagged. "
        "Higher finds more suicidal posts and raises more false alarms.",
    )
    bins: int = Field(
        default=10,
        ge=2,
        le=50,
        description="Bins of equal width between 0 and 1 in the calibration error and in the "
        "reliability figure. More bins show more detail, and more noise.",
    )
