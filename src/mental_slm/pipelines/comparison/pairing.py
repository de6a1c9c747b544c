"""Two models on the same items, item by item."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from mental_slm import statistics as stats
from mental_slm.label_metrics import confusion, weighted_f1
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.statistics import Array, Comparison
from mental_slm.tasks import TASKS


def describe_difference(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Say how the items of two score tables differ; empty if they do not."""
    ids = [set(table["pair_id"]) for table in (first, second)]
    only_first, only_second = len(ids[0] - ids[1]), len(ids[1] - ids[0])
    if only_first or only_second:
        return f"{only_first} items only in the first, {only_second} only in the second"
    return ""


def compare_models(
    scores: dict[str, pd.DataFrame], options: ComparisonOptions
) -> Iterator[tuple[str, str, str, Comparison, float, float]]:
    """Compare the tuned models of several environments, two by two and task by task.

    Args:
        scores: Per model the rows of its tuned system, all on the same items.
        options: Resamples and seed.

    Yields:
        First model, second model, task, the comparison of their weighted F1 (first minus second),
        its p-value after Holm over all that are yielded, and McNemar's p-value.

    Raises:
        ValueError: Two models answered other items; says how many differ.
    """
    found = []
    for first, second in combinations(scores, 2):
        difference = describe_difference(scores[first], scores[second])
        if difference:
            raise ValueError(
                f"{first} and {second} cannot be compared item by item: {difference}; evaluate "
                "both with the same evaluation.max_items_per_task on the same pairs"
            )
        for task in TASKS:
            tables = [_of_task(scores[name], task) for name in (first, second)]
            if len(tables[0]):
                comparison, mcnemar_p = _compare_task(tables, task, options)
                found.append((first, second, task, comparison, mcnemar_p))
    adjusted = stats.holm([comparison.p_value for *_, comparison, _ in found])
    for (first, second, task, comparison, mcnemar_p), p_holm in zip(found, adjusted, strict=True):
        yield first, second, task, comparison, p_holm, mcnemar_p


def _of_task(scores: pd.DataFrame, task: str) -> pd.DataFrame:
    return scores[scores["task"] == task].sort_values("pair_id", ignore_index=True)


def _compare_task(
    tables: list[pd.DataFrame], task: str, options: ComparisonOptions
) -> tuple[Comparison, float]:
    posts = tables[0]["text_id"].tolist()
    gold = tables[0]["label"].tolist()
    predicted = [
        [None if pd.isna(label) else str(label) for label in table["predicted"]] for table in tables
    ]

    def measure(first: Array, second: Array) -> Array:
        labels = TASKS[task].labels
        return weighted_f1(
            confusion(gold, predicted[0], labels, first)
            + confusion(gold, predicted[1], labels, second)
        )

    comparison = stats.compare_systems(
        measure,
        stats.bootstrap_weights(posts, options.resamples, [options.seed]),
        stats.swap_weights(posts, options.resamples, [options.seed, 1]),
    )
    assert comparison is not None  # weighted F1 of at least one item is defined
    right = [np.asarray(table["correct"], dtype=bool) for table in tables]
    return comparison, stats.mcnemar(*right)[2]
