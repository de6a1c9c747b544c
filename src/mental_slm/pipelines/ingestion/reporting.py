"""Reporting: what came in, what was removed and why, what is left."""

from typing import Any

import pandas as pd

from mental_slm.pipelines.ingestion.cleaning import REASONS
from mental_slm.tasks import DATASET_TASK, SPLITS


def count_rows(posts: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count posts per dataset: in, removed by reason, kept, and kept per split.

    Args:
        posts: All posts with ``dataset``, ``split`` and ``reason`` (missing for kept ones).

    Returns:
        Counts by dataset, and under ``"all"`` their sums.
    """
    table = {
        dataset: _count(posts[posts["dataset"] == dataset])
        for dataset in DATASET_TASK
        if (posts["dataset"] == dataset).any()
    }
    return {**table, "all": _count(posts)}


def count_names(posts: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Count the names in a list column (``repairs`` or ``flags``) of kept posts, per dataset."""
    kept = posts.loc[posts["reason"].isna(), ["dataset", column]].explode(column).dropna()
    return {
        str(dataset): {str(name): int(n) for name, n in names.value_counts().sort_index().items()}
        for dataset, names in kept.groupby("dataset")[column]
    }


def _count(posts: pd.DataFrame) -> dict[str, int]:
    kept = posts[posts["reason"].isna()]
    removed = {reason: int((posts["reason"] == reason).sum()) for reason in REASONS}
    splits = {split: int((kept["split"] == split).sum()) for split in SPLITS}
    return {"in": len(posts), **removed, "kept": len(kept), **splits}


def draw_rows(corpus: pd.DataFrame) -> Any:
    """Draw the posts per dataset and split, stacked by label, as a plotly figure."""
    import plotly.express as px

    counts = corpus.groupby(["dataset", "split", "label"]).size().rename("posts").reset_index()
    figure = px.bar(
        counts,
        x="dataset",
        y="posts",
        color="label",
        facet_col="split",
        category_orders={
            "dataset": [name for name in DATASET_TASK if name in set(counts["dataset"])],
            "split": [name for name in SPLITS if name in set(counts["split"])],
            "label": sorted(counts["label"].unique()),
        },
        labels={"dataset": "", "posts": "posts"},
        title=f"{len(corpus):,} posts by dataset, split and label",
    )
    figure.for_each_annotation(lambda note: note.update(text=note.text.split("=")[-1]))
    return figure
