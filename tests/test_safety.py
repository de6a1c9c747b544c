"""The risk detector, and the crisis resource that code adds."""

import json
import re
import time
import unicodedata

import pytest

from mental_slm.safety import (
    CRISIS_RESOURCE,
    CRISIS_RESOURCES,
    RISK_PATTERN,
    RISK_SUBSTITUTIONS,
    mentions_risk,
    with_crisis_resource,
)

AT_RISK = (
    # plain words
    "I think about suicide every night",
    "I want to die",
    "everyone would be better off without me",
    "I have been hurting myself",
    "i just wanna be dead",
    "There is no reason to go on living",
    "I took a whole bottle of pills",
    "I keep thinking about jumping off a bridge",
    "I wrote a goodbye letter",
    # signs: curly quotes, accents, full width, invisible characters, line breaks
    "I don’t want to wake up tomorrow",
    "I don´t want to live",
    "ｉ ｗａｎｔ ｔｏ ｄｉｅ",
    "I want to d\u200bie",
    "I want\nto   die",
    # disguises
    "k1ll myself",
    "k!ll mys3lf",
    "gonna unalive myself",
    "kms",
    "s.u.i.c.i.d.e",
    "s u i c i d a l",
    "su1c1de",
    # somebody else, and denials: rather too often than too rarely
    "my sister wants to kill herself",
    "he took his own life",
    "I am not suicidal",
    # other languages
    "no quiero vivir más",
    "me quiero morir",
    "ich möchte nicht mehr leben",
    "ich will mich umbringen",
    "je veux mourir",
    "je pense à me suicider",
    "chcę się zabić",
    "nie chcę żyć",
    "quero morrer",
    "não quero mais viver",
    "voglio morire",
    "хочу умереть",
)

HARMLESS = (
    "this homework is killing me",
    "I am sad",
    "my phone died",
    "we were dying of laughter",
    "I wanted to die of embarrassment",
    "you are killing it",
    "how to kill time at the airport",
    "my mum will kill me",
    "a cake to die for",
    "that would be political suicide",
    "I shot myself in the foot with that e-mail",
    "I need to cut myself some slack",
    "I don't want to live with my parents any longer",
    "I don't want to wake up early",
    "it is 5 kms from here",
    "I'm dead tired",
    "scared of spiders, dogs and the dark",
    "me muero de hambre",
    "ich lache mich tot",
    "je meurs de faim",
    "umieram z ciekawości",
    "estou morrendo de rir",
)


@pytest.mark.parametrize("text", AT_RISK)
def test_risk_is_noticed(text: str) -> None:
    assert mentions_risk(text)
    assert mentions_risk(f"Hello. {text.upper()}! And more.")


@pytest.mark.parametrize("text", HARMLESS)
def test_idioms_are_not_risk(text: str) -> None:
    assert not mentions_risk(text)
    assert not mentions_risk(f"Hello. {text.upper()}! And more.")


def test_a_figure_of_speech_hides_no_risk_beside_it() -> None:
    assert mentions_risk("I was dying of laughter yesterday and today I want to die.")


def test_another_program_finds_the_same_from_the_exported_data() -> None:
    """As the bundle does it: NFKD, the substitutions in order, the pattern, case aside."""
    steps, pattern = json.loads(json.dumps([RISK_SUBSTITUTIONS, RISK_PATTERN]))
    for text in (*AT_RISK, *HARMLESS):
        plain = unicodedata.normalize("NFKD", text)
        for step, replacement in steps:
            plain = re.sub(step, replacement, plain, flags=re.IGNORECASE)
        found = re.search(pattern, plain, re.IGNORECASE) is not None
        assert found == mentions_risk(text) == (text in AT_RISK)


@pytest.mark.parametrize(
    "piece", ["a ", "pills ", "took all the ", "s.u.i.", "want to just really ", "sleep ", "   "]
)
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    """Backtracking without bound would take minutes on this; it is read in well under a second."""
    started = time.monotonic()
    assert not mentions_risk(piece * (200_000 // len(piece)))
    assert time.monotonic() - started < 20


def test_the_resource_is_added_by_code_and_once() -> None:
    answer = with_crisis_resource("I hear you.", "I want to die")
    assert answer.endswith(CRISIS_RESOURCE)
    assert with_crisis_resource(answer, "I want to die") == answer
    assert with_crisis_resource("I hear you.", "I baked bread") == "I hear you."


def test_a_model_that_says_nothing_or_speaks_of_risk_itself_gets_the_resource_too() -> None:
    assert with_crisis_resource("", "I want to die") == CRISIS_RESOURCE
    assert with_crisis_resource("He wants to die.", "I baked bread").endswith(CRISIS_RESOURCE)


def test_resources_of_a_country() -> None:
    answer = with_crisis_resource("I hear you.", "I want to die", country="DE")
    assert answer.endswith(CRISIS_RESOURCES["DE"])
    assert "116 123" in answer
    unknown = with_crisis_resource("I hear you.", "I want to die", country="XX")
    assert unknown.endswith(CRISIS_RESOURCE)
    for resource in CRISIS_RESOURCES.values():
        assert "emergency number" in resource
        assert "stay with somebody" in resource
