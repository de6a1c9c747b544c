"""All datasets as the catalog and kedro-viz see them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.runner import ParallelRunner

from mental_slm import datasets
from mental_slm.references import AdapterRef, ModelRef

CATALOG = """
pairs:
  type: mental_slm.datasets.ChatJSONLDataset
  filepath: data/pairs.jsonl
  made_by: augmentation
  metadata:
    kedro-viz:
      layer: model_input
      preview_args:
        nrows: 2
workspace:
  type: mental_slm.datasets.WorkspaceDataset
  filepath: data/work
base_model:
  type: mental_slm.datasets.ModelDataset
  filepath: data/base_model
  link: true
merged_model:
  type: mental_slm.datasets.ModelDataset
  filepath: data/merged_model
  made_by: fine_tuning
adapter:
  type: mental_slm.datasets.PeftAdapterDataset
  filepath: data/adapter
  made_by: fine_tuning
  versioned: true
onnx_model:
  type: mental_slm.datasets.ONNXDataset
  filepath: data/onnx
dlc:
  type: mental_slm.datasets.DLCDataset
  filepath: data/dlc
card:
  type: mental_slm.datasets.MarkdownDataset
  filepath: data/card.md
  versioned: true
cards:
  type: mental_slm.datasets.MarkdownFolderDataset
  filepath: data/cards
"""
PREVIEWS = {
    "pairs": "JSONPreview",
    "base_model": "JSONPreview",
    "merged_model": "JSONPreview",
    "adapter": "JSONPreview",
    "onnx_model": "JSONPreview",
    "dlc": "JSONPreview",
    "card": "HTMLPreview",
    "cards": "HTMLPreview",
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(tmp_path)
    return yaml.safe_load(CATALOG)


def shown_by_viz(catalog: DataCatalog, name: str) -> tuple[str | None, object]:
    from kedro_viz.models.flowchart.node_metadata import DataNodeMetadata
    from kedro_viz.models.flowchart.nodes import GraphNode

    node = GraphNode.create_data_node(
        dataset_id=name,
        dataset_name=name,
        layer=None,
        tags=set(),
        dataset=catalog[name],
        modular_pipelines=set(),
        is_free_input=False,
    )
    metadata = DataNodeMetadata(data_node=node)
    assert metadata.filepath
    return metadata.preview_type, metadata.preview


def test_looking_at_an_empty_project_makes_nothing(config: dict, tmp_path: Path) -> None:
    catalog = DataCatalog.from_config(config)
    for name in config:
        assert str(catalog[name])
        assert not catalog.exists(name)
    assert not list(tmp_path.iterdir())


def test_what_viz_shows_before_the_first_run(
    config: dict, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("kedro_viz")
    catalog = DataCatalog.from_config(config)
    for name, kind in PREVIEWS.items():
        preview_type, preview = shown_by_viz(catalog, name)
        assert preview_type == kind
        assert "kedro run" in str(preview)
    assert "could not be previewed" not in caplog.text


def test_what_viz_shows_after_a_run(config: dict, make_pairs, make_model, make_adapter) -> None:
    pytest.importorskip("kedro_viz")
    catalog = DataCatalog.from_config(config)
    catalog.save("pairs", make_pairs(5))
    catalog.save("base_model", make_model())
    catalog.save("adapter", make_adapter())
    catalog.save("card", "# Card")
    catalog.save("cards", {"one": "# One", "two": "# Two"})
    assert len(json.loads(shown_by_viz(catalog, "pairs")[1])) == 2
    assert json.loads(shown_by_viz(catalog, "base_model")[1])["layers"] == 2
    assert json.loads(shown_by_viz(catalog, "adapter")[1])["adapter_config"]["r"] == 8
    assert "<h1>Card</h1>" in shown_by_viz(catalog, "card")[1]
    assert "<h1>Two</h1>" in shown_by_viz(catalog, "cards")[1]


def test_versions_by_name(config: dict, make_adapter) -> None:
    for number, version in enumerate(("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z")):
        DataCatalog.from_config(config, save_version=version).save(
            "adapter", make_adapter(float(number))
        )
        DataCatalog.from_config(config, save_version=version).save("card", str(number))
    newest = DataCatalog.from_config(config)
    assert newest.load("adapter").validation_loss == 1.0
    assert newest.load("card") == "1"
    pinned = DataCatalog.from_config(config, load_versions={"adapter": "2026-01-01T00.00.00.000Z"})
    assert pinned.load("adapter").validation_loss == 0.0
    assert newest.load("adapter", version="2026-01-01T00.00.00.000Z").validation_loss == 0.0


def test_config_there_and_back(config: dict) -> None:
    catalog = DataCatalog.from_config(config)
    again, *_ = catalog.to_config()
    for name, entry in config.items():
        entry.pop("metadata", None)
        assert entry.items() <= again[name].items()


@pytest.mark.parametrize("name", [*PREVIEWS, "workspace"])
def test_datasets_can_be_handed_to_another_process(config: dict, name: str) -> None:
    dataset = DataCatalog.from_config(config)[name]
    again = pickle.loads(pickle.dumps(dataset))
    assert str(again) == str(dataset)
    assert again.metadata == dataset.metadata


def describe(base: ModelRef, adapter: AdapterRef) -> str:
    return f"{base.name} with r from {adapter.path.name}"


def count(pairs: list, workspace: Path) -> str:
    assert workspace.is_dir()
    return f"{len(pairs)} pairs"


def test_datasets_work_in_the_parallel_runner(
    config: dict, make_pairs, make_model, make_adapter, tmp_path: Path
) -> None:
    config["count"] = {**config["card"], "filepath": "data/count.md"}
    catalog = DataCatalog.from_config(config)
    catalog.save("pairs", make_pairs(5))
    catalog.save("base_model", make_model())
    catalog.save("adapter", make_adapter())
    nodes = [
        Node(describe, ["base_model", "adapter"], "card", name="describe"),
        Node(count, ["pairs", "workspace"], "count", name="count"),
    ]
    ParallelRunner(max_workers=2).run(Pipeline(nodes), _shared(config))
    fresh = DataCatalog.from_config(config)
    assert fresh.load("card") == "Made-Up with r from adapter"
    assert fresh.load("count") == "5 pairs"


def _shared(config: dict) -> DataCatalog:
    from kedro.io import SharedMemoryDataCatalog

    return SharedMemoryDataCatalog.from_config(config)


def test_remote_places_are_refused(config: dict) -> None:
    config["pairs"]["filepath"] = "s3://bucket/pairs.jsonl"
    with pytest.raises(DatasetError, match="only local paths"):
        _ = DataCatalog.from_config(config)["pairs"]


def test_all_arguments_are_by_name() -> None:
    for name in datasets.__all__:
        with pytest.raises(TypeError, match="positional"):
            getattr(datasets, name)("data/x")


def test_importing_the_datasets_loads_nothing_heavy() -> None:
    code = "import json, sys, mental_slm.datasets; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "transformers", "peft", "onnx", "datasets", "numpy", "pandas", "safetensors"}
    assert not heavy & set(json.loads(done.stdout))
