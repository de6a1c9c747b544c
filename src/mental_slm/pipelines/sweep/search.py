"""The search: recipes first, then what the study proposes, all on one loaded base."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout

from mental_slm.fingerprints import digest, digest_code
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.sweep.options import SweepOptions
from mental_slm.pipelines.sweep.study import (
    finished_trials,
    make_sampler,
    name_place,
    open_study,
    requeue_killed,
)
from mental_slm.references import ModelRef
from mental_slm.storage import write_text
from mental_slm.training.batches import write_pairs
from mental_slm.training.checkpoints import require_writable
from mental_slm.training.config import LoraOptions, TrainingOptions, WorkerConfig
from mental_slm.training.encoding import EncodedSplit, encode_split, first_by_id
from mental_slm.training.options import FineTuningOptions, LauncherOptions
from mental_slm.training.plan import PlanImpossible
from mental_slm.training.planning import describe_hardware, make_plan
from mental_slm.training.trial import TrialBench, TrialResult
from mental_slm.training.worker import lay_out_rows

logger = logging.getLogger(__name__)

#: Seconds that a new sweep waits for a killed one to let go of the workspace.
LOCK_SECONDS = 30

CODE = ("mental_slm.training", "mental_slm.language_model", "mental_slm.pipelines.sweep")


@dataclass(frozen=True)
class Search:
    """A search over the settings of an adapter.

    Attributes:
        train: Pairs to learn from.
        validation: Pairs that losses are measured on.
        base: The frozen model.
        model: ``threads`` counts.
        around: The fine-tuning whose learning rate, rank and scale are searched.
        options: Space and budget.
        workspace: Keeps tokens, the study and the logs of trials.
    """

    train: EncodedSplit
    validation: EncodedSplit
    base: ModelRef
    model: ModelOptions
    around: FineTuningOptions
    options: SweepOptions
    workspace: Path

    @classmethod
    def prepare(
        cls,
        pairs_train: list[dict[str, Any]],
        pairs_val: list[dict[str, Any]],
        base: ModelRef,
        model: ModelOptions,
        around: FineTuningOptions,
        options: SweepOptions,
        workspace: Path,
    ) -> "Search":
        """Encode the pairs and check what can be checked without loading the base.

        Raises:
            ValueError: There are no pairs, or ``sweep.recipes`` names a recipe that is not there.
            FolderNotWritable: The workspace cannot be written to.
        """
        require_writable(workspace)
        for name in options.recipes:
            if name not in around.recipes:
                raise ValueError(
                    f"sweep.recipes: there is no {name!r}; fine_tuning.recipes holds "
                    f"{', '.join(around.recipes) or 'none'}"
                )
        tokenizer = load_tokenizer(base.path)
        few = first_by_id(pairs_val, options.validation_pairs)
        return cls(
            train=encode_split("train", pairs_train, tokenizer, around.max_length),
            validation=encode_split("val", few, tokenizer, around.max_length),
            base=base,
            model=model,
            around=around,
            options=options,
            workspace=workspace,
        )

    def run(self) -> list[dict[str, Any]]:
        """Try what is left to try; return all finished trials.

        Raises:
            ValueError: No trial came to its end, so that there is nothing to choose from.
            RuntimeError: Another sweep is at work in the workspace.
        """
        with self._alone():
            self._write_pairs()
            study = open_study(self.study_name, self.options, self.workspace)
            place = name_place(self.workspace)
            requeue_killed(study, place, shared=self.options.storage is not None)
            self._queue_recipes(study)
            self._try_all(study, place)
            trials = [self.describe(trial) for trial in finished_trials(study)]
        if not any(trial["state"] == "complete" for trial in trials):
            reasons = "; ".join(sorted({trial["reason"] for trial in trials}))
            raise ValueError(
                f"sweep: none of {len(trials)} trials came to its end ({reasons}); lower "
                "sweep.learning_rate.high or the ranks in sweep.r"
            )
        return trials

    @cached_property
    def study_name(self) -> str:
        """What decides whether trials can be compared, in one name."""
        kept = {"n_trials", "storage", "timeout"}
        return "sweep-" + digest(
            {
                "pairs": [
                    [pair.input_ids for pair in s.pairs] for s in (self.train, self.validation)
                ],
                "base": self.base.digest,
                "around": self.around.asked(),
                "recipes": [self.around.recipes[name] for name in self.options.recipes],
                "options": self.options.model_dump(mode="json", exclude=kept),
                "code": digest_code(*CODE),
            }
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second sweep out of the workspace, by a lock that the system frees at any end."""
        lock = FileLock(self.workspace / ".sweep.lock")
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise RuntimeError(
                f"{self.workspace}: another sweep is at work here; wait for it, or share a storage "
                "from another clone (sweep.storage)"
            ) from error
        with lock:
            yield

    def _write_pairs(self) -> None:
        write_pairs(self.workspace / "train.jsonl", self.train.pairs)
        write_pairs(self.workspace / "validation.jsonl", self.validation.pairs)
        write_text(self.workspace / "train_ids.txt", "".join(f"{one}\n" for one in self.train.ids))

    def _queue_recipes(self, study: optuna.Study) -> None:
        if study.get_trials(deepcopy=False):
            return
        for name in self.options.recipes:
            point = self._in_space(self.recipe(name)) if name == self.around.recipe else None
            study.enqueue_trial(
                point or {}, user_attrs={"recipe": name, "searched": point is not None}
            )

    def recipe(self, name: str) -> FineTuningOptions:
        """Return a recipe; the one that is followed, with what the user set over it."""
        if name == self.around.recipe:
            return self.around
        return FineTuningOptions(recipes=self.around.recipes, recipe=name)

    def _in_space(self, recipe: FineTuningOptions) -> dict[str, Any] | None:
        """Return a recipe as a point of the space, None if it lies outside."""
        span, lora = self.options.learning_rate, recipe.lora
        inside = (
            span.low <= recipe.learning_rate <= span.high
            and lora.r in self.options.r
            and lora.alpha / lora.r in self.options.alpha_over_r
        )
        point = {
            "learning_rate": recipe.learning_rate,
            "r": lora.r,
            "alpha_over_r": lora.alpha / lora.r,
        }
        return point if inside else None

    def _try_all(self, study: optuna.Study, place: str) -> None:
        begin, done = time.monotonic(), len(finished_trials(study))
        logger.info(
            "%s: %d of %d trials are finished", study.study_name, done, self.options.n_trials
        )
        while (done := len(finished_trials(study))) < self.options.n_trials:
            late = self.options.timeout and time.monotonic() - begin >= self.options.timeout
            if done and late:
                logger.info("sweep.timeout: %d of %d trials", done, self.options.n_trials)
                break
            study.sampler = make_sampler(self.options.seed, done)
            study.optimize(lambda trial: self._try(trial, place), n_trials=1)

    def _try(self, trial: optuna.Trial, place: str) -> float:
        trial.set_user_attr("place", place)
        asked = self._settle(trial)
        lora = asked.lora
        trial.set_user_attr("learning_rate", asked.learning_rate)
        trial.set_user_attr("lora", lora.model_dump(mode="json"))
        name = trial.user_attrs.get("recipe")
        logger.info(
            "trial %d%s: learning rate %.2e, r %d, alpha %d",
            trial.number,
            f" (recipe {name})" if name else "",
            asked.learning_rate,
            lora.r,
            lora.alpha,
        )
        begin = time.monotonic()
        try:
            result = self._train(trial, asked)
        except (FloatingPointError, PlanImpossible) as error:
            # not a failure of the search: such settings are to be kept away from
            trial.set_user_attr("reason", str(error).partition(";")[0])
            logger.info("trial %d: %s", trial.number, trial.user_attrs["reason"])
            raise optuna.TrialPruned from error
        trial.set_user_attr("seconds", round(time.monotonic() - begin, 2))
        trial.set_user_attr("steps", result.steps)
        trial.set_user_attr("tokens", result.tokens)
        logger.info(
            "trial %d: validation loss %.4f after %d tokens%s",
            trial.number,
            result.validation_loss,
            result.tokens,
            ", pruned" if result.stopped else "",
        )
        if result.stopped:
            trial.set_user_attr("reason", "worse than others at the same point")
            raise optuna.TrialPruned
        return result.validation_loss

    def _settle(self, trial: optuna.Trial) -> FineTuningOptions:
        """Return the fine-tuning that a trial stands for: a recipe, or a point of the space."""
        name = trial.user_attrs.get("recipe")
        if name is not None and not trial.user_attrs["searched"]:
            return self._alike(self.recipe(name))
        span = self.options.learning_rate
        rate = trial.suggest_float("learning_rate", span.low, span.high, log=True)
        r = trial.suggest_categorical("r", self.options.r)
        ratio = trial.suggest_categorical("alpha_over_r", self.options.alpha_over_r)
        lora = self.around.lora.model_copy(update={"r": r, "alpha": round(r * ratio)})
        return self._alike(
            self.around.model_copy(
                update={"learning_rate": rate, "lora": LoraOptions(**dict(lora))}
            )
        )

    def _alike(self, recipe: FineTuningOptions) -> FineTuningOptions:
        """Return a recipe with what all trials have in common."""
        common = ("max_length", "quantisation", "compute", "seed", "cached_weights")
        return recipe.model_copy(
            update={
                **{name: getattr(self.around, name) for name in common},
                "plan": self.around.plan.model_copy(update={"card": "auto"}),
                "launcher": LauncherOptions(),
                "early_stopping": None,
            }
        )

    def _train(self, trial: optuna.Trial, asked: FineTuningOptions) -> TrialResult:
        training = self.budget(asked)
        config = WorkerConfig(
            base_folder=self.base.path.resolve(),
            base_digest=self.base.digest,
            base_reference=str(self.base.path.resolve()),
            train_file=self.workspace / "train.jsonl",
            validation_file=self.workspace / "validation.jsonl",
            pair_ids_file=self.workspace / "train_ids.txt",
            output_folder=self.workspace / self.study_name / f"trial-{trial.number}",
            threads=self.model.threads,
            training=training,
        )
        write_text(config.output_folder / "config.json", config.model_dump_json(indent=2) + "\n")

        def observe(step: int, steps: int, loss: float) -> bool:
            trial.report(loss, -(-step * self.options.validations // steps))
            return step < steps and trial.should_prune()

        return self._bench.run(config, observe)

    def budget(self, asked: FineTuningOptions) -> TrainingOptions:
        """Return the worker's options of a trial: planned for this machine, cut to the budget."""
        decided = self._plan(asked.model_copy(update={"cached_weights": self._cached}))
        all_tokens = sum(len(pair.input_ids) for pair in self.train.pairs)
        rest = {
            "cached_weights": self._cached,
            "num_epochs": self.options.tokens / all_tokens,
            "max_steps": self.options.max_steps,
        }
        training = asked.training(decided | rest)
        rows = len(lay_out_rows(self.train.pairs, training))
        steps = -(-rows // (training.batch_size * training.gradient_accumulation_steps))
        between = -(-steps // self.options.validations)
        return training.model_copy(update={"eval_steps": between, "logging_steps": between})

    @cached_property
    def _cached(self) -> bool:
        """Whether the frozen weights are kept multiplied out: only if every trial has room for it."""
        if self.around.cached_weights != "auto" or self.around.quantisation == "none":
            return self.around.cached_weights is True
        try:
            return all(self._plan(self._alike(one))["cached_weights"] for one in self._extremes())
        except PlanImpossible:
            return False

    def _extremes(self) -> Iterator[FineTuningOptions]:
        r, ratio = max(self.options.r), max(self.options.alpha_over_r)
        lora = self.around.lora.model_copy(update={"r": r, "alpha": round(r * ratio)})
        yield self.around.model_copy(update={"lora": lora})
        yield from map(self.recipe, self.options.recipes)

    def _plan(self, asked: FineTuningOptions) -> dict[str, Any]:
        config = json.loads((self.base.path / "config.json").read_text("utf-8"))
        plan = make_plan(self.base.name, config, asked, describe_hardware(asked))
        return plan.settle(asked.asked())

    @cached_property
    def _bench(self) -> TrialBench:
        """The base, loaded when the first trial needs it: a finished study needs none."""
        form = self.around.training({"cached_weights": self._cached})
        return TrialBench(self.base.path, form, self.model.threads)

    def describe(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        """Return a finished trial as a row of the table."""
        facts = trial.user_attrs
        r, alpha = facts["lora"]["r"], facts["lora"]["alpha"]
        targets = facts["lora"]["targets"]
        losses = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        return {
            "trial": trial.number,
            "recipe": facts.get("recipe", ""),
            "searched": facts.get("searched", True),
            "state": trial.state.name.lower(),
            "validation_loss": trial.value
            if trial.state.name == "COMPLETE"
            else min(losses, default=float("nan")),
            "learning_rate": facts["learning_rate"],
            "r": r,
            "alpha": alpha,
            "alpha_over_r": alpha / r,
            "targets": targets if isinstance(targets, str) else ", ".join(targets),
            "validation_steps": sorted(trial.intermediate_values),
            "validation_losses": losses,
            "steps": facts.get("steps", 0),
            "tokens": facts.get("tokens", 0),
            "seconds": facts.get("seconds", 0.0),
            "reason": facts.get("reason", ""),
        }
