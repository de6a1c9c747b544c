"""Options of the judge (``params:evaluation``, block ``judge``)."""

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from mental_slm.openai_client.options import EndpointOptions, Price
from mental_slm.options import Options


class JudgeModel(Options):
    """One judge: the embedded model itself, or a server that speaks the OpenAI protocol."""

    name: str = Field(
        pattern=r"^[a-z0-9_.-]+$",
        description="What reports call it, and the name of its journal of replies.",
    )
    kind: Literal["in_process", "endpoint"] = Field(
        description="in_process: the base model of this environment, held to the JSON schema; needs "
        "no server, and only exercises the path where that model is small. endpoint: a server."
    )
    model: str | None = Field(
        default=None, description="Model name that a server is asked for; pin a snapshot."
    )
    endpoint: EndpointOptions = Field(
        default=EndpointOptions(), description="Where the server is and how hard it is asked."
    )
    api_key: Literal["none", "openai", "judge"] = Field(
        default="none",
        description="The credential that the server gets: openai (OPENAI_API_KEY) or judge "
        "(JUDGE_API_KEY).",
    )
    response_format: Literal["json_schema", "json_object", "none"] = Field(
        default="json_schema",
        description="How the server is held to JSON. json_schema is strict; the others are for "
        "servers that refuse the field.",
    )
    prices: dict[str, Price] = Field(
        default={},
        description="US dollars by model. A server on this machine is free unless its model stands "
        "here.",
    )
    budget_usd: float | None = Field(
        default=1.0,
        ge=0,
        description="US dollars that all replies of this judge together may cost; null: no limit.",
    )

    @model_validator(mode="after")
    def _name_the_model(self) -> Self:
        if (self.kind == "endpoint") != (self.model is not None):
            raise ValueError(
                f"judge {self.name}: an endpoint needs a model name, and in_process takes none (it "
                "is the base model of the environment)"
            )
        return self

    @property
    def is_remote(self) -> bool:
        """Whether asking this judge sends posts to another machine."""
        return self.kind == "endpoint" and not self.endpoint.is_local

    @property
    def known_prices(self) -> dict[str, Price]:
        """The prices, with zero for a model without one on this machine, which sends no bill."""
        free = Price(input_per_million=0, output_per_million=0, as_of=date.min)
        return self.prices if self.is_remote else {self.model or self.name: free, **self.prices}


class JudgeOptions(Options):
    """Who judges what, and how often it is asked again."""

    judges: tuple[JudgeModel, ...] = Field(
        default=(JudgeModel(name="embedded", kind="in_process"),),
        description="The judges. With several, an answer gets the median, and their agreement is "
        "reported; use different model families.",
    )
    allow_cloud: bool = Field(
        default=False,
        description="Let posts and answers (personal data masked) leave this machine. Without it "
        "only servers on this machine are asked.",
    )
    items: int | None = Field(
        default=3,
        ge=1,
        description="Test items whose answers are judged, spread over the tasks; null: all. Each "
        "item costs five replies (base, tuned, reference, two attacks).",
    )
    repeated_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the answers that are judged twice, with the criteria in another order, "
        "for self-consistency.",
    )
    reasks: int = Field(
        default=2,
        ge=0,
        description="How often a judge is asked again, told what was wrong, after a reply that is "
        "no JSON, off the scale or incomplete. What stays unusable counts as a failure.",
    )
    max_post_words: int = Field(
        default=400, ge=1, description="Words after which a post is cut for the judge."
    )
    max_answer_words: int = Field(
        default=300, ge=1, description="Words after which an answer is cut for the judge."
    )
    max_tokens: int = Field(
        default=120, ge=1, description="Longest reply in tokens; six numbers as JSON take about 50."
    )
    human_ratings: str | None = Field(
        default=None,
        description="CSV file with the columns item_id, system, rater, criterion, score; then the "
        "judge's agreement with people is measured. null: none, and every criterion is indicative.",
    )
    kappa_gate: float = Field(
        default=0.6,
        ge=-1,
        le=1,
        description="Quadratic weighted kappa with people from which on a criterion may be a "
        "headline; below it is indicative.",
    )
    style_margin: float = Field(
        default=0.5,
        ge=0,
        description="An attack that comes within so many points of the tuned model shows that the "
        "judge measures style.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [judge.name for judge in self.judges]
        if not names or len(set(names)) < len(names):
            raise ValueError("judges: name at least one judge, each by a name of its own")
        for judge in self.judges:
            if judge.is_remote and not self.allow_cloud:
                raise ValueError(
                    f"allow_cloud: judge {judge.name} would send posts and answers (personal data "
                    f"masked) to {judge.endpoint.host}; set evaluation.judge.allow_cloud: true to "
                    "let it, or its endpoint.base_url to a server on this machine"
                )
        return self
