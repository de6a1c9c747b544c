"""The nodes of the emotion profiles on a tiny random model and made-up reviews."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from mental_slm.emotions import write_profile
from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.pipelines.augmentation.profiles import make_profile_pairs
from mental_slm.pipelines.evaluation.journal import Journal
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.profiles import asking, nodes, scoring
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS, MEASURES
from mental_slm.pipelines.evaluation.profiles.options import ProfileOptions
from mental_slm.tasks import EMOTION_DIMENSIONS

LOW = np.array([low for low, _ in EMOTION_DIMENSIONS.values()])
HIGH = np.array([high for _, high in EMOTION_DIMENSIONS.values()])


@pytest.fixture(scope="module")
def options() -> EvaluationOptions:
    return EvaluationOptions(
        environment="test",
        data="sample",
        max_items_per_task=2,
        max_new_tokens=8,
        batch_size=4,
        dtype="float32",
        bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=8),
        resamples=200,
        seed=20,
        profiles=ProfileOptions(max_items=3, max_new_tokens=12, batch_size=2),
    )


@pytest.fixture(scope="module")
def annotation() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        [text, rater, *np.clip(rng.integers(-3, 4, 10), LOW, HIGH)]
        for text in range(60)
        for rater in range(1 + text % 2)
    ]
    return pd.DataFrame(rows, columns=["text_id", "annotator_id", *DIMENSIONS])


@pytest.fixture(scope="module")
def pairs(annotation, prompts) -> list[dict]:
    """Pairs as augmentation makes them, from made-up reviews."""
    means = annotation.groupby("text_id")[list(DIMENSIONS)].mean().reset_index()
    means["text"] = [f"Room {text} was quiet and the tea was warm." for text in means["text_id"]]
    return make_profile_pairs(
        means,
        prompts,
        AugmentationOptions.model_construct(profile_test_share=0.3, validation_share=0.1),
    )


def of_split(pairs: list[dict], split: str) -> list[dict]:
    return [pair for pair in pairs if pair["split"] == split]


def answers_of(items: list[dict], profile) -> list[dict]:
    """Answers of a system that writes ``profile(item)``, and believes in it slot by slot."""
    _, choices = asking.profile_form()
    made = []
    for item in items:
        text = profile(item)
        written = {"answer": text, "finish_reason": "stop", "tokens": 52}
        values = json.loads(text) if text.startswith("{") else dict.fromkeys(DIMENSIONS, 0)
        slots = [
            [0.0 if float(v) == float(values[name]) else -30.0 for v in slot]
            for name, slot in zip(DIMENSIONS, choices, strict=True)
        ]
        made.append(
            {"pair_id": item["pair_id"], "free": written, "constrained": written, "slots": slots}
        )
    return made


def test_what_the_student_learns_to_write_is_legal(pairs) -> None:
    for pair in pairs:
        assert write_profile(json.loads(pair["label"])) == pair["label"]
        assert pair["response"] == ("" if pair["split"] == "test" else pair["label"])


def test_the_choice_depends_on_ids_alone(pairs, make_pairs, options) -> None:
    test = of_split(pairs, "test")
    chosen = nodes.select_profile_items([*make_pairs(10, "test"), *test], options)
    assert len(chosen) == 3
    assert chosen == nodes.select_profile_items(test[::-1], options)
    more = options.model_copy(update={"profiles": ProfileOptions(max_items=5)})
    ids = {pair["pair_id"] for pair in nodes.select_profile_items(test, more)}
    assert {pair["pair_id"] for pair in chosen} < ids


def test_a_killed_run_goes_on_and_the_batch_does_not_matter(
    pairs, options, tiny_model, tiny_options, tmp_path
) -> None:
    items = nodes.select_profile_items(of_split(pairs, "test"), options)[:2]
    whole = nodes.generate_profiles(items, tiny_model, options, tiny_options, tmp_path / "a")
    (path,) = (tmp_path / "a" / "profiles").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3 * len(items)
    # killed in the middle of a line
    other = tmp_path / "b" / "profiles" / path.name
    other.parent.mkdir(parents=True)
    other.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert (
        nodes.generate_profiles(items, tiny_model, options, tiny_options, tmp_path / "b") == whole
    )
    assert other.read_bytes().startswith(b"".join(lines[:3]))
    before = path.read_bytes()
    one_by_one = options.model_copy(
        update={"profiles": options.profiles.model_copy(update={"batch_size": 1})}
    )
    again = nodes.generate_profiles(items, tiny_model, one_by_one, tiny_options, tmp_path / "a")
    assert (again, path.read_bytes()) == (whole, before)  # nothing was asked twice


def test_other_settings_and_other_models_are_asked_anew(
    pairs, options, tiny_model, tiny_options, tmp_path
) -> None:
    items = nodes.select_profile_items(of_split(pairs, "test"), options)[:1]
    nodes.generate_profiles(items, tiny_model, options, tiny_options, tmp_path)
    (path,) = (tmp_path / "profiles").glob("*.jsonl")
    longer = options.model_copy(
        update={"profiles": options.profiles.model_copy(update={"max_new_tokens": 13})}
    )
    nodes.generate_profiles(items, tiny_model, longer, tiny_options, tmp_path)
    assert len(Journal(path).read()) == 4  # the free answer again, the others are as they were


def test_the_whole_line_on_a_random_model(
    pairs, annotation, options, tiny_model, tiny_options, tmp_path
) -> None:
    train = of_split(pairs, "train")
    items = nodes.select_profile_items(of_split(pairs, "test"), options)
    base = nodes.generate_profiles(items, tiny_model, options, tiny_options, tmp_path)
    scores = nodes.score_profiles(items, base, base, train, annotation)
    assert len(scores) == 2 * 4 * len(items)
    assert not any(item["post"] in scores.to_json() for item in items)
    metrics = nodes.summarise_profiles(scores, train, annotation, options)
    json.dumps(metrics, allow_nan=False)
    coverage = metrics["systems"]["tuned"]["constrained"]["coverage"]
    assert [coverage[name]["value"] for name in ("json", "complete", "in_range", "finished")] == [
        1
    ] * 4
    assert metrics["systems"]["tuned"]["free"]["coverage"]["json"]["value"] == 0
    assert metrics["systems"]["base"]["slots_expected"]["coverage"] is None
    for measure in MEASURES:
        headline = metrics["systems"]["base"]["constrained"]["scores"][measure]
        assert set(headline) == {"value", "low", "high", "n", "baselines"}
        # the same model twice
        assert metrics["differences"]["tuned - base"]["constrained"][measure]["value"] == 0
    figure = nodes.draw_profiles(metrics)
    assert {trace.name for trace in figure.data} >= {"Base model", "Tuned model", "shuffled"}


def test_a_perfect_model_beats_the_prototypes_and_a_mute_one_gets_the_constant(
    pairs, annotation, options
) -> None:
    train, items = of_split(pairs, "train"), of_split(pairs, "test")
    scores = nodes.score_profiles(
        items,
        answers_of(items, lambda item: "I would rather not say."),
        answers_of(items, lambda item: item["label"]),
        train,
        annotation,
    )
    metrics = nodes.summarise_profiles(scores, train, annotation, options)
    tuned, base = metrics["systems"]["tuned"], metrics["systems"]["base"]
    for decoding in scoring.DECODINGS:
        values = {m: tuned[decoding]["scores"][m]["value"] for m in MEASURES}
        assert values == pytest.approx(dict.fromkeys(MEASURES, 1.0))
    assert metrics["differences"]["tuned - sentiment_prototypes"]["free"]["ccc"]["low"] > 0
    # never dropped: an answer that is none counts as the training mean
    mute = base["free"]
    assert mute["scores"]["spearman"]["n"] == len(items)
    for measure in MEASURES:
        baseline = mute["scores"][measure]["baselines"]["constant_mean"]
        assert mute["scores"][measure]["value"] == pytest.approx(baseline)
    assert mute["valid_only"] is None
    assert metrics["n_two_raters"] == tuned["free"]["two_raters"]["ccc"]["n"]
    assert 0 < metrics["n_two_raters"] < len(items)


def test_a_default_profile_is_found_out(pairs, annotation, options) -> None:
    items = of_split(pairs, "test")
    default = write_profile(dict.fromkeys(DIMENSIONS, 1))
    answers = answers_of(items, lambda item: default)
    train = of_split(pairs, "train")
    scores = nodes.score_profiles(items, answers, answers, train, annotation)
    metrics = nodes.summarise_profiles(scores, train, annotation, options)
    found = metrics["systems"]["tuned"]["free"]
    assert found["coverage"]["default"]["value"] == 1
    assert found["scores"]["spearman"]["value"] == 0
    assert found["scores"]["cosine_raw"]["value"] == pytest.approx(
        found["scores"]["cosine_raw"]["baselines"]["all_equal"]
    )


def test_without_rated_texts_there_is_a_note_and_no_error(
    make_pairs, annotation, options, tiny_model, tiny_options, tmp_path
) -> None:
    items = nodes.select_profile_items(make_pairs(10, "test"), options)
    assert items == []
    answers = nodes.generate_profiles(items, tiny_model, options, tiny_options, tmp_path)
    scores = nodes.score_profiles(items, answers, answers, make_pairs(10), annotation)
    assert list(scores.columns) == list(scoring.COLUMNS)
    metrics = nodes.summarise_profiles(scores, make_pairs(10), annotation, options)
    assert metrics["n"] == 0
    assert "No emotion profiles" in metrics["notes"][-1]
    assert metrics["annotation"]["floors"]["constant_mean"]["cosine_raw"] > 0
    assert nodes.draw_profiles(metrics).layout.annotations[0].text
    nothing = annotation.iloc[:0]
    assert nodes.summarise_profiles(scores, [], nothing, options)["annotation"]["texts"] == 0


def test_a_single_text_has_cosines_but_no_correlation(pairs, annotation, options) -> None:
    items, train = of_split(pairs, "test")[:1], of_split(pairs, "train")
    answers = answers_of(items, lambda item: item["label"])
    scores = nodes.score_profiles(items, answers, answers, train, annotation)
    metrics = nodes.summarise_profiles(scores, train, annotation, options)
    values = metrics["systems"]["tuned"]["free"]["scores"]
    assert values["spearman"]["value"] is None
    assert values["cosine_raw"]["value"] == pytest.approx(1)
    json.dumps(metrics, allow_nan=False)
    nodes.draw_profiles(metrics)


def test_foreign_answers_are_refused(pairs, annotation) -> None:
    items, train = of_split(pairs, "test"), of_split(pairs, "train")
    answers = answers_of(items, lambda item: item["label"])
    with pytest.raises(ValueError, match="tuned: 1 ids differ"):
        nodes.score_profiles(items, answers, answers[1:], train, annotation)


def test_a_label_that_is_no_profile_names_its_pair(pairs, annotation) -> None:
    train = [{**of_split(pairs, "train")[0], "label": '{"joy":9}'}]
    with pytest.raises(ValueError, match=train[0]["pair_id"]):
        nodes.score_profiles([], [], [], train, annotation)


def test_expected_values_weigh_the_slots(pairs, annotation) -> None:
    (item, *_), train = of_split(pairs, "test"), of_split(pairs, "train")
    (answer,) = answers_of([item], lambda item: item["label"])
    answer["slots"] = [[math.log(1 / len(slot))] * len(slot) for slot in answer["slots"]]
    scores = nodes.score_profiles([item], [answer], [answer], train, annotation)
    by_decoding = scores[scores["system"] == "base"].set_index("decoding")
    assert by_decoding.loc["slots_expected", "joy"] == pytest.approx(1.5)
    assert by_decoding.loc["slots_expected", "valence"] == pytest.approx(0)
    assert by_decoding.loc["slots_argmax", "valence"] == -3  # the first of equals
