"""Estimates with 95 % intervals, paired tests, and the sentence a result allows.

Items that share a post are not independent: DepSeverity and Dreaddit label the same posts. All
resampling therefore draws posts (clusters), never single items. Proportions carry a Wilson interval
on the effective number of items; everything else a percentile bootstrap interval (Efron 1979). One
set of resamples serves all systems, so that the difference of two systems is a paired one. A
resample is a row of weights: how often each item was drawn.

Differences are tested by exchanging the two systems' answers on whole posts at random (Noreen
1989): exact for any measure and any number of items, and on right and wrong it is what McNemar's
test computes.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

#: A p-value, adjusted for the number of tests, below this is significant.
SIGNIFICANCE = 0.05

#: The minimum detectable effect is found with this probability.
POWER = 0.8

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


def wilson(successes: float, n: float) -> Estimate:
    """Return a proportion with its Wilson score interval (Wilson 1927).

    Args:
        successes: Between 0 and ``n``; with an effective ``n`` it need not be whole.
        n: Number of independent items, see :func:`effective_size`.

    Raises:
        ValueError: ``n`` is not positive or ``successes`` lies outside 0..n.
    """
    from scipy.stats import norm

    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} of {n} is no proportion")
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def effective_size(clusters: Sequence[str]) -> float:
    """Return how many independent items a clustered sample is worth at least (Kish 1965).

    It is n where every cluster holds one item, and the number of clusters where all hold equally
    many: items of one cluster are taken to repeat each other, which can only widen an interval.
    """
    sizes = Counter(clusters).values()
    return len(clusters) ** 2 / sum(size**2 for size in sizes)


def resample_weights(n: int, resamples: int, seed: Sequence[int]) -> Array:
    """Draw bootstrap resamples of ``n`` items.

    Returns:
        Shape (resamples, n): how often each item was drawn. Every row sums to n.
    """
    generator = np.random.default_rng(list(seed))
    return generator.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def bootstrap_weights(clusters: Sequence[str], resamples: int, seed: Sequence[int]) -> Array:
    """Draw bootstrap resamples of whole clusters.

    Args:
        clusters: The cluster of every item; for posts their ``text_id``.
        resamples: Number of rows.
        seed: Seed of the generator.

    Returns:
        Shape (resamples, items): how often each item was drawn, equal within a cluster. The order
        of the items does not matter: a cluster is drawn equally often wherever it stands.
    """
    names, membership = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return resample_weights(len(names), resamples, seed)[:, membership]


def swap_weights(clusters: Sequence[str], permutations: int, seed: Sequence[int]) -> Array:
    """Draw which clusters change sides: 1 where the two systems are exchanged, else 0.

    Returns:
        Shape (permutations, items), equal within a cluster.
    """
    names, membership = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    generator = np.random.default_rng(list(seed))
    swaps = generator.integers(0, 2, size=(permutations, len(names)))
    return swaps.astype(np.float64)[:, membership]


def mean(values: Array, weights: Array) -> Array:
    """Return the weighted mean of ``values`` (n) for every row of ``weights`` (rows, n)."""
    result: Array = weights @ values / weights.sum(axis=1)
    return result


def estimate(point: float, replicates: Array) -> Estimate:
    """Return ``point`` with the percentile interval of its bootstrap replicates.

    Raises:
        ValueError: A number is not finite, so that no interval would mean anything.
    """
    if not (math.isfinite(point) and len(replicates) and np.isfinite(replicates).all()):
        raise ValueError(
            "a score is not a number; look for missing values in scores.parquet, and evaluate in "
            "float32 (evaluation.dtype) if a model gave them"
        )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(point, float(low), float(high))


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Compare two systems on the same items by McNemar's exact test (McNemar 1947).

    Returns:
        Items only a got right, items only b got right, and the two-sided p-value (1 where the two
        never differ). It takes items for independent: use it within a task, where each post
        stands once.
    """
    from scipy.stats import binomtest

    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    differing = only_a + only_b
    p_value = float(binomtest(only_a, differing).pvalue) if differing else 1.0
    return only_a, only_b, p_value


