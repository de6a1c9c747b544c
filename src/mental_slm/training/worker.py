"""The program that trains an adapter.

    python -m mental_slm.training.worker config.json

    # several processes on this machine, one GPU each; --nnodes etc. for several machines
    torchrun --standalone --nproc-per-node 4 -m mental_slm.training.worker config.json

It is a plain program: a config file in, a folder out, no Kedro. The same command goes on where a
killed one stopped, and ends with the same weights, bit for bit, as one that was left alone (on a
CPU, with the same number of threads and processes).
"""

import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import TrainerCallback, TrainingArguments, set_seed

from mental_slm.fingerprints import Fingerprint, digest_code, digest_file
from mental_slm.language_model.chat import EncodedPair
from mental_slm.language_model.loading import (
    device,
    has_bf16_cpu,
    load_model,
    load_model_nf4,
    use_threads,
)
from mental_slm.storage import atomic_folder
from mental_slm.training.attention import use_packed_attention
from mental_slm.training.batches import (
    PackedRows,
    collate,
    optimiser_steps,
    plan_rows,
    read_pairs,
)
from mental_slm.training.checkpoints import (
    KEPT,
    mark_finished,
    open_checkpoints,
    require_writable,
    step_of,
)
from mental_slm.training.config import (
    WITH_PARENT,
    LoraOptions,
    TrainingOptions,
    WorkerConfig,
    read_config,
    share_rows,
)
from mental_slm.training.lora import fuse_adapters
from mental_slm.training.loss import check_head
from mental_slm.training.trainer import AdapterTrainer

logger = logging.getLogger(__name__)

#: How long a new training waits for a killed one to let go of its folder.
LOCK_SECONDS = 30

#: Our names of the optimizers, and the Trainer's.
OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}

#: Makes up the numbers where the last micro-batches cannot be shared evenly: it has no label.
FILLER = EncodedPair([0], 1)


def main(config_file: Path) -> None:
    """Train the adapter that a config file describes.

    Args:
        config_file: See :class:`mental_slm.training.config.WorkerConfig`. Afterwards its
            ``output_folder`` holds ``adapter/`` and ``training_log.jsonl``. One of several
            processes ends here, see :func:`_leave_at_once`.
    """
    config = read_config(config_file)
    options = config.training
    require_writable(config.output_folder)
    dtype = compute_dtype(options.compute)
    check_bitsandbytes(options)
    use_threads(config.threads)
    if device() == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    checkpoints = config.output_folder / "checkpoints"
    arguments = trainer_arguments(options, checkpoints)  # several processes find each other here
    train, validation = read_pairs(config.train_file), read_pairs(config.validation_file)
    with _alone(config.output_folder, arguments):
        resume_from = _open_checkpoints(config, arguments)
        rows = lay_out_rows(train, options, arguments.world_size)
        model = build_model(config, dtype)
        check_head(model, train[0].input_ids[:32])
        trainer = build_trainer(config, model, arguments, train, validation, rows, dtype)
        _announce(train, rows, arguments, options, model, dtype, resume_from)
        run_trainer(trainer, options, resume_from)
        if arguments.process_index == 0:
            _publish(config, trainer)
            mark_finished(checkpoints)
    if arguments.world_size > 1:
        _leave_at_once()


def describe_run(config: WorkerConfig, processes: int = 1) -> Fingerprint:
    """Return what decides whether a checkpoint belongs to this run.

    How often it saves and logs does not.
    """
    options = config.training.model_dump(mode="json", exclude={"save_steps", "logging_steps"})
    lora = {f"lora.{name}": value for name, value in options.pop("lora").items()}
    stated = {f"fine_tuning.{name}": json.dumps(v) for name, v in (options | lora).items()}
    return Fingerprint.of(
        "checkpoints",
        base=config.base_digest,
        train_pairs=digest_file(config.train_file),
        validation_pairs=digest_file(config.validation_file),
        code=digest_code("mental_slm.training", "mental_slm.language_model"),
        **stated,
        **{"fine_tuning.launcher.processes": str(processes)},
    )


