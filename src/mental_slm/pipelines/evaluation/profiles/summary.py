"""Condensing the scored profiles to numbers that may be quoted.

Shape of the result; a headline is ``{"value", "low", "high", "n"}`` with a 95 % interval from a
bootstrap over texts (coverage: Wilson), and ``value`` is null where the measure is not defined::

    notes            what a reader must know, above all why there is nothing
    scales           what ``raw`` and ``01`` mean
    n, n_train, n_two_raters
    agreement        texts (0: StudEmo's own numbers are cited), r by dimension, and the ceilings of
                     a correlation with one rater and with the mean of two
    floors           by floor: title, and every measure as a plain number, on the same texts
    annotation       floors and a second human on all ratings at hand, with or without texts
    systems          base and tuned, by decoding (free, constrained, slots_argmax, slots_expected):
        coverage       written answers only: json, holds_json, complete, in_range, default, finished
        scores         by measure a headline with "baselines" (floor: value); an invalid answer
                       counts as the training mean
        valid_only     the same over valid answers alone, with their own n; null where none is
        two_raters     the same over texts with two raters, whose mean is less noisy; null if none
        per_dimension  spearman, ccc, mae, mae_skill, and the ceiling of a correlation
    differences      "tuned - base", "tuned - sentiment_prototypes", "tuned - constant_mean": by
                     decoding and measure, paired headlines

Per-text means of cosines leave out texts whose ratings are all zero on that scale.
"""

from typing import Any

import numpy as np
import pandas as pd

from mental_slm import statistics
from mental_slm.pipelines.evaluation.profiles import floors, metrics, scoring
from mental_slm.pipelines.evaluation.profiles.floors import FLOORS, Agreement
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS, MEASURES, Array, Constants
from mental_slm.records import Table

SCALES = {
    "raw": "eight emotions and arousal 0 to 3, valence -3 to 3",
    "01": "each dimension stretched to 0..1 by its range",
}
NO_PAIRS = (
    "No emotion profiles in this data edition: StudEmo's texts are not at hand (see docs/data.md), "
    "so there was nothing to ask and nothing to score."
)
NO_TRAINING = "No training text has an emotion profile, so there is no constant to compare with."
CITED = (
    f"Fewer than {floors.MIN_TWO_RATER_TEXTS} texts have two raters, so the ceilings are those "
    "measured on StudEmo itself."
)

#: Share of the rated texts held out to measure the floors of the annotation.
_HELD_OUT = 5

_COVERAGE_NAMES = {
    "is_json": "json",
    "holds_json": "holds_json",
    "is_complete": "complete",
    "in_range": "in_range",
    "is_default": "default",
    "is_finished": "finished",
}

#: Every measure with its bootstrap replicates.
Replicates = dict[str, tuple[float, Array]]


def summarise(
    scores: pd.DataFrame, train: Array, annotation: Table, resamples: int, seed: int
) -> dict[str, Any]:
    """Return the metrics; see the head of this module for their shape.

    Args:
        scores: Table of :func:`.scoring.score_profiles`.
        train: Profiles of the training pairs (texts, dimensions).
        annotation: All single ratings of this data edition.
        resamples: Of the bootstrap.
        seed: Of the bootstrap and of the shuffled floor.
    """
    agreement = floors.rater_agreement(annotation)
    result: dict[str, Any] = {
        "notes": [CITED] if agreement.texts == 0 else [],
        "scales": SCALES,
        "n": int(scores["pair_id"].nunique()),
        "n_train": len(train),
        "n_two_raters": int(scores.loc[scores["raters"] == 2, "pair_id"].nunique()),
        "agreement": {
            "texts": agreement.texts,
            "r": _rounded(agreement.r),
            "ceiling_one_rater": _rounded(agreement.ceilings()),
            "ceiling_two_raters": _rounded(agreement.ceilings(2)),
        },
        "floors": {},
        "annotation": _annotation(annotation, seed),
        "systems": {},
        "differences": {},
    }
    if scores.empty or not len(train):
        result["notes"].append(NO_PAIRS if scores.empty else NO_TRAINING)
        return result
    if result["n"] < 30:
        result["notes"].append(f"{result['n']} texts: read the intervals, not the values.")
    return result | _score_systems(scores, train, agreement, resamples, seed)


def _score_systems(
    scores: pd.DataFrame, train: Array, agreement: Agreement, resamples: int, seed: int
) -> dict[str, Any]:
    constants = Constants.of(train)
    blocks = {
        (str(system), str(decoding)): table.sort_values("pair_id", ignore_index=True)
        for (system, decoding), table in scores.groupby(["system", "decoding"])
    }
    first = next(iter(blocks.values()))
    rated = scoring.gold(first)
    # the same resamples for all, so that differences are paired
    weights = statistics.bootstrap_weights(first["text_id"].tolist(), resamples, [seed])
    floor_replicates = {
        name: _replicates(predicted, rated, constants, weights)
        for name, predicted in floors.floor_predictions(rated, train, seed).items()
    }
    replicates = {
        key: _replicates(scoring.predictions(table, constants), rated, constants, weights)
        for key, table in blocks.items()
    }
    systems: dict[str, Any] = {}
    for (system, decoding), table in blocks.items():
        systems.setdefault(system, {})[decoding] = _describe(
            table,
            replicates[system, decoding],
            train,
            constants,
            agreement,
            resamples,
            seed,
        )
    return {
        "floors": {
            name: {"title": FLOORS[name], **{m: _number(v[m][0]) for m in MEASURES}}
            for name, v in floor_replicates.items()
        },
        "systems": systems,
        "differences": _differences(replicates, floor_replicates, len(first)),
    }


