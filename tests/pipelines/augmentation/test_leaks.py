"""No prompt tells its label: every pair of the sample and of the public files is looked at."""

import os

import numpy as np
import pytest
from ingesting import ingest

from mental_slm.pipelines.augmentation import nodes
from mental_slm.pipelines.augmentation.joining import make_pair
from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.pipelines.augmentation.requests import rows_of
from mental_slm.tasks import TASKS

OPTIONS = AugmentationOptions()

EDITIONS = [
    pytest.param({"data": "sample"}, id="sample"),
    pytest.param(
        {"data": "public", "datasets": "DR+Dreaddit+DepSeverity+ISEAR"},
        id="public",
        marks=[
            pytest.mark.mirror,
            pytest.mark.skipif(
                "MENTAL_SLM_MIRROR" not in os.environ, reason="MENTAL_SLM_MIRROR is not set"
            ),
        ],
    ),
]


@pytest.fixture(scope="module", params=EDITIONS)
def pairs(request, tmp_path_factory, prompts):
    """All labelled pairs of an edition; their answers do not matter here."""
    corpus = ingest(tmp_path_factory.mktemp("corpus"), **request.param).load("corpus")
    posts = nodes.set_validation_aside(corpus, OPTIONS)
    return [make_pair(row, None, prompts, OPTIONS) for row in rows_of(posts)]


def test_no_label_stands_in_a_prompt_outside_the_option_list(pairs, prompts):
    for pair in pairs:
        assert pair["post"] in pair["instruction"]
        frame = pair["instruction"].replace(pair["post"], "", 1)
        # the very same words around every post of a task, whatever its label
        assert frame == prompts.student_prompt(pair["task"], "")
        asked = prompts.tasks[pair["task"]]
        options = f"Options: {'; '.join(asked.phrases.values())}"
        outside = frame.replace(options, "").replace(asked.question, "").lower()
        assert pair["phrases"][pair["label"]].lower() not in outside
        assert pair["label"].lower() not in outside.split()


def test_prompts_without_their_posts_predict_labels_at_chance(pairs):
    """A classifier on what is left of the prompts does no better than the majority label."""
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    for task in TASKS:
        of_task = [pair for pair in pairs if pair["task"] == task]
        if not of_task:  # the mirror may lack a dataset
            continue
        frames = np.array([p["instruction"].replace(p["post"], "", 1) for p in of_task])
        labels = np.array([p["label"] for p in of_task])
        held_out = np.array([p["split"] == "test" for p in of_task])
        learnt = make_pipeline(TfidfVectorizer(token_pattern=r"\S+"), LogisticRegression())
        accuracies = [
            model.fit(frames[~held_out], labels[~held_out]).score(
                frames[held_out], labels[held_out]
            )
            for model in (learnt, DummyClassifier())
        ]
        assert accuracies[0] == accuracies[1], task


def test_the_teacher_knows_the_label_of_train_posts_and_of_no_test_post(pairs, prompts):
    for pair in pairs[::7]:
        blind = prompts.teacher_prompt(pair["task"], pair["post"], None)
        frame = blind.replace(pair["instruction"], "", 1).lower()
        assert not any(phrase.lower() in frame for phrase in pair["phrases"].values())