def compute_dtype(asked: Literal["auto", "bfloat16", "float32"] = "auto") -> torch.dtype:
    """Return the type to compute in; ``auto`` is bfloat16 where the hardware multiplies it.

    Raises:
        ValueError: bfloat16 was asked for, and this device lacks it.
    """
    fast = torch.cuda.is_bf16_supported() if device() == "cuda" else has_bf16_cpu()
    if asked == "bfloat16" and not fast:
        raise ValueError(
            f"fine_tuning.compute=bfloat16: this {'GPU' if device() == 'cuda' else 'CPU'} does not "
            "multiply bfloat16 in hardware; set it to float32 or auto"
        )
    return torch.bfloat16 if fast and asked != "float32" else torch.float32


def check_bitsandbytes(options: TrainingOptions) -> None:
    """Make sure that what bitsandbytes is needed for can be had.

    Raises:
        ValueError: Names the option and what to set it to.
    """
    needs = {
        "fine_tuning.quantisation=nf4": (options.quantisation == "nf4", "none"),
        f"fine_tuning.optimizer={options.optimizer}": (options.optimizer != "adamw", "adamw"),
    }
    for option, (needed, instead) in needs.items():
        if needed:
            try:
                import bitsandbytes  # noqa: F401
            except ImportError as error:
                raise ValueError(
                    f"{option} needs the package bitsandbytes, which is not installed or does not "
                    f"load here; pip install bitsandbytes, or set it to {instead}"
                ) from error
    if options.optimizer.startswith("paged") and device() == "cpu":
        raise ValueError(
            "fine_tuning.optimizer=paged_adamw_8bit: pages move out of a GPU's memory, and there "
            "is no GPU; set it to adamw_8bit"
        )


def build_model(config: WorkerConfig, dtype: torch.dtype) -> PeftModel:
    """Load the frozen base and put a seeded adapter on it.

    Raises:
        ValueError: The base has no layer of a name in ``lora``.
    """
    return put_adapter(load_base(config.base_folder, config.training, dtype), config.training)


def load_base(folder: Path, options: TrainingOptions, dtype: torch.dtype) -> Any:
    """Load the frozen base in the form that ``quantisation`` and ``cached_weights`` ask for."""
    name: Literal["bfloat16", "float32"] = "bfloat16" if dtype == torch.bfloat16 else "float32"
    if options.quantisation == "none":
        return load_model(folder, dtype=name)
    base = load_model_nf4(folder, dtype=name)
    return base.dequantize() if options.cached_weights else base


def put_adapter(base: Any, options: TrainingOptions) -> PeftModel:
    """Put a fresh, seeded adapter (float32) on the linear layers of a base.

    Raises:
        ValueError: The base has no layer of a name in ``lora``.
    """
    _check_targets(base, options.lora)
    set_seed(options.seed)  # before the adapter exists: its first matrix is drawn at random
    model = get_peft_model(base, _lora(options.lora))
    fuse_adapters(model)
    if device() == "cpu":
        use_packed_attention(base)
    if options.activation_checkpointing:
        # the reentrant kind would need an input with a gradient, which a frozen base has not
        base.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    return model


def take_adapter_off(model: PeftModel) -> Any:
    """Return the base as it was before :func:`put_adapter`, ready for another adapter."""
    base = model.unload()
    base.activation_checkpointing_disable()
    return base


def build_trainer(
    config: WorkerConfig,
    model: PeftModel,
    arguments: TrainingArguments,
    train: list[EncodedPair],
    validation: list[EncodedPair],
    rows: list[list[int]],
    dtype: torch.dtype,
    callbacks: Sequence[TrainerCallback] = (),
    keep_best: bool = True,
) -> AdapterTrainer:
    """Return the Trainer of a run.

    Args:
        config: The run.
        model: From :func:`build_model`.
        arguments: From :func:`trainer_arguments`.
        train: Pairs to learn from.
        validation: Pairs to choose the best adapter by.
        rows: From :func:`lay_out_rows`.
        dtype: What the model computes in.
        callbacks: Told of every validation.
        keep_best: Whether the best adapter is written to ``best/``.
    """
    return AdapterTrainer(
        compute_dtype=dtype,
        output_folder=config.output_folder,
        name_pairs=lambda numbers: _name_pairs(config, rows, numbers),
        roof=config.roof_tokens_per_second,
        patience=config.training.early_stopping,
        observers=callbacks,
        keep_best=keep_best,
        model=model,
        args=arguments,
        train_dataset=NumberedRows([*train, FILLER], rows),
        eval_dataset=_validation_batches(validation, config.training),
        data_collator=_collate_numbered,
    )