def randomisation_p(difference: float, swapped: Array) -> float:
    """Return the two-sided p-value of a paired difference (Noreen 1989).

    Args:
        difference: Of the two systems as they are.
        swapped: The same difference after random exchanges, see :func:`swap_weights`.

    Returns:
        Share of exchanges with a difference at least as large, the observed one counted in; never
        0, and never below 1 / (exchanges + 1).
    """
    # equal differences that were summed in another order differ in their last digits
    extreme = int(np.sum(np.abs(swapped) >= abs(difference) - 1e-9))
    return (extreme + 1) / (len(swapped) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for testing several hypotheses at once (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def detectable_difference(replicates: Array) -> float:
    """Return the minimum detectable effect: what a test of this size finds four times in five.

    It is (z(1 - alpha / 2) + z(power)) standard errors of the paired difference, the standard error
    being that of its bootstrap ``replicates`` (Cohen 1988, chapter 2, with a normal reference).
    """
    from scipy.stats import norm

    distance = float(norm.ppf(1 - SIGNIFICANCE / 2) + norm.ppf(POWER))
    return distance * float(np.std(replicates, ddof=1))


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two systems.

    Attributes:
        difference: First minus second system, with its paired bootstrap interval.
        p_value: Of the randomisation test, unadjusted.
        detectable: Minimum detectable effect.
    """

    difference: Estimate
    p_value: float
    detectable: float


def compare_systems(
    measure: Callable[[Array, Array], Array], resamples: Array, swaps: Array
) -> Comparison | None:
    """Compare two systems on the same items by any measure.

    Args:
        measure: Takes the weights of the first and of the second system's scores, each of shape
            (rows, n), and returns the measure over both together, one number per row.
        resamples: See :func:`bootstrap_weights`.
        swaps: See :func:`swap_weights`.

    Returns:
        None where the measure is not defined on these items. Resamples on which it is not defined
        (no post of a label was drawn) are left out.
    """

    def difference(weights: Array, exchanged: Array) -> Array:
        return measure(weights, exchanged) - measure(exchanged, weights)

    none, all_of_them = np.zeros_like(resamples[:1]), np.ones_like(resamples[:1])
    point = float(difference(all_of_them, none)[0])
    if math.isnan(point):
        return None
    replicates = _defined(difference(resamples, np.zeros_like(resamples)))
    swapped = _defined(difference(1 - swaps, swaps))
    return Comparison(
        estimate(point, replicates),
        randomisation_p(point, swapped),
        detectable_difference(replicates),
    )


def _defined(values: Array) -> Array:
    return values[~np.isnan(values)]


Verdict = Literal["better", "worse", "no difference shown"]


def judge_difference(difference: float, p_adjusted: float, detectable: float) -> Verdict:
    """Decide what a difference of a measure that should be high may be called.

    "Better" and "worse" need both: significance after the adjustment for all declared tests, and a
    difference above the minimum detectable effect.
    """
    if p_adjusted >= SIGNIFICANCE or abs(difference) <= detectable:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def phrase_claim(
    systems: tuple[str, str],
    measure: str,
    difference: Estimate,
    p_adjusted: float,
    detectable: float,
) -> str:
    """Return the one sentence that a paired comparison allows.

    Args:
        systems: The system that is judged, and the one it is compared with.
        measure: Name of the measure, for example ``"weighted F1, Stress"``.
        difference: First minus second system.
        p_adjusted: After Holm's adjustment over the declared family.
        detectable: See :func:`detectable_difference`.
    """
    verdict = judge_difference(difference.value, p_adjusted, detectable)
    first, second = systems
    numbers = (
        f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], "
        f"p = {p_adjusted:.3f} after Holm, minimum detectable effect {detectable:.3f}"
    )
    if verdict == "no difference shown":
        return f"{measure}: no difference shown between {first} and {second} ({numbers})"
    return f"{measure}: {first} is {verdict} than {second} ({numbers})"
