"""Label nodes: parsing, likelihoods that resume, baselines, and the metrics made of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation import nodes as evaluation
from mental_slm.pipelines.evaluation.baselines import (
    most_probable,
    predict_majority,
    predict_tfidf,
)
from mental_slm.pipelines.evaluation.labels import nodes
from mental_slm.pipelines.evaluation.labels.options import LabelOptions
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.significance import HEADLINES
from mental_slm.records import validate_scores
from mental_slm.references import ModelRef
from mental_slm.tasks import TASKS, answer_line

Pairs = list[dict[str, Any]]
MakePairs = Callable[[int, str], Pairs]
CONF = Path(__file__).parents[4] / "conf" / "base"
MODEL_OPTIONS = ModelOptions(name="tiny", source="random", threads=1)


def _options(**changes: Any) -> EvaluationOptions:
    values = {
        "environment": "test",
        "data": "public",
        "max_items_per_task": None,
        "max_new_tokens": 6,
        "batch_size": 8,
        "dtype": "float32",
        "bertscore": BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        "resamples": 400,
        "seed": 1,
    }
    return EvaluationOptions(**{**values, **changes})


def _answers(items: Pairs, say: Callable[[dict[str, Any]], str]) -> Pairs:
    return [{"pair_id": item["pair_id"], "answer": say(item)} for item in items]


def _right(item: dict[str, Any]) -> str:
    return answer_line(item["phrases"][item["label"]])


def _likely(pairs: Pairs, probability: Callable[[dict[str, Any], str], float]) -> pd.DataFrame:
    """Make up a model's label probabilities."""
    rows = []
    for pair in pairs:
        shares = {label: probability(pair, label) for label in pair["phrases"]}
        total = sum(shares.values())
        rows += [
            {
                **{k: pair[k] for k in ("pair_id", "text_id", "split", "task", "label")},
                "option": label,
                "log_likelihood": float(np.log(share)),
                "probability": share / total,
            }
            for label, share in shares.items()
        ]
    return pd.DataFrame(rows)


def _knowing(pair: dict[str, Any], label: str) -> float:
    return 0.9 if label == pair["label"] else 0.1


def _indifferent(pair: dict[str, Any], label: str) -> float:
    return 1.0


