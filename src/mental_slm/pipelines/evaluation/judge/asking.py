"""Asking the judges: every sample until its reply is usable or the re-asks are used up.

Replies lie in one append-only journal per judge, in the format of the OpenAI Batch API, whichever
way they came. What is asked next follows from the journal alone, so that a killed run goes on
where it stopped, and a second run asks nothing.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from mental_slm import openai_client
from mental_slm.fingerprints import digest, digest_code
from mental_slm.language_model.options import ModelOptions
from mental_slm.prompts import Prompts
from mental_slm.references import ModelRef

from .in_process import ask_in_process
from .options import JudgeModel, JudgeOptions
from .parsing import FAULTS, Reply, read_reply
from .requests import Request, render_repair, render_request
from .samples import Sample

logger = logging.getLogger(__name__)

#: Why a sample has no reply at all, beside the statuses and words of the client.
NOT_ASKED = "not_asked"

Dtype = Literal["float32", "bfloat16"]


class Interrupted(RuntimeError):
    """Somebody pressed Ctrl-C while a judge was being asked."""


class Asker(Protocol):
    """Whatever brings replies to requests into a journal."""

    def __call__(self, requests: Sequence[Request], journal: Path) -> openai_client.Summary:
        """Ask for what the journal lacks."""


@dataclass
class _Talk:
    """All that was said about one sample, as far as the journal tells.

    Attributes:
        sample: What is judged.
        requests: All requests so far; the last one may be unanswered.
        replies: As many as were answered.
    """

    sample: Sample
    requests: list[Request] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    @property
    def waiting(self) -> bool:
        return len(self.requests) > len(self.replies)

    @property
    def best(self) -> Reply | None:
        """The first of the replies with the most readable scores."""
        return max(self.replies, key=lambda reply: len(reply.scores), default=None)


def identify(judge: JudgeModel, model: ModelRef, dtype: Dtype) -> str:
    """Return the digest of all that makes a judge reply as it does, beside what it reads."""
    if judge.kind == "endpoint":
        return digest([judge.name, judge.model])
    code = digest_code(
        "mental_slm.language_model.chat",
        "mental_slm.language_model.loading",
        f"{__package__}.in_process",
    )
    return digest([judge.name, model.digest, dtype, code])


def first_requests(
    samples: Iterable[Sample],
    judge: JudgeModel,
    identity: str,
    prompts: Prompts,
    options: JudgeOptions,
) -> list[Request]:
    """Return the requests that a judge is asked at first; samples with a rule need none."""
    return [
        render_request(sample, judge, identity, prompts, options.max_tokens)
        for sample in samples
        if sample.rule is None
    ]


def ask_judge(
    samples: Sequence[Sample],
    judge: JudgeModel,
    identity: str,
    asker: Asker,
    journal: Path,
    prompts: Prompts,
    options: JudgeOptions,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let one judge score all samples.

    Args:
        samples: What is judged; those with a rule are never shown to the judge.
        judge: Who judges.
        identity: See :func:`identify`.
        asker: Brings replies into the journal.
        journal: The journal of this judge.
        prompts: The rubric.
        options: How often a judge is asked again.

    Returns:
        One row per sample: what is known of it, its scores and failures by criterion; and counts of
        what asking took.

    Raises:
        Interrupted: After Ctrl-C; what was answered is in the journal.
    """
    taken = Counter[str]()
    summaries: list[openai_client.Summary] = []
    stopped_by: str | None = None
    known: set[str] = set()
    while True:
        talks = _read_talks(samples, judge, identity, journal, prompts, options)
        requests = [request for talk in talks for request in talk.requests]
        ids = {request["custom_id"] for request in requests}
        if ids == known or stopped_by or not any(talk.waiting for talk in talks):
            break
        known = ids
        try:
            summaries.append(asker(requests, journal))
            stopped_by = summaries[-1].stopped_by
        except openai_client.EndpointError as error:
            # the other judges and the rest of the evaluation go on; all that is missing is counted
            logger.error("Judge %s: %s", judge.name, error)
            stopped_by = "server"
        if stopped_by == "interrupt":
            raise Interrupted(
                f"interrupted; what judge {judge.name} has replied is in {journal}. Run the same "
                "command to ask for the rest"
            )
    lost = openai_client.read_failures(journal) if journal.exists() else {}
    for talk in talks:
        taken.update(
            reply.worst_fault
            for reply, _ in zip(talk.replies, talk.requests[1:], strict=False)
            if reply.worst_fault
        )
    by_sample = {id(talk.sample): talk for talk in talks}
    rows = [_row(sample, judge, by_sample.get(id(sample)), lost, prompts) for sample in samples]
    summary = _summarise(judge, summaries, talks, taken, stopped_by)
    _log(judge, summary, rows)
    return rows, summary


def server_asker(judge: JudgeModel, api_key: SecretStr | None, disclosures: Path) -> Asker:
    """Return an asker for a judge behind an address.

    Args:
        judge: With the address.
        api_key: Of the server, if it wants one.
        disclosures: A JSONL file that takes one line per asking: what goes where (ids only).
    """

    def ask(requests: Sequence[Request], journal: Path) -> openai_client.Summary:
        _note_disclosure(judge, requests, disclosures)
        return openai_client.ask(
            requests,
            journal,
            judge.endpoint,
            api_key=api_key,
            prices=judge.known_prices,
            budget_usd=judge.budget_usd,
        )

    return ask


