"""Tables of the ingestion in Markdown, made from its counts, and the words that explain them.

The report and the dataset cards share them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from mental_slm.pipelines.ingestion.cleaning import QUARANTINE_REASONS, REASONS
from mental_slm.pipelines.ingestion.counting import ALL, PERSONAL_DATA
from mental_slm.tasks import DATASET_TASK, SPLITS

#: What each reason for removing a post means.
REASON_MEANING = {
    "excel_error": "The whole text is a spreadsheet error such as `#NAME?`: somebody opened the "
    "file in a spreadsheet before it was published.",
    "no_response": "The whole answer says that there is none, in the words of a fixed list (ISEAR "
    "only). The emotion beside it cannot be learnt from it.",
    "too_short": "Fewer words than `min_words` (ISEAR's short answers excepted), or none at all.",
    "label_conflict": "The same text stands in the same dataset under another label too. Nobody "
    "can tell which is right, so all of them go.",
    "duplicate": "Another post of the same dataset has the same text and label. One copy stays: "
    "test before val before train, then the first.",
    "leaks_into_eval": "A train post whose text some dataset holds out (or a val post whose text "
    "some dataset tests on). The held-out copy stays.",
}

#: What each repair did to a text; those that mask personal data are below.
REPAIR_MEANING = {
    "encoding_from_depseverity": "damaged text replaced by the intact one of DepSeverity",
    "isear_linebreak": "`á` that stood for a line break became a space",
    "title_only": "placeholder body left out, the title is the text",
    "entities": "HTML entities decoded",
    "nfc": "Unicode composed (NFC)",
    "invisible": "invisible and control characters removed",
    "whitespace": "white space collapsed",
}

#: What each flag tells about a post that was kept.
FLAG_MEANING = {
    "bracketed": "the answer stands in square brackets",
    "low_agreement": "at most 60 % of the annotators agreed on the label",
    "non_answer_broad": "may be no answer (patterns, not certain)",
    "non_english": "hardly any frequent English word",
    "very_long": "alone longer than about 512 tokens",
}

#: Personal data: the repair that masks it, its name, and the mask.
PERSONAL_DATA_KINDS = {
    "pii_url": ("URLs", "<url>"),
    "pii_email": ("e-mail addresses", "<email>"),
    "pii_user": ("user names", "<user>"),
    "pii_phone": ("phone and other long numbers", "<phone>"),
}

_SHORT_DIGEST = 12


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """Return a Markdown table, whole numbers with thousands separators.

    Args:
        header: Column titles.
        rows: Cells.
        left: How many columns are aligned to the left; the others hold numbers.
    """
    rule = [*["---"] * left, *["---:"] * (len(header) - left)]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(map(_shown, line))} |" for line in lines)


def rows_table(counts: dict[str, Any], datasets: Sequence[str] | None = None) -> str:
    """Return what came in, was removed and was kept: one line per dataset, the sums last.

    The column of forgotten posts is there only if some were forgotten.

    Args:
        counts: Result of the node ``count_ingestion``.
        datasets: Only these, without the sums.
    """
    forgot = counts["rows"][ALL]["forgotten"] > 0
    columns = ["in", *["forgotten"] * forgot, *REASONS, "kept", *SPLITS]
    chosen = [*counts["rows"]] if datasets is None else datasets
    lines = []
    for dataset in chosen:
        cells = [dataset, *(counts["rows"][dataset][column] for column in columns)]
        lines.append([f"**{_shown(cell)}**" for cell in cells] if dataset == ALL else cells)
    return table(["dataset", *columns], lines)


def labels_table(counts: dict[str, Any], datasets: Iterable[str]) -> str:
    """Return the posts per label and split, with the share of the label in its dataset."""
    lines = []
    for dataset in datasets:
        labels = counts["labels"].get(dataset, {})
        total = sum(sum(of_split.values()) for of_split in labels.values())
        for label, of_split in labels.items():
            n = sum(of_split.values())
            share = f"{n / total:.0%}" if total else ""
            lines.append([dataset, label, *(of_split[split] for split in SPLITS), n, share])
    return table(["dataset", "label", *SPLITS, "all", "share"], lines, left=2)


def lengths_table(counts: dict[str, Any], datasets: Iterable[str]) -> str:
    """Return the lengths of the posts in words and in characters."""
    measures = ("p5", "p50", "mean", "p95", "max")
    lines = [
        [
            dataset,
            *(
                counts["lengths"][dataset][unit][m]
                for unit in ("words", "characters")
                for m in measures
            ),
        ]
        for dataset in datasets
        if dataset in counts["lengths"]
    ]
    header = ["dataset", f"words {measures[0]}", *measures[1:]]
    return table([*header, f"characters {measures[0]}", *measures[1:]], lines)


def reasons_table(counts: dict[str, Any], datasets: Sequence[str]) -> str:
    """Return each reason with its number, what it means and where to look."""
    lines = []
    for reason in REASONS:
        n = sum(counts["rows"][dataset][reason] for dataset in datasets)
        where = "`quarantine`" if reason in QUARANTINE_REASONS else "`posts`, not in `corpus`"
        lines.append([f"`{reason}`", f"{n:,}", REASON_MEANING[reason], where])
    return table(["reason", "posts", "what it means", "where to look"], lines, left=4)


def names_table(
    counts: dict[str, Any], column: str, meaning: dict[str, str], datasets: Sequence[str]
) -> str:
    """Return how often each repair or flag occurs in the corpus, one column per dataset.

    Args:
        counts: Result of the node ``count_ingestion``.
        column: ``repairs`` or ``flags``.
        meaning: What each name means.
        datasets: The columns.
    """
    found = counts[column]
    names = [
        name
        for name in [*meaning, *sorted(set(found[ALL]) - set(meaning))]
        if any(name in found[dataset] for dataset in datasets)
        and not name.startswith(PERSONAL_DATA)
    ]
    if not names:
        return "None."
    lines = [
        [f"`{name}`", meaning.get(name, ""), *(found[dataset].get(name, 0) for dataset in datasets)]
        for name in names
    ]
    return table([column[:-1], "what it means", *datasets], lines, left=2)


def personal_data_table(counts: dict[str, Any], datasets: Sequence[str]) -> str:
    """Return in how many posts which kind of personal data was masked."""
    found = counts["personal_data"]
    lines = [
        [f"{title} (`{mask}`)", *(found[dataset].get(kind, 0) for dataset in datasets)]
        for kind, (title, mask) in PERSONAL_DATA_KINDS.items()
    ]
    lines.append(["posts with any", *(found[dataset]["any"] for dataset in datasets)])
    lines.append(["posts looked at", *(found[dataset]["posts"] for dataset in datasets)])
    return table(["found and masked", *datasets], lines)


def leakage_table(cells: list[dict[str, Any]]) -> str:
    """Return a matrix: in which part (rows) the held-out posts (columns) stand too."""
    learnt, held_out, found = matrix(cells)
    lines = [[part, *(_leaks(found.get((part, other))) for other in held_out)] for part in learnt]
    return table(["stands in", *(f"{part} (n = {n:,})" for part, n in held_out.items())], lines)


def matrix(
    cells: list[dict[str, Any]],
) -> tuple[list[str], dict[str, int], dict[tuple[str, str], dict[str, Any]]]:
    """Lay out the cells of the leakage report.

    Returns:
        The parts learnt from, the held-out parts with their sizes (both by dataset and split), and
        the cells by the two.
    """
    learnt = sorted({cell["from"] for cell in cells}, key=_part_order)
    held_out = sorted({cell["into"] for cell in cells}, key=_part_order)
    sizes = {cell["into"]: cell["held_out"] for cell in cells}
    by_pair = {(cell["from"], cell["into"]): cell for cell in cells}
    return learnt, {part: sizes[part] for part in held_out}, by_pair


def ratings_table(ratings: dict[str, Any]) -> str:
    """Return StudEmo's dimensions: the mean and how often each value was given."""
    values = [*range(-3, 4)]
    lines = [
        [name, f"{found['mean']:.2f}", *(found["values"].get(str(value), "") for value in values)]
        for name, found in ratings["dimensions"].items()
    ]
    return table(["dimension", "mean", *(f"rated {value}" for value in values)], lines)


