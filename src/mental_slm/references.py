"""References to big artefacts: where one lies, what it is, and the digest of its bytes.

The catalog carries these instead of live models: they are cheap to load, to show in kedro-viz and
to hand to another process.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

#: Where the catalog notes a reference, inside the folder of the published artefact.
FILE_NAME = "reference.json"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Common part of all references.

    Attributes:
        path: The folder (or file) of the artefact.
        digest: 16 hex digits over its content.
    """

    path: Path
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the reference as JSON-serialisable data; the inverse of :meth:`from_json`."""
        return {**asdict(self), "path": str(self.path)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild a reference.

        Raises:
            TypeError: An unknown or missing key.
        """
        return cls(**{**data, "path": Path(data["path"])})

    def at(self, path: Path) -> Self:
        """Return the same reference for a copy of the artefact at ``path``."""
        return replace(self, path=path)


@dataclass(frozen=True, kw_only=True)
class ModelRef(Reference):
    """A folder in the Hugging Face format: config, safetensors weights, tokenizer, chat template.

    Attributes:
        name: What reports call it, for example ``"SmolLM2-135M-Instruct"``.
        family: The ``model_type`` of its config, for example ``"llama"`` or ``"qwen2"``.
        origin: How it came here: ``embedded``, ``hub``, ``folder``, ``random`` or ``merged``.
        parameters: Number of weights.
    """

    name: str
    family: str
    origin: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class AdapterRef(Reference):
    """A LoRA adapter in the PEFT format.

    Attributes:
        base_name: Name of the model it was trained on.
        base_digest: Digest of that model, so that another base is refused.
        validation_loss: Mean loss per answer token on the validation pairs, in nats.
    """

    base_name: str
    base_digest: str
    validation_loss: float


@dataclass(frozen=True, kw_only=True)
class OnnxRef(Reference):
    """A folder with an ONNX graph that takes and returns a key-value cache.

    Attributes:
        model_file: Name of the graph inside the folder; weights may lie beside it.
        precision: ``fp32`` or ``int8`` (weight-only).
        opset: Version of the ONNX operator set.
        size_bytes: Size of graph and weights together.
        source_digest: Digest of the model it was made from.
    """

    model_file: str
    precision: str
    opset: int
    size_bytes: int
    source_digest: str


@dataclass(frozen=True, kw_only=True)
class DLCRef(Reference):
    """A folder of Qualcomm deep learning containers, or the plain statement that none was made.

    Attributes:
        soc: The chip they are for, for example ``"sm8750"`` (Snapdragon 8 Elite); several are
            separated by commas.
        source_digest: Digest of the ONNX model they are (or would be) made from.
        skipped_because: What is missing, where the step was skipped; empty where a file exists.
    """

    soc: str
    source_digest: str
    skipped_because: str = ""


@dataclass(frozen=True, kw_only=True)
class RuntimeModelRef(Reference):
    """A folder that a CPU runtime loads as it is, or the plain statement that none was made.

    Attributes:
        runtime: ``onnxruntime-genai`` or ``llama.cpp``.
        model_files: The models in it by precision, for example ``{"q8_0": "model-q8_0.gguf"}``.
        source_digest: Digest of the model they were made from.
        skipped_because: What is missing or switched off; empty where a model exists.
    """

    runtime: str
    model_files: dict[str, str]
    source_digest: str
    skipped_because: str = ""
