"""Every damage to every raw file, and what becomes of it.

``python tests/pipelines/ingestion/damage_table.py`` prints the table of damages and messages;
``test_ingestion_damage.py`` asserts it. The files are copies of the committed sample, which has
the upstream formats and holds made-up posts only.
"""

import csv
import hashlib
import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mental_slm.datasets.remote_file import RawFile, Source, SourceFileError
from mental_slm.pipelines.ingestion import create_pipeline
from mental_slm.pipelines.ingestion.options import IngestionOptions

PROJECT = Path(__file__).parents[3]
CATALOG = yaml.safe_load((PROJECT / "conf" / "base" / "catalog_ingestion.yml").read_text("utf-8"))
PARSERS = {
    node.name: (node.func, [name for name in node.inputs if name.endswith("_file")])
    for node in create_pipeline().nodes
    if node.name.startswith("parse_")
}

#: Stands for what a person wrote; no message may hold it.
PRIVATE = "zebra lantern by the frozen canal"

#: Row that gets damaged.
ROW = 4


@dataclass(frozen=True)
class RawTable:
    """One raw file: where it is in the catalog, and which columns the reader needs.

    Attributes:
        entry: Catalog entry without ``_file``.
        parser: Node that reads it.
        dataset: As in ``ingestion.datasets``.
        columns: What the reader asks for by name.
        label: Column with a closed set of values.
        text: Column with a person's words, where there is one.
        ids: Columns that upstream never repeats together, where there are any.
        opening: What a text begins with in the file.
        closing: What it ends with.
    """

    entry: str
    parser: str
    dataset: str
    columns: tuple[str, ...]
    label: str
    text: str | None = None
    ids: tuple[str, ...] = ()
    opening: str = ""
    closing: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        return CATALOG[f"_{self.entry}_file"]["sample"]

    @property
    def content(self) -> bytes:
        return (PROJECT / self.facts["filepath"]).read_bytes()


_DREADDIT = ("text", "label", "post_id", "sentence_range", "confidence")
_SDCNL = ("", "title", "selftext", "is_suicide", "author")
_RATINGS = tuple(
    "text_id annotator_id joy trust anticipation surprise fear sadness disgust anger valence "
    "arousal".split()
)
_DR = {"opening": "Post: "}
_DR_TEST = {"opening": "Post: ", "closing": " Question: Does the poster suffer from depression? "}

TABLES = [
    *(
        RawTable(
            f"dreaddit_{part}",
            "parse_dreaddit",
            "Dreaddit",
            _DREADDIT,
            "label",
            "text",
            ("post_id", "sentence_range"),
        )
        for part in ("train", "test")
    ),
    *(
        RawTable(
            f"sdcnl_{part}", "parse_sdcnl", "SDCNL", _SDCNL, "is_suicide", "selftext", ("",)
        )
        for part in ("train", "test")
    ),
    RawTable("depseverity", "parse_depseverity", "DepSeverity", ("text", "label"), "label", "text"),
    RawTable(
        "isear", "parse_isear", "ISEAR", ("ID", "Field1", "MYKEY", "SIT"), "Field1", "SIT",
        ("MYKEY",),
    ),
    *(
        RawTable(f"dr_{part}", "parse_dr", "DR", ("post", "response"), "response", "post", **_DR)
        for part in ("train", "val")
    ),
    RawTable(
        "dr_test", "parse_dr", "DR", ("query", "gpt-3.5-turbo"), "gpt-3.5-turbo", "query",
        **_DR_TEST,
    ),
    RawTable(
        "studemo_ratings", "parse_studemo", "StudEmo", _RATINGS, "valence",
        ids=("text_id", "annotator_id"),
    ),
    RawTable(
        "studemo_texts", "parse_studemo", "StudEmo", ("text_id", "text"), "text_id", "text",
        ("text_id",),
    ),
]  # fmt: skip


