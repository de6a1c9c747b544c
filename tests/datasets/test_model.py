import json
from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import run_killed

from mental_slm.datasets import ModelDataset
from mental_slm.references import ModelRef

PYPROJECT = '[tool.kedro]\npackage_name = "a"\nproject_name = "a"\nkedro_init_version = "1.7.0"\n'


@pytest.fixture
def dataset(tmp_path: Path) -> ModelDataset:
    return ModelDataset(filepath=tmp_path / "models" / "merged", made_by="fine_tuning")


def test_a_real_model_is_published_whole(dataset: ModelDataset, tiny_model: ModelRef) -> None:
    dataset.save(tiny_model)
    loaded = dataset.load()
    assert loaded.at(tiny_model.path) == tiny_model
    assert (loaded.path / "tokenizer.json").is_file()
    shown = json.loads(dataset.preview())
    assert shown["family"] == "llama"
    assert (shown["layers"], shown["hidden_size"], shown["vocabulary"]) == (2, 64, 49152)
    assert shown["parameters"] == tiny_model.parameters
    assert shown["digest"] == tiny_model.digest


def test_a_link_costs_nothing(tmp_path: Path, make_model) -> None:
    model = make_model()
    dataset = ModelDataset(filepath=tmp_path / "base_model", link=True)
    dataset.save(model)
    assert [path.name for path in (tmp_path / "base_model").iterdir()] == ["reference.json"]
    assert dataset.load() == model
    assert json.loads(dataset.preview())["layers"] == 2


def test_a_linked_model_moves_with_its_project(tmp_path: Path, make_model) -> None:
    project = tmp_path / "project"
    model = make_model(folder=project / "data" / "base" / "made-up")
    (project / "pyproject.toml").write_text(PYPROJECT)
    ModelDataset(filepath=project / "data" / "one" / "base_model", link=True).save(model)
    project.rename(tmp_path / "moved")
    moved = ModelDataset(filepath=tmp_path / "moved" / "data" / "one" / "base_model", link=True)
    assert moved.load().path == tmp_path / "moved" / "data" / "base" / "made-up"


def test_a_linked_model_elsewhere_stays_where_it_is(tmp_path: Path, make_model) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PYPROJECT)
    model = make_model(folder=tmp_path / "cache" / "made-up")
    ModelDataset(filepath=project / "base_model", link=True).save(model)
    (tmp_path / "deep").mkdir()
    project.rename(tmp_path / "deep" / "moved")
    moved = ModelDataset(filepath=tmp_path / "deep" / "moved" / "base_model", link=True)
    assert moved.load().path == tmp_path / "cache" / "made-up"


def test_a_linked_model_that_is_gone_is_named(tmp_path: Path, make_model) -> None:
    model = make_model()
    dataset = ModelDataset(filepath=tmp_path / "base", link=True, made_by="fine_tuning")
    dataset.save(model)
    (model.path / "config.json").unlink()
    with pytest.raises(DatasetError, match=r"config.json is missing.*--pipelines fine_tuning"):
        dataset.load()


def test_other_weights_are_not_taken(dataset: ModelDataset, make_model) -> None:
    model = make_model()
    (model.path / "model.safetensors").rename(model.path / "pytorch_model.bin")
    with pytest.raises(DatasetError, match=r"no \*.safetensors"):
        dataset.save(model)


def test_all_parts_of_the_weights_must_be_there(dataset: ModelDataset, make_model) -> None:
    model = make_model()
    parts = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model.path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    with pytest.raises(DatasetError, match="model-00002-of-00002.safetensors is missing"):
        dataset.save(model)


def test_a_missing_folder_is_named(dataset: ModelDataset, make_model, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere.*config.json is missing"):
        dataset.save(make_model().at(tmp_path / "nowhere"))


def test_a_link_killed_at_every_step(tmp_path: Path, make_model) -> None:
    dataset = ModelDataset(filepath=tmp_path / "base", link=True)
    old = make_model(folder=tmp_path / "old")
    new = make_model(1.0, folder=tmp_path / "new")
    step, seen = 0, []
    while True:
        dataset.save(old)
        if not run_killed(lambda: dataset.save(new), step):
            break
        seen.append(dataset.load().path.name)
        step += 1
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"old", "new"}
