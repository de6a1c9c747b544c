"""From encoded pairs to the rows of a training run.

Several pairs share one row of at most ``max_length`` tokens. Each starts again at position 0, which
transformers reads (where no attention mask is given) as a block-diagonal causal mask, so that no
pair sees another one. Padding, where a micro-batch has rows of unequal length, is one more such
segment without labels.

The rows of the *whole* run are laid out before it starts, from the seed alone. A resumed run
therefore only has to skip what it has seen; no random state decides the order.
"""

import json
import math
import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.language_model.chat import EncodedPair
from mental_slm.storage import write_text

#: Labels with this value do not count (PyTorch's own convention).
IGNORED = -100


def write_pairs(path: Path, pairs: Sequence[EncodedPair]) -> None:
    """Write encoded pairs as JSON Lines, atomically."""
    rows = ({"input_ids": p.input_ids, "prompt_length": p.prompt_length} for p in pairs)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_pairs(path: Path) -> list[EncodedPair]:
    """Read what :func:`write_pairs` wrote.

    Raises:
        ValueError: Names the file and the line, if a pair has no prompt or no answer.
    """
    pairs = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            pair = EncodedPair(**json.loads(line))
            if not 0 < pair.prompt_length < len(pair.input_ids):
                raise ValueError(
                    f"{path}, line {number}: prompt_length {pair.prompt_length} leaves no prompt or "
                    f"no answer in {len(pair.input_ids)} tokens; write the file again"
                )
            pairs.append(pair)
    if not pairs:
        raise ValueError(f"{path}: holds no pairs, so there is nothing to learn from")
    return pairs


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put sequences into as few rows as best-fit decreasing finds (Johnson et al. 1974).

    Args:
        lengths: Tokens of each sequence.
        capacity: Tokens a row can hold.

    Returns:
        For each row the indices of its sequences. Ties follow the order of ``lengths``.

    Raises:
        ValueError: A sequence is longer than a row.
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (tokens left, row), ascending
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if length > capacity:
            raise ValueError(f"sequence {index} has {length} tokens, a row holds {capacity}")
        place = bisect_left(free, (length, -1))  # the fullest row it still fits into
        if place < len(free):
            left, row = free.pop(place)
        else:
            left, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        insort(free, (left - length, row))
    return rows


def plan_rows(
    lengths: Sequence[int], capacity: int, rows: int | None, epochs: float, seed: int
) -> list[list[int]]:
    """Lay out the rows of a whole run: each epoch shuffled and packed anew.

    Args:
        lengths: Tokens of each pair.
        capacity: Tokens a row can hold.
        rows: How many rows the run needs; None takes ``epochs``.
        epochs: Passes over the pairs; a fraction takes the first part of a pass.
        seed: Decides order and company, nothing else does.

    Returns:
        For each row the indices of its pairs.
    """
    needed = rows if rows is not None else max(1, round(epochs * len(pack(lengths, capacity))))
    plan: list[list[int]] = []
    epoch = 0
    while len(plan) < needed:
        shuffler = random.Random(f"{seed}/{epoch}")
        order = list(range(len(lengths)))
        shuffler.shuffle(order)
        packed = pack([lengths[index] for index in order], capacity)
        shuffler.shuffle(packed)  # best fit puts the long ones first
        plan += [[order[index] for index in row] for row in packed]
        epoch += 1
    return plan[:needed]


def optimiser_steps(rows: int, batch_size: int, accumulation: int) -> int:
    """Return how many optimiser steps a number of rows makes; the last one may be smaller."""
    return math.ceil(math.ceil(rows / batch_size) / accumulation)


class PackedRows:
    """A dataset for the Trainer: row number to the lists that :func:`collate` joins."""

    def __init__(self, pairs: Sequence[EncodedPair], rows: Sequence[Sequence[int]]) -> None:
        self._pairs = pairs
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        row: dict[str, list[int]] = {"input_ids": [], "position_ids": [], "labels": []}
        for index in self._rows[number]:
            pair = self._pairs[index]
            length, prompt = len(pair.input_ids), pair.prompt_length
            row["input_ids"] += pair.input_ids
            row["position_ids"] += range(length)
            row["labels"] += [IGNORED] * prompt + pair.input_ids[prompt:]
        return row


def collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
    """Stack rows into tensors of shape (rows, longest row).

    There is no attention mask on purpose: positions that start again at 0 are what keeps segments
    apart, and padding is a segment of its own (its token id is 0, which nothing ever sees).
    """
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def stacked(name: str, filler: Any) -> Any:
        return torch.tensor([row[name] + filler(width - len(row[name])) for row in rows])

    return {
        "input_ids": stacked("input_ids", lambda missing: [0] * missing),
        "position_ids": stacked("position_ids", lambda missing: list(range(missing))),
        "labels": stacked("labels", lambda missing: [IGNORED] * missing),
    }


def count_tokens(batch: dict[str, Any]) -> int:
    """Return the real tokens of a collated batch: all that belong to a segment with labels."""
    labelled = batch["labels"].ne(IGNORED)
    # a pair ends with a labelled token (its stop), so what follows the last label is padding
    last = labelled.long().cumsum(-1).argmax(-1)
    return int(((last + 1) * labelled.any(-1)).sum())
