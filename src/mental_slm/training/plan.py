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

#: Queries per block of attention on a CPU; mental_slm.training.attention.QUERIES, likewise.
QUERIES = 128

#: Bytes per logit at the worst moment: in float32, beside what they were or become in bfloat16.
LOGIT_BYTES = 6

#: Bytes of state per trained weight: two moments, in float32 or in 8 bits.
OPTIMIZER_BYTES = {"adamw": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2}

#: Share of the roof that large micro-batches reach on a GPU: torchtune trains Llama-3.2-3B with
#: QLoRA on an A100 at 56 % (README, "Optimization flags": 8,035 tokens/s).
GPU_SHARE = 0.55

#: Kernels per decoder layer and pass (about 100), at 10 us each from Python: what a micro-batch
#: costs however small it is. Between 512 and 2,048 tokens Qwen-7B Q-LoRA on an A100 takes 208 ms
#: plus 0.33 ms a token (QwenLM/Qwen recipes/finetune/deepspeed/readme.md).
KERNELS, KERNEL_SECONDS = 100, 10e-6

#: Share of the bandwidth that writing out NF4 weights reaches.
DEQUANTISATION_SHARE = 0.7

#: Share of the roof that a step reaches on a CPU; SmolLM2-135M, rows of 512, one thread of a Zen 5:
#: 354 tokens/s at 0.62 GFLOP a token, of 0.4 TFLOP/s.
CPU_SHARE = 0.5

#: GB: the context, the kernels and the libraries of CUDA (0.4-0.6 GiB), beside the tensors.
CUDA_CONTEXT_GB = 0.5

#: GB resident in a worker on a CPU beside all tensors: torch and its libraries, and what the
#: allocator wastes; measured by benchmarks/training_memory.py.
CPU_PROGRAM_GB = 0.75

#: Options of the training that a plan depends on.
PLANNED = (
    "batch_size",
    "gradient_accumulation_steps",
    "max_length",
    "quantisation",
    "cached_weights",
    "activation_checkpointing",
    "lora",
    "optimizer",
    "compute",
)

