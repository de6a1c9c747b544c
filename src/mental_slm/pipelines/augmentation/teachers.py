"""The teachers: each takes requests in the Batch format and gives responses in the Batch format."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from mental_slm import openai_client
from mental_slm.prompts import Prompts
from mental_slm.records import Table

from .options import AugmentationOptions
from .requests import custom_id, rows_of, visible_label
from .template_teacher import MODEL, compose_answer

logger = logging.getLogger(__name__)

JOURNAL = "teacher_journal.jsonl"

Row = dict[str, Any]


class Interrupted(RuntimeError):
    """Somebody pressed Ctrl-C while the teacher was being asked."""


class Answers(NamedTuple):
    """What a teacher gave.

    Attributes:
        responses: In the Batch format, in the order of the requests.
        summary: Counts for the report.
    """

    responses: list[Row]
    summary: Row


def ask_template(
    requests: Sequence[Row], posts: Table, prompts: Prompts, options: AugmentationOptions
) -> Answers:
    """Let the offline teacher answer every request."""
    rows = {custom_id(row, prompts, options): row for row in rows_of(posts)}
    responses = []
    for request in requests:
        row = rows[request["custom_id"]]
        answer = compose_answer(prompts, row.task, row.masked, row.text_id, visible_label(row))
        responses.append(_completion(request["custom_id"], answer))
    return Answers(responses, {"asked": len(requests), "answered_now": len(responses)})


def ask_server(
    requests: Sequence[Row], journal: Path, api_key: SecretStr | None, options: AugmentationOptions
) -> Answers:
    """Ask an OpenAI-compatible server for what the journal does not hold yet.

    Raises:
        Interrupted: After Ctrl-C; what was answered is in the journal.
        mental_slm.openai_client.EndpointError: No server, no access, or nothing but failures.
    """
    shared: dict[str, Any] = {
        "api_key": api_key,
        "prices": options.known_prices,
        "budget_usd": options.budget_usd,
    }
    if options.teacher == "openai_batch":
        summary = openai_client.ask_in_batches(
            requests, journal, options.endpoint, options.batch, **shared
        )
    else:
        summary = openai_client.ask(requests, journal, options.endpoint, **shared)
    if summary.stopped_by == "interrupt":
        answered = summary.asked - summary.missing
        raise Interrupted(
            f"interrupted with {answered} of {summary.asked} answers in {journal}. Run the same "
            "command to ask for the others, or go on with what is there: "
            f"--params augmentation.teacher=recorded,augmentation.recorded={journal}"
        )
    return Answers(_in_order(requests, openai_client.read_answers(journal)), summary.to_json())


def read_recordings(requests: Sequence[Row], paths: Sequence[str]) -> Answers:
    """Take the answers from response files in the Batch format; the first one for an id counts.

    Raises:
        FileNotFoundError: Names the option.
        ValueError: Names the file and the line that is no response.
    """
    files = [Path(path) for path in paths]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"augmentation.recorded: no file {', '.join(missing)}")
    asked = {request["custom_id"] for request in requests}
    tally: Counter[str] = Counter()
    answers: dict[str, Row] = {}
    for entry in openai_client.read_recorded(files, tally):
        if openai_client.completion(entry) is None:
            tally["failed"] += 1
        elif entry["custom_id"] not in asked:
            tally["foreign"] += 1
        else:
            answers.setdefault(entry["custom_id"], entry)
    logger.info("%d of %d requests are answered in the recordings", len(answers), len(asked))
    summary = {"asked": len(asked), "answered_before": len(answers), **tally}
    return Answers(_in_order(requests, answers.values()), summary)


def forget_answers(journal: Path, text_ids: Sequence[str]) -> None:
    """Delete every answer about these texts from the journal, whatever it was asked for.

    Answers that batches under way will still bring are not taken either.
    """
    if not text_ids:
        return
    unwanted = set(text_ids)
    held = openai_client.held_ids(journal)
    gone = {name for name in held if name.split("-")[0] in unwanted}
    if gone:
        openai_client.forget(journal, gone)


def _in_order(requests: Sequence[Row], answers: Any) -> list[Row]:
    """Return the answers to these requests in their order, whatever order they came in."""
    found = {answer["custom_id"]: answer for answer in answers}
    ids = [request["custom_id"] for request in requests]
    return [found[name] for name in ids if name in found]


def _completion(custom_id: str, answer: str) -> Row:
    message = {"role": "assistant", "content": answer, "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"model": MODEL, "choices": [choice]}
    return {
        "custom_id": custom_id,
        "response": {"status_code": 200, "body": body},
        "error": None,
    }
