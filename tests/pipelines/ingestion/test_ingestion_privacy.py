"""Who wrote a post, and what, is in no output and no log but where it belongs.

Everything that a run writes is searched for the names, addresses and numbers that stand in the raw
files: tables are decoded cell by cell, JSON value by value, all other files as text, and the log at
its most talkative. A name counts as found only as a word of its own, since six letters of a post's
id also occur inside hashes. Ids that are English words would have to be told apart from the word in
a text; neither the sample nor the public files hold such an id.
"""

import csv
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ingesting import ingest
from made_up_sdcnl import make_pair
from test_ingestion_sdcnl import raw_files

from mental_slm.datasets.remote_file import RawFile
from mental_slm.pipelines.ingestion import cleaning, create_pipeline, parsers, repair

#: Columns of the raw files that tell people and posts apart.
PRIVATE_COLUMNS = {
    "dreaddit_train_file": ("post_id",),
    "dreaddit_test_file": ("post_id",),
    "sdcnl_train_file": ("author", "url"),
    "sdcnl_test_file": ("author", "url"),
    "isear_file": ("ID", "MYKEY"),
}

#: Where texts belong; all other outputs and the log must hold none.
WITH_TEXT = {"posts.parquet", "corpus.parquet", "studemo_profile.parquet"}

#: Characters of a text that identify it.
OPENING = 30


@dataclass(frozen=True)
class Run:
    """One run: its outputs, its log, and its raw files."""

    folder: Path
    log: str
    catalog: Any
    files: dict[str, RawFile]

    def table(self, name: str) -> pd.DataFrame:
        return self.catalog.load(name)

    def outputs(self) -> list[Path]:
        return [path for path in sorted((self.folder / "data").rglob("*")) if path.is_file()]


def run_everything(folder: Path, data: str, files: dict[str, RawFile], **options: Any) -> Run:
    """Run the whole pipeline and catch what every logger says."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        catalog = ingest(folder, data, create_pipeline(), inputs=files, **options)
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    return Run(
        folder, said.getvalue(), catalog, {name: catalog.load(name) for name in PRIVATE_COLUMNS}
    )


MIRROR = (
    pytest.mark.mirror,
    pytest.mark.skipif(
        "MENTAL_SLM_MIRROR" not in os.environ, reason="MENTAL_SLM_MIRROR is not set"
    ),
)


def about_the_public_files(test):
    for mark in MIRROR:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Run:
    return run_everything(tmp_path_factory.mktemp("sample"), "sample", {})


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Run:
    """Run on the public files; the made-up pair stands in for SDCNL's, which are not at hand."""
    folder = tmp_path_factory.mktemp("public")
    return run_everything(folder, "public", raw_files(folder, make_pair()), studemo_texts=False)


@pytest.fixture(params=["sample", pytest.param("public", marks=MIRROR)])
def run(request) -> Run:
    return request.getfixturevalue(request.param)


def private_cells(run: Run) -> dict[str, set[str]]:
    """Return what must not be found, by raw file and column."""
    found = {}
    for name, columns in PRIVATE_COLUMNS.items():
        content = run.files[name].fetch().read_bytes().decode("utf-8", "replace")
        if name == "isear_file":
            header, *lines = content.rstrip("\n").split("\n")
            places = {column: header.split("|").index(column) for column in columns}
            fields = [line.split("|") for line in lines]
            # the key stands behind the text, so it is counted from the end
            ends = {"ID": 0, "MYKEY": places["MYKEY"] - places["ID"]}
            rows = [{column: line[ends[column]] for column in columns} for line in fields]
        else:
            rows = list(csv.DictReader(io.StringIO(content, newline="")))
        for column in columns:
            cells = {row[column] for row in rows} - {"", "[deleted]"}
            if column == "url":  # the part that leads to one post
                cells = {cell.rstrip("/").split("/")[-1] for cell in cells}
            found[f"{name} {column}"] = cells
    return found


