"""Requests and responses as lines of the OpenAI Batch format.

A request is ``{custom_id, method, url, body}``, a response ``{id, custom_id, response, error}``
with ``response = {status_code, request_id, body}``. Chat answers are kept in the same format, so
that whoever reads them need not know how they were asked for.
"""

import json
import logging
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

logger = logging.getLogger(__name__)

Request = Mapping[str, Any]
Entry = dict[str, Any]

CHAT_URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"

#: Entries written here start with this; those of the Batch API start with ``batch_req_``.
CHAT_ID_PREFIX = "chat_req_"

#: Faults that pass: the same request may succeed later.
PASSING_STATUS = frozenset({408, 409, 429})

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}|-\d{4}|[:@].+")


def check_request(request: Request) -> None:
    """Check what the client relies on.

    Raises:
        ValueError: Names the ``custom_id`` and the field, never the text.
    """
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        raise ValueError("a request without custom_id: give each one a hash of its content")
    body = request.get("body")
    if request.get("url", CHAT_URL) != CHAT_URL:
        raise ValueError(f"request {custom_id}: url must be {CHAT_URL}")
    if not isinstance(body, Mapping) or not isinstance(body.get("model"), str):
        raise ValueError(f"request {custom_id}: body.model is missing")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise ValueError(f"request {custom_id}: body.messages is missing or empty")


def encode_body(request: Request) -> bytes:
    """Return the body as UTF-8 JSON with sorted keys, as long as it is on the wire.

    Raises:
        ValueError: The text holds half a surrogate pair, which no server accepts.
    """
    text = json.dumps(request["body"], ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"request {request['custom_id']}: its text cannot be written as UTF-8 (half a "
            "surrogate pair); repair the text first"
        ) from None  # the exception carries the text


def completion(entry: Entry) -> dict[str, Any] | None:
    """Return the chat completion of an entry, or None where it holds no answer.

    Refusals, content filters and cut answers (``finish_reason: length``) are answers.
    """
    response = entry.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        return None
    return response["body"] if is_completion(response.get("body")) else None


def is_completion(body: Any) -> bool:
    """Tell whether a reply's body has at least one choice with a message."""
    if not isinstance(body, dict):
        return False
    choices = body.get("choices")
    return (
        isinstance(choices, list)
        and len(choices) > 0
        and isinstance(choices[0], dict)
        and isinstance(choices[0].get("message"), dict)
    )


def failure_code(entry: Entry) -> str:
    """Return why an entry holds no answer: a status such as ``"400"``, or a word."""
    response, error = entry.get("response"), entry.get("error")
    if isinstance(response, dict) and response.get("status_code") != 200:
        return str(response.get("status_code"))
    if isinstance(error, dict) and error.get("code"):
        return str(error["code"])
    return "empty_choices" if isinstance(response, dict) else "no_response"


def passes(entry: Entry) -> bool:
    """Tell whether a failed entry may succeed when it is asked again."""
    code = failure_code(entry)
    return not code.isdigit() or int(code) in PASSING_STATUS or int(code) >= 500


def make_entry(
    custom_id: str,
    *,
    status: int | None = None,
    request_id: str | None = None,
    body: Any = None,
    error: dict[str, Any] | None = None,
) -> Entry:
    """Build a response line for an answer that came over chat."""
    response = {"status_code": status, "request_id": request_id, "body": body}
    return {
        "id": f"{CHAT_ID_PREFIX}{secrets.token_hex(8)}",
        "custom_id": custom_id,
        "response": None if status is None else response,
        "error": error,
    }


def through_batch(entry: Entry) -> bool:
    """Tell whether an entry came through the Batch API, at its lower price."""
    return not str(entry.get("id", "")).startswith(CHAT_ID_PREFIX)


def same_model(asked: str, echoed: str) -> bool:
    """Tell whether an answer came from the model that was asked for.

    Servers add a snapshot to the name: ``gpt-4o-mini-2024-07-18``, ``llama3.2:latest``,
    ``folder@main``. ``gpt-4o-mini`` is not a snapshot of ``gpt-4o``.
    """
    return echoed == asked or (
        echoed.startswith(asked) and _SNAPSHOT.fullmatch(echoed[len(asked) :]) is not None
    )


def parse_entry(line: bytes, where: str) -> Entry:
    """Parse one response line.

    Raises:
        ValueError: Names the place and what is wrong there, never the text.
    """
    try:
        entry = json.loads(line.decode("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(
            f"{where}: no valid JSON; delete the line, and its request is asked again"
        ) from None  # the decoder's exception carries the text
    if not isinstance(entry, dict) or not isinstance(entry.get("custom_id"), str):
        raise ValueError(f"{where}: no response in the Batch format (custom_id is missing)")
    if "response" not in entry and "error" not in entry:
        raise ValueError(f"{where}: holds neither response nor error; is this a request file?")
    return entry


def read_recorded(paths: Iterable[Path], tally: Counter[str] | None = None) -> Iterator[Entry]:
    """Yield the responses in files that others made, in their order.

    A line for an id that was already answered is left out; the first answer wins. Lines that hold
    an error come as they are: their id may be answered further down.

    Args:
        paths: Output and error files of the Batch API, or journals.
        tally: Takes the counts of ``answers``, ``errors`` and ``duplicates``.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Names the file and the line that is no response.
    """
    counts = Counter[str]() if tally is None else tally
    answered: set[str] = set()
    for path in paths:
        before = counts["duplicates"]
        with Path(path).open("rb") as file:  # as bytes, a line ends at \n only, never at U+2028
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                entry = parse_entry(line, f"{path}, line {number}")
                if entry["custom_id"] in answered:
                    counts["duplicates"] += 1
                    continue
                if completion(entry) is None:
                    counts["errors"] += 1
                else:
                    counts["answers"] += 1
                    answered.add(entry["custom_id"])
                yield entry
        if counts["duplicates"] > before:
            logger.warning(
                "%s: %d lines for ids that were already answered are left out",
                path,
                counts["duplicates"] - before,
            )
