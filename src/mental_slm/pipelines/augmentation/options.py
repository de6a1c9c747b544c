"""Options of the augmentation pipeline."""

from typing import Literal

from pydantic import Field

from mental_slm.options import Options


class AugmentationOptions(Options):
    """The ``augmentation`` block of the parameters."""

    teacher: Literal["template"] = Field(
        description="Who writes the answers. template: offline, deterministic, free."
    )
    validation_share: float = Field(
        ge=0,
        le=0.5,
        description=(
            "Share of train posts that become validation, for datasets whose publishers give none. "
            "Chosen by text, so that equal texts stay together."
        ),
    )
