"""What a training will take, and how to run it on the memory at hand, before anything is loaded.

All of it is arithmetic over a model's ``config.json``. What the backward pass keeps is written down
operation by operation as this project's training saves it, and a test counts the tensors that
autograd really saves; two terms that no arithmetic gives (the programs around the tensors, and the
working space of a layer) are measured constants, named as such below.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from pydantic import Field

from mental_slm.options import Options
from mental_slm.training.config import LoraOptions, TrainingOptions
from mental_slm.training.hardware import Hardware

Weights = Literal["nf4", "nf4_cached", "bf16"]

#: Bits of a weight in NF4: 4, an 8-bit scale per 64, a float32 scale of scales per 64 x 256
#: (Dettmers et al. 2023, section 3).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)

#: Positions whose logits exist at once; mental_slm.training.loss.CHUNK, which imports torch.
LOGITS_CHUNK = 256

#: Bytes per logit at the worst moment: float32 logits, and as much again inside logsumexp.
LOGIT_BYTES = 8

#: Share of the roof that large micro-batches reach on a GPU: torchtune trains Llama-3.2-3B with
#: QLoRA on an A100 at 56 % (README, "Optimization flags": 8,035 tokens/s).
GPU_SHARE = 0.55

#: Kernels per decoder layer and pass (about 100), at 10 us each from Python: what a micro-batch
#: costs however small it is. Between 512 and 2,048 tokens Qwen-7B Q-LoRA on an A100 takes 208 ms
#: plus 0.33 ms a token (QwenLM/Qwen recipes/finetune/deepspeed/readme.md).
KERNELS, KERNEL_SECONDS = 100, 10e-6

#: Share of the bandwidth that writing out NF4 weights reaches.
DEQUANTISATION_SHARE = 0.7

#: Share of the CPU's product roof that a training step reaches; measured, see docs/models.md.
CPU_SHARE = 0.3

#: GB: the context, the kernels and the libraries of CUDA (0.4-0.6 GiB), beside the tensors.
CUDA_CONTEXT_GB = 0.5

#: GB resident in a worker on a CPU before and beside all tensors; measured.
CPU_PROGRAM_GB = 0.75

#: Smallest step in which max_length is lowered to make a plan fit.
LENGTH_STEP = 64


class PlanImpossible(ValueError):
    """No setting of the training fits; the message names the smallest change that would."""


@dataclass(frozen=True)
class ModelShape:
    """The widths of a Llama-like decoder (Llama, Qwen2, SmolLM2).

    Attributes:
        layers: Decoder layers.
        width: Of the residual stream.
        inner: Of the gated MLP.
        heads: Query heads.
        key_heads: Key-value heads.
        head_width: Of one head.
        vocabulary: Tokens.
        tied: Whether the head is the embedding.
        biased: Whether q, k and v have biases (Qwen2).
    """

    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    biased: bool

    @classmethod
    def of(cls, config: dict[str, Any]) -> "ModelShape":
        """Read the shape from a ``config.json``.

        Raises:
            ValueError: The config lacks one of the widths, so it is no Llama-like decoder.
        """
        try:
            heads = config["num_attention_heads"]
            return cls(
                layers=config["num_hidden_layers"],
                width=config["hidden_size"],
                inner=config["intermediate_size"],
                heads=heads,
                key_heads=config.get("num_key_value_heads") or heads,
                head_width=config.get("head_dim") or config["hidden_size"] // heads,
                vocabulary=config["vocab_size"],
                tied=config.get("tie_word_embeddings", False),
                biased=config.get("attention_bias", config["model_type"] == "qwen2"),
            )
        except KeyError as error:
            raise ValueError(
                f"config.json: has no {error.args[0]}, so its memory cannot be planned; use a model "
                "of the Llama or Qwen2 family"
            ) from error

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers of one decoder layer, by name."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        return {
            "q_proj": (self.width, queries),
            "k_proj": (self.width, keys),
            "v_proj": (self.width, keys),
            "o_proj": (queries, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }

    @property
    def linear_weights(self) -> int:
        """Weights in all linear layers of the decoder, without the head."""
        return self.layers * sum(math.prod(size) for size in self.linears.values())

    @property
    def other_weights(self) -> int:
        """Weights that are never quantised: embedding, an untied head, norms, biases."""
        tables = self.vocabulary * self.width * (1 if self.tied else 2)
        norms = (2 * self.layers + 1) * self.width
        biases = sum(self.linears[name][1] for name in ("q_proj", "k_proj", "v_proj"))
        return tables + norms + (self.layers * biases if self.biased else 0)

    @property
    def weights(self) -> int:
        """All weights."""
        return self.linear_weights + self.other_weights

    def adapted(self, lora: LoraOptions) -> dict[str, tuple[int, int]]:
        """Return the linear layers of one decoder layer that carry an adapter."""
        if lora.targets == "all-linear":
            return self.linears
        return {name: size for name, size in self.linears.items() if name in lora.targets}

    def adapter_weights(self, lora: LoraOptions) -> int:
        """Return the weights of an adapter: r x (inputs + outputs) per layer (Hu et al. 2021)."""
        return self.layers * lora.r * sum(sum(size) for size in self.adapted(lora).values())


class Settings(Options):
    """What the plan decides."""

    batch_size: int = Field(gt=0, description="Packed rows per micro-batch.")
    gradient_accumulation_steps: int = Field(gt=0, description="Micro-batches per step.")
    weights: Weights = Field(description="Form in which the frozen weights are kept.")
    activation_checkpointing: bool = Field(description="Whether layers are computed twice.")


class TrainingPlan(Options):
    """A plan: what to do, what it takes, and why. Bytes in GB (1e9), rates in tokens/s."""

    model: str = Field(description="Name of the base model.")
    model_weights: int = Field(description="Weights of the base model.")
    adapter_weights: int = Field(description="Weights that are trained.")
    hardware: Hardware = Field(description="What the plan is for.")
    asked: dict[str, Any] = Field(description="The options it was made for.")
    settings: Settings = Field(description="What the training uses.")
    reasons: dict[str, str] = Field(description="Why, for each choice.")
    memory_gb: dict[str, float] = Field(description="Predicted peak by part.")
    peak_gb: float = Field(description="Their sum.")
    budget_gb: float = Field(description="Memory of the device less the margin.")
    gflop_per_token: dict[str, float] = Field(description="Arithmetic by part, in 1e9.")
    tokens_per_second: float = Field(description="Predicted pace.")
    share_of_roof: float = Field(description="Arithmetic done per second over the peak.")
    tokens: int = Field(description="Tokens of the whole run that the time is for.")
    seconds: float = Field(description="Predicted time for them.")

    def settle(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the worker's options that the plan decides.

        Raises:
            ValueError: The plan was made for other options.
        """
        changed = sorted(key for key in asked | self.asked if asked.get(key) != self.asked.get(key))
        if changed:
            raise ValueError(
                f"training_plan: was made for another {', '.join(changed)}; make it again with "
                "kedro run --pipelines fine_tuning --tags plan"
            )
        return {
            "batch_size": self.settings.batch_size,
            "gradient_accumulation_steps": self.settings.gradient_accumulation_steps,
            "activation_checkpointing": self.settings.activation_checkpointing,
            "cached_weights": self.settings.weights == "nf4_cached",
        }


