"""Short trainings on one base model that stays in memory, to compare settings.

A trial is the training that the worker would do, with the same rows, seeds, Trainer and loss; only
its adapter is thrown away, and no checkpoint is written. Each trial puts a fresh adapter on the base
and takes it off again, so a trial's losses do not depend on those before it.
"""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mental_slm.language_model.loading import use_threads
from mental_slm.training.batches import read_pairs
from mental_slm.training.config import TrainingOptions, WorkerConfig
from mental_slm.training.loss import check_head
from mental_slm.training.worker import (
    build_trainer,
    check_bitsandbytes,
    compute_dtype,
    lay_out_rows,
    load_base,
    put_adapter,
    run_trainer,
    take_adapter_off,
    trainer_arguments,
)

logger = logging.getLogger(__name__)

#: Told of a validation: step, steps of the trial, loss. Says whether to stop the trial.
Observer = Callable[[int, int, float], bool]


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to.

    Attributes:
        validation_loss: The lowest, in nats per answer token.
        steps: Optimiser steps done.
        tokens: Real tokens learned from.
        stopped: Whether the observer stopped it.
    """

    validation_loss: float
    steps: int
    tokens: int
    stopped: bool


class TrialBench:
    """A loaded base model on which trials run one after the other.

    Args:
        base_folder: Folder of the base model.
        options: ``quantisation``, ``cached_weights`` and ``compute`` count; every trial must have
            the same.
        threads: CPU threads.

    Raises:
        ValueError: The hardware or a package cannot do what the options ask for.
    """

    def __init__(self, base_folder: Path, options: TrainingOptions, threads: Any) -> None:
        self._options = options
        self._dtype = compute_dtype(options.compute)
        check_bitsandbytes(options)
        use_threads(threads)
        self._base: Any = load_base(base_folder, options, self._dtype)
        self._checked = False

    def run(self, config: WorkerConfig, observe: Observer) -> TrialResult:
        """Train as the worker would, and forget the adapter.

        Args:
            config: As for the worker; ``output_folder`` receives ``training_log.jsonl``.
            observe: Told of every validation.

        Raises:
            FloatingPointError: The loss became something that is no number.
            ValueError: The base is loaded in another form than the trial asks for, or has no layer
                of a name in ``lora``.
        """
        options = config.training
        for name in ("quantisation", "cached_weights", "compute"):
            if getattr(options, name) != getattr(self._options, name):
                raise ValueError(f"{name}: the base was loaded with another; load it again")
        check_bitsandbytes(options)
        config.output_folder.mkdir(parents=True, exist_ok=True)
        model = put_adapter(self._base, options)
        try:
            return self._train(model, config, observe)
        finally:
            self._base = take_adapter_off(model)
            gc.collect()  # the Trainer and its optimizer hold on to each other
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _train(self, model: PeftModel, config: WorkerConfig, observe: Observer) -> TrialResult:
        options, watch = config.training, _Watch(observe)
        train, validation = read_pairs(config.train_file), read_pairs(config.validation_file)
        rows = lay_out_rows(train, options)
        if not self._checked:
            check_head(model, train[0].input_ids[:32])
            self._checked = True
        trainer = build_trainer(
            config,
            model,
            trainer_arguments(options, config.output_folder, saves=False),
            train,
            validation,
            rows,
            self._dtype,
            callbacks=[watch],
            keep_best=False,
        )
        run_trainer(trainer, options)
        state = trainer.state
        assert state.best_metric is not None  # the last step is always validated
        seen = state.global_step * options.batch_size * options.gradient_accumulation_steps
        return TrialResult(
            validation_loss=state.best_metric,
            steps=state.global_step,
            tokens=sum(len(train[pair].input_ids) for row in rows[:seen] for pair in row),
            stopped=watch.stopped,
        )


class _Watch(TrainerCallback):
    """Passes validations on, and ends the training when told to."""

    def __init__(self, observe: Observer) -> None:
        self.stopped = False
        self._observe = observe

    def on_evaluate(  # type: ignore[override]
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Report a validation."""
        if self._observe(state.global_step, state.max_steps, metrics["eval_loss"]):
            self.stopped = control.should_training_stop = True
