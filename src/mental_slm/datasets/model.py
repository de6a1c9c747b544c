"""Models in the Hugging Face format."""

import os
from pathlib import Path
from typing import Any, ClassVar

from kedro.io import Version
from kedro.utils import find_kedro_project

from mental_slm.datasets.reference import ReferenceDataset, file_sizes, format_note, read_json
from mental_slm.datasets.safetensors_file import count_weights
from mental_slm.references import FILE_NAME, ModelRef, Reference
from mental_slm.storage import atomic_folder

INDEX_FILE = "model.safetensors.index.json"


class ModelDataset(ReferenceDataset[ModelRef]):
    """A model folder: ``config.json``, safetensors weights, tokenizer.

    Example of a catalog entry::

        base_model:
          type: mental_slm.datasets.ModelDataset
          filepath: data/06_models/smollm2/base_model
          link: true
    """

    reference_type: ClassVar[type[Reference]] = ModelRef

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        link: bool = False,
        made_by: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Set up the dataset; nothing is read or made yet.

        Args:
            filepath: The local folder.
            link: Note only where the model lies instead of publishing a copy, for a base model
                in a cache. Inside a project the noted path is relative, so that a moved project
                still works.
            made_by: The pipeline that makes it; named in the message if it is missing.
            version: Set by Kedro where the catalog says ``versioned: true``.
            metadata: Not used here; kedro-viz reads its layer and preview arguments from it.
        """
        super().__init__(filepath=filepath, made_by=made_by, version=version, metadata=metadata)
        self.link = link

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "link": self.link}

    def _inspect(self, reference: ModelRef) -> dict[str, Any]:
        config = read_json(reference.path / "config.json")
        check_weights(reference.path)
        return {
            "layers": config.get("num_hidden_layers"),
            "hidden_size": config.get("hidden_size"),
            "vocabulary": config.get("vocab_size"),
            "context": config.get("max_position_embeddings"),
        }

    def _publish(self, reference: ModelRef, facts: dict[str, Any], folder: Path) -> None:
        if not self.link:
            super()._publish(reference, facts, folder)
            return
        model = reference.path.absolute()
        note = format_note(reference, noted_path(model, folder), file_sizes(model), facts)
        with atomic_folder(folder) as incoming:
            (incoming / FILE_NAME).write_bytes(note.encode("utf-8"))


def check_weights(folder: Path) -> None:
    """Check that a model folder has weights, and all parts of them.

    Raises:
        ValueError: Names the file that is missing or damaged.
    """
    found = {path.name for path in folder.glob("*.safetensors")}
    if (folder / INDEX_FILE).is_file():
        found |= set(read_json(folder / INDEX_FILE).get("weight_map", {}).values())
    if not found:
        raise ValueError("no *.safetensors in it; other weight formats are not read")
    for name in sorted(found):
        count_weights(folder / name)


def noted_path(model: Path, folder: Path) -> str:
    """Return how a note in ``folder`` speaks of ``model``: relative inside the same project."""
    project = find_kedro_project(folder)
    if project is not None and model.is_relative_to(project):
        return Path(os.path.relpath(model, folder)).as_posix()
    return str(model)