def sources_table(sources: list[dict[str, Any]]) -> str:
    """Return the raw files with what identifies them: commit, size, rows and digest."""
    lines = []
    for source in sources:
        place = f"{source['repository']}: " if source["repository"] else ""
        kind = "sha256" if source["sha256"] else "git blob"
        digest = source["sha256"] or source["git_blob"]
        lines.append(
            [
                source["dataset"],
                f"{place}`{source['file']}`",
                f"`{source['commit'][:_SHORT_DIGEST]}`"
                if source["commit"]
                else "in this repository",
                f"{kind} `{digest[:_SHORT_DIGEST]}`",
                source["bytes"],
                "" if source["rows"] is None else source["rows"],
            ]
        )
    return table(["dataset", "file", "commit", "digest", "bytes", "rows"], lines, left=4)


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"{cell:,}" if isinstance(cell, int | float) else str(cell)


def _leaks(cell: dict[str, Any] | None) -> str:
    """Show a cell: exact copies, and near ones where there are any; empty where none can be."""
    if cell is None:
        return ""
    return f"{cell['exact']:,} (+{cell['near']:,})" if cell["near"] else f"{cell['exact']:,}"


def _part_order(part: str) -> tuple[int, int]:
    dataset, split = part.rsplit(" ", 1)
    return list(DATASET_TASK).index(dataset), SPLITS.index(split)
