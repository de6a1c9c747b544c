"""The pairs: joined one to one, label-blind where they must be, and the answer never in the question."""

import json
import random

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mental_slm.pipelines.augmentation import nodes
from mental_slm.pipelines.augmentation.joining import join
from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.pipelines.augmentation.teachers import ask_template
from mental_slm.records import validate_pairs
from mental_slm.tasks import ANSWER_PREFIX, PROFILE_TASK, TASKS, parse_answer

SPLITS = ("pairs_train", "pairs_val", "pairs_test")


def all_pairs(result):
    return [pair for split in SPLITS for pair in result[split]]


def labelled(result):
    return [pair for pair in all_pairs(result) if pair["task"] != PROFILE_TASK]


@pytest.fixture
def answered(corpus, prompts, options):
    posts, _ = nodes.mask_posts(nodes.set_validation_aside(corpus, options), options)
    requests = nodes.render_requests(posts, prompts, options)
    return posts, requests, ask_template(requests, posts, prompts, options).responses


def test_every_post_becomes_one_pair(corpus, augment):
    result = augment(corpus)
    validate_pairs(all_pairs(result))
    assert sorted(p["record_id"] for p in labelled(result)) == sorted(corpus["record_id"])
    counts = result["augmentation_counts"]
    assert counts["joining"]["posts_without_answer"] == 0
    assert counts["joining"]["answers_without_post"] == 0
    assert counts["joining"]["labels_repeated"] == counts["joining"]["labels_told"] > 0


def test_two_runs_give_the_same_pairs(corpus, augment):
    first, second = augment(corpus), augment(corpus)
    assert all_pairs(first) == all_pairs(second)
    assert first["augmentation_report"] == second["augmentation_report"]


def test_answers_belong_to_their_posts_whatever_the_order(answered, prompts, options):
    posts, _, responses = answered
    shuffled = random.Random(3).sample(responses, len(responses))
    assert join(posts, shuffled, prompts, options) == join(posts, responses, prompts, options)


def test_lost_and_foreign_answers_are_counted(answered, prompts, options):
    posts, _, responses = answered
    foreign = {**responses[0], "custom_id": "foreign"}
    _, report = join(posts, [*responses[3:], foreign], prompts, options)
    assert (report["posts_without_answer"], report["answers_without_post"]) == (3, 1)


def test_two_answers_to_one_request_stop_the_run(answered, prompts, options):
    posts, _, responses = answered
    with pytest.raises(ValueError, match="answered twice"):
        join(posts, [*responses, responses[0]], prompts, options)


def test_answers_of_strangers_alone_stop_the_run(answered, prompts, options):
    posts, _, responses = answered
    strangers = [{**r, "custom_id": f"x{n}"} for n, r in enumerate(responses)]
    with pytest.raises(ValueError, match="no answer belongs to any post"):
        nodes.join_answers(posts, strangers, prompts, options)


# --- no leak ---------------------------------------------------------------------------------------


def test_the_frame_of_a_prompt_is_the_same_for_every_label(corpus, augment, prompts):
    for pair in labelled(augment(corpus)):
        frame = pair["instruction"].replace(pair["post"], "")
        assert frame == prompts.student_prompt(pair["task"], "")
        options = f"Options: {'; '.join(pair['phrases'].values())}"
        question = prompts.tasks[pair["task"]].question
        outside = frame.replace(options, "").replace(question, "").lower()
        assert pair["phrases"][pair["label"]].lower() not in outside
        assert pair["label"].lower() not in outside.split()


def test_train_answers_end_with_the_gold_label_and_test_answers_are_blind(corpus, augment):
    result = augment(corpus)
    for pair in labelled(result):
        if pair["split"] == "test":
            assert pair["response"] and ANSWER_PREFIX not in pair["response"]
        else:
            assert parse_answer(pair["phrases"], pair["response"]) == pair["label"]


def test_test_references_do_not_depend_on_the_label(corpus, augment):
    flipped = corpus.assign(
        label=corpus.groupby("task")["label"].transform(lambda s: s.iloc[::-1].to_numpy())
    )
    first, second = augment(corpus), augment(flipped)
    assert [p["label"] for p in first["pairs_test"]] != [p["label"] for p in second["pairs_test"]]
    assert [p["response"] for p in first["pairs_test"]] == [
        p["response"] for p in second["pairs_test"]
    ]


def leak_score(pairs):
    """Cross-validated accuracy of TF-IDF on prompts without their posts, minus the majority's."""
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    frames = [pair["instruction"].replace(pair["post"], "") for pair in pairs]
    labels = np.array([pair["label"] for pair in pairs])
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    learnt = make_pipeline(TfidfVectorizer(token_pattern=r"\S+"), LogisticRegression())
    found = cross_val_score(learnt, frames, labels, cv=folds).mean()
    return found - cross_val_score(DummyClassifier(), frames, labels, cv=folds).mean()


def test_prompts_without_their_posts_predict_no_label(corpus, augment):
    pairs = labelled(augment(corpus))
    for task in TASKS:
        of_task = [pair for pair in pairs if pair["task"] == task]
        assert leak_score(of_task) < 0.05
        # the same measure finds a label that does stand in the prompt
        leaking = [{**p, "instruction": f"{p['instruction']} {p['label']}"} for p in of_task]
        assert leak_score(leaking) > 0.3


