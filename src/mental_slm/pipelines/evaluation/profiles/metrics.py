"""What a prediction of emotion profiles is worth.

Everything here takes arrays of shape (texts, ten dimensions) on the raw scales, and ``weights`` of
shape (resamples, texts) that tell how often each text counts; a single row of ones gives the plain
value. The suffix of a name tells the scale: ``raw`` (emotions and arousal 0 to 3, valence -3 to 3)
or ``01`` (each dimension stretched to 0..1, as StudEmo's authors do). Cosines of different scales
must not be compared: 0.60 on one is 0.74 on the other, for the same constant answer.

* ``spearman``: rank correlation, mean over dimensions.
* ``ccc``: concordance (Lin 1989), mean over dimensions; unlike a correlation it asks for the right
  level and spread.
* ``mae_skill``: 1 - MAE / MAE of the best constant. Both are sums over dimensions on 0..1; the best
  constant is the training mean or median, whichever is nearer to these texts, by dimension.
* ``centred_cosine_01``: cosine after the training mean is taken off both; 0 for another text.
* ``cosine_raw``, ``cosine_01``: as published elsewhere; only beside the constant's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mental_slm.tasks import EMOTION_DIMENSIONS

Array = NDArray[np.floating[Any]]

DIMENSIONS = tuple(EMOTION_DIMENSIONS)

#: Measures in the order of reports.
MEASURES = ("spearman", "ccc", "mae_skill", "centred_cosine_01", "cosine_01", "cosine_raw")

_LOW = np.array([low for low, _ in EMOTION_DIMENSIONS.values()], dtype=np.float64)
_SPAN = np.array([high - low for low, high in EMOTION_DIMENSIONS.values()], dtype=np.float64)


@dataclass(frozen=True)
class Constants:
    """The two constant answers that training offers, each with ten values."""

    mean: Array
    median: Array

    @classmethod
    def of(cls, profiles: Array) -> "Constants":
        """Return mean and median of training profiles (texts, dimensions)."""
        return cls(profiles.mean(axis=0), np.median(profiles, axis=0))


def as_array(rows: Sequence[Mapping[str, float]]) -> Array:
    """Return profiles as an array (texts, dimensions)."""
    return np.array([[row[name] for name in DIMENSIONS] for row in rows], dtype=np.float64).reshape(
        len(rows), len(DIMENSIONS)
    )


def rescale(profiles: Array) -> Array:
    """Stretch every dimension from its raw range to 0..1."""
    stretched: Array = (profiles - _LOW) / _SPAN
    return stretched


def plain(n: int) -> Array:
    """Return the weights under which every text counts once."""
    return np.ones((1, n))


def measure(predicted: Array, gold: Array, constants: Constants, weights: Array) -> dict[str, Any]:
    """Return all :data:`MEASURES` for every row of weights; NaN where one is not defined."""
    return {
        "spearman": _over_dimensions(spearman(predicted, gold, weights)),
        "ccc": _over_dimensions(concordance(predicted, gold, weights)),
        "mae_skill": mae_skill(predicted, gold, constants, weights),
        "centred_cosine_01": weighted_mean(centred_cosine(predicted, gold, constants), weights),
        "cosine_01": weighted_mean(cosine(rescale(predicted), rescale(gold)), weights),
        "cosine_raw": weighted_mean(cosine(predicted, gold), weights),
    }


def spearman(predicted: Array, gold: Array, weights: Array) -> Array:
    """Return the rank correlation of each dimension, shape (resamples, dimensions).

    A constant prediction has no ranks and correlates with nothing: 0. Constant ratings could be
    correlated with by nobody: NaN.
    """
    columns = []
    for mine, theirs in zip(predicted.T, gold.T, strict=True):
        first, second = _ranks(mine, weights), _ranks(theirs, weights)
        covariance, spread, gold_spread, _ = _moments(first, second, weights)
        columns.append(_ratio(covariance, np.sqrt(spread * gold_spread), gold_spread))
    return np.stack(columns, axis=1)


def concordance(predicted: Array, gold: Array, weights: Array) -> Array:
    """Return Lin's concordance of each dimension (Lin 1989), shape (resamples, dimensions)."""
    columns = []
    for mine, theirs in zip(predicted.T, gold.T, strict=True):
        covariance, spread, gold_spread, shift = _moments(mine[None], theirs[None], weights)
        columns.append(_ratio(2 * covariance, spread + gold_spread + shift**2, gold_spread))
    return np.stack(columns, axis=1)


