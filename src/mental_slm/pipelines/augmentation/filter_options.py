"""Options of the filters that decide which answers become pairs."""

from typing import Self

from pydantic import Field, model_validator

from mental_slm.options import Options


class FilterOptions(Options):
    """The ``augmentation.filters`` block: thresholds, each of which null switches off."""

    min_tokens: int | None = Field(
        default=30, ge=1, description="Shortest answer, in tokens. null: any length."
    )
    max_tokens: int | None = Field(
        default=350, ge=1, description="Longest answer, in tokens. null: any length."
    )
    window: int | None = Field(
        default=2048,
        ge=1,
        description="Tokens that prompt and answer may have together; a longer pair is rejected, "
        "never cut. null: any length.",
    )
    near_duplicate: float | None = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of five-word sequences (Jaccard) from which an answer counts as a repeat "
        "of an earlier one of its task. null: repeats stay.",
    )
    opening_share: float | None = Field(
        default=0.03,
        gt=0,
        le=1,
        description="Share of a task's answers that may begin with the same five words; the surplus "
        "is rejected. null: no cap, as for a teacher with few openings.",
    )
    copied_share: float | None = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of an answer's eight-word sequences that may stand in the post; more is a "
        "copy, less a quotation. null: copies stay.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_tokens and self.max_tokens and self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens: {self.min_tokens} is more than max_tokens, {self.max_tokens}"
            )
        return self
