"""References go to JSON and back, and move with their artefact."""

import json
from pathlib import Path

import pytest

from mental_slm.references import AdapterRef, DLCRef, ModelRef, OnnxRef, Reference

REFERENCES = [
    ModelRef(path=Path("m"), digest="0", name="M", family="llama", origin="hub", parameters=7),
    AdapterRef(path=Path("a"), digest="1", base_name="M", base_digest="0", validation_loss=0.5),
    OnnxRef(
        path=Path("o"),
        digest="2",
        model_file="model.onnx",
        precision="int8",
        opset=20,
        size_bytes=9,
        source_digest="0",
    ),
    DLCRef(path=Path("d"), digest="3", soc="sm8750", source_digest="2"),
    DLCRef(path=Path("d"), digest="", soc="sm8750", source_digest="2", skipped_because="no SDK"),
]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: type(reference).__name__)
def test_json_and_back(reference: Reference) -> None:
    text = json.dumps(reference.to_json())
    assert type(reference).from_json(json.loads(text)) == reference


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: type(reference).__name__)
def test_moves(reference: Reference) -> None:
    moved = reference.at(Path("new"))
    assert moved.path == Path("new")
    assert moved.at(reference.path) == reference


def test_an_unknown_or_missing_key_is_an_error() -> None:
    data = REFERENCES[0].to_json()
    with pytest.raises(TypeError, match="colour"):
        ModelRef.from_json({**data, "colour": "red"})
    del data["family"]
    with pytest.raises(TypeError, match="family"):
        ModelRef.from_json(data)
