import hashlib
import json
import os

import pandas as pd
import pytest
import yaml
from ingesting import CATALOG, PROJECT, ingest, load_catalog, outputs
from kedro.io.core import DatasetError
from pydantic import ValidationError

from mental_slm.datasets.remote_file import SourceFileError
from mental_slm.pipelines.ingestion import cleaning, create_pipeline, guard, nodes, repair
from mental_slm.pipelines.ingestion.options import IngestionOptions
from mental_slm.records import CORPUS_COLUMNS, QUARANTINE_COLUMNS, validate_corpus

#: in, forgotten, excel_error, no_response, too_short, label_conflict, duplicate, leaks_into_eval,
#: kept, train, val, test
PUBLIC_ROWS = {
    "DR": [1838, 0, 0, 0, 1, 0, 1, 0, 1836, 1001, 430, 405],
    "Dreaddit": [3553, 0, 4, 0, 0, 10, 14, 96, 3429, 2717, 0, 712],
    "DepSeverity": [3553, 0, 4, 0, 0, 4, 17, 99, 3429, 2717, 0, 712],
    "ISEAR": [7666, 0, 0, 100, 0, 39, 55, 0, 7472, 6711, 0, 761],
}


def run(folder, data="sample", **options):
    return ingest(folder, data, create_pipeline(), **options)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    return folder, run(folder)


def test_the_sample_becomes_a_valid_corpus(sample):
    _, catalog = sample
    corpus = catalog.load("corpus")
    validate_corpus(corpus)
    assert tuple(corpus.columns) == CORPUS_COLUMNS
    assert corpus["text_id"].tolist() == [
        repair.text_id(repair.normalise_key(text)) for text in corpus["text"]
    ]
    rows = catalog.load("ingestion_counts")["rows"]
    assert rows["all"]["kept"] == len(corpus)
    assert all(rows["all"][reason] for reason in cleaning.REASONS), "a reason never occurs"


def test_the_leakage_report_is_clean_after_and_was_not_before(sample):
    report = sample[1].load("leakage_report")
    assert sum(cell["exact"] for cell in report["before"]) > 0
    assert all(cell["exact"] == cell["near"] == 0 for cell in report["after"])
    pairs = {(cell["from"], cell["into"]) for cell in report["after"]}
    assert ("DepSeverity train", "Dreaddit test") in pairs and len(pairs) == 5 * 5 + 5 + 5


def test_the_quarantine_holds_reasons_and_no_text(sample):
    _, catalog = sample
    quarantine = catalog.load("quarantine")
    assert tuple(quarantine.columns) == QUARANTINE_COLUMNS and len(quarantine) > 0
    posts = catalog.load("posts")
    stored = quarantine.to_csv()
    removed = posts[
        posts["record_id"].isin(quarantine["record_id"]) & (posts["text"].str.len() > 9)
    ]
    assert len(removed) and not any(text in stored for text in removed["text"])


def test_studemo_has_one_profile_per_rated_text(sample):
    _, catalog = sample
    annotation, profile = catalog.load("studemo_annotation"), catalog.load("studemo_profile")
    assert profile["n_annotators"].sum() == len(annotation)
    assert profile["text_id"].is_unique and profile["text"].notna().any()
    first = profile.iloc[0]
    ratings = annotation[annotation["text_id"] == first["text_id"]]
    assert first["valence"] == ratings["valence"].mean()


def test_two_runs_give_the_same_bytes(sample, tmp_path):
    run(tmp_path)
    first = outputs(sample[0])
    assert len(first) == 21 and first == outputs(tmp_path)


def test_logs_carry_no_text(tmp_path, caplog):
    caplog.set_level("DEBUG", logger="mental_slm")
    catalog = run(tmp_path)
    assert caplog.text
    assert not any(text in caplog.text for text in catalog.load("corpus")["text"])