#: Steps in which max_length is lowered to make a plan fit, and where that ends: instruction and
#: answer alone take about 150 tokens.
LENGTH_STEP, LENGTH_FLOOR = 64, 256


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
        """Return the weights of an adapter.

        r x (inputs + outputs) per linear layer (Hu et al. 2021), and with DoRA a length per output
        (Liu et al. 2024).
        """
        return self.layers * sum(
            lora.rank_pattern.get(name, lora.r) * sum(size) + (size[1] if lora.dora else 0)
            for name, size in self.adapted(lora).items()
        )


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
    answer_share: float = Field(description="Share of them in answers, where the head is computed.")
    origin: str = Field(description="Where these two come from.")
    seconds: float = Field(description="Predicted time for them.")

    def settle(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the worker's options that the plan decides.

        Raises:
            ValueError: The plan was made for other options.
        """
        changed = sorted(key for key in PLANNED if asked.get(key) != self.asked.get(key))
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
    shape: ModelShape,
    options: TrainingOptions,
    settings: Settings,
    hardware: Hardware,
    pair_tokens: int | None = None,
) -> dict[str, float]:
    """Predict the peak memory of a training, by part.

    Args:
        shape: The base model.
        options: ``lora`` and ``max_length`` count.
        settings: The choice to predict.
        hardware: Its kind and compute type count.
        pair_tokens: Length of the pairs in a row; None takes the most that a row can hold.

    Returns:
        Bytes by part; their sum is the peak (resident on a CPU, with CUDA's context on a GPU).
    """
    width = 2 if hardware.bf16 else 4
    linears = shape.linear_weights * (NF4_BITS / 8 if settings.weights == "nf4" else width)
    adapter = shape.adapter_weights(options.lora)
    tokens = settings.batch_size * options.max_length
    layer = kept_by_layer(shape, options, settings.batch_size, hardware, pair_tokens)
    chunk = min(LOGITS_CHUNK, tokens) * shape.vocabulary * LOGIT_BYTES
    work = _working_space(shape, tokens, settings, width)
    entry = float(tokens * shape.width * width)
    if settings.activation_checkpointing:
        # logits come before any layer is computed again
        kept, peak = shape.layers * entry, max(chunk, layer + work)
    else:
        kept, peak = shape.layers * layer, max(chunk, work)
    program = (CUDA_CONTEXT_GB if hardware.kind == "cuda" else CPU_PROGRAM_GB) * 1e9
    if hardware.kind == "cpu" and settings.weights != "bf16":
        # what was quantised while loading is freed, but not given back to the system
        program += shape.linear_weights * width
    return {
        "linear layers": linears,
        "embedding, head, norms": shape.other_weights * width,
        "adapter": adapter * 4,  # float32
        "adapter gradient": adapter * 4,
        "optimizer": adapter * OPTIMIZER_BYTES[options.optimizer],
        "kept for the backward pass": kept + tokens * shape.width * (4 + width),
        "logits chunk or one layer at work": peak,
        "program": program,
    }


def kept_by_layer(
    shape: ModelShape,
    options: TrainingOptions,
    rows: int,
    hardware: Hardware,
    pair_tokens: int | None = None,
) -> float:
    """Return the bytes that autograd saves in one decoder layer, by what each operation needs.

    Args:
        shape: The base model.
        options: ``lora`` and ``max_length`` count.
        rows: Packed rows of the micro-batch.
        hardware: A CPU computes attention in blocks (:mod:`mental_slm.training.attention`).
        pair_tokens: Length of the pairs in a row; None takes the worst, a pair that fills the row.
    """
    width = 2 if hardware.bf16 else 4
    on_cpu = hardware.kind == "cpu"
    queries, keys = shape.heads * shape.head_width, shape.key_heads * shape.head_width
    # two norms: their input in float32 and one root each
    per_token = 8 * shape.width + 8.0
    # the gate before and after its activation, and the other half
    per_token += 3 * shape.inner * width
    per_token += _kept_by_adapters(shape, options.lora, width, on_cpu)
    tokens = rows * options.max_length
    if on_cpu:
        # queries, keys, values, and the weight of each key that a block of queries meets
        length = min(pair_tokens or options.max_length, options.max_length)
        block = min(QUERIES, length)
        met = sum(
            (min(begin + block, length) - begin) * min(begin + block, length)
            for begin in range(0, length, block)
        )
        per_token += (queries + 2 * keys) * width
        return tokens * (per_token + shape.heads * met / length * width)
    # queries, keys and values (repeated to all heads), the answer, one log-sum per head; and which
    # position sees which: one dense matrix per row
    per_token += 4 * queries * width + 4 * shape.heads
    return tokens * per_token + rows * options.max_length**2 * width


def _kept_by_adapters(shape: ModelShape, lora: LoraOptions, width: int, on_cpu: bool) -> float:
    """Return the bytes per token that the adapted layers of one decoder layer keep."""
    adapted = shape.adapted(lora)
    kept: float = width * sum(lora.rank_pattern.get(name, lora.r) for name in adapted)
    if lora.dora and lora.dropout:  # PEFT's own layers: each with a mask and a masked input
        mask = width if on_cpu else 1
        return kept + sum(inputs * (mask + width) for inputs, _ in adapted.values())
    # layers share the input they have in common; on a GPU the answer of the attention is kept anyway
    groups = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("down_proj",)]
    if on_cpu:
        groups.append(("o_proj",))
    for group in groups:
        inputs = next((adapted[name][0] for name in group if name in adapted), 0)
        kept += inputs * width
    # a CPU keeps the 8-byte indices of dropped elements, a GPU a mask of bytes
    dropped = 8 * lora.dropout if on_cpu else float(lora.dropout > 0)
    return kept + dropped * sum(inputs for inputs, _ in adapted.values())


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
        tokens
        * sum(parts.values())
        / ((GPU_SHARE if on_gpu else CPU_SHARE) * hardware.peak_tflops * 1e12)
        + passes * moved / (DEQUANTISATION_SHARE * hardware.bandwidth_gb * 1e9)
        + (passes * shape.layers * KERNELS * KERNEL_SECONDS if on_gpu else 0.0)
    )
    return tokens / seconds


@dataclass(frozen=True)
class Planner:
    """Everything a plan is made from.

    Attributes:
        model: Name of the base model.
        shape: Its widths.
        options: The training; what the plan may choose has its value there as a placeholder.
        asked: The same as the user wrote it, ``auto`` where the plan chooses.
        hardware: The device.
        margin: Share of its memory that stays free.
        tokens: Tokens of the whole run, for the time.
        answer_share: Share of them that belongs to answers.
        origin: Where these two come from, for the table.
        processes: Among how many the rows of a step are shared: a GPU each, or one CPU together.
    """

    model: str
    shape: ModelShape
    options: TrainingOptions
    asked: dict[str, Any]
    hardware: Hardware
    margin: float
    tokens: int
    answer_share: float
    origin: str
    processes: int = 1

    @property
    def budget(self) -> float:
        """Bytes a plan may take."""
        return self.hardware.memory_gb * 1e9 * (1 - self.margin)

    def make(self) -> TrainingPlan:
        """Choose the fastest settings that fit.

        Raises:
            PlanImpossible: Nothing fits; names the smallest change that would.
        """
        candidates = self.candidates()
        fitting = [settings for settings in candidates if self.peak(settings) <= self.budget]
        if not fitting:
            raise PlanImpossible(self._explain_refusal())
        chosen = self._best(fitting)
        memory = self.memory(chosen)
        arithmetic = predict_arithmetic(
            self.shape, self.options, chosen.activation_checkpointing, self.answer_share
        )
        pace = self.pace(chosen)
        return TrainingPlan(
            model=self.model,
            model_weights=self.shape.weights,
            adapter_weights=self.shape.adapter_weights(self.options.lora),
            hardware=self.hardware,
            asked=self.asked,
            settings=chosen,
            reasons=self._explain(chosen, candidates),
            memory_gb={part: round(size / 1e9, 3) for part, size in memory.items()},
            peak_gb=round(sum(memory.values()) / 1e9, 2),
            budget_gb=round(self.budget / 1e9, 2),
            gflop_per_token={part: round(count / 1e9, 2) for part, count in arithmetic.items()},
            tokens_per_second=float(f"{pace:.3g}"),
            share_of_roof=round(
                predict_pace(self.shape, self.options, chosen, self.hardware, self.answer_share)
                * sum(arithmetic.values())
                / (self.hardware.peak_tflops * 1e12),
                2,
            ),
            tokens=self.tokens,
            answer_share=self.answer_share,
            origin=self.origin,
            seconds=float(f"{self.tokens / pace:.3g}"),
        )

    def candidates(self) -> list[Settings]:
        """Return all settings that the options leave open, in a fixed order."""
        rows = self.options.batch_size * self.options.gradient_accumulation_steps
        own = rows // self.processes
        sizes = (
            [size for size in range(1, own + 1) if own % size == 0]
            if self.asked["batch_size"] == "auto"
            else [self.options.batch_size]
        )
        forms: list[Weights] = ["bf16"]
        if self.options.quantisation == "nf4":
            cached = self.asked["cached_weights"]
            forms = (
                ["nf4", "nf4_cached"] if cached == "auto" else ["nf4_cached" if cached else "nf4"]
            )
        checkpointing = self.asked["activation_checkpointing"]
        twice = [False, True] if checkpointing == "auto" else [bool(checkpointing)]
        return [
            Settings(
                batch_size=size,
                gradient_accumulation_steps=rows // size,
                weights=form,
                activation_checkpointing=again,
            )
            for size, form, again in product(sizes, forms, twice)
        ]

    def memory(self, settings: Settings) -> dict[str, float]:
        """Return the predicted peak by part, in bytes."""
        shared = self.processes if self.hardware.kind == "cpu" else 1
        parts = predict_memory(self.shape, self.options, settings, self.hardware)
        return {part: size * shared for part, size in parts.items()}

    def peak(self, settings: Settings) -> float:
        """Return the predicted peak in bytes."""
        return sum(self.memory(settings).values())

    def pace(self, settings: Settings) -> float:
        """Return the predicted tokens per second of all processes."""
        own = predict_pace(self.shape, self.options, settings, self.hardware, self.answer_share)
        # the peak of a CPU was measured with all its threads
        return own * (self.processes if self.hardware.kind == "cuda" else 1)

    def _best(self, settings: Sequence[Settings]) -> Settings:
        # of two that are equally fast, the one that takes less
        return max(settings, key=lambda one: (float(f"{self.pace(one):.6g}"), -self.peak(one)))

    def _explain(self, chosen: Settings, candidates: Sequence[Settings]) -> dict[str, str]:
        """Say for every choice what another value of it would have meant."""
        return {
            name: self._compare(
                chosen, [one for one in candidates if getattr(one, name) != getattr(chosen, name)]
            )
            for name in ("batch_size", "weights", "activation_checkpointing")
        }

    def _compare(self, chosen: Settings, others: Sequence[Settings]) -> str:
        if not others:
            return "as the options say"
        fitting = [one for one in others if self.peak(one) <= self.budget]
        if not fitting:
            least = min(map(self.peak, others)) / 1e9
            return f"anything else needs {least:.1f} GB or more"
        other = self._best(fitting)
        gain = self.pace(chosen) / self.pace(other) - 1
        saved = (self.peak(other) - self.peak(chosen)) / 1e9
        if gain >= 0.0005:
            return f"{gain:.1%} faster than the next best ({_words(other)})"
        return f"as fast as the next best ({_words(other)}), with {saved:.1f} GB less"

    def _explain_refusal(self) -> str:
        smallest = min(map(self.peak, self.candidates()))
        need = (
            f"{self.model} needs {smallest / 1e9:.1f} GB for training, {self.hardware.name} has "
            f"{self.hardware.memory_gb:.1f} GB, of which {self.budget / 1e9:.1f} may be used "
            f"(fine_tuning.plan.margin={self.margin:g})"
        )
        remedy = next((change for change in self._changes() if change.fits), None)
        if remedy is None:
            card = smallest / (1 - self.margin) / 1e9
            return f"{need}; no single option helps: take a card of {card:.1f} GB or more"
        return f"{need}: set {remedy.option}, which takes {remedy.peak / 1e9:.1f} GB"

    def _changes(self) -> Iterator["Change"]:
        """Yield single options that save memory; first those that leave the result the same."""
        if self.asked["batch_size"] != "auto":
            yield self._change("batch_size=auto", asked={"batch_size": "auto"})
        if self.asked["activation_checkpointing"] is False:
            yield self._change(
                "activation_checkpointing=auto", asked={"activation_checkpointing": "auto"}
            )
        if self.asked["cached_weights"] is True:
            yield self._change("cached_weights=auto", asked={"cached_weights": "auto"})
        if self.options.quantisation == "none":
            yield self._change("quantisation=nf4", options={"quantisation": "nf4"})
        for length in range(self.options.max_length - 1, LENGTH_FLOOR - 1, -1):
            if length % LENGTH_STEP == 0:
                yield self._change(f"max_length={length}", options={"max_length": length})
        rank = self.options.lora.r // 2
        while rank:
            lora = self.options.lora.model_copy(update={"r": rank})
            yield self._change(f"lora.r={rank}", options={"lora": lora})
            rank //= 2

    def _change(
        self,
        option: str,
        asked: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> "Change":
        changed = Planner(
            **{
                **self.__dict__,
                "asked": {**self.asked, **(asked or {})},
                "options": self.options.model_copy(update=options or {}),
            }
        )
        peak = min(map(changed.peak, changed.candidates()))
        return Change(f"fine_tuning.{option}", peak, peak <= self.budget)


@dataclass(frozen=True)
class Change:
    """One option set otherwise, and the bytes that the training then takes."""

    option: str
    peak: float
    fits: bool


def render(plan: TrainingPlan) -> str:
    """Return the plan as Markdown."""
    hardware, settings = plan.hardware, plan.settings
    rows = [
        *((part, f"{size:.2f} GB") for part, size in plan.memory_gb.items()),
        ("**peak**", f"**{plan.peak_gb:.2f} GB** of {plan.budget_gb:.1f} GB that may be used"),
    ]
    choices = [
        ("micro-batch", _batch(settings, plan.asked["max_length"]), plan.reasons["batch_size"]),
        ("frozen weights", settings.weights, plan.reasons["weights"]),
        (
            "activation checkpointing",
            "on" if settings.activation_checkpointing else "off",
            plan.reasons["activation_checkpointing"],
        ),
    ]
    arithmetic = ", ".join(f"{part} {count:.2f}" for part, count in plan.gflop_per_token.items())
    lines = [
        f"# Plan: {plan.model} on {hardware.name} ({hardware.memory_gb:.1f} GB)",
        "",
        f"{plan.model_weights / 1e6:,.1f} M weights, {plan.adapter_weights / 1e6:.1f} M of an adapter; "
        f"{'bfloat16' if hardware.bf16 else 'float32'} compute, {hardware.peak_tflops:g} TFLOP/s, "
        f"{hardware.bandwidth_gb:g} GB/s ({hardware.origin}).",
        "",
        *_table(("choice", "value", "why"), choices),
        "",
        *_table(("memory", "predicted"), rows),
        "",
        f"Arithmetic per token in GFLOP: {arithmetic}. Pace: {plan.tokens_per_second:,.0f} tokens/s, "
        f"{plan.share_of_roof:.0%} of the roof. {plan.tokens / 1e6:.1f} M tokens, "
        f"{plan.answer_share:.0%} of them in answers ({plan.origin}), take "
        f"{_duration(plan.seconds)}.",
    ]
    return "\n".join(lines) + "\n"


def _batch(settings: Settings, length: int) -> str:
    return (
        f"{settings.batch_size} x {length} tokens, {settings.gradient_accumulation_steps} per step"
    )


def _words(settings: Settings) -> str:
    again = "with" if settings.activation_checkpointing else "without"
    return f"micro-batch {settings.batch_size}, {settings.weights}, {again} checkpointing"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(str.ljust, cells, widths)) + " |"

    return [line(head), line(["-" * width for width in widths]), *map(line, rows)]


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