@dataclass
class Sheet:
    """A raw file as rows of cells, to change some of them and write it back in its format."""

    header: list[str]
    rows: list[list[str]]
    piped: bool
    line_end: str
    final_line_end: bool
    table: RawTable = field(repr=False)

    @classmethod
    def of(cls, table: RawTable) -> "Sheet":
        text = table.content.decode("utf-8", "surrogateescape")
        line_end = "\r\n" if "\r\n" in text else "\n"
        piped = table.dataset == "ISEAR"
        if piped:
            lines = [line.split("|") for line in text.rstrip("\n").split("\n")]
            rows = [[*line[:40], "|".join(line[40:-2]), *line[-2:]] for line in lines]
        else:
            rows = list(csv.reader(io.StringIO(text, newline="")))
        return cls(rows[0], rows[1:], piped, line_end, text.endswith("\n"), table)

    def cell(self, column: str | None, row: int = ROW) -> str:
        return self.rows[row][self.header.index(str(column))]

    def put(self, column: str | None, cell: str, row: int = ROW) -> "Sheet":
        self.rows[row][self.header.index(str(column))] = cell
        return self

    def put_text(self, text: str) -> "Sheet":
        return self.put(self.table.text, f"{self.table.opening}{text}{self.table.closing}")

    def content(self) -> bytes:
        buffer = io.StringIO(newline="")
        if self.piped:
            buffer.writelines("|".join(row) + self.line_end for row in [self.header, *self.rows])
        else:
            writer = csv.writer(buffer, lineterminator=self.line_end)
            writer.writerows([self.header, *self.rows])
        text = buffer.getvalue()
        if not self.final_line_end:
            text = text.removesuffix(self.line_end)
        return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Damage:
    """One way in which a file can be wrong.

    Attributes:
        name: What is wrong.
        change: Makes the damaged bytes.
        pinned: The catalog still asks for the undamaged bytes; otherwise somebody has put the
            digest and the size of the damaged file into the catalog, so that the reader is tested.
        applies: Tells whether a file can be damaged so.
    """

    name: str
    change: Callable[[RawTable], bytes]
    pinned: bool = False
    applies: Callable[[RawTable], bool] = lambda table: True


def has_text(table: RawTable) -> bool:
    return table.text is not None


def _has_ids(table: RawTable) -> bool:
    return bool(table.ids)


def _is_csv(table: RawTable) -> bool:
    return table.dataset != "ISEAR"


def drop_column(table: RawTable, column: str) -> bytes:
    sheet = Sheet.of(table)
    place = sheet.header.index(column)
    for row in (sheet.header, *sheet.rows):
        del row[place]
    return sheet.content()


def put_text(text: str) -> Callable[[RawTable], bytes]:
    return lambda table: Sheet.of(table).put_text(text).content()


def _flip_letter(table: RawTable) -> bytes:
    # the last letter: in the middle of the rows, whatever the format
    content = bytearray(table.content)
    place = max(content.rfind(letter) for letter in b"0123456789aeiou")
    content[place] ^= 1
    return bytes(content)


