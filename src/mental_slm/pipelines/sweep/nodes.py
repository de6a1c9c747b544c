"""The story of the sweep: search, choose, draw, report."""

import logging
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.sweep.options import SweepOptions
from mental_slm.training.options import FineTuningOptions

logger = logging.getLogger(__name__)

REMEDY = "sweep: needs the package optuna, which is not installed; pip install 'mental-slm[sweep]'"


def search_settings(
    pairs_train: list[dict[str, Any]],
    pairs_val: list[dict[str, Any]],
    options: SweepOptions,
    fine_tuning: FineTuningOptions,
    model: ModelOptions,
    model_cache: Path,
    workspace: Path,
) -> Any:
    """Try settings of the adapter by short trainings on one loaded base.

    A killed search goes on: finished trials are never repeated, the one that was cut off is tried
    again. A larger ``n_trials`` goes on with a finished study.

    Args:
        pairs_train: Pairs to learn from.
        pairs_val: The first of them (by id) are what losses are measured on.
        options: Space and budget.
        fine_tuning: What is searched around.
        model: The base model.
        model_cache: Folder of converted models, shared by all runs.
        workspace: Keeps the study between runs.

    Returns:
        A table (``pandas.DataFrame``) with a row per finished trial.

    Raises:
        ValueError: Optuna is not installed, an option is wrong, or no trial came to its end.
    """
    _check_optuna()
    import pandas as pd

    from mental_slm.language_model.source import obtain_model
    from mental_slm.pipelines.sweep.search import Search

    base = obtain_model(model, model_cache)
    search = Search.prepare(pairs_train, pairs_val, base, model, fine_tuning, options, workspace)
    return pd.DataFrame(search.run())


def _check_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ValueError(REMEDY) from error


def choose_settings(sweep_trials: Any, fine_tuning: FineTuningOptions) -> dict[str, Any]:
    """Choose the trial with the lowest validation loss, and say how to fine-tune with it.

    Args:
        sweep_trials: From :func:`search_settings`.
        fine_tuning: The recipe that was searched around.

    Returns:
        ``trial``, ``validation_loss``, ``settings``, ``params`` (an argument list for
        ``kedro run``), ``recipes`` (the loss of each recipe that came to its end), ``trials`` and
        ``pruned`` (counts).
    """
    from mental_slm.pipelines.sweep.choice import choose

    chosen = choose(sweep_trials, fine_tuning.recipe)
    logger.info(
        "the best of %d trials has a validation loss of %.4f; use it with: kedro run --pipelines "
        "fine_tuning %s",
        chosen["trials"],
        chosen["validation_loss"],
        chosen["params"],
    )
    return chosen


def draw_sweep_history(sweep_trials: Any, options: SweepOptions) -> Any:
    """Draw the losses of the trials in their order, with the best so far.

    Args:
        sweep_trials: From :func:`search_settings`.
        options: The space.

    Returns:
        A plotly figure.
    """
    from mental_slm.pipelines.sweep.figures import draw_history

    return draw_history(sweep_trials, options)


def draw_sweep_importance(sweep_trials: Any, options: SweepOptions) -> Any:
    """Draw which setting the loss depends on most (fANOVA, Hutter et al. 2014).

    Args:
        sweep_trials: From :func:`search_settings`.
        options: The space.

    Returns:
        A plotly figure; without bars where too few trials came to their end.
    """
    from mental_slm.pipelines.sweep.figures import draw_importance

    return draw_importance(sweep_trials, options)


def draw_sweep_parallel(sweep_trials: Any, options: SweepOptions) -> Any:
    """Draw each trial as a line through its settings to its loss.

    Args:
        sweep_trials: From :func:`search_settings`.
        options: The space.

    Returns:
        A plotly figure.
    """
    from mental_slm.pipelines.sweep.figures import draw_parallel

    return draw_parallel(sweep_trials, options)


def draw_sweep_slices(sweep_trials: Any, options: SweepOptions) -> Any:
    """Draw the loss over each setting alone.

    Args:
        sweep_trials: From :func:`search_settings`.
        options: The space.

    Returns:
        A plotly figure.
    """
    from mental_slm.pipelines.sweep.figures import draw_slices

    return draw_slices(sweep_trials, options)


def report_sweep(sweep_trials: Any, sweep_best: dict[str, Any], options: SweepOptions) -> str:
    """Write what was tried, what came out, and how far to trust it.

    Args:
        sweep_trials: From :func:`search_settings`.
        sweep_best: From :func:`choose_settings`.
        options: Space and budget.

    Returns:
        Markdown.
    """
    from mental_slm.pipelines.sweep.choice import write_report

    return write_report(sweep_trials, sweep_best, options)
