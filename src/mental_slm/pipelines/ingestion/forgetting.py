"""Forgetting: a person's post leaves the corpus, and so does every copy of its text."""

import logging
from collections.abc import Sequence

import pandas as pd

logger = logging.getLogger(__name__)


def find_forgotten(posts: pd.DataFrame, ids: Sequence[str]) -> "pd.Series[bool]":
    """Mark the posts that are to be forgotten.

    Args:
        posts: Posts with ``record_id``, ``text_id`` and ``dataset``.
        ids: Record ids and text ids; those of StudEmo are not looked at here.

    Raises:
        ValueError: A record id of a selected dataset that no post has, most likely a slip.
    """
    records = [name for name in ids if "-" in name and not name.startswith("StudEmo-")]
    texts = {name for name in ids if "-" not in name}
    known = set(posts["record_id"])
    selected = set(posts["dataset"])
    missing = [name for name in records if name not in known]
    slips = [name for name in missing if name.split("-")[0] in selected]
    if slips:
        raise ValueError(f"ingestion.forget: no post has the id {', '.join(slips)}")
    if missing:
        logger.info(
            "ingestion.forget: %d ids are of datasets that are not selected; to forget copies of "
            "their texts elsewhere, give the text_id",
            len(missing),
        )
    texts |= set(posts.loc[posts["record_id"].isin(records), "text_id"])
    return posts["text_id"].isin(texts)
