"""Options of the reference system (``params:evaluation``, block ``reference``)."""

from datetime import date
from typing import Self

from pydantic import Field, model_validator

from mental_slm.openai_client.options import EndpointOptions, Price
from mental_slm.options import Options


class ReferenceOptions(Options):
    """A server that answers the test items beside base and tuned model."""

    model: str = Field(description="Model name that the server is asked for; pin a snapshot.")
    endpoint: EndpointOptions = Field(
        default=EndpointOptions(), description="Where the server is and how hard it is asked."
    )
    allow_cloud: bool = Field(
        default=False,
        description="Let posts (personal data masked) leave this machine. Without it only a server "
        "on this machine is asked.",
    )
    max_tokens: int = Field(
        default=512, ge=1, description="Longest answer in tokens; a longer one is cut."
    )
    seed: int = Field(default=17, description="Sent with every request; servers do their best.")
    budget_usd: float | None = Field(
        default=5.0, ge=0, description="US dollars that all answers may cost; null: no limit."
    )
    prices: dict[str, Price] = Field(
        default={},
        description="US dollars by model. A server on this machine is free unless its model stands "
        "here.",
    )

    @model_validator(mode="after")
    def _stay_here(self) -> Self:
        if not (self.endpoint.is_local or self.allow_cloud):
            raise ValueError(
                f"allow_cloud: test posts (personal data masked) would go to {self.endpoint.host}; "
                "set evaluation.reference.allow_cloud: true to let them, or "
                "evaluation.reference.endpoint.base_url to a server on this machine"
            )
        return self

    @property
    def known_prices(self) -> dict[str, Price]:
        """The prices, with zero for a model without one on this machine, which sends no bill."""
        free = Price(input_per_million=0, output_per_million=0, as_of=date.min)
        return {self.model: free, **self.prices} if self.endpoint.is_local else self.prices
