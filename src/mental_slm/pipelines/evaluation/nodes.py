"""Nodes of the evaluation pipeline: select, generate, score, summarise, draw."""

import hashlib
import logging
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.answering import answer_items, settings_of
from mental_slm.pipelines.evaluation.baselines import predict_majority, predict_tfidf
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.text_similarity import TextSimilarity, describe_bertscore
from mental_slm.records import SCORE_COLUMNS, Table
from mental_slm.references import ModelRef
from mental_slm.tasks import ANSWER_PREFIX, PROFILE_TASK, TASKS, parse_answer

logger = logging.getLogger(__name__)

#: Beside records.SCORE_COLUMNS: the answer against the reference of another item, the floor.
SHUFFLED_COLUMN = "bertscore_shuffled_f1"


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
        ranked = _rank_by_label(of_task)[: options.max_items_per_task]
        chosen += sorted(ranked, key=lambda pair: str(pair["pair_id"]))
    # an emotion profile is no label; it has no score yet
    labelled = sum(pair["task"] != PROFILE_TASK for pair in pairs_test)
    logger.info("evaluating on %d of %d labelled test pairs", len(chosen), labelled)
    return chosen


def _rank_by_label(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order pairs so that every head of the list holds the labels in proportion."""
    by_label = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: _hash(pair["pair_id"])):
        by_label[pair["label"]].append(pair)
    ranked = [
        ((position + 0.5) / len(group), _hash(pair["pair_id"]), pair)
        for group in by_label.values()
        for position, pair in enumerate(group)
    ]
    return [pair for *_, pair in sorted(ranked, key=lambda entry: entry[:2])]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def generate_answers(
    items: list[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let a model answer every item, continuing a killed run where it stopped.

    Args:
        items: Test items; the model sees their system and user turns.
        model: The base or the merged model.
        options: Decoding settings.
        model_options: Number of threads.
        workspace: Folder of the journal of answers.

    Returns:
        The generations, one record per item in their order, and a report: model, settings, tokens,
        seconds and tokens per second.
    """
    answers = answer_items(items, model, options, model_options, workspace)
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
    }
    return generations, report


def score_answers(
    items: list[dict[str, Any]],
    generations_base: list[dict[str, Any]],
    generations_tuned: list[dict[str, Any]],
    options: EvaluationOptions,
) -> tuple[Table, dict[str, Any]]:
    """Score the answers of both models: the label, and the explanation against its reference.

    An answer without a readable label counts as wrong. The explanation (the answer without its
    answer line) is compared with the label-blind reference of its item and, as a floor, with the
    reference of another item of the same task.

    Args:
        items: Test items with gold label and reference.
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

    description = describe_bertscore(options.bertscore)
    by_id = {item["pair_id"]: item for item in items}
    rows = []
    for system, generations in (("base", generations_base), ("tuned", generations_tuned)):
        _check_ids(system, by_id, generations)
        for generation in generations:
            item = by_id[generation["pair_id"]]
            predicted = parse_answer(item["phrases"], generation["answer"])
            rows.append(
                {
                    **_row(system, item, predicted),
                    "answer": generation["answer"],
                    "finish_reason": generation["finish_reason"],
                }
            )
    scores = pd.DataFrame(rows)
    return _add_bertscore(scores, items, options), description


def _check_ids(
    system: str, items: dict[str, dict[str, Any]], generations: list[dict[str, Any]]
) -> None:
    differing = sorted(items.keys() ^ {generation["pair_id"] for generation in generations})
    if differing:
        raise ValueError(
            f"generations of {system}: {len(differing)} ids differ from the selected items, first "
            f"{differing[0]}; run `kedro run --pipelines evaluation` from the start"
        )


def _row(system: str, item: dict[str, Any], predicted: str | None) -> dict[str, Any]:
    return {
        "system": system,
        "pair_id": item["pair_id"],
        "dataset": item["dataset"],
        "task": item["task"],
        "label": item["label"],
        "predicted": predicted,
        "correct": predicted == item["label"],
    }


def _explanation(answer: str) -> str:
    """Return an answer without its answer lines."""
    prefix = ANSWER_PREFIX.lower()
    kept = [line for line in answer.splitlines() if not line.strip().lower().startswith(prefix)]
    return "\n".join(kept).strip()


def _add_bertscore(scores: Table, items: list[dict[str, Any]], options: EvaluationOptions) -> Table:
    import pandas as pd

    similarity = TextSimilarity(options.bertscore)
    # a test pair whose teacher gave no acceptable reference is scored on its label alone
    references = {item["pair_id"]: item["response"] for item in items if item["response"]}
    neighbours = _neighbours([i for i in items if i["pair_id"] in references], options.seed)
    tables = []
    for task, table in scores.groupby("task", sort=False):
        logger.info("BERTScore: %d answers of task %s", len(table), task)
        referenced = table[table["pair_id"].isin(list(references))]
        if referenced.empty:
            raise ValueError(
                f"pairs_test: no pair of task {task} has a reference; let the teacher answer the "
                "test posts (kedro run --pipelines augmentation) or look at its filters"
            )
        ids = referenced["pair_id"].tolist()
        explanations = referenced["answer"].map(_explanation).tolist()
        matched = [(e, references[i]) for e, i in zip(explanations, ids, strict=True)]
        shuffled = [
            (e, references[neighbours[i]])
            for e, i in zip(explanations, ids, strict=True)
            if i in neighbours
        ]
        f1 = similarity.score(matched + shuffled)
        # a single item has no other reference
        floor = f1[len(matched) :] or [math.nan] * len(matched)
        columns = {"bertscore_f1": f1[: len(matched)], SHUFFLED_COLUMN: floor}
        tables.append(table.join(pd.DataFrame(columns, index=referenced.index)))
    return pd.concat(tables)


def _neighbours(items: list[dict[str, Any]], seed: int) -> dict[str, str]:
    """Give every item another item of its task, by a seeded cycle through the task."""
    neighbours: dict[str, str] = {}
    for task in TASKS:
        ids = [item["pair_id"] for item in items if item["task"] == task]
        cycle = sorted(ids, key=lambda pair_id: _hash(f"{seed} {pair_id}"))
        if len(cycle) > 1:
            neighbours |= dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))
    return neighbours


def score_baselines(
    items: list[dict[str, Any]], pairs_train: list[dict[str, Any]], options: EvaluationOptions
) -> Table:
    """Score the baselines on the same items: majority label, and TF-IDF with logistic regression.

    Args:
        items: Test items.
        pairs_train: Training pairs; the baselines learn from them alone.
        options: The seed.

    Returns:
        Rows of the scores table; the baselines only classify, so they carry no answer.

    Raises:
        ValueError: A task has no training pair.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for task in TASKS:
        of_task = [item for item in items if item["task"] == task]
        if not of_task:
            continue
        train = [pair for pair in pairs_train if pair["task"] == task]
        if not train:
            raise ValueError(
                f"pairs_train: no pair of task {task}, so its baselines have nothing to learn "
                "from; look at the filters of the augmentation pipeline"
            )
        predictions = {
            "majority": predict_majority(train, of_task),
            "tfidf": predict_tfidf(train, of_task, options.seed),
        }
        for system, predicted in predictions.items():
            rows += [
                _row(system, item, label) for item, label in zip(of_task, predicted, strict=True)
            ]
    return pd.DataFrame(rows)


