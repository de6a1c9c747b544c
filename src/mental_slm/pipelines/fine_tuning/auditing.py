"""What a person checks before any time is spent on training: the pairs as the model sees them."""

from collections.abc import Sequence
from typing import Any

from mental_slm.language_model.chat import render_prompt, turn_end
from mental_slm.training.batches import pack
from mental_slm.training.encoding import EncodedSplit, with_post

#: Width of a bar in the histogram of lengths, in tokens.
BAR = 32


def describe_split(split: EncodedSplit, max_length: int) -> dict[str, Any]:
    """Return what a person checks before training: counts, lengths, labelled share, fill."""
    lengths = [len(pair.input_ids) for pair in split.pairs]
    labelled = [len(pair.input_ids) - pair.prompt_length for pair in split.pairs]
    rows = len(pack(lengths, max_length))
    return {
        "pairs": len(split.pairs) + len(split.too_long),
        "kept": len(split.pairs),
        "without_label": sum(p.prompt_length >= len(p.input_ids) for p in split.pairs),
        "shortened": split.shortened,
        "too_long": split.too_long,
        "tokens": sum(lengths),
        "answer_tokens": sum(labelled),
        "answer_share": round(sum(labelled) / sum(lengths), 4),
        "length": _quantiles(lengths),
        "answer_length": _quantiles(labelled),
        "length_histogram": _histogram(lengths),
        "answer_length_histogram": _histogram(labelled),
        "packed_rows": rows,
        "row_fill": round(sum(lengths) / (rows * max_length), 4),
    }


def describe_stop(splits: Sequence[EncodedSplit], tokenizer: Any) -> dict[str, Any]:
    """Return the token that ends an answer, and in how many pairs it is the last one learned."""
    stop = turn_end(tokenizer)
    return {
        "token": tokenizer.convert_ids_to_tokens(stop),
        "id": stop,
        "learned_in": sum(pair.input_ids[-1] == stop for split in splits for pair in split.pairs),
    }


def render_frames(pairs: Sequence[dict[str, Any]], tokenizer: Any) -> dict[str, dict[str, str]]:
    """Render the first pair of each task as the model reads it, without what people wrote.

    Args:
        pairs: Instruction pairs.
        tokenizer: Of the base model.

    Returns:
        For each task what is ``read`` and what is ``learned``; post and answer are replaced by
        their number of words.
    """
    firsts: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        firsts.setdefault(pair["task"], pair)
    stop = tokenizer.convert_ids_to_tokens(turn_end(tokenizer))
    return {
        task: {
            "read": render_prompt(tokenizer, _without_post(pair)),
            "learned": f"<answer, {_words(pair['response'])}>{stop}",
        }
        for task, pair in sorted(firsts.items())
    }


def _without_post(pair: dict[str, Any]) -> list[Any]:
    if pair["post"] not in pair["messages"][1]["content"]:  # no way to tell what people wrote
        hidden = {"role": "user", "content": f"<{_words(pair['messages'][1]['content'])}>"}
        return [pair["messages"][0], hidden]
    return with_post(pair, f"<post, {_words(pair['post'])}>")[:-1]


def _words(text: str) -> str:
    return f"{len(text.split())} words"


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    import numpy as np

    shares = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(float(np.quantile(values, share))) for name, share in shares.items()}


def _histogram(values: Sequence[int]) -> list[int]:
    """Return how many values lie in each bar of ``BAR`` tokens, from 0 on."""
    bars = [0] * (max(values) // BAR + 1)
    for value in values:
        bars[value // BAR] += 1
    return bars
