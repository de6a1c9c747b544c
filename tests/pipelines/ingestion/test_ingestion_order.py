"""The order of rows: that of the tables never matters; what that of the raw files changes.

Row order of a raw file is data in two places, both by rule: DepSeverity has no upstream split and
is split in file order, and Dreaddit's damaged texts are restored from DepSeverity by position. A
record id holds the row, so that a post can be found again in the file. Everything else is decided by
the texts.
"""

import random

import pytest
from damage_table import TABLES, Sheet, raw_file
from ingesting import PARSING, ingest, load_catalog, outputs

from mental_slm.pipelines.ingestion import create_pipeline
from mental_slm.pipelines.ingestion.options import IngestionOptions

AFTER_PARSING = create_pipeline() - PARSING


def parsed(folder):
    """Run the parsing nodes and return their tables by name."""
    catalog = load_catalog(folder)
    catalog["params:ingestion"] = IngestionOptions()
    tables = {}
    for node in PARSING.nodes:
        made = node.func(*(catalog.load(name) for name in node.inputs))
        tables |= zip(node.outputs, made if isinstance(made, tuple) else [made], strict=True)
    return tables


def test_shuffled_tables_give_the_same_bytes(tmp_path):
    tables = parsed(tmp_path / "parsed")
    shuffled = {
        name: table.sample(frac=1, random_state=3) if name.endswith("_posts") else table
        for name, table in tables.items()
    }
    assert not shuffled["dr_posts"]["record_id"].equals(tables["dr_posts"]["record_id"])
    for name, inputs in (("straight", tables), ("shuffled", shuffled)):
        ingest(tmp_path / name, pipeline=AFTER_PARSING, inputs=inputs)
    straight, mixed = (outputs(tmp_path / name) for name in ("straight", "shuffled"))
    assert any(path.endswith("corpus.parquet") for path in straight)
    assert mixed == straight


def shuffled_files(folder):
    """Shuffle the rows of every raw file; Dreaddit and DepSeverity alike, as they are twins."""
    sheets = {table.entry: Sheet.of(table) for table in TABLES}
    rng = random.Random(3)
    orders = {entry: list(range(len(sheet.rows))) for entry, sheet in sheets.items()}
    for order in orders.values():
        rng.shuffle(order)
    train = len(orders["dreaddit_train"])
    orders["depseverity"] = orders["dreaddit_train"] + [
        train + row for row in orders["dreaddit_test"]
    ]
    for entry, sheet in sheets.items():
        sheet.rows = [sheet.rows[row] for row in orders[entry]]
    return {
        f"{table.entry}_file": raw_file(table, folder, sheets[table.entry].content())
        for table in TABLES
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return shuffled_files(tmp_path_factory.mktemp("shuffled"))


def test_shuffled_files_give_the_same_texts_labels_and_splits(files, tmp_path):
    """Without DepSeverity, whose split follows the file and so decides what Dreaddit may keep."""
    what = ["dataset", "text_id", "label", "split"]
    straight, mixed = (
        ingest(tmp_path / name, inputs=inputs, datasets="DR+Dreaddit+SDCNL+ISEAR").load("corpus")
        for name, inputs in (("straight", {}), ("mixed", files))
    )
    assert mixed.value_counts(what).to_dict() == straight.value_counts(what).to_dict()
    assert set(mixed["record_id"]) != set(straight["record_id"])  # the row is a part of it


def test_shuffled_depseverity_keeps_its_texts_labels_and_sizes(files, tmp_path):
    straight, mixed = (
        ingest(tmp_path / name, inputs=inputs, datasets="DepSeverity").load("posts")
        for name, inputs in (("straight", {}), ("mixed", files))
    )
    for what in (["text_id", "label"], ["label", "split"]):
        assert mixed.value_counts(what).to_dict() == straight.value_counts(what).to_dict()
    what = ["text_id", "split"]
    assert mixed.value_counts(what).to_dict() != straight.value_counts(what).to_dict()
