"""The report of a run in Markdown: what came in, what became of it, and why."""

from typing import Any

from mental_slm.pipelines.ingestion import tables
from mental_slm.pipelines.ingestion.cleaning import DROP_REASONS, QUARANTINE_REASONS
from mental_slm.pipelines.ingestion.counting import ALL
from mental_slm.pipelines.ingestion.options import DATASETS, IngestionOptions

#: What a reader has to know who sees numbers of the sample.
SAMPLE_NOTE = (
    "> These are numbers of the **synthetic sample**, which was made up to try the code out. They "
    "say nothing about the public datasets."
)


def write_report(counts: dict[str, Any]) -> str:
    """Return the report as Markdown.

    Args:
        counts: Result of the node ``count_ingestion``.
    """
    sections = [
        ("What came in and what was kept", _rows(counts)),
        ("Labels", _labels(counts)),
        ("Lengths", _lengths(counts)),
        ("Why posts were removed", _reasons(counts)),
        ("Leakage between splits", _leakage(counts)),
        ("Repairs and flags", _repairs(counts)),
        ("Personal data", _personal_data(counts)),
        ("StudEmo's ratings", _ratings(counts)),
        ("Sources", _sources(counts)),
        ("How it was made", _options(counts)),
    ]
    chapters = [f"## {title}\n\n{text}" for title, text in sections if text]
    return "\n\n".join([_opening(counts), *chapters]) + "\n"


def command(counts: dict[str, Any]) -> str:
    """Return the command that makes the same corpus, as far as it can be told in public."""
    public = IngestionOptions().model_dump(mode="json")
    changed = []
    for name, value in counts["options"].items():
        if name == "group_salt":
            changed += [] if value == "public default" else ["ingestion.group_salt=<your salt>"]
        elif name == "forget":
            changed += [f"ingestion.forget=<{value} ids>"] if value else []
        elif value != public[name]:
            shown = "+".join(value) if isinstance(value, list) else str(value).lower()
            changed.append(f"ingestion.{name}={shown}")
    if counts["edition"] != "sample":
        changed.insert(0, f"data={counts['edition']}")
    run = "kedro run --pipelines ingestion"
    return f"{run} \\\n        --params {','.join(changed)}" if changed else run


def licences(counts: dict[str, Any], dataset: str) -> str:
    """Return what the sources of a dataset state about their licence, and whom to cite."""
    stated = {(s["licence"], s["citation"]) for s in counts["sources"] if s["dataset"] == dataset}
    return "\n".join(
        f"Licence as stated: {licence}." + (f" To cite: {citation}." if citation else "")
        for licence, citation in sorted(stated)
    )


def _opening(counts: dict[str, Any]) -> str:
    rows = counts["rows"][ALL]
    leaks = sum(cell["exact"] + cell["near"] for cell in counts["leakage"]["after"])
    masked = counts["personal_data"][ALL]["any"]
    lines = [
        f"# The corpus: {rows['kept']:,} posts of {_count(len(counts['labels']), 'dataset')}",
        "",
        f"{rows['in']:,} posts came in; {rows['kept']:,} were kept: {rows['train']:,} to learn "
        f"from (train), {rows['val']:,} to choose by (val), {rows['test']:,} to judge by (test). "
        f"{leaks:,} of the {rows['val'] + rows['test']:,} held-out posts stand in a part that is "
        f"learnt from. Personal data was found and masked in {_count(masked, 'post')}.",
    ]
    if counts["edition"] == "sample":
        lines += ["", SAMPLE_NOTE]
    return "\n".join(lines)


def _rows(counts: dict[str, Any]) -> str:
    rows = counts["rows"][ALL]
    quarantined = sum(rows[reason] for reason in QUARANTINE_REASONS)
    dropped = sum(rows[reason] for reason in DROP_REASONS)
    forgotten = (
        f"`ingestion.forget` left out {_count(rows['forgotten'], 'post')}"
        if rows["forgotten"]
        else "Nobody asked to be forgotten (`ingestion.forget` is empty)"
    )
    return (
        f"{tables.rows_table(counts)}\n\n"
        "The first reason that applies counts, from left to right. Every row of every file is "
        f"accounted for: {rows['in']:,} in = {rows['forgotten']:,} forgotten + {rows['kept']:,} "
        f"kept + {quarantined:,} quarantined + {dropped:,} dropped, and the same holds for each "
        f"dataset; a run in which it does not hold is stopped. {forgotten}."
    )


def _labels(counts: dict[str, Any]) -> str:
    return tables.labels_table(counts, counts["labels"])


def _lengths(counts: dict[str, Any]) -> str:
    return (
        f"{tables.lengths_table(counts, counts['lengths'])}\n\n"
        "Posts of the corpus, repaired. p5: one post in twenty is not longer; p50: the median."
    )


