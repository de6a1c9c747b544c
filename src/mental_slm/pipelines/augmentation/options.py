"""Options of the augmentation pipeline (``params:augmentation``)."""

from datetime import date
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from mental_slm.openai_client.options import BatchOptions, EndpointOptions, Price
from mental_slm.options import Options

from .filter_options import FilterOptions

#: Hosts that are this machine; everything else is somebody else's computer.
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class AugmentationOptions(Options):
    """Who writes the answers, at what price, and which of them become pairs."""

    teacher: Literal["template", "openai", "openai_batch", "recorded"] = Field(
        default="template",
        description="Who writes the answers. template: offline, deterministic, free. openai: any "
        "OpenAI-compatible server. openai_batch: the Batch API, half the price, within a day. "
        "recorded: response files in the Batch format that were made elsewhere.",
    )
    model: str = Field(default="gpt-4o-mini", description="Model name the server is asked for.")
    temperature: float = Field(
        default=0.5, ge=0, le=2, description="0 is the most likely wording; more varies more."
    )
    max_tokens: int = Field(
        default=512,
        ge=1,
        description="Longest answer, in tokens; a longer one is cut and rejected.",
    )
    seed: int = Field(default=17, description="Sent with every request; servers do their best.")
    endpoint: EndpointOptions = Field(
        default=EndpointOptions(), description="Where the server is and how hard it is asked."
    )
    batch: BatchOptions = Field(
        default=BatchOptions(), description="Sizes and pace of openai_batch."
    )
    recorded: tuple[str, ...] = Field(
        default=(),
        description="Response files for the recorded teacher, as a list or joined by '+'; they must "
        "answer the ids in teacher_requests.jsonl, which `kedro run --to-nodes "
        "augmentation.render_requests` writes.",
    )
    allow_cloud: bool = Field(
        default=False,
        description="Let posts (personal data masked) leave this machine. Without it only servers "
        "on this machine are asked.",
    )
    budget_usd: float | None = Field(
        default=5.0,
        ge=0,
        description="US dollars that all answers together may cost; null for no limit.",
    )
    expected_output_tokens: int = Field(
        default=180, ge=1, description="Mean length of an answer that the cost estimate assumes."
    )
    prices: dict[str, Price] = Field(
        default={},
        description="US dollars by model, for estimate, budget and bill. A server on this machine is "
        "free unless its model stands here.",
    )
    max_posts: int | None = Field(
        default=None,
        ge=1,
        description="Ask about so many posts only, spread over tasks and splits: a trial before "
        "spending. null: all.",
    )
    validation_share: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Share of train posts that become validation, for datasets whose publishers give "
        "none. Chosen by text, so that equal texts stay together.",
    )
    profile_test_share: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of StudEmo's texts that become test; it comes without a split.",
    )
    filters: FilterOptions = Field(
        default=FilterOptions(), description="Which answers are good enough to learn from."
    )

    @field_validator("recorded", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        # `--params` splits at commas, so a list cannot be given there.
        return tuple(value.split("+")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.teacher == "recorded" and not self.recorded:
            raise ValueError("recorded: name at least one response file for this teacher")
        if self.asks_a_server and not self.is_local and not self.allow_cloud:
            raise ValueError(
                f"allow_cloud: teacher {self.teacher} would send posts (personal data masked) to "
                f"{self.provider}; set augmentation.allow_cloud: true to let it, or "
                "augmentation.endpoint.base_url to a server on this machine"
            )
        return self

    @property
    def asks_a_server(self) -> bool:
        """Whether requests leave this process."""
        return self.teacher in ("openai", "openai_batch")

    @property
    def provider(self) -> str:
        """Host that the requests go to."""
        return urlsplit(self.endpoint.url).hostname or ""

    @property
    def known_prices(self) -> dict[str, Price]:
        """The prices, with zero for a model without one on this machine, which sends no bill."""
        free = Price(input_per_million=0, output_per_million=0, as_of=date.min)
        return {self.model: free, **self.prices} if self.is_local else self.prices

    @property
    def is_local(self) -> bool:
        """Whether the server is this machine."""
        return self.provider in _LOCAL_HOSTS
