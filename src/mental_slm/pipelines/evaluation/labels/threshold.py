"""Flagging suicide risk at a rate of false alarms that was fixed beforehand.

The threshold comes from validation posts alone; the test posts only say what it is worth.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mental_slm.statistics import Array


def choose_threshold(negatives: Array, rate: float) -> float:
    """Return the lowest threshold that flags at most a share ``rate`` of the negatives.

    A post is flagged if its score reaches the threshold.

    Args:
        negatives: Scores of validation posts that must not be flagged.
        rate: Allowed share of false alarms, below 1.

    Raises:
        ValueError: There is no negative.
    """
    if not len(negatives):
        raise ValueError("no validation post without risk: a threshold cannot be chosen")
    allowed = math.floor(rate * len(negatives) + 1e-9)
    highest_first = np.sort(negatives)[::-1]
    # just above the first score too many; posts that tie with it stay unflagged as well
    return float(np.nextafter(highest_first[allowed], np.inf))


def area_under_curve(scores: Array, positive: NDArray[np.bool_], weights: Array) -> Array:
    """Return the area under the ROC curve: the chance that a positive scores above a negative.

    Ties count half. Not a number in a resample without one of the two.
    """
    higher = scores[positive][:, None] - scores[~positive][None, :]
    wins = (higher > 0) + 0.5 * (higher == 0)
    of_positive, of_negative = weights[:, positive], weights[:, ~positive]
    pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.where(
            pairs > 0, ((of_positive @ wins) * of_negative).sum(axis=1) / pairs, np.nan
        )
    return result
