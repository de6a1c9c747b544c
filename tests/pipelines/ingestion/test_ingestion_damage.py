"""Every damage to every raw file ends in a sentence that says where and what to do, without text."""

import csv
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from damage_table import (
    HARMLESS,
    PRIVATE,
    REFUSED,
    ROW,
    TABLES,
    Sheet,
    describe,
    drop_column,
    has_text,
    parse,
    put_text,
    raw_file,
)

from mental_slm.datasets.remote_file import RawFile, SourceFileError
from mental_slm.pipelines.ingestion import nodes, repair
from mental_slm.pipelines.ingestion.options import IngestionOptions

ROW_NAMED = rf"row {ROW}\b"
SAID = {
    "one byte differs": r"digest is [0-9a-f]{64}, expected [0-9a-f]{64}",
    "cut short": r"it has [\d,]+ of [\d,]+ bytes",
    "empty": "the file is empty",
    "HTML page": "this is an HTML page",
    "cut short, catalog adapted": r"row \d+|rows, but the catalog says|not UTF-8",
    "column missing": "missing column LABEL",
    "column there twice": "column LABEL stands there twice",
    "unknown label": rf"{ROW_NAMED}, column LABEL",
    "text in the place of the label": rf"{ROW_NAMED}, column LABEL",
    "row lost": "rows, but the catalog says",
    "field lost": rf"{ROW_NAMED}.* has \d+ fields instead of \d+",
    "field too many": rf"{ROW_NAMED}.* has \d+ fields instead of \d+",
    "quote left open": r"row \d+ \(line \d+\) cannot be read as CSV: unexpected end of data",
    "undecodable byte": r"byte \d+ is not UTF-8",
    "NUL byte": r"byte \d+ is NUL",
    "UTF-16": r"byte \d+ is NUL \(UTF-16",
    "field of 10 MB": rf"{ROW_NAMED}.*131,?072",
    "id there twice": rf"{ROW_NAMED} repeats column .* of row {ROW - 1}",
}
NAMED = [pytest.param(table, id=table.entry) for table in TABLES]
WITH_TEXT = [pytest.param(table, id=table.entry) for table in TABLES if has_text(table)]


def refused(table, folder, content, pinned=False):
    """Return the message of the refusal, having looked for words of a post in all of it."""
    with pytest.raises(SourceFileError) as caught:
        parse(table, folder, content, pinned)
    said, error = [], caught.value
    while error is not None:  # what a traceback would print
        said.append(str(error))
        error = error.__cause__ or error.__context__
    assert PRIVATE[:12] not in "".join(said)
    if table.text:
        sheet = Sheet.of(table)
        texts = [sheet.cell(table.text, row) for row in range(len(sheet.rows))]
        openings = {text.removeprefix(table.opening)[:20] for text in texts}
        assert not any(opening in "".join(said) for opening in openings if len(opening) == 20)
    return said[0]


def posts_of(table, folder, content=None):
    """Return what the node made of a file: posts, or StudEmo's ratings beside its texts."""
    found = parse(table, folder, content)
    if isinstance(found, tuple):
        annotation, profile = found
        found = annotation.merge(profile[["text_id", "text"]], on="text_id")
    else:
        found = found.drop(columns=["source_sha256"])
        found["text"] = found["text"].map(lambda text: repair.repair_text(text)[0])
    return found


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        pytest.param(damage, table, id=f"{damage.name}-{table.entry}")
        for damage in REFUSED
        for table in TABLES
        if damage.applies(table)
    ],
)
def test_a_damaged_file_is_refused(damage, table, tmp_path):
    said = refused(table, tmp_path, damage.change(table), damage.pinned)
    assert Path(table.facts["filepath"]).name in said
    assert re.search(SAID[damage.name].replace("LABEL", re.escape(table.label)), said), said
    remedy = r"mental_slm\.sample" if damage.pinned else r"correct the file.*ingestion\.datasets"
    assert re.search(remedy, said)
    assert ("ingestion.studemo_texts=false" in said) == (table.entry == "studemo_texts")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        pytest.param(table, column, id=f"{table.entry}-{column or 'index'}")
        for table in TABLES
        for column in table.columns
    ],
)
def test_every_column_that_is_read_is_missed(table, column, tmp_path):
    said = refused(table, tmp_path, drop_column(table, column))
    assert f"missing column {column or 'without a name (the index)'}" in said


