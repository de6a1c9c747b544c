"""The label that a model takes on held-out posts."""

import numpy as np
import pytest

from mental_slm.language_model.label_scoring import Choice, score_options
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.pipelines.deployment.task_metric import (
    Question,
    compare_answers,
    draw_questions,
    label_shares,
)
from mental_slm.tasks import TASKS


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model.path)


def test_questions_are_drawn_evenly_and_end_where_the_label_follows(tokenizer, make_pairs) -> None:
    pairs = make_pairs(40, "test")
    questions = draw_questions(pairs, tokenizer, 2 * len(TASKS), 10_000)
    asked = [question.options for question in questions]
    assert len(set(asked[: len(TASKS)])) == len(TASKS)
    assert asked[len(TASKS) :] == asked[: len(TASKS)]
    for question in questions:
        assert tokenizer.decode(question.token_ids).endswith("Answer:")


def test_long_prompts_profiles_and_phrases_alike_are_left_out(tokenizer, make_pairs) -> None:
    pairs = make_pairs(3, "test")
    pairs[0] = {**pairs[0], "phrases": {}, "task": "emotion_profile"}
    pairs[1] = {**pairs[1], "phrases": {"yes": "low mood", "no": "low risk"}, "label": "yes"}
    assert len(draw_questions(pairs, tokenizer, 9, 10_000)) == 1
    assert draw_questions(pairs, tokenizer, 9, 20) == []


def test_the_label_is_that_of_whole_phrases_where_they_differ_in_one_token(
    tiny_model, tokenizer, make_pairs
) -> None:
    """Against the scorer of evaluation: the first token's shares, renormalised over the labels."""
    import torch

    model = load_model(tiny_model.path, "float32", on="cpu")
    pair = next(p for p in make_pairs(10, "test") if p["task"] == "emotion")
    (question,) = draw_questions([pair], tokenizer, 1, 10_000)
    with torch.inference_mode():
        logits = model(torch.tensor([question.token_ids])).logits[0, -1].numpy()
    shares = label_shares(question, logits)
    assert sum(shares) == pytest.approx(1.0)
    expected = np.exp(logits[list(question.options)].astype(float))
    assert shares == pytest.approx((expected / expected.sum()).tolist())
    phrases = tuple(pair["phrases"].values())
    scored = next(score_options(model, tokenizer, [Choice("a", pair["messages"][:-1], phrases)], 1))
    ends = np.asarray(scored.log_likelihoods) - np.log(shares)
    assert np.ptp(ends) < 0.5  # what is left: a random model's next tokens, near uniform


def test_answers_are_compared_with_gold_and_with_each_other() -> None:
    questions = [Question([1], (5, 6, 7), gold) for gold in (0, 1, 2, 0)]
    before = [(0.8, 0.1, 0.1), (0.1, 0.6, 0.3), (0.34, 0.33, 0.33), (0.2, 0.7, 0.1)]
    after = [(0.5, 0.4, 0.1), (0.1, 0.3, 0.6), (0.33, 0.33, 0.34), (0.2, 0.7, 0.1)]
    assert compare_answers(questions, before, after) == {
        "task_items": 4,
        "task_accuracy": 0.5,
        "task_accuracy_before": 0.5,
        "task_agreement": 0.5,
        "decided_task_agreement": pytest.approx(2 / 3),
    }
    assert compare_answers([], [], [])["decided_task_agreement"] is None