def _replicates(predicted: Array, rated: Array, constants: Constants, weights: Array) -> Replicates:
    """Return every measure with its bootstrap replicates."""
    point = metrics.measure(predicted, rated, constants, metrics.plain(len(rated)))
    resampled = metrics.measure(predicted, rated, constants, weights)
    return {name: (float(point[name][0]), resampled[name]) for name in MEASURES}


def _describe(
    table: pd.DataFrame,
    replicates: Replicates,
    train: Array,
    constants: Constants,
    agreement: Agreement,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    is_written = bool(table["in_range"].notna().all())
    valid = table[table["in_range"].fillna(True).astype(bool)]

    def of(part: pd.DataFrame) -> dict[str, Any] | None:
        if part.empty:
            return None
        rated = scoring.gold(part)
        weights = statistics.bootstrap_weights(part["text_id"].tolist(), resamples, [seed])
        own = _replicates(scoring.predictions(part, constants), rated, constants, weights)
        return _headlines(own, rated, train, seed)

    return {
        "coverage": _coverage(table) if is_written else None,
        "scores": _headlines(replicates, scoring.gold(table), train, seed),
        "valid_only": of(valid) if is_written else None,
        "two_raters": of(table[(table["raters"] == 2).fillna(False).astype(bool)]),
        "per_dimension": _per_dimension(table, constants, agreement),
    }


def _coverage(table: pd.DataFrame) -> dict[str, Any]:
    worth = statistics.effective_size(table["text_id"].tolist())
    return {
        name: statistics.wilson(float(table[column].mean()) * worth, worth).to_json()
        | {"n": len(table)}
        for column, name in _COVERAGE_NAMES.items()
    }


def _headlines(replicates: Replicates, rated: Array, train: Array, seed: int) -> dict[str, Any]:
    constants = Constants.of(train)
    beside = {
        name: metrics.measure(predicted, rated, constants, metrics.plain(len(rated)))
        for name, predicted in floors.floor_predictions(rated, train, seed).items()
    }
    return {
        measure: _headline(point, resampled, len(rated))
        | {"baselines": {name: _number(float(v[measure][0])) for name, v in beside.items()}}
        for measure, (point, resampled) in replicates.items()
    }


def _headline(point: float, resampled: Array, n: int) -> dict[str, Any]:
    """Return a value with its interval; resamples in which it is not defined do not count."""
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(point) or not len(defined):
        return {"value": None, "low": None, "high": None, "n": n}
    return statistics.estimate(point, defined).to_json() | {"n": n}


def _per_dimension(
    table: pd.DataFrame, constants: Constants, agreement: Agreement
) -> dict[str, dict[str, float | None]]:
    predicted, rated = scoring.predictions(table, constants), scoring.gold(table)
    once = metrics.plain(len(rated))
    ceilings = agreement.ceilings()
    error = metrics.mae(predicted, rated, once)[0]
    of_constant = metrics.mae_of_best_constant(rated, constants, once)[0]
    rank = metrics.spearman(predicted, rated, once)[0]
    concordance = metrics.concordance(predicted, rated, once)[0]
    return {
        name: {
            "spearman": _number(rank[column]),
            "ccc": _number(concordance[column]),
            "ceiling": _number(ceilings[name]),
            "mae": _number(error[column]),
            "mae_skill": _number(1 - error[column] / of_constant[column])
            if of_constant[column]
            else None,
        }
        for column, name in enumerate(DIMENSIONS)
    }


def _differences(
    replicates: dict[tuple[str, str], dict[str, tuple[float, Array]]],
    floor_replicates: dict[str, Replicates],
    n: int,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for decoding in scoring.DECODINGS:
        tuned = replicates["tuned", decoding]
        others = {
            "base": replicates["base", decoding],
            "sentiment_prototypes": floor_replicates["sentiment_prototypes"],
            "constant_mean": floor_replicates["constant_mean"],
        }
        for other, theirs in others.items():
            found.setdefault(f"tuned - {other}", {})[decoding] = {
                measure: _headline(
                    tuned[measure][0] - theirs[measure][0],
                    tuned[measure][1] - theirs[measure][1],
                    n,
                )
                for measure in MEASURES
            }
    return found


def _annotation(annotation: Table, seed: int) -> dict[str, Any]:
    texts = int(annotation["text_id"].nunique())
    first, _ = floors.rater_pairs(annotation)
    described: dict[str, Any] = {"texts": texts, "two_rater_texts": len(first)}
    if len(first) >= floors.MIN_TWO_RATER_TEXTS:
        held_out = texts // _HELD_OUT
        by_floor = floors.studemo_floors(annotation, held_out, seed)
        described |= {
            "held_out": held_out,
            "floors": {name: _rounded(values) for name, values in by_floor.items()},
        }
    return described


def _rounded(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