def run_trainer(
    trainer: AdapterTrainer, options: TrainingOptions, resume_from: Path | None = None
) -> None:
    """Train, from the seed or from a checkpoint."""
    model: Any = trainer.model
    # autocast casts; PEFT would cast to float32 and back
    with disable_input_dtype_casting(model):
        # the same dropout in every process would be half as random
        set_seed(options.seed + trainer.args.process_index)
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)


def _check_targets(base: Any, lora: LoraOptions) -> None:
    head = base.get_output_embeddings()
    layers = {
        name
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    asked = {
        "targets": [] if lora.targets == "all-linear" else lora.targets,
        "rank_pattern": lora.rank_pattern,
        "alpha_pattern": lora.alpha_pattern,
    }
    for option, names in asked.items():
        for name in names:
            if not any(layer == name or layer.endswith(f".{name}") for layer in layers):
                known = sorted({layer.rpartition(".")[2] for layer in layers})
                raise ValueError(
                    f"fine_tuning.lora.{option}: {type(base).__name__} has no linear layer "
                    f"{name!r}; it has {', '.join(known)}"
                )


def _lora(options: LoraOptions) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.targets,
        use_rslora=options.rslora,
        use_dora=options.dora,
        rank_pattern=dict(options.rank_pattern),
        alpha_pattern=dict(options.alpha_pattern),
    )


