"""Choosing pairs by hash of their ids, in proportion to the labels, and finding them again."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def rank_by_label(pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order pairs so that every head of the list holds the labels in proportion.

    The order depends on the ids alone, so that a smaller choice is part of a larger one.
    """
    by_label = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: hash_text(pair["pair_id"])):
        by_label[pair["label"]].append(pair)
    ranked = [
        ((position + 0.5) / len(group), hash_text(pair["pair_id"]), pair)
        for group in by_label.values()
        for position, pair in enumerate(group)
    ]
    return [pair for *_, pair in sorted(ranked, key=lambda entry: entry[:2])]


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text as hex: an order that nobody chose."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check_answers(
    system: str, items: Mapping[str, dict[str, Any]], generations: Sequence[dict[str, Any]]
) -> None:
    """Make sure that every item has its answer and every answer its item.

    Args:
        system: Whose answers they are.
        items: The selected items by id.
        generations: The answers.

    Raises:
        ValueError: Says how many ids differ, and the first of them.
    """
    differing = sorted(items.keys() ^ {generation["pair_id"] for generation in generations})
    if differing:
        raise ValueError(
            f"generations of {system}: {len(differing)} ids differ from the selected items, first "
            f"{differing[0]}; run `kedro run --pipelines evaluation` from the start"
        )
