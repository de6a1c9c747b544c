"""SDCNL: the published counts, on a made-up pair of files in the exact upstream format."""

import csv
import hashlib
import io

import pytest
import yaml
from ingesting import CATALOG, PROJECT, ingest
from made_up_sdcnl import (
    BARE_LINKS,
    CONTRADICTED,
    DELETED,
    DIRT,
    EMPTY_POSTS,
    LABELS,
    REPEATED,
    SHARED_AUTHORS,
    TEST,
    TRAIN,
    WRONG_LENGTHS,
    make_pair,
)

from mental_slm.datasets.remote_file import RawFile, Source, SourceFileError
from mental_slm.pipelines.ingestion import cleaning, nodes
from mental_slm.pipelines.ingestion.options import IngestionOptions
from mental_slm.sample.sdcnl import HEADER

#: in, excel_error, no_response, too_short, label_conflict, duplicate, leaks, kept, train, val, test
PUBLISHED = [1895, 0, 0, 1, 8, 3, 0, 1883, 1504, 0, 379]


@pytest.fixture(scope="module")
def pair():
    return make_pair()


def raw_files(folder, pair):
    """Write the pair with the facts of the public edition, but for the digest and the size."""
    entries = yaml.safe_load((PROJECT / "conf" / "base" / CATALOG).read_text("utf-8"))
    handles = {}
    for name, content in (("sdcnl_train_file", pair.train), ("sdcnl_test_file", pair.test)):
        facts = entries[f"_{name}"]["public"]["source"]
        facts |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        path = folder / "raw" / facts["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        handles[name] = RawFile(path, Source(**facts))
    return handles


@pytest.fixture(scope="module")
def ingested(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdcnl")
    catalog = ingest(folder, inputs=raw_files(folder, pair), datasets="SDCNL")
    return catalog.load("posts"), catalog.load("corpus"), catalog


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))


def test_the_made_up_pair_has_the_upstream_format(pair):
    train, test = rows_of(pair.train), rows_of(pair.test)
    assert (len(train), len(test)) == (TRAIN, TEST) and len(HEADER) == 13 and HEADER[0] == ""
    assert pair.train.endswith(b"\n") and b"\r" not in pair.train + pair.test
    assert len({row[""] for row in train + test}) == TRAIN + TEST
    for rows, split in ((train, "train"), (test, "test")):
        place = ("train", "test").index(split)
        for label, count in LABELS[split].items():
            assert sum(row["is_suicide"] == str(label) for row in rows) == count
        assert sum("\n" in row["selftext"] for row in rows) == DIRT["newline"][place]
        assert sum("\u2019" in row["selftext"] for row in rows) == DIRT["curly"][place]
        empty = sum(row["selftext"] == "emptypost" for row in rows)
        assert empty == sum(EMPTY_POSTS[split].values())
        wrong = sum(int(row["selftext_length"]) != len(row["selftext"]) for row in rows)
        assert wrong == (WRONG_LENGTHS if split == "train" else 0)
    assert [sum(row[f"{name}_clean"] == "" for row in train) for name in
            ("selftext", "title", "author")] == [1, 18, 2]  # fmt: skip
    assert sum(row["title_clean"] == "" for row in test) == 2
    assert sum(row["selftext"] == "https://example.org/story" for row in train) == BARE_LINKS
    known = {row["author"] for row in train}
    assert sum(row["author"] in known for row in test) == SHARED_AUTHORS


def test_the_table_is_the_published_one(ingested):
    posts, corpus, _ = ingested
    judged, quarantine = nodes.clean_posts(posts, IngestionOptions())
    removed = [int((judged["reason"] == reason).sum()) for reason in cleaning.REASONS]
    splits = [int((corpus["split"] == split).sum()) for split in ("train", "val", "test")]
    assert [len(posts), *removed, len(corpus), *splits] == PUBLISHED
    assert removed[3:5] == [2 * CONTRADICTED, REPEATED] and len(quarantine) == 9


def test_the_repairs_are_the_planted_ones(ingested):
    posts, _, _ = ingested
    found = posts["repairs"].explode().value_counts().to_dict()
    both = {kind: sum(counts) for kind, counts in DIRT.items()}
    assert found == {
        "entities": both["entity"],
        "whitespace": both["double_space"] + both["nbsp"] + both["outer_space"],
        "invisible": both["zero_width"],
        "pii_url": both["url"] + BARE_LINKS,
        "pii_phone": both["long_number"],
        "title_only": sum(sum(labels.values()) for labels in EMPTY_POSTS.values()),
    }
    assert not posts["text"].str.contains("emptypost|&amp;|https?://|\u200b|\u00a0").any()
    assert posts["text"].str.contains("r/sampleboard").sum() == both["board"]
    assert posts["text"].str.contains("😔").sum() == both["emoji"]
    assert posts["text"].str.contains("\u2019").sum() == both["curly"]


def test_labels_and_groups(ingested):
    posts, _, _ = ingested
    assert posts["label"].value_counts().to_dict() == {
        "suicidal": 787 + 193,
        "depression": 729 + 186,
    }
    assert posts["group_id"].isna().sum() == DELETED
    test = posts[posts["split"] == "test"]
    train_groups = set(posts.loc[posts["split"] == "train", "group_id"].dropna())
    assert test["group_id"].isin(train_groups).sum() == SHARED_AUTHORS


def test_the_leakage_matrix_is_zero(ingested):
    assert all(
        cell["exact"] == cell["near"] == 0 for cell in ingested[2].load("leakage_report")["after"]
    )


def test_a_row_of_train_in_test_gives_way_to_test(pair, tmp_path):
    files = raw_files(tmp_path, pair)
    train, test = rows_of(pair.train), rows_of(pair.test)
    moved = {**train[700], "": "99999"}
    assert moved["selftext"] != "emptypost"
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*test, moved])
    content = buffer.getvalue().encode()
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "rows": TEST + 1}
    handle = files["sdcnl_test_file"]
    handle.filepath.write_bytes(content)
    files["sdcnl_test_file"] = RawFile(handle.filepath, handle.source.model_copy(update=facts))
    corpus = ingest(tmp_path, inputs=files, datasets="SDCNL").load("corpus")
    assert (corpus["split"] == "test").sum() == 380 and (corpus["split"] == "train").sum() == 1503


def test_the_same_index_twice_is_refused(pair, tmp_path):
    files = raw_files(tmp_path, pair)
    content = pair.train.replace(b"\n7,", b"\n6,", 1)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    handle = files["sdcnl_train_file"]
    handle.filepath.write_bytes(content)
    changed = RawFile(handle.filepath, handle.source.model_copy(update=facts))
    with pytest.raises(SourceFileError, match="row 7 repeats column without a name"):
        nodes.parse_sdcnl(changed, files["sdcnl_test_file"], IngestionOptions(datasets="SDCNL"))
