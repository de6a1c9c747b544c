"""Dataset cards: prose that a person wrote (``dataset_cards/<dataset>.md``) around the numbers of a run."""

from pathlib import Path
from string import Template
from typing import Any

from mental_slm.pipelines.ingestion import tables
from mental_slm.pipelines.ingestion.report import SAMPLE_NOTE, command, licences
from mental_slm.safety import INTENDED_USE

#: The prose of the cards. ``$name`` stands for a part of :func:`write_card`.
CARDS = Path(__file__).with_name("dataset_cards")


def write_card(dataset: str, counts: dict[str, Any]) -> str:
    """Return the card of a dataset as Markdown.

    Args:
        dataset: A dataset that the run ingested.
        counts: Result of the node ``count_ingestion``.

    Raises:
        FileNotFoundError: Nobody has written the prose of the card yet.
        ValueError: The prose asks for a part that does not exist.
    """
    path = CARDS / f"{dataset}.md"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {dataset} has no card; write one (docs/data.md says how, the others show it)"
        )
    parts = {
        "edition": _edition(counts),
        "licence": licences(counts, dataset),
        "sources": _sources(dataset, counts),
        "use": INTENDED_USE,
        **(
            _rating_parts(counts) if dataset not in counts["rows"] else _post_parts(dataset, counts)
        ),
    }
    try:
        return Template(path.read_text("utf-8")).substitute(parts)
    except KeyError as error:
        raise ValueError(
            f"{path}: no part is called ${error.args[0]}; there are: "
            + ", ".join(f"${name}" for name in sorted(parts))
        ) from error


def _post_parts(dataset: str, counts: dict[str, Any]) -> dict[str, str]:
    """Return the parts of a dataset of labelled posts."""
    only = [dataset]
    return {
        "rows": tables.rows_table(counts, only),
        "labels": tables.labels_table(counts, only),
        "lengths": tables.lengths_table(counts, only),
        "repairs": tables.names_table(counts, "repairs", tables.REPAIR_MEANING, only),
        "flags": tables.names_table(counts, "flags", tables.FLAG_MEANING, only),
        "personal_data": tables.personal_data_table(counts, only),
    }


def _rating_parts(counts: dict[str, Any]) -> dict[str, str]:
    """Return the parts of StudEmo, which has ratings in the place of labels."""
    ratings = counts["studemo"]
    summary = [
        ["rows in the file", ratings["in"]],
        ["forgotten", ratings["forgotten"]],
        ["ratings kept", ratings["ratings"]],
        ["rated texts", ratings["texts"]],
        ["of these, words at hand", ratings["texts_at_hand"]],
        ["annotators", ratings["annotators"]],
        *(
            [f"texts with {raters} rating{'' if raters == '1' else 's'}", texts]
            for raters, texts in ratings["ratings_per_text"].items()
        ),
    ]
    return {
        "rows": tables.table(["", "number"], summary),
        "ratings": tables.ratings_table(ratings),
    }


def _sources(dataset: str, counts: dict[str, Any]) -> str:
    """List the files of the dataset with all that identifies them, and how to make the corpus."""
    lines = []
    for source in counts["sources"]:
        if source["dataset"] == dataset:
            digest = source["sha256"] or source["git_blob"]
            rows = "" if source["rows"] is None else f"{source['rows']:,} rows, "
            place = (
                f"{source['repository']} at commit `{source['commit']}`"
                if source["repository"]
                else "this repository (`data/01_raw/sample`)"
            )
            lines.append(
                f"- `{source['file']}` in {place}: {rows}{source['bytes']:,} bytes, "
                f"{'sha256' if source['sha256'] else 'git blob'} `{digest}`"
            )
    return "\n".join(lines) + f"\n\nMade with:\n\n    {command(counts)}"


def _edition(counts: dict[str, Any]) -> str:
    if counts["edition"] == "sample":
        return f"{SAMPLE_NOTE} The prose describes the public dataset that the sample stands for."
    return (
        "> Numbers in tables are those of this run; numbers in the prose are of the public files."
    )
