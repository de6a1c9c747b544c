"""The story of ingestion: parse, unify, repair, split, forget, clean, guard, report."""

import logging
from typing import Any

from mental_slm.datasets.remote_file import RawFile, SourceFileError
from mental_slm.pipelines.ingestion import flags
from mental_slm.pipelines.ingestion.options import IngestionOptions
from mental_slm.records import CORPUS_COLUMNS, QUARANTINE_COLUMNS, Table
from mental_slm.tasks import EMOTION_DIMENSIONS

logger = logging.getLogger(__name__)


def parse_dreaddit(train: RawFile, test: RawFile, options: IngestionOptions) -> Table:
    """Read Dreaddit's two files into posts (none if the dataset is not selected)."""
    from mental_slm.pipelines.ingestion import parsers

    if not options.selects("Dreaddit"):
        return parsers.no_posts()
    return parsers.join_posts(
        [
            parsers.read_dreaddit(train, "train", options.group_salt.get_secret_value()),
            parsers.read_dreaddit(test, "test", options.group_salt.get_secret_value()),
        ]
    )


def parse_dr(train: RawFile, val: RawFile, test: RawFile, options: IngestionOptions) -> Table:
    """Read Depression_Reddit's three files into posts (none if the dataset is not selected)."""
    from mental_slm.pipelines.ingestion import parsers

    if not options.selects("DR"):
        return parsers.no_posts()
    return parsers.join_posts(
        [parsers.read_dr(train, "train"), parsers.read_dr(val, "val"), parsers.read_dr_test(test)]
    )


def parse_depseverity(raw: RawFile, options: IngestionOptions) -> Table:
    """Read DepSeverity into posts (none if the dataset is not selected)."""
    from mental_slm.pipelines.ingestion import parsers

    return parsers.read_depseverity(raw) if options.selects("DepSeverity") else parsers.no_posts()


def parse_sdcnl(train: RawFile, test: RawFile, options: IngestionOptions) -> Table:
    """Read SDCNL's two files into posts (none if the dataset is not selected)."""
    from mental_slm.pipelines.ingestion import parsers

    if not options.selects("SDCNL"):
        return parsers.no_posts()
    return parsers.join_posts(
        [
            parsers.read_sdcnl(train, "train", options.group_salt.get_secret_value()),
            parsers.read_sdcnl(test, "test", options.group_salt.get_secret_value()),
        ]
    )


def parse_isear(raw: RawFile, options: IngestionOptions) -> Table:
    """Read ISEAR into posts (none if the dataset is not selected)."""
    from mental_slm.pipelines.ingestion import parsers

    if not options.selects("ISEAR"):
        return parsers.no_posts()
    return parsers.read_isear(raw, options.group_salt.get_secret_value())


def parse_studemo(
    ratings: RawFile, texts: RawFile, options: IngestionOptions
) -> tuple[Table, Table]:
    """Read StudEmo: every single rating, and one emotion profile per text.

    Returns:
        The ratings (``text_id``, ``annotator_id``, ten whole numbers), and the profiles
        (``text_id``, ``text``, ``n_annotators``, ten means). ``text`` is missing where the texts
        were switched off or upstream has none. Most texts have one rating or two, not more.
    """
    import pandas as pd

    from mental_slm.pipelines.ingestion import parsers, repair

    columns = list(EMOTION_DIMENSIONS)
    if options.selects("StudEmo"):
        annotation = parsers.read_studemo_ratings(ratings)
        annotation = annotation[~annotation["text_id"].isin(options.forgotten_studemo_texts())]
    else:
        annotation = pd.DataFrame(columns=["text_id", "annotator_id", *columns], dtype="int64")
    rated = annotation.groupby("text_id")
    profile = rated[columns].mean().astype("float64")
    profile.insert(0, "n_annotators", rated.size())
    profile = profile.reset_index()
    if options.selects("StudEmo") and options.studemo_texts:
        known = _read_optional_texts(texts).set_index("text_id")["text"]
        text = profile["text_id"].map(known.map(lambda raw: repair.repair_text(raw)[0]))
    else:
        text = pd.Series(pd.NA, index=profile.index)
    profile.insert(1, "text", text.astype("str"))
    return annotation, profile


