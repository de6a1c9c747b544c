"""Reading labels out of answers, strictly and leniently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mental_slm.pipelines.evaluation.labels.parsing import parse_lenient, parse_strict
from mental_slm.tasks import TASKS, answer_line

STRESS = {"yes": "stressed", "no": "not stressed"}
RISK = {"suicidal": "suicidal thoughts", "depression": "depression without suicidal thoughts"}
EMOTION = {label: label for label in TASKS["emotion"].labels}


def test_the_exact_answer_line_is_read_by_both(prompts) -> None:
    for name, task in TASKS.items():
        phrases = prompts.tasks[name].phrases
        for label in task.labels:
            answer = f'The writer says "enough".\n{answer_line(phrases[label])}\n \n'
            assert parse_strict(phrases, answer) == parse_lenient(phrases, answer) == label


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("answer:  STRESSED.", "yes"),
        ("Words.\n**Answer:** not stressed", "no"),
        ("So the final answer is: not stressed!", "no"),
        ("Answer: stressed\n\nI hope this helps.", "yes"),
        ("Answer - not stressed", "no"),
        ("Answer: stressed\nAnswer: Not stressed.", "no"),  # the last word counts
        ("The writer sounds stressed.", "yes"),
        ("They are stressed, very stressed.", "yes"),
        ('They write "I am stressed" but seem not stressed.', "no"),
    ],
)
def test_form_alone_is_forgiven_by_the_lenient_reading(answer: str, label: str) -> None:
    assert parse_strict(STRESS, answer) is None
    assert parse_lenient(STRESS, answer) == label


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "Answer:",
        "Answer: maybe",
        "Answer: stressed; not stressed",
        "It is either stressed or not stressed.",
        "I do not think that the writer is stressed",  # a denial is no option of its own
        "They aren't really stressed.",
        "distressed",  # no phrase of its own
        'They quote "stressed" and no more.',
    ],
)
def test_neither_guesses(answer: str) -> None:
    assert parse_strict(STRESS, answer) is None
    assert parse_lenient(STRESS, answer) is None


def test_an_answer_that_repeats_the_prompt_has_no_label(make_pairs) -> None:
    for pair in make_pairs(35, "test"):
        assert parse_strict(pair["phrases"], pair["instruction"]) is None
        assert parse_lenient(pair["phrases"], pair["instruction"]) is None


def test_the_longer_of_two_nested_phrases_counts() -> None:
    assert (
        parse_lenient(RISK, "Final answer: depression without suicidal thoughts.") == "depression"
    )
    assert parse_lenient(RISK, "This speaks of suicidal thoughts.") == "suicidal"
    assert parse_lenient(EMOTION, "There is fear, and much guilt.\nAbove all: guilt") == "guilt"


@given(st.text(max_size=300), st.sampled_from(["stressed", "Not stressed", "both", ""]))
def test_what_strict_reads_lenient_reads_the_same(words: str, said: str) -> None:
    for answer in (words, f"{words}\nAnswer: {said}", f"{words} Answer: {said}\n{words}"):
        strict = parse_strict(STRESS, answer)
        assert strict is None or parse_lenient(STRESS, answer) == strict


def test_a_very_long_answer_is_read_at_once() -> None:
    words = "no never not answer is " * 10_000
    assert parse_lenient(STRESS, f"{words}\n{words}\nAnswer: stressed") == "yes"