def collect_scores(answer_scores: Table, baseline_scores: Table) -> Table:
    """Put the scores of models and baselines into one table.

    Returns:
        Columns ``records.SCORE_COLUMNS`` and the shuffled-reference floor; one row per system and
        item, ordered by system, task and id.
    """
    import pandas as pd

    columns = [*SCORE_COLUMNS, SHUFFLED_COLUMN]
    scores = pd.concat([answer_scores, baseline_scores]).reindex(columns=columns)
    texts = [c for c in SCORE_COLUMNS if c not in ("correct", "bertscore_f1")]
    scores = scores.astype(
        {
            **dict.fromkeys(texts, "string"),
            "correct": "bool",
            "bertscore_f1": "float64",
            SHUFFLED_COLUMN: "float64",
        }
    )
    return scores.sort_values(["system", "task", "pair_id"], ignore_index=True)


def summarise_scores(
    scores: Table,
    items: list[dict[str, Any]],
    generation_report_base: dict[str, Any],
    generation_report_tuned: dict[str, Any],
    bertscore_description: dict[str, Any],
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Condense the scores to the numbers that may be quoted, each with n and a 95 % interval.

    Args:
        scores: The scores table of all systems.
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
        items,
        {"base": generation_report_base, "tuned": generation_report_tuned},
        bertscore_description,
        options,
    )


def file_metrics(metrics: dict[str, Any], options: EvaluationOptions) -> dict[str, dict[str, Any]]:
    """File the metrics under their model and data edition, where the comparison finds them.

    Returns:
        One partition; those of other models stay as they are.
    """
    return {f"{options.environment}/{options.data}": metrics}


def draw_accuracy(metrics: dict[str, Any]) -> Any:
    """Draw accuracy per task, all systems side by side, with 95 % intervals (a plotly figure)."""
    from mental_slm.pipelines.evaluation import figures

    return figures.draw_accuracy(metrics)


def draw_bertscore(metrics: dict[str, Any]) -> Any:
    """Draw BERTScore F1 per task and model, with its shuffled floor (a plotly figure)."""
    from mental_slm.pipelines.evaluation import figures

    return figures.draw_bertscore(metrics)