def unify_posts(*tables: Table) -> Table:
    """Put the posts of all datasets into one table, in an order that only their ids decide.

    Whatever order the rows come in, the corpus is the same, byte for byte.
    """
    from mental_slm.pipelines.ingestion import parsers

    return parsers.sort_posts(parsers.join_posts(list(tables)))


def repair_posts(posts: Table, depseverity_file: RawFile) -> Table:
    """Repair and mask the texts, name what was done, and give every post its ``text_id``.

    Dreaddit's damaged texts come from DepSeverity, its twin, whether or not DepSeverity itself is
    selected.
    """
    import pandas as pd

    from mental_slm.pipelines.ingestion import repair

    dreaddit = posts["dataset"] == "Dreaddit"
    if dreaddit.any():
        intact = repair.restore_from_twin(posts[dreaddit], depseverity_file)
        posts = pd.concat([posts[~dreaddit], intact]).sort_index()
    repaired = posts["text"].map(repair.repair_text)
    text = repaired.str[0].astype("str")
    found = [flags.flag_text(*pair) for pair in zip(text, posts["dataset"], strict=True)]
    key = text.map(repair.normalise_key).astype("str")
    posts = posts.assign(
        text=text,
        key=key,
        text_id=key.map(repair.text_id).astype("str"),
        repairs=_append(posts["repairs"], repaired.str[1]),
        flags=_append(posts["flags"], found),
        n_chars=text.str.len().astype("int64"),
        n_words=text.map(lambda post: len(post.split())).astype("int64"),
    )
    logger.info("Repaired %s posts, %s distinct texts", len(posts), posts["text_id"].nunique())
    return posts


def split_posts(posts: Table) -> Table:
    """Give every post a split: upstream where there is one, else derived by a fixed rule."""
    from mental_slm.pipelines.ingestion import splitting

    split = posts["split"].copy()
    for dataset, rule in (
        ("DepSeverity", splitting.split_depseverity),
        ("ISEAR", splitting.split_isear),
    ):
        rows = posts["dataset"] == dataset
        if rows.any():
            split[rows] = rule(posts[rows])
    return posts.assign(split=split).drop(columns="key")


def forget_posts(posts: Table, options: IngestionOptions) -> tuple[Table, dict[str, Any]]:
    """Leave out what somebody asked to forget, in every dataset that holds the same text.

    This comes after the split, so that forgetting one post moves no other across a border.

    Returns:
        The other posts, and what was forgotten: the ``text_ids`` (hashes; later stages delete by
        them) and the number of ``posts`` by dataset.

    Raises:
        ValueError: An id of a selected dataset that no post has.
    """
    from mental_slm.pipelines.ingestion import forgetting

    gone = forgetting.find_forgotten(posts, options.forget)
    counts = posts.loc[gone, "dataset"].value_counts().sort_index()
    forgotten = {
        "text_ids": sorted(set(posts.loc[gone, "text_id"])),
        "posts": {str(dataset): int(count) for dataset, count in counts.items()},
    }
    if gone.any():
        logger.info("Forgot %d posts, as ingestion.forget asks", gone.sum())
    return posts[~gone].reset_index(drop=True), forgotten


def clean_posts(posts: Table, options: IngestionOptions) -> tuple[Table, Table]:
    """Judge every post: kept, quarantined (a person may look) or dropped.

    Returns:
        All posts with a ``reason`` (missing for kept ones), and the quarantine, which holds ids
        and reasons but no text.
    """
    from mental_slm.pipelines.ingestion import cleaning

    judged = posts.assign(reason=cleaning.find_reasons(posts, options.min_words))
    doubtful = judged[judged["reason"].isin(cleaning.QUARANTINE_REASONS)]
    where = doubtful["source_path"] + ", row " + doubtful["source_row"].astype("str")
    quarantine = doubtful.assign(detail=where)[list(QUARANTINE_COLUMNS)].reset_index(drop=True)
    return judged, quarantine