def strings_of(path: Path) -> Iterator[str]:
    """Yield everything that a file says, decoded."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        for column in table:
            yield from (
                " ".join(map(str, cell)) if hasattr(cell, "__len__") and not isinstance(cell, str)
                else str(cell)
                for cell in table[column]
            )  # fmt: skip
    elif path.suffix == ".json":
        yield from _leaves(json.loads(path.read_text("utf-8")))
    else:
        yield path.read_text("utf-8")


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield str(value)


def words_of(texts: Iterator[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[\w-]+", text)}


def test_no_name_address_or_number_of_the_raw_files_leaves_the_parsers(run):
    private = private_cells(run)
    assert all(len(cells) > 3 for cells in private.values())
    searched = {path.name: words_of(strings_of(path)) for path in run.outputs()}
    searched["the log"] = words_of(iter([run.log]))
    assert len(searched) > 10 and "SDCNL" in searched["the log"]
    for place, words in searched.items():
        for column, cells in private.items():
            assert not words & cells, f"{column} in {place}"


def test_the_search_finds_what_is_planted(run, tmp_path):
    """Without this, a search that looks at nothing would pass."""
    for column, cells in private_cells(run).items():
        name = sorted(cells)[0]
        for planted in (
            run.table("corpus").head(3).assign(text=f"by {name}, so"),
            run.table("corpus").head(3).assign(flags=[[name]] * 3),
        ):
            planted.to_parquet(tmp_path / "planted.parquet")
            assert name in words_of(strings_of(tmp_path / "planted.parquet")), column
        (tmp_path / "planted.json").write_text(json.dumps({"a": [{name: 1}]}))
        assert name in words_of(strings_of(tmp_path / "planted.json")), column


def test_groups_are_salted_and_tell_people_apart(run):
    posts = run.table("posts")
    for dataset, name, column in (
        ("Dreaddit", "dreaddit_train_file", "post_id"),
        ("ISEAR", "isear_file", "ID"),
    ):
        groups = posts.loc[posts["dataset"] == dataset, "group_id"]
        cells = private_cells(run)[f"{name} {column}"]
        unsalted = {hashlib.sha256(cell.encode()).hexdigest()[:16] for cell in cells}
        assert groups.notna().all() and not unsalted & set(groups)
        assert groups.nunique() >= len(cells)


def test_texts_stay_in_the_tables_that_are_made_of_them(run):
    texts = [*run.table("posts")["text"], *run.table("studemo_profile")["text"].dropna()]
    pieces = {
        text[start : start + OPENING]
        for text in texts
        if len(text) >= 2 * OPENING
        for start in (0, len(text) // 2 - OPENING // 2)
    }
    assert len(pieces) > 300
    others = [path for path in run.outputs() if path.name not in WITH_TEXT]
    assert {path.name for path in run.outputs()} - {path.name for path in others} == WITH_TEXT
    searched = {path.name: "\n".join(strings_of(path)) for path in others}
    for place, said in {**searched, "the log": run.log}.items():
        assert not [len(piece) for piece in pieces if piece in said], place


def test_no_personal_data_is_left_in_a_text(run):
    left = re.compile(r"https?://\w|www\.\w|\w@\w+\.\w|(?<!\w)u/\w{3}|(?<![\w.])\d{7,}(?!\w)")
    for name in ("posts", "corpus"):
        text = run.table(name)["text"]
        found = text[text.str.contains(left)]
        assert found.empty, run.table(name).loc[found.index, "record_id"].tolist()


def test_the_quarantine_says_where_and_why_only(run):
    quarantine = run.table("quarantine")
    assert set(quarantine["reason"]) <= set(cleaning.QUARANTINE_REASONS)
    assert quarantine["detail"].str.fullmatch(r"[\w./-]+, row \d+").all()


# --- the checklist of the public files ------------------------------------------------------------


@about_the_public_files
def test_undecodable_runs_and_separators_are_reported(public):
    assert re.findall(r"(\d+) undecodable byte runs", public.log) == ["8", "3"]
    assert re.findall(r"(\d+) texts hold the separator", public.log) == ["163"]


@about_the_public_files
def test_nothing_of_the_damage_is_left(public):
    for name in ("posts", "corpus"):
        text = public.table(name)["text"]
        assert not text.str.contains("[\u0080-\u009f\ufffd\u200b\u200e\u00a0]").any()
        assert not text.str.contains("â€|Ã©|\\\\xa0").any()  # mojibake of quotes and accents
    restored = public.table("posts")["repairs"].map(
        lambda names: "encoding_from_depseverity" in names
    )
    assert restored.sum() == 722  # 761 against the older copy, which lacks 39 zero-width spaces


@about_the_public_files
def test_the_ids_are_the_published_ones(public):
    posts = public.table("posts")
    assert len(posts) == posts["record_id"].nunique() == 18505
    real = posts[posts["dataset"] != "SDCNL"]
    assert (len(real), real["text_id"].nunique()) == (16610, 12865)
    # the published 14,753 hold 1,888 distinct texts of SDCNL, of which the made-up pair has as many
    assert posts["text_id"].nunique() == 14753
    assert posts["label"].notna().all() and set(posts["split"]) == {"train", "val", "test"}


@about_the_public_files
def test_the_sums_are_the_published_ones(public):
    corpus = public.table("corpus")
    assert corpus["split"].value_counts().to_dict() == {"train": 14650, "val": 430, "test": 2969}
    assert public.table("quarantine")["reason"].value_counts().to_dict() == {
        "excel_error": 8, "no_response": 100, "too_short": 2, "label_conflict": 61,
    }  # fmt: skip


@about_the_public_files
def test_isear_glues_no_words(public):
    posts = public.table("posts")
    posts = posts[posts["dataset"] == "ISEAR"].set_index("source_row")["text"]
    lines = public.files["isear_file"].fetch().read_bytes().decode().rstrip("\n").split("\n")[1:]
    assert len(lines) == len(posts) == 7666
    for row, line in enumerate(lines):
        answer = "|".join(line.split("|")[40:-2])
        words = re.split(r"[\s|á]+", re.sub(r'[\\"]', "", answer).strip(" |á"))
        found = re.sub('"', "", posts[row]).split()
        assert [word for word in words if word] == found, f"row {row}"


@about_the_public_files
def test_studemo_has_its_ratings(public):
    annotation, profile = public.table("studemo_annotation"), public.table("studemo_profile")
    assert (len(annotation), len(profile)) == (7463, 5182)
    assert annotation["annotator_id"].nunique() == 25
    assert not annotation.duplicated(["text_id", "annotator_id"]).any()
    scores = annotation[list(parsers.EMOTION_DIMENSIONS)]
    for dimension, (low, high) in parsers.EMOTION_DIMENSIONS.items():
        assert scores[dimension].between(low, high).all() and scores[dimension].dtype == "int64"
        assert profile[dimension].between(low, high).all()
    assert (scores.min().tolist(), scores.max().tolist()) == (
        [0, 0, 0, 0, 0, 0, 0, 0, -3, 0],
        [3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
    )
    assert profile["n_annotators"].value_counts().to_dict() == {1: 2901, 2: 2281}
    assert round(profile["n_annotators"].mean(), 2) == 1.44 and profile["text"].isna().all()
    one = profile[profile["n_annotators"] == 2].iloc[0]
    rows = annotation[annotation["text_id"] == one["text_id"]]
    assert all(one[name] == rows[name].sum() / 2 for name in parsers.EMOTION_DIMENSIONS)


@about_the_public_files
def test_a_repaired_public_text_needs_no_repair(public):
    for text in public.table("corpus")["text"]:
        assert repair.repair_text(text) == (text, [])
