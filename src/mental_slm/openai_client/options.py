"""Settings of the client: where the server is, how hard to ask, what an answer costs."""

from datetime import date
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from mental_slm.options import Options

#: Where requests go without a ``base_url``; written out, so that no environment variable decides.
OPENAI_URL = "https://api.openai.com/v1"

#: Hosts that are this machine; everything else is somebody else's computer.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class EndpointOptions(Options):
    """A server that speaks the OpenAI protocol, and how it is asked."""

    base_url: str | None = Field(
        default=None,
        description="Address up to and including /v1, e.g. http://127.0.0.1:8000/v1 for vLLM, "
        "llama.cpp or Ollama; null is api.openai.com.",
    )
    concurrency: int = Field(
        default=16,
        ge=1,
        le=1000,
        description="Requests under way at a time. More is faster until the server refuses.",
    )
    timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds until an unanswered try is given up. Too short pays for lost answers.",
    )
    max_retries: int = Field(
        default=6,
        ge=0,
        description="Further tries of a request after 429, 5xx, time-outs and broken replies.",
    )
    backoff_s: float = Field(
        default=0.5,
        gt=0,
        description="Seconds before the first further try; doubles each time, with jitter.",
    )
    max_wait_s: float = Field(
        default=120.0,
        gt=0,
        description="Longest wait before a further try, in seconds. A server that asks for a "
        "longer one (Retry-After) ends the run.",
    )
    give_up_after: int = Field(
        default=20,
        ge=1,
        description="Requests in a row that failed in spite of all tries; then the run ends.",
    )
    grace_s: float = Field(
        default=10.0,
        ge=0,
        description="Seconds that answers under way may still take after Ctrl-C.",
    )

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url: use a full address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("base_url: leave user and password out, give the key as api_key")
        if parts.path.rstrip("/").endswith("/chat/completions"):
            raise ValueError("base_url: ends at /v1, without /chat/completions")
        return url.rstrip("/")

    @property
    def url(self) -> str:
        """The address in use."""
        return self.base_url or OPENAI_URL

    @property
    def host(self) -> str:
        """The host that requests go to."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether the server is this machine."""
        return self.host in LOCAL_HOSTS


class BatchOptions(Options):
    """How requests are cut into files for the Batch API, and how their end is awaited."""

    requests_per_file: int = Field(
        default=50_000,
        ge=1,
        le=50_000,
        description="Requests in one file. Fewer where an account may queue few tokens.",
    )
    bytes_per_file: int = Field(
        default=200_000_000,
        ge=1,
        le=200_000_000,
        description="Size of one file in bytes; the API takes at most 200 MB.",
    )
    poll_s: float = Field(
        default=10.0, gt=0, description="Seconds before the first look at a batch; grows by half."
    )
    max_poll_s: float = Field(
        default=300.0, gt=0, description="Longest time between two looks, in seconds."
    )
    resubmissions: int = Field(
        default=2,
        ge=0,
        description="How often a request goes into another batch after an expired, failed or "
        "cancelled one.",
    )


class Price(Options):
    """What a model costs, in US dollars per million tokens."""

    input_per_million: float = Field(ge=0, description="Prompt tokens; 0 for a local server.")
    output_per_million: float = Field(ge=0, description="Answer tokens; 0 for a local server.")
    batch_discount: float = Field(
        default=0.5, ge=0, le=1, description="Share taken off through the Batch API."
    )
    as_of: date = Field(description="The day on which the price was looked up.")
