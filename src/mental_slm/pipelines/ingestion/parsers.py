"""Reading the upstream formats: one function per format, each returning a table of posts.

The facts about the formats were counted on the pinned files; each reader refuses what it does not
know, naming the file and the row (counted from 0, like ``source_row``), and never skips a bad line.
Authors, URLs and post ids are turned into salted hashes here and go no further, and no message
quotes a text.
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

#: Characters of the longest field that is taken for data: three times what Reddit lets anybody
#: post, and the limit of Python's csv module (which other libraries raise as they please).
_LONGEST_FIELD = 131_072

#: What may be quoted of a cell that is no label: a number or one short word.
_LABEL_LIKE = re.compile(r" ?[\w.+-]{0,12} ?")

#: Ids in StudEmo are whole numbers; above this a float, as the file writes them, is not exact.
_LARGEST_ID = 2**53


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
    columns = ("text", "label", "post_id", "sentence_range", "confidence")
    table = _read_csv(raw, columns, lossy=True)
    _refuse_repeats(raw, table, ["post_id", "sentence_range"])
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
    text = _extract(raw, table["post"], r"^Post: (.*)$", 'does not begin with "Post: "')
    return _dr_posts(raw, split, text, table["response"])


def read_dr_test(raw: RawFile) -> pd.DataFrame:
    """Read the DR test file: columns ``query`` (post and question in one) and ``gpt-3.5-turbo``."""
    table = _read_csv(raw, ("query", "gpt-3.5-turbo"))
    # Greedy: a post may itself hold the word "Question:", the last one opens the question.
    text = _extract(
        raw, table["query"], r"^Post: (.*)Question:", 'is not "Post: ...", then "Question: ..."'
    )
    return _dr_posts(raw, "test", text, table["gpt-3.5-turbo"])


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
    table = _read_csv(raw, ("", "title", "selftext", "is_suicide", "author"))
    _refuse_repeats(raw, table, [""])
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
    table = _read_piped(raw, ("SIT", "Field1", "ID", "MYKEY"), free="SIT")
    _refuse_repeats(raw, table, ["MYKEY"])
    posts = _posts(
        raw,
        "ISEAR",
        text=table["SIT"].map(_isear_text),
        label_raw=table["Field1"],
        labels={label: label for label in TASKS["emotion"].labels},
        group=_hash_groups(table["ID"], "ISEAR", salt),
    )
    broken = table["SIT"].str.contains(_ISEAR_LINE_BREAK, regex=False)
    posts = _mark(posts, "repairs", "isear_linebreak", broken)
    return _mark(posts, "flags", "bracketed", table["SIT"].str.lstrip().str.startswith("["))


def read_studemo_ratings(raw: RawFile) -> pd.DataFrame:
    """Read StudEmo's ratings: ``text_id``, ``annotator_id`` and the ten dimensions, all integers.

    Raises:
        SourceFileError: A value that is no whole number, or outside the range of its dimension, or
            a second rating of a text by one annotator, which would count twice.
    """
    columns = ("text_id", "annotator_id", *EMOTION_DIMENSIONS)
    table = _read_csv(raw, columns)
    for column in columns:
        low, high = EMOTION_DIMENSIONS.get(column, (0, _LARGEST_ID))
        table[column] = _whole_numbers(raw, table[column], low, high)
    _refuse_repeats(raw, table, ["text_id", "annotator_id"])
    return table


def read_studemo_texts(raw: RawFile) -> pd.DataFrame:
    """Read StudEmo's texts: columns ``text_id`` and ``text``; rows without text are left out.

    Raises:
        SourceFileError: An id that is no whole number, or that stands for two different texts.
    """
    table = _read_csv(raw, ("text_id", "text"))
    table["text_id"] = _whole_numbers(raw, table["text_id"], 0, _LARGEST_ID)
    table = table[table["text"].str.strip() != ""].drop_duplicates()
    _refuse_repeats(raw, table, ["text_id"])
    return table.reset_index(drop=True)


def twin_texts(raw: RawFile) -> pd.Series:
    """Return DepSeverity's texts in file order: those of Dreaddit train, then Dreaddit test."""
    return _read_csv(raw, ("text",))["text"]


# --- shared by the readers -----------------------------------------------------------------------


def _wrong(raw: RawFile, problem: str) -> SourceFileError:
    """Return the error for a file that has the expected bytes, but not the expected content.

    That is a file made or changed by hand, since a pinned one was verified before.
    """
    return SourceFileError(
        f"{raw.local_copy() or raw.filepath}: {problem}; correct the file and its `source` in "
        "conf/base/catalog_ingestion.yml, or leave the dataset out (ingestion.datasets)"
    )


def _decode(raw: RawFile, lossy: bool = False) -> str:
    content = raw.fetch().read_bytes()
    nul = content.find(b"\0")
    if nul >= 0:
        raise _wrong(raw, f"byte {nul} is NUL (UTF-16, or no text at all?)")
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if not lossy:
            raise _wrong(raw, f"byte {error.start} is not UTF-8") from error
    text = content.decode(errors="replace")
    damaged = text.count("\ufffd") - content.count("\ufffd".encode())
    logger.info("%s: %d undecodable byte runs", raw.name, damaged)
    return text.removeprefix("\ufeff")


