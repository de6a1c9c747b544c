"""What a training worker is told: a file of plain values, checked before anything heavy loads."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from mental_slm.options import Options

#: The last argument of a worker that must not outlive the program that started it.
WITH_PARENT = "--with-parent"


class LoraOptions(Options):
    """The size and the place of the low-rank adapter (Hu et al. 2021)."""

    r: int = Field(
        default=16, gt=0, description="Rank: more learns more, costs memory and disk in proportion."
    )
    alpha: int = Field(
        default=32, gt=0, description="The update is scaled by alpha / r; usually 2 r."
    )
    dropout: float = Field(
        default=0.05, ge=0, lt=1, description="Share of the adapter's inputs dropped in training."
    )
    targets: Literal["all-linear"] | list[str] = Field(
        default="all-linear",
        description=(
            "all-linear: every linear layer but the head; or names of layers, e.g. [q_proj, v_proj]."
        ),
    )
    rslora: bool = Field(
        default=False,
        description=(
            "Scale by alpha / sqrt(r) (Kalajdzievski 2023), so that a large r learns as fast as a "
            "small one."
        ),
    )
    dora: bool = Field(
        default=False,
        description=(
            "Learn length and direction of the weights apart (DoRA, Liu et al. 2024): often a "
            "little better, about a fifth slower."
        ),
    )
    rank_pattern: dict[str, PositiveInt] = Field(
        default={},
        description="Another r for some layers, e.g. {down_proj: 32}; others keep r.",
    )
    alpha_pattern: dict[str, PositiveInt] = Field(
        default={},
        description="Another alpha for some layers, e.g. {down_proj: 64}; others keep alpha.",
    )

    @model_validator(mode="after")
    def _head_stays_frozen(self) -> "LoraOptions":
        if "lm_head" in self.targets:
            raise ValueError(
                "lora.targets: lm_head stays frozen, because its loss is computed on labelled "
                "positions only; leave it out"
            )
        return self


class TrainingOptions(Options):
    """Everything that shapes an adapter apart from the data and the base model."""

    num_epochs: float = Field(
        default=1.0, gt=0, description="Passes over the training pairs; 0.5 is half of them."
    )
    max_steps: int | None = Field(
        default=None, gt=0, description="Optimiser steps; takes the place of num_epochs if set."
    )
    batch_size: int = Field(
        default=1, gt=0, description="Packed rows per micro-batch; memory grows with it."
    )
    gradient_accumulation_steps: int = Field(
        default=1,
        gt=0,
        description=(
            "Micro-batches per optimiser step, weighted by their answer tokens and shared among the "
            "processes."
        ),
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak of the schedule.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="How the rate falls after the warm-up: to zero as a cosine or a line, or never.",
    )
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the steps that raises the rate from zero."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="Pull of the adapter's weights towards zero, times the rate."
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        default="adamw",
        description=(
            "adamw keeps 8 bytes of state per trained weight; adamw_8bit 2 (Dettmers et al. 2022); "
            "paged_adamw_8bit moves them out of a full GPU."
        ),
    )
    compute: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto",
        description="Type of the products. auto: bfloat16 where the hardware has it, else float32.",
    )
    max_length: int = Field(
        default=512,
        gt=1,
        description=(
            "Tokens per packed row. Of a pair that is longer the post is shortened, never the "
            "question or the answer. On a CPU rows beyond 512 cost more attention than packing saves."
        ),
    )
    save_steps: int = Field(default=20, gt=0, description="Steps between two checkpoints.")
    eval_steps: int = Field(default=30, gt=0, description="Steps between two validations.")
    early_stopping: int | None = Field(
        default=None,
        gt=0,
        description=(
            "Stop after so many validations in a row without a lower loss; null trains to the end. "
            "The best adapter is kept either way."
        ),
    )
    logging_steps: int = Field(default=5, gt=0, description="Steps between two log lines.")
    seed: int = Field(
        default=0, ge=0, description="Seeds the adapter, the order of the pairs and the dropout."
    )
    quantisation: Literal["nf4", "none"] = Field(
        default="nf4",
        description="nf4: frozen weights in 4.127 bits each (QLoRA); none: as stored.",
    )
    cached_weights: bool = Field(
        default=False,
        description=(
            "Keep the NF4 weights multiplied out in the compute type: the same numbers, faster, "
            "at 4 to 8 times their memory."
        ),
    )
    activation_checkpointing: bool = Field(
        default=False,
        description=(
            "Keep only each layer's input and compute the layer again in the backward pass: the "
            "same gradients, far less memory, about a third more time."
        ),
    )
    lora: LoraOptions = Field(default=LoraOptions(), description="The adapter.")


class WorkerConfig(Options):
    """The worker's config file.

    The pair files are JSON Lines with ``input_ids`` and ``prompt_length`` (see
    :class:`mental_slm.language_model.chat.EncodedPair`): tokens, so that what was audited is what
    is trained on.
    """

    base_folder: Path = Field(description="Folder of the base model.")
    base_digest: str = Field(description="Digest of the base model; decides on resuming.")
    base_reference: str = Field(
        description="What adapter_config.json names as base: a folder or a hub id."
    )
    base_revision: str | None = Field(default=None, description="Hub revision of the base.")
    train_file: Path = Field(description="Encoded training pairs.")
    validation_file: Path = Field(description="Encoded validation pairs.")
    pair_ids_file: Path | None = Field(
        default=None,
        description="One pair_id a line, as in train_file, for messages; null names lines instead.",
    )
    output_folder: Path = Field(
        description="Receives checkpoints/, best/, adapter/ and training_log.jsonl."
    )
    threads: int | Literal["auto"] = Field(default="auto", description="CPU threads per process.")
    roof_tokens_per_second: float | None = Field(
        default=None,
        gt=0,
        description="What the hardware could do at most, for the log; null where unknown.",
    )
    restart: bool = Field(
        default=False,
        description="Give up the checkpoints of an unfinished run of other options.",
    )
    training: TrainingOptions = Field(description="Options of the training.")


def share_rows(batch_size: int, accumulation: int, processes: int) -> tuple[int, int]:
    """Share the rows of an optimiser step among processes, so that the step stays the same.

    Args:
        batch_size: Rows per micro-batch; no process takes more at once.
        accumulation: Micro-batches per step, of all processes together.
        processes: Among how many.

    Returns:
        Rows per micro-batch and micro-batches per step of each process.

    Raises:
        ValueError: The rows cannot be shared evenly; names the nearest number that can.
    """
    rows = batch_size * accumulation
    if rows % processes:
        fitting = -(-accumulation // processes) * processes
        raise ValueError(
            f"{rows} rows per step (fine_tuning.batch_size {batch_size} x "
            f"gradient_accumulation_steps {accumulation}) cannot be shared among {processes} "
            f"processes; set fine_tuning.gradient_accumulation_steps={fitting}"
        )
    own = rows // processes
    size = max(size for size in range(1, min(batch_size, own) + 1) if own % size == 0)
    return size, own // size


def read_config(path: Path) -> WorkerConfig:
    """Read and check a config file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Names the file and the keys at fault.
    """
    try:
        return WorkerConfig.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ValueError(f"{path}: {faults}") from error