def predict_memory(
    shape: ModelShape, options: TrainingOptions, settings: Settings, hardware: Hardware
) -> dict[str, float]:
    """Predict the peak memory of a training, by part.

    Args:
        shape: The base model.
        options: ``lora`` and ``max_length`` count.
        settings: The choice to predict.
        hardware: Its kind and compute type count.

    Returns:
        Bytes by part; their sum is the peak (resident on a CPU, with CUDA's context on a GPU).
    """
    width = 2 if hardware.bf16 else 4
    linears = shape.linear_weights * (NF4_BITS / 8 if settings.weights == "nf4" else width)
    adapter = shape.adapter_weights(options.lora)
    tokens = settings.batch_size * options.max_length
    layer = kept_by_layer(shape, options, settings.batch_size, hardware)
    chunk = min(LOGITS_CHUNK, tokens) * shape.vocabulary * LOGIT_BYTES
    work = _working_space(shape, tokens, settings, width)
    entry = tokens * shape.width * width
    if settings.activation_checkpointing:
        # logits come before any layer is computed again
        kept, peak = shape.layers * entry, max(chunk, layer + work)
    else:
        kept, peak = shape.layers * layer, max(chunk, work)
    return {
        "linear layers": linears,
        "embedding, head, norms": shape.other_weights * width,
        # float32, with a copy in bfloat16 that autocast keeps for the length of a step
        "adapter": adapter * (4 + (2 if hardware.bf16 else 0)),
        "adapter gradient": adapter * 4,
        "optimizer": adapter * 8,
        "kept for the backward pass": kept + tokens * shape.width * (4 + width),
        "logits chunk or one layer at work": peak,
        "program": (CUDA_CONTEXT_GB if hardware.kind == "cuda" else CPU_PROGRAM_GB) * 1e9,
    }


