"""Measures of labels, against scikit-learn and at their fixed points."""

import numpy as np
import pytest

from mental_slm import label_metrics as measures
from mental_slm import statistics as stats

LABELS = ("minimum", "mild", "moderate", "severe")


def _answers(n: int, seed: int, invalid: float = 0.1) -> tuple[list[str], list[str | None]]:
    generator = np.random.default_rng(seed)
    gold = [str(label) for label in generator.choice(LABELS, size=n)]
    predicted = [
        None if generator.random() < invalid else str(generator.choice(LABELS)) for _ in range(n)
    ]
    return gold, predicted


def _once(gold: list[str], predicted: list[str | None]) -> np.ndarray:
    return measures.confusion(gold, predicted, LABELS, np.ones((1, len(gold))))


def test_measures_equal_scikit_learn_on_the_sample_and_on_a_resample() -> None:
    from sklearn import metrics

    gold, predicted = _answers(60, seed=1)
    weights = np.vstack([np.ones((1, 60)), stats.resample_weights(60, 1, [7])])
    counts = measures.confusion(gold, predicted, LABELS, weights)
    for row, drawn in enumerate((np.arange(60), np.repeat(np.arange(60), weights[1].astype(int)))):
        truth = [gold[i] for i in drawn]
        said = [predicted[i] or "invalid" for i in drawn]
        labels = sorted(set(truth))
        for name, expected in {
            "accuracy": metrics.accuracy_score(truth, said),
            "macro_f1": metrics.f1_score(truth, said, labels=labels, average="macro"),
            "weighted_f1": metrics.f1_score(truth, said, labels=labels, average="weighted"),
            "balanced_accuracy": metrics.recall_score(truth, said, labels=labels, average="macro"),
            "kappa": metrics.cohen_kappa_score(truth, said),
        }.items():
            assert measures.MEASURES[name](counts)[row] == pytest.approx(expected), name


def test_quadratic_kappa_equals_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    gold, predicted = _answers(80, seed=2, invalid=0)
    expected = cohen_kappa_score(gold, predicted, labels=LABELS, weights="quadratic")
    assert measures.quadratic_kappa(_once(gold, predicted))[0] == pytest.approx(expected)


def test_an_invalid_answer_is_the_farthest_label_in_quadratic_kappa() -> None:
    gold = ["minimum", "mild", "moderate", "severe", "severe", "minimum"]
    said: list[str | None] = [None, "mild", None, "severe", None, "minimum"]
    farthest: list[str | None] = ["severe", "mild", "minimum", "severe", "minimum", "minimum"]
    assert measures.quadratic_kappa(_once(gold, said)) == pytest.approx(
        measures.quadratic_kappa(_once(gold, farthest))
    )


def test_fixed_points_constant_is_zero_perfect_is_one_shuffled_is_about_zero() -> None:
    gold, _ = _answers(4000, seed=3)
    constant: list[str | None] = ["mild"] * len(gold)
    shuffled = list(np.random.default_rng(4).permutation(gold))
    for skill in (measures.kappa, measures.quadratic_kappa):
        assert skill(_once(gold, constant))[0] == pytest.approx(0, abs=1e-12)
        assert skill(_once(gold, list(gold)))[0] == pytest.approx(1)
        assert skill(_once(gold, shuffled))[0] == pytest.approx(0, abs=0.06)
    assert measures.balanced_accuracy(_once(gold, constant))[0] == pytest.approx(0.25)


def test_nothing_can_be_shown_where_chance_cannot_err() -> None:
    assert measures.kappa(_once(["mild"] * 3, ["mild"] * 3))[0] == 0
    assert measures.quadratic_kappa(_once(["mild"] * 3, ["mild"] * 3))[0] == 0


def test_under_triage_counts_lower_and_missing_labels_of_the_upper_half() -> None:
    gold = ["severe", "severe", "moderate", "moderate", "mild"]
    said: list[str | None] = ["moderate", None, "severe", "moderate", "minimum"]
    assert measures.under_triage_rate(_once(gold, said))[0] == pytest.approx(2 / 4)
    assert np.isnan(measures.under_triage_rate(_once(["mild"], ["minimum"]))[0])


def test_a_label_that_was_not_drawn_has_no_f1() -> None:
    counts = measures.confusion(
        ["mild", "severe"], ["mild", "severe"], LABELS, np.array([[2.0, 0.0]])
    )
    assert measures.macro_f1(counts)[0] == 1


def test_answers_of_two_systems_add_up() -> None:
    """The paired tests exchange answers by adding the counts of two systems."""
    gold, first = _answers(40, seed=5)
    _, second = _answers(40, seed=6)
    swap = np.random.default_rng(7).integers(0, 2, size=(1, 40)).astype(float)
    mixed = [b if s else a for a, b, s in zip(first, second, swap[0], strict=True)]
    total = measures.confusion(gold, first, LABELS, 1 - swap) + measures.confusion(
        gold, second, LABELS, swap
    )
    assert (total == _once(gold, mixed)).all()


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(ValueError, match="dreadful"):
        _once(["mild"], ["dreadful"])
