import pytest

from mental_slm.tasks import DATASET_TASK, TASKS, answer_line, parse_answer

PHRASES = {"yes": "stressed", "no": "not stressed"}


def test_every_label_survives_the_way_through_an_answer(prompts):
    for name, task in TASKS.items():
        phrases = prompts.tasks[name].phrases
        for label in task.labels:
            assert parse_answer(phrases, f"Some words.\n{answer_line(phrases[label])}") == label
            assert parse_answer(phrases, f"x\nanswer:  {phrases[label].upper()}.") == label


@pytest.mark.parametrize(
    "answer",
    ["", "stressed", "Answer:", "Answer: stressed; not stressed", "Answer: maybe", "I am stressed"],
)
def test_everything_else_is_invalid(answer):
    assert parse_answer(PHRASES, answer) is None


def test_a_phrase_inside_another_is_not_taken_for_it(prompts):
    assert parse_answer(PHRASES, "Answer: not stressed") == "no"
    depression = prompts.tasks["depression"].phrases
    assert parse_answer(depression, "Answer: no signs of depression") == "no"


def test_the_last_answer_line_counts():
    assert parse_answer(PHRASES, "Answer: stressed\nAnswer: not stressed") == "no"


def test_every_dataset_has_a_task():
    assert set(DATASET_TASK.values()) == set(TASKS)
