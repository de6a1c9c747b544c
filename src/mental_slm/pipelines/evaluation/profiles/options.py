"""Options of the emotion profiles."""

from pydantic import Field

from mental_slm.options import Options


class ProfileOptions(Options):
    """How emotion profiles are asked for and scored."""

    max_items: int | None = Field(
        default=8,
        ge=1,
        description="Test texts that both models profile, chosen by their ids; null takes all. "
        "Fewer texts mean wider intervals.",
    )
    max_new_tokens: int = Field(
        default=96,
        ge=1,
        description="Tokens after which a free answer is cut; a profile takes 52 to 75. Constrained "
        "answers are as long as the grammar allows, whatever stands here.",
    )
    batch_size: int = Field(
        default=8,
        ge=1,
        description="Texts at a time: speed against memory, most of all of slot scoring.",
    )