def _name_twice(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    for row in (sheet.header, *sheet.rows):
        row.insert(0, row[sheet.header.index(table.label)])
    return sheet.content()


def _reverse_columns(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    for row in (sheet.header, *sheet.rows):
        row.reverse()
    return sheet.content()


def _repeat_ids(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    for column in table.ids:
        sheet.put(column, sheet.cell(column, ROW - 1))
    return sheet.content()


def _lose_row(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    del sheet.rows[ROW]
    return sheet.content()


def _lose_field(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    sheet.rows[ROW].pop()
    return sheet.content()


def _gain_field(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    sheet.rows[ROW].append(PRIVATE)
    return sheet.content()


def _leave_quote_open(table: RawTable) -> bytes:
    return table.content.rstrip(b"\r\n") + b'\n"' + PRIVATE.encode()


def _write_bytes(marker: bytes) -> Callable[[RawTable], bytes]:
    def change(table: RawTable) -> bytes:
        column = table.text or table.label
        sheet = Sheet.of(table)
        return sheet.put(column, sheet.cell(column) + "~~").content().replace(b"~~", marker, 1)

    return change


def _other_line_ends(table: RawTable) -> bytes:
    lines = table.content.replace(b"\r\n", b"\n")
    return lines if b"\r\n" in table.content else lines.replace(b"\n", b"\r\n")


def _other_final_line_end(table: RawTable) -> bytes:
    sheet = Sheet.of(table)
    return replace(sheet, final_line_end=not sheet.final_line_end).content()


HTML = b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Not found</body></html>"

REFUSED = [
    Damage("one byte differs", _flip_letter, pinned=True),
    Damage("cut short", lambda table: table.content[: len(table.content) // 2], pinned=True),
    Damage("empty", lambda table: b"", pinned=True),
    Damage("HTML page", lambda table: HTML.ljust(len(table.content)), pinned=True),
    Damage("cut short, catalog adapted", lambda table: table.content[: len(table.content) // 2]),
    Damage("column missing", lambda table: drop_column(table, table.label)),
    Damage("column there twice", _name_twice),
    Damage(
        "unknown label", lambda table: Sheet.of(table).put(table.label, "envy").content()
    ),
    Damage(
        "text in the place of the label",
        lambda table: Sheet.of(table).put(table.label, PRIVATE).content(),
    ),
    Damage("row lost", _lose_row),
    Damage("field lost", _lose_field),
    Damage("field too many", _gain_field, applies=_is_csv),
    Damage("quote left open", _leave_quote_open, applies=_is_csv),
    Damage("undecodable byte", _write_bytes(b"\xff"), applies=lambda t: t.dataset != "Dreaddit"),
    Damage("NUL byte", _write_bytes(b"\0")),
    Damage("UTF-16", lambda table: table.content.decode(errors="replace").encode("utf-16")),
    Damage("field of 10 MB", put_text(PRIVATE * (10_000_000 // len(PRIVATE))), applies=has_text),
    Damage("id there twice", _repeat_ids, applies=_has_ids),
]  # fmt: skip

#: These are no damage to the data: the reader gives the same posts.
HARMLESS = [
    Damage("columns in another order", _reverse_columns),
    Damage("CRLF instead of LF, or the other way round", _other_line_ends),
    Damage("byte-order mark", lambda table: b"\xef\xbb\xbf" + table.content),
    Damage("final line end missing, or added", _other_final_line_end),
]


def raw_file(
    table: RawTable, folder: Path, content: bytes | None = None, pinned: bool = False
) -> RawFile:
    """Write a file and return the handle that the catalog would give for it."""
    facts = dict(table.facts["source"])
    content = table.content if content is None else content
    path = folder / facts["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if not pinned:
        facts |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content) or 1}
    facts = {key: value for key, value in facts.items() if key != "<<"}
    return RawFile(path, Source(**{"licence": "CC0-1.0", **facts}))


def parse(table: RawTable, folder: Path, content: bytes | None = None, pinned: bool = False) -> Any:
    """Run the node that reads ``table``, on the given bytes, beside its undamaged other files."""
    node, entries = PARSERS[table.parser]
    others = {f"{other.entry}_file": other for other in TABLES}
    files = [
        raw_file(table, folder, content, pinned)
        if entry == f"{table.entry}_file"
        else raw_file(others[entry], folder)
        for entry in entries
    ]
    return node(*files, IngestionOptions(datasets=(table.dataset,)))


def messages(damages: Iterable[Damage], folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield damage, file and what the reader says to it."""
    for damage in damages:
        for table in filter(damage.applies, TABLES):
            try:
                parse(table, folder, damage.change(table), damage.pinned)
                said = "is read, the same posts"
            except SourceFileError as error:
                said = re.sub(r"\b([0-9a-f]{6})[0-9a-f]{58}\b", r"\1...", str(error))
            yield damage.name, table.entry, said.replace(f"{folder}/", "")


def describe(damages: Iterable[Damage]) -> Iterator[str]:
    """Yield a Markdown table; files of which the same is said share a row."""
    rows: dict[tuple[str, str], list[tuple[str, str]]] = {}
    remedies: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for damage, entry, said in messages(damages, Path(folder)):
            problem, _, remedy = said.partition("; ")
            if remedy:
                problem += f" ({remedies.setdefault(remedy, f'remedy {len(remedies) + 1}')})"
            shape = re.sub(r"\S+\.csv|\b[0-9a-f]{6}\.{3}|[\d,]+|'.*?'|column [\w.-]+", "", problem)
            rows.setdefault((damage, shape), []).append((entry, problem))
    yield "| damage | files | message (of the first) |"
    yield "| --- | --- | --- |"
    for (damage, _), said_of in rows.items():
        files = "all" if len(said_of) == len(TABLES) else ", ".join(entry for entry, _ in said_of)
        yield f"| {damage} | {files} | {said_of[0][1]} |"
    for remedy, number in remedies.items():
        yield f"\n{number}: {remedy}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in describe(REFUSED + HARMLESS))
