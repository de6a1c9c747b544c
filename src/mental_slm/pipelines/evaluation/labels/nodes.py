"""Nodes that score labels: read from answers, by likelihood, and by the baselines."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.baselines import (
    most_probable,
    predict_majority,
    predict_tfidf,
)
from mental_slm.pipelines.evaluation.labels.likelihoods import score_pairs
from mental_slm.pipelines.evaluation.labels.options import RISK_TASK
from mental_slm.pipelines.evaluation.labels.parsing import parse_lenient, parse_strict
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.selection import check_answers, rank_by_label
from mental_slm.records import Table
from mental_slm.references import ModelRef
from mental_slm.tasks import TASKS

logger = logging.getLogger(__name__)

Pairs = list[dict[str, Any]]


def select_validation_items(pairs_val: Pairs, options: EvaluationOptions) -> Pairs:
    """Choose the validation pairs on which the threshold of the suicide-risk task is set.

    Args:
        pairs_val: Validation pairs.
        options: ``labels.validation_items``.

    Returns:
        The chosen pairs, ordered by id; none where the data hold none of this task.

    Raises:
        ValueError: A pair belongs to another split.
    """
    foreign = [pair["pair_id"] for pair in pairs_val if pair["split"] != "val"]
    if foreign:
        raise ValueError(
            f"pairs_val: {len(foreign)} pairs are not of the validation split, first {foreign[0]}"
        )
    of_task = [pair for pair in pairs_val if pair["task"] == RISK_TASK]
    chosen = rank_by_label(of_task)[: options.labels.validation_items]
    return sorted(chosen, key=lambda pair: str(pair["pair_id"]))


def parse_labels(items: Pairs, generations_base: Pairs, generations_tuned: Pairs) -> Table:
    """Read the label out of every answer, strictly and leniently.

    Args:
        items: Test items.
        generations_base: Answers of the base model.
        generations_tuned: Answers of the tuned model.

    Returns:
        One row per system and item. An answer without a readable label is wrong.

    Raises:
        ValueError: An item has no answer or an answer has no item.
    """
    import pandas as pd

    item_of = {item["pair_id"]: item for item in items}
    rows = []
    for system, generations in (("base", generations_base), ("tuned", generations_tuned)):
        check_answers(system, item_of, generations)
        for generation in generations:
            item = item_of[generation["pair_id"]]
            strict, lenient = (
                parse(item["phrases"], generation["answer"])
                for parse in (parse_strict, parse_lenient)
            )
            rows.append(_label_row(system, item, strict, lenient))
    return pd.DataFrame(rows)


def score_likelihoods(
    items: Pairs,
    validation_items: Pairs,
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> Table:
    """Let a model weigh the options of every item, continuing a killed run where it stopped.

    The answer line is scored directly behind the prompt, without an explanation before it, for the
    base and the tuned model alike.

    Args:
        items: Test items.
        validation_items: Result of :func:`select_validation_items`.
        model: The base or the merged model.
        options: Batch size and number format.
        model_options: Number of threads.
        workspace: Where finished batches are kept.

    Returns:
        One row per item and option: log-likelihood, and probability among the options.
    """
    import pandas as pd

    pairs = [*items, *validation_items]
    rows: list[dict[str, Any]] = []
    for pair, scores in zip(
        pairs, score_pairs(pairs, model, options, model_options, workspace), strict=True
    ):
        probabilities = dict(zip(pair["phrases"], scores.probabilities, strict=True))
        likelihoods = dict(zip(pair["phrases"], scores.log_likelihoods, strict=True))
        rows += _probability_rows(pair, probabilities, likelihoods)
    return pd.DataFrame(rows)


def score_baselines(
    items: Pairs, validation_items: Pairs, pairs_train: Pairs, options: EvaluationOptions
) -> tuple[Table, Table]:
    """Score the baselines on the same items: majority label, and TF-IDF with logistic regression.

    Args:
        items: Test items.
        validation_items: Result of :func:`select_validation_items`.
        pairs_train: Training pairs; the baselines learn from them alone.
        options: The seed.

    Returns:
        One row per system and item with the label, and one per system, item and label with its
        probability.

    Raises:
        ValueError: A task has no training pair.
    """
    import pandas as pd

    labels: list[dict[str, Any]] = []
    probabilities: list[dict[str, Any]] = []
    for task in TASKS:
        of_task = [pair for pair in [*items, *validation_items] if pair["task"] == task]
        if not of_task:
            continue
        train = [pair for pair in pairs_train if pair["task"] == task]
        if not train:
            raise ValueError(
                f"pairs_train: no pair of task {task}, so its baselines have nothing to learn "
                "from; look at the filters of the augmentation pipeline"
            )
        predictions = {
            "majority": predict_majority(train, of_task),
            "tfidf": predict_tfidf(train, of_task, options.seed),
        }
        for system, predicted in predictions.items():
            for pair, shares in zip(of_task, predicted, strict=True):
                complete = {label: shares.get(label, 0.0) for label in TASKS[task].labels}
                rows = _probability_rows(pair, complete, {})
                probabilities += [{"system": system, **row} for row in rows]
                if pair["split"] == "test":
                    label = most_probable(shares)
                    labels.append(_label_row(system, pair, label, label))
    return pd.DataFrame(labels), pd.DataFrame(probabilities)


def collect_label_probabilities(base: Table, tuned: Table, baselines: Table) -> Table:
    """Put the label probabilities of models and baselines into one table.

    Returns:
        One row per system, item and option, ordered by them; no text.
    """
    import pandas as pd

    table = pd.concat([base.assign(system="base"), tuned.assign(system="tuned"), baselines])
    keys = ["system", "split", "task", "pair_id", "option"]
    columns = [*keys, "text_id", "label", "log_likelihood", "probability"]
    table = table.reindex(columns=columns)
    numbers = {"log_likelihood": "float64", "probability": "float64"}
    texts = dict.fromkeys([column for column in columns if column not in numbers], "string")
    return table.astype({**texts, **numbers}).sort_values(keys, ignore_index=True)


def _label_row(
    system: str, item: dict[str, Any], strict: str | None, lenient: str | None
) -> dict[str, Any]:
    return {
        "system": system,
        "pair_id": item["pair_id"],
        "text_id": item["text_id"],
        "dataset": item["dataset"],
        "task": item["task"],
        "label": item["label"],
        "predicted": strict,
        "predicted_lenient": lenient,
        "correct": strict == item["label"],
    }


def _probability_rows(
    pair: dict[str, Any], probabilities: Mapping[str, float], likelihoods: Mapping[str, float]
) -> Sequence[dict[str, Any]]:
    return [
        {
            "pair_id": pair["pair_id"],
            "text_id": pair["text_id"],
            "split": pair["split"],
            "task": pair["task"],
            "label": pair["label"],
            "option": option,
            "log_likelihood": likelihoods.get(option),
            "probability": probability,
        }
        for option, probability in probabilities.items()
    ]
