"""Splitting: upstream splits as they are, the two datasets without one by a fixed rule.

Posts are split before they are cleaned, so that the sizes can be checked against the files.
"""

import hashlib

import pandas as pd

#: Share of each label that becomes train, per thousand (whole numbers keep ``floor`` exact).
_DEPSEVERITY_TRAIN = 800
_ISEAR_TRAIN = 900


def split_depseverity(posts: pd.DataFrame) -> "pd.Series[str]":
    """Split by file order: of each label the first 80 % are train, the rest test.

    Inheriting Dreaddit's split would leave 9 mild and 10 severe posts in test.
    """
    return _first_share(posts["label"], posts["source_row"], _DEPSEVERITY_TRAIN)


def split_isear(posts: pd.DataFrame) -> "pd.Series[str]":
    """Split by content: of each label, in the order of a hash of the text, 90 % are train.

    Equal texts hash alike and so fall on the same side (but for the one at the border).
    """
    hashed = posts["key"].map(lambda key: hashlib.sha256(f"ISEAR\x1f{key}".encode()).hexdigest())
    order = (
        pd.DataFrame({"hash": hashed, "row": posts["source_row"]})
        .sort_values(["hash", "row"])
        .assign(place=range(len(posts)))["place"]
        .reindex(posts.index)
    )
    return _first_share(posts["label"], order, _ISEAR_TRAIN)


def _first_share(
    labels: "pd.Series[str]", order: "pd.Series[int]", per_thousand: int
) -> "pd.Series[str]":
    """Mark, within each label, the first ``per_thousand`` of the rows (rounded down) as train."""
    place = order.groupby(labels).rank(method="first").astype(int)
    size = labels.map(labels.value_counts())
    train = place <= size * per_thousand // 1000
    return pd.Series("test", index=labels.index, dtype="str").mask(train, "train")
