"""What an exported model is for: the label it takes on held-out posts, beside the original's.

A model reads prompt and "Answer:" and takes the label whose phrase it finds likeliest to follow,
by the first token in which the phrases differ. No text is generated, so that one run per post is
enough, on whatever runtime the exported model needs. Evaluation scores whole phrases
(:mod:`mental_slm.language_model.label_scoring`); here one model is compared with itself.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mental_slm.language_model.chat import encode_prompt
from mental_slm.language_model.label_scoring import Branches, shares
from mental_slm.language_model.onnx_decoding import Array

logger = logging.getLogger(__name__)

#: An answer counts as decided where the first label leads the second by this share.
DECIDED_LEAD = 0.1


@dataclass(frozen=True)
class Question:
    """A held-out post with its question, up to where the label follows.

    Attributes:
        token_ids: Prompt and the opening of the answer line.
        options: For each label the first token in which its phrase differs from the others'.
        gold: Index of the right one.
    """

    token_ids: list[int]
    options: tuple[int, ...]
    gold: int


def draw_questions(
    pairs: Sequence[dict[str, Any]], tokenizer: Any, items: int, tokens: int
) -> list[Question]:
    """Draw held-out pairs with a label evenly over the tasks, those that fit.

    Left out are emotion profiles, and tasks of which two phrases begin with the same token: there
    one token does not tell the labels apart.

    Args:
        pairs: Held-out pairs. Ids are hashes, so their order is a fair draw.
        tokenizer: With a chat template.
        items: How many, at most.
        tokens: Longer prompts are left out.
    """
    by_task: dict[str, list[Question]] = {}
    for pair in sorted(pairs, key=lambda pair: str(pair["pair_id"])):
        drawn = by_task.setdefault(pair["task"], [])
        if pair["phrases"] and len(drawn) < items:
            question = _ask(pair, tokenizer)
            distinct = len(set(question.options)) == len(question.options)
            drawn += [question] if distinct and len(question.token_ids) <= tokens else []
    if unasked := sorted(task for task, drawn in by_task.items() if not drawn):
        logger.info("no question about %s: see draw_questions", ", ".join(unasked))
    turns = [
        (turn, task, question)
        for task, drawn in by_task.items()
        for turn, question in enumerate(drawn)
    ]
    return [question for _, _, question in sorted(turns, key=lambda turn: turn[:2])[:items]]


def label_shares(question: Question, final_logits: Array) -> tuple[float, ...]:
    """Return the shares of a question's labels.

    Args:
        question: From :func:`draw_questions`.
        final_logits: ``[vocabulary]``, behind its last token.
    """
    return shares(final_logits[list(question.options)].astype(float).tolist())


def compare_answers(
    questions: Sequence[Question],
    original: Sequence[Sequence[float]],
    other: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """Compare what two models answer.

    Args:
        questions: What both were asked.
        original: Shares of the labels per question, of the model before.
        other: The same of the model after.

    Returns:
        ``task_items``; ``task_accuracy`` of the other and ``task_accuracy_before``;
        ``task_agreement``: share of the same label; ``decided_task_agreement``: the same where the
        original is decided (None where it never is). All None without a question.
    """
    before, after = ([int(np.argmax(row)) for row in rows] for rows in (original, other))
    gold = [question.gold for question in questions]
    same = [a == b for a, b in zip(before, after, strict=True)]
    leads = [first - second for first, second in (sorted(row)[:-3:-1] for row in original)]
    return {
        "task_items": len(questions),
        "task_accuracy": _share([a == b for a, b in zip(after, gold, strict=True)]),
        "task_accuracy_before": _share([a == b for a, b in zip(before, gold, strict=True)]),
        "task_agreement": _share(same),
        "decided_task_agreement": _share(
            [equal for equal, lead in zip(same, leads, strict=True) if lead >= DECIDED_LEAD]
        ),
    }


def _ask(pair: dict[str, Any], tokenizer: Any) -> Question:
    branches = Branches.of(tokenizer, tuple(pair["phrases"].values()))
    prompt = encode_prompt(tokenizer, pair["messages"][:-1])
    options = tuple(ending[0] for ending in branches.endings)
    return Question(
        [*prompt, *branches.opening], options, list(pair["phrases"]).index(pair["label"])
    )


def _share(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None
