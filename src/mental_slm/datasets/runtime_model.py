"""Models in the format of a CPU runtime: an onnxruntime-genai folder, GGUF files."""

from typing import Any, ClassVar

from mental_slm.datasets.reference import ReferenceDataset
from mental_slm.references import Reference, RuntimeModelRef

#: How a file of each kind begins, where that is fixed.
MAGIC = {".gguf": b"GGUF"}


class RuntimeModelDataset(ReferenceDataset[RuntimeModelRef]):
    """A folder that a runtime loads, or a note of why there is none."""

    reference_type: ClassVar[type[Reference]] = RuntimeModelRef

    def _inspect(self, reference: RuntimeModelRef) -> dict[str, Any]:
        if not reference.model_files and not reference.skipped_because:
            raise ValueError("there is neither a model nor a reason why there is none")
        sizes = {}
        for precision, name in reference.model_files.items():
            file = reference.path / name
            if not file.is_file():
                raise ValueError(f"{name} is missing")
            magic = MAGIC.get(file.suffix, b"")
            with file.open("rb") as opened:
                if opened.read(len(magic)) != magic:
                    raise ValueError(f"{name} is no {file.suffix[1:].upper()} file")
            weights = file.parent.glob(f"{file.name}*")  # ONNX keeps weights beside the graph
            sizes[precision] = sum(part.stat().st_size for part in weights)
        return {"bytes": sizes}