def test_files_of_other_datasets_are_never_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        "mental_slm.datasets.remote_file.verify", lambda content, source, *_: fetched.append(source)
    )
    catalog = run(tmp_path, datasets="Dreaddit+ISEAR")
    assert set(catalog.load("corpus")["dataset"]) == {"Dreaddit", "ISEAR"}
    assert {source.file.split("/")[0] for source in fetched} == {
        "dreaddit",
        "isear",
        "depseverity",  # Dreaddit's twin
    }
    assert len(catalog.load("studemo_annotation")) == 0
    assert set(catalog.load("posts")["dataset"]) == {"Dreaddit", "ISEAR"}


def test_leaks_stop_the_run_with_ids(sample):
    _, catalog = sample
    corpus = catalog.load("corpus")
    copy = corpus[corpus["split"] == "test"].head(1).assign(split="train", record_id="DR-copy")
    judged = pd.concat([corpus, copy], ignore_index=True).assign(reason=None)
    with pytest.raises(guard.LeakageError, match="DR-copy"):
        nodes.guard_corpus(judged, IngestionOptions())


def test_the_catalog_refuses_a_leaking_corpus(sample, tmp_path):
    catalog = load_catalog(tmp_path, "sample")
    corpus = sample[1].load("corpus")
    copy = corpus[corpus["split"] == "test"].head(1).assign(split="train", record_id="DR-copy")
    with pytest.raises(DatasetError, match="DR-copy"):
        catalog.save("corpus", pd.concat([corpus, copy]))


def test_an_unknown_dataset_is_refused_with_the_allowed_ones():
    with pytest.raises(ValidationError, match=r"unknown dataset Redit; allowed: DR, Dreaddit"):
        IngestionOptions(datasets="ISEAR+Redit")


def test_ratings_alone_are_no_corpus(tmp_path):
    with pytest.raises(DatasetError, match=r"select a labelled dataset"):
        run(tmp_path, datasets="StudEmo")


def test_the_salt_is_not_written_down():
    assert "pepper" not in IngestionOptions(group_salt="pepper").model_dump_json()


def test_the_parameter_file_states_the_defaults():
    text = (PROJECT / "conf" / "base" / "parameters_ingestion.yml").read_text("utf-8")
    assert IngestionOptions.model_validate(yaml.safe_load(text)["ingestion"]) == IngestionOptions()


def test_the_catalog_knows_the_committed_sample():
    """When the sample has been made anew, this test prints the values for the catalog."""
    entries = yaml.safe_load((PROJECT / "conf" / "base" / CATALOG).read_text("utf-8"))
    changed = []
    for name, entry in entries.items():
        if name.startswith("_") and "sample" in entry:
            content = (PROJECT / entry["sample"]["filepath"]).read_bytes()
            now = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            if not now.items() <= entry["sample"]["source"].items():
                changed.append(f"{name}.sample.source: {json.dumps(now)} and `rows`")
    assert not changed, f"put into conf/base/{CATALOG}:\n" + "\n".join(changed)


def test_a_missing_public_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("mental_slm.datasets.remote_file._RETRIES", 0)
    catalog = load_catalog(tmp_path, "public")
    raw = catalog.load("isear_file")
    nowhere = type(raw)(tmp_path / "isear.csv", raw.source, "http://127.0.0.1:9")
    with pytest.raises(SourceFileError, match=r"sinmaniphel/py_isear_dataset.*Check the network"):
        nodes.parse_isear(nowhere, IngestionOptions(datasets="ISEAR"))


@pytest.mark.mirror
@pytest.mark.skipif("MENTAL_SLM_MIRROR" not in os.environ, reason="MENTAL_SLM_MIRROR is not set")
def test_the_public_files_give_the_published_counts(tmp_path):
    catalog = run(tmp_path, "public", datasets=(*PUBLIC_ROWS, "StudEmo"), studemo_texts=False)
    rows = catalog.load("ingestion_counts")["rows"]
    assert {name: [*rows[name].values()] for name in PUBLIC_ROWS} == PUBLIC_ROWS
    corpus = catalog.load("corpus")
    assert not corpus["text"].str.contains("[\u0080-\u009f\ufffd]").any()
    assert len(catalog.load("studemo_annotation")) == 7463
    assert catalog.load("studemo_profile")["n_annotators"].value_counts().to_dict() == {
        1: 2901,
        2: 2281,
    }
