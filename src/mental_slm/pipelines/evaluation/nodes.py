"""Nodes of the evaluation pipeline: select, generate, score, summarise, draw."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.answering import answer_items, settings_of
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.selection import (
    check_answers,
    rank_by_label,
)
from mental_slm.records import SCORE_COLUMNS, Table
from mental_slm.references import ModelRef
from mental_slm.tasks import PROFILE_TASK, TASKS

logger = logging.getLogger(__name__)


def select_items(
    pairs_test: list[dict[str, Any]], options: EvaluationOptions
) -> list[dict[str, Any]]:
    """Choose the test items: all of them, or a fixed share of every label of every task.

    The choice depends on the ids alone: it is the same for any order of the rows, and a smaller
    choice is part of a larger one.

    Args:
        pairs_test: Test pairs.
        options: ``max_items_per_task``.

    Returns:
        The chosen pairs, ordered by task and id.

    Raises:
        ValueError: There is no test pair, or a pair belongs to another split or an unknown task.
    """
    if not pairs_test:
        raise ValueError("pairs_test is empty; run the augmentation pipeline again")
    foreign = [pair["pair_id"] for pair in pairs_test if pair["split"] != "test"]
    if foreign:
        raise ValueError(
            f"pairs_test: {len(foreign)} pairs are not of the test split, first {foreign[0]}"
        )
    unknown = sorted({pair["task"] for pair in pairs_test} - {*TASKS, PROFILE_TASK})
    if unknown:
        raise ValueError(f"pairs_test: unknown tasks {unknown}; known: {[*TASKS]}")
    chosen: list[dict[str, Any]] = []
    for task in TASKS:
        of_task = [pair for pair in pairs_test if pair["task"] == task]
        ranked = rank_by_label(of_task)[: options.max_items_per_task]
        chosen += sorted(ranked, key=lambda pair: str(pair["pair_id"]))
    # an emotion profile is no label; it has no score yet
    labelled = sum(pair["task"] != PROFILE_TASK for pair in pairs_test)
    logger.info("evaluating on %d of %d labelled test pairs", len(chosen), labelled)
    return chosen


def generate_answers(
    items: list[dict[str, Any]],
    pairs_test: list[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let a model answer every item, continuing a killed run where it stopped.

    Args:
        items: Test items; the model sees their system and user turns.
        pairs_test: All test pairs; kept answers to any other are removed.
        model: The base or the merged model.
        options: Decoding settings.
        model_options: Number of threads.
        workspace: Folder of the journal of answers.

    Returns:
        The generations, one record per item in their order, and a report: model, settings, tokens,
        seconds, tokens per second, and how answers ended.
    """
    existing = {pair["pair_id"] for pair in pairs_test}
    answers = answer_items(items, model, options, model_options, workspace, existing)
    generations = [
        {
            "pair_id": answer.key.pair_id,
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
            "tokens": answer.tokens,
        }
        for answer in answers
    ]
    tokens = sum(answer.tokens for answer in answers)
    seconds = sum(answer.seconds for answer in answers)
    description = model.to_json()
    del description["path"]  # where it lies on this machine says nothing about the result
    report = {
        "model": description,
        "settings": settings_of(options),
        "answers": len(answers),
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "finish_reasons": dict(sorted(Counter(answer.finish_reason for answer in answers).items())),
    }
    return generations, report


def score_answers(
    items: list[dict[str, Any]],
    generations_base: list[dict[str, Any]],
    generations_tuned: list[dict[str, Any]],
    options: EvaluationOptions,
) -> tuple[Table, dict[str, Any]]:
    """Score the explanations of both models against their references.

    The explanation (the answer without its answer line) is compared with the label-blind reference
    of its item and with floors; :mod:`.text_metrics` names the columns.

    Args:
        items: Test items with their references.
        generations_base: Answers of the base model.
        generations_tuned: Answers of the tuned model.
        options: Encoder of BERTScore.

    Returns:
        Rows of the scores table, and the description BERTScore must be quoted with.

    Raises:
        ValueError: An item has no answer or an answer has no item.
        ModuleNotFoundError: A package for BERTScore is missing; names the pip command.
    """
    import pandas as pd

    from mental_slm.pipelines.evaluation.text_metrics import score_texts

    by_id = {item["pair_id"]: item for item in items}
    rows = []
    for system, generations in (("base", generations_base), ("tuned", generations_tuned)):
        check_answers(system, by_id, generations)
        for generation in generations:
            rows.append(
                {
                    "system": system,
                    "pair_id": generation["pair_id"],
                    "task": by_id[generation["pair_id"]]["task"],
                    "answer": generation["answer"],
                    "finish_reason": generation["finish_reason"],
                }
            )
    return score_texts(pd.DataFrame(rows), items, options)


