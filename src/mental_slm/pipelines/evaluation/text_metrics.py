"""Measures of the explanation (an answer without its answer line) against its reference.

A similarity means little alone: every explanation of a task resembles every reference of it. So each
measure stands beside floors, made of the same items:

``*_shuffled``
    the explanation against the reference of another post with the same label of the same task (of
    the task, where its label has one post only; of none, where the task has one).
``bertscore_generic_f1``
    one fixed kind answer that has read nothing, against the reference.
``bertscore_copy_f1``
    the post itself, against the reference.

The skill ``(score - shuffled) / (1 - shuffled)`` is computed from the means, see :mod:`.summary`.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from mental_slm.pipelines.evaluation.labels.parsing import parse_lenient
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.selection import hash_text
from mental_slm.pipelines.evaluation.text_similarity import (
    TextSimilarity,
    describe_bertscore,
    find_baseline,
    rescale,
)
from mental_slm.tasks import ANSWER_PREFIX

logger = logging.getLogger(__name__)

#: An answer that fits every post: whatever it scores is not understanding.
GENERIC_ANSWER = (
    "It sounds like you are going through a lot right now, and it makes sense that you feel this "
    "way. Your feelings are valid and you are not alone. It may help to talk to someone you trust, "
    "to rest, and to take small steps. If it gets too much, a professional can support you."
)

_Score = Callable[[Sequence[tuple[str, str]]], list[float]]


def score_texts(
    answers: pd.DataFrame, items: Sequence[dict[str, Any]], options: EvaluationOptions
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Add the measures to a table of answers.

    An item without a reference has none of them (not a number). An empty explanation scores 0.

    Args:
        answers: Columns ``pair_id``, ``task`` and ``answer``.
        items: All items answered, with ``response`` (the reference), ``label``, ``post`` and
            ``phrases``.
        options: Encoder, seed of the shuffling.

    Returns:
        The table with further columns, and the description BERTScore must be quoted with.

    Raises:
        ValueError: A task has no reference at all.
    """
    by_id = {item["pair_id"]: item for item in items}
    references = {
        name: item["response"] for name, item in by_id.items() if item["response"].strip()
    }
    _check_references(items, references)
    others, of_other_label = _pick_others(
        [item for item in items if item["pair_id"] in references], options.seed
    )
    similarity = TextSimilarity(options.bertscore)
    table = answers[answers["pair_id"].isin(list(references))]
    ids = table["pair_id"].tolist()
    explanations = [explanation(answer) for answer in table["answer"]]
    logger.info("measuring %d explanations against their references", len(ids))

    def against(texts: Sequence[str], by: dict[str, str], score: _Score) -> list[float]:
        """Score texts against what ``by`` names for their items; not a number where it names none."""
        known = [index for index, name in enumerate(ids) if name in by]
        found = score([(texts[index], references[by[ids[index]]]) for index in known])
        scores = dict(zip(known, found, strict=True))
        return [scores.get(index, math.nan) for index in range(len(ids))]

    itself = {name: name for name in references}
    f1 = against(explanations, itself, similarity.score)
    columns = {
        "bertscore_f1": f1,
        "bertscore_shuffled_f1": against(explanations, others, similarity.score),
        "bertscore_generic_f1": against([GENERIC_ANSWER] * len(ids), itself, similarity.score),
        "bertscore_copy_f1": against([by_id[i]["post"] for i in ids], itself, similarity.score),
        "chrf": against(explanations, itself, chrf),
        "chrf_shuffled": against(explanations, others, chrf),
        "rouge_l": against(explanations, itself, rouge_l),
        "rouge_l_shuffled": against(explanations, others, rouge_l),
        "label_agreement": [
            _agree(by_id[name]["phrases"], answer, references[name])
            for name, answer in zip(ids, table["answer"], strict=True)
        ],
    }
    description = describe_bertscore(options.bertscore)
    baseline = find_baseline(description["encoder"], description["layers"])
    if baseline is not None:
        columns["bertscore_rescaled_f1"] = [rescale(value, baseline) for value in f1]
    empty = sum(not text.strip() for text in explanations)
    description |= {
        "answers": len(ids),
        "without_reference": len(answers) - len(ids),
        "empty_explanations": empty,
        "texts_of_several_windows": similarity.long_texts,
        "shuffled_from_other_labels": of_other_label,
    }
    return answers.join(pd.DataFrame(columns, index=table.index)), description


def explanation(answer: str) -> str:
    """Return an answer without its answer lines."""
    prefix = ANSWER_PREFIX.lower()
    kept = [line for line in answer.splitlines() if not line.strip().lower().startswith(prefix)]
    return "\n".join(kept).strip()


def chrf(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return chrF2 of every (candidate, reference) pair from 0 to 1 (Popovic 2015, by sacrebleu)."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return [
        round(metric.sentence_score(candidate, [reference]).score / 100, 6)
        for candidate, reference in pairs
    ]


def rouge_l(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the F1 of ROUGE-L of every (candidate, reference) pair (Lin 2004, by rouge-score)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return [
        round(float(scorer.score(reference, candidate)["rougeL"].fmeasure), 6)
        for candidate, reference in pairs
    ]


def _check_references(items: Sequence[dict[str, Any]], references: dict[str, str]) -> None:
    tasks = {item["task"] for item in items}
    without = sorted(tasks - {item["task"] for item in items if item["pair_id"] in references})
    if without:
        raise ValueError(
            f"pairs_test: no pair of task {without[0]} has a reference; let the teacher answer the "
            "test posts (kedro run --pipelines augmentation) or look at its filters"
        )


def _pick_others(items: Sequence[dict[str, Any]], seed: int) -> tuple[dict[str, str], int]:
    """Give every item another one of its task and label, by a seeded cycle.

    Returns:
        Item to item, and how many had to take one of another label. An item that is alone in its
        task is left out.
    """
    by_task: dict[str, list[str]] = defaultdict(list)
    by_label: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in sorted(items, key=lambda item: hash_text(f"{seed} {item['pair_id']}")):
        by_task[item["task"]].append(item["pair_id"])
        by_label[item["task"], item["label"]].append(item["pair_id"])
    of_task = {a: b for ids in by_task.values() for a, b in _cycle(ids)}
    of_label = {a: b for ids in by_label.values() for a, b in _cycle(ids)}
    return of_task | of_label, len(of_task.keys() - of_label.keys())


def _cycle(ids: Sequence[str]) -> list[tuple[str, str]]:
    return [*zip(ids, [*ids[1:], *ids[:1]], strict=True)] if len(ids) > 1 else []


def _agree(phrases: dict[str, str], answer: str, reference: str) -> float:
    """Tell whether answer and reference name the same option; not a number if the latter names none.

    References are label-blind: whoever wrote one saw no label, so it is a second opinion.
    """
    meant = parse_lenient(phrases, reference)
    return math.nan if meant is None else float(parse_lenient(phrases, answer) == meant)
