"""Measures of explanations, on made-up answers."""

import math
from typing import Any

import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import sentence_chrf

from mental_slm.pipelines.evaluation import text_metrics
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.text_similarity import BASELINES, rescale

OPTIONS = EvaluationOptions(
    environment="test",
    data="sample",
    max_items_per_task=None,
    max_new_tokens=6,
    batch_size=8,
    dtype="float32",
    bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
    resamples=200,
    seed=1,
)
PHRASES = {"yes": "signs of stress", "no": "no signs of stress"}
REFERENCES = [
    "The writer sleeps badly before exams. A walk in the evening may help.",
    "Money is short this month and the rent is due; a budget could calm things.",
    "A calm day by the river with cherries and friends.",
    "The kitchen is painted, the bread is baked, nothing is urgent.",
    "Calls from the manager at night leave no rest; agree on hours.",
]


def _items(references: list[str] = REFERENCES) -> list[dict[str, Any]]:
    return [
        {
            "pair_id": f"pair-{n}",
            "text_id": f"text-{n}",
            "task": "stress",
            "label": "no" if n in (2, 3) else "yes",
            "phrases": PHRASES,
            "post": f"Post {n} about something that happened on a Tuesday.",
            "response": reference,
        }
        for n, reference in enumerate(references)
    ]


def _score(answers: list[str], items: list[dict[str, Any]]) -> tuple[pd.DataFrame, dict[str, Any]]:
    ids = [item["pair_id"] for item in items]
    table = pd.DataFrame({"pair_id": ids, "task": "stress", "answer": answers})
    return text_metrics.score_texts(table, items, OPTIONS)


def test_the_reference_itself_scores_one_and_floors_lie_below() -> None:
    items = _items()
    answers = [f"{item['response']}\nAnswer: signs of stress" for item in items]
    scores, description = _score(answers, items)
    assert scores["bertscore_f1"].tolist() == pytest.approx([1] * 5, abs=1e-5)
    assert scores["bertscore_rescaled_f1"].tolist() == pytest.approx([1] * 5, abs=1e-5)
    assert scores["chrf"].tolist() == pytest.approx([1] * 5)
    assert scores["rouge_l"].tolist() == pytest.approx([1] * 5)
    for floor in ("bertscore_shuffled_f1", "bertscore_generic_f1", "bertscore_copy_f1"):
        assert scores[floor].max() < 0.9
    assert scores[["chrf_shuffled", "rouge_l_shuffled"]].max().max() < 0.6
    assert description["baseline"] == BASELINES["all-MiniLM-L6-v2", 6]
    assert description["texts_of_several_windows"] == description["empty_explanations"] == 0


def test_the_floor_comes_from_the_same_label() -> None:
    items = _items()
    by_id = {item["pair_id"]: item for item in items}
    others, of_other_label = text_metrics._pick_others(items, seed=3)
    assert of_other_label == 0
    assert set(others) == set(by_id) == set(others.values())
    for name, other in others.items():
        assert name != other
        assert by_id[name]["label"] == by_id[other]["label"]
    assert text_metrics._pick_others(items[::-1], seed=3)[0] == others
    single = [*items[:2], items[2]]  # one post of its label: the floor is of the other one
    others, of_other_label = text_metrics._pick_others(single, seed=3)
    assert of_other_label == 1
    assert others["pair-2"] in ("pair-0", "pair-1")
    assert text_metrics._pick_others(items[:1], seed=3) == ({}, 0)


def test_the_generic_answer_and_the_post_are_their_own_floors() -> None:
    items = _items()
    generic, _ = _score([text_metrics.GENERIC_ANSWER] * 5, items)
    assert generic["bertscore_f1"].tolist() == generic["bertscore_generic_f1"].tolist()
    copied, _ = _score([item["post"] for item in items], items)
    assert copied["bertscore_f1"].tolist() == copied["bertscore_copy_f1"].tolist()


def test_missing_references_empty_answers_and_huge_ones() -> None:
    references = [*REFERENCES[:4], "  "]
    answers = ["", "Answer: signs of stress", "sleep and rest " * 3400, REFERENCES[3], "words"]
    scores, description = _score(answers, _items(references))
    assert scores["bertscore_f1"].tolist()[:2] == [0, 0]
    assert scores["chrf"].tolist()[:2] == scores["rouge_l"].tolist()[:2] == [0, 0]
    assert 0 < scores["bertscore_f1"][2] < 0.9
    measured = scores.drop(columns=["pair_id", "task", "answer"])
    assert measured.iloc[4].isna().all()  # no reference, no measure
    assert not measured.iloc[:4].drop(columns="label_agreement").isna().any().any()
    assert description["without_reference"] == 1
    assert description["empty_explanations"] == 2
    assert description["texts_of_several_windows"] == 1


def test_the_end_of_a_long_answer_is_read() -> None:
    filler = "the same quiet evening again " * 150
    items = _items()[:2]
    ends, _ = _score([filler + REFERENCES[0], filler], items)
    without, _ = _score([filler, filler], items)
    assert ends["bertscore_f1"][0] > without["bertscore_f1"][0] + 0.1


def test_chrf_and_rouge_are_those_of_the_packages() -> None:
    pairs = [(REFERENCES[0], REFERENCES[4]), (REFERENCES[1], REFERENCES[2])]
    expected = [sentence_chrf(candidate, [reference]).score / 100 for candidate, reference in pairs]
    assert text_metrics.chrf(pairs) == pytest.approx(expected, abs=1e-6)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    expected = [scorer.score(b, a)["rougeL"].fmeasure for a, b in pairs]
    assert text_metrics.rouge_l(pairs) == pytest.approx(expected, abs=1e-6)


def test_agreement_compares_the_options_that_answer_and_reference_name() -> None:
    reference = "There are signs of stress here."
    assert text_metrics._agree(PHRASES, "Answer: signs of stress", reference) == 1
    assert text_metrics._agree(PHRASES, "Answer: no signs of stress", reference) == 0
    assert text_metrics._agree(PHRASES, "who knows", reference) == 0
    assert math.isnan(text_metrics._agree(PHRASES, "Answer: signs of stress", "Rest may help."))


def test_rescaling_follows_the_published_examples() -> None:
    """0.876 and 0.805 of roberta-large, as in the reference tables of the original's numbers."""
    baseline = BASELINES["roberta-large", 17]
    assert rescale(0.876, baseline) == pytest.approx(0.265, abs=1e-3)
    assert rescale(0.805, baseline) == pytest.approx(-0.155, abs=1e-3)
    assert rescale(baseline, baseline) == 0


def test_a_task_without_any_reference_is_named() -> None:
    with pytest.raises(ValueError, match="no pair of task stress has a reference"):
        _score(["a"] * 5, _items([""] * 5))
