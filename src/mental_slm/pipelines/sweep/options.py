"""The ``sweep`` block of the parameters."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from mental_slm.options import Options


class Span(Options):
    """Bounds of a number that is drawn on a logarithmic scale."""

    low: float = Field(gt=0, description="Smallest value.")
    high: float = Field(gt=0, description="Largest value.")

    @model_validator(mode="after")
    def _in_order(self) -> "Span":
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g}); swap them")
        return self


class SweepOptions(Options):
    """Options of the sweep pipeline. What is not searched comes from ``fine_tuning``."""

    n_trials: int = Field(
        default=12,
        gt=0,
        description="Trials of the study, pruned ones included; a larger number goes on with it.",
    )
    recipes: list[str] = Field(
        default=["original", "default"],
        description="Recipes of fine_tuning.recipes that are the first trials; [] for none.",
    )
    learning_rate: Span = Field(
        default=Span(low=5e-5, high=1e-2),
        description="Peak of the schedule, drawn on a logarithmic scale.",
    )
    r: list[PositiveInt] = Field(
        default=[4, 8, 16, 32, 64], min_length=1, description="Ranks to choose from."
    )
    alpha_over_r: list[PositiveFloat] = Field(
        default=[0.5, 1.0, 2.0, 4.0],
        min_length=1,
        description="Scales of the update (alpha = r times this) to choose from.",
    )
    tokens: int = Field(
        default=30_000,
        gt=0,
        description=(
            "Training tokens per trial; all trials learn from the same number, however many rows "
            "their steps have. Time grows in proportion."
        ),
    )
    max_steps: int | None = Field(
        default=None,
        gt=0,
        description="Optimiser steps per trial; takes the place of tokens if set.",
    )
    validations: int = Field(
        default=4,
        gt=0,
        description="Validations per trial, at equal distances: where a trial may be pruned.",
    )
    validation_pairs: int = Field(
        default=64,
        gt=0,
        description="Validation pairs that losses are measured on; the first by id.",
    )
    pruner: Literal["median", "hyperband", "none"] = Field(
        default="median",
        description=(
            "median stops a trial that is worse than half of the finished ones at the same point; "
            "hyperband (Li et al. 2018) stops more and earlier; none stops nothing."
        ),
    )
    unpruned_trials: int = Field(
        default=4,
        ge=0,
        description="Trials that must come to their end before the median pruner stops any.",
    )
    storage: str | None = Field(
        default=None,
        description=(
            "Where the study is kept: null is a sqlite file in the workspace; a URL such as "
            "postgresql://HOST/NAME lets several machines share it."
        ),
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which no further trial begins, but for the very first; null: no limit.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Of the search; the trainings have fine_tuning.seed, all the same.",
    )

    @field_validator("r", "alpha_over_r", "recipes")
    @classmethod
    def _without_repeats(cls, choices: list[float]) -> list[float]:
        if len(set(choices)) < len(choices):
            raise ValueError("a choice stands there twice; leave one out")
        return choices

    @model_validator(mode="after")
    def _alphas_are_whole(self) -> "SweepOptions":
        for r in self.r:
            for ratio in self.alpha_over_r:
                if r * ratio != int(r * ratio):
                    raise ValueError(
                        f"alpha_over_r: {ratio:g} times r {r} is no whole number; leave one out"
                    )
        return self
