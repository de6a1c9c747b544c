"""Estimates and paired tests, against statsmodels and on simulated data."""

import numpy as np
import pytest

from mental_slm import statistics as stats


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (13, 20), (250, 379)])
def test_wilson_interval_equals_statsmodels(successes: int, n: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(successes, n, alpha=0.05, method="wilson")
    estimate = stats.wilson(successes, n)
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx(
        (low, successes / n, high), abs=1e-9
    )


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 4), (5, 4)])
def test_no_proportion_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        stats.wilson(successes, n)


def test_repeated_posts_are_worth_less_than_new_ones() -> None:
    assert stats.effective_size(["a", "b", "c"]) == 3
    assert stats.effective_size(["a", "a", "b", "b"]) == 2
    assert stats.effective_size(["a", "a", "b"]) == pytest.approx(9 / 5)


def test_mcnemar_equals_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    generator = np.random.default_rng(3)
    a, b = generator.random(80) < 0.5, generator.random(80) < 0.7
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    only_a, only_b, p_value = stats.mcnemar(a, b)
    assert (only_a, only_b) == (table[0][1], table[1][0])
    assert p_value == pytest.approx(tables.mcnemar(table, exact=True).pvalue)


def test_mcnemar_of_a_system_with_itself_is_one() -> None:
    same = np.array([True, False, True])
    assert stats.mcnemar(same, same) == (0, 0, 1.0)


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = [0.04, 0.001, 0.03, 0.7, 0.02]
    expected = multitest.multipletests(p_values, method="holm")[1]
    assert stats.holm(p_values) == pytest.approx(expected)


def _clustered_coverage(by_post: bool, trials: int = 200) -> float:
    """Simulate 60 posts with two items each whose scores hang together; return the coverage."""
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(trials):
        of_post = generator.normal(0.4, 0.2, size=60)
        scores = np.repeat(of_post, 2) + generator.normal(0, 0.02, size=120)
        clusters = [f"post {n // 2 if by_post else n}" for n in range(120)]
        weights = stats.bootstrap_weights(clusters, 400, [trial])
        interval = stats.estimate(float(scores.mean()), stats.mean(scores, weights))
        covered += interval.low <= 0.4 <= interval.high
    return covered / trials


def test_the_interval_over_posts_covers_the_truth_about_as_often_as_it_says() -> None:
    assert 0.90 <= _clustered_coverage(by_post=True) <= 0.99


def test_an_interval_over_items_of_the_same_posts_would_be_too_narrow() -> None:
    assert _clustered_coverage(by_post=False) < 0.88


def test_resamples_are_seeded_and_draw_whole_posts() -> None:
    clusters = ["a", "b", "a", "c", "b"]
    first, again = (stats.bootstrap_weights(clusters, 50, [4, 2]) for _ in range(2))
    assert (first == again).all()
    assert (first[:, 0] == first[:, 2]).all() and (first[:, 1] == first[:, 4]).all()
    assert (first[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many posts as there are
    assert (first != stats.bootstrap_weights(clusters, 50, [4, 3])).any()
    order = [3, 0, 4, 1, 2]
    moved = stats.bootstrap_weights([clusters[i] for i in order], 50, [4, 2])
    assert (moved == first[:, order]).all()
    swaps = stats.swap_weights(clusters, 200, [1])
    assert (swaps[:, 0] == swaps[:, 2]).all()
    assert set(np.unique(swaps)) == {0, 1}
    assert 0.4 < swaps.mean() < 0.6


def _compare_right(first: np.ndarray, second: np.ndarray, posts: list[str] | None = None):
    posts = posts or [str(n) for n in range(len(first))]

    def share(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ first + b @ second) / (a + b).sum(axis=1)

    return stats.compare_systems(
        share,
        stats.bootstrap_weights(posts, 4000, [1]),
        stats.swap_weights(posts, 20000, [2]),
    )


def test_the_randomisation_test_of_right_and_wrong_is_mcnemars() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random(80) < 0.55, generator.random(80) < 0.7
    compared = _compare_right(a, b)
    assert compared.difference.value == pytest.approx(a.mean() - b.mean())
    assert compared.p_value == pytest.approx(stats.mcnemar(a, b)[2], abs=0.01)


def test_the_interval_of_a_difference_is_the_paired_one() -> None:
    """Two systems that fail on the same items differ little, however much either varies."""
    generator = np.random.default_rng(5)
    a = generator.random(200) < 0.5
    b = a.copy()
    b[:4] = ~b[:4]
    compared = _compare_right(a, b)
    standard_error = np.std(a.astype(float) - b.astype(float)) / np.sqrt(200)
    width = compared.difference.high - compared.difference.low
    assert width == pytest.approx(2 * 1.96 * standard_error, rel=0.2)
    assert compared.detectable == pytest.approx(2.80 * standard_error, rel=0.05)


def test_equal_systems_are_found_different_as_rarely_as_the_level_says() -> None:
    generator = np.random.default_rng(9)
    found = 0
    for trial in range(300):
        a, b = generator.random((2, 60)) < 0.5
        difference = float(a.mean() - b.mean())
        swaps = stats.swap_weights([str(n) for n in range(60)], 300, [trial])
        found += (
            stats.randomisation_p(difference, (1 - 2 * swaps) @ (a.astype(float) - b) / 60) < 0.05
        )
    assert found / 300 <= 0.08


def test_one_item_proves_nothing() -> None:
    compared = _compare_right(np.array([1.0]), np.array([0.0]))
    assert compared.difference.value == 1
    assert compared.p_value == 1
    assert stats.judge_difference(1, compared.p_value, compared.detectable) == "no difference shown"


def test_resamples_in_which_a_measure_is_not_defined_are_left_out() -> None:
    values = np.array([1.0, 0.0, np.nan])

    def first_item(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(a[:, 0] + b[:, 0] > 0, a[:, 0] / (a[:, 0] + b[:, 0]), np.nan)

    posts = ["a", "b", "c"]
    weights, swaps = stats.bootstrap_weights(posts, 200, [1]), stats.swap_weights(posts, 200, [1])
    compared = stats.compare_systems(first_item, weights, swaps)
    assert compared is not None and compared.difference.value == 1
    nowhere = stats.compare_systems(lambda a, b: a @ values + b @ values, weights, swaps)
    assert nowhere is None


@pytest.mark.parametrize("replicates", [[0.1, np.nan], [0.1, np.inf], []])
def test_a_score_that_is_not_a_number_is_refused(replicates: list[float]) -> None:
    with pytest.raises(ValueError, match="not a number"):
        stats.estimate(0.1, np.array(replicates))
    with pytest.raises(ValueError, match="not a number"):
        stats.estimate(float("nan"), np.array([0.1, 0.2]))


@pytest.mark.parametrize(
    ("difference", "p_value", "detectable", "verdict"),
    [
        (0.10, 0.01, 0.05, "better"),
        (-0.10, 0.01, 0.05, "worse"),
        (0.10, 0.06, 0.05, "no difference shown"),
        (0.04, 0.01, 0.05, "no difference shown"),  # significant, but below what can be detected
    ],
)
def test_a_claim_needs_significance_and_size(
    difference: float, p_value: float, detectable: float, verdict: str
) -> None:
    assert stats.judge_difference(difference, p_value, detectable) == verdict
    sentence = stats.phrase_claim(
        ("tuned", "base"), "F1", stats.Estimate(difference, -0.2, 0.2), p_value, detectable
    )
    assert ("better" in sentence, "worse" in sentence) == (verdict == "better", verdict == "worse")
    assert f"p = {p_value:.3f} after Holm" in sentence
