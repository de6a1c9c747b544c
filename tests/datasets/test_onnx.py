import json
from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import run_killed

from mental_slm.datasets import ONNXDataset
from mental_slm.fingerprints import digest_folder
from mental_slm.references import OnnxRef

OPSET = 20


def make_graph(folder: Path, value: float = 1.0) -> OnnxRef:
    """Write a real graph, y = x @ w, with its weight outside."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()  # onnx would append to external data
    weight = numpy_helper.from_array(np.full((8, 4), value, dtype="float32"), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    (folder / "tokenizer.json").write_text("{}")
    return OnnxRef(
        path=folder,
        digest=digest_folder(folder),
        model_file="model.onnx",
        precision="fp32",
        opset=OPSET,
        size_bytes=sum(path.stat().st_size for path in folder.glob("model*")),
        source_digest="0" * 16,
    )


@pytest.fixture
def dataset(tmp_path: Path) -> ONNXDataset:
    return ONNXDataset(filepath=tmp_path / "models" / "onnx", made_by="deployment")


def test_graph_weights_and_sidecars_are_published(dataset: ONNXDataset, tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "work")
    dataset.save(graph)
    loaded = dataset.load()
    assert loaded == graph.at(tmp_path / "models" / "onnx")
    assert digest_folder(loaded.path) == graph.digest

    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(loaded.path / loaded.model_file)
    (result,) = session.run(None, {"x": np.ones((1, 8), dtype="float32")})
    assert result.tolist() == [[8.0] * 4]


def test_preview_shows_inputs_and_outputs(dataset: ONNXDataset, tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "work")
    dataset.save(graph)
    shown = json.loads(dataset.preview())
    assert shown["inputs"] == ["x: float[batch, 8]"]
    assert shown["outputs"] == ["y: float[batch, 4]"]
    assert shown["opset"] == OPSET
    assert shown["size_bytes"] == graph.size_bytes


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("model.onnx", 0, "model.onnx has opset None"),
        ("model.onnx", 60, "no ONNX graph"),
        ("model.onnx.data", 100, "model.onnx.data has 100 bytes, the graph needs 128"),
    ],
)
def test_damage_is_named(
    dataset: ONNXDataset, tmp_path: Path, name: str, size: int, words: str
) -> None:
    graph = make_graph(tmp_path / "work")
    (graph.path / name).write_bytes((graph.path / name).read_bytes()[:size])
    with pytest.raises(DatasetError, match=words):
        dataset.save(graph)
    assert not dataset.exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_a_missing_file_is_named(dataset: ONNXDataset, tmp_path: Path, name: str) -> None:
    graph = make_graph(tmp_path / "work")
    (graph.path / name).unlink()
    with pytest.raises(DatasetError, match=f"{name} is missing"):
        dataset.save(graph)


@pytest.mark.parametrize("location", ["../weights.bin", "/tmp/weights.bin"])
def test_weights_outside_the_folder_are_refused(
    dataset: ONNXDataset, tmp_path: Path, location: str
) -> None:
    import onnx

    graph = make_graph(tmp_path / "work")
    model = onnx.load(graph.path / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    (graph.path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DatasetError, match="outside the folder"):
        dataset.save(graph)


def test_killed_at_every_step(dataset: ONNXDataset, tmp_path: Path) -> None:
    old, new = make_graph(tmp_path / "old", 1.0), make_graph(tmp_path / "new", 2.0)
    step, seen = 0, []
    while True:
        dataset.save(old)
        if not run_killed(lambda: dataset.save(new), step):
            break
        loaded = dataset.load()
        assert digest_folder(loaded.path) == loaded.digest
        seen.append(loaded.digest)
        step += 1
    assert set(seen) == {old.digest, new.digest}
