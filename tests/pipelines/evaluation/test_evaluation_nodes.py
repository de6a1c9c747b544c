"""Selecting, scoring and summarising, on made-up answers; then the whole pipeline."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset
from kedro_datasets.plotly import JSONDataset as FigureDataset

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation import create_pipeline, nodes
from mental_slm.pipelines.evaluation.judge.pipeline import judge_nodes
from mental_slm.pipelines.evaluation.labels import nodes as labels
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.profiles.pipeline import profile_nodes
from mental_slm.pipelines.evaluation.safety_suite.pipeline import safety_nodes
from mental_slm.prompts import Prompts
from mental_slm.records import validate_scores
from mental_slm.references import ModelRef
from mental_slm.tasks import TASKS, answer_line

Pairs = list[dict[str, Any]]
MakePairs = Callable[[int, str], Pairs]


def _options(**changes: Any) -> EvaluationOptions:
    values = {
        "environment": "test",
        "data": "sample",
        "max_items_per_task": None,
        "max_new_tokens": 6,
        "batch_size": 8,
        "dtype": "float32",
        "bertscore": BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        "resamples": 200,
        "seed": 1,
    }
    return EvaluationOptions(**{**values, **changes})


def _generations(items: Pairs, answer: Callable[[dict[str, Any]], str]) -> Pairs:
    return [
        {"pair_id": i["pair_id"], "answer": answer(i), "finish_reason": "stop", "tokens": 9}
        for i in items
    ]


def _perfect(item: dict[str, Any]) -> str:
    return f"{item['response']}\n{answer_line(item['phrases'][item['label']])}"


def _with_own_words(items: Pairs) -> Pairs:
    """Give every item a reference of its own, so that a wrong one can be told apart."""
    words = "sleep exam sister garden money river doctor bread winter letter train silence".split()
    return [
        {**item, "response": " ".join(random.Random(n).choices(words, k=12))}
        for n, item in enumerate(items)
    ]


def _report(**changes: Any) -> dict[str, Any]:
    settings = {"decoding": "greedy", "max_new_tokens": 6, "dtype": "float32"}
    report = {
        "model": {"name": "tiny", "digest": "0", "family": "llama", "origin": "random"},
        "settings": settings,
        "tokens": 9,
        "seconds": 1.0,
        "tokens_per_second": 9.0,
    }
    return {**report, **changes}


def _even(items: Pairs) -> pd.DataFrame:
    """Make up the likelihoods of a model that prefers no option."""
    rows = [
        {**{k: item[k] for k in ("pair_id", "text_id", "split", "task", "label")},
         "option": label, "log_likelihood": -1.0, "probability": 1 / len(item["phrases"])}
        for item in items
        for label in item["phrases"]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _score(
    items: Pairs, train: Pairs, base: Pairs, tuned: Pairs
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    options = _options()
    explained, description = nodes.score_answers(items, base, tuned, options)
    baselines, shares = labels.score_baselines(items, [], train, options)
    probabilities = labels.collect_label_probabilities(_even(items), _even(items), shares)
    read = labels.parse_labels(items, base, tuned)
    scores = nodes.collect_scores(read, baselines, probabilities, explained, options)
    validate_scores(scores)
    return scores, probabilities, description


def _evaluate(items: Pairs, train: Pairs, base: Pairs, tuned: Pairs) -> dict[str, Any]:
    scores, probabilities, description = _score(items, train, base, tuned)
    return nodes.summarise_scores(
        scores, probabilities, items, _report(), _report(), description, _options()
    )


# --- selection ---------------------------------------------------------------------------------


def test_the_subset_is_stable_under_shuffling_and_grows_without_exchange(
    make_pairs: MakePairs,
) -> None:
    pairs = make_pairs(100, "test")
    shuffled = random.Random(5).sample(pairs, len(pairs))
    small = nodes.select_items(pairs, _options(max_items_per_task=5))
    assert nodes.select_items(shuffled, _options(max_items_per_task=5)) == small
    assert Counter(pair["task"] for pair in small) == dict.fromkeys(TASKS, 5)
    large = nodes.select_items(shuffled, _options(max_items_per_task=12))
    assert {p["pair_id"] for p in small} < {p["pair_id"] for p in large}
    every = nodes.select_items(shuffled, _options())
    assert sorted(p["pair_id"] for p in every) == sorted(p["pair_id"] for p in pairs)


def test_the_subset_keeps_the_proportions_of_the_labels(make_pairs: MakePairs) -> None:
    template = make_pairs(1, "test")[0]
    labels = list(TASKS[template["task"]].labels)[:2]
    pairs = [
        {**template, "pair_id": f"id-{n}", "label": labels[0] if n % 4 else labels[1]}
        for n in range(80)
    ]
    chosen = nodes.select_items(pairs, _options(max_items_per_task=20))
    assert Counter(pair["label"] for pair in chosen) == {labels[0]: 15, labels[1]: 5}


def test_pairs_of_another_split_are_refused(make_pairs: MakePairs) -> None:
    with pytest.raises(ValueError, match="3 pairs are not of the test split"):
        nodes.select_items(make_pairs(3, "train"), _options())
    with pytest.raises(ValueError, match="pairs_test is empty"):
        nodes.select_items([], _options())


def test_a_pair_of_an_unknown_task_is_refused(make_pairs: MakePairs) -> None:
    pair = {**make_pairs(1, "test")[0], "task": "horoscope"}
    with pytest.raises(ValueError, match=r"unknown tasks.*horoscope"):
        nodes.select_items([pair], _options())


# --- scoring -----------------------------------------------------------------------------------


def test_perfect_answers_score_one_and_wrong_references_have_no_skill(
    make_pairs: MakePairs,
) -> None:
    items = nodes.select_items(_with_own_words(make_pairs(60, "test")), _options())
    by_task = {task: [i for i in items if i["task"] == task] for task in TASKS}

    def answer_of_another(item: dict[str, Any]) -> str:
        others = by_task[item["task"]]
        position = others.index(item)
        return str(others[(position + len(others) // 2) % len(others)]["response"])

    metrics = _evaluate(
        items,
        make_pairs(50, "train"),
        _generations(items, answer_of_another),
        _generations(items, _perfect),
    )
    tuned, base = metrics["systems"]["tuned"]["overall"], metrics["systems"]["base"]["overall"]
    assert tuned["n"] == 60
    assert tuned["accuracy"]["value"] == tuned["macro_f1"]["value"] == 1
    assert tuned["bertscore_f1"]["value"] == pytest.approx(1, abs=1e-5)
    assert tuned["bertscore_skill"]["value"] == pytest.approx(1, abs=1e-4)
    assert tuned["invalid_rate"] == 0
    # Answers without an answer line: all invalid, all wrong, and no better than any reference.
    assert base["accuracy"]["value"] == base["macro_f1"]["value"] == 0
    assert base["invalid_rate"] == 1
    assert base["bertscore_skill"]["low"] <= 0.02
    # random words: three standard errors of 60 items; the right reference scores 1
    assert base["bertscore_skill"]["value"] == pytest.approx(0, abs=0.15)
    gain = metrics["paired"]["overall"]
    assert gain["accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert gain["p"] == pytest.approx(1 / 201, abs=1e-6)
    stress = metrics["paired"]["stress"]
    assert (stress["only_base_right"], stress["only_tuned_right"]) == (0, 12)
    assert stress["mcnemar_p"] < 0.001


def test_the_answer_line_does_not_enter_bertscore(make_pairs: MakePairs) -> None:
    items = make_pairs(5, "test")
    bare = _generations(items, lambda item: str(item["response"]))
    scores, _ = nodes.score_answers(items, bare, _generations(items, _perfect), _options())
    means = scores.groupby("system")["bertscore_f1"].mean()
    assert means["base"] == means["tuned"] == pytest.approx(1, abs=1e-5)


def test_a_cut_answer_without_text_scores_zero(make_pairs: MakePairs) -> None:
    items = make_pairs(5, "test")
    only_line = _generations(items, lambda i: answer_line(i["phrases"][i["label"]]))
    scores, _ = nodes.score_answers(items, only_line, only_line, _options())
    assert (scores["bertscore_f1"] == 0).all()


def test_an_item_without_a_reference_is_scored_on_its_label_alone(make_pairs: MakePairs) -> None:
    items = _with_own_words(make_pairs(25, "test"))
    blind = [{**items[0], "response": ""}, *items[1:]]
    answers = _generations(items, _perfect)
    full = _evaluate(items, make_pairs(50, "train"), answers, answers)["systems"]["tuned"]
    fewer = _evaluate(blind, make_pairs(50, "train"), answers, answers)["systems"]["tuned"]
    assert fewer["overall"]["n"] == 25 and fewer["overall"]["accuracy"]["value"] == 1
    assert fewer["overall"]["bertscore_f1"]["value"] == pytest.approx(1, abs=1e-5)
    assert fewer["overall"]["bertscore_floor"] != full["overall"]["bertscore_floor"]


def test_a_task_without_any_reference_is_named(make_pairs: MakePairs) -> None:
    items = make_pairs(25, "test")
    blind = [{**i, "response": ""} if i["task"] == "stress" else i for i in items]
    with pytest.raises(ValueError, match="no pair of task stress has a reference"):
        nodes.score_answers(
            blind, _generations(items, _perfect), _generations(items, _perfect), _options()
        )


def test_emotion_profiles_are_not_scored_as_labels(make_pairs: MakePairs) -> None:
    pairs = make_pairs(10, "test")
    profile = {**pairs[0], "pair_id": "profile", "task": "emotion_profile"}
    assert len(nodes.select_items([*pairs, profile], _options())) == 10


def test_answers_that_do_not_match_the_items_are_refused(make_pairs: MakePairs) -> None:
    items = make_pairs(5, "test")
    answers = _generations(items, _perfect)
    with pytest.raises(ValueError, match="generations of tuned: 1 ids differ"):
        nodes.score_answers(items, answers, answers[1:], _options())


# --- summary -----------------------------------------------------------------------------------


def test_the_metrics_say_what_they_rest_on(make_pairs: MakePairs) -> None:
    items = make_pairs(25, "test")
    answers = _generations(items, _perfect)
    metrics = _evaluate(items, make_pairs(50, "train"), answers, answers)
    json.loads(json.dumps(metrics, allow_nan=False))
    assert set(metrics["systems"]) == {"base", "tuned", "majority", "tfidf"}
    for system, blocks in metrics["systems"].items():
        assert set(blocks) == {"overall", *TASKS}
        for block in blocks.values():
            assert block["n"] and "note" in block  # 25 and 5 items are few
            for name in ("accuracy", "macro_f1"):
                interval = block[name]
                assert interval["low"] <= interval["value"] <= interval["high"]
            assert ("bertscore_f1" in block) == (system in ("base", "tuned"))
    assert metrics["bertscore"]["encoder"] == "all-MiniLM-L6-v2"
    assert "Depression (5)" in metrics["notes"][0]
    assert "synthetic" in metrics["notes"][1]
    assert "no validation pair" in metrics["notes"][2]


def test_the_digest_of_the_items_follows_their_content_not_their_order(
    make_pairs: MakePairs,
) -> None:
    items = make_pairs(10, "test")
    train = make_pairs(20, "train")

    def digest_of(chosen: Pairs) -> str:
        answers = _generations(chosen, _perfect)
        return str(_evaluate(chosen, train, answers, answers)["data"]["items_digest"])

    assert digest_of(items) == digest_of(items[::-1])
    assert digest_of(items) != digest_of(items[1:])


def test_a_task_with_one_item_has_no_floor(make_pairs: MakePairs) -> None:
    items = make_pairs(1, "test")
    answers = _generations(items, _perfect)
    metrics = _evaluate(items, make_pairs(20, "train"), answers, answers)
    assert metrics["systems"]["tuned"]["overall"]["bertscore_skill"] is None
    assert metrics["systems"]["tuned"]["overall"]["bertscore_floor"] is None
    nodes.draw_bertscore(metrics).to_json()


def test_models_asked_under_different_settings_are_not_compared(make_pairs: MakePairs) -> None:
    items = make_pairs(5, "test")
    answers = _generations(items, _perfect)
    scores, probabilities, description = _score(items, make_pairs(20, "train"), answers, answers)
    other = _report(settings={"dtype": "x"})
    with pytest.raises(ValueError, match="under different settings"):
        nodes.summarise_scores(
            scores, probabilities, items, _report(), other, description, _options()
        )


# --- the pipeline ------------------------------------------------------------------------------


def test_the_pipeline_runs_and_gives_the_same_bytes_again(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: MakePairs, prompts: Prompts
) -> None:
    def run(folder: str) -> tuple[DataCatalog, dict[str, Any]]:
        catalog = DataCatalog()
        inputs = {
            "pairs_test": make_pairs(15, "test"),
            "pairs_train": make_pairs(40, "train"),
            "pairs_val": make_pairs(15, "val"),
            "base_model": tiny_model,
            "merged_model": ModelRef(**{**vars(tiny_model), "digest": "1" * 16}),
            "evaluation_workspace": tmp_path / "work",
            "params:evaluation": _options(max_items_per_task=2),
            "params:model": ModelOptions(name="tiny", source="random", threads=1),
            "prompts": prompts,
            "teacher_api_key": None,
            "judge_api_key": None,
        }
        for name, value in inputs.items():
            catalog[name] = value
        for name in ("generations_base", "generations_tuned", "metrics"):
            catalog[name] = JSONDataset(filepath=str(tmp_path / folder / f"{name}.json"))
        for name in ("accuracy_figure", "bertscore_figure", "reliability_figure"):
            catalog[name] = FigureDataset(filepath=str(tmp_path / folder / f"{name}.json"))
        for name in ("scores", "label_probabilities"):
            catalog[name] = ParquetDataset(filepath=str(tmp_path / folder / f"{name}.parquet"))
        # profiles, judge and safety have tests of their own
        others = Pipeline([*judge_nodes(), *profile_nodes(), *safety_nodes()])
        for name in ("judge_metrics", "profile_metrics", "safety_metrics"):
            catalog[name] = {}
        labels_and_text = (create_pipeline() - others).to_outputs(
            "all_metrics", "accuracy_figure", "bertscore_figure", "reliability_figure"
        )
        outputs = SequentialRunner().run(labels_and_text, catalog)
        return catalog, outputs["all_metrics"].load()

    catalog, filed = run("first")
    run("second")
    written = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(written) == 8
    for name in written:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    scores = catalog.load("scores")
    validate_scores(scores)
    assert Counter(scores["system"]) == dict.fromkeys(("base", "tuned", "majority", "tfidf"), 10)
    assert catalog.load("generations_base") == catalog.load("generations_tuned")  # same weights
    assert catalog.load("metrics")["data"]["n"] == 10
    assert list(filed) == ["test/sample"]
    bars = catalog.load("accuracy_figure").data
    assert [bar.name for bar in bars] == [
        "Base model",
        "Tuned model",
        "Majority label",
        "TF-IDF + logistic regression",
    ]
    assert all(len(bar.error_y.array) == 6 for bar in bars)
