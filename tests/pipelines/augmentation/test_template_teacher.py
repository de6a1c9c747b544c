"""The offline teacher: every label can be said, answers vary, and the same post gets the same one."""

from collections import Counter

from mental_slm.fingerprints import digest
from mental_slm.pipelines.augmentation.template_teacher import compose_answer
from mental_slm.tasks import TASKS, parse_answer


def test_every_label_of_every_task_can_be_composed(prompts):
    for name, task in TASKS.items():
        for label in task.labels:
            answer = compose_answer(prompts, name, "It rained. I stayed in.", "5e", label)
            assert parse_answer(prompts.tasks[name].phrases, answer) == label
            assert "you have" not in answer.lower()


def test_a_post_that_mentions_risk_gets_a_crisis_sentence_even_in_blind_answers(prompts):
    crisis = prompts.template_answers.crisis
    assert crisis in compose_answer(prompts, "stress", "Some days I want to die.", "0f", None)
    assert crisis not in compose_answer(prompts, "stress", "I baked bread.", "0f", None)
    assert crisis in compose_answer(prompts, "suicide_risk", "I baked bread.", "0f", "suicidal")


def test_a_blind_answer_quotes_the_post_and_names_no_label(prompts):
    answer = compose_answer(prompts, "stress", "I baked bread all morning long.", "0f", None)
    assert '"I baked bread all morning long"' in answer and "Answer:" not in answer


def test_openings_vary_and_no_one_of_them_prevails(prompts):
    answers = [
        compose_answer(prompts, "stress", "I baked bread.", digest(n), "no") for n in range(2000)
    ]
    openings = Counter(" ".join(answer.split()[:5]) for answer in answers)
    assert len(openings) == 56
    assert max(openings.values()) < 0.03 * len(answers)
    assert answers[0] == compose_answer(prompts, "stress", "I baked bread.", digest(0), "no")


def test_odd_posts_are_quoted_as_far_as_they_go(prompts):
    for post in ("", "\n", "...", "\U0001f62d", "word " * 400, 'He said "no".'):
        answer = compose_answer(prompts, "emotion", post, "0f", "sadness")
        assert parse_answer(prompts.tasks["emotion"].phrases, answer) == "sadness"
        assert len(answer.split()) < 80
