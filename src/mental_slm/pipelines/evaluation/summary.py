"""The metrics of one model on one data edition.

Shape of the result::

    format    name and version of this shape
    model     environment; base and tuned: name, digest, family, origin, parameters
    data      edition, digest of the items, number of items (overall and per task)
    settings  decoding, seed, resamples
    generation  tokens, seconds, tokens/s of base and tuned
    bertscore encoder, digest, layer, versions
    methods   how each number is made, in words
    systems   system -> task (and "overall") -> n, accuracy, macro_f1, invalid_rate, ...
    paired    task (and "overall") -> tuned minus base on the same items
    notes     what a reader must know before quoting a number
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mental_slm.fingerprints import digest
from mental_slm.pipelines.evaluation import statistics as stats
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.tasks import TASKS

FORMAT = "mental-slm metrics 1"
SYSTEMS = ("base", "tuned", "majority", "tfidf")
MODELS = ("base", "tuned")
OVERALL = "overall"

#: Below this number of items an interval is so wide that the row carries a note.
FEW_ITEMS = 30

#: A floor closer to 1 than this leaves no room for a skill.
INDISTINCT = 1e-4

METHODS = {
    "accuracy": "share of items whose label was read from the answer and is right; an answer "
    "without a readable label is wrong; 95 % Wilson interval; overall pools all items",
    "macro_f1": "mean F1 over the labels that occur in the gold labels; 95 % percentile bootstrap "
    "over items; overall is the mean of the tasks, resampled within tasks",
    "bertscore": "F1 of the explanation (answer without its answer line) against the label-blind "
    "reference; floor: the same explanations against references of other items of the task; "
    "skill = (F1 - floor) / (1 - floor): 0 is no better than the wrong reference, 1 is identity; "
    "95 % percentile bootstrap over items",
    "paired": "tuned minus base on the same items; 95 % percentile bootstrap over items; McNemar's "
    "exact test on right and wrong, Holm-adjusted over the tasks",
    "baselines": "majority: most frequent training label of the task; tfidf: logistic regression "
    "on TF-IDF of words and word pairs of the training posts",
}


@dataclass(frozen=True)
class _TaskScores:
    """The scores of one task: the same items in the same order for every system."""

    systems: dict[str, pd.DataFrame]
    weights: stats.Array  # bootstrap resamples, shared by the systems
    ones: stats.Array  # the sample itself, as one row of weights

    @property
    def n(self) -> int:
        return int(self.weights.shape[1])


def summarise(
    scores: pd.DataFrame,
    items: Sequence[dict[str, Any]],
    generation_reports: dict[str, dict[str, Any]],
    bertscore_description: dict[str, Any],
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Build the metrics; the shape is in the docstring of this module.

    Raises:
        ValueError: The two models were asked under different settings, or a system lacks items.
    """
    settings = [generation_reports[model]["settings"] for model in MODELS]
    if settings[0] != settings[1]:
        raise ValueError(
            "generations of base and tuned were made under different settings; run "
            "`kedro run --pipelines evaluation` from the start"
        )
    tasks = {task: _task_scores(scores, task, options) for task in _tasks_of(scores)}
    counts = {task: table.n for task, table in tasks.items()}
    return {
        "format": FORMAT,
        "model": {
            "environment": options.environment,
            **{model: generation_reports[model]["model"] for model in MODELS},
        },
        "data": {
            "edition": options.data,
            "items_digest": _digest_items(items),
            "n": sum(counts.values()),
            "n_by_task": counts,
        },
        "settings": {**settings[0], "resamples": options.resamples, "seed": options.seed},
        "generation": {
            model: {
                k: generation_reports[model][k] for k in ("tokens", "seconds", "tokens_per_second")
            }
            for model in MODELS
        },
        "bertscore": bertscore_description,
        "methods": METHODS,
        "systems": {system: _system_metrics(system, tasks) for system in SYSTEMS},
        "paired": _paired(tasks),
        "notes": _notes(counts, options),
    }


def _tasks_of(scores: pd.DataFrame) -> list[str]:
    present = set(scores["task"])
    return [task for task in TASKS if task in present]


def _task_scores(scores: pd.DataFrame, task: str, options: EvaluationOptions) -> _TaskScores:
    of_task = scores[scores["task"] == task].sort_values("pair_id")
    systems = {
        system: of_task[of_task["system"] == system].reset_index(drop=True) for system in SYSTEMS
    }
    ids = systems["base"]["pair_id"].tolist()
    for system, table in systems.items():
        if table["pair_id"].tolist() != ids:
            raise ValueError(f"scores: systems base and {system} hold other items of task {task}")
    seed = (options.seed, zlib.crc32(task.encode()))
    return _TaskScores(
        systems, stats.resample_weights(len(ids), options.resamples, seed), np.ones((1, len(ids)))
    )


def _digest_items(items: Sequence[dict[str, Any]]) -> str:
    """Return the digest of what was asked and what is right: equal digests may be compared."""
    keys = ("pair_id", "task", "label", "instruction", "response")
    return digest(sorted([item[key] for key in keys] for item in items))


def _system_metrics(system: str, tasks: dict[str, _TaskScores]) -> dict[str, Any]:
    blocks = {OVERALL: _metrics(system, list(tasks.values()))}
    return blocks | {name: _metrics(system, [task]) for name, task in tasks.items()}


