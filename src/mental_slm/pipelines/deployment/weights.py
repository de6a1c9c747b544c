"""The weights of a model folder, read one at a time, so that exporting never holds a whole model."""

import json
from pathlib import Path
from typing import Any

import numpy as np


class WeightFiles:
    """All tensors of the safetensors files of a folder, by name.

    Args:
        folder: A model in the Hugging Face format.

    Raises:
        FileNotFoundError: The folder holds no safetensors.
    """

    def __init__(self, folder: Path):
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"{folder}: no *.safetensors; run the fine_tuning pipeline")
        self._folder = folder
        self._entries: dict[str, tuple[Path, list[int]]] = {
            name: (file, entry["shape"])
            for file in files
            for name, entry in _header(file).items()
            if name != "__metadata__"
        }

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._entries)

    def shape(self, name: str) -> list[int]:
        """Return the shape of a weight without reading it.

        Raises:
            KeyError: No such weight.
        """
        return self._entry(name)[1]

    def read(self, name: str, transpose: bool = False) -> np.ndarray[Any, Any]:
        """Read a weight as float32.

        Args:
            name: As in the files.
            transpose: Return ``[in, out]`` for a linear layer's ``[out, in]``.

        Raises:
            KeyError: No such weight.
        """
        from safetensors import safe_open

        with safe_open(self._entry(name)[0], framework="pt") as file:
            tensor = file.get_tensor(name).float()
        array: np.ndarray[Any, Any] = tensor.numpy()
        return np.ascontiguousarray(array.T) if transpose else array

    def _entry(self, name: str) -> tuple[Path, list[int]]:
        if name not in self._entries:
            raise KeyError(f"{self._folder}: its safetensors hold no weight named {name}")
        return self._entries[name]


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return dict(json.loads(file.read(length)))
