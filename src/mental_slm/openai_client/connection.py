"""The connection to the server: the openai package, kept quiet, its errors put into sentences."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from .options import EndpointOptions

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI, OpenAI

logger = logging.getLogger(__name__)

#: Loggers that write a line per request, and at DEBUG the prompts themselves.
CHATTY = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")

CONNECT_SECONDS = 10.0


class EndpointError(RuntimeError):
    """The server cannot or will not answer at all; the message says why and what to do."""


def connect(endpoint: EndpointOptions, api_key: SecretStr | None) -> "AsyncOpenAI":
    """Make the client for concurrent chat; further tries are left to the caller, who counts them.

    Raises:
        EndpointError: There is no key for api.openai.com.
    """
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpx2Client

    limits = httpx2.Limits(
        max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency
    )
    timeout = _timeout(endpoint)
    return AsyncOpenAI(
        **_address(endpoint, api_key),
        max_retries=0,
        timeout=timeout,
        # posts must not follow a redirect to a host that nobody named
        http_client=DefaultAsyncHttpx2Client(
            limits=limits, timeout=timeout, follow_redirects=False
        ),
    )


def connect_for_batches(endpoint: EndpointOptions, api_key: SecretStr | None) -> "OpenAI":
    """Make the client for files and batches, which tries again by itself.

    Raises:
        EndpointError: There is no key for api.openai.com.
    """
    from openai import DefaultHttpx2Client, OpenAI

    timeout = _timeout(endpoint)
    return OpenAI(
        **_address(endpoint, api_key),
        max_retries=endpoint.max_retries,
        timeout=timeout,
        http_client=DefaultHttpx2Client(timeout=timeout, follow_redirects=False),
    )


def explain(error: "APIError", endpoint: EndpointOptions) -> EndpointError:
    """Put an error of the server into a sentence without its own words.

    Servers quote keys and prompts in their messages; code and status say enough.
    """
    from openai import APIStatusError

    if not isinstance(error, APIStatusError):
        return EndpointError(
            f"{endpoint.url}: no connection ({fault_name(error)}). Check base_url and that the "
            "server runs"
        )
    status, code = error.status_code, error_code(error)
    what = f"{status}, {code}" if code else f"{status}"
    if status in (401, 403):
        reason = f"refuses the API key ({what}). Check the key and what it is allowed to do"
    elif status == 404:
        reason = f"does not know this address or model ({what}). Check base_url and model"
    elif status == 429:
        reason = f"gives no more answers on this account ({what}). Check its credit and limits"
    elif 300 <= status < 400:
        reason = f"redirects elsewhere ({what}). Put the address it really has into base_url"
    else:
        reason = f"answers with an error ({what})"
    return EndpointError(f"{endpoint.url}: the server {reason}")


def error_code(error: "APIError") -> str | None:
    """Return the server's name for an error, for example ``insufficient_quota``."""
    name = error.code or error.type
    return str(name) if name else None


def fault_name(error: "APIError") -> str:
    """Return ``timeout`` or ``connection``."""
    from openai import APITimeoutError

    return "timeout" if isinstance(error, APITimeoutError) else "connection"


def never_arrived(error: "APIError") -> bool:
    """Tell whether a request failed before the server had it, so that it cannot be billed."""
    import httpx2

    return isinstance(
        error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, from any of the three forms in use."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            logger.warning("The server sent a %s header that is no time", name)
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the loggers of the HTTP stack, whatever OPENAI_LOG or a logging set-up says."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [chatty.level for chatty in loggers]
    for chatty in loggers:
        chatty.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for chatty, level in zip(loggers, levels, strict=True):
            chatty.setLevel(level)


def _address(endpoint: EndpointOptions, api_key: SecretStr | None) -> dict[str, Any]:
    key = api_key.get_secret_value().strip() if api_key else ""
    if not key and endpoint.base_url is None:
        raise EndpointError(
            f"{endpoint.url}: no API key is set. Set one in the credentials, or base_url for a "
            "local server"
        )
    # local servers ask for no key, the package insists on one
    return {"base_url": endpoint.url, "api_key": key or "none"}


def _timeout(endpoint: EndpointOptions) -> Any:
    import httpx2

    return httpx2.Timeout(endpoint.timeout_s, connect=min(CONNECT_SECONDS, endpoint.timeout_s))
