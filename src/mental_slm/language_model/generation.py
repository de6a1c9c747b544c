"""Greedy answers to many prompts: as many at a time as there are slots, the next one as one ends."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mental_slm.language_model.chat import encode_prompt, stop_token_ids
from mental_slm.records import Message

#: Slots are shared by prompts that need as many columns, rounded up to a power of two.
LEAST_COLUMNS = 512

#: Most columns of all slots together; answers to very long prompts go with fewer neighbours.
MOST_COLUMNS = 65536


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
    constrain: Callable[[int], Any] | None = None,
) -> Iterator[Answer]:
    """Answer prompts greedily, many at a time.

    An answer that ends leaves at once and the next prompt takes its place, so no row waits for the
    longest. Rows are never padded (see :mod:`.slots`), so the batch size does not change an answer:
    exactly so on the CPU, in float32 and in bfloat16; on a GPU, bfloat16 kernels are chosen by the
    number of rows, which may round differently.

    Args:
        model: In evaluation mode.
        tokenizer: Of the same folder.
        prompts: In any order.
        max_new_tokens: Answers longer than this are cut off (``finish_reason`` says so).
        batch_size: Most answers under way at a time.
        constrain: Called with 1 for every answer; returns a logits processor of transformers (ids
            so far, scores) that keeps that answer in bounds.

    Yields:
        Answers as they are finished; long prompts come first, so that a shortage of memory shows
        at once and the time left is not underestimated.

    Raises:
        ValueError: A prompt and its answer do not fit the model's window; names the key.
    """
    encoded = {prompt.key: encode_prompt(tokenizer, prompt.messages) for prompt in prompts}
    window = getattr(model.config, "max_position_embeddings", None)
    groups: dict[int, list[str]] = defaultdict(list)
    for key, ids in encoded.items():
        needed = len(ids) + max_new_tokens
        if window is not None and needed > window:
            raise ValueError(
                f"{key}: its prompt of {len(ids)} tokens and an answer of {max_new_tokens} do not "
                f"fit the model's window of {window}; shorten max_new_tokens or drop the post"
            )
        groups[max(LEAST_COLUMNS, 1 << (needed - 1).bit_length())].append(key)
    stops = frozenset(stop_token_ids(tokenizer, Path(model.config._name_or_path)))
    for columns, keys in sorted(groups.items(), reverse=True):
        rows = max(1, min(batch_size, MOST_COLUMNS // columns))
        ordered = sorted(keys, key=lambda key: (-len(encoded[key]), key))
        queue = [(key, encoded[key]) for key in ordered]
        for under_way in _generate(model, queue, stops, max_new_tokens, rows, columns, constrain):
            yield decode_answer(tokenizer, under_way.key, under_way.ids, stops)


@dataclass
class _UnderWay:
    """An answer that is being generated: its ids so far, and what keeps it in bounds."""

    key: str
    processor: Any
    ids: list[int] = field(default_factory=list)

    def add(self, scores: Any) -> None:
        """Take the most likely token that is allowed.

        Args:
            scores: Shape (vocabulary).
        """
        import torch

        if self.processor is not None:
            ids = torch.tensor([self.ids], device=scores.device, dtype=torch.long)
            scores = self.processor(ids, scores[None])[0]
        self.ids.append(int(scores.argmax()))


def _generate(
    model: Any,
    queue: Sequence[tuple[str, list[int]]],
    stops: frozenset[int],
    max_new_tokens: int,
    rows: int,
    columns: int,
    constrain: Callable[[int], Any] | None,
) -> Iterator[_UnderWay]:
    """Continue prompts in slots; the first of the queue get one first.

    Args:
        model: In evaluation mode.
        queue: Keys with prompt ids.
        stops: Tokens that end an answer.
        max_new_tokens: Most tokens of an answer.
        rows: Number of slots.
        columns: Tokens that a slot holds, enough for the longest prompt and its answer.
        constrain: See :func:`generate_answers`.

    Yields:
        Finished answers, the stop token included.
    """
    import torch

    from mental_slm.language_model.slots import Slots

    waiting = list(reversed(queue))
    under_way: list[_UnderWay] = []
    slots = Slots(model, min(rows, len(waiting)), columns)
    while waiting or under_way:
        with torch.inference_mode():
            while waiting and len(under_way) < rows:
                key, prompt = waiting.pop()
                under_way.append(_UnderWay(key, constrain(1) if constrain else None))
                under_way[-1].add(slots.admit(prompt))
        for row in reversed(range(len(under_way))):
            answer = under_way[row]
            if answer.ids[-1] in stops or len(answer.ids) == max_new_tokens:
                with torch.inference_mode():
                    slots.release(row)
                under_way[row] = under_way[-1]
                under_way.pop()
                yield answer
        if under_way:
            with torch.inference_mode():
                _advance(slots, under_way)


def _advance(slots: Any, under_way: Sequence[_UnderWay]) -> None:
    """Add a token to every answer."""
    scores = slots.advance([answer.ids[-1] for answer in under_way])
    if all(answer.processor is None for answer in under_way):
        for answer, token in zip(under_way, scores.argmax(-1).tolist(), strict=True):
            answer.ids.append(token)
        return
    for answer, row in zip(under_way, scores, strict=True):
        answer.add(row)


def decode_answer(tokenizer: Any, key: str, ids: list[int], stops: frozenset[int]) -> Answer:
    """Make an answer of generated ids."""
    return Answer(
        key=key,
        text=tokenizer.decode(ids, skip_special_tokens=True).strip(),
        finish_reason="stop" if ids[-1] in stops else "length",
        tokens=len(ids),
    )
