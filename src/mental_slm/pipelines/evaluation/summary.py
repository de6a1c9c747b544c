"""The metrics of one model on one data edition.

Shape of the result; every estimate is ``{"value", "low", "high"}`` with a 95 % interval::

    format    name and version of this shape
    model     environment; base and tuned: name, digest, family, origin, parameters
    data      edition, digest of the items, number of items and of posts, items per task
    settings  decoding, seed, resamples
    generation  tokens, seconds, tokens/s of base and tuned
    bertscore encoder, digest, layer, versions
    methods   how each number is made, in words
    systems   system (base, tuned, majority, tfidf) -> task (and "overall") -> n, posts, and
        accuracy, macro_f1, weighted_f1, balanced_accuracy, kappa, invalid_rate   strict labels
        quadratic_kappa, under_triage_rate   tasks with ordered labels only
        lenient      the same measures of the labels read leniently, invalid_rate
        likelihood   the same measures of the most probable option; calibration_error, brier,
                     brier_skill, area_under_risk
        truncated_rate, bertscore_f1, bertscore_floor, bertscore_skill   base and tuned only
        text         further text measures: column of the scores -> estimate, and x_skill for a
                     measure x with a column x_shuffled; base and tuned only
    risk      recall of suicidal posts at a rate of false alarms fixed on validation posts, per
              system; None where the data hold no such posts (a note says so)
    reliability  system -> bins (n, confidence, accuracy) and risk_coverage, over all tasks
    paired    task (and "overall") -> tuned minus base on the same items: accuracy and other
              measures, p (randomisation over posts, on accuracy), McNemar's counts per task
    headlines the declared tests: family, tests (difference, p, p_holm, detectable, verdict,
              sentence), untested
    notes     what a reader must know before quoting a number
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mental_slm import statistics as stats
from mental_slm.fingerprints import digest
from mental_slm.pipelines.evaluation.blocks import (
    MODELS,
    OVERALL,
    SYSTEMS,
    Block,
    build_blocks,
    mean_of_tasks,
)
from mental_slm.pipelines.evaluation.labels import calibration
from mental_slm.pipelines.evaluation.labels.risk import RiskScores, read_risk, summarise_risk
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.significance import (
    BERTSCORE,
    compare_block,
    judge_headlines,
    text_skill,
)
from mental_slm.records import SCORE_COLUMNS
from mental_slm.statistics import Array, Comparison
from mental_slm.tasks import TASKS

FORMAT = "mental-slm metrics 2"

#: Below this number of items an interval is so wide that the row carries a note.
FEW_ITEMS = 30

METHODS = {
    "strict": "the label read from the answer, whose last line must be exactly the answer line; an "
    "answer without one is wrong",
    "lenient": "the label of the last answer line however written, else of the last line that names "
    "one option and does not deny it; never a guess between two",
    "likelihood": "the option with the highest log-probability (phrase and end of turn) directly "
    'behind prompt and "Answer:", without an explanation; its probability is the share among the '
    "options",
    "accuracy": "share of right labels; 95 % Wilson interval on the effective number of items, "
    "where items of one post count as repeats; overall pools all items",
    "measures": "macro F1, weighted F1, balanced accuracy and Cohen's kappa over the labels that "
    "occur; overall is the mean of the tasks; 95 % percentile bootstrap over posts, which has no "
    "width where all answers are alike (then read the interval of accuracy)",
    "quadratic_kappa": "over ordered labels; an invalid answer counts as the label farthest away",
    "under_triage_rate": "share of posts whose gold label is moderate or severe that got a lower "
    "label or none",
    "risk": "a post is flagged if the probability of suicidal thoughts reaches a threshold; the "
    "threshold is the lowest that keeps to the allowed rate of false alarms on validation posts; "
    "chance is the recall of flagging at random at that rate",
    "calibration_error": "mean gap between confidence and accuracy in bins of equal width; above 0 "
    "in a finite sample even for a calibrated system",
    "brier": "squared distance of the probabilities to the truth over all labels, 0 to 2; skill: "
    "1 - Brier / Brier of the training shares of the labels",
    "area_under_risk": "error rate among the most confident items, averaged over all shares of "
    "items; a confidence that says nothing gives the error rate",
    "bertscore": "F1 of the explanation (answer without its answer line) against the label-blind "
    "reference; floor: the same explanations against references of other items of the same label; "
    "skill = (F1 - floor) / (1 - floor): 0 is no better than the wrong reference, 1 is identity; "
    "95 % percentile bootstrap over posts",
    "paired": "tuned minus base on the same items; 95 % percentile bootstrap over posts; p by random "
    "exchange of the two systems' answers to whole posts; McNemar's exact test per task",
    "headlines": "declared before any number is seen; p adjusted by Holm over the family; better or "
    "worse needs p below 0.05 and a difference above the minimum detectable effect (80 % power)",
    "baselines": "majority: most frequent training label of the task, its probabilities are the "
    "shares of the training labels; tfidf: logistic regression, every label weighing the same, on "
    "TF-IDF of words and word pairs of the training posts",
}


def summarise(
    scores: pd.DataFrame,
    probabilities: pd.DataFrame,
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
    blocks = build_blocks(scores, options.resamples, options.seed)
    tasks = {name: block for name, block in blocks.items() if name != OVERALL}
    counts = {task: block.n for task, block in tasks.items()}
    risk, without_risk = read_risk(probabilities, blocks, options.labels.false_positive_rate)
    return {
        "format": FORMAT,
        "model": {
            "environment": options.environment,
            **{model: generation_reports[model]["model"] for model in MODELS},
        },
        "data": {
            "edition": options.data,
            "items_digest": _digest_items(items),
            "n": blocks[OVERALL].n,
            "posts": len(set(blocks[OVERALL].posts)),
            "n_by_task": counts,
        },
        "settings": {
            **settings[0],
            "resamples": options.resamples,
            "seed": options.seed,
            "calibration_bins": options.labels.bins,
        },
        "generation": {
            model: {
                k: generation_reports[model][k] for k in ("tokens", "seconds", "tokens_per_second")
            }
            for model in MODELS
        },
        "bertscore": bertscore_description,
        "methods": METHODS,
        "systems": {
            system: {name: _metrics(system, block, options) for name, block in blocks.items()}
            for system in SYSTEMS
        },
        "risk": summarise_risk(risk) if risk else None,
        "reliability": {
            system: _reliability(system, blocks[OVERALL], options) for system in SYSTEMS
        },
        "paired": {name: _paired(block) for name, block in blocks.items()},
        "headlines": judge_headlines(blocks, risk),
        "notes": _notes(counts, risk, without_risk, options),
    }


def _digest_items(items: Sequence[dict[str, Any]]) -> str:
    """Return the digest of what was asked and what is right: equal digests may be compared."""
    keys = ("pair_id", "task", "label", "instruction", "response")
    return digest(sorted([item[key] for key in keys] for item in items))


def _metrics(system: str, block: Block, options: EvaluationOptions) -> dict[str, Any]:
    metrics: dict[str, Any] = {"n": block.n, "posts": len(set(block.posts))}
    metrics |= _label_measures(system, block, "predicted")
    metrics["lenient"] = _label_measures(system, block, "predicted_lenient")
    metrics["likelihood"] = _likelihood(system, block, options)
    if system in MODELS:
        cut = block.tables[system]["finish_reason"] == "length"
        metrics["truncated_rate"] = round(float(cut.mean()), 6)
        metrics |= _bertscore(system, block)
        metrics["text"] = _further_text(system, block)
    if block.n < FEW_ITEMS:
        metrics["note"] = f"n = {block.n} is below {FEW_ITEMS}: read the interval, not the value"
    return metrics


def _label_measures(system: str, block: Block, column: str) -> dict[str, Any]:
    """Return all measures of the labels in a column."""
    size = stats.effective_size(block.posts)
    share = float(block.right(system, column).mean())
    counts = block.counts(column, {system: block.weights})
    measures: dict[str, Any] = {"accuracy": stats.wilson(share * size, size).to_json()}
    for name, measure in block.measures().items():
        if name != "accuracy":
            measures[name] = _estimate(mean_of_tasks([measure(table) for table in counts]))
    missing = block.tables[system][column].isna()
    return {**measures, "invalid_rate": round(float(missing.mean()), 6)}


def _likelihood(system: str, block: Block, options: EvaluationOptions) -> dict[str, Any]:
    measures = _label_measures(system, block, "likelihood_label")
    del measures["invalid_rate"]  # one option is always the most probable
    confidence = block.column(system, "confidence")
    right = block.right(system, "likelihood_label")
    brier, reference = (block.column(name, "brier") for name in (system, "majority"))
    return measures | {
        "calibration_error": _estimate(
            calibration.calibration_error(confidence, right, block.weights, options.labels.bins)
        ),
        "brier": _estimate(stats.mean(brier, block.weights)),
        "brier_skill": _estimate(calibration.skill(brier, reference, block.weights)),
        "area_under_risk": _estimate(calibration.area_under_risk(confidence, right, block.weights)),
    }


def _bertscore(system: str, block: Block) -> dict[str, Any]:
    """Return F1, floor and skill; floor and skill are None where they mean nothing."""
    weights = {system: block.weights}
    skill = _estimate(text_skill(block, weights, *BERTSCORE))
    score, floors = (block.pooled(column, weights) for column in BERTSCORE)
    floor = float(floors[0])
    return {
        "bertscore_f1": _estimate(score),
        "bertscore_floor": round(floor, 6) if skill else None,
        "bertscore_skill": skill,
    }


def _further_text(system: str, block: Block) -> dict[str, Any]:
    """Return the text measures beside BERTScore: whatever else is scored with a number.

    A measure ``x`` with a column ``x_shuffled`` gets its skill over that floor as ``x_skill``.
    """
    weights = {system: block.weights}
    table = block.tables[system]
    numbers = [name for name in table.columns if pd.api.types.is_float_dtype(table[name])]
    columns = [name for name in numbers if name not in {*SCORE_COLUMNS, *BERTSCORE}]
    text = {name: _estimate(block.pooled(name, weights)) for name in columns}
    floors = {name: f"{name}_shuffled" for name in columns}
    return text | {
        f"{name}_skill": _estimate(text_skill(block, weights, name, floor))
        for name, floor in floors.items()
        if floor in columns
    }


def _estimate(values: Array) -> dict[str, float] | None:
    """Return the estimate of a sample (first value) and its resamples.

    Returns:
        None where the measure is not defined on the sample. Resamples on which it is not defined
        are left out.
    """
    if np.isnan(values[0]):
        return None
    replicates = values[1:]
    return stats.estimate(float(values[0]), replicates[~np.isnan(replicates)]).to_json()


def _reliability(system: str, block: Block, options: EvaluationOptions) -> dict[str, Any]:
    confidence = block.column(system, "confidence")
    right = block.right(system, "likelihood_label")
    return {
        "bins": calibration.reliability_bins(confidence, right, options.labels.bins),
        "risk_coverage": calibration.risk_coverage(confidence, right),
    }


def _paired(block: Block) -> dict[str, Any]:
    """Return tuned minus base. Resamples and exchanges are shared, so differences are paired."""
    right = {model: block.right(model) for model in MODELS}
    accuracy = compare_block(block, lambda a, b: _share_right(right, a, b))
    metrics: dict[str, Any] = {
        "n": block.n,
        "accuracy": _difference(accuracy),
        "p": round(accuracy.p_value, 6) if accuracy else None,
    }
    if block.name != OVERALL:  # there a post stands once, as the test assumes
        only_base, only_tuned, p_value = stats.mcnemar(right["base"], right["tuned"])
        metrics |= {
            "only_base_right": only_base,
            "only_tuned_right": only_tuned,
            "mcnemar_p": round(p_value, 6),
        }
    tuned, base = (block.counts("predicted", {model: block.weights}) for model in ("tuned", "base"))
    for name, measure in block.measures().items():
        if name != "accuracy":
            metrics[name] = _estimate(
                mean_of_tasks([measure(table) for table in tuned])
                - mean_of_tasks([measure(table) for table in base])
            )
    f1 = [block.pooled("bertscore_f1", {model: block.weights}) for model in ("tuned", "base")]
    return {**metrics, "bertscore_f1": _estimate(f1[0] - f1[1])}


def _share_right(right: dict[str, Any], tuned: Array, base: Array) -> Array:
    total = tuned.sum(axis=1) + base.sum(axis=1)
    return np.asarray((tuned @ right["tuned"] + base @ right["base"]) / total)


def _difference(comparison: Comparison | None) -> dict[str, float] | None:
    return comparison.difference.to_json() if comparison else None


def _notes(
    counts: dict[str, int], risk: RiskScores | None, without_risk: str, options: EvaluationOptions
) -> list[str]:
    notes = []
    few = [f"{TASKS[task].title} ({n})" for task, n in counts.items() if n < FEW_ITEMS]
    if few:
        notes.append(
            f"Fewer than {FEW_ITEMS} items: {', '.join(few)}. Differences there are mostly chance."
        )
    if options.data == "sample":
        notes.append(
            "The sample edition is synthetic: its numbers show that the line works, and say "
            "nothing about real posts."
        )
    if risk is None:
        notes.append(f"No recall at a fixed rate of false alarms: {without_risk}.")
    elif risk.negatives * risk.rate < 1:
        notes.append(
            f"The suicide-risk threshold rests on {risk.negatives} validation posts without risk; "
            f"a rate of {risk.rate:.0%} needs at least {int(np.ceil(1 / risk.rate))}."
        )
    return notes
