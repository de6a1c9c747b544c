"""Options of the formats for other runtimes."""

from typing import Literal

from pydantic import Field

from mental_slm.options import Options

GgufType = Literal["f16", "q8_0", "q4_0"]


class CpuOptions(Options):
    """Models for onnxruntime-genai and llama.cpp, and what stops the run."""

    genai: bool = Field(
        description="Make a folder for onnxruntime-genai with 4-bit weights. Without the extra "
        "'genai' it is left out, and the log says so."
    )
    gguf: list[GgufType] = Field(
        description="GGUF files for llama.cpp and Ollama. f16: as good as the original; q8_0: half "
        "of that; q4_0: a quarter and rough (embedding and head stay q8_0). Empty: none."
    )
    int4_max_kl: float = Field(
        gt=0,
        description="Gate: mean Kullback-Leibler divergence per token of 4-bit weights, in nats.",
    )
    int4_max_kl_share: float = Field(
        gt=0, description="Gate: the same as a share of what the model knows."
    )
    int4_min_top1: float = Field(
        ge=0, le=1, description="Gate: same first choice where the original is decided."
    )
    int4_min_task: float = Field(
        ge=0, le=1, description="Gate: same label where the original's label is decided."
    )
    int4_max_size_share: float = Field(
        gt=0, le=1, description="Gate: bytes of the 4-bit ONNX model over those of the float32 one."
    )
    gguf_prompts: int = Field(
        ge=1,
        description="How many of the compared pairs each GGUF file is read back for; the check runs "
        "in torch and takes its time.",
    )