@pytest.mark.parametrize("table", NAMED)
@pytest.mark.parametrize("damage", [pytest.param(d, id=d.name) for d in HARMLESS])
def test_the_form_of_a_file_does_not_matter(damage, table, tmp_path):
    content = damage.change(table)
    assert content != table.content
    pd.testing.assert_frame_equal(
        posts_of(table, tmp_path / "damaged", content), posts_of(table, tmp_path / "whole")
    )


def test_crlf_does_not_stick_to_the_last_column(tmp_path):
    table = next(table for table in TABLES if table.entry == "isear")
    content = HARMLESS[0].change(table).replace(b"\n", b"\r\n")  # the respondents come last
    whole = posts_of(table, tmp_path / "whole")
    pd.testing.assert_frame_equal(posts_of(table, tmp_path / "damaged", content), whole)


#: Texts that other readers lose: missing values by name, emoji held together by joiners, marks and
#: selectors, and scripts written from right to left.
TEXTS = [
    "None",
    "NA",
    "nan",
    "null",
    "<NA>",
    "we are 👩‍👩‍👧‍👦 and 👍🏽 and 🏴󠁧󠁢󠁥󠁮󠁧󠁿 and ❤️‍🔥",
    "אני לא ישן כבר שבוע",
    "لا أستطيع النوم منذ أسبوع",
    "می‌خواهم بخوابم",
    "he said שלום and left",
    "আমি ঘুমাতে পারি না",
]


@pytest.mark.parametrize("table", WITH_TEXT)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_the_text_it_is(table, text, tmp_path):
    found = posts_of(table, tmp_path, put_text(text)(table))["text"]
    assert found.notna().sum() == posts_of(table, tmp_path)["text"].notna().sum()
    expected = Sheet.of(table).cell("title") + "\n\n" + text if "sdcnl" in table.entry else text
    assert repair.repair_text(expected)[0] in found.tolist()
    assert repair.repair_text(text) == (text, [])


def test_direction_marks_go_and_the_words_stay():
    marked = "\u202bאני\u200f לא \u2067ישן\u2069\u061c"
    assert repair.repair_text(marked) == ("אני לא ישן", ["invisible"])


@pytest.mark.parametrize("table", [t for t in TABLES if t.dataset == "Dreaddit"], ids=str)
def test_dreaddit_is_read_with_its_undecodable_bytes(table, tmp_path, caplog):
    caplog.set_level("INFO")
    whole = parse(table, tmp_path)["text"]
    known = [int(n) for n in re.findall(r"(\d+) undecodable", caplog.text)]
    caplog.clear()
    content = Sheet.of(table).put_text("caf~~ at night").content().replace(b"~~", b"\xe9\xff")
    damaged = parse(table, tmp_path, content)["text"]
    assert (damaged != whole).sum() == 1 and "caf\ufffd\ufffd at night" in damaged.tolist()
    now = [int(n) for n in re.findall(r"(\d+) undecodable", caplog.text)]
    assert sum(now) == sum(known) + 2


@pytest.mark.parametrize("table", WITH_TEXT)
def test_a_giant_field_is_refused_whatever_other_libraries_allow(table, tmp_path):
    before = csv.field_size_limit(sys.maxsize)  # as scipy does on import
    try:
        said = refused(table, tmp_path, put_text("a" * 140_000)(table))
    finally:
        csv.field_size_limit(before)
    assert re.search(rf"row {ROW}.*column {table.text}: 140,\d+ characters", said)


