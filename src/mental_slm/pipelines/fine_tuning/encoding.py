"""Instruction pairs as tokens, with an account of those that cannot be trained on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mental_slm.language_model.chat import EncodedPair, encode_pair
from mental_slm.training.batches import pack

logger = logging.getLogger(__name__)

#: A larger share of pairs that do not fit deserves a warning: `max_length` is too small.
MANY = 0.01


@dataclass(frozen=True)
class EncodedSplit:
    """The encoded pairs of one split.

    Attributes:
        name: ``train`` or ``val``.
        ids: ``pair_id`` of each kept pair.
        pairs: The kept pairs, in the same order.
        too_long: ``pair_id`` and tokens of the pairs that do not fit a row.
    """

    name: str
    ids: list[str]
    pairs: list[EncodedPair]
    too_long: dict[str, int]


def encode_split(
    name: str, pairs: Sequence[dict[str, Any]], tokenizer: Any, max_length: int
) -> EncodedSplit:
    """Encode the pairs of a split, whole or not at all.

    A pair longer than ``max_length`` is left out and counted: cutting would take away the start of
    the post, the question or the answer's last line, and teach from what is left.

    Args:
        name: Name of the split, for messages.
        pairs: Instruction pairs (:class:`mental_slm.records.Pair`).
        tokenizer: Of the base model.
        max_length: Tokens of a row.

    Raises:
        ValueError: There are no pairs, some have no answer to learn, or none fits a row.
    """
    if not pairs:
        raise ValueError(f"pairs_{name}: is empty; run the augmentation pipeline first")
    unlabelled = [p["pair_id"] for p in pairs if not p["messages"][-1]["content"].strip()]
    if unlabelled:
        raise ValueError(
            f"pairs_{name}: {len(unlabelled)} pairs have an empty answer, so that no token carries "
            f"a label: {', '.join(unlabelled[:5])}; run the augmentation pipeline again"
        )
    ids, kept, too_long = [], [], {}
    for pair in pairs:
        encoded = encode_pair(tokenizer, pair["messages"])
        if len(encoded.input_ids) > max_length:
            too_long[pair["pair_id"]] = len(encoded.input_ids)
        else:
            ids.append(pair["pair_id"])
            kept.append(encoded)
    if not kept:
        raise ValueError(
            f"pairs_{name}: all {len(pairs)} pairs are longer than fine_tuning.max_length "
            f"({max_length} tokens; the shortest has {min(too_long.values())}); raise it"
        )
    if too_long:
        logger.log(
            logging.WARNING if len(too_long) > MANY * len(pairs) else logging.INFO,
            "pairs_%s: %d of %d pairs are longer than %d tokens and left out",
            name,
            len(too_long),
            len(pairs),
            max_length,
        )
    return EncodedSplit(name, ids, kept, too_long)


def describe_split(split: EncodedSplit, max_length: int) -> dict[str, Any]:
    """Return what a person checks before training: counts, lengths, labelled share, fill."""
    lengths = [len(pair.input_ids) for pair in split.pairs]
    labelled = [len(pair.input_ids) - pair.prompt_length for pair in split.pairs]
    rows = len(pack(lengths, max_length))
    return {
        "pairs": len(split.pairs) + len(split.too_long),
        "kept": len(split.pairs),
        "too_long": split.too_long,
        "tokens": sum(lengths),
        "answer_tokens": sum(labelled),
        "answer_share": round(sum(labelled) / sum(lengths), 4),
        "length": _quantiles(lengths),
        "answer_length": _quantiles(labelled),
        "packed_rows": rows,
        "row_fill": round(sum(lengths) / (rows * max_length), 4),
    }


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    import numpy as np

    shares = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(float(np.quantile(values, share))) for name, share in shares.items()}
