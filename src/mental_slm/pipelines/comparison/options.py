"""Options of the comparison pipeline."""

from pydantic import Field

from mental_slm.options import Options


class ComparisonOptions(Options):
    """Options of the comparison pipeline."""

    decimals: int = Field(ge=1, le=6, description="Decimals of the numbers in the table.")
