"""The program that trains an adapter.

    python -m mental_slm.training.worker config.json

It is a plain program: a config file in, a folder out, no Kedro. The same command goes on where a
killed one stopped, and ends with the same weights, bit for bit, as one that was left alone (on a
CPU, with the same number of threads).
"""

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import TrainingArguments, set_seed

from mental_slm.fingerprints import Fingerprint, digest_code, digest_file
from mental_slm.language_model.chat import EncodedPair
from mental_slm.language_model.loading import (
    device,
    has_bf16_cpu,
    load_model,
    load_model_nf4,
    use_threads,
)
from mental_slm.storage import atomic_folder, write_text
from mental_slm.training.batches import (
    PackedRows,
    collate,
    optimiser_steps,
    plan_rows,
    read_pairs,
)
from mental_slm.training.checkpoints import KEPT, open_checkpoints, step_of
from mental_slm.training.config import LoraOptions, TrainingOptions, WorkerConfig, read_config
from mental_slm.training.loss import check_head
from mental_slm.training.trainer import AdapterTrainer

logger = logging.getLogger(__name__)


def main(config_file: Path) -> None:
    """Train the adapter that a config file describes.

    Args:
        config_file: See :class:`mental_slm.training.config.WorkerConfig`. Afterwards its
            ``output_folder`` holds ``adapter/`` and ``training_log.json``.
    """
    config = read_config(config_file)
    options = config.training
    use_threads(config.threads)
    train, validation = read_pairs(config.train_file), read_pairs(config.validation_file)
    checkpoints = config.output_folder / "checkpoints"
    resume_from = open_checkpoints(checkpoints, describe_run(config))
    rows = _plan(train, options)
    dtype = compute_dtype()
    model = build_model(config, dtype)
    check_head(model, train[0].input_ids[:32])
    with disable_input_dtype_casting(model):  # autocast casts; PEFT would cast to float32 and back
        trainer = AdapterTrainer(
            compute_dtype=dtype,
            best_folder=config.output_folder / "best",
            model=model,
            args=_arguments(options, checkpoints),
            train_dataset=PackedRows(train, rows),
            eval_dataset=_validation_batches(validation, options),
            data_collator=collate,
        )
        _announce(train, rows, options, model, dtype, resume_from)
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    _publish(config, trainer)


def describe_run(config: WorkerConfig) -> Fingerprint:
    """Return what decides whether a checkpoint belongs to this run."""
    return Fingerprint.of(
        "checkpoints",
        base=config.base_digest,
        train_pairs=digest_file(config.train_file),
        validation_pairs=digest_file(config.validation_file),
        options=config.training.model_dump(mode="json"),
        code=digest_code("mental_slm.training", "mental_slm.language_model"),
    )


def compute_dtype() -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it, else float32."""
    fast = torch.cuda.is_bf16_supported() if device() == "cuda" else has_bf16_cpu()
    return torch.bfloat16 if fast else torch.float32


def build_model(config: WorkerConfig, dtype: torch.dtype) -> PeftModel:
    """Load the frozen base and put a seeded adapter (float32) on its linear layers."""
    options = config.training
    name: Literal["bfloat16", "float32"] = "bfloat16" if dtype == torch.bfloat16 else "float32"
    if options.quantisation == "nf4":
        base = load_model_nf4(config.base_folder, dtype=name)
    else:
        base = load_model(config.base_folder, dtype=name)
    set_seed(options.seed)  # before the adapter exists: its first matrix is drawn at random
    model = get_peft_model(base, _lora(options.lora))
    if options.activation_checkpointing:
        # the reentrant kind would need an input with a gradient, which a frozen base has not
        base.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    model.train()
    return model


def _lora(options: LoraOptions) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.targets,
    )


def _plan(train: list[EncodedPair], options: TrainingOptions) -> list[list[int]]:
    per_step = options.batch_size * options.gradient_accumulation_steps
    return plan_rows(
        lengths=[len(pair.input_ids) for pair in train],
        capacity=options.max_length,
        rows=None if options.max_steps is None else options.max_steps * per_step,
        epochs=options.num_epochs,
        seed=options.seed,
    )


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


def _arguments(options: TrainingOptions, checkpoints: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=1,  # the planned rows are the whole run
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup,  # below 1 it is a share of the steps
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,  # a loss that is not a number must stop the run
        eval_strategy="steps",
        eval_steps=options.eval_steps,
        save_strategy="steps",
        save_steps=options.save_steps,
        save_total_limit=KEPT,
        seed=options.seed,
        use_cpu=device() == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",  # its warnings are about clusters and file times
    )


def _announce(
    train: list[EncodedPair],
    rows: list[list[int]],
    options: TrainingOptions,
    model: PeftModel,
    dtype: torch.dtype,
    resume_from: Path | None,
) -> None:
    trained, whole = model.get_nb_trainable_parameters()
    tokens = sum(len(train[index].input_ids) for row in rows for index in row)
    logger.info(
        "%d pairs, %d tokens in %d rows of %d, %d steps; %s weights, %s compute; "
        "%.2f M of %.0f M weights are trained",
        len(train),
        tokens,
        len(rows),
        options.max_length,
        optimiser_steps(len(rows), options.batch_size, options.gradient_accumulation_steps),
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
    log = [_entry(figures) for figures in trainer.state.log_history if _is_interval(figures)]
    write_text(config.output_folder / "training_log.json", json.dumps(log, indent=2) + "\n")
    logger.info(
        "best validation loss %.4f at step %s",
        trainer.state.best_metric,
        trainer.state.best_global_step,
    )


def _is_interval(figures: dict[str, Any]) -> bool:
    return "loss" in figures or "eval_loss" in figures


def _entry(figures: dict[str, Any]) -> dict[str, Any]:
    """Return one entry of the training log in the order people read it."""
    names = {
        "step": "step",
        "loss": "loss",
        "eval_loss": "validation_loss",
        "learning_rate": "learning_rate",
        "grad_norm": "grad_norm",
        "tokens": "tokens",
        "tokens_per_second": "tokens_per_second",
        "seconds_left": "seconds_left",
        "peak_memory_mb": "peak_memory_mb",
    }
    return {name: figures[key] for key, name in names.items() if key in figures}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m mental_slm.training.worker config.json")
    main(Path(sys.argv[1]))
