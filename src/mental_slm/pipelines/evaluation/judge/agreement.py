"""Agreement between judges, and of judges with people."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mental_slm.prompts import CRITERIA

from .requests import HIGHEST, LOWEST

Array = NDArray[np.floating[Any]]

#: Columns of a file of human ratings. ``item_id`` is the ``pair_id`` of the test item, ``system`` one
#: of base, tuned, template, padded, reference; ``score`` a number from 0 to 5.
COLUMNS = ("item_id", "system", "rater", "criterion", "score")


def weighted_kappa(first: Array, second: Array, weights: Array) -> Array:
    """Return Cohen's kappa with quadratic weights (Cohen 1968) for every row of weights.

    With quadratic weights the observed disagreement is the mean squared difference, and the one
    expected by chance is the sum of both variances and the squared difference of the means. It is
    not a number where neither rater varies and both agree.

    Args:
        first: Scores of one rater, n.
        second: Scores of the other, n.
        weights: Shape (rows, n).

    Returns:
        Shape (rows,).
    """
    total = weights.sum(axis=1)

    def mean(values: Array) -> Array:
        result: Array = weights @ values / total
        return result

    with np.errstate(invalid="ignore", divide="ignore"):
        observed = mean((first - second) ** 2)
        expected = mean(first**2) + mean(second**2) - 2 * mean(first) * mean(second)
        expected = np.where(expected < 1e-12, 0.0, expected)
        result: Array = 1 - observed / expected
    return result


def alpha(ratings: Array) -> float | None:
    """Return Krippendorff's alpha for ordinal ratings (Krippendorff 2004), by his package's formula.

    Args:
        ratings: Shape (raters, units); NaN where a rater gave none.

    Returns:
        None where alpha is not defined: no unit was rated twice, or nothing varies.
    """
    import krippendorff

    rated_twice = (~np.isnan(ratings)).sum(axis=0) > 1
    values = ratings[:, rated_twice]
    if len(np.unique(values[~np.isnan(values)])) < 2:
        return None
    return float(krippendorff.alpha(values, level_of_measurement="ordinal"))


def alpha_interval(
    ratings: Array, clusters: Sequence[Any], weights: Array
) -> tuple[float | None, float | None]:
    """Return the 95 % percentile bootstrap interval of alpha over clusters of units (posts).

    Args:
        ratings: Shape (raters, units).
        clusters: The cluster of every unit, as an index into the columns of ``weights``.
        weights: Shape (resamples, clusters): how often each cluster was drawn.
    """
    index = np.asarray(clusters, dtype=int)
    drawn = []
    for row in weights.astype(int):
        value = alpha(np.repeat(ratings, row[index], axis=1))
        if value is not None:
            drawn.append(value)
    if not drawn:
        return None, None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def read_human_ratings(path: Path) -> pd.DataFrame:
    """Read the ratings that people gave.

    Returns:
        One row per rating with :data:`COLUMNS`.

    Raises:
        FileNotFoundError: Names the option.
        ValueError: Names the file, the line and what is wrong there.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"evaluation.judge.human_ratings: no file {path}; it needs the columns "
            f"{', '.join(COLUMNS)}"
        )
    rows, seen = [], set()
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path}: lacks the columns {', '.join(missing)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            criterion = (row["criterion"] or "").strip().lower()
            if criterion not in CRITERIA:
                raise ValueError(f"{where}: criterion must be one of {', '.join(CRITERIA)}")
            rating = {name: (row[name] or "").strip() for name in COLUMNS[:3]}
            key = (*rating.values(), criterion)
            if key in seen:
                raise ValueError(f"{where}: rater, item, system and criterion stand there before")
            seen.add(key)
            rows.append(rating | {"criterion": criterion, "score": _score(row["score"], where)})
    if not rows:
        raise ValueError(f"{path}: holds no rating")
    return pd.DataFrame(rows)


def _score(text: str | None, where: str) -> float:
    try:
        score = float(text or "")
    except ValueError:
        score = float("nan")
    if not LOWEST <= score <= HIGHEST:
        raise ValueError(f"{where}: score must be a number from {LOWEST} to {HIGHEST}")
    return score
