"""Reading the upstream formats: one function per format, each returning a table of posts.

The facts about the formats were counted on the pinned files; each reader refuses what it does not
know, naming the file and the row, and never skips a bad line. Authors, URLs and post ids are turned
into salted hashes here and go no further.
"""

import csv
import hashlib
import io
import logging
import re
from collections.abc import Mapping

import pandas as pd

from mental_slm.datasets.remote_file import RawFile, SourceFileError
from mental_slm.tasks import DATASET_TASK, EMOTION_DIMENSIONS, SPLITS, TASKS

logger = logging.getLogger(__name__)

#: Columns of a table of parsed posts.
POST_COLUMNS: tuple[str, ...] = (
    "record_id",
    "dataset",
    "task",
    "text",
    "label",
    "label_raw",
    "split",
    "split_source",
    "group_id",
    "source_repo",
    "source_commit",
    "source_path",
    "source_sha256",
    "source_row",
    "licence",
    "repairs",
    "flags",
)

#: What SDCNL writes where a post has a title only; the word itself would give the label away.
_SDCNL_EMPTY = "emptypost"

#: ISEAR stands for a line break by this letter.
_ISEAR_LINE_BREAK = "á"

#: Agreement among Dreaddit's annotators up to which a label counts as disputed. The public test
#: file holds 98 zeros, which are missing values and no agreement.
_LOW_AGREEMENT = 0.6


def no_posts() -> pd.DataFrame:
    """Return a table of posts without rows, for a dataset that is not selected."""
    return _typed(pd.DataFrame(columns=list(POST_COLUMNS)))


