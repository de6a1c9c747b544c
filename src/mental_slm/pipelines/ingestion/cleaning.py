"""Cleaning: one reason for each post that is not kept, the first that applies.

The order is fixed, so that the counts of two runs can be compared reason by reason.
"""

import pandas as pd

#: Reasons a person may want to look at; these posts go to the quarantine.
QUARANTINE_REASONS = ("excel_error", "no_response", "too_short", "label_conflict")

#: Reasons that need no look; these posts are dropped and counted.
DROP_REASONS = ("duplicate", "leaks_into_eval")

REASONS = (*QUARANTINE_REASONS, *DROP_REASONS)

_EXCEL_ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#N/A", "#NULL!", "#NUM!")

#: Whole ISEAR answers (letters only) that describe nothing; "reponse" is the file's own spelling.
_NO_RESPONSE = (
    "noresponse",
    "noreponse",
    "nodescription",
    "noanswer",
    "notapplicable",
    "doesntapply",
    "doesnotapply",
    "blank",
    "none",
    "nothing",
    "never",
)

_SPLIT_RANK = {"test": 0, "val": 1, "train": 2}


def find_reasons(posts: pd.DataFrame, min_words: int) -> "pd.Series[str]":
    """Return why each post is removed; missing for a post that is kept.

    Args:
        posts: Repaired and split posts with ``text_id`` and ``n_words``.
        min_words: Posts with fewer words are too short (ISEAR excepted).
    """
    reasons = pd.Series(pd.NA, index=posts.index, dtype="str")

    def remove(reason: str, which: "pd.Series[bool]") -> None:
        reasons.loc[which & reasons.isna()] = reason

    isear = posts["dataset"] == "ISEAR"
    letters = posts["text"].str.lower().str.replace(r"[^a-z]", "", regex=True)
    remove("excel_error", posts["text"].str.strip().isin(_EXCEL_ERRORS))
    remove("no_response", isear & letters.isin(_NO_RESPONSE))
    remove("too_short", ~isear & (posts["n_words"] < min_words) | (posts["n_words"] == 0))
    remove(
        "label_conflict", _conflicts(posts[reasons.isna()]).reindex(posts.index, fill_value=False)
    )
    remove("duplicate", _duplicates(posts[reasons.isna()]).reindex(posts.index, fill_value=False))
    remove("leaks_into_eval", _leaks(posts, posts[reasons.isna()]))
    return reasons


def _conflicts(posts: pd.DataFrame) -> "pd.Series[bool]":
    """Mark every post whose text stands in the same dataset under another label too."""
    return posts.groupby(["dataset", "text_id"])["label"].transform("nunique") > 1


def _duplicates(posts: pd.DataFrame) -> "pd.Series[bool]":
    """Mark all but one of equal texts in a dataset; test wins over val, val over train."""
    preferred = posts.assign(rank=posts["split"].map(_SPLIT_RANK), place=range(len(posts)))
    preferred = preferred.sort_values(["rank", "place"])
    return preferred.duplicated(["dataset", "text_id"])


def _leaks(posts: pd.DataFrame, remaining: pd.DataFrame) -> "pd.Series[bool]":
    """Mark train posts that any dataset holds out, and val posts that any dataset tests on."""
    test = set(remaining.loc[remaining["split"] == "test", "text_id"])
    held_out = test | set(remaining.loc[remaining["split"] == "val", "text_id"])
    return (posts["split"] == "train") & posts["text_id"].isin(held_out) | (
        posts["split"] == "val"
    ) & posts["text_id"].isin(test)