def kept_by_layer(
    shape: ModelShape, options: TrainingOptions, rows: int, hardware: Hardware
) -> float:
    """Return the bytes that autograd saves in one decoder layer, by what each operation needs.

    Args:
        shape: The base model.
        options: ``lora`` and ``max_length`` count.
        rows: Packed rows of the micro-batch.
        hardware: A GPU keeps a dropout mask as bytes, a CPU in the compute type.
    """
    width = 2 if hardware.bf16 else 4
    queries = shape.heads * shape.head_width
    adapted = shape.adapted(options.lora)
    # two norms: their input in float32 and one root each
    per_token = 2.0 * (4 * shape.width + 4)
    # queries, keys and values (repeated to all heads), the answer, one log-sum per head
    per_token += 4 * queries * width + 4 * shape.heads
    # the gate before and after its activation, and the other half
    per_token += 3 * shape.inner * width
    if options.lora.dropout:
        mask = width if hardware.kind == "cpu" else 1
        per_token += sum(inputs * (mask + width) for inputs, _ in adapted.values())
    else:  # without masks, layers share the input they have in common
        groups = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("down_proj",))
        shared = (next((adapted[name] for name in group if name in adapted), None) for group in groups)
        per_token += sum(size[0] * width for size in shared if size)
    per_token += len(adapted) * options.lora.r * width
    tokens = rows * options.max_length
    # which position sees which: one dense matrix per row
    return tokens * per_token + rows * options.max_length**2 * width


def _working_space(shape: ModelShape, tokens: int, settings: Settings, width: int) -> float:
    """Return bytes that come and go while one MLP runs backward."""
    largest = max(math.prod(size) for size in shape.linears.values())
    written_out = largest * width if settings.weights == "nf4" else 0
    # gradients of gate, other half and product, each once for the base and once for the adapter
    return written_out + tokens * (4 * shape.inner + 3 * shape.width) * width


def predict_arithmetic(
    shape: ModelShape, options: TrainingOptions, checkpointing: bool, answer_share: float
) -> dict[str, float]:
    """Count the floating-point operations per token, by part.

    A frozen weight takes 2 forward, 2 for the gradient of its input, none for its own, and 2 when
    the layer is computed again; a trained one 2, 4 and 2.

    Args:
        shape: The base model.
        options: ``lora`` and ``max_length`` count.
        checkpointing: Whether layers are computed twice.
        answer_share: Share of the tokens for which the head is computed.
    """
    frozen, adapter = shape.linear_weights, shape.adapter_weights(options.lora)
    # scores and mixing, over the whole row: the mask hides, it does not skip
    attention = 4 * options.max_length * shape.heads * shape.head_width * shape.layers
    head = 2 * shape.vocabulary * shape.width * answer_share
    forward = 2 * frozen + 2 * adapter + attention
    return {
        "forward": forward + head,
        "backward": 2 * frozen + 4 * adapter + 2 * attention + head,
        "recompute": forward if checkpointing else 0.0,
    }


def predict_pace(
    shape: ModelShape,
    options: TrainingOptions,
    settings: Settings,
    hardware: Hardware,
    answer_share: float,
) -> float:
    """Return tokens per second: arithmetic, writing out NF4 weights, and starting kernels."""
    parts = predict_arithmetic(shape, options, settings.activation_checkpointing, answer_share)
    tokens = settings.batch_size * options.max_length
    passes = 3 if settings.activation_checkpointing else 2
    width = 2 if hardware.bf16 else 4
    moved = shape.linear_weights * (NF4_BITS / 8 + width) if settings.weights == "nf4" else 0.0
    on_gpu = hardware.kind == "cuda"
    seconds = (
        tokens * sum(parts.values()) / ((GPU_SHARE if on_gpu else CPU_SHARE) * hardware.peak_tflops * 1e12)
        + passes * moved / (DEQUANTISATION_SHARE * hardware.bandwidth_gb * 1e9)
        + (passes * shape.layers * KERNELS * KERNEL_SECONDS if on_gpu else 0.0)
    )
    return tokens / seconds
