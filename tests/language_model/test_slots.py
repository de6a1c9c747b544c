"""Generation in slots: the same whatever the neighbours are; in float32 as `generate` one by one."""

import pytest

from mental_slm.language_model.chat import encode_prompt, stop_token_ids
from mental_slm.language_model.generation import Prompt, generate_answers
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.language_model.slots import Slots

PROMPTS = [
    Prompt(str(n), [{"role": "user", "content": "rain and wind " * (37 * n % 11) + "why?"}])
    for n in range(9)
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model.path)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(tiny_model, request):
    """The tiny model with larger weights: as it comes it says one token again and again."""
    import torch

    model = load_model(tiny_model.path, dtype=request.param)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers" in name and weight.dim() == 2:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(0.2 * noise.to(weight.dtype))
    return model


def _one_by_one(model, tokenizer, tiny_model, limit):
    import torch

    texts = {}
    for prompt in PROMPTS:
        ids = torch.tensor([encode_prompt(tokenizer, prompt.messages)])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=stop_token_ids(tokenizer, tiny_model.path),
            pad_token_id=tokenizer.pad_token_id,
        )
        texts[prompt.key] = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    return {key: text.strip() for key, text in texts.items()}


def _expected(model, tokenizer, tiny_model, limit):
    """Return answers of `generate`; in bfloat16 its kernels round otherwise, so there our own."""
    import torch

    if model.dtype == torch.float32:
        return _one_by_one(model, tokenizer, tiny_model, limit)
    alone = (generate_answers(model, tokenizer, [prompt], limit, 1) for prompt in PROMPTS)
    return {answer.key: answer.text for (answer,) in alone}


def _greedy(model, tokenizer, prompt, limit):
    import torch

    ids = torch.tensor([encode_prompt(tokenizer, prompt.messages)])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=limit,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    return output[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("rows", [1, 4, 20])
def test_answers_equal_those_given_one_by_one(model, tokenizer, tiny_model, rows):
    expected = _expected(model, tokenizer, tiny_model, 20)
    answers = generate_answers(model, tokenizer, PROMPTS, 20, rows)
    assert {answer.key: answer.text for answer in answers} == expected


def test_answers_that_end_early_give_their_slot_to_the_next(
    model, tokenizer, tiny_model, monkeypatch
):
    """Tokens that answers hold end them here, so that slots are freed, moved and filled again."""
    stops = sorted({_greedy(model, tokenizer, PROMPTS[n], 20)[4 * n + 2] for n in range(4)})
    for module in ("mental_slm.language_model.generation", __name__):
        monkeypatch.setattr(f"{module}.stop_token_ids", lambda *_: stops)
    expected = _expected(model, tokenizer, tiny_model, 20)
    answers = [*generate_answers(model, tokenizer, PROMPTS, 20, 3)]
    assert {answer.key: answer.text for answer in answers} == expected
    assert len({answer.tokens for answer in answers}) > 2
    assert "stop" in {answer.finish_reason for answer in answers}


def test_a_slot_that_moves_keeps_its_answer(model, tokenizer):
    import torch

    ids = [encode_prompt(tokenizer, prompt.messages) for prompt in PROMPTS[:3]]
    with torch.inference_mode():
        alone = Slots(model, 1, 64)
        alone.admit(ids[2])
        expected = alone.advance([5])
        slots = Slots(model, 3, 64)
        for prompt in ids:
            slots.admit(prompt)
        slots.release(0)  # the last one takes its place
        assert len(slots) == 2
        assert torch.allclose(slots.advance([5, 7])[0], expected[0], atol=1e-4)


def test_a_prompt_beyond_the_window_is_named(model, tokenizer):
    long = Prompt("the long one", [{"role": "user", "content": "again " * 9000}])
    with pytest.raises(ValueError, match=r"the long one: its prompt of \d+ tokens.*window"):
        next(generate_answers(model, tokenizer, [long], 8, 1))


def test_very_long_prompts_get_fewer_slots(model, tokenizer, monkeypatch):
    monkeypatch.setattr("mental_slm.language_model.generation.MOST_COLUMNS", 512)
    answers = [*generate_answers(model, tokenizer, PROMPTS, 4, 8)]  # one slot
    monkeypatch.undo()
    again = [*generate_answers(model, tokenizer, PROMPTS, 4, 8)]
    assert {a.key: a for a in answers} == {a.key: a for a in again}


def test_a_model_with_sliding_windows_is_refused(model, monkeypatch):
    monkeypatch.setattr(model.config, "layer_types", ["sliding_attention"], raising=False)
    with pytest.raises(ValueError, match="full attention only"):
        Slots(model, 1, 64)
