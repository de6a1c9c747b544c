"""Counting: what came in, what became of it, and what the corpus is like, in numbers alone.

The report, the figures and the dataset cards are made from these counts and from nothing else, so
no post can find its way into one of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mental_slm.datasets.remote_file import RawFile
from mental_slm.pipelines.ingestion.cleaning import DROP_REASONS, REASONS
from mental_slm.pipelines.ingestion.options import DATASETS, IngestionOptions
from mental_slm.tasks import DATASET_TASK, EMOTION_DIMENSIONS, SPLITS, TASKS

#: The key of the sums over all datasets.
ALL = "all"

#: Every mask of personal data is a repair whose name begins like this.
PERSONAL_DATA = "pii_"

_QUANTILES = {"p5": 0.05, "p50": 0.5, "p95": 0.95}

#: Words from which a bar of the lengths begins: half octaves, so that bars are about equally wide
#: on a logarithmic axis. The last number closes the last bar.
_WORD_BINS = (
    *(1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181),
    *(256, 362, 512, 724, 1024, 1448, 2048, 2896, 4096, 5793),
)


def count_rows(posts: pd.DataFrame, forgotten: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Count posts per dataset: in, forgotten, removed by reason, kept, and kept per split.

    Args:
        posts: All posts but the forgotten ones, with ``dataset``, ``split`` and ``reason`` (missing
            for kept ones).
        forgotten: Number of forgotten posts by dataset.

    Returns:
        Counts by dataset, and under :data:`ALL` their sums.
    """
    table = {
        dataset: _count(posts[posts["dataset"] == dataset], forgotten.get(dataset, 0))
        for dataset in DATASET_TASK
        if dataset in forgotten or (posts["dataset"] == dataset).any()
    }
    return {**table, ALL: _count(posts, sum(forgotten.values()))}


def check_rows(
    rows: dict[str, dict[str, int]],
    corpus: pd.DataFrame,
    quarantine: pd.DataFrame,
    sources: list[dict[str, Any]],
) -> None:
    """Make sure that no row got lost between the files and the corpus, in any dataset.

    Raises:
        RuntimeError: Rows of the files are not forgotten + kept + quarantined + dropped.
    """
    for dataset, count in rows.items():
        if dataset == ALL:
            continue
        kept = int((corpus["dataset"] == dataset).sum())
        doubtful = int((quarantine["dataset"] == dataset).sum())
        dropped = sum(count[reason] for reason in DROP_REASONS)
        files = [source["rows"] for source in sources if source["dataset"] == dataset]
        came_in = count["in"] if None in files else sum(files)
        placed = count["forgotten"] + kept + doubtful + dropped
        if not came_in == count["in"] == placed or kept != count["kept"]:
            raise RuntimeError(
                f"ingestion: {dataset}: {came_in} posts in, but {count['forgotten']} forgotten + "
                f"{kept} kept + {doubtful} quarantined + {dropped} dropped; this is a defect, "
                "please report it"
            )


