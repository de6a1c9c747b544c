"""The report of the augmentation: what was asked, what came back, what became a pair."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mental_slm.tasks import ANSWER_PREFIX, PROFILE_TASK, SPLITS, TASKS

#: Openings of so many words are counted as templates.
OPENING_WORDS = 5

_TITLES = {**{name: task.title for name, task in TASKS.items()}, PROFILE_TASK: "Emotion profile"}


def title_of(task: str) -> str:
    """Return the name of a task as people read it."""
    return _TITLES[task]


def count_pairs(pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count pairs by task and split, the words of their responses, and the share of openings.

    Args:
        pairs: Pairs of all splits.

    Returns:
        ``pairs`` (by split), ``by_task`` (task, split), ``without_reference`` (test pairs by task),
        ``words`` (task: histogram of words per response, in bins of ten), ``openings`` (task: share
        of the most frequent opening among the answers).
    """
    table = pd.DataFrame(pairs)
    written = table[(table["response"] != "") & (table["task"] != PROFILE_TASK)]
    words = written["response"].map(lambda answer: len(answer.split()))
    opening = written["response"].map(lambda answer: " ".join(answer.split()[:OPENING_WORDS]))
    tasks = [task for task in _TITLES if task in set(table["task"])]
    answered = [task for task in tasks if task in set(written["task"])]
    empty = table[(table["response"] == "") & (table["task"] != PROFILE_TASK)]
    return {
        "pairs": _by_split(table),
        "by_task": {task: _by_split(table[table["task"] == task]) for task in tasks},
        "without_reference": {
            task: int((empty["task"] == task).sum()) for task in tasks if task != PROFILE_TASK
        },
        "words": {task: _histogram(words[written["task"] == task]) for task in answered},
        "openings": {
            task: round(
                float(opening[written["task"] == task].value_counts(normalize=True).iloc[0]), 4
            )
            for task in answered
        },
    }


def write_report(counts: dict[str, Any]) -> str:
    """Write the report in Markdown, from counts alone: it holds no text of any post or answer."""
    return "\n".join(
        [
            "# Instruction pairs",
            "",
            _summary(counts),
            "",
            "## Pairs by task and split",
            "",
            _table(
                ["task", *SPLITS, "test without reference"],
                [
                    [title_of(task), *row.values(), counts["without_reference"].get(task, "")]
                    for task, row in counts["by_task"].items()
                ],
            ),
            "",
            "A test post is always kept. Where the teacher gave no reference that passed the filters, "
            "it is scored on its label alone. Emotion profiles are numbers and have no reference text.",
            "",
            "## The teacher",
            "",
            *_teacher(counts),
            "",
            "## Answers put aside",
            "",
            *_filters(counts),
            "",
            "## Personal data",
            "",
            _masked(counts["masked"]),
            "",
            "## Wording",
            "",
            f"The share of the most frequent opening ({OPENING_WORDS} words) tells how far a task is "
            "answered from a template, which a small model would learn by heart.",
            "",
            _table(
                ["task", "largest share of one opening", "median words", "label repeated as told"],
                [
                    [
                        title_of(task),
                        f"{share:.1%}",
                        _median(counts["words"][task]),
                        _share(counts["joining"]["labels_by_task"][task]),
                    ]
                    for task, share in counts["openings"].items()
                ],
            ),
            "",
        ]
    )


def _by_split(table: pd.DataFrame) -> dict[str, int]:
    return {split: int((table["split"] == split).sum()) for split in SPLITS}


def _histogram(words: "pd.Series[int]") -> dict[str, int]:
    bins = Counter(int(count) // 10 * 10 for count in words)
    return {str(start): bins[start] for start in sorted(bins)}


def _median(histogram: dict[str, int]) -> str:
    half, seen = sum(histogram.values()) / 2, 0
    for start, count in histogram.items():
        seen += count
        if seen >= half:
            return f"{start} to {int(start) + 9}"
    return ""


def _share(labels: dict[str, int]) -> str:
    told = labels["told"]
    return f"{labels['repeated'] / told:.1%} of {told:,}" if told else "none told"


def _summary(counts: dict[str, Any]) -> str:
    joining = counts["joining"]
    sizes = ", ".join(f"{count:,} {split}" for split, count in counts["pairs"].items())
    return (
        f"{sum(counts['pairs'].values()):,} pairs ({sizes}). {joining['answered']:,} posts were "
        f"answered, {joining['posts_without_answer']:,} were not; {joining['answers_without_post']:,} "
        f"answers belong to no post. Put aside by the filters: {counts['filtering']['rejected']:,}."
    )


def _teacher(counts: dict[str, Any]) -> list[str]:
    asking, joining = counts["asking"], counts["joining"]
    told = joining["labels_told"]
    share = f"{joining['labels_repeated'] / told:.1%}" if told else "none"
    lines = [
        f"- Teacher `{asking['teacher']}`"
        + (f" at {asking['provider']}." if asking["provider"] else ", on this machine, free.")
    ]
    if asking["provider"]:
        cost = asking["cost_usd"]
        lines += [
            f"- {asking['answered_before']:,} answers were there from before, {asking['answered_now']:,} "
            f"came now, {asking['missing']:,} are missing"
            + (f" (stopped by {asking['stopped_by']})." if asking["stopped_by"] else "."),
            f"- {asking['prompt_tokens']:,} prompt and {asking['completion_tokens']:,} answer tokens "
            f"in this run: {_dollars(cost)} (expected for all: {_dollars(asking['expected_cost_usd'])}).",
            f"- Tries again: {_named(asking['retried'])}. Without an answer: {_named(asking['failed'])}.",
            f"- Models that answered: {_named(asking['models'])}.",
        ]
    lines.append(
        f"- Of {told:,} answers whose teacher knew the label, {share} end with it as asked "
        f'(a line "{ANSWER_PREFIX} ..."). Test references are label-blind.'
    )
    return lines


def _filters(counts: dict[str, Any]) -> list[str]:
    by_reason = counts["filtering"]["by_reason"]
    if not counts["filtering"]["rejected"]:
        return ["None: every answer passed every filter."]
    tasks = list(counts["filtering"]["by_task"])
    rows = [
        [
            f"`{reason}`",
            *(counts["filtering"]["by_task"][task].get(reason, 0) for task in tasks),
            total,
        ]
        for reason, total in by_reason.items()
        if total
    ]
    return [_table(["reason", *map(title_of, tasks), "all"], rows)]


def _masked(masked: dict[str, int]) -> str:
    found = _named(masked)
    return (
        f"Masked in posts before the teacher saw them: {found}. Answers are searched again, and one "
        "that holds personal data is put aside."
    )


def _named(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _dollars(cost: float | None) -> str:
    return "unknown cost" if cost is None else f"{cost:.4f} $"


def _table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