def join_posts(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of posts under one another, with typed columns and a fresh index."""
    filled = [table for table in tables if len(table)]
    return _typed(pd.concat(filled, ignore_index=True)) if filled else no_posts()


def sort_posts(posts: pd.DataFrame) -> pd.DataFrame:
    """Order posts by dataset, then file (train, val, test), then row of the file."""
    order = pd.DataFrame(
        {
            "dataset": posts["dataset"].map({name: n for n, name in enumerate(DATASET_TASK)}),
            "file": posts["split"].map({name: n for n, name in enumerate(SPLITS)}).fillna(0),
            "row": posts["source_row"],
        }
    ).sort_values(["dataset", "file", "row"])
    return posts.loc[order.index].reset_index(drop=True)


def read_dreaddit(raw: RawFile, split: str, salt: str) -> pd.DataFrame:
    """Read a Dreaddit CSV: ``text``, ``label`` (0/1), ``post_id``, ``confidence`` and more columns.

    The public file is not valid UTF-8; each undecodable run becomes U+FFFD, to be repaired later
    from DepSeverity, which holds the same posts intact.
    """
    table = _read_csv(raw, ("text", "label", "post_id", "confidence"), lossy=True)
    agreement = pd.to_numeric(table["confidence"], errors="coerce")
    posts = _posts(
        raw,
        "Dreaddit",
        text=table["text"],
        label_raw=table["label"],
        labels={"1": "yes", "0": "no"},
        split=split,
        group=_hash_groups(table["post_id"], "Dreaddit", salt),
    )
    disputed = agreement.between(0, _LOW_AGREEMENT, inclusive="right")
    return _mark(posts, "flags", "low_agreement", disputed)


def read_dr(raw: RawFile, split: str) -> pd.DataFrame:
    """Read Depression_Reddit as MentalLLaMA publishes it: columns ``post`` and ``response``.

    The label is the leading yes or no of the response; the rest of it was written by a model and
    is never taken as data.
    """
    table = _read_csv(raw, ("post", "response"))
    text = _extract(raw, "post", table["post"], r"^Post: (.*)$")
    return _dr_posts(raw, split, text, table["response"], "response")


def read_dr_test(raw: RawFile) -> pd.DataFrame:
    """Read the DR test file: columns ``query`` (post and question in one) and ``gpt-3.5-turbo``."""
    table = _read_csv(raw, ("query", "gpt-3.5-turbo"))
    # Greedy: a post may itself hold the word "Question:", the last one opens the question.
    text = _extract(raw, "query", table["query"], r"^Post: (.*)Question:")
    return _dr_posts(raw, "test", text, table["gpt-3.5-turbo"], "gpt-3.5-turbo")


def read_depseverity(raw: RawFile) -> pd.DataFrame:
    """Read DepSeverity: columns ``text`` and ``label``, without an upstream split."""
    table = _read_csv(raw, ("text", "label"))
    labels = {label: label for label in TASKS["depression_severity"].labels}
    return _posts(raw, "DepSeverity", table["text"], table["label"], labels)


def read_sdcnl(raw: RawFile, split: str, salt: str) -> pd.DataFrame:
    """Read an SDCNL CSV: ``title``, ``selftext``, ``is_suicide`` (0/1), ``author`` and more.

    The text is the title, a blank line and the body; where the body is SDCNL's placeholder for an
    empty post, the title alone.
    """
    table = _read_csv(raw, ("title", "selftext", "is_suicide", "author"))
    title_only = table["selftext"].str.strip().isin([_SDCNL_EMPTY, ""])
    text = table["title"].where(title_only, table["title"] + "\n\n" + table["selftext"])
    author = table["author"].where(~table["author"].str.strip("[] ").isin(["deleted", "removed"]))
    posts = _posts(
        raw,
        "SDCNL",
        text=text,
        label_raw=table["is_suicide"],
        labels={"1": "suicidal", "0": "depression"},
        split=split,
        group=_hash_groups(author, "SDCNL", salt),
    )
    return _mark(posts, "repairs", "title_only", title_only)


def read_isear(raw: RawFile, salt: str) -> pd.DataFrame:
    r"""Read ISEAR's export: fields between ``|``, no quoting, text with unescaped ``|`` inside.

    The fields before the text are fixed in number and so are the two after it; what lies between
    is the text. Quotes appear as ``\"`` or ``\`` and a line break as the letter ``á``.
    """
    header, *lines = _decode(raw).rstrip("\n").split("\n")
    names = header.split("|")
    label_field, person_field, text_field = _fields(raw, names, ("Field1", "ID", "SIT"))
    after_text = len(names) - text_field - 1
    rows = [line.split("|") for line in lines]
    _check_rows(raw, len(rows))
    short = [row for row, fields in enumerate(rows) if len(fields) < len(names)]
    if short:
        raise SourceFileError(
            f"{raw.filepath}: row {short[0]} has {len(rows[short[0]])} fields instead of "
            f"{len(names)}; the file is damaged, delete it to fetch it again"
        )
    situations = pd.Series(
        ["|".join(fields[text_field : len(fields) - after_text]) for fields in rows], dtype="str"
    )
    broken = situations.str.contains(_ISEAR_LINE_BREAK, regex=False)
    posts = _posts(
        raw,
        "ISEAR",
        text=situations.map(_isear_text),
        label_raw=pd.Series([fields[label_field] for fields in rows], dtype="str"),
        labels={label: label for label in TASKS["emotion"].labels},
        group=_hash_groups(pd.Series([fields[person_field] for fields in rows]), "ISEAR", salt),
    )
    posts = _mark(posts, "repairs", "isear_linebreak", broken)
    return _mark(posts, "flags", "bracketed", situations.str.lstrip().str.startswith("["))


def read_studemo_ratings(raw: RawFile) -> pd.DataFrame:
    """Read StudEmo's ratings: ``text_id``, ``annotator_id`` and the ten dimensions, all integers.

    Raises:
        SourceFileError: A value that is no whole number, or outside the range of its dimension.
    """
    columns = ("text_id", "annotator_id", *EMOTION_DIMENSIONS)
    table = _read_csv(raw, columns)[list(columns)]
    for column in columns:
        low, high = EMOTION_DIMENSIONS.get(column, (0, None))
        values = pd.to_numeric(table[column], errors="coerce")
        wrong = values.isna() | (values % 1 != 0) | (values < low)
        if high is not None:
            wrong |= values > high
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise SourceFileError(
                f"{raw.filepath}: row {row}, column {column}: {table[column].iloc[row]!r} is not a "
                f"whole number from {low} to {'any' if high is None else high}"
            )
        table[column] = values.astype("int64")
    repeated = table.duplicated(["text_id", "annotator_id"])
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        raise SourceFileError(f"{raw.filepath}: row {row} repeats a text and annotator")
    return table


def read_studemo_texts(raw: RawFile) -> pd.DataFrame:
    """Read StudEmo's texts: columns ``text_id`` and ``text``; rows without text are left out."""
    table = _read_csv(raw, ("text_id", "text"))[["text_id", "text"]]
    number = pd.to_numeric(table["text_id"], errors="coerce")
    if number.isna().any():
        row = int(number.isna().to_numpy().argmax())
        raise SourceFileError(f"{raw.filepath}: row {row}: text_id is not a number")
    table["text_id"] = number.astype("int64")
    return table[table["text"].str.strip() != ""].reset_index(drop=True)


def twin_texts(raw: RawFile) -> pd.Series:
    """Return DepSeverity's texts in file order: those of Dreaddit train, then Dreaddit test."""
    return _read_csv(raw, ("text",))["text"]


# --- shared by the readers -----------------------------------------------------------------------


def _decode(raw: RawFile, lossy: bool = False) -> str:
    content = raw.fetch().read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not lossy:
            raise SourceFileError(
                f"{raw.filepath}: byte {error.start} is not UTF-8; the file is not the upstream one"
            ) from error
    text = content.decode("utf-8-sig", errors="replace")
    logger.info("%s: %d undecodable byte runs", raw.name, len(re.findall("\ufffd+", text)))
    return text


def _read_csv(raw: RawFile, columns: tuple[str, ...], lossy: bool = False) -> pd.DataFrame:
    """Read a CSV as text, strictly: every row complete, no guessing of types or missing values.

    pandas' reader is not used: it fills short rows and shifts long ones without a word.
    """
    reader = csv.reader(io.StringIO(_decode(raw, lossy), newline=""), strict=True)
    try:
        header = next(reader, [])
        places = _fields(raw, header, columns)
        rows = []
        for row, fields in enumerate(reader):
            if len(fields) != len(header):
                raise SourceFileError(
                    f"{raw.filepath}: row {row} (line {reader.line_num}) has {len(fields)} fields "
                    f"instead of {len(header)}; the file is damaged, delete it to fetch it again"
                )
            rows.append([fields[place] for place in places])
    except csv.Error as error:
        raise SourceFileError(
            f"{raw.filepath}: line {reader.line_num} cannot be read as CSV ({error}); "
            "the file is damaged, delete it to fetch it again"
        ) from error
    _check_rows(raw, len(rows))
    return pd.DataFrame(rows, columns=list(columns), dtype="str")


def _check_rows(raw: RawFile, rows: int) -> None:
    if raw.source.rows is not None and rows != raw.source.rows:
        raise SourceFileError(
            f"{raw.filepath}: {rows:,} rows, but the catalog says {raw.source.rows:,}; "
            "correct `rows` in conf/base/catalog_ingestion.yml if the file is right"
        )


def _fields(raw: RawFile, header: list[str], columns: tuple[str, ...]) -> list[int]:
    """Return the places of ``columns``: by name, since files of one dataset differ in order."""
    missing = [column for column in columns if column not in header]
    if missing:
        raise SourceFileError(
            f"{raw.filepath}: missing column {', '.join(missing)}; is it another dataset's file?"
        )
    return [header.index(column) for column in columns]


def _posts(
    raw: RawFile,
    dataset: str,
    text: "pd.Series[str]",
    label_raw: "pd.Series[str]",
    labels: Mapping[str, str],
    split: str | None = None,
    group: "pd.Series[str] | None" = None,
) -> pd.DataFrame:
    unknown = ~label_raw.isin(list(labels))
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise SourceFileError(
            f"{raw.filepath}: row {row}: unknown label {label_raw.iloc[row][:20]!r}; "
            f"allowed: {', '.join(labels)}"
        )
    source = raw.source
    return _typed(
        pd.DataFrame(
            {
                "record_id": [record_id(dataset, source.file, row) for row in range(len(text))],
                "dataset": dataset,
                "task": DATASET_TASK[dataset],
                "text": text,
                "label": label_raw.map(labels),
                "label_raw": label_raw,
                "split": split,
                "split_source": "derived" if split is None else "upstream",
                "group_id": group,
                "source_repo": source.repository,
                "source_commit": source.commit,
                "source_path": source.file,
                "source_sha256": source.sha256,
                "source_row": range(len(text)),
                "licence": source.licence,
                "repairs": [[] for _ in range(len(text))],
                "flags": [[] for _ in range(len(text))],
            }
        )
    )


def record_id(dataset: str, source_file: str, source_row: int) -> str:
    """Return the id of a row: equal on every machine and in every run."""
    identity = "\x1f".join([dataset, source_file, str(source_row)])
    return f"{dataset}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def _typed(posts: pd.DataFrame) -> pd.DataFrame:
    """Give the columns fixed types, so that a column of nulls is stored like any other."""
    texts = [c for c in POST_COLUMNS if c not in ("source_row", "repairs", "flags")]
    return posts[list(POST_COLUMNS)].astype({**dict.fromkeys(texts, "str"), "source_row": "int64"})


def _mark(posts: pd.DataFrame, column: str, name: str, where: "pd.Series[bool]") -> pd.DataFrame:
    marked = [
        [*names, name] if hit else names for names, hit in zip(posts[column], where, strict=True)
    ]
    return posts.assign(**{column: pd.Series(marked, index=posts.index, dtype="object")})


def _hash_groups(values: "pd.Series[str]", dataset: str, salt: str) -> "pd.Series[str]":
    """Hash what tells people or posts apart; empty and missing values stay missing."""

    def hashed(value: str) -> str:
        return hashlib.sha256(f"{salt}\x1f{dataset}\x1f{value}".encode()).hexdigest()[:16]

    return values.where(values != "").map(hashed, na_action="ignore")


def _dr_posts(
    raw: RawFile, split: str, text: "pd.Series[str]", response: "pd.Series[str]", column: str
) -> pd.DataFrame:
    label = _extract(raw, column, response.str.strip().str.lower(), r"^(yes|no)\b")
    return _posts(raw, "DR", text, label, {"yes": "yes", "no": "no"}, split)


def _extract(raw: RawFile, column: str, values: "pd.Series[str]", pattern: str) -> "pd.Series[str]":
    found = values.str.extract(re.compile(pattern, re.DOTALL), expand=False)
    if found.isna().any():
        row = int(found.isna().to_numpy().argmax())
        raise SourceFileError(
            f"{raw.filepath}: row {row}: column {column} does not match {pattern!r}; "
            "is it another version of the file?"
        )
    return found.str.strip()


def _isear_text(situation: str) -> str:
    if "\\" in situation:
        situation = situation.replace('\\"', '"').replace("\\", '"').removesuffix('"')
    return situation.replace(_ISEAR_LINE_BREAK, " ").replace("|", " ")
