"""The story of augmentation: ask the teacher, take the answers, join them to the posts."""

import logging
from collections.abc import Iterator
from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.records import Table
from mental_slm.tasks import SPLITS, TASKS

from .options import AugmentationOptions
from .prompts import (
    STUDENT_SYSTEM,
    TEACHER_SYSTEM,
    TEMPLATE_VERSION,
    student_prompt,
    teacher_prompt,
)
from .template_teacher import compose_answer

logger = logging.getLogger(__name__)


def set_validation_aside(corpus: Table, options: AugmentationOptions) -> Table:
    """Move a share of the train posts to validation where the publishers gave none.

    Dreaddit, for example, comes as train and test only, and a test set must never choose an
    adapter. The choice follows the digest of the text, so that equal texts of two datasets move
    together and no row order or seed matters.

    Returns:
        A copy of the corpus with the new splits.
    """
    table = corpus.copy()
    own_validation = set(table.loc[table["split"] == "val", "dataset"])
    position = table["text_id"].map(lambda text_id: int(text_id[:8], 16) / 16**8)
    moved = (
        (table["split"] == "train")
        & ~table["dataset"].isin(own_validation)
        & (position < options.validation_share)
    )
    # a text that two datasets share must not stand in validation here and in train there
    moved |= (table["split"] == "train") & table["text_id"].isin(table.loc[moved, "text_id"])
    table.loc[moved, "split"] = "val"
    logger.info("Set %d of %d train posts aside for validation", moved.sum(), len(table))
    return table


def render_requests(posts: Table, options: AugmentationOptions) -> list[dict[str, Any]]:
    """Render one teacher request per post, in the format of the OpenAI Batch API.

    Returns:
        Requests in the order of the corpus. ``custom_id`` is a hash of the content, so equal
        requests have equal ids wherever they are made.
    """
    requests = []
    for row in _rows(posts):
        body = {
            "model": options.teacher,
            "messages": [
                {"role": "system", "content": TEACHER_SYSTEM},
                {
                    "role": "user",
                    "content": teacher_prompt(TASKS[row.task], row.text, _visible_label(row)),
                },
            ],
        }
        requests.append(
            {
                "custom_id": custom_id(row, options),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
        )
    return requests


def ask_template_teacher(
    requests: list[dict[str, Any]], posts: Table, options: AugmentationOptions
) -> list[dict[str, Any]]:
    """Let the offline teacher answer every request, in the format of Batch API responses."""
    asked = {request["custom_id"] for request in requests}
    return [
        {
            "custom_id": custom_id(row, options),
            "response": {
                "status_code": 200,
                "body": {
                    "model": options.teacher,
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {
                                "role": "assistant",
                                "content": compose_answer(
                                    TASKS[row.task], row.text, row.text_id, _visible_label(row)
                                ),
                            },
                        }
                    ],
                },
            },
            "error": None,
        }
        for row in _rows(posts)
        if custom_id(row, options) in asked
    ]


def join_pairs(
    posts: Table, responses: list[dict[str, Any]], options: AugmentationOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Join answers to posts by ``custom_id``, one to one, and build the instruction pairs.

    Returns:
        Train, validation and test pairs, and the report with both anti-joins.

    Raises:
        ValueError: Two answers carry one ``custom_id``, or no post got an answer.
    """
    answers = _answers_by_id(responses)
    pairs: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    unanswered = 0
    for row in _rows(posts):
        answer = answers.pop(custom_id(row, options), None)
        if answer is None:
            unanswered += 1
        else:
            pairs[row.split].append(_pair(row, answer, options))
    if not any(pairs.values()):
        raise ValueError("teacher_responses: no answer belongs to any post of the corpus")
    report = _report(pairs, unanswered=unanswered, unasked=len(answers))
    return pairs["train"], pairs["val"], pairs["test"], report


def custom_id(row: Any, options: AugmentationOptions) -> str:
    """Return the id of a request: a hash of all that its answer depends on."""
    return digest([row.task, row.text_id, _visible_label(row), TEMPLATE_VERSION, options.teacher])


def _rows(posts: Table) -> Iterator[Any]:
    """Iterate over rows as named tuples (whose attributes pandas' stubs cannot type)."""
    yield from posts.itertuples()


def _visible_label(row: Any) -> str | None:
    """Return the label that the teacher may see: none for test posts."""
    return None if row.split == "test" else str(row.label)


def _answers_by_id(responses: list[dict[str, Any]]) -> dict[str, str]:
    answers: dict[str, str] = {}
    for response in responses:
        key = response["custom_id"]
        if key in answers:
            raise ValueError(f"teacher_responses: custom_id {key} is answered twice")
        answers[key] = response["response"]["body"]["choices"][0]["message"]["content"]
    return answers


def _pair(row: Any, answer: str, options: AugmentationOptions) -> dict[str, Any]:
    instruction = student_prompt(TASKS[row.task], row.text)
    return {
        "pair_id": digest([row.record_id, instruction, answer]),
        "record_id": row.record_id,
        "text_id": row.text_id,
        "dataset": row.dataset,
        "task": row.task,
        "split": row.split,
        "instruction": instruction,
        "response": answer,
        "messages": [
            {"role": "system", "content": STUDENT_SYSTEM},
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": answer},
        ],
        "label": row.label,
        "teacher": options.teacher,
        "template_version": TEMPLATE_VERSION,
    }


def _report(
    pairs: dict[str, list[dict[str, Any]]], unanswered: int, unasked: int
) -> dict[str, Any]:
    import pandas as pd

    rows = pd.DataFrame([pair for split in SPLITS for pair in pairs[split]])
    counts = rows.groupby(["task", "split"]).size().unstack(fill_value=0)
    sizes = {split: len(pairs[split]) for split in SPLITS}
    return {
        "pairs": sizes,
        "pairs_by_task": {task: row.astype(int).to_dict() for task, row in counts.iterrows()},
        "posts_without_answer": unanswered,
        "answers_without_post": unasked,
        "mean_words_in_response": round(
            float(rows["response"].map(lambda text: len(text.split())).mean()), 1
        ),
    }