@contextmanager
def _alone(folder: Path, arguments: TrainingArguments) -> Iterator[None]:
    """Keep a second training out of the folder, by a lock that the system frees at any end."""
    if arguments.process_index > 0:
        yield
        return
    lock = FileLock(folder / ".training.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise RuntimeError(f"{folder}: another training is at work here; wait for it") from error
    with lock:
        yield


def _open_checkpoints(config: WorkerConfig, arguments: TrainingArguments) -> Path | None:
    """Let the first process look for a checkpoint, and tell the others."""
    found: list[Path | None] = [None]
    if arguments.process_index == 0:
        found[0] = open_checkpoints(
            Path(str(arguments.output_dir)),
            describe_run(config, arguments.world_size),
            config.restart,
        )
    if arguments.world_size > 1:
        dist.broadcast_object_list(found, src=0)
    return found[0]


class NumberedRows(PackedRows):
    """Rows that know their number, so that a message can name their pairs."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {**super().__getitem__(number), "number": number}


def _collate_numbered(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {**collate(rows), "rows": torch.tensor([row["number"] for row in rows])}


def _name_pairs(config: WorkerConfig, rows: list[list[int]], numbers: list[int]) -> list[str]:
    indices = [index for number in numbers for index in rows[number]]
    if config.pair_ids_file is None:
        names = [f"{config.train_file.name} line {index + 1}" for index in range(max(indices) + 1)]
    else:
        names = config.pair_ids_file.read_text("utf-8").split()
    return [names[index] for index in indices if index < len(names)]  # the filler has no name


def lay_out_rows(
    train: list[EncodedPair], options: TrainingOptions, processes: int = 1
) -> list[list[int]]:
    """Return the rows of the whole run, each the numbers of its pairs."""
    per_step = options.batch_size * options.gradient_accumulation_steps
    rows = plan_rows(
        lengths=[len(pair.input_ids) for pair in train],
        capacity=options.max_length,
        rows=None if options.max_steps is None else options.max_steps * per_step,
        epochs=options.num_epochs,
        seed=options.seed,
    )
    if processes > 1:
        size, _ = share_rows(options.batch_size, options.gradient_accumulation_steps, processes)
        # accelerate would make the numbers even with rows that were learned from already
        rows += [[len(train)]] * (-len(rows) % (size * processes))
    return rows


def _validation_batches(
    validation: list[EncodedPair], options: TrainingOptions
) -> list[dict[str, torch.Tensor]]:
    rows = plan_rows(
        [len(pair.input_ids) for pair in validation], options.max_length, None, 1.0, options.seed
    )
    dataset = PackedRows(validation, rows)
    size = options.batch_size
    return [
        collate([dataset[row] for row in range(start, min(start + size, len(rows)))])
        for start in range(0, len(rows), size)
    ]


def trainer_arguments(
    options: TrainingOptions, checkpoints: Path, saves: bool = True
) -> TrainingArguments:
    """Return transformers' own options; several processes find each other here.

    Args:
        options: Of the training.
        checkpoints: Where they go.
        saves: Whether there are any.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    size, accumulation = share_rows(
        options.batch_size, options.gradient_accumulation_steps, processes
    )
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=1,  # the planned rows are the whole run
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant_with_warmup"
        if options.schedule == "constant"
        else options.schedule,
        warmup_steps=options.warmup,  # below 1 it is a share of the steps
        weight_decay=options.weight_decay,
        optim=OPTIMIZERS[options.optimizer],
        max_grad_norm=1.0,
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,  # a loss that is not a number must stop the run
        eval_strategy="steps",
        eval_steps=options.eval_steps,
        save_strategy="steps" if saves else "no",
        save_steps=options.save_steps,
        save_total_limit=KEPT,
        seed=options.seed,
        use_cpu=device() == "cpu",
        ddp_backend=None if processes == 1 else "nccl" if device() == "cuda" else "gloo",
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",  # its warnings are about clusters and file times
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # a process drives one GPU; the Trainer would split rows among all
    return arguments


def _announce(
    train: list[EncodedPair],
    rows: list[list[int]],
    arguments: TrainingArguments,
    options: TrainingOptions,
    model: PeftModel,
    dtype: torch.dtype,
    resume_from: Path | None,
) -> None:
    trained, whole = model.get_nb_trainable_parameters()
    real = [index for row in rows for index in row if index < len(train)]
    logger.info(
        "%d pairs, %d tokens in %d rows of %d, %d steps, %d process%s; %s weights, %s compute; "
        "%.2f M of %.0f M weights are trained",
        len(train),
        sum(len(train[index].input_ids) for index in real),
        len(rows),
        options.max_length,
        optimiser_steps(len(rows), options.batch_size, options.gradient_accumulation_steps),
        arguments.world_size,
        "" if arguments.world_size == 1 else "es",
        "NF4" if options.quantisation == "nf4" else str(dtype).removeprefix("torch."),
        str(dtype).removeprefix("torch."),
        trained / 1e6,
        whole / 1e6,
    )
    if resume_from:
        logger.info("resuming from step %d (%s)", step_of(resume_from), resume_from)


def _publish(config: WorkerConfig, trainer: AdapterTrainer) -> None:
    """Make the best adapter the result: its base named for plain PEFT, the log beside it."""
    with atomic_folder(config.output_folder / "adapter") as incoming:
        shutil.copytree(config.output_folder / "best", incoming, dirs_exist_ok=True)
        file = incoming / "adapter_config.json"
        description = json.loads(file.read_text("utf-8"))
        description["base_model_name_or_path"] = config.base_reference
        description["revision"] = config.base_revision
        file.write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", "utf-8")
    logger.info(
        "best validation loss %.4f at step %s",
        trainer.state.best_metric,
        trainer.state.best_global_step,
    )


def _leave_at_once() -> None:
    """End this process without taking its objects apart; all of its work is on the disk.

    Taken apart, now and then one of several processes hangs: the interpreter waits for the threads
    of gloo with its lock in hand, and they wait for the lock.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def leave_with_parent() -> None:
    """End this process when the program that started it ends, even by a kill.

    Its end closes the pipe that is our standard input; a training that went on alone would write
    into the folder of the next one.
    """

    def wait() -> None:
        while os.read(0, 1):  # nobody writes; no bytes mean that the other end is gone
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    arguments = sys.argv[1:]
    if WITH_PARENT in arguments:
        arguments.remove(WITH_PARENT)
        leave_with_parent()
    if len(arguments) != 1:
        raise SystemExit("usage: python -m mental_slm.training.worker config.json")
    main(Path(arguments[0]))
