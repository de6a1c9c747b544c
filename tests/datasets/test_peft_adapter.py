"""The adapter's dataset, and with it what all datasets of references have in common."""

import json
import multiprocessing
import os
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
from kedro.io import DatasetError, Version
from killing import run_killed

from mental_slm.datasets import PeftAdapterDataset
from mental_slm.fingerprints import digest_folder


@pytest.fixture
def dataset(tmp_path: Path) -> PeftAdapterDataset:
    return PeftAdapterDataset(filepath=tmp_path / "models" / "adapter", made_by="fine_tuning")


def versioned(tmp_path: Path, load: str | None = None, save: str | None = None):
    return PeftAdapterDataset(
        filepath=tmp_path / "versions" / "adapter",
        made_by="fine_tuning",
        version=Version(load, save),
    )


def test_saves_a_copy_and_loads_its_place(
    dataset: PeftAdapterDataset, tmp_path: Path, make_adapter
) -> None:
    saved = make_adapter()
    dataset.save(saved)
    shutil.rmtree(saved.path)
    loaded = dataset.load()
    assert loaded == saved.at(tmp_path / "models" / "adapter")
    assert loaded.path.is_absolute()
    assert digest_folder(loaded.path) == saved.digest, "the note is no part of the artefact"


def test_saving_what_was_loaded_changes_nothing(dataset: PeftAdapterDataset, make_adapter) -> None:
    dataset.save(make_adapter())
    dataset.save(dataset.load())
    assert dataset.load().digest == digest_folder(dataset.load().path)


def test_a_moved_project_still_works(
    dataset: PeftAdapterDataset, tmp_path: Path, make_adapter
) -> None:
    dataset.save(make_adapter())
    (tmp_path / "models").rename(tmp_path / "moved")
    moved = PeftAdapterDataset(filepath=tmp_path / "moved" / "adapter")
    assert moved.load().path == tmp_path / "moved" / "adapter"


def test_nothing_there_says_what_to_run(dataset: PeftAdapterDataset) -> None:
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="adapter: not made yet.*kedro run --pipelines fine_tun"):
        dataset.load()


def test_preview_shows_the_config(dataset: PeftAdapterDataset, make_adapter) -> None:
    assert "kedro run --pipelines fine_tuning" in json.loads(dataset.preview())
    dataset.save(make_adapter(0.5))
    shown = json.loads(dataset.preview())
    assert shown["adapter_config"]["r"] == 8
    assert shown["validation_loss"] == 0.5
    assert shown["base_name"] == "Made-Up"


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_adapter_is_not_published(
    dataset: PeftAdapterDataset, make_adapter, name: str
) -> None:
    dataset.save(make_adapter(1.0))
    broken = make_adapter(2.0)
    (broken.path / name).unlink()
    with pytest.raises(DatasetError, match=f"{name} is missing"):
        dataset.save(broken)
    assert dataset.load().validation_loss == 1.0


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("adapter_config.json", 5, "no valid JSON"),
        ("adapter_model.safetensors", 4, "no safetensors file"),
        ("adapter_model.safetensors", 20, "cut off or no safetensors file"),
        ("adapter_model.safetensors", -1, "bytes instead of"),
    ],
)
def test_a_damaged_adapter_is_not_published(
    dataset: PeftAdapterDataset, make_adapter, name: str, size: int, words: str
) -> None:
    adapter = make_adapter()
    whole = (adapter.path / name).read_bytes()
    (adapter.path / name).write_bytes(whole[:size])
    with pytest.raises(DatasetError, match=words):
        dataset.save(adapter)
    assert not dataset.exists()


def test_damage_after_publishing_is_named_on_load(
    dataset: PeftAdapterDataset, tmp_path: Path, make_adapter
) -> None:
    dataset.save(make_adapter())
    weights = tmp_path / "models" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"adapter_model.safetensors has \d+ bytes.*kedro run"):
        dataset.load()
    weights.unlink()
    with pytest.raises(DatasetError, match="adapter_model.safetensors is missing"):
        dataset.load()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"path": ".", "files": {}, "facts": {}}'])
