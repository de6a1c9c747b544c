"""Options of the deployment pipeline."""

from typing import Literal

from pydantic import Field

from mental_slm.options import Options
from mental_slm.pipelines.deployment.cpu.options import CpuOptions
from mental_slm.pipelines.deployment.npu.options import NpuOptions


class Int8Options(Options):
    """Weight-only INT8."""

    block_size: Literal[16, 32, 64, 128, 256] = Field(
        description="Weights that share one scale. Smaller blocks: closer to the original, more "
        "bytes (4 per block)."
    )
    accuracy_level: Literal[0, 1, 4] = Field(
        description="Arithmetic of the matrix products: 1 is float32; 4 rounds activations to 8 "
        "bits per block, several times faster on a CPU; 0 leaves the choice to the runtime."
    )


class ParityOptions(Options):
    """The comparison with the original model, and what stops the run."""

    prompts: int = Field(
        ge=1,
        description="Held-out pairs compared, drawn by a hash of their id. Time grows with it.",
    )
    tokens: int = Field(
        ge=32,
        description="Tokens of a pair that count; the rest is cut. Memory grows with prompts x "
        "tokens x vocabulary x 4 bytes.",
    )
    task_items: int = Field(
        ge=0,
        description="Held-out posts of which the chosen label is compared, drawn evenly over the "
        "tasks. One run of a prompt each, for every artefact.",
    )
    task_tokens: int = Field(ge=32, description="Posts with longer prompts are not asked about.")
    stepwise_tokens: int = Field(
        ge=1, description="Tokens fed one by one, to compare decoding with a whole forward pass."
    )
    speed_tokens: int = Field(ge=4, description="Decoding steps that are timed per artefact.")
    fp32_max_difference: float = Field(
        gt=0, description="Gate: largest difference of any logit, float32 graph against torch."
    )
    int8_max_kl: float = Field(
        gt=0, description="Gate: mean Kullback-Leibler divergence per token of INT8, in nats."
    )
    int8_max_kl_share: float = Field(
        gt=0,
        description="Gate: the same as a share of what the model knows, which is the divergence of "
        "a uniform guess. It also judges nearly flat distributions (untrained weights).",
    )
    int8_min_top1: float = Field(
        ge=0,
        le=1,
        description="Gate: share of decided tokens with the same first choice. A token is decided "
        "where the first choice leads by a probability of 0.1; without any, the gate is off.",
    )
    int8_min_task: float = Field(
        ge=0,
        le=1,
        description="Gate: share of posts with the same label, where the original's first label "
        "leads by a share of 0.1; without any such post, the gate is off.",
    )


class DeploymentOptions(Options):
    """Options of the deployment pipeline."""

    data: str = Field(description="Name of the data edition, stated in the model card.")
    base_licence: str = Field(
        description="Licence of the base model, for the model card. Empty: what the project knows "
        "of its own models; for another one the bundle is refused until it is stated."
    )
    opset: Literal[18, 19, 20, 21] = Field(
        description="ONNX operator set of the graph; other converters lag behind the newest."
    )
    int8: Int8Options = Field(description="Weight-only INT8.")
    parity: ParityOptions = Field(description="Comparison with the original model.")
    max_new_tokens: int = Field(
        ge=1, description="Length at which the bundle's runner cuts an answer."
    )
    cpu: CpuOptions = Field(description="Formats for onnxruntime-genai and llama.cpp.")
    npu: NpuOptions = Field(description="The line to Qualcomm's NPU.")