def _read_csv(raw: RawFile, columns: tuple[str, ...], lossy: bool = False) -> pd.DataFrame:
    """Read a CSV as text, strictly: every row complete, no guessing of types or missing values.

    pandas' reader is not used: it fills short rows and shifts long ones without a word.
    """
    reader = csv.reader(io.StringIO(_decode(raw, lossy), newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        places = _fields(raw, header, columns)
        for fields in reader:
            _check_fields(raw, len(rows), fields, header, f" (line {reader.line_num})")
            rows.append([fields[place] for place in places])
    except csv.Error as error:
        raise _wrong(
            raw, f"row {len(rows)} (line {reader.line_num}) cannot be read as CSV: {error}"
        ) from error
    _check_rows(raw, len(rows))
    return pd.DataFrame(rows, columns=list(columns), dtype="str")


def _read_piped(raw: RawFile, columns: tuple[str, ...], free: str) -> pd.DataFrame:
    """Read fields between ``|`` without quoting, where the field ``free`` may hold ``|`` itself."""
    header, *lines = _decode(raw).replace("\r\n", "\n").rstrip("\n").split("\n")
    names = header.split("|")
    places = _fields(raw, names, columns)
    start = names.index(free)
    after = len(names) - start - 1
    rows = []
    torn = 0
    for row, line in enumerate(lines):
        fields = line.split("|")
        end = len(fields) - after
        torn += end > start + 1
        if end > start:
            fields = [*fields[:start], "|".join(fields[start:end]), *fields[end:]]
        _check_fields(raw, row, fields, names)
        rows.append([fields[place] for place in places])
    logger.info("%s: %d texts hold the separator", raw.name, torn)
    _check_rows(raw, len(rows))
    return pd.DataFrame(rows, columns=list(columns), dtype="str")


def _check_fields(
    raw: RawFile, row: int, fields: list[str], header: list[str], line: str = ""
) -> None:
    if len(fields) != len(header):
        raise _wrong(raw, f"row {row}{line} has {len(fields)} fields instead of {len(header)}")
    longest = max(range(len(fields)), key=lambda place: len(fields[place]))
    if len(fields[longest]) > _LONGEST_FIELD:
        raise _wrong(
            raw,
            f"row {row}{line}, column {header[longest]}: {len(fields[longest]):,} characters, but "
            f"no post has more than {_LONGEST_FIELD:,}",
        )


def _check_rows(raw: RawFile, rows: int) -> None:
    if raw.source.rows is not None and rows != raw.source.rows:
        raise _wrong(raw, f"{rows:,} rows, but the catalog says {raw.source.rows:,}")


def _fields(raw: RawFile, header: list[str], columns: tuple[str, ...]) -> list[int]:
    """Return the places of ``columns``: by name, since files of one dataset differ in order."""
    missing = [_column(name) for name in columns if name not in header]
    if missing:
        raise _wrong(raw, f"missing column {', '.join(missing)} (another dataset's file?)")
    twice = [_column(name) for name in columns if header.count(name) > 1]
    if twice:
        raise _wrong(raw, f"column {', '.join(twice)} stands there twice")
    return [header.index(column) for column in columns]


def _column(name: str) -> str:
    return name or "without a name (the index)"


def _refuse_repeats(raw: RawFile, table: pd.DataFrame, columns: list[str]) -> None:
    """Refuse a second row with the same upstream id, which is always unique; the id stays unsaid."""
    first: dict[tuple[str, ...], int] = {}
    for row, *upstream_id in table[columns].itertuples():
        earlier = first.setdefault(tuple(upstream_id), row)
        if earlier != row:
            names = " and ".join(_column(name) for name in columns)
            raise _wrong(raw, f"row {row} repeats column {names} of row {earlier}")


def _whole_numbers(raw: RawFile, values: "pd.Series[str]", low: int, high: int) -> "pd.Series[int]":
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = ~numbers.between(low, high) | (numbers % 1 != 0)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise _wrong(
            raw,
            f"row {row}, column {values.name}: value {_shown(values.iloc[row])} is not a whole "
            f"number from {low} to {high}",
        )
    return numbers.astype("int64")


def _shown(cell: str) -> str:
    """Describe a cell in a message: a number or one short word as it is, else by its length.

    Where columns have shifted, the cell of a label holds a person's words.
    """
    if _LABEL_LIKE.fullmatch(cell):
        return repr(cell)
    return f"of {len(cell):,} characters"


def _posts(
    raw: RawFile,
    dataset: str,
    text: "pd.Series[str]",
    label_raw: "pd.Series[str]",
    labels: Mapping[str, str],
    split: "str | pd.Series[str] | None" = None,
    group: "pd.Series[str] | None" = None,
) -> pd.DataFrame:
    unknown = ~label_raw.isin(list(labels))
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise _wrong(
            raw,
            f"row {row}, column {label_raw.name}: unknown label {_shown(label_raw.iloc[row])}, "
            f"allowed: {', '.join(labels)}",
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
    raw: RawFile, split: str, text: "pd.Series[str]", response: "pd.Series[str]"
) -> pd.DataFrame:
    response = response.str.strip().str.lower()
    label = _extract(raw, response, r"^(yes|no)\b", "does not begin with yes or no")
    return _posts(raw, "DR", text, label, {"yes": "yes", "no": "no"}, split)


def _extract(
    raw: RawFile, values: "pd.Series[str]", pattern: str, problem: str
) -> "pd.Series[str]":
    found = values.str.extract(re.compile(pattern, re.DOTALL), expand=False)
    if found.isna().any():
        row = int(found.isna().to_numpy().argmax())
        raise _wrong(raw, f"row {row}, column {values.name} {problem}")
    return found.str.strip()


def _isear_text(situation: str) -> str:
    if "\\" in situation:
        situation = situation.replace('\\"', '"').replace("\\", '"').removesuffix('"')
    return situation.replace(_ISEAR_LINE_BREAK, " ").replace("|", " ")
