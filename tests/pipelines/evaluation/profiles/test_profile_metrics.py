"""Identities of the profile metrics, and their agreement with scipy and krippendorff."""

import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mental_slm import statistics
from mental_slm.pipelines.evaluation.profiles import floors, metrics
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS, MEASURES, Constants
from mental_slm.tasks import EMOTION_DIMENSIONS

BOUNDS = np.array(list(EMOTION_DIMENSIONS.values()), dtype=float)


def made_up(n: int, seed: int) -> np.ndarray:
    """Half-step profiles, mostly zero as real ones are, with a valence that goes with joy."""
    rng = np.random.default_rng(seed)
    profiles = np.where(rng.random((n, 10)) < 0.5, 0, rng.integers(0, 7, (n, 10)) / 2)
    profiles[:, 8] = np.clip(profiles[:, 0] - profiles[:, 7] + rng.integers(-1, 2, n), -3, 3)
    return profiles


@pytest.fixture
def gold() -> np.ndarray:
    return made_up(400, 1)


@pytest.fixture
def constants() -> Constants:
    return Constants.of(made_up(1500, 2))


def value_of(predicted, gold, constants) -> dict[str, float]:
    measured = metrics.measure(predicted, gold, constants, metrics.plain(len(gold)))
    return {name: float(measured[name][0]) for name in MEASURES}


def test_a_perfect_prediction_scores_one(gold, constants) -> None:
    assert value_of(gold, gold, constants) == pytest.approx(dict.fromkeys(MEASURES, 1.0))


def test_a_constant_has_no_skill(gold, constants) -> None:
    mean = value_of(np.broadcast_to(constants.mean, gold.shape), gold, constants)
    assert [mean[name] for name in ("spearman", "ccc", "centred_cosine_01")] == [0, 0, 0]
    assert mean["mae_skill"] <= 0
    assert mean["cosine_raw"] > 0.4  # which is why it is never a headline
    once = metrics.plain(len(gold))
    mean_error, median_error = (
        metrics.mae(np.broadcast_to(c, gold.shape), gold, once)[0]
        for c in (constants.mean, constants.median)
    )
    best = np.where(mean_error < median_error, constants.mean, constants.median)
    assert value_of(np.broadcast_to(best, gold.shape), gold, constants)[
        "mae_skill"
    ] == pytest.approx(0)


def test_ratings_of_another_text_have_no_skill(gold, constants) -> None:
    shuffled = floors.floor_predictions(gold, made_up(50, 3), seed=4)["shuffled"]
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, gold))
    found = value_of(shuffled, gold, constants)
    for name in ("spearman", "ccc", "centred_cosine_01"):
        assert abs(found[name]) < 0.06
    assert found["mae_skill"] < 0


def test_a_shift_costs_concordance_but_no_rank_correlation(gold, constants) -> None:
    shifted = value_of(gold + 0.5, gold, constants)
    assert shifted["spearman"] == pytest.approx(1)
    assert shifted["ccc"] < 0.95


def test_spearman_equals_scipy_in_every_resample(gold) -> None:
    rng = np.random.default_rng(5)
    predicted = np.round(gold + rng.normal(0, 1, gold.shape), 1)  # with ties
    weights = statistics.resample_weights(len(gold), 3, [6])
    found = metrics.spearman(predicted, gold, np.vstack([metrics.plain(len(gold)), weights]))
    for row, counts in enumerate([np.ones(len(gold)), *weights]):
        drawn = np.repeat(np.arange(len(gold)), counts.astype(int))
        expected = [
            stats.spearmanr(predicted[drawn, d], gold[drawn, d]).statistic for d in range(10)
        ]
        assert found[row] == pytest.approx(expected)


