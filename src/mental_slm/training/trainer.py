"""The Trainer of an adapter: transformers' own, with this project's loss, validation and log."""

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mental_slm.storage import atomic_folder, write_text
from mental_slm.training.batches import IGNORED, count_tokens
from mental_slm.training.checkpoints import CheckpointNotSaved, describe_newest, mark_whole
from mental_slm.training.loss import answer_loss

logger = logging.getLogger(__name__)

#: Figures of the Trainer and their names in the log, in the order people read them.
LOGGED = {
    "step": "step",
    "loss": "loss",
    "eval_loss": "validation_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "tokens": "tokens",
    "tokens_per_second": "tokens_per_second",
    "share_of_roof": "share_of_roof",
    "seconds_left": "seconds_left",
    "peak_memory_mb": "peak_memory_mb",
}


class AdapterTrainer(Trainer):
    """Trains an adapter on packed rows and keeps the one that does best on the validation pairs.

    With several processes each takes its micro-batches of a step and its share of the validation;
    losses are weighted by the labelled tokens of all, so that the step is the one a single process
    would take.

    Args:
        compute_dtype: What the model computes in, see :func:`answer_loss`.
        output_folder: Receives ``best/``, the adapter with the lowest validation loss so far, and
            ``training_log.jsonl``, one line per interval.
        name_pairs: Rows of the training set to the names of their pairs, for messages.
        roof: Tokens per second that the hardware could do at most, if known.
        patience: Validations in a row without a lower loss that end the training, if any.
        observers: Further callbacks.
        keep_best: Whether the best adapter is written; without, only its loss is remembered.
        **settings: As for ``transformers.Trainer``; rows carry their number as ``rows``, and
            ``eval_dataset`` holds collated batches.
    """

    #: The loss of a micro-batch is its sum over the tokens of the whole optimiser step.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        compute_dtype: torch.dtype,
        output_folder: Path,
        name_pairs: Callable[[list[int]], list[str]],
        roof: float | None = None,
        patience: int | None = None,
        observers: Sequence[TrainerCallback] = (),
        keep_best: bool = True,
        **settings: Any,
    ) -> None:
        self._pace = Pace(roof)
        super().__init__(callbacks=[self._pace, MarkCheckpoints(), *observers], **settings)
        self.remove_callback(PrinterCallback)  # prints; the log line below says the same
        self._compute_dtype = compute_dtype
        self._output_folder = output_folder
        self._name_pairs = name_pairs
        self._patience = patience
        self._keep_best = keep_best
        self._rows_of_step: list[int] = []

    @property
    def best_folder(self) -> Path:
        """Where the adapter with the lowest validation loss lies."""
        return self._output_folder / "best"

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
            FloatingPointError: The loss is not a number; names the step, the pairs and the remedy.
        """
        rows = inputs["rows"].tolist()
        self._rows_of_step += rows
        loss = through_wrapper(model, lambda bare: answer_loss(bare, inputs, self._compute_dtype))
        if not math.isfinite(loss.item()):
            raise FloatingPointError(self._explain_divergence("the loss", loss.item(), rows))
        self._pace.tokens += count_tokens(inputs)
        # several processes: their gradients are averaged, where a sum is meant
        return loss * self.args.world_size / num_items_in_batch

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stop before a gradient that is not a number reaches the weights."""
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(
                self._explain_divergence("the gradient", float(norm), self._rows_of_step)
            )
        self._rows_of_step = []
        return norm

    def _explain_divergence(self, what: str, value: float, rows: list[int]) -> str:
        pairs = self._name_pairs(rows)
        named = ", ".join(pairs[:10]) + (f" and {len(pairs) - 10} more" if len(pairs) > 10 else "")
        return (
            f"{what} became {value} at step {self.state.global_step + 1} of {self.state.max_steps} "
            f"(pairs {named}); lower fine_tuning.learning_rate (now {self.args.learning_rate:g}), "
            f"raise fine_tuning.warmup, or look at these pairs. {self._describe_kept()}"
        )

    def _describe_kept(self) -> str:
        checkpoints = describe_newest(Path(str(self.args.output_dir)))
        if self.state.best_metric is None:
            return f"No adapter was validated yet; {checkpoints}"
        if not self._keep_best:
            return f"The lowest validation loss so far was {self.state.best_metric:.4f}"
        return (
            f"The adapter of step {self.state.best_global_step}, with a validation loss of "
            f"{self.state.best_metric:.4f}, is kept in {self.best_folder}; {checkpoints}"
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the validation loss, and keep the adapter if it is the best so far.

        Returns:
            ``{"eval_loss": nats per answer token}``.

        Raises:
            FloatingPointError: The validation loss is not a number.
        """
        batches: Any = self.eval_dataset
        rank, processes = self.args.process_index, self.args.world_size
        sums = torch.tensor(
            summed_loss(self.model, batches[rank::processes], self._compute_dtype),
            dtype=torch.float64,
            device=self.args.device,
        )
        if processes > 1:
            dist.all_reduce(sums)
        loss = (sums[0] / sums[1]).item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the validation loss became {loss} at step {self.state.global_step}; lower "
                f"fine_tuning.learning_rate. {self._describe_kept()}"
            )
        is_best = self.state.best_metric is None or loss < self.state.best_metric
        if is_best:
            if self._keep_best and self.is_world_process_zero():
                with self._saving("the best adapter"):
                    save_adapter(self.model, self.best_folder)
            self.state.best_metric = loss
            self.state.best_global_step = self.state.global_step
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
        self._stop_early()
        return metrics

    def _stop_early(self) -> None:
        # counted in steps, which checkpoints keep, so that a resumed run stops at the same one
        waited = self.state.global_step - (self.state.best_global_step or 0)
        if self._patience is not None and waited >= self._patience * (self.args.eval_steps or 1):
            logger.info(
                "stopping early: no lower validation loss since step %d",
                self.state.best_global_step,
            )
            self.control.should_training_stop = True
            self.control.should_save = False  # resumed behind its end, it would train on

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self._saving("a checkpoint"):
            super()._save_checkpoint(*args, **kwargs)

    @contextmanager
    def _saving(self, what: str) -> Iterator[None]:
        """Turn the many ways in which a full disk shows into one sentence."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointNotSaved(
                f"{what} of step {self.state.global_step} could not be written to "
                f"{self._output_folder} ({error}); make room, then run the same command to go on. "
                f"{self._describe_kept()}"
            ) from error

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add pace and memory to the figures of an interval, write a line, keep them."""
        if "loss" in logs:
            logs |= self._pace.measure(self.state, self.args)
            roof = logs.get("share_of_roof")
            logger.info(
                "step %d/%d  loss %.4f  lr %.2e  grad %.2f  %.0f tokens/s%s  %s left  peak %.0f MB",
                self.state.global_step,
                self.state.max_steps,
                logs["loss"],
                logs["learning_rate"],
                logs["grad_norm"],
                logs["tokens_per_second"],
                "" if roof is None else f" ({roof:.0%} of the roof)",
                clock(logs["seconds_left"]),
                logs["peak_memory_mb"],
            )
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self._write_log()

    def _write_log(self) -> None:
        """Write all intervals so far, those before a resumed checkpoint included."""
        intervals = (
            {name: figures[key] for key, name in LOGGED.items() if key in figures}
            for figures in self.state.log_history
            if "loss" in figures or "eval_loss" in figures
        )
        text = "".join(json.dumps(interval) + "\n" for interval in intervals)
        write_text(self._output_folder / "training_log.jsonl", text)


class Pace(TrainerCallback):
    """Measures training alone: the clock stands still during validation and saving.

    Args:
        roof: Tokens per second that the hardware could do at most, if known.
    """

    def __init__(self, roof: float | None) -> None:
        self.tokens = 0
        self._roof = roof
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

    def measure(self, state: TrainerState, args: TrainingArguments) -> dict[str, float]:
        """Return the figures since the last call, all processes together; begin a new interval."""
        seconds = max(self._seconds, 1e-9)
        if args.world_size > 1:
            counts = torch.tensor(self.tokens, device=args.device)
            dist.all_reduce(counts)
            self.tokens = int(counts)
        pace = self.tokens / seconds
        figures = {
            "tokens": self.tokens,
            "tokens_per_second": pace,
            **({"share_of_roof": pace / self._roof} if self._roof else {}),
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
        """Write the mark, once every process has written its part."""
        if args.world_size > 1:
            dist.barrier()
        if state.is_world_process_zero:
            mark_whole(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


def through_wrapper(model: Any, call: Callable[[torch.nn.Module], torch.Tensor]) -> torch.Tensor:
    """Return ``call(model)``; for a model shared by several processes, inside its ``forward``.

    Only there does DistributedDataParallel prepare to average the gradients; a loss that goes past
    it would leave every process with its own.
    """
    if not isinstance(model, DistributedDataParallel):
        return call(model)
    bare = model.module

    def forward() -> torch.Tensor:
        del bare.forward  # the call itself uses the class's own method again
        return call(bare)

    bare.forward = forward
    result: torch.Tensor = model()
    return result


def mean_loss(model: Any, batches: Sequence[dict[str, torch.Tensor]], dtype: torch.dtype) -> float:
    """Return the mean loss per answer token over batches, in nats, without dropout."""
    total, tokens = summed_loss(model, batches, dtype)
    return total / tokens


@torch.no_grad()
def summed_loss(
    model: Any, batches: Sequence[dict[str, torch.Tensor]], dtype: torch.dtype
) -> tuple[float, int]:
    """Return the loss summed over all answer tokens of batches, and how many they are.

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
    return total, tokens


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
