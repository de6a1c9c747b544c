import pytest

from mental_slm.tasks import DATASET_TASK, TASKS, answer_line, parse_answer


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_label_survives_the_way_through_an_answer(task):
    for label in task.labels:
        assert parse_answer(task, f"Some evidence.\n{answer_line(task, label)}") == label
        assert parse_answer(task, f"x\nanswer:  {task.phrases[label].upper()}.") == label


@pytest.mark.parametrize(
    "answer",
    ["", "stressed", "Answer:", "Answer: stressed; not stressed", "Answer: maybe", "I am stressed"],
)
def test_everything_else_is_invalid(answer):
    assert parse_answer(TASKS["stress"], answer) is None


def test_a_phrase_inside_another_is_not_taken_for_it():
    assert parse_answer(TASKS["stress"], "Answer: not stressed") == "no"
    assert parse_answer(TASKS["depression"], "Answer: no signs of depression") == "no"


def test_the_last_answer_line_counts():
    assert parse_answer(TASKS["stress"], "Answer: stressed\nAnswer: not stressed") == "no"


def test_every_dataset_has_a_task_and_phrases_are_distinct():
    assert set(DATASET_TASK.values()) == set(TASKS)
    for task in TASKS.values():
        assert len(set(task.phrases.values())) == len(task.phrases)
