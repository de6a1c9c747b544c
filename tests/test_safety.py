import pytest

from mental_slm.safety import CRISIS_RESOURCE, mentions_risk, with_crisis_resource


@pytest.mark.parametrize(
    "text",
    [
        "I think about suicide every night",
        "I want to die",
        "I don’t want to wake up tomorrow",
        "everyone would be better off without me",
        "I have been hurting myself",
    ],
)
def test_risk_is_noticed(text):
    assert mentions_risk(text)


@pytest.mark.parametrize("text", ["this homework is killing me", "I am sad", "my phone died"])
def test_idioms_are_not_risk(text):
    assert not mentions_risk(text)


def test_the_resource_is_added_by_code_and_once():
    answer = with_crisis_resource("I hear you.", "I want to die")
    assert answer.endswith(CRISIS_RESOURCE)
    assert with_crisis_resource(answer, "I want to die") == answer
    assert with_crisis_resource("I hear you.", "I baked bread") == "I hear you."
