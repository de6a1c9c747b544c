"""The base of all typed options."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """A block of parameters. An unknown key is an error, a block never changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