def _text_scores(items: Pairs) -> pd.DataFrame:
    rows = [
        {"system": system, "pair_id": item["pair_id"], "task": item["task"], "answer": "secret",
         "finish_reason": "stop", "bertscore_f1": f1, "bertscore_shuffled_f1": 0.3, "chrf": f1 / 2,
         "chrf_shuffled": 0.2}
        for system, f1 in (("base", 0.31), ("tuned", 0.5))
        for item in items
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _report() -> dict[str, Any]:
    return {
        "model": {"name": "tiny", "digest": "0", "family": "llama", "origin": "random"},
        "settings": {"decoding": "greedy"},
        "tokens": 9,
        "seconds": 1.0,
        "tokens_per_second": 9.0,
    }


def _evaluate(
    items: Pairs,
    validation: Pairs,
    train: Pairs,
    base: Callable[[dict[str, Any]], str],
    tuned: Callable[[dict[str, Any]], str],
    **changes: Any,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run all label nodes with made-up answers: base is indifferent, tuned knows the labels."""
    options = _options(**changes)
    labels = nodes.parse_labels(items, _answers(items, base), _answers(items, tuned))
    of_baselines, shares = nodes.score_baselines(items, validation, train, options)
    everything = [*items, *validation]
    probabilities = nodes.collect_label_probabilities(
        _likely(everything, _indifferent), _likely(everything, _knowing), shares
    )
    scores = evaluation.collect_scores(
        labels, of_baselines, probabilities, _text_scores(items), options
    )
    validate_scores(scores)
    metrics = evaluation.summarise_scores(
        scores, probabilities, items, _report(), _report(), {"encoder": "mini"}, options
    )
    json.dumps(metrics, allow_nan=False)
    return metrics, scores


# --- options -----------------------------------------------------------------------------------


def test_conf_states_every_default_and_the_code_the_same() -> None:
    block = yaml.safe_load((CONF / "parameters_evaluation.yml").read_text("utf-8"))["evaluation"]
    assert LabelOptions(**block["labels"]) == LabelOptions()
    assert block["labels"].keys() == LabelOptions.model_fields.keys()
    assert block["keep_text"] is EvaluationOptions.model_fields["keep_text"].default
    assert all(field.description for field in LabelOptions.model_fields.values())


# --- validation items --------------------------------------------------------------------------


def test_validation_items_are_of_the_risk_task_and_capped(make_pairs: MakePairs) -> None:
    pairs = make_pairs(100, "val")
    every = nodes.select_validation_items(pairs, _options())
    assert {pair["task"] for pair in every} == {"suicide_risk"} and len(every) == 20
    few = nodes.select_validation_items(
        pairs[::-1], _options(labels=LabelOptions(validation_items=6))
    )
    assert [pair["label"] for pair in few].count("suicidal") == 3
    assert {pair["pair_id"] for pair in few} < {pair["pair_id"] for pair in every}


def test_test_pairs_never_choose_a_threshold(make_pairs: MakePairs) -> None:
    with pytest.raises(ValueError, match="2 pairs are not of the validation split"):
        nodes.select_validation_items(make_pairs(2, "test"), _options())


# --- likelihoods -------------------------------------------------------------------------------


def test_likelihoods_resume_batch_by_batch_and_give_the_same_bytes(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: MakePairs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    items, validation = make_pairs(10, "test"), make_pairs(10, "val")[3:4]
    options = _options(labels=LabelOptions(batch_size=2))

    def score(model: ModelRef) -> pd.DataFrame:
        return nodes.score_likelihoods(items, validation, model, options, MODEL_OPTIONS, tmp_path)

    first = score(tiny_model)
    assert first.groupby("pair_id")["probability"].sum().to_numpy() == pytest.approx(1)
    assert set(first["split"]) == {"test", "val"}
    kept = sorted((tmp_path / "label_likelihoods" / tiny_model.digest).iterdir())
    assert len(kept) == 6  # two items of five tasks, and a third of suicide risk
    gone = tiny_model.at(tmp_path / "no-such-folder")
    pd.testing.assert_frame_equal(score(gone), first)  # nothing is left to ask the model
    kept[0].unlink()
    kept[1].write_text('[{"key": ', "utf-8")
    pd.testing.assert_frame_equal(score(tiny_model), first)
    assert "6 of 6 batches found" in caplog.text
    assert "is damaged; scoring its items again" in caplog.text


def test_another_model_never_reuses_a_score(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: MakePairs
) -> None:
    items = make_pairs(2, "test")
    nodes.score_likelihoods(items, [], tiny_model, _options(), MODEL_OPTIONS, tmp_path)
    other = ModelRef(**{**vars(tiny_model), "digest": "0" * 16, "path": tmp_path / "gone"})
    with pytest.raises(Exception, match="gone"):
        nodes.score_likelihoods(items, [], other, _options(), MODEL_OPTIONS, tmp_path)


# --- baselines ---------------------------------------------------------------------------------


def test_the_baselines_learn_from_the_training_pairs_alone(make_pairs: MakePairs) -> None:
    template = make_pairs(1, "train")[0]
    first, second = list(TASKS[template["task"]].labels)[:2]
    train = [
        {**template, "pair_id": str(n), "label": label, "post": f"{word} again {n}"}
        for n, (label, word) in enumerate([(first, "rain")] * 6 + [(second, "sun")] * 5)
    ]
    items = [{**train[-1], "label": first}, {**train[0], "label": second}]
    assert predict_majority(train, items) == [{first: 6 / 11, second: 5 / 11}] * 2
    shares = predict_tfidf(train, items, seed=0)
    assert [most_probable(share) for share in shares] == [second, first]
    assert all(sum(share.values()) == pytest.approx(1) for share in shares)
    assert predict_tfidf(train[:3], items, seed=0) == [{first: 1.0}] * 2
    assert most_probable({"b": 0.5, "a": 0.5}) == "a"


def test_tfidf_finds_a_rare_label():
    rare = [{"post": f"dark day {n}, nothing helps", "label": "yes"} for n in range(3)]
    common = [{"post": f"a day {n} like others, all fine", "label": "no"} for n in range(60)]
    items = [{"post": "dark day again, nothing helps"}, {"post": "a day like others"}]
    found = predict_tfidf(rare + common, items, seed=0)
    assert [most_probable(row) for row in found] == ["yes", "no"]


def test_a_task_without_training_pairs_is_named(make_pairs: MakePairs) -> None:
    train = [pair for pair in make_pairs(20, "train") if pair["task"] != "stress"]
    with pytest.raises(ValueError, match="no pair of task stress"):
        nodes.score_baselines(make_pairs(5, "test"), [], train, _options())


# --- metrics -----------------------------------------------------------------------------------


def test_a_perfect_model_against_one_that_says_nothing(make_pairs: MakePairs) -> None:
    items = make_pairs(210, "test")
    metrics, _ = _evaluate(
        items, make_pairs(400, "val"), make_pairs(100, "train"), lambda _: "", _right
    )
    base, tuned = (metrics["systems"][s]["overall"] for s in ("base", "tuned"))
    measures = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy")
    assert [tuned[name]["value"] for name in (*measures, "kappa")] == [1] * 5
    assert [base[name]["value"] for name in measures] == [0] * 4
    assert (base["invalid_rate"], tuned["invalid_rate"]) == (1, 0)
    severity = {s: metrics["systems"][s]["depression_severity"] for s in ("base", "tuned")}
    assert severity["tuned"]["quadratic_kappa"]["value"] == 1
    assert severity["tuned"]["under_triage_rate"]["value"] == 0
    assert severity["base"]["under_triage_rate"]["value"] == 1
    assert "quadratic_kappa" not in metrics["systems"]["tuned"]["stress"]
    # the majority's probabilities are the reference of the skill
    assert metrics["systems"]["majority"]["overall"]["likelihood"]["brier_skill"]["value"] == 0
    assert tuned["likelihood"]["brier_skill"]["value"] > 0.8
    assert {name: one["value"] for name, one in tuned["text"].items()} == {
        "chrf": 0.25,
        "chrf_shuffled": 0.2,
        "chrf_skill": pytest.approx(0.05 / 0.8, abs=1e-6),
    }
    risk = metrics["risk"]["systems"]
    assert risk["tuned"]["recall"]["value"] == risk["tuned"]["area_under_curve"]["value"] == 1
    assert risk["base"]["recall"]["value"] == 0  # indifferent: a threshold flags all or nobody
    assert metrics["headlines"]["family"] == [headline.name for headline in HEADLINES]
    tests = metrics["headlines"]["tests"]
    # these posts name their label, so TF-IDF is perfect too, and that is no difference
    for name, test in tests.items():
        expected = "no difference shown" if name.endswith("over_tfidf") else "better"
        assert test["verdict"] == expected, name
        assert test["p_holm"] >= test["p"]
    assert not metrics["headlines"]["untested"] and not metrics["notes"]


def test_constant_predictions_have_no_skill(make_pairs: MakePairs) -> None:
    items = make_pairs(175, "test")

    def constant(item: dict[str, Any]) -> str:
        return answer_line(next(iter(item["phrases"].values())))

    metrics, _ = _evaluate(
        items, make_pairs(100, "val"), make_pairs(100, "train"), constant, constant
    )
    for name, block in metrics["systems"]["tuned"].items():
        assert block["kappa"] == {"value": 0, "low": 0, "high": 0}, name
    assert metrics["paired"]["overall"]["p"] == 1
    over_base = [t for n, t in metrics["headlines"]["tests"].items() if "f1_over_base" in n]
    assert {test["verdict"] for test in over_base} == {"no difference shown"}


def test_shuffled_answers_are_about_chance(make_pairs: MakePairs) -> None:
    items = make_pairs(420, "test")
    by_task = {task: [i for i in items if i["task"] == task] for task in TASKS}
    generator = np.random.default_rng(0)
    order = {task: generator.permutation(len(of_task)) for task, of_task in by_task.items()}

    def shuffled(item: dict[str, Any]) -> str:
        others = by_task[item["task"]]
        return _right(others[order[item["task"]][others.index(item)]])

    metrics, _ = _evaluate(
        items, make_pairs(100, "val"), make_pairs(100, "train"), lambda _: "", shuffled
    )
    assert abs(metrics["systems"]["tuned"]["overall"]["kappa"]["value"]) < 0.1


def test_one_item_gives_numbers_and_no_claim(make_pairs: MakePairs) -> None:
    metrics, _ = _evaluate(make_pairs(1, "test"), [], make_pairs(20, "train"), lambda _: "", _right)
    assert metrics["systems"]["tuned"]["overall"]["accuracy"]["value"] == 1
    assert metrics["systems"]["tuned"]["overall"]["accuracy"]["low"] < 0.3
    assert metrics["risk"] is None
    assert any("No recall at a fixed rate" in note for note in metrics["notes"])
    tests = metrics["headlines"]["tests"].values()
    assert {test["verdict"] for test in tests} == {"no difference shown"}
    assert "stress.weighted_f1_over_base" in metrics["headlines"]["untested"]
    evaluation.draw_reliability(metrics).to_json()


def test_posts_that_stand_in_two_datasets_count_once(make_pairs: MakePairs) -> None:
    """DepSeverity holds the posts of Dreaddit; here both tasks share every post."""
    items = [
        {**pair, "text_id": f"post {number // 2}"}
        for number, pair in enumerate(
            p for p in make_pairs(200, "test") if p["task"] in ("stress", "depression_severity")
        )
    ]
    metrics, _ = _evaluate(items, [], make_pairs(50, "train"), lambda _: "", _right)
    assert (metrics["data"]["n"], metrics["data"]["posts"]) == (80, 40)
    overall, stress = (metrics["systems"]["tuned"][name] for name in ("overall", "stress"))
    assert overall["accuracy"] == stress["accuracy"]  # 80 items, but no more than 40 posts
    assert "mcnemar_p" not in metrics["paired"]["overall"]
    assert "mcnemar_p" in metrics["paired"]["stress"]


def test_a_threshold_that_rests_on_few_posts_is_noted(make_pairs: MakePairs) -> None:
    metrics, _ = _evaluate(
        make_pairs(175, "test"), make_pairs(20, "val"), make_pairs(50, "train"), _right, _right
    )
    assert metrics["risk"]["validation_negatives"] == 2
    assert any("rests on 2 validation posts" in note for note in metrics["notes"])


# --- the table ---------------------------------------------------------------------------------


def test_the_scores_hold_every_measure_and_no_text(make_pairs: MakePairs) -> None:
    items = make_pairs(25, "test")
    train = make_pairs(50, "train")
    _, scores = _evaluate(items, [], train, lambda _: "", _right)
    assert len(scores) == 4 * 25
    assert "answer" not in scores and "secret" not in scores.to_csv()
    tuned = scores[scores["system"] == "tuned"]
    assert tuned["label_probability"].between(0.5, 0.91).all() and (tuned["chrf"] == 0.25).all()
    assert (tuned["likelihood_label"] == tuned["label"]).all()
    _, kept = _evaluate(items, [], train, lambda _: "", _right, keep_text=True)
    assert (kept.loc[kept["system"] == "tuned", "answer"] == "secret").all()
    filed = evaluation.file_metrics({"made": "up"}, kept, _options())
    assert "answer" not in filed[1]["test/public"]


def test_probabilities_that_are_not_numbers_are_refused(make_pairs: MakePairs) -> None:
    _, scores = _evaluate(make_pairs(5, "test"), [], make_pairs(50, "train"), _right, _right)
    scores.loc[2, "confidence"] = np.nan
    with pytest.raises(ValueError, match=f"outside 0 to 1: {scores.loc[2, 'pair_id']}"):
        validate_scores(scores)


def test_systems_on_other_items_are_refused_with_the_difference(make_pairs: MakePairs) -> None:
    items = make_pairs(10, "test")
    _, scores = _evaluate(items, [], make_pairs(50, "train"), _right, _right)
    fewer = scores.drop(scores.index[scores["system"] == "tuned"][:3])
    with pytest.raises(ValueError, match="base and tuned hold other items: 3 stand in one"):
        evaluation.summarise_scores(
            fewer, pd.DataFrame(), items, _report(), _report(), {}, _options()
        )


def test_answers_that_do_not_match_the_items_are_refused(make_pairs: MakePairs) -> None:
    items = make_pairs(5, "test")
    answers = _answers(items, _right)
    with pytest.raises(ValueError, match="generations of tuned: 1 ids differ"):
        nodes.parse_labels(items, answers, answers[1:])
