"""Estimates with 95 % intervals, and paired tests.

Accuracy carries a Wilson interval. Everything that is not a plain proportion carries a percentile
bootstrap interval over items (Efron 1979); the same resamples serve all systems, so that the
difference of two systems is a paired one. A resample is a row of weights: how often each item was
drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Estimate:
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three numbers, rounded to six digits."""
        return {k: round(float(v), 6) for k, v in vars(self).items()}


def wilson(successes: int, n: int) -> Estimate:
    """Return a proportion with its Wilson score interval (Wilson 1927).

    Raises:
        ValueError: ``n`` is zero or ``successes`` lies outside 0..n.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high))


def resample_weights(n: int, resamples: int, seed: Sequence[int]) -> Array:
    """Draw bootstrap resamples of ``n`` items.

    Returns:
        Shape (resamples, n): how often each item was drawn. Every row sums to n.
    """
    generator = np.random.default_rng(list(seed))
    return generator.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def mean(values: Array, weights: Array) -> Array:
    """Return the weighted mean of ``values`` (n) for every row of ``weights`` (rows, n)."""
    result: Array = weights @ values / weights.sum(axis=1)
    return result


def macro_f1(gold: Sequence[str], predicted: Sequence[str | None], weights: Array) -> Array:
    """Return macro F1 for every row of weights.

    The mean runs over the labels that occur in the gold labels of the (re)sample; a label that
    nobody could have found has no F1. An invalid prediction (None) is a miss for its gold label and
    a false alarm for none.

    Args:
        gold: Gold labels, n.
        predicted: Predicted labels, n; None for an invalid answer.
        weights: Shape (rows, n).

    Returns:
        Shape (rows,).
    """
    gold_array = np.asarray(gold, dtype=object)
    predicted_array = np.asarray(predicted, dtype=object)
    labels = sorted(set(gold))
    is_gold = np.stack([gold_array == label for label in labels], axis=1)
    is_predicted = np.stack([predicted_array == label for label in labels], axis=1)
    hits = weights @ (is_gold & is_predicted)
    support = weights @ is_gold
    predictions = weights @ is_predicted
    # 2 TP / (2 TP + FP + FN), where 2 TP + FP + FN = predictions + support
    f1 = 2 * hits / np.maximum(predictions + support, 1)
    result: Array = (f1 * (support > 0)).sum(axis=1) / (support > 0).sum(axis=1)
    return result


def estimate(point: float, replicates: Array) -> Estimate:
    """Return ``point`` with the percentile interval of its bootstrap replicates."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(point, float(low), float(high))


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Compare two systems on the same items by McNemar's exact test (McNemar 1947).

    Returns:
        Items only a got right, items only b got right, and the two-sided p-value (1 where the two
        never differ).
    """
    from scipy.stats import binomtest

    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    differing = only_a + only_b
    p_value = float(binomtest(only_a, differing).pvalue) if differing else 1.0
    return only_a, only_b, p_value


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for testing several hypotheses at once (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
