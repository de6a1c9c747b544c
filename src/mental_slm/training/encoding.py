"""Instruction pairs as tokens, with an account of those that had to be shortened or left out."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mental_slm.language_model.chat import EncodedPair, encode_pair

logger = logging.getLogger(__name__)

#: A larger share of pairs that do not fit deserves a warning: `max_length` is too small.
MANY = 0.01

#: A post of fewer words than this is no longer what the question is about.
FEWEST_WORDS = 20

#: Stands where the rest of a post was taken away.
CUT = " [...]"


@dataclass(frozen=True)
class EncodedSplit:
    """The encoded pairs of one split.

    Attributes:
        name: ``train`` or ``val``.
        ids: ``pair_id`` of each kept pair.
        pairs: The kept pairs, in the same order.
        shortened: ``pair_id`` and tokens before, of the pairs whose post was shortened to fit.
        too_long: ``pair_id`` and tokens of the pairs that do not fit a row even so.
    """

    name: str
    ids: list[str]
    pairs: list[EncodedPair]
    shortened: dict[str, int]
    too_long: dict[str, int]


def first_by_id(pairs: Sequence[dict[str, Any]], at_most: int | None) -> list[dict[str, Any]]:
    """Return so many pairs in the order of their ids, which is no order of datasets or labels.

    Args:
        pairs: Instruction pairs (:class:`mental_slm.records.Pair`).
        at_most: How many; None takes all.
    """
    return sorted(pairs, key=lambda pair: pair["pair_id"])[:at_most]


def encode_split(
    name: str, pairs: Sequence[dict[str, Any]], tokenizer: Any, max_length: int
) -> EncodedSplit:
    """Encode the pairs of a split so that each fits a row.

    Of a pair that is longer than ``max_length`` the post is shortened from its end, never the
    question or the answer. Where too little of the post would be left, or an answer quotes what
    was cut, the pair is left out and counted: it would teach to answer from nothing.

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
    ids, kept, shortened, too_long = [], [], {}, {}
    for pair in pairs:
        encoded: EncodedPair | None = encode_pair(tokenizer, pair["messages"])
        assert encoded is not None
        length = len(encoded.input_ids)
        if length > max_length:
            encoded = _encode_shortened(pair, tokenizer, max_length, length)
            if encoded is None:
                too_long[pair["pair_id"]] = length
                continue
            shortened[pair["pair_id"]] = length
        ids.append(pair["pair_id"])
        kept.append(encoded)
    if not kept:
        raise ValueError(
            f"pairs_{name}: all {len(pairs)} pairs are longer than fine_tuning.max_length "
            f"({max_length} tokens; the shortest has {min(too_long.values())}); raise it"
        )
    if shortened or too_long:
        logger.log(
            logging.WARNING if len(shortened) + len(too_long) > MANY * len(pairs) else logging.INFO,
            "pairs_%s: %d of %d pairs are longer than %d tokens: the post of %d was shortened, %d "
            "are left out",
            name,
            len(shortened) + len(too_long),
            len(pairs),
            max_length,
            len(shortened),
            len(too_long),
        )
    return EncodedSplit(name, ids, kept, shortened, too_long)


def _encode_shortened(
    pair: dict[str, Any], tokenizer: Any, max_length: int, length: int
) -> EncodedPair | None:
    """Return the pair with as much of the post's beginning as fits, or None if that is too little."""
    post = pair["post"]
    offsets = tokenizer(post, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    spare = len(offsets) - (length - max_length)
    while spare > 0:
        short = post[: offsets[spare - 1][1]].rsplit(None, 1)[0]  # at a word's end
        if len(short.split()) < FEWEST_WORDS or not _quotes_survive(pair, short):
            return None
        encoded = encode_pair(tokenizer, with_post(pair, short + CUT))
        if len(encoded.input_ids) <= max_length:
            return encoded
        spare -= len(encoded.input_ids) - max_length
    return None


def with_post(pair: dict[str, Any], post: str) -> list[Any]:
    """Return the messages of a pair with another text in the place of its post."""
    return [
        {**turn, "content": turn["content"].replace(pair["post"], post)}
        if turn["role"] == "user"
        else turn
        for turn in pair["messages"]
    ]


def _quotes_survive(pair: dict[str, Any], short: str) -> bool:
    """Tell whether what the answer quotes from the post is still there."""
    quotes = re.findall(r'["“]([^"“”]*\s[^"“”]*)["”]', pair["response"])
    return all(quote in short for quote in quotes if quote in pair["post"])
