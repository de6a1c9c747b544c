"""Slot scoring against whole forward passes, one value at a time."""

import math

import pytest
import torch

from mental_slm.emotions import profile_form
from mental_slm.language_model.chat import encode_prompt
from mental_slm.language_model.generation import Prompt
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.language_model.slot_scoring import Form, branch_ids, fill_forms
from mental_slm.references import ModelRef

FORM = Form(*profile_form())


@pytest.fixture(scope="module")
def model(tiny_model: ModelRef):
    return load_model(tiny_model.path)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: ModelRef):
    return load_tokenizer(tiny_model.path)


def prompts_of(n: int) -> list[Prompt]:
    return [
        Prompt(str(i), [{"role": "user", "content": f"Day {i}: the tea was warm. " * (1 + 3 * i)}])
        for i in range(n)
    ]


def score_naively(model, tokenizer, prompt: Prompt, form: Form) -> list[list[float]]:
    """Run prompt and answer from the start for every value of every slot, without a cache."""
    prompt_ids = encode_prompt(tokenizer, prompt.messages)
    filled: list[str] = []
    scores = []
    for slot, values in enumerate(form.choices):
        shared, endings = branch_ids(tokenizer, form, slot, filled)
        of_slot = []
        for ending in endings:
            ids = [*prompt_ids, *shared, *ending]
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0].float()
            log_probabilities = torch.log_softmax(logits, dim=-1)
            first = len(ids) - len(ending)
            of_slot.append(
                sum(float(log_probabilities[first + i - 1, t]) for i, t in enumerate(ending))
            )
        scores.append(of_slot)
        filled.append(values[of_slot.index(max(of_slot))])
    return scores


def test_scores_equal_those_of_whole_forward_passes(model, tokenizer) -> None:
    asked = prompts_of(3)
    for filled in fill_forms(model, tokenizer, asked, FORM, 3):
        naive = score_naively(model, tokenizer, asked[int(filled.key)], FORM)
        for mine, theirs in zip(filled.log_probabilities, naive, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)


def test_the_batch_size_does_not_matter(model, tokenizer) -> None:
    asked = prompts_of(5)
    together = {f.key: f for f in fill_forms(model, tokenizer, asked, FORM, 5)}
    for alone in fill_forms(model, tokenizer, asked, FORM, 1):
        for mine, theirs in zip(
            alone.log_probabilities, together[alone.key].log_probabilities, strict=True
        ):
            assert mine == pytest.approx(theirs, abs=1e-4)


def test_probabilities_and_choices_belong_together(model, tokenizer) -> None:
    (filled,) = fill_forms(model, tokenizer, prompts_of(1), FORM, 1)
    for shares, chosen in zip(filled.probabilities, filled.chosen, strict=True):
        assert sum(shares) == pytest.approx(1)
        assert shares[chosen] == max(shares)
    # 1 and 1.5 are different strings of one text: together they cannot exceed certainty
    assert all(sum(map(math.exp, slot)) <= 1 + 1e-6 for slot in filled.log_probabilities)


def test_a_value_is_told_from_a_longer_one(tokenizer) -> None:
    shared, endings = branch_ids(tokenizer, FORM, 0, [])
    assert tokenizer.decode(shared) == '{"joy":'
    by_value = dict(zip(FORM.choices[0], map(tokenizer.decode, endings), strict=True))
    assert by_value["1"].startswith("1,")
    assert by_value["1.5"].startswith("1.5,")
    _, last = branch_ids(tokenizer, FORM, 9, ["0"] * 9)
    assert tokenizer.decode(last[1]) == "0.5}"


def test_a_model_of_no_numbers_is_named(model, tokenizer) -> None:
    weight = model.model.norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(math.nan)
    try:
        with pytest.raises(ValueError, match="not a number"):
            list(fill_forms(model, tokenizer, prompts_of(1), FORM, 1))
    finally:
        with torch.no_grad():
            weight.copy_(kept)