def in_process_asker(model: ModelRef, dtype: Dtype, model_options: ModelOptions) -> Asker:
    """Return an asker for the model of this environment."""

    def ask(requests: Sequence[Request], journal: Path) -> openai_client.Summary:
        return ask_in_process(requests, journal, model, dtype, model_options)

    return ask


def _note_disclosure(judge: JudgeModel, requests: Sequence[Request], path: Path) -> None:
    """Write down what goes to which provider before it goes."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "judge": judge.name,
        "provider": judge.endpoint.host,
        "on_this_machine": judge.endpoint.is_local,
        "model": judge.model,
        "custom_ids": [request["custom_id"] for request in requests],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _read_talks(
    samples: Sequence[Sample],
    judge: JudgeModel,
    identity: str,
    journal: Path,
    prompts: Prompts,
    options: JudgeOptions,
) -> list[_Talk]:
    """Follow every talk as far as the journal goes, up to the next request."""
    entries = (
        {entry["custom_id"]: entry for entry in openai_client.read_answers(journal)}
        if journal.exists()
        else {}
    )
    judged = [sample for sample in samples if sample.rule is None]
    talks = []
    requests = first_requests(judged, judge, identity, prompts, options)
    for sample, first in zip(judged, requests, strict=True):
        talk, request = _Talk(sample), first
        while True:
            talk.requests.append(request)
            if request["custom_id"] not in entries:
                break
            reply = read_reply(entries[request["custom_id"]], sample.order)
            talk.replies.append(reply)
            fault = reply.worst_fault
            if fault is None or len(talk.replies) > options.reasks:
                break
            request = render_repair(request, sample, identity, prompts, reply.text, FAULTS[fault])
        talks.append(talk)
    return talks


def _row(
    sample: Sample,
    judge: JudgeModel,
    talk: _Talk | None,
    lost: dict[str, str],
    prompts: Prompts,
) -> dict[str, Any]:
    row = {"judge": judge.name, **sample.facts(), "rubric_version": prompts.judge_version}
    if talk is None:
        return row | {
            "custom_id": None,
            "attempts": 0,
            "scores": dict.fromkeys(sorted(sample.order), 0),
            "failures": {},
            "reply": "",
            "model": None,
            "created": None,
        }
    best = talk.best
    if best is None:
        fault = lost.get(talk.requests[-1]["custom_id"], NOT_ASKED)
        best = Reply("", {}, dict.fromkeys(sample.order, fault), "", 0)
    return row | {
        "custom_id": talk.requests[0]["custom_id"],
        "attempts": len(talk.replies),
        "scores": dict(sorted(best.scores.items())),
        "failures": dict(sorted(best.faults.items())),
        "reply": best.text,
        "model": best.model or None,
        "created": best.created or None,
    }


def _summarise(
    judge: JudgeModel,
    summaries: Sequence[openai_client.Summary],
    talks: Sequence[_Talk],
    reasked: Counter[str],
    stopped_by: str | None,
) -> dict[str, Any]:
    replies = [reply for talk in talks for reply in talk.replies]
    costs = [summary.cost_usd for summary in summaries]
    created = [reply.created for reply in replies if reply.created]
    return {
        "judge": judge.name,
        "kind": judge.kind,
        "model": judge.model,
        "provider": judge.endpoint.host if judge.kind == "endpoint" else None,
        "response_format": judge.response_format,
        "models": dict(sorted(Counter(reply.model for reply in replies).items())),
        "replied_from": _day(min(created, default=0)),
        "replied_to": _day(max(created, default=0)),
        "samples": len(talks),
        "replies": len(replies),
        "replies_now": sum(summary.answered_now for summary in summaries),
        "retried": _added(summary.retried for summary in summaries),
        "failed": dict(sorted(summaries[-1].failed.items())) if summaries else {},
        "reasked": dict(sorted(reasked.items())),
        "without_reply": sum(not talk.replies for talk in talks),
        "prompt_tokens": sum(summary.prompt_tokens for summary in summaries),
        "completion_tokens": sum(summary.completion_tokens for summary in summaries),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        "stopped_by": stopped_by,
        "seconds": round(sum(summary.seconds for summary in summaries), 1),
    }


def _added(counters: Iterable[Counter[str]]) -> dict[str, int]:
    total = Counter[str]()
    for counter in counters:
        total.update(counter)
    return dict(sorted(total.items()))


def _day(seconds: int) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else None


def _log(judge: JudgeModel, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    failures = Counter(fault for row in rows for fault in row["failures"].values())
    logger.info(
        "Judge %s: %d samples, %d by rule, %d replies (%d new); asked again: %s; criteria without a "
        "score: %s",
        judge.name,
        len(rows),
        sum(row["rule"] is not None for row in rows),
        summary["replies"],
        summary["replies_now"],
        summary["reasked"] or "none",
        dict(failures) or "none",
    )
