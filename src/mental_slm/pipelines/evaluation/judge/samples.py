"""What is judged: answers of the models, attacks on the judge, references, anchors, repeats."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.privacy import scrub
from mental_slm.prompts import CRITERIA, Prompts

from .anchors import read_anchors
from .options import JudgeOptions
from .rules import find_rule

#: Systems by the names that reports use. ``padded`` is the tuned model's answer with empty phrases
#: after it, ``template`` one kind answer to every post; both attack the judge.
MODELS = ("base", "tuned")
ATTACKS = ("template", "padded")
SYSTEMS = (*MODELS, *ATTACKS, "reference")
ANCHOR = "anchor"

CUT_MARK = " [...]"


@dataclass(frozen=True)
class Sample:
    """One answer to be judged once.

    Attributes:
        item_id: The ``pair_id`` of the test pair, or the id of an anchor.
        text_id: Of the post; answers to one post depend on each other.
        task: Task of the pair; ``anchor`` for anchors.
        system: One of :data:`SYSTEMS`, or ``anchor``. No judge is shown it.
        teacher: Who wrote the reference of the item; empty for anchors.
        repeat: 0, or 1 for the second judgement of the same answer.
        order: The criteria in the order in which the judge reads and scores them.
        post: With personal data masked, cut to the limit.
        question: What was asked about the post.
        answer: With personal data masked, cut to the limit.
        words: Length of the whole answer.
        cut: Whether post or answer were cut.
        rule: Why the answer scores 0 without a judge, or None.
    """

    item_id: str
    text_id: str
    task: str
    system: str
    teacher: str
    repeat: int
    order: tuple[str, ...]
    post: str
    question: str
    answer: str
    words: int
    cut: bool
    rule: str | None

    def facts(self) -> dict[str, Any]:
        """Return what may be kept beside the scores: no text, its digest only."""
        values = asdict(self)
        for name in ("post", "question", "answer"):
            del values[name]
        return values | {"order": list(self.order), "answer_digest": digest(self.answer)}


def make_samples(
    items: Sequence[dict[str, Any]],
    generations: Mapping[str, Sequence[dict[str, Any]]],
    prompts: Prompts,
    options: JudgeOptions,
    seed: int,
) -> list[Sample]:
    """Choose the items and make every sample about them.

    The criteria are shuffled per item: all systems of an item are scored in the same order, so
    that a paired difference does not hold an effect of the order; a repeat gets another one.

    Args:
        items: Test items of all tasks; those without a question (emotion profiles) are left out.
        generations: Model (``base``, ``tuned``) to its answers.
        prompts: The wording.
        options: How many items, how many repeats, where to cut.
        seed: Of the orders and of the choice of repeats.

    Raises:
        ValueError: An item that is judged has no answer of a model; names system and id.
    """
    chosen = choose_items([item for item in items if item["task"] in prompts.tasks], options.items)
    answers = {
        system: {row["pair_id"]: row["answer"] for row in rows}
        for system, rows in generations.items()
    }
    samples = [
        _sample(item, system, answer, prompts, options, seed)
        for item in chosen
        for system, answer in _answers_to(item, answers, prompts)
    ]
    samples += [_anchor_sample(name, options, seed) for name in read_anchors()]
    return samples + [_again(sample, seed) for sample in _choose_repeats(samples, options, seed)]


def choose_items(items: Sequence[dict[str, Any]], number: int | None) -> list[dict[str, Any]]:
    """Choose items by the hash of their ids, one task after the other in turn.

    A smaller choice is part of a larger one.
    """
    by_task: dict[str, list[dict[str, Any]]] = {}
    for item in sorted(items, key=lambda item: _hash(item["pair_id"])):
        by_task.setdefault(item["task"], []).append(item)
    rounds = zip_longest(*(by_task[task] for task in sorted(by_task)))
    return [item for item in chain.from_iterable(rounds) if item is not None][:number]


def _answers_to(
    item: dict[str, Any], answers: dict[str, dict[str, str]], prompts: Prompts
) -> Iterable[tuple[str, str]]:
    """Yield (system, answer) for one item; an item without a reference has one system fewer."""
    for model in MODELS:
        if item["pair_id"] not in answers[model]:
            raise ValueError(
                f"generations of {model}: no answer to item {item['pair_id']}; run `kedro run "
                "--pipelines evaluation` from the start"
            )
        yield model, answers[model][item["pair_id"]]
    yield "template", prompts.judge.template_answer
    yield "padded", f"{answers['tuned'][item['pair_id']]}\n\n{prompts.judge.padding}"
    if item["response"].strip():
        yield "reference", item["response"]


def _sample(
    item: dict[str, Any],
    system: str,
    answer: str,
    prompts: Prompts,
    options: JudgeOptions,
    seed: int,
) -> Sample:
    shown_post, post_cut = _shorten(scrub(item["post"])[0], options.max_post_words)
    shown_answer, answer_cut = _shorten(scrub(answer)[0], options.max_answer_words)
    return Sample(
        item_id=item["pair_id"],
        text_id=item["text_id"],
        task=item["task"],
        system=system,
        teacher=item["teacher"],
        repeat=0,
        order=_order(item["pair_id"], 0, seed),
        post=shown_post,
        question=prompts.tasks[item["task"]].question,
        answer=shown_answer,
        words=len(answer.split()),
        cut=post_cut or answer_cut,
        rule=find_rule(answer, item["instruction"]),
    )


def _anchor_sample(name: str, options: JudgeOptions, seed: int) -> Sample:
    anchor = read_anchors()[name]
    return Sample(
        item_id=name,
        text_id=name.replace("-", ""),
        task=ANCHOR,
        system=ANCHOR,
        teacher="",
        repeat=0,
        order=_order(name, 0, seed),
        post=anchor.post,
        question=anchor.question,
        answer=anchor.answer,
        words=len(anchor.answer.split()),
        cut=False,
        rule=None,
    )


def _choose_repeats(samples: Sequence[Sample], options: JudgeOptions, seed: int) -> list[Sample]:
    """Choose the answers to be judged twice: a fixed share of those that a judge sees at all."""
    judged = [s for s in samples if s.rule is None and s.system != ANCHOR]
    ranked = sorted(judged, key=lambda s: _hash(f"{seed} {s.item_id} {s.system}"))
    return ranked[: round(options.repeated_share * len(judged))]


def _again(sample: Sample, seed: int) -> Sample:
    changes = {"repeat": 1, "order": _order(sample.item_id, 1, seed)}
    return Sample(**{**vars(sample), **changes})


def _order(item_id: str, repeat: int, seed: int) -> tuple[str, ...]:
    shuffled = list(CRITERIA)
    random.Random(f"{seed} {item_id} {repeat}").shuffle(shuffled)
    return tuple(shuffled)


def _shorten(text: str, words: int) -> tuple[str, bool]:
    """Return a text of so many words at most, and whether it was cut."""
    if len(text.split()) <= words:
        return text, False
    pieces = text.split(maxsplit=words)
    return text[: len(text) - len(pieces[-1])].rstrip() + CUT_MARK, True


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
