"""Constrained decoding on a tiny random model, which by itself writes nothing legal."""

from pathlib import Path

import pytest
import torch

from mental_slm.emotions import longest_profile_bytes, profile_grammar, read_profile
from mental_slm.language_model.chat import stop_token_ids
from mental_slm.language_model.constrained import Grammar, generate_constrained
from mental_slm.language_model.generation import Prompt, generate_answers
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.references import ModelRef

LIMIT = longest_profile_bytes() + 1


@pytest.fixture(scope="module")
def model(tiny_model: ModelRef):
    return load_model(tiny_model.path)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: ModelRef):
    return load_tokenizer(tiny_model.path)


@pytest.fixture(scope="module")
def grammar(model, tokenizer) -> Grammar:
    return Grammar.for_model(profile_grammar(), model, tokenizer)


def prompts_of(prompts, n: int) -> list[Prompt]:
    texts = [f"Room {i} was small, but the staff were kind. " * (1 + i % 4) for i in range(n)]
    return [
        Prompt(str(i), [{"role": "user", "content": prompts.profile_prompt(text)}])
        for i, text in enumerate(texts)
    ]


def test_a_random_model_fills_every_form(model, tokenizer, grammar, prompts) -> None:
    asked = prompts_of(prompts, 12)
    free = list(generate_answers(model, tokenizer, asked, 60, 4))
    assert not any(read_profile(answer.text).is_json for answer in free)
    answers = list(generate_constrained(model, tokenizer, asked, grammar, LIMIT, 4))
    assert {answer.key for answer in answers} == {prompt.key for prompt in asked}
    assert all(answer.finish_reason == "stop" for answer in answers)
    assert all(grammar.accepts(answer.text) for answer in answers)
    assert all(read_profile(answer.text).values for answer in answers)
    assert len({answer.text for answer in answers}) > 1


def test_rows_do_not_disturb_each_other(model, tokenizer, grammar, prompts) -> None:
    asked = prompts_of(prompts, 5)
    together = generate_constrained(model, tokenizer, asked, grammar, LIMIT, 5)
    alone = generate_constrained(model, tokenizer, asked, grammar, LIMIT, 1)
    assert {a.key: a.text for a in together} == {a.key: a.text for a in alone}


def test_a_mask_keeps_the_rows_of_a_batch_apart(model, tokenizer, grammar, prompts) -> None:
    """One mask serves transformers' own batched generation, in which rows end at different times."""
    tokenizer.padding_side = "left"
    texts = [prompt.messages[0]["content"] for prompt in prompts_of(prompts, 4)]
    encoded = tokenizer(texts, return_tensors="pt", padding=True)
    output = model.generate(
        **encoded,
        max_new_tokens=LIMIT,
        do_sample=True,  # so that rows differ in length
        temperature=5.0,
        eos_token_id=stop_token_ids(tokenizer, Path(model.config._name_or_path)),
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=[grammar.mask(4)],
    )
    written = tokenizer.batch_decode(
        output[:, encoded.input_ids.shape[1] :], skip_special_tokens=True
    )
    assert len({len(text) for text in written}) > 1
    assert all(grammar.accepts(text) for text in written)


def test_ids_that_the_tokenizer_lacks_are_never_allowed(tokenizer, grammar) -> None:
    """Qwen2.5's matrix has more rows than its vocabulary; an unused one may score highest."""
    scores = torch.zeros(2, len(tokenizer) + 300)
    scores[:, len(tokenizer) :] = 100.0
    masked = grammar.mask(2)(torch.empty((2, 0), dtype=torch.long), scores)
    assert torch.isneginf(masked[:, len(tokenizer) :]).all()
    assert [tokenizer.decode([i]) for i in masked.argmax(-1)] == ['{"', '{"']


def test_a_model_with_fewer_rows_than_the_tokenizer_works(tokenizer, grammar) -> None:
    masked = grammar.mask(1)(torch.empty((1, 0), dtype=torch.long), torch.zeros(1, 1000))
    assert masked.shape == (1, 1000)


def test_a_token_that_was_not_allowed_is_an_error(tokenizer, grammar) -> None:
    mask = grammar.mask(1)
    scores = torch.zeros(1, len(tokenizer))
    mask(torch.empty((1, 0), dtype=torch.long), scores)
    forbidden = tokenizer("hello", add_special_tokens=False).input_ids
    with pytest.raises(RuntimeError, match="row 0"):
        mask(torch.tensor([forbidden]), scores)


def test_too_few_tokens_are_an_error_not_half_a_profile(model, tokenizer, grammar, prompts) -> None:
    with pytest.raises(RuntimeError, match="max_new_tokens"):
        list(generate_constrained(model, tokenizer, prompts_of(prompts, 1), grammar, 20, 1))


def test_a_damaged_grammar_is_refused(model, tokenizer) -> None:
    with pytest.raises(ValueError, match="grammar"):
        Grammar.for_model("root ::= nowhere\n", model, tokenizer)