def collect_scores(
    answer_labels: Table,
    baseline_labels: Table,
    label_probabilities: Table,
    answer_scores: Table,
    options: EvaluationOptions,
) -> Table:
    """Put all scores of models and baselines into one table.

    Args:
        answer_labels: Labels read from the answers of the models.
        baseline_labels: Labels of the baselines.
        label_probabilities: Probability of every option, for all systems.
        answer_scores: Measures of the explanations, and the answers.
        options: Whether the answers are kept.

    Returns:
        Columns ``records.SCORE_COLUMNS`` and further measures of the text; one row per system and
        item, ordered by system, task and id. No text, unless ``keep_text`` asks for it.
    """
    import pandas as pd

    from mental_slm.pipelines.evaluation.labels.calibration import score_probabilities

    keys = ["system", "pair_id"]
    measured = answer_scores.drop(columns=["task", *([] if options.keep_text else ["answer"])])
    of_test = label_probabilities[label_probabilities["split"] == "test"]
    scores = (
        pd.concat([answer_labels, baseline_labels])
        .merge(score_probabilities(of_test).reset_index(), on=keys, how="left", validate="1:1")
        .merge(measured, on=keys, how="left", validate="1:1")
    )
    further = [column for column in measured.columns if column not in SCORE_COLUMNS]
    scores = scores.reindex(columns=[*SCORE_COLUMNS, *further])
    types: dict[str, Any] = {
        column: "float64" if pd.api.types.is_numeric_dtype(scores[column]) else "string"
        for column in scores.columns
    }
    scores = scores.astype({**types, "correct": "bool"})
    return scores.sort_values(["system", "task", "pair_id"], ignore_index=True)


def summarise_scores(
    scores: Table,
    label_probabilities: Table,
    items: list[dict[str, Any]],
    generation_report_base: dict[str, Any],
    generation_report_tuned: dict[str, Any],
    bertscore_description: dict[str, Any],
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Condense the scores to the numbers that may be quoted, each with n and a 95 % interval.

    Args:
        scores: The scores table of all systems.
        label_probabilities: Probability of every option, for the threshold of suicide risk.
        items: The test items, for the digest of the data edition.
        generation_report_base: Model, settings and speed of the base model.
        generation_report_tuned: The same for the tuned model.
        bertscore_description: Encoder, layer and versions behind BERTScore.
        options: Resamples and seed, names of environment and data edition.

    Returns:
        The metrics of this model on this data edition; see :mod:`.summary` for the shape.

    Raises:
        ValueError: The two models were asked under different settings.
    """
    from mental_slm.pipelines.evaluation import summary

    return summary.summarise(
        scores,
        label_probabilities,
        items,
        {"base": generation_report_base, "tuned": generation_report_tuned},
        bertscore_description,
        options,
    )


def file_metrics(
    metrics: dict[str, Any], scores: Table, options: EvaluationOptions
) -> tuple[dict[str, dict[str, Any]], dict[str, Table]]:
    """File metrics and scores under their model and data edition, where the comparison finds them.

    Returns:
        One partition each, the scores without answers; those of other models stay as they are.
    """
    name = f"{options.environment}/{options.data}"
    return {name: metrics}, {name: scores.drop(columns="answer", errors="ignore")}


def draw_accuracy(metrics: dict[str, Any]) -> Any:
    """Draw accuracy per task, all systems side by side, with 95 % intervals (a plotly figure)."""
    from mental_slm.pipelines.evaluation import figures

    return figures.draw_accuracy(metrics)


def draw_bertscore(metrics: dict[str, Any]) -> Any:
    """Draw BERTScore F1 per task and model, with its shuffled floor (a plotly figure)."""
    from mental_slm.pipelines.evaluation import figures

    return figures.draw_bertscore(metrics)


def draw_reliability(metrics: dict[str, Any]) -> Any:
    """Draw calibration and the risk-coverage curve of the label probabilities (a plotly figure)."""
    from mental_slm.pipelines.evaluation import figures

    return figures.draw_reliability(metrics)
