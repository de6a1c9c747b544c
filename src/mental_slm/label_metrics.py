"""Measures of predicted labels, for a sample and for all its resamples at once.

Everything is read off a table of counts (gold label by predicted label), one for every row of
weights. On a sample the measures equal those of scikit-learn, which has no form for thousands of
resamples; the tests compare the two. An invalid answer has a column of its own: it is a miss for
its gold label and a false alarm for none.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mental_slm.statistics import Array


def confusion(
    gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str], weights: Array
) -> Array:
    """Count gold against predicted labels for every row of weights.

    Args:
        gold: Gold labels, n.
        predicted: Predicted labels, n; None for an invalid answer.
        labels: All labels of the task; for an ordinal task from least to most.
        weights: Shape (rows, n).

    Returns:
        Shape (rows, labels, labels + 1); the last column counts invalid answers.

    Raises:
        ValueError: A label is not one of ``labels``.
    """
    position = {label: index for index, label in enumerate(labels)}
    unknown = {*gold, *(label for label in predicted if label is not None)} - set(position)
    if unknown:
        raise ValueError(f"unknown labels {sorted(unknown)}; known: {list(labels)}")
    columns = len(labels) + 1
    cells = [
        position[g] * columns + (columns - 1 if p is None else position[p])
        for g, p in zip(gold, predicted, strict=True)
    ]
    one_hot = np.zeros((len(cells), len(labels) * columns))
    one_hot[np.arange(len(cells)), cells] = 1
    return (weights @ one_hot).reshape(len(weights), len(labels), columns)


def accuracy(counts: Array) -> Array:
    """Return the share of right answers."""
    return _ratio(_hits(counts).sum(axis=1), _support(counts).sum(axis=1))


def macro_f1(counts: Array) -> Array:
    """Return the mean F1 over the labels that occur among the gold labels of the (re)sample."""
    present = _support(counts) > 0
    return _ratio((_f1(counts) * present).sum(axis=1), present.sum(axis=1))


def weighted_f1(counts: Array) -> Array:
    """Return the mean F1, each label weighted by its number of gold items."""
    support = _support(counts)
    return _ratio((_f1(counts) * support).sum(axis=1), support.sum(axis=1))


def balanced_accuracy(counts: Array) -> Array:
    """Return the mean recall over the labels that occur among the gold labels."""
    support = _support(counts)
    recall = _hits(counts) / np.maximum(support, 1)
    return _ratio(recall.sum(axis=1), (support > 0).sum(axis=1))


def kappa(counts: Array) -> Array:
    """Return Cohen's kappa (1960): accuracy above chance; 0 for any constant answer."""
    total = counts.sum(axis=(1, 2))
    predictions = counts[:, :, :-1].sum(axis=1)
    expected = _ratio((_support(counts) * predictions).sum(axis=1), total**2)
    return _above_chance(1 - accuracy(counts), 1 - expected)


def quadratic_kappa(counts: Array) -> Array:
    """Return Cohen's kappa with quadratic weights (1968) over ordered labels.

    An invalid answer counts as the label farthest from the gold one, the worst it could have been.
    """
    size = counts.shape[1]
    ranks = np.arange(size)
    distance = (ranks[:, None] - ranks[None, :]) ** 2
    table = counts[:, :, :-1].copy()
    table[:, ranks, np.argmax(distance, axis=1)] += counts[:, :, -1]
    total = table.sum(axis=(1, 2))
    expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
    observed_cost = _ratio((table * distance).sum(axis=(1, 2)), total)
    return _above_chance(observed_cost, _ratio((expected * distance).sum(axis=(1, 2)), total**2))


def under_triage_rate(counts: Array) -> Array:
    """Return the share of posts in the upper half of ordered labels that are rated too low.

    For depression severity: gold moderate or severe, and a lower label or none was given. Not a
    number where no such post is in the (re)sample.
    """
    size = counts.shape[1]
    upper = range((size + 1) // 2, size)
    missed = sum(counts[:, row, :row].sum(axis=1) + counts[:, row, -1] for row in upper)
    return _ratio(np.asarray(missed), counts[:, list(upper)].sum(axis=(1, 2)))


Measure = Callable[[Array], Array]

#: Measures of every task, by the name they have in reports.
MEASURES: dict[str, Measure] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "balanced_accuracy": balanced_accuracy,
    "kappa": kappa,
}

#: Further measures of tasks with ordered labels.
ORDINAL_MEASURES: dict[str, Measure] = {
    "quadratic_kappa": quadratic_kappa,
    "under_triage_rate": under_triage_rate,
}


def _hits(counts: Array) -> Array:
    return np.diagonal(counts[:, :, :-1], axis1=1, axis2=2)


def _support(counts: Array) -> Array:
    result: Array = counts.sum(axis=2)
    return result


def _f1(counts: Array) -> Array:
    # 2 TP / (2 TP + FP + FN), where 2 TP + FP + FN = predictions + support
    both = counts[:, :, :-1].sum(axis=1) + _support(counts)
    result: Array = 2 * _hits(counts) / np.maximum(both, 1)
    return result


def _ratio(part: Array, whole: Array) -> Array:
    """Divide; not a number where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _above_chance(cost: Array, expected: Array) -> Array:
    """Return 1 - cost / expected, and 0 where chance cannot err, so that nothing can be shown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = 1 - cost / expected
    # marginals that leave chance no error differ from it by rounding only
    return np.where(np.isnan(expected), np.nan, np.where(expected > 1e-12, value, 0.0))
