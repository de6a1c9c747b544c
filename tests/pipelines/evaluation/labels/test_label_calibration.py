"""Calibration, thresholds and their fixed points."""

import numpy as np
import pandas as pd
import pytest

from mental_slm import statistics as stats
from mental_slm.pipelines.evaluation.labels import calibration
from mental_slm.pipelines.evaluation.labels.threshold import area_under_curve, choose_threshold


def _ones(n: int) -> np.ndarray:
    return np.ones((1, n))


def _long(probabilities: np.ndarray, gold: list[str], options: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"system": "x", "pair_id": str(n), "label": gold[n], "option": o, "probability": p}
            for n, row in enumerate(probabilities)
            for o, p in zip(options, row, strict=True)
        ]
    )


def test_brier_equals_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss

    generator = np.random.default_rng(1)
    options = ["a", "b", "c"]
    probabilities = generator.dirichlet([1, 1, 1], size=50)
    gold = [str(label) for label in generator.choice(options, size=50)]
    scored = calibration.score_probabilities(_long(probabilities, gold, options))
    expected = brier_score_loss(gold, probabilities, labels=options, scale_by_half=False)
    assert scored["brier"].mean() == pytest.approx(expected)
    assert scored.loc[("x", "7"), "confidence"] == probabilities[7].max()
    assert scored.loc[("x", "7"), "likelihood_label"] == options[probabilities[7].argmax()]
    chosen = options.index(gold[7])
    assert scored.loc[("x", "7"), "label_probability"] == probabilities[7, chosen]


def test_brier_skill_constant_is_zero_perfect_is_one_shuffled_is_not_above() -> None:
    generator = np.random.default_rng(2)
    gold = [str(label) for label in generator.choice(["a", "b"], p=[0.7, 0.3], size=2000)]
    truth = np.array([[label == "a", label == "b"] for label in gold], dtype=float)
    prior = np.tile([0.7, 0.3], (2000, 1))

    def brier(probabilities: np.ndarray) -> np.ndarray:
        table = calibration.score_probabilities(_long(probabilities, gold, ["a", "b"]))
        return table["brier"].to_numpy()

    reference = brier(prior)
    useful = 0.2 + 0.6 * truth
    for probabilities, low, high in (
        (prior, 0, 0),
        (truth, 1, 1),
        (useful, 0.5, 1),
        (generator.permutation(useful), -1, 0.05),
    ):
        skill = calibration.skill(brier(probabilities), reference, _ones(2000))[0]
        assert low - 1e-9 <= skill <= high + 1e-9
    assert np.isnan(calibration.skill(reference, np.zeros(2000), _ones(2000))[0])


def test_calibration_error_by_hand_and_of_a_calibrated_system() -> None:
    confidence = np.array([0.95, 0.95, 0.65, 0.65])
    right = np.array([True, False, True, True])
    # two bins: |0.95 - 0.5| and |0.65 - 1|, half of the items each
    error = calibration.calibration_error(confidence, right, _ones(4), bins=10)[0]
    assert error == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)
    twice = calibration.calibration_error(confidence, right, np.array([[2.0, 2, 0, 0]]), bins=10)
    assert twice[0] == pytest.approx(0.45)
    generator = np.random.default_rng(3)
    many = generator.uniform(0.5, 1, size=20_000)
    calibrated = generator.random(20_000) < many
    assert calibration.calibration_error(many, calibrated, _ones(20_000), bins=10)[0] < 0.02
    assert sum(one["n"] for one in calibration.reliability_bins(many, calibrated, 10)) == 20_000


def test_the_edges_of_the_bins_hold_every_confidence() -> None:
    bins = calibration.reliability_bins(np.array([0, 0.1, 1.0]), np.array([True] * 3), 10)
    assert [one["n"] for one in bins] == [2, 1]


def test_area_under_risk_of_constant_perfect_and_reversed_confidence() -> None:
    right = np.array([True, True, True, False])
    constant = calibration.area_under_risk(np.full(4, 0.5), right, _ones(4))[0]
    assert constant == pytest.approx(0.25)  # the plain error rate, whatever the order of the items
    knowing = calibration.area_under_risk(np.array([0.9, 0.8, 0.7, 0.1]), right, _ones(4))[0]
    assert knowing == pytest.approx(0.25 / 4)
    fooled = calibration.area_under_risk(np.array([0.6, 0.5, 0.4, 0.9]), right, _ones(4))[0]
    assert fooled == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    curve = calibration.risk_coverage(np.array([0.9, 0.8, 0.7, 0.1]), right, points=4)
    assert [point["risk"] for point in curve] == [0, 0, 0, 0.25]
    assert calibration.risk_coverage(np.full(4, 0.5), right) == [{"coverage": 1.0, "risk": 0.25}]


def test_a_resample_counts_like_repeated_items() -> None:
    generator = np.random.default_rng(4)
    confidence, right = generator.random(30), generator.random(30) < 0.6
    weights = stats.resample_weights(30, 5, [1])
    for row in weights:
        drawn = np.repeat(np.arange(30), row.astype(int))
        assert calibration.area_under_risk(confidence, right, row[None])[0] == pytest.approx(
            calibration.area_under_risk(confidence[drawn], right[drawn], _ones(30))[0]
        )


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("n", [1, 2, 10, 57])
def test_the_threshold_keeps_to_the_rate_and_wastes_none_of_it(rate: float, n: int) -> None:
    negatives = np.random.default_rng(n).random(n)
    threshold = choose_threshold(negatives, rate)
    assert np.mean(negatives >= threshold) <= rate
    lower = np.sort(negatives)[np.searchsorted(np.sort(negatives), threshold) - 1]
    assert np.mean(negatives >= lower) > rate  # any lower one would break it


def test_a_constant_score_flags_nobody() -> None:
    threshold = choose_threshold(np.full(20, 0.4), 0.1)
    assert threshold > 0.4


def test_without_a_negative_there_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="no validation post without risk"):
        choose_threshold(np.array([]), 0.1)


def test_area_under_curve_equals_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(5)
    positive = generator.random(60) < 0.4
    scores = np.round(generator.random(60) + 0.3 * positive, 1)  # with ties
    weights = np.vstack([_ones(60), stats.resample_weights(60, 3, [2])])
    areas = area_under_curve(scores, positive, weights)
    for row, area in zip(weights, areas, strict=True):
        assert area == pytest.approx(roc_auc_score(positive, scores, sample_weight=row))
    assert np.isnan(area_under_curve(scores, np.ones(60, dtype=bool), _ones(60))[0])
