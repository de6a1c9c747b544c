"""Reading a judge's reply, criterion by criterion: each has a score or a fault, never neither."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mental_slm.openai_client import completion
from mental_slm.openai_client.protocol import Entry

from .requests import HIGHEST, LOWEST
from .rules import refuses

#: Faults of a reply, in the words that a judge is told when it is asked again.
FAULTS = {
    "refusal": "it declines to grade",
    "empty_reply": "it is empty",
    "cut_short": "it was cut off before the JSON ended",
    "no_json": "it holds no valid JSON object",
    "missing_criterion": "a criterion is missing",
    "off_scale": "a score is not a whole number from 0 to 5",
}


@dataclass(frozen=True)
class Reply:
    """A judge's reply to one request.

    Attributes:
        text: As it came; empty where there was none.
        scores: Criterion to score, as far as they could be read.
        faults: Criterion to fault (a key of :data:`FAULTS`), for all others.
        model: The model that the server named.
        created: Seconds since 1970 by the server's clock; 0 where it told none.
    """

    text: str
    scores: dict[str, int]
    faults: dict[str, str]
    model: str
    created: int

    @property
    def worst_fault(self) -> str | None:
        """The first fault in the order of :data:`FAULTS`, or None for a complete reply."""
        return next((fault for fault in FAULTS if fault in self.faults.values()), None)


def read_reply(entry: Entry, criteria: Sequence[str]) -> Reply:
    """Read an entry of the journal that holds an answer of the judge."""
    body = completion(entry)
    assert body is not None, "failures are told apart before"
    choice = body["choices"][0]
    message = choice["message"]
    text = message.get("content") or ""
    scores, faults = parse_scores(text, criteria)
    if not scores and (message.get("refusal") or refuses(text)):
        faults = dict.fromkeys(criteria, "refusal")
    elif not scores and choice.get("finish_reason") == "length":
        faults = dict.fromkeys(criteria, "cut_short")
    return Reply(text, scores, faults, str(body.get("model") or ""), int(body.get("created") or 0))


def parse_scores(text: str, criteria: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Read the scores in a reply.

    Words and code fences around the JSON object do no harm, and ``4.0`` is 4. A score off the
    scale is a fault, never moved to its end.

    Returns:
        Criterion to score, and criterion to fault; together they hold every criterion once.
    """
    if not text.strip():
        return {}, dict.fromkeys(criteria, "empty_reply")
    found = _find_object(text)
    if found is None:
        return {}, dict.fromkeys(criteria, "no_json")
    named = {str(key).strip().lower(): value for key, value in found.items()}
    scores, faults = {}, {}
    for criterion in criteria:
        if criterion not in named:
            faults[criterion] = "missing_criterion"
        elif (score := _as_score(named[criterion])) is None:
            faults[criterion] = "off_scale"
        else:
            scores[criterion] = score
    return scores, faults


def _find_object(text: str) -> dict[str, Any] | None:
    """Return the first JSON object in a text."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except ValueError:
            start = text.find("{", start + 1)
            continue
        except RecursionError:  # thousands of brackets
            return None
        return value if isinstance(value, dict) else None
    return None


def _as_score(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    on_scale = LOWEST <= value <= HIGHEST and value == int(value)  # NaN compares as False
    return int(value) if on_scale else None
