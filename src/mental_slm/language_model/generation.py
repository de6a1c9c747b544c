"""Greedy answers to many prompts, batched by length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mental_slm.language_model.chat import encode_prompt, stop_token_ids
from mental_slm.records import Message


@dataclass(frozen=True)
class Prompt:
    """System and user turns with the key under which the answer comes back."""

    key: str
    messages: Sequence[Message]


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        key: The prompt's key.
        text: Without special tokens, stripped.
        finish_reason: ``stop`` if the model ended its turn, ``length`` if it was cut off.
        tokens: Number of generated tokens, the stop token included.
    """

    key: str
    text: str
    finish_reason: str
    tokens: int


def generate_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[Answer]:
    """Answer prompts greedily, batch by batch.

    Prompts are sorted by length, so that a batch wastes little padding, and padded on the left, so
    that all rows of a batch go on from the same column. Padding is masked and positions count
    real tokens only; in float32 the batch size does not change an answer.

    Args:
        model: In evaluation mode.
        tokenizer: Of the same folder, with a pad token.
        prompts: In any order.
        max_new_tokens: Answers longer than this are cut off (``finish_reason`` says so).
        batch_size: Rows per batch.

    Yields:
        Answers as they are finished, in order of prompt length.
    """
    import torch

    encoded = sorted(
        ((encode_prompt(tokenizer, prompt.messages), prompt.key) for prompt in prompts),
        key=lambda item: (len(item[0]), item[1]),
    )
    stops = stop_token_ids(tokenizer, Path(model.config._name_or_path))
    for start in range(0, len(encoded), batch_size):
        batch = encoded[start : start + batch_size]
        width = max(len(ids) for ids, _ in batch)
        padding = [width - len(ids) for ids, _ in batch]
        input_ids = [
            [tokenizer.pad_token_id] * pad + ids
            for pad, (ids, _) in zip(padding, batch, strict=True)
        ]
        attention_mask = [[0] * pad + [1] * (width - pad) for pad in padding]
        with torch.inference_mode():
            output = model.generate(
                input_ids=torch.tensor(input_ids, device=model.device),
                attention_mask=torch.tensor(attention_mask, device=model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=stops,
                pad_token_id=tokenizer.pad_token_id,
            )
        for (_, key), row in zip(batch, output[:, width:].tolist(), strict=True):
            yield _answer(tokenizer, key, row, stops)


def _answer(tokenizer: Any, key: str, row: list[int], stops: list[int]) -> Answer:
    end = next((index for index, token in enumerate(row) if token in stops), None)
    kept = row if end is None else row[: end + 1]
    return Answer(
        key=key,
        text=tokenizer.decode(kept, skip_special_tokens=True).strip(),
        finish_reason="length" if end is None else "stop",
        tokens=len(kept),
    )
