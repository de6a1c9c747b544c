"""Joining answers to posts, and making pairs of them."""

from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.openai_client import completion
from mental_slm.prompts import Prompts
from mental_slm.records import Table
from mental_slm.tasks import parse_answer

from .options import AugmentationOptions
from .requests import custom_id, rows_of, visible_label

Row = dict[str, Any]


def join(
    posts: Table, responses: list[Row], prompts: Prompts, options: AugmentationOptions
) -> tuple[list[Row], Row]:
    """Join answers to posts by ``custom_id``, one to one.

    Args:
        posts: Posts with ``record_id``, ``task``, ``masked`` and what the id depends on.
        responses: In the Batch format, in any order.
        prompts: The wording, which the ids depend on.
        options: Model and sampling, which the ids depend on.

    Returns:
        One row per answered post: ids, ``task``, ``split``, ``visible_label`` (missing for test),
        ``masked`` (the post as the teacher saw it), ``answer``, ``finish_reason``, ``refusal``,
        ``model``; and the counts of both anti-joins, of labels told and of finish reasons.

    Raises:
        ValueError: Two answers carry one ``custom_id``.
    """
    answers = _by_id(responses)
    joined, unanswered = [], 0
    for row in rows_of(posts):
        name = custom_id(row, prompts, options)
        answer = answers.pop(name, None)
        if answer is None:
            unanswered += 1
        else:
            joined.append(_row(row, name, answer))
    agreement = {task: _agreement(joined, task, prompts) for task in dict.fromkeys(posts["task"])}
    return joined, {
        "answered": len(joined),
        "posts_without_answer": unanswered,
        "answers_without_post": len(answers),
        "labels_told": sum(count["told"] for count in agreement.values()),
        "labels_repeated": sum(count["repeated"] for count in agreement.values()),
        "labels_by_task": agreement,
    }


def _agreement(joined: list[Row], task: str, prompts: Prompts) -> dict[str, int]:
    """Count the answers of a task whose teacher knew the label, and those that end with it."""
    told = [row for row in joined if row["task"] == task and row["visible_label"] is not None]
    phrases = prompts.tasks[task].phrases
    repeated = sum(parse_answer(phrases, row["answer"]) == row["visible_label"] for row in told)
    return {"told": len(told), "repeated": repeated}


def make_pair(
    row: Any, answer: Row | None, prompts: Prompts, options: AugmentationOptions
) -> dict[str, Any]:
    """Make one pair of a post and its accepted answer.

    Args:
        row: The post.
        answer: A row of :func:`join`; None for a test post without an accepted answer.
        prompts: The wording.
        options: For the id of the request.
    """
    instruction = prompts.student_prompt(row.task, row.text)
    response = "" if answer is None else answer["answer"].strip()
    return {
        "pair_id": digest([row.record_id, instruction, response]),
        "record_id": row.record_id,
        "text_id": row.text_id,
        "dataset": row.dataset,
        "task": row.task,
        "split": row.split,
        "post": row.text,
        "phrases": dict(prompts.tasks[row.task].phrases),
        "instruction": instruction,
        "response": response,
        "messages": [
            {"role": "system", "content": prompts.student.system},
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": response},
        ],
        "label": row.label,
        "teacher": "" if answer is None else answer["model"],
        "custom_id": custom_id(row, prompts, options),
        "student_version": prompts.student_version,
        "teacher_version": prompts.teacher_version,
    }


def _by_id(responses: list[Row]) -> dict[str, Row]:
    answers: dict[str, Row] = {}
    for response in responses:
        name = response["custom_id"]
        if name in answers:
            raise ValueError(f"teacher_responses: custom_id {name} is answered twice")
        body = completion(response)
        if body is not None:
            answers[name] = body
    return answers


def _row(row: Any, name: str, body: Row) -> Row:
    choice = body["choices"][0]
    return {
        "custom_id": name,
        "record_id": row.record_id,
        "text_id": row.text_id,
        "task": row.task,
        "split": row.split,
        "visible_label": visible_label(row),
        "masked": row.masked,
        "answer": choice["message"].get("content") or "",
        "finish_reason": choice.get("finish_reason"),
        "refusal": choice["message"].get("refusal"),
        "model": body.get("model") or "",
    }
