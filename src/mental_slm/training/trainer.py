"""The Trainer of an adapter: transformers' own, with this project's loss, validation and log."""

import logging
import math
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mental_slm.storage import atomic_folder
from mental_slm.training.batches import IGNORED, count_tokens
from mental_slm.training.checkpoints import mark_whole
from mental_slm.training.loss import answer_loss

logger = logging.getLogger(__name__)


class AdapterTrainer(Trainer):
    """Trains an adapter on packed rows and keeps the one that does best on the validation pairs.

    Args:
        compute_dtype: What the model computes in, see :func:`answer_loss`.
        best_folder: Receives the adapter with the lowest validation loss so far.
        **settings: As for ``transformers.Trainer``; ``eval_dataset`` holds collated batches.
    """

    #: The loss of a micro-batch is its sum over the tokens of the whole optimiser step.
    loss_is_scaled_for_ga = True

    def __init__(self, compute_dtype: torch.dtype, best_folder: Path, **settings: Any) -> None:
        self._pace = Pace()
        super().__init__(callbacks=[self._pace, MarkCheckpoints()], **settings)
        self.remove_callback(PrinterCallback)  # prints; the log line below says the same
        self._compute_dtype = compute_dtype
        self._best_folder = best_folder

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # the rows are laid out in order for the whole run, see batches.plan_rows
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return torch.utils.data.SequentialSampler(rows)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the micro-batch's share of the step's mean loss per answer token.

        Raises:
            FloatingPointError: The loss is not a number; names the step and the remedy.
        """
        loss = answer_loss(model, inputs, self._compute_dtype)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {self.state.global_step + 1} of "
                f"{self.state.max_steps}; lower fine_tuning.learning_rate "
                f"(now {self.args.learning_rate:g}) or raise fine_tuning.warmup"
            )
        self._pace.tokens += count_tokens(inputs)
        return loss / num_items_in_batch

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the validation loss, and keep the adapter if it is the best so far.

        Returns:
            ``{"eval_loss": nats per answer token}``.

        Raises:
            FloatingPointError: The validation loss is not a number.
        """
        batches: Any = self.eval_dataset
        loss = mean_loss(self.model, batches, self._compute_dtype)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the validation loss became {loss} at step {self.state.global_step}; "
                "lower fine_tuning.learning_rate"
            )
        is_best = self.state.best_metric is None or loss < self.state.best_metric
        if is_best:
            self.state.best_metric = loss
            self.state.best_global_step = self.state.global_step
            save_adapter(self.model, self._best_folder)
        logger.info(
            "step %d/%d  validation loss %.4f%s",
            self.state.global_step,
            self.state.max_steps,
            loss,
            "  (best so far)" if is_best else "",
        )
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add pace and memory to the figures of an interval, write a line, keep them."""
        if "loss" in logs:
            logs |= self._pace.measure(self.state)
            logger.info(
                "step %d/%d  loss %.4f  lr %.2e  grad %.2f  %.0f tokens/s  %s left  peak %.0f MB",
                self.state.global_step,
                self.state.max_steps,
                logs["loss"],
                logs["learning_rate"],
                logs["grad_norm"],
                logs["tokens_per_second"],
                clock(logs["seconds_left"]),
                logs["peak_memory_mb"],
            )
        super().log(logs, start_time)


class Pace(TrainerCallback):
    """Measures training alone: the clock stands still during validation and saving."""

    def __init__(self) -> None:
        self.tokens = 0
        self._seconds = 0.0
        self._started = 0.0
        self._steps = 0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock."""
        self._seconds += time.perf_counter() - self._started
        self._steps += 1

    def measure(self, state: TrainerState) -> dict[str, float]:
        """Return the figures since the last call, and begin a new interval."""
        seconds = max(self._seconds, 1e-9)
        figures = {
            "tokens": self.tokens,
            "tokens_per_second": self.tokens / seconds,
            "seconds_left": seconds / max(self._steps, 1) * (state.max_steps - state.global_step),
            "peak_memory_mb": peak_memory_mb(),
        }
        self.tokens, self._seconds, self._steps = 0, 0.0, 0
        return figures


class MarkCheckpoints(TrainerCallback):
    """Marks each checkpoint as whole, once the Trainer has written all of it."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the mark."""
        assert args.output_dir is not None
        mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")


@torch.no_grad()
def mean_loss(model: Any, batches: Sequence[dict[str, torch.Tensor]], dtype: torch.dtype) -> float:
    """Return the mean loss per answer token over batches, in nats, without dropout.

    The 4-bit layers themselves stay in training mode. In evaluation mode bitsandbytes 0.50 repacks
    their weights for its AVX512-BF16 kernel, in place and for good; the training steps after that
    would run through the repacked weights without a gradient, and say nothing.
    """
    was_training = model.training
    model.eval()
    for module in model.modules():
        if type(module).__name__ == "Linear4bit" and type(module).__module__.startswith(
            "bitsandbytes"
        ):
            module.train()
    total, tokens = 0.0, 0
    for batch in batches:
        total += answer_loss(model, batch, dtype).item()
        tokens += int(batch["labels"][:, 1:].ne(IGNORED).sum())
    model.train(was_training)
    return total / tokens


def save_adapter(model: Any, folder: Path) -> None:
    """Write an adapter, its weights in float32 safetensors, so that it is never half there."""
    with atomic_folder(folder) as incoming:
        # embeddings are never trained; "auto" would ask the hub about the base's vocabulary
        model.save_pretrained(incoming, save_embedding_layers=False)
        (incoming / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def peak_memory_mb() -> float:
    """Return the most memory this process has held: on the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS counts bytes


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
