"""Filtering joined answers: accepted rows, rejected rows with their reasons, and the counts."""

from collections.abc import Callable, Sequence
from typing import Any

from mental_slm.prompts import Prompts

from .filter_options import FilterOptions
from .filters import Candidate, count_reasons, filter_candidates

Row = dict[str, Any]


def filter_rows(
    rows: Sequence[Row],
    prompts: Prompts,
    count_tokens: Callable[[str], int],
    options: FilterOptions,
) -> tuple[list[Row], list[Row], Row]:
    """Part the answers that are good enough from the others.

    Args:
        rows: Joined answers (see :func:`.joining.join`), in the order of the corpus.
        prompts: For the student prompt, whose length counts, and the phrases of the labels.
        count_tokens: Text to its length in tokens.
        options: Thresholds.

    Returns:
        Accepted rows; rejected rows with a ``reason``; ``rejected`` (a number), ``by_reason`` and
        ``by_task`` (task to reasons).
    """
    candidates = [_candidate(row, prompts) for row in rows]
    accepted, rejections = filter_candidates(candidates, options, count_tokens)
    kept = {candidate.record_id for candidate in accepted}
    reasons = {rejection.candidate.record_id: rejection.reason for rejection in rejections}
    tasks = dict.fromkeys(row["task"] for row in rows)
    by_task = {
        task: {
            reason: count
            for reason, count in count_reasons(
                r for r in rejections if r.candidate.task == task
            ).items()
            if count
        }
        for task in tasks
    }
    return (
        [row for row in rows if row["record_id"] in kept],
        [
            {**row, "reason": reasons[row["record_id"]]}
            for row in rows
            if row["record_id"] in reasons
        ],
        {
            "rejected": len(rejections),
            "by_reason": count_reasons(rejections),
            "by_task": by_task,
        },
    )


def _candidate(row: Row, prompts: Prompts) -> Candidate:
    return Candidate(
        record_id=row["record_id"],
        task=row["task"],
        phrases=prompts.tasks[row["task"]].phrases,
        label=row["visible_label"],
        post=row["masked"],
        prompt=prompts.student_prompt(row["task"], row["masked"]),
        answer=row["answer"],
        finish_reason=row["finish_reason"],
        refusal=row["refusal"],
    )
