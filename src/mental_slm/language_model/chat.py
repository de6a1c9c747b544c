"""Rendering of chats, in one place, so that training and inference see the same bytes.

A prompt is rendered by the model's own chat template with its generation prompt. A training pair is
the ids of that prompt, then the ids of the answer, then the token the model stops at. Building the
pair from its parts (rather than rendering the whole chat) makes the prompt a prefix by construction
and keeps templates that rewrite old assistant turns (R1-Distill strips its thoughts) out of the way.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mental_slm.records import Message

#: Llama 3.2's template prints today's date unless told otherwise; a fixed date keeps runs equal.
DATE_STRING = "26 Jul 2024"

#: R1-Distill opens its turn with this; closing it at once asks for the answer without thoughts.
OPEN_THOUGHT = "<think>\n"
EMPTY_THOUGHT = "\n</think>\n\n"


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of a prompt and its answer.

    Attributes:
        input_ids: Prompt, answer and stop token.
        prompt_length: How many of them belong to the prompt; the loss starts after these.
    """

    input_ids: list[int]
    prompt_length: int


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Render system and user turns plus the opening of the assistant's turn.

    Raises:
        ValueError: The last message is the assistant's.
    """
    if messages[-1]["role"] == "assistant":
        raise ValueError("a prompt ends with a user turn; leave the answer out")
    prompt: str = tokenizer.apply_chat_template(
        [{**turn, "content": as_text(tokenizer, turn["content"])} for turn in messages],
        tokenize=False,
        add_generation_prompt=True,
        date_string=DATE_STRING,
    )
    # a reasoning model would spend the phone's time on thoughts that it was not trained to have
    return prompt + EMPTY_THOUGHT if prompt.endswith(OPEN_THOUGHT) else prompt


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the token ids of :func:`render_prompt` (the template brings its own special tokens)."""
    return list(tokenizer(render_prompt(tokenizer, messages), add_special_tokens=False).input_ids)


def encode_pair(tokenizer: Any, messages: Sequence[Message]) -> EncodedPair:
    """Encode system, user and assistant turns for training.

    Args:
        tokenizer: With a chat template.
        messages: Ending with the assistant's answer.

    Raises:
        ValueError: The last message is not the assistant's, or its answer is empty.
    """
    *prompt, answer = messages
    if answer["role"] != "assistant" or not answer["content"].strip():
        raise ValueError("a pair ends with a non-empty assistant turn")
    prompt_ids = encode_prompt(tokenizer, prompt)
    text = as_text(tokenizer, answer["content"].strip())
    answer_ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    return EncodedPair([*prompt_ids, *answer_ids, turn_end(tokenizer)], len(prompt_ids))


def as_text(tokenizer: Any, text: str) -> str:
    """Break control tokens that somebody typed, so that a post cannot end its turn or open another.

    ``<|im_end|>`` becomes ``< |im_end|>``: a reader sees the same, the tokenizer sees plain text.
    """
    for token in tokenizer.added_tokens_decoder.values():
        control = str(token.content)
        if control.startswith("<") and control in text:
            text = text.replace(control, f"< {control[1:]}")
    return text


def turn_end(tokenizer: Any) -> int:
    """Return the token that ends an assistant turn in the model's chat template.

    It is read off the template: the first special token after a probe answer. For the three
    families that is ``<|eot_id|>``, ``<|im_end|>`` and ``<｜end▁of▁sentence｜>``.

    Raises:
        ValueError: The template closes the turn with no special token.
    """
    probe = "probe"
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": probe}],
        tokenize=False,
        date_string=DATE_STRING,
    )
    tail = rendered[rendered.rindex(probe) + len(probe) :]
    ids = tokenizer(tail, add_special_tokens=False).input_ids
    special = set(tokenizer.all_special_ids) | {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    for token_id in ids:
        if token_id in special:
            return int(token_id)
    raise ValueError(
        f"{tokenizer.name_or_path}: its chat template ends an answer with no special token, so a "
        "model trained on it would never stop"
    )


def stop_token_ids(tokenizer: Any, model_folder: Path) -> list[int]:
    """Return all tokens at which generation stops: the turn's end and the model's own list."""
    stops = {turn_end(tokenizer)}
    if tokenizer.eos_token_id is not None:
        stops.add(int(tokenizer.eos_token_id))
    config = model_folder / "generation_config.json"
    if config.is_file():
        own = json.loads(config.read_text("utf-8")).get("eos_token_id")
        stops |= set(own) if isinstance(own, list) else {own} if own is not None else set()
    return sorted(stops)