def _metrics(system: str, tasks: Sequence[_TaskScores]) -> dict[str, Any]:
    table = pd.concat([task.systems[system] for task in tasks])
    n = len(table)
    block: dict[str, Any] = {
        "n": n,
        "accuracy": stats.wilson(int(table["correct"].sum()), n).to_json(),
        "macro_f1": stats.estimate(
            float(_macro_f1(system, tasks, "ones")[0]), _macro_f1(system, tasks, "weights")
        ).to_json(),
        "invalid_rate": round(float(table["predicted"].isna().mean()), 6),
    }
    if system in MODELS:
        block["truncated_rate"] = round(float((table["finish_reason"] == "length").mean()), 6)
        block |= _bertscore(system, tasks)
    if n < FEW_ITEMS:
        block["note"] = f"n = {n} is below {FEW_ITEMS}: read the interval, not the value"
    return block


def _macro_f1(system: str, tasks: Sequence[_TaskScores], rows: str) -> stats.Array:
    """Return macro F1 averaged over tasks, for the sample (``ones``) or all resamples."""
    values = [
        stats.macro_f1(
            task.systems[system]["label"].tolist(),
            [None if pd.isna(p) else p for p in task.systems[system]["predicted"]],
            getattr(task, rows),
        )
        for task in tasks
    ]
    result: stats.Array = np.mean(values, axis=0)
    return result


def _bertscore(system: str, tasks: Sequence[_TaskScores]) -> dict[str, Any]:
    """Return F1, floor and skill.

    Floor and skill are None where they mean nothing: a task has a single item, or the references
    of a task (or of a resample) cannot be told apart, so that the wrong one scores 1 as well.
    """
    f1 = (
        _pooled(system, tasks, "bertscore_f1", "ones"),
        _pooled(system, tasks, "bertscore_f1", "weights"),
    )
    block: dict[str, Any] = {
        "bertscore_f1": stats.estimate(float(f1[0][0]), f1[1]).to_json(),
        "bertscore_floor": None,
        "bertscore_skill": None,
    }
    floor = (
        _pooled(system, tasks, "bertscore_shuffled_f1", "ones"),
        _pooled(system, tasks, "bertscore_shuffled_f1", "weights"),
    )
    # NaN (a task with one item) fails the comparison as well
    if all((values < 1 - INDISTINCT).all() for values in floor):
        skill = [(f - g) / (1 - g) for f, g in zip(f1, floor, strict=True)]
        block["bertscore_floor"] = round(float(floor[0][0]), 6)
        block["bertscore_skill"] = stats.estimate(float(skill[0][0]), skill[1]).to_json()
    return block


def _pooled(system: str, tasks: Sequence[_TaskScores], column: str, rows: str) -> stats.Array:
    """Return the mean of a column over the items that have it, resampled within tasks."""
    total = count = np.zeros(1)
    for task in tasks:
        values = task.systems[system][column].to_numpy(dtype=float)
        known = ~np.isnan(values)
        weights = getattr(task, rows)[:, known]
        total = total + weights @ values[known]
        count = count + weights.sum(axis=1)
    with np.errstate(invalid="ignore"):  # none has it: not a number
        result: stats.Array = total / count
    return result


def _paired(tasks: dict[str, _TaskScores]) -> dict[str, Any]:
    blocks = {OVERALL: _paired_block(list(tasks.values()))}
    blocks |= {name: _paired_block([task]) for name, task in tasks.items()}
    adjusted = stats.holm([blocks[name]["mcnemar_p"] for name in tasks])
    for name, p_value in zip(tasks, adjusted, strict=True):
        blocks[name]["mcnemar_p_holm"] = round(p_value, 6)
    return blocks


def _paired_block(tasks: Sequence[_TaskScores]) -> dict[str, Any]:
    """Return tuned minus base. The resamples are shared, so differences of them are paired."""
    correct = {
        model: np.concatenate([t.systems[model]["correct"].to_numpy(dtype=bool) for t in tasks])
        for model in MODELS
    }
    only_base, only_tuned, p_value = stats.mcnemar(correct["base"], correct["tuned"])
    block: dict[str, Any] = {
        "n": len(correct["base"]),
        "only_base_right": only_base,
        "only_tuned_right": only_tuned,
        "mcnemar_p": round(p_value, 6),
    }
    for name, column in (("accuracy", "correct"), ("bertscore_f1", "bertscore_f1")):
        point, replicates = (
            _pooled("tuned", tasks, column, rows) - _pooled("base", tasks, column, rows)
            for rows in ("ones", "weights")
        )
        block[name] = stats.estimate(float(point[0]), replicates).to_json()
    point, replicates = (
        _macro_f1("tuned", tasks, rows) - _macro_f1("base", tasks, rows)
        for rows in ("ones", "weights")
    )
    block["macro_f1"] = stats.estimate(float(point[0]), replicates).to_json()
    return block


def _notes(counts: dict[str, int], options: EvaluationOptions) -> list[str]:
    few = [f"{TASKS[task].title} ({n})" for task, n in counts.items() if n < FEW_ITEMS]
    notes = []
    if few:
        notes.append(
            f"Fewer than {FEW_ITEMS} items: {', '.join(few)}. Differences there are mostly chance."
        )
    if options.data == "sample":
        notes.append(
            "The sample edition is synthetic: its numbers show that the line works, and say "
            "nothing about real posts."
        )
    return notes