@pytest.mark.parametrize(
    "unit",
    [
        "a", "a.", "1", "+1-234-", "555-0142-", "@abc", "u/abc/", "a@b", "a@b.cc-", "amp;",
        "&#38;", "&amp;amp;", "&am\u200bp;", "e\u200b\u0301", " \n", "\u00a0 ", "http://",
    ],
)  # fmt: skip
def test_the_longest_field_is_repaired_in_one_go(unit):
    """A pattern that looks back again and again would need minutes or hours for these."""
    text = "&" * (unit == "amp;") + unit * (131_072 // len(unit))
    repaired, _ = repair.repair_text(text)
    assert repair.repair_text(repaired) == (repaired, [])


def clean(table, folder, content):
    """Run a dataset with one changed file through all nodes but the guard."""
    posts = parse(table, folder, content)
    twin = next(other for other in TABLES if other.entry == "depseverity")
    posts = nodes.repair_posts(nodes.unify_posts(posts), raw_file(twin, folder))
    posts, _ = nodes.forget_posts(nodes.split_posts(posts), IngestionOptions())
    return nodes.clean_posts(posts, IngestionOptions())


@pytest.mark.parametrize(
    "table", [p for p in WITH_TEXT if p.values[0].dataset in ("DepSeverity", "ISEAR", "DR")]
)
@pytest.mark.parametrize("text", ["", " ", "\u200b", "&#x200B;"])
def test_a_text_without_words_is_quarantined_and_the_rest_goes_on(table, text, tmp_path):
    judged, quarantine = clean(table, tmp_path, put_text(text)(table))
    of_file = judged["source_path"] == table.facts["source"]["file"]
    changed = judged[of_file & (judged["source_row"] == ROW)]
    assert changed["reason"].tolist() == ["too_short"]
    assert changed["record_id"].item() in quarantine["record_id"].tolist()
    assert judged["reason"].isna().sum() > len(judged) / 2


@pytest.mark.parametrize("text", ["emptypost", "", " \n "])
def test_an_sdcnl_post_without_a_body_is_its_title(text, tmp_path):
    table = next(table for table in TABLES if table.entry == "sdcnl_train")
    post = parse(table, tmp_path, put_text(text)(table)).iloc[ROW]
    assert post["text"] == Sheet.of(table).cell("title") and post["repairs"] == ["title_only"]


def test_another_text_in_dreaddit_is_noticed_by_its_twin(tmp_path):
    table = TABLES[0]
    with pytest.raises(SourceFileError, match=rf"{ROW_NAMED} is not the post") as error:
        clean(table, tmp_path, put_text(PRIVATE)(table))
    assert "dreaddit-train.csv" in str(error.value) and PRIVATE not in str(error.value)


@pytest.mark.parametrize("table", NAMED)
def test_a_file_with_a_header_alone_is_refused(table, tmp_path):
    sheet = Sheet.of(table)
    sheet.rows.clear()
    assert "0 rows, but the catalog says" in refused(table, tmp_path, sheet.content())


def test_studemo_goes_on_without_its_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("mental_slm.datasets.remote_file._RETRIES", 0)
    ratings, texts = (raw_file(table, tmp_path) for table in TABLES[-2:])
    facts = {"repository": "owner/repo", "commit": "c0ffee"}
    gone = RawFile(
        tmp_path / "gone.csv", texts.source.model_copy(update=facts), "http://127.0.0.1:9"
    )
    with pytest.raises(SourceFileError, match=r"gone\.csv[\s\S]*ingestion\.studemo_texts=false"):
        nodes.parse_studemo(ratings, gone, IngestionOptions())
    annotation, profile = nodes.parse_studemo(ratings, gone, IngestionOptions(studemo_texts=False))
    assert len(annotation) == 128 and profile["text"].isna().all()


def test_one_studemo_id_may_stand_twice_with_the_same_text(tmp_path):
    table = TABLES[-1]
    sheet = Sheet.of(table)
    sheet.rows[ROW] = list(sheet.rows[ROW - 1])
    annotation, profile = parse(table, tmp_path, sheet.content())
    assert profile["text_id"].is_unique and len(annotation) == 128


def test_the_table_of_messages_joins_files_of_which_the_same_is_said():
    lines = list(describe([REFUSED[0], HARMLESS[0]]))
    assert [line.split(" | ")[:2] for line in lines[2:4]] == [
        ["| one byte differs", "all"],
        ["| columns in another order", "all"],
    ]
