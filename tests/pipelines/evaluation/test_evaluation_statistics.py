import numpy as np
import pytest

from mental_slm.pipelines.evaluation import statistics as stats

LABELS = ("mild", "moderate", "severe")


def _answers(n: int, seed: int) -> tuple[list[str], list[str | None]]:
    generator = np.random.default_rng(seed)
    gold = [str(label) for label in generator.choice(LABELS, size=n)]
    predicted = [
        None if generator.random() < 0.1 else str(generator.choice(LABELS)) for _ in range(n)
    ]
    return gold, predicted


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (13, 20), (250, 379)])
def test_wilson_interval_equals_statsmodels(successes: int, n: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(successes, n, alpha=0.05, method="wilson")
    estimate = stats.wilson(successes, n)
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx(
        (low, successes / n, high), abs=1e-9
    )


def test_macro_f1_equals_scikit_learn_on_the_sample_and_on_a_resample() -> None:
    from sklearn.metrics import f1_score

    gold, predicted = _answers(60, seed=1)
    weights = np.vstack([np.ones((1, 60)), stats.resample_weights(60, 1, [7])])
    drawn = np.repeat(np.arange(60), weights[1].astype(int))
    expected = [
        f1_score(
            [gold[i] for i in rows],
            [predicted[i] or "invalid" for i in rows],
            labels=sorted({gold[i] for i in rows}),
            average="macro",
        )
        for rows in (range(60), drawn)
    ]
    assert stats.macro_f1(gold, predicted, weights) == pytest.approx(expected)


def test_macro_f1_of_the_majority_predictor_is_known() -> None:
    gold = ["yes"] * 3 + ["no"]
    # F1(yes) = 2 * 0.75 * 1 / 1.75 = 6/7, F1(no) = 0
    assert stats.macro_f1(gold, ["yes"] * 4, np.ones((1, 4)))[0] == pytest.approx(3 / 7)


def test_macro_f1_of_a_resample_leaves_out_labels_that_were_not_drawn() -> None:
    assert stats.macro_f1(["yes", "no"], ["yes", "no"], np.array([[2.0, 0.0]]))[0] == 1


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


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sample = generator.normal(0.4, 0.2, size=50)
        weights = stats.resample_weights(50, 400, [trial])
        interval = stats.estimate(float(sample.mean()), stats.mean(sample, weights))
        covered += interval.low <= 0.4 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_resamples_are_seeded_and_keep_the_size() -> None:
    first, again = (stats.resample_weights(9, 50, [4, 2]) for _ in range(2))
    assert (first == again).all()
    assert (first.sum(axis=1) == 9).all()
    assert (first != stats.resample_weights(9, 50, [4, 3])).any()
