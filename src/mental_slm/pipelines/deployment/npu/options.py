"""Options of the line to the NPU."""

from typing import Literal

from pydantic import Field

from mental_slm.options import Options

Scheme = Literal["a16w8", "a16w4", "a8w8"]
Soc = Literal["sm8550", "sm8650", "sm8750", "sm8850"]


class CalibrationOptions(Options):
    """The rows from which the ranges of activations are taken."""

    rows: int = Field(
        ge=1,
        description="Training rows, drawn evenly over the tasks. Time, and disk of rows x blocks x "
        "cache, grow with it.",
    )
    blocks: int = Field(
        ge=1,
        description="Blocks of the prompt graph taken from each row; the second and later ones "
        "carry a filled cache.",
    )
    seed: int = Field(description="Of the draw.")


class NpuParityOptions(Options):
    """What is compared along the line, and what stops the run."""

    rows: int = Field(ge=1, description="Held-out pairs for the quantised graphs.")
    tokens: int = Field(ge=8, description="Tokens of a pair that count; at most the context.")
    decoded: int = Field(
        ge=1, description="How many of them, the last ones, go through the decode graph."
    )
    task_items: int = Field(
        ge=0,
        description="Held-out posts of which the chosen label is compared, drawn evenly over the "
        "tasks among those that fit the context; not in emulation.",
    )
    emulated_blocks: int = Field(
        ge=1, description="Blocks of the prompt graph that are run in emulation (slow)."
    )
    emulated_steps: int = Field(
        ge=1, description="Runs of the decode graph in emulation, after those blocks."
    )
    static_max_difference: float = Field(
        gt=0, description="Gate: largest difference of any logit, static graphs against torch."
    )
    quantised_min_cosine: float = Field(
        ge=-1, le=1, description="Gate: mean cosine of the logits, quantised against float."
    )
    quantised_max_kl_share: float = Field(
        gt=0,
        description="Gate: mean divergence from the float model as a share of what that knows "
        "beyond a uniform guess.",
    )
    quantised_min_top1: float = Field(
        ge=0,
        le=1,
        description="Gate: same first choice where the float model leads by a probability of 0.1.",
    )
    quantised_min_task: float = Field(
        ge=0,
        le=1,
        description="Gate: share of posts with the same label, where the float model's label leads "
        "by a share of 0.1.",
    )
    emulated_min_cosine: float = Field(
        ge=-1,
        le=1,
        description="Gate: mean cosine of the logits, the prepared container in emulation against "
        "the quantised graphs on the CPU.",
    )


class NpuOptions(Options):
    """From the merged model to containers for Qualcomm's NPU."""

    prompt_length: int = Field(
        ge=2, description="Tokens per run of the prompt graph. 128 is common on a phone."
    )
    context: int = Field(
        ge=16, description="Positions of cache and block together; both graphs have this size."
    )
    layers_per_part: int = Field(
        ge=1,
        description="Layers per graph. Fewer: less memory for quantising and preparing; a graph "
        "above 2 GB cannot be loaded on a phone.",
    )
    calibration: CalibrationOptions = Field(description="Rows for the ranges of activations.")
    scheme: Scheme = Field(
        description="Bits of activations and weights. a16w4 keeps the head in 8 bits and wants a "
        "model of billions of weights; a8w8 is the fastest and the coarsest."
    )
    parity: NpuParityOptions = Field(description="Comparison along the line.")
    backend: Literal["ort-qnn", "qairt-sdk", "none"] = Field(
        description="What makes the containers: onnxruntime-qnn (extra 'qualcomm'), the vendor's "
        "SDK (run if it is on PATH, else written down in convert.sh), or nothing."
    )
    sdk_tools: Literal["qairt", "snpe"] = Field(
        description="Names of the SDK's tools: qairt-converter and its kin, or the older snpe-*."
    )
    soc: list[Soc] = Field(
        min_length=1, description="Chips to prepare for; sm8750 is the Snapdragon 8 Elite."
    )
    step_time_limit: int = Field(
        ge=1, description="Seconds after which a step in the vendor's code is given up."
    )
