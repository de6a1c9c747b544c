"""``ingestion.forget``: a post that somebody wants gone is gone, with every copy of its text."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from ingesting import ingest
from pydantic import ValidationError
from test_ingestion_privacy import strings_of

from mental_slm.pipelines.ingestion import create_pipeline
from mental_slm.pipelines.ingestion.options import IngestionOptions

TABLES = ("posts", "corpus", "quarantine")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return ingest(tmp_path_factory.mktemp("whole"), pipeline=create_pipeline())


def forget(folder, *ids, **options):
    return ingest(folder, pipeline=create_pipeline(), forget="+".join(ids), **options)


def twin_of(whole, split):
    """Return a Dreaddit post whose text DepSeverity has too."""
    posts = whole.load("posts")
    shared = posts[posts["dataset"] == "DepSeverity"]["text_id"]
    own = (posts["dataset"] == "Dreaddit") & (posts["split"] == split)
    return posts[own & posts["text_id"].isin(shared) & (posts["n_words"] > 9)].iloc[0]


@pytest.mark.parametrize("form", ["record_id", "text_id"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_one_id_takes_the_post_and_its_copies_away_and_moves_nobody(whole, tmp_path, form, split):
    post = twin_of(whole, split)
    before = whole.load("posts")
    copies = before[before["text_id"] == post["text_id"]]
    assert {"Dreaddit", "DepSeverity"} <= set(copies["dataset"])
    after = forget(tmp_path, post[form])
    for name in TABLES:
        left = whole.load(name)
        left = left[left["text_id"] != post["text_id"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(after.load(name), left)
    assert json.loads(json.dumps(after.load("forgotten"))) == {
        "text_ids": [post["text_id"]],
        "posts": copies["dataset"].value_counts().sort_index().to_dict(),
    }
    rows = after.load("ingestion_counts")["rows"]
    for dataset, count in copies["dataset"].value_counts().items():
        assert rows[dataset]["forgotten"] == count


def test_nothing_of_it_is_left_in_any_output(whole, tmp_path):
    post = twin_of(whole, "train")
    copies = whole.load("posts").query("text_id == @post.text_id")["record_id"]
    forget(tmp_path, post["record_id"])
    searched = 0
    for path in sorted((tmp_path / "data").rglob("*")):
        if path.is_file():
            said = "\n".join(strings_of(path))
            assert post["text"][:40] not in said, path.name
            assert not [name for name in copies if name in said], path.name
            # the hash stays in one place, by which later stages delete what they made of the text
            assert (post["text_id"] in said) == (path.name == "forgotten.json"), path.name
            searched += 1
    assert searched > 15


def test_a_quarantined_post_is_forgotten_too(whole, tmp_path):
    quarantine = whole.load("quarantine")
    doubtful = quarantine[quarantine["reason"] == "no_response"].iloc[0]
    after = forget(tmp_path, doubtful["record_id"])
    assert doubtful["text_id"] not in set(after.load("quarantine")["text_id"])
    assert len(after.load("quarantine")) < len(quarantine)


def test_several_ids_and_studemo(whole, tmp_path):
    profile, annotation = whole.load("studemo_profile"), whole.load("studemo_annotation")
    review = int(profile["text_id"].iloc[3])
    ids = whole.load("corpus")["record_id"].iloc[[0, 7]].tolist()
    after = forget(tmp_path, *ids, f"StudEmo-{review}")
    assert not set(ids) & set(after.load("posts")["record_id"])
    for name, table in (("studemo_profile", profile), ("studemo_annotation", annotation)):
        left = table[table["text_id"] != review].reset_index(drop=True)
        assert len(left) < len(table)
        pd.testing.assert_frame_equal(after.load(name).reset_index(drop=True), left)


def test_what_is_made_of_the_corpus_knows_nothing_of_it(whole, project):
    """Ingestion and augmentation as a person runs them: first with the post, then without it."""
    post = twin_of(whole, "train")
    said = []
    run = [sys.executable, "-m", "kedro", "run", "--env", "test"]
    run += ["--pipelines", "ingestion,augmentation"]
    for wish in ([], ["--params", f"ingestion.forget={post['record_id']}"]):
        subprocess.run([*run, *wish], cwd=project, check=True, timeout=300, capture_output=True)
        made = [
            path
            for layer in ("04_feature", "05_model_input")
            for path in (project / "data" / layer).rglob("*")
            if path.is_file()
        ]
        assert len(made) > 3
        said.append("\n".join("\n".join(strings_of(path)) for path in made))
    with_it, without_it = said
    assert post["text_id"] in with_it and post["record_id"] in with_it
    for trace in (post["text_id"], post["record_id"], json.dumps(post["text"])[1:41]):
        assert trace not in without_it


def test_an_unknown_id_is_most_likely_a_slip(tmp_path):
    with pytest.raises(
        ValueError, match="ingestion.forget: no post has the id DR-0123456789abcdef"
    ):
        forget(tmp_path, "DR-0123456789abcdef")


def test_an_id_of_a_dataset_that_is_not_selected_is_no_slip(whole, tmp_path, caplog):
    caplog.set_level("INFO")
    post = twin_of(whole, "train")
    after = forget(tmp_path, post["record_id"], datasets="DepSeverity+ISEAR")
    assert "1 ids are of datasets that are not selected" in caplog.text
    assert post["text_id"] in set(after.load("posts")["text_id"])  # its text_id would take it away


@pytest.mark.parametrize(
    "wrong",
    ["DR-123", "Redit-0123456789abcdef", "0123456789ABCDEF", "StudEmo-x", "my post", "DR-", ""],
)
def test_a_malformed_id_is_refused_before_the_run(wrong):
    with pytest.raises(ValidationError, match="a record id is '<dataset>-<16 hex digits>'"):
        IngestionOptions(forget=(wrong,))


def test_ids_are_taken_from_a_list_and_from_the_command_line():
    ids = ("DR-0123456789abcdef", "0123456789abcdef", "StudEmo-17")
    assert IngestionOptions(forget=[*ids]).forget == IngestionOptions(forget="+".join(ids)).forget
    assert IngestionOptions(forget=ids).forgotten_studemo_texts() == (17,)