def test_concordance_equals_its_definition(gold) -> None:
    predicted = gold * 0.5 + 0.3 + np.random.default_rng(7).normal(0, 0.4, gold.shape)
    found = metrics.concordance(predicted, gold, metrics.plain(len(gold)))[0]
    for d in range(10):
        x, y = predicted[:, d], gold[:, d]
        covariance = np.cov(x, y, bias=True)[0, 1]
        expected = 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert found[d] == pytest.approx(expected)


def test_undefined_cosines_and_correlations() -> None:
    zero, one = np.zeros((1, 10)), np.ones((1, 10))
    assert metrics.cosine(zero, one)[0] == 0  # an empty prediction is wrong
    assert np.isnan(metrics.cosine(one, zero)[0])  # nobody could have hit ratings without direction
    flat = np.ones((5, 10))
    assert np.isnan(metrics.spearman(made_up(5, 1), flat, metrics.plain(5))).all()
    measured = metrics.measure(flat, flat, Constants.of(flat), metrics.plain(5))
    assert np.isnan(measured["spearman"][0])
    assert np.isnan(measured["mae_skill"][0])  # the constant makes no error that could be less


def test_one_text_is_enough_for_what_needs_no_second(constants) -> None:
    gold = np.array([[1, 0, 0, 0, 0, 2, 0, 0, -1, 1.0]])
    found = value_of(gold, gold, constants)
    assert np.isnan(found["spearman"])
    assert found["cosine_raw"] == pytest.approx(1)


def test_the_scales_are_stretched_by_their_ranges() -> None:
    assert metrics.rescale(BOUNDS.T) == pytest.approx(np.array([[0.0] * 10, [1.0] * 10]))


def test_prototypes_know_the_sign_of_valence_only(gold) -> None:
    train = made_up(300, 8)
    found = floors.floor_predictions(gold, train, seed=1)["sentiment_prototypes"]
    assert len(np.unique(found, axis=0)) == 3
    positive = train[train[:, 8] > 0].mean(axis=0)
    assert found[gold[:, 8] > 0] == pytest.approx(
        np.broadcast_to(positive, found[gold[:, 8] > 0].shape)
    )


def ratings(texts: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = np.round(made_up(texts, seed))
    rows = []
    for text in range(texts):
        for annotator in range(1 + text % 2):
            noisy = truth[text] + rng.integers(-1, 2, 10)
            rows.append([text, annotator, *np.clip(noisy, BOUNDS[:, 0], BOUNDS[:, 1])])
    return pd.DataFrame(rows, columns=["text_id", "annotator_id", *DIMENSIONS])


def test_agreement_equals_krippendorffs_alpha() -> None:
    annotation = ratings(400, 9)
    agreement = floors.rater_agreement(annotation)
    first, second = floors.rater_pairs(annotation)
    assert agreement.texts == len(first) == 200
    for column, name in enumerate(DIMENSIONS):
        alpha = krippendorff.alpha(
            np.stack([first[:, column], second[:, column]]), level_of_measurement="interval"
        )
        assert agreement.r[name] == pytest.approx(alpha, abs=0.005)
        assert agreement.ceilings()[name] == pytest.approx(max(0, agreement.r[name]) ** 0.5)
        assert agreement.ceilings(2)[name] >= agreement.ceilings()[name]


def test_too_few_rater_pairs_cite_the_table() -> None:
    agreement = floors.rater_agreement(ratings(40, 10))
    assert agreement.texts == 0
    assert agreement.r == floors.STUDEMO_AGREEMENT
    assert agreement.ceilings()["valence"] == pytest.approx(0.84, abs=0.005)


def test_the_mean_of_two_raters_is_more_reliable_by_spearman_and_brown() -> None:
    agreement = floors.Agreement(100, dict.fromkeys(DIMENSIONS, 0.5))
    assert agreement.ceilings(1)["joy"] == pytest.approx(0.5**0.5)
    assert agreement.ceilings(2)["joy"] == pytest.approx((2 / 3) ** 0.5)
    assert floors.Agreement(100, {"joy": -0.1}).ceilings(2)["joy"] == 0
