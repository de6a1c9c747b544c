"""What a run of the client did, in numbers."""

import logging
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from .protocol import Entry, completion, failure_code, same_model

logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """Counts of one run; :meth:`to_json` makes it a report.

    Attributes:
        asked: Distinct requests.
        answered_before: Of these, answered by the journal.
        answered_now: Of these, answered in this run.
        repeated: Further requests with the same id and content; they are asked once.
        failed: Requests of this run that ended without an answer, by status or fault.
        retried: Further tries, by the status or fault that made them necessary.
        duplicates: Responses for ids that already had an answer (the first one counts).
        foreign: Responses for ids that nobody asks for now.
        prompt_tokens: As billed for the answers of this run.
        completion_tokens: As billed for the answers of this run.
        cost_usd: For the answers of this run; None if a price is unknown.
        cost_before_usd: For all that the journal held at the start; None if a price is unknown.
        lost_usd: Ceiling of what tries may have cost whose answer never arrived.
        models: Answers of this run by the model that the server named.
        other_model: Of these, answers of another model than the one asked for.
        stopped_by: None if all was asked.
        seconds: Wall time.
    """

    asked: int = 0
    answered_before: int = 0
    answered_now: int = 0
    repeated: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    foreign: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    cost_before_usd: float | None = 0.0
    lost_usd: float = 0.0
    models: Counter[str] = field(default_factory=Counter)
    other_model: int = 0
    stopped_by: Literal["budget", "interrupt"] | None = None
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic, repr=False)

    @property
    def missing(self) -> int:
        """Requests without an answer, failed ones included."""
        return self.asked - self.answered_before - self.answered_now

    def note(self, entry: Entry, asked_model: str) -> None:
        """Count a response of this run."""
        body = completion(entry)
        if body is None:
            self.failed[failure_code(entry)] += 1
            return
        self.answered_now += 1
        prompt, answer = usage_of(body) or (0, 0)
        self.prompt_tokens += prompt
        self.completion_tokens += answer
        model = str(body.get("model") or asked_model)
        self.models[model] += 1
        self.other_model += not same_model(asked_model, model)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-serialisable data."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
        counts = {
            name: dict(sorted(value.items()))
            for name, value in values.items()
            if isinstance(value, Counter)
        }
        return {**values, **counts, "missing": self.missing}


def usage_of(body: dict[str, Any]) -> tuple[int, int] | None:
    """Return (prompt tokens, completion tokens) of a completion, or None where it tells none."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(answer, int):
        return None
    return prompt, answer


def log_end(summary: Summary, journal_path: Path, budget_usd: float | None) -> None:
    """Log how a run ended and, where it ended early, how to go on."""
    answered = summary.answered_before + summary.answered_now
    reasons: dict[str, str] = {
        "budget": f"The budget of {budget_usd} $ allows no further request; raise it to go on",
        "interrupt": "Interrupted; run the same again to go on",
    }
    if summary.stopped_by:
        logger.warning(
            "%s. %d of %d answers are in %s, and only the other %d will be asked for",
            reasons[summary.stopped_by],
            answered,
            summary.asked,
            journal_path,
            summary.missing,
        )
    if summary.failed:
        failed = ", ".join(f"{n} x {code}" for code, n in summary.failed.most_common())
        logger.warning("%s: requests without an answer: %s", journal_path, failed)
    if summary.other_model:
        logger.warning("%d answers came from another model than asked", summary.other_model)
    if summary.foreign:
        logger.warning(
            "%s: holds %d responses that nobody asks for now; they stay",
            journal_path,
            summary.foreign,
        )
