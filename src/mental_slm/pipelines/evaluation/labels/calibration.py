"""What label probabilities are worth: calibration, and whether doubt points at errors.

All functions take the items of one task or of several, and rows of weights (bootstrap resamples or
the sample itself), and return one number per row.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mental_slm.statistics import Array, mean


def calibration_error(
    confidence: Array, correct: NDArray[np.bool_], weights: Array, bins: int
) -> Array:
    """Return the expected calibration error (Naeini et al. 2015; Guo et al. 2017).

    Items are put into bins of equal width by the probability of their most probable label; the
    error is the mean gap between confidence and accuracy of a bin, weighted by its items. It is
    never negative, so a perfectly calibrated system shows more than 0 in a small sample.
    """
    members = _membership(confidence, bins)
    gaps = weights @ (members * (confidence - correct)[:, None])
    result: Array = np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
    return result


def score_probabilities(probabilities: pd.DataFrame) -> pd.DataFrame:
    """Condense label probabilities to one row per system and item.

    Args:
        probabilities: One row per system, item and option.

    Returns:
        Indexed by system and pair_id: ``likelihood_label`` (the most probable option; ties: first
        in the alphabet), its probability ``confidence``, the gold label's ``label_probability``,
        and ``brier``, the squared distance to the truth over all options (0 to 2).
    """
    keys = ["system", "pair_id"]
    ranked = probabilities.sort_values(
        [*keys, "probability", "option"], ascending=[True, True, False, True]
    )
    highest = ranked.groupby(keys)[["option", "probability"]].first()
    gold = probabilities[probabilities["option"] == probabilities["label"]]
    of_gold = gold.set_index(keys)["probability"]
    squares = (probabilities["probability"] ** 2).groupby(
        [probabilities["system"], probabilities["pair_id"]]
    )
    return pd.DataFrame(
        {
            "likelihood_label": highest["option"],
            "confidence": highest["probability"],
            "label_probability": of_gold,
            # sum of (p - truth)^2 = sum of p^2, less p^2, plus (1 - p)^2 of the gold label
            "brier": squares.sum() + 1 - 2 * of_gold,
        }
    )


def skill(score: Array, reference: Array, weights: Array) -> Array:
    """Return 1 - mean score / mean reference score: 0 equals the reference, 1 is perfect.

    Not a number in a resample whose reference is perfect.
    """
    below = mean(reference, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, 1 - mean(score, weights) / below, np.nan)


def area_under_risk(confidence: Array, correct: NDArray[np.bool_], weights: Array) -> Array:
    """Return the area under the risk-coverage curve (El-Yaniv and Wiener 2010).

    That is the error rate among the most confident items, averaged over all shares of items. A
    confidence that says nothing gives the plain error rate; lower is better. Items of equal
    confidence are taken together.
    """
    order = np.argsort(-confidence, kind="stable")
    in_order = weights[:, order]
    taken = in_order.cumsum(axis=1)
    wrong = (in_order * ~correct[order]).cumsum(axis=1)
    ends = _ends_of_ties(confidence[order])
    with np.errstate(invalid="ignore"):  # nothing taken yet: those items weigh nothing
        risk = np.nan_to_num(wrong[:, ends] / taken[:, ends])
    result: Array = (in_order * risk).sum(axis=1) / in_order.sum(axis=1)
    return result


def reliability_bins(
    confidence: Array, correct: NDArray[np.bool_], bins: int
) -> list[dict[str, float]]:
    """Return confidence and accuracy of every bin that holds an item."""
    members = _membership(confidence, bins).astype(bool)
    return [
        {
            "n": int(inside.sum()),
            "confidence": round(float(confidence[inside].mean()), 6),
            "accuracy": round(float(correct[inside].mean()), 6),
        }
        for inside in members.T
        if inside.any()
    ]


def risk_coverage(
    confidence: Array, correct: NDArray[np.bool_], points: int = 20
) -> list[dict[str, float]]:
    """Return the error rate among the most confident 1/points, 2/points, ... of the items."""
    order = np.argsort(-confidence, kind="stable")
    ends = _ends_of_ties(confidence[order])
    wrong = np.cumsum(~correct[order])
    n = len(order)
    last = sorted(
        {int(ends[max(1, round(n * point / points)) - 1]) for point in range(1, points + 1)}
    )
    return [
        {"coverage": round((end + 1) / n, 6), "risk": round(float(wrong[end]) / (end + 1), 6)}
        for end in last
    ]


def _membership(confidence: Array, bins: int) -> Array:
    """Return a table of items by bins with a 1 where an item lies."""
    # bins are open on the left, as in Guo et al.; a confidence of 0 joins the first
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    result: Array = np.eye(bins)[index]
    return result


def _ends_of_ties(ordered: Array) -> NDArray[np.intp]:
    """Return, for every place in a sorted array, the last place with the same value."""
    _, counts = np.unique(-ordered, return_counts=True)
    ends: NDArray[np.intp] = np.repeat(np.cumsum(counts) - 1, counts)
    return ends
