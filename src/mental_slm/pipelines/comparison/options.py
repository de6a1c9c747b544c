"""Options of the comparison pipeline."""

from pydantic import Field

from mental_slm.options import Options


class ComparisonOptions(Options):
    """Options of the comparison pipeline."""

    decimals: int = Field(
        default=3, ge=1, le=6, description="Decimals of the numbers in the table."
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples and random exchanges when two models are compared item by "
        "item; no p-value is below 1 / (resamples + 1).",
    )
    seed: int = Field(default=20, ge=0, description="Seed of resamples and exchanges.")