# --- validation, trials, rejected references -------------------------------------------------------


def test_validation_is_taken_from_train_only_and_never_where_the_publisher_gave_one(
    corpus, options
):
    corpus.loc[(corpus["dataset"] == "DR") & (corpus.index % 7 == 1), "split"] = "val"
    moved = nodes.set_validation_aside(corpus, options)
    assert (moved.loc[corpus["split"] == "test", "split"] == "test").all()
    dr = corpus["dataset"] == "DR"
    assert moved.loc[dr, "split"].tolist() == corpus.loc[dr, "split"].tolist()
    share = (moved.loc[~dr, "split"] == "val").sum() / (corpus.loc[~dr, "split"] == "train").sum()
    assert 0.1 < share < 0.3


def test_equal_texts_move_together(corpus, options):
    twin = corpus[corpus["dataset"] == "Dreaddit"].assign(dataset="DepSeverity")
    moved = nodes.set_validation_aside(pd.concat([corpus, twin], ignore_index=True), options)
    assert moved.groupby("text_id")["split"].nunique().max() == 1


def test_a_trial_asks_about_few_posts_of_every_task_and_split(corpus, augment):
    pairs = labelled(augment(corpus, max_posts=30))
    assert len(pairs) == 30
    places = {(pair["task"], pair["split"]) for pair in pairs}
    assert len(places) == 15
    few = {pair["record_id"] for pair in pairs}
    more = {pair["record_id"] for pair in labelled(augment(corpus, max_posts=60))}
    assert few < more  # what was paid in the trial serves the whole


def test_a_test_post_stays_without_a_reference_and_a_train_post_goes(
    corpus, answered, prompts, options, profiles
):
    posts, _, _ = answered
    train, _, test = nodes.make_pairs(posts, [], profiles, prompts, options)
    assert [pair for pair in train if pair["task"] != PROFILE_TASK] == []
    kept = [pair for pair in test if pair["task"] != PROFILE_TASK]
    assert len(kept) == (corpus["split"] == "test").sum()
    assert {pair["response"] for pair in kept} == {""}


# --- personal data and the machine's border ---------------------------------------------------------


def test_personal_data_never_reaches_the_teacher(corpus, augment, tmp_path):
    corpus.loc[1, "text"] = (
        "Write to jo.do@mail.example.org or call +44 20 7946 0958 about the rent."
    )
    result = augment(corpus)
    sent = json.dumps(result["teacher_requests"])
    pair = next(p for p in all_pairs(result) if p["record_id"] == corpus["record_id"][1])
    assert "example.org" not in sent + pair["response"]
    assert "7946" not in sent + pair["response"]
    assert result["augmentation_counts"]["masked"]["email"] == 1


def test_a_cloud_teacher_is_refused_until_it_is_allowed():
    with pytest.raises(ValidationError, match=r"would send posts .* to api.openai.com; set aug"):
        AugmentationOptions(teacher="openai")
    with pytest.raises(ValidationError, match=r"10\.0\.0\.7"):
        AugmentationOptions(
            teacher="openai_batch", endpoint={"base_url": "http://10.0.0.7:8000/v1"}
        )
    assert AugmentationOptions(teacher="openai", allow_cloud=True).provider == "api.openai.com"
    assert AugmentationOptions(
        teacher="openai", endpoint={"base_url": "http://127.0.0.1:1234/v1"}
    ).is_local


def test_logs_and_reports_carry_no_text(corpus, augment, caplog):
    caplog.set_level("DEBUG", logger="mental_slm")
    result = augment(corpus)
    shown = caplog.text + result["augmentation_report"] + json.dumps(result["augmentation_counts"])
    shown += result["pairs_figure"].to_json() + result["rejections_figure"].to_json()
    assert "kettle" not in shown and "soup" not in shown


# --- emotion profiles -------------------------------------------------------------------------------


def test_profiles_become_pairs_with_json_as_target(corpus, augment, profiles, prompts):
    pairs = [pair for pair in all_pairs(augment(corpus)) if pair["task"] == PROFILE_TASK]
    assert len(pairs) == 29  # one text is unknown
    assert {pair["split"] for pair in pairs} == {"train", "val", "test"}
    for pair in pairs:
        number = int(pair["record_id"].removeprefix("StudEmo-"))
        gold = json.loads(pair["label"])
        assert gold["joy"] == number % 7 / 2 and gold["valence"] == -1.5 and len(gold) == 10
        assert pair["response"] == ("" if pair["split"] == "test" else pair["label"])
        assert pair["label"] not in pair["instruction"]
        assert pair["instruction"] == prompts.profile_prompt(pair["post"])
    assert '"joy":0,' in next(p for p in pairs if p["record_id"] == "StudEmo-7")["label"]


def test_the_parameter_file_states_the_defaults():
    from pathlib import Path

    import yaml

    file = Path(__file__).parents[3] / "conf" / "base" / "parameters_augmentation.yml"
    stated = AugmentationOptions.model_validate(yaml.safe_load(file.read_text())["augmentation"])
    prices = stated.prices
    assert stated == AugmentationOptions(prices=prices) and "gpt-4o-mini" in prices