def count_labels(
    corpus: pd.DataFrame, datasets: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Count the posts of the corpus by dataset, label and split, labels in the order of the task."""
    counts = corpus.groupby(["dataset", "label", "split"]).size()
    return {
        dataset: {
            label: {split: int(counts.get((dataset, label, split), 0)) for split in SPLITS}
            for label in TASKS[DATASET_TASK[dataset]].labels
        }
        for dataset in datasets
    }


def measure_lengths(corpus: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Describe the lengths of the posts of the corpus, per dataset and over all.

    Returns:
        Per dataset that has any posts ``words`` and ``characters`` (``p5``, ``p50``, ``mean``, ``p95``, ``max``) and
        ``histogram``: ``from`` (the smallest number of words in each bar, and the end of the last
        one) and ``posts``.
    """
    present = set(corpus["dataset"])
    groups = {name: corpus[corpus["dataset"] == name] for name in DATASET_TASK if name in present}
    return {
        dataset: {
            "words": _describe(posts["n_words"]),
            "characters": _describe(posts["n_chars"]),
            "histogram": _histogram(posts["n_words"]),
        }
        for dataset, posts in {**groups, ALL: corpus}.items()
    }


def count_names(
    posts: pd.DataFrame, column: str, datasets: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count the names in a list column (``repairs`` or ``flags``), per dataset and over all."""
    named = posts[["dataset", column]].explode(column).dropna()
    counts = {
        dataset: _value_counts(named.loc[named["dataset"] == dataset, column])
        for dataset in datasets
    }
    return {**counts, ALL: _value_counts(named[column])}


def count_personal_data(posts: pd.DataFrame, datasets: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the posts in which personal data was found and masked, by kind; kept ones and others.

    Returns:
        Per dataset and over all, ``posts`` (how many were looked at), ``any`` (how many held any)
        and the number for each kind.
    """
    masks = posts["repairs"].map(lambda names: [n for n in names if n.startswith(PERSONAL_DATA)])
    found = posts[["dataset"]].assign(masks=masks)
    kinds = count_names(found, "masks", datasets)
    table = {}
    for dataset, of_kind in kinds.items():
        rows = found if dataset == ALL else found[found["dataset"] == dataset]
        table[dataset] = {
            "posts": len(rows),
            "any": int((rows["masks"].str.len() > 0).sum()),
            **of_kind,
        }
    return table


def count_ratings(
    annotation: pd.DataFrame,
    profile: pd.DataFrame,
    sources: list[dict[str, Any]],
    options: IngestionOptions,
) -> dict[str, Any]:
    """Count StudEmo's ratings.

    Returns:
        ``in`` (rows of the file), ``forgotten``, ``ratings`` (what is left), ``texts`` (rated
        ones), ``texts_at_hand`` (those whose words are there), ``annotators``,
        ``ratings_per_text`` and, per dimension, its ``mean`` and how often each value was given.
        Empty if StudEmo was not ingested.

    Raises:
        RuntimeError: Ratings were lost that nobody asked to forget.
    """
    if annotation.empty:
        return {}
    rows = [s["rows"] for s in sources if s["entry"] == "studemo_ratings_file"]
    came_in = len(annotation) if None in rows else sum(rows)
    forgotten = came_in - len(annotation)
    if forgotten and not options.forgotten_studemo_texts():
        raise RuntimeError(
            f"ingestion: StudEmo: {came_in} ratings in, but {len(annotation)} left; this is a "
            "defect, please report it"
        )
    return {
        "in": came_in,
        "forgotten": forgotten,
        "ratings": len(annotation),
        "texts": len(profile),
        "texts_at_hand": int(profile["text"].notna().sum()),
        "annotators": int(annotation["annotator_id"].nunique()),
        "ratings_per_text": _value_counts(profile["n_annotators"]),
        "dimensions": {
            name: {
                "mean": round(float(annotation[name].mean()), 2),
                "values": {
                    str(value): int((annotation[name] == value).sum())
                    for value in range(low, high + 1)
                },
            }
            for name, (low, high) in EMOTION_DIMENSIONS.items()
        },
    }


def list_sources(
    files: Mapping[str, RawFile], profile: pd.DataFrame, options: IngestionOptions
) -> list[dict[str, Any]]:
    """List the raw files that a run read, with what identifies them.

    Args:
        files: Catalog entries of raw files, called ``<dataset in lower case>[_...]_file``.
        profile: StudEmo's means, with texts if their file was read.
        options: Which datasets are selected.

    Returns:
        One entry per file: ``dataset``, ``entry`` (in the catalog) and the fields of the source.
    """
    listed = []
    for entry, raw in files.items():
        dataset = next(name for name in DATASETS if entry.startswith(f"{name.lower()}_"))
        # StudEmo's texts are optional and hard to get
        missing = entry == "studemo_texts_file" and profile["text"].isna().all()
        # Dreaddit's damaged texts are repaired from its twin, selected or not
        twin = dataset == "DepSeverity" and options.selects("Dreaddit")
        if (options.selects(dataset) and not missing) or twin:
            listed.append({"dataset": dataset, "entry": entry, **raw.source.model_dump()})
    return sorted(listed, key=lambda source: DATASETS.index(source["dataset"]))


def describe_options(options: IngestionOptions) -> dict[str, Any]:
    """Return the options of a run, without the salt and without the ids that are to be forgotten."""
    public = IngestionOptions()
    return {
        **options.model_dump(mode="json", exclude={"group_salt", "forget"}),
        "group_salt": "public default" if options.group_salt == public.group_salt else "own",
        "forget": len(options.forget),
    }


def _count(posts: pd.DataFrame, forgotten: int) -> dict[str, int]:
    kept = posts[posts["reason"].isna()]
    removed = {reason: int((posts["reason"] == reason).sum()) for reason in REASONS}
    splits = {split: int((kept["split"] == split).sum()) for split in SPLITS}
    return {
        "in": len(posts) + forgotten,
        "forgotten": forgotten,
        **removed,
        "kept": len(kept),
        **splits,
    }


def _value_counts(values: "pd.Series[Any]") -> dict[str, int]:
    return {str(name): int(n) for name, n in values.value_counts().sort_index().items()}


def _describe(values: "pd.Series[int]") -> dict[str, float]:
    found = {
        name: int(np.quantile(values, share, method="nearest"))
        for name, share in _QUANTILES.items()
    }
    return {
        "p5": found["p5"],
        "p50": found["p50"],
        "mean": round(float(values.mean()), 1),
        "p95": found["p95"],
        "max": int(values.max()),
    }


def _histogram(words: "pd.Series[int]") -> dict[str, list[int]]:
    # nothing is lost at the end, however long a post is
    edges = [*_WORD_BINS[:-1], max(_WORD_BINS[-1], int(words.max()) + 1)]
    posts, _ = np.histogram(words, edges)
    return {"from": edges, "posts": [int(n) for n in posts]}