def mae(predicted: Array, gold: Array, weights: Array) -> Array:
    """Return the mean absolute error of each dimension, shape (resamples, dimensions)."""
    errors: Array = weights @ np.abs(predicted - gold) / weights.sum(axis=1, keepdims=True)
    return errors


def mae_of_best_constant(gold: Array, constants: Constants, weights: Array) -> Array:
    """Return the error of the training mean or median, whichever is smaller, by dimension."""
    constant = [np.broadcast_to(c, gold.shape) for c in (constants.mean, constants.median)]
    errors: Array = np.minimum(*(mae(values, gold, weights) for values in constant))
    return errors


def mae_skill(predicted: Array, gold: Array, constants: Constants, weights: Array) -> Array:
    """Return 1 - error / error of the best constant, over all dimensions on 0..1."""
    error = (mae(predicted, gold, weights) / _SPAN).sum(axis=1)
    of_constant = (mae_of_best_constant(gold, constants, weights) / _SPAN).sum(axis=1)
    return 1 - _ratio(error, of_constant, of_constant)


def centred_cosine(predicted: Array, gold: Array, constants: Constants) -> Array:
    """Return the cosine of each text after the training mean is taken off, on 0..1."""
    mean = rescale(constants.mean)
    return cosine(rescale(predicted) - mean, rescale(gold) - mean)


def cosine(predicted: Array, gold: Array) -> Array:
    """Return the cosine of each text; 0 for a prediction of zeros, NaN for ratings of zeros."""
    length, gold_length = np.linalg.norm(predicted, axis=1), np.linalg.norm(gold, axis=1)
    # a mean taken off itself leaves rounding errors, whose direction means nothing
    length, gold_length = (np.where(value < 1e-9, 0, value) for value in (length, gold_length))
    product: Array = (predicted * gold).sum(axis=1)
    return _ratio(np.where(length > 0, product, 0), length * gold_length, gold_length)


def weighted_mean(values: Array, weights: Array) -> Array:
    """Return the mean of the defined values (texts) for every row of weights."""
    defined = ~np.isnan(values)
    count = weights @ defined
    return _ratio(weights @ np.where(defined, values, 0), count, count)


def _over_dimensions(values: Array) -> Array:
    """Return the mean over the dimensions that are defined."""
    defined = ~np.isnan(values)
    return _ratio(
        np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1), defined.any(axis=1)
    )


def _ratio(value: Array, by: Any, defined: Any) -> Array:
    """Divide; 0 where the divisor is 0, NaN where the ratio is not defined."""
    divided = np.divide(value, by, out=np.zeros(np.shape(value)), where=np.asarray(by) != 0)
    return np.where(np.asarray(defined) != 0, divided, np.nan)


def _ranks(values: Array, weights: Array) -> Array:
    """Return mid-ranks of the values in every resample, shape (resamples, texts)."""
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    count = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks: Array = (np.cumsum(count, axis=1) - count + (count + 1) / 2)[:, place]
    return ranks


def _moments(first: Array, second: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
    """Return covariance, both variances and the difference of means, each (resamples,)."""
    total = weights.sum(axis=1)
    mean, second_mean = (
        (weights * values).sum(axis=1, keepdims=True) / total[:, None] for values in (first, second)
    )
    mine, theirs = first - mean, second - second_mean
    covariance, spread, second_spread = (
        _without_dust((weights * product).sum(axis=1) / total)
        for product in (mine * theirs, mine**2, theirs**2)
    )
    return covariance, spread, second_spread, (mean - second_mean)[:, 0]


def _without_dust(values: Array) -> Array:
    """Return zero for what is left of a variance of equal values after rounding."""
    cleaned: Array = np.where(np.abs(values) < 1e-12, 0, values)
    return cleaned