def test_a_damaged_note_is_named(
    dataset: PeftAdapterDataset, tmp_path: Path, make_adapter, text: str
) -> None:
    dataset.save(make_adapter())
    (tmp_path / "models" / "adapter" / "reference.json").write_text(text)
    with pytest.raises(DatasetError, match=r"reference.json: .*kedro run --pipelines fine_tuning"):
        dataset.load()


def test_takes_adapters_only(dataset: PeftAdapterDataset, make_model) -> None:
    with pytest.raises(DatasetError, match="takes a AdapterRef, not a ModelRef"):
        dataset.save(make_model())


def test_a_loss_that_is_no_number_is_refused(dataset: PeftAdapterDataset, make_adapter) -> None:
    with pytest.raises(DatasetError, match="not JSON compliant"):
        dataset.save(make_adapter(float("nan")))


def test_never_replaces_what_it_did_not_publish(tmp_path: Path, make_adapter) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="did not publish"):
        PeftAdapterDataset(filepath=tmp_path / "thesis").save(make_adapter())
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_never_replaces_its_own_versions(tmp_path: Path, make_adapter) -> None:
    versioned(tmp_path).save(make_adapter())
    with pytest.raises(DatasetError, match="versions of itself"):
        PeftAdapterDataset(filepath=tmp_path / "versions" / "adapter").save(make_adapter())
    assert versioned(tmp_path).exists()


def test_versions(tmp_path: Path, make_adapter) -> None:
    assert not versioned(tmp_path).exists()
    with pytest.raises(DatasetError, match="kedro run --pipelines fine_tuning"):
        versioned(tmp_path).load()
    for number, name in enumerate(("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z")):
        versioned(tmp_path, save=name).save(make_adapter(float(number)))
    assert versioned(tmp_path).load().validation_loss == 1.0
    pinned = versioned(tmp_path, load="2026-01-01T00.00.00.000Z")
    assert pinned.load().validation_loss == 0.0
    assert pinned.load().path.parts[-2:] == ("2026-01-01T00.00.00.000Z", "adapter")
    unknown = versioned(tmp_path, load="2025-01-01T00.00.00.000Z")
    assert not unknown.exists()
    with pytest.raises(DatasetError, match="no such version; there are 2026-01-02.*, 2026-01-01"):
        unknown.load()


def test_a_version_killed_on_the_way_does_not_count(tmp_path: Path, make_adapter) -> None:
    versioned(tmp_path, save="2026-01-01T00.00.00.000Z").save(make_adapter(1.0))
    adapter = make_adapter(2.0)
    step, seen = 0, []
    while True:
        newer = versioned(tmp_path, save=f"2026-01-02T00.00.00.{step:03}Z")
        if not run_killed(partial(newer.save, adapter), step):
            break
        newest = versioned(tmp_path).load()
        if newest.validation_loss == 2.0:
            assert newest.digest == digest_folder(newest.path)
        seen.append(newest.validation_loss)
        step += 1
    assert seen == sorted(seen)
    assert set(seen) == {1.0, 2.0}


def test_killed_at_every_step(dataset: PeftAdapterDataset, make_adapter) -> None:
    step, seen = 0, []
    while True:
        dataset.save(make_adapter(1.0))
        if not run_killed(partial(dataset.save, make_adapter(2.0)), step):
            break
        assert dataset.exists()
        loaded = dataset.load()
        assert loaded.digest == digest_folder(loaded.path)
        seen.append(loaded.validation_loss)
        step += 1
    assert seen == sorted(seen)
    assert set(seen) == {1.0, 2.0}


def test_a_reader_sees_old_or_new(dataset: PeftAdapterDataset, make_adapter) -> None:
    dataset.save(make_adapter(0.0))
    rename = os.rename

    def rename_slowly(source: Path, target: Path) -> None:
        rename(source, target)
        time.sleep(0.01)  # the old folder has stepped aside, the new one is not there yet

    def save_often() -> None:
        os.rename = rename_slowly
        for number in range(40):
            dataset.save(make_adapter(float(number % 2)))

    writer = multiprocessing.get_context("fork").Process(target=save_often)
    writer.start()
    seen = set()
    while writer.is_alive():
        loaded = dataset.load()
        seen.add(loaded.validation_loss)
    assert writer.exitcode == 0
    assert seen == {0.0, 1.0}
    assert dataset.load().digest == digest_folder(dataset.load().path)
