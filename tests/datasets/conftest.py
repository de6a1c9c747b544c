"""Small real artefacts to put into the datasets."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mental_slm.fingerprints import digest_folder
from mental_slm.references import AdapterRef, ModelRef


def save_weights(path: Path, value: float) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"weight": np.full((4, 8), value, dtype="float32")}, path)


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., ModelRef]:
    def make(value: float = 0.0, folder: Path | None = None) -> ModelRef:
        folder = folder or tmp_path / "work" / "model"
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "model_type": "llama",
            "num_hidden_layers": 2,
            "hidden_size": 64,
            "vocab_size": 49152,
            "max_position_embeddings": 512,
        }
        (folder / "config.json").write_text(json.dumps(config))
        save_weights(folder / "model.safetensors", value)
        return ModelRef(
            path=folder,
            digest=digest_folder(folder),
            name="Made-Up",
            family="llama",
            origin="random",
            parameters=32,
        )

    return make


@pytest.fixture
def make_adapter(tmp_path: Path) -> Callable[..., AdapterRef]:
    def make(value: float = 0.0) -> AdapterRef:
        folder = tmp_path / "work" / "adapter"
        folder.mkdir(parents=True, exist_ok=True)
        config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "Made-Up"}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        save_weights(folder / "adapter_model.safetensors", value)
        return AdapterRef(
            path=folder,
            digest=digest_folder(folder),
            base_name="Made-Up",
            base_digest="0" * 16,
            validation_loss=value,
        )

    return make
