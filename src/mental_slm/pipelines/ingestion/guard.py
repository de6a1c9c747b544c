"""Guarding against leakage: the same or nearly the same text on both sides of a split.

Exact copies share a ``text_id``; near copies are found by :mod:`.near_duplicates`.
"""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mental_slm.tasks import DATASET_TASK, SPLITS

from .near_duplicates import MIXED, find_near_pairs

_PAIRS_SHOWN = 20

#: Which split must not be repeated in which.
_BORDERS = (("train", "val"), ("train", "test"), ("val", "test"))


class LeakageError(ValueError):
    """Posts stand on both sides of a split although the corpus has been cleaned."""


def find_leaks(posts: pd.DataFrame, near_duplicate: float) -> pd.DataFrame:
    """List the pairs of posts that stand on both sides of a split, across all datasets.

    Args:
        posts: Posts with ``record_id``, ``text_id``, ``dataset``, ``split`` and ``text``.
        near_duplicate: Jaccard similarity from which two different texts count as near copies.

    Returns:
        One row per pair: ``kind`` (exact or near), ``from_id``, ``from_part`` (the side that is
        learnt from), ``into_id``, ``into_part`` (the side that is held out), ``similarity``.
    """
    texts = posts.drop_duplicates("text_id").set_index("text_id")["text"]
    # an exact leak needs a text in two splits
    twice = posts.groupby("text_id")["split"].nunique()
    same = pd.Series(twice.index[twice > 1])
    copies = pd.DataFrame({"from_text": same, "into_text": same, "similarity": 1.0})
    pairs = pd.concat([copies, _near_pairs(posts, texts, near_duplicate)], ignore_index=True)
    places = posts[["record_id", "text_id", "dataset", "split"]]
    leaks = pairs.merge(places, left_on="from_text", right_on="text_id").merge(
        places, left_on="into_text", right_on="text_id", suffixes=("_from", "_into")
    )
    borders = pd.MultiIndex.from_tuples(_BORDERS)
    leaks = leaks[pd.MultiIndex.from_frame(leaks[["split_from", "split_into"]]).isin(borders)]
    exact = leaks["from_text"] == leaks["into_text"]
    return (
        pd.DataFrame(
            {
                "kind": exact.map({True: "exact", False: "near"}),
                "from_part": leaks["dataset_from"] + " " + leaks["split_from"],
                "from_id": leaks["record_id_from"],
                "into_part": leaks["dataset_into"] + " " + leaks["split_into"],
                "into_id": leaks["record_id_into"],
                "similarity": leaks["similarity"].round(3),
            }
        )
        .sort_values(["kind", "from_part", "into_part", "from_id", "into_id"])
        .reset_index(drop=True)
    )


def count_leaks(posts: pd.DataFrame, leaks: pd.DataFrame) -> list[dict[str, Any]]:
    """Count, for every pair of parts that may not overlap, the held-out posts that do.

    Returns:
        One entry per pair, also for those without a leak: ``from``, ``into``, ``held_out`` (posts
        in the held-out part), ``exact`` and ``near`` (how many of them have a copy).
    """
    sizes = (posts["dataset"] + " " + posts["split"]).value_counts()
    hit = leaks.groupby(["kind", "from_part", "into_part"])["into_id"].nunique()
    table = []
    for (learnt, held), source, target in product(_BORDERS, DATASET_TASK, DATASET_TASK):
        pair = (f"{source} {learnt}", f"{target} {held}")
        if all(part in sizes.index for part in pair):
            table.append(
                {
                    "from": pair[0],
                    "into": pair[1],
                    "held_out": int(sizes[pair[1]]),
                    "exact": int(hit.get(("exact", *pair), 0)),
                    "near": int(hit.get(("near", *pair), 0)),
                }
            )
    return table


def refuse_leaks(leaks: pd.DataFrame) -> None:
    """Stop the run if there is any leak.

    Raises:
        LeakageError: With a table of the ids (never the texts).
    """
    if len(leaks):
        shown = leaks.head(_PAIRS_SHOWN).to_string(index=False)
        more = f"\n... and {len(leaks) - _PAIRS_SHOWN} more" if len(leaks) > _PAIRS_SHOWN else ""
        raise LeakageError(
            f"{len(leaks)} pairs of posts stand on both sides of a split after cleaning. Remove "
            "one of each pair from its source, or leave out a dataset (ingestion.datasets), or "
            f"raise ingestion.near_duplicate if the near ones are acceptable:\n{shown}{more}"
        )


def _near_pairs(posts: pd.DataFrame, texts: "pd.Series[str]", threshold: float) -> pd.DataFrame:
    """Return all ordered pairs of different texts in different splits that are nearly the same."""
    split = posts["split"].map({name: number for number, name in enumerate(SPLITS)})
    span = split.groupby(posts["text_id"]).agg(["min", "max"]).reindex(texts.index)
    group = span["min"].where(span["min"] == span["max"], MIXED).to_numpy(np.uint8)
    near = find_near_pairs(texts, group, threshold)
    left, right = texts.index[near["left"]], texts.index[near["right"]]
    return pd.DataFrame(
        {
            "from_text": [*left, *right],
            "into_text": [*right, *left],
            "similarity": [*near["similarity"]] * 2,
        }
    ).astype({"from_text": "str", "into_text": "str", "similarity": "float64"})