def guard_corpus(judged: Table, options: IngestionOptions) -> tuple[Table, dict[str, Any]]:
    """Take the kept posts as the corpus, after making sure that no split repeats another.

    Returns:
        The corpus, and the counts of leaking posts for every pair of parts before and after.

    Raises:
        LeakageError: A post stands on both sides of a split.
    """
    from mental_slm.pipelines.ingestion import guard

    kept = judged[judged["reason"].isna()]
    leaks_before = guard.find_leaks(judged, options.near_duplicate)
    leaks_after = guard.find_leaks(kept, options.near_duplicate)
    report = {
        "near_duplicate": options.near_duplicate,
        "before": guard.count_leaks(judged, leaks_before),
        "after": guard.count_leaks(kept, leaks_after),
    }
    guard.refuse_leaks(leaks_after)
    return kept[list(CORPUS_COLUMNS)].reset_index(drop=True), report


def count_ingestion(
    judged: Table,
    quarantine: Table,
    corpus: Table,
    forgotten: dict[str, Any],
    leakage: dict[str, Any],
    annotation: Table,
    profile: Table,
    options: IngestionOptions,
    **files: RawFile,
) -> dict[str, Any]:
    """Count what came in and what became of it; report, figures and cards are made from this.

    Args:
        judged: All posts but the forgotten ones, with the ``reason`` of those that were removed.
        quarantine: The doubtful posts.
        corpus: The posts that were kept.
        forgotten: What ``ingestion.forget`` left out.
        leakage: The leakage report.
        annotation: StudEmo's ratings.
        profile: StudEmo's means per text.
        options: The options of the run.
        files: The raw files of all datasets, by the name of their catalog entry.

    Returns:
        Numbers, names and sources; no text and no id of any post.

    Raises:
        RuntimeError: Posts were lost: rows in are not forgotten + kept + quarantined + dropped.
    """
    from mental_slm import __version__
    from mental_slm.pipelines.ingestion import counting

    sources = counting.list_sources(files, profile, options)
    rows = counting.count_rows(judged, forgotten["posts"])
    counting.check_rows(rows, corpus, quarantine, sources)
    for dataset, count in rows.items():
        logger.info("%s: %d in, %d kept", dataset, count["in"], count["kept"])
    kept = judged[judged["reason"].isna()]
    datasets = [dataset for dataset in rows if dataset != counting.ALL]
    return {
        "edition": "public" if any(source["repository"] for source in sources) else "sample",
        "version": __version__,
        "options": counting.describe_options(options),
        "rows": rows,
        "labels": counting.count_labels(corpus, datasets),
        "lengths": counting.measure_lengths(corpus),
        "leakage": leakage,
        "repairs": counting.count_names(kept, "repairs", datasets),
        "flags": counting.count_names(kept, "flags", datasets),
        "personal_data": counting.count_personal_data(judged, datasets),
        "studemo": counting.count_ratings(annotation, profile, sources, options),
        "sources": sources,
    }


def report_ingestion(counts: dict[str, Any]) -> str:
    """Write the report of the run in Markdown."""
    from mental_slm.pipelines.ingestion import report

    return report.write_report(counts)


def draw_ingestion(counts: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    """Draw the counts.

    Returns:
        Plotly figures: the corpus, the lengths, the removals, the leakage, the personal data.
    """
    from mental_slm.pipelines.ingestion import figures

    return (
        figures.draw_corpus(counts),
        figures.draw_lengths(counts),
        figures.draw_removals(counts),
        figures.draw_leakage(counts),
        figures.draw_personal_data(counts),
    )


def write_cards(counts: dict[str, Any]) -> dict[str, str]:
    """Write one dataset card in Markdown for each dataset of the run."""
    from mental_slm.pipelines.ingestion import cards

    return {
        dataset: cards.write_card(dataset, counts)
        for dataset in counts["options"]["datasets"]
        if dataset in counts["rows"] or (dataset == "StudEmo" and counts["studemo"])
    }


def _read_optional_texts(texts: RawFile) -> Table:
    from mental_slm.pipelines.ingestion import parsers

    try:
        return parsers.read_studemo_texts(texts)
    except SourceFileError as error:
        raise SourceFileError(
            f"{error}. StudEmo's ratings work without its texts: ingestion.studemo_texts=false"
        ) from error


def _append(names: Any, more: Any) -> Any:
    """Join two columns of lists row by row; parquet hands lists back as arrays."""
    import pandas as pd

    joined = [[*first, *second] for first, second in zip(names, more, strict=True)]
    return pd.Series(joined, index=names.index, dtype="object")