def _reasons(counts: dict[str, Any]) -> str:
    return (
        f"{tables.reasons_table(counts, list(counts['labels']))}\n\n"
        "Quarantined posts are doubtful, and a person may want to look: `quarantine` holds their "
        "ids, the reason, and the file and row (`detail`), but no text. Dropped ones need no look. "
        "The texts of all, repaired and masked, are in `posts`, by `record_id`:\n\n"
        '    quarantine, posts = catalog.load("quarantine"), catalog.load("posts")\n'
        '    posts.merge(quarantine[["record_id", "reason", "detail"]], on="record_id")'
    )


def _leakage(counts: dict[str, Any]) -> str:
    leakage = counts["leakage"]
    before = sum(cell["exact"] + cell["near"] for cell in leakage["before"])
    after = sum(cell["exact"] + cell["near"] for cell in leakage["after"])
    return (
        "How many held-out posts (columns) also stand in a part that something is learnt from or "
        "chosen by (rows), for all pairs of datasets. Two posts are the same if their letters and "
        "digits are; in brackets, near copies: other texts whose word sets are at least "
        f"{leakage['near_duplicate']:.0%} alike (Jaccard). A post that stands in two parts counts "
        "twice in the sums.\n\n"
        f"**Before cleaning: {before:,}**\n\n{tables.leakage_table(leakage['before'])}\n\n"
        f"**After cleaning: {after:,}**\n\n{tables.leakage_table(leakage['after'])}\n\n"
        "A run with any number but 0 in the second table is stopped."
    )


def _repairs(counts: dict[str, Any]) -> str:
    datasets = [*counts["labels"], ALL]
    repairs = tables.names_table(counts, "repairs", tables.REPAIR_MEANING, datasets)
    flags = tables.names_table(counts, "flags", tables.FLAG_MEANING, datasets)
    return (
        f"Posts of the corpus that a repair changed:\n\n{repairs}\n\n"
        f"Posts of the corpus that carry a flag; nothing is removed for a flag:\n\n{flags}"
    )


def _personal_data(counts: dict[str, Any]) -> str:
    datasets = [*counts["labels"], ALL]
    return (
        f"{tables.personal_data_table(counts, datasets)}\n\n"
        "Looked for in all posts but forgotten ones, whether they were kept or not. Names of "
        "authors, addresses of posts and numbers of posts and respondents are no part of the "
        "texts: they became salted hashes (`group_id`) while the files were read and went no "
        "further. What these patterns do not know (a name or a place in running text) is still "
        "there: the corpus is not anonymous."
    )


def _ratings(counts: dict[str, Any]) -> str:
    ratings = counts["studemo"]
    if not ratings:
        return ""
    per_text = ", ".join(
        f"{n:,} with {_count(int(raters), 'rating')}"
        for raters, n in ratings["ratings_per_text"].items()
    )
    words = (
        f"The words of {ratings['texts_at_hand']:,} of them are at hand."
        if ratings["texts_at_hand"]
        else "Their words are not at hand."
    )
    forgotten = (
        f" {_count(ratings['forgotten'], 'rating')} of {ratings['in']:,} forgotten."
        if ratings["forgotten"]
        else ""
    )
    return (
        f"{ratings['ratings']:,} ratings of {ratings['texts']:,} texts by "
        f"{ratings['annotators']:,} annotators: {per_text}. {words}{forgotten}\n\n"
        f"{tables.ratings_table(ratings)}"
    )


def _sources(counts: dict[str, Any]) -> str:
    present = {source["dataset"] for source in counts["sources"]}
    listed = "\n".join(f"- **{d}**: {licences(counts, d)}" for d in DATASETS if d in present)
    twin = (
        "\n\nDepSeverity's file was read for the intact texts of Dreaddit's posts alone."
        if "DepSeverity" in present and "DepSeverity" not in counts["rows"]
        else ""
    )
    return (
        f"{tables.sources_table(counts['sources'])}\n\n"
        f"Each file was verified byte for byte before it was read.{twin}\n\n{listed}"
    )


def _options(counts: dict[str, Any]) -> str:
    lines = []
    for name, value in counts["options"].items():
        shown = ", ".join(value) if isinstance(value, list) else value
        lines.append([f"`{name}`", f"{shown} ids" if name == "forget" else shown])
    made_with = f"mental-slm {counts['version']}"
    return (
        f"    {command(counts)}\n\n"
        f"With {made_with} and these options (`params:ingestion`); the salt itself is never "
        f"written down:\n\n{tables.table(['option', 'value'], lines, left=2)}\n\n"
        "The same files and options give the same bytes, on any machine. All numbers of this "
        "report are in `ingestion_counts` (JSON) as well; `corpus_figure`, `length_figure`, "
        "`removal_figure`, `leakage_figure` and `personal_data_figure` draw them, and "
        "`dataset_cards` describes each dataset."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
