"""Nodes of the emotion profiles: select, ask, score, summarise, draw."""

import logging
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.records import Table
from mental_slm.references import ModelRef
from mental_slm.tasks import PROFILE_TASK

logger = logging.getLogger(__name__)


def select_profile_items(
    pairs_test: list[dict[str, Any]], options: EvaluationOptions
) -> list[dict[str, Any]]:
    """Choose the texts to profile; the choice depends on their ids alone.

    Args:
        pairs_test: Test pairs of all tasks.
        options: ``profiles.max_items``.

    Returns:
        The chosen pairs of the profile task by id; none where the data edition has none.
    """
    pairs = [pair for pair in pairs_test if pair["task"] == PROFILE_TASK]
    ranked = sorted(pairs, key=lambda pair: (digest(pair["pair_id"]), pair["pair_id"]))
    chosen = ranked[: options.profiles.max_items]
    logger.info("profiling %d of %d rated test texts", len(chosen), len(pairs))
    return sorted(chosen, key=lambda pair: str(pair["pair_id"]))


def generate_profiles(
    items: list[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> list[dict[str, Any]]:
    """Ask a model for the profile of every text: freely, within the grammar, and slot by slot.

    Args:
        items: Pairs of the profile task; the model sees their system and user turns.
        model: The base or the merged model.
        options: Settings of decoding.
        model_options: Number of threads.
        workspace: Folder of the journal; a killed run goes on from it.

    Returns:
        One record per item in their order, see :func:`.asking.ask_for_profiles`.
    """
    from mental_slm.pipelines.evaluation.profiles import asking

    return asking.ask_for_profiles(items, model, options, model_options, workspace)


def score_profiles(
    items: list[dict[str, Any]],
    generations_base: list[dict[str, Any]],
    generations_tuned: list[dict[str, Any]],
    pairs_train: list[dict[str, Any]],
    studemo_annotation: Table,
) -> Table:
    """Score both models' profiles: one row per model, decoding and text, without any text.

    Args:
        items: Pairs of the profile task with the mean rating as label.
        generations_base: Answers of the base model.
        generations_tuned: Answers of the tuned model.
        pairs_train: Their mean profile stands in for an invalid answer.
        studemo_annotation: Single ratings, for the number of raters of each text.

    Raises:
        ValueError: An item has no answer, or a label is no profile.
    """
    from mental_slm.pipelines.evaluation.profiles import metrics, scoring

    train = metrics.as_array(_profiles(pairs_train))
    if not len(train):  # nothing to compare with; the summary says so
        return scoring.no_scores()
    counts = studemo_annotation["text_id"].value_counts()
    return scoring.score_profiles(
        items,
        {"base": generations_base, "tuned": generations_tuned},
        {f"StudEmo-{text_id}": int(count) for text_id, count in counts.items()},
        metrics.Constants.of(train),
    )


def summarise_profiles(
    profile_scores: Table,
    pairs_train: list[dict[str, Any]],
    studemo_annotation: Table,
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Condense the scores to headlines with intervals, each beside its floors.

    Args:
        profile_scores: Result of :func:`score_profiles`.
        pairs_train: Their profiles give the constants and the sentiment prototypes.
        studemo_annotation: Single ratings, for the agreement of raters.
        options: Resamples and seed.

    Returns:
        See :mod:`.summary` for the shape; a note instead of scores where there are no profiles.
    """
    from mental_slm.pipelines.evaluation.profiles import metrics, summary

    train = metrics.as_array(_profiles(pairs_train))
    return summary.summarise(
        profile_scores, train, studemo_annotation, options.resamples, options.seed
    )


def draw_profiles(profile_metrics: dict[str, Any]) -> Any:
    """Draw correlations by dimension beside their ceilings, and cosines beside their floors."""
    from mental_slm.pipelines.evaluation.profiles import figure

    return figure.draw_profiles(profile_metrics)


def _profiles(pairs: list[dict[str, Any]]) -> list[dict[str, float]]:
    from mental_slm.pipelines.evaluation.profiles.scoring import gold_profile

    return [gold_profile(pair) for pair in pairs if pair["task"] == PROFILE_TASK]
