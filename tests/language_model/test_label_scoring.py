"""Likelihoods of options, against scoring each option on its own."""

import math
from typing import Any

import pytest
import torch

from mental_slm.language_model.chat import encode_prompt, turn_end
from mental_slm.language_model.label_scoring import Choice, OptionScores, score_options
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.records import Message
from mental_slm.references import ModelRef
from mental_slm.tasks import ANSWER_PREFIX, answer_line


@pytest.fixture(scope="module")
def network(tiny_model: ModelRef) -> Any:
    return load_model(tiny_model.path)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: ModelRef) -> Any:
    return load_tokenizer(tiny_model.path)


def _choices(pairs: list[dict[str, Any]]) -> list[Choice]:
    return [
        Choice(pair["pair_id"], pair["messages"][:2], tuple(pair["phrases"].values()))
        for pair in pairs
    ]


def _naive(network: Any, tokenizer: Any, messages: list[Message], phrase: str) -> float:
    """Run prompt and one option whole, alone, and add up what follows "Answer:"."""
    prompt = encode_prompt(tokenizer, messages)
    line = tokenizer(answer_line(phrase), add_special_tokens=False).input_ids
    opening = tokenizer(ANSWER_PREFIX, add_special_tokens=False).input_ids
    assert line[: len(opening)] == opening
    ids = [*prompt, *line, turn_end(tokenizer)]
    with torch.inference_mode():
        logs = torch.log_softmax(network(torch.tensor([ids])).logits[0].float(), dim=-1)
    start = len(prompt) + len(opening)
    return sum(float(logs[place - 1, ids[place]]) for place in range(start, len(ids)))


def test_shared_prompts_give_the_scores_of_each_option_alone(
    network: Any, tokenizer: Any, make_pairs: Any
) -> None:
    pairs = make_pairs(20, "test")
    # prompts of many lengths, so that every batch is padded
    for number, pair in enumerate(pairs):
        pair["messages"][1]["content"] += " and so on" * number
    scores = {s.key: s for s in score_options(network, tokenizer, _choices(pairs), batch_size=3)}
    assert len(scores) == 20
    for pair in pairs:
        expected = [
            _naive(network, tokenizer, pair["messages"][:2], phrase)
            for phrase in pair["phrases"].values()
        ]
        assert scores[pair["pair_id"]].log_likelihoods == pytest.approx(expected, abs=1e-4)


def test_the_batch_size_changes_no_score(network: Any, tokenizer: Any, make_pairs: Any) -> None:
    choices = _choices(make_pairs(9, "test"))
    one, many = (
        {s.key: s.log_likelihoods for s in score_options(network, tokenizer, choices, size)}
        for size in (1, 9)
    )
    assert one.keys() == many.keys()
    for key, values in one.items():
        assert many[key] == pytest.approx(values, abs=1e-4)


def test_an_option_is_scored_the_same_in_any_company(
    network: Any, tokenizer: Any, make_pairs: Any
) -> None:
    messages = make_pairs(1, "test")[0]["messages"][:2]
    phrases = ("depression", "depression without suicidal thoughts", "joy")
    (together,) = score_options(network, tokenizer, [Choice("a", messages, phrases)], 1)
    for phrase, value in zip(phrases, together.log_likelihoods, strict=True):
        (alone,) = score_options(network, tokenizer, [Choice("a", messages, (phrase,))], 1)
        assert alone.log_likelihoods[0] == pytest.approx(value, abs=1e-4)
    # an option that goes on with the words of another is less likely than those words and an end
    assert together.log_likelihoods[0] != together.log_likelihoods[1]


def test_probabilities_are_shares_and_survive_tiny_likelihoods() -> None:
    scores = OptionScores("a", (-2000.0, -2000.0 + math.log(3)))
    assert scores.probabilities == pytest.approx((0.25, 0.75))


def test_a_score_that_is_not_a_number_is_named(
    tiny_model: ModelRef, tokenizer: Any, make_pairs: Any
) -> None:
    broken = load_model(tiny_model.path)
    with torch.no_grad():
        broken.lm_head.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="option of .* is not a number"):
        list(score_options(broken, tokenizer, _choices(make_pairs(1, "test")), 1))


def test_a_choice_without_options_is_named(network: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="choice empty: no phrase"):
        list(score_options(network, tokenizer, [Choice("empty", [], ())], 1))
