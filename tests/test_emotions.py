"""The text form of emotion profiles, and the grammar that allows exactly it."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, grammar_from
from llguidance.hf import from_tokenizer

from mental_slm.emotions import (
    is_default_profile,
    longest_profile_bytes,
    profile_form,
    profile_grammar,
    read_profile,
    write_profile,
)
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.tasks import EMOTION_DIMENSIONS

PROFILES = st.fixed_dictionaries(
    {
        name: st.one_of(st.integers(low, high), st.floats(low, high, allow_nan=False))
        for name, (low, high) in EMOTION_DIMENSIONS.items()
    }
)
NEUTRAL = dict.fromkeys(EMOTION_DIMENSIONS, 0)


@pytest.fixture(scope="module")
def accepts(tiny_model):
    """Return a function that tells whether llguidance takes a text as a complete profile."""
    vocabulary = from_tokenizer(load_tokenizer(tiny_model.path))
    start = LLMatcher(vocabulary, grammar_from("gbnf", profile_grammar()))
    assert not start.is_error(), start.get_error()

    def check(text: str) -> bool:
        state = start.deep_copy()
        ids = vocabulary.tokenize_str(text)
        return state.try_consume_tokens(ids) == len(ids) and state.is_accepting()

    return check


def is_legal(text: str) -> bool:
    """Decide without the grammar: legal is what writing what was read gives back."""
    values = read_profile(text).values
    return values is not None and write_profile(values) == text


@settings(max_examples=300, deadline=None)
@given(values=PROFILES)
def test_the_grammar_accepts_whatever_is_written(accepts, values: dict[str, float]) -> None:
    text = write_profile(values)
    assert accepts(text)
    assert is_legal(text)
    assert len(text.encode()) <= longest_profile_bytes()


@settings(max_examples=500, deadline=None)
@given(values=PROFILES, data=st.data())
def test_the_grammar_refuses_every_other_string(accepts, values: dict, data) -> None:
    text = write_profile(values)
    place = data.draw(st.integers(0, len(text)))
    mutated = data.draw(
        st.one_of(
            st.just(text[:place] + text[place + 1 :]),
            st.sampled_from(list(' 0123456789.,-+eE"{}jX\n\t')).map(
                lambda c: text[:place] + c + text[place:]
            ),
            st.sampled_from(list(' 0123456789.,-"{}')).map(
                lambda c: text[:place] + c + text[place + 1 :]
            ),
            st.just(text[:place]),
        )
    )
    assert accepts(mutated) == is_legal(mutated)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "null",
        json.dumps(NEUTRAL),  # with blanks
        write_profile(NEUTRAL) + "\n",
        write_profile(NEUTRAL).replace('"joy":0', '"joy":4'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":3.5'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":-1'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":0.50'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":0.125'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":00'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":.5'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":1e0'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":"0"'),
        write_profile(NEUTRAL).replace('"valence":0', '"valence":-0'),
        write_profile(NEUTRAL).replace('"valence":0', '"valence":-3.5'),
        write_profile(NEUTRAL).replace('"valence":0', '"valence":+1'),
        write_profile(NEUTRAL).replace("joy", "anger", 1),
    ],
)
def test_near_misses_are_refused(accepts, text: str) -> None:
    assert not accepts(text)


@pytest.mark.parametrize("value", ["-3", "-2.99", "-1", "-0.5", "-0.01", "0", "0.1", "2.99", "3"])
def test_the_whole_range_of_valence_is_legal(accepts, value: str) -> None:
    assert accepts(write_profile({**NEUTRAL, "valence": float(value)}))
    assert f'"valence":{value},' in write_profile({**NEUTRAL, "valence": float(value)})


def test_the_longest_profile_is_exactly_that(accepts) -> None:
    longest = write_profile(
        {name: -2.99 if low < 0 else 2.99 for name, (low, _) in EMOTION_DIMENSIONS.items()}
    )
    assert accepts(longest)
    assert len(longest.encode()) == longest_profile_bytes()


def test_the_form_spells_legal_profiles(accepts) -> None:
    pieces, choices = profile_form()
    for pick in (0, -1, 1):
        text = "".join(piece + values[pick] for piece, values in zip(pieces, choices, strict=False))
        assert accepts(text + pieces[-1])
    assert [len(values) for values in choices] == [7] * 8 + [13, 7]


def test_reading_tells_what_is_missing() -> None:
    good = write_profile(NEUTRAL | {"joy": 2})
    assert read_profile(f" {good}\n").values == NEUTRAL | {"joy": 2.0}
    assert read_profile(json.dumps(NEUTRAL | {"joy": 2, "hope": 1}, indent=1)).values is not None
    wrapped = read_profile(f"Here it is: {good} I hope that helps.")
    assert (wrapped.is_json, wrapped.holds_json, wrapped.values) == (False, True, None)
    lacking = read_profile('{"joy":1}')
    assert (lacking.is_json, lacking.is_complete) == (True, False)
    beyond = read_profile(good.replace('"joy":2', '"joy":7'))
    assert (beyond.is_complete, beyond.values) == (True, None)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        "I feel joy. " * 3000,
        write_profile(NEUTRAL).replace('"joy":0', '"joy":NaN'),
        write_profile(NEUTRAL).replace('"joy":0', '"joy":1,"joy":2'),
        write_profile(NEUTRAL)[:-1],
    ],
)
def test_broken_answers_are_no_json(answer: str) -> None:
    reading = read_profile(answer)
    assert not reading.is_json
    assert reading.values is None


@pytest.mark.parametrize("value", ["9" * 10_000, "true", "null", '"1"', "[1]", "1e999"])
def test_values_that_are_no_ratings_are_out_of_range(value: str) -> None:
    reading = read_profile(write_profile(NEUTRAL).replace('"joy":0', f'"joy":{value}'))
    assert reading.is_complete
    assert reading.values is None


def test_defaults_are_recognised() -> None:
    assert is_default_profile(dict.fromkeys(EMOTION_DIMENSIONS, 1.0))
    assert is_default_profile(NEUTRAL | {"arousal": 1.0})
    assert not is_default_profile(NEUTRAL | {"joy": 1.0})
    assert not is_default_profile(NEUTRAL | {"valence": -1.0})


def test_a_profile_that_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError):
        write_profile(NEUTRAL | {"joy": math.nan})
