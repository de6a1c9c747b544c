"""The study's figures, by Optuna, from the table of trials alone."""

from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.trial import TrialState, create_trial

from mental_slm.pipelines.sweep.options import SweepOptions

PARAMETERS = ["learning_rate", "r", "alpha_over_r"]

#: Finished trials of the space below which an importance would be an invention.
FEWEST = 4

LOSS = "validation loss, nats per answer token"


def rebuild(trials: Any, options: SweepOptions, searched: bool = False) -> optuna.Study:
    """Return a study in memory that holds the trials of a table.

    Args:
        trials: See :meth:`mental_slm.pipelines.sweep.search.Search.describe`.
        options: The space.
        searched: Leave out trials that are no point of the space (a recipe with other targets
            would count as an effect of its rate).
    """
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(
            options.learning_rate.low, options.learning_rate.high, log=True
        ),
        "r": CategoricalDistribution(options.r),
        "alpha_over_r": CategoricalDistribution(options.alpha_over_r),
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    for _, row in trials.iterrows():
        if searched and not row["searched"]:
            continue
        point = {"learning_rate": float(row["learning_rate"]), "r": int(row["r"])}
        point["alpha_over_r"] = float(row["alpha_over_r"])
        complete = row["state"] == "complete"
        steps, losses = row["validation_steps"], row["validation_losses"]
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                value=float(row["validation_loss"]) if complete else None,
                params=point if row["searched"] else {},
                distributions=space if row["searched"] else {},
                intermediate_values={
                    int(s): float(loss) for s, loss in zip(steps, losses, strict=True)
                },
            )
        )
    return study


def draw_history(trials: Any, options: SweepOptions) -> go.Figure:
    """Draw the losses in the order of the trials."""
    figure = optuna.visualization.plot_optimization_history(
        rebuild(trials, options), target_name=LOSS
    )
    return figure.update_layout(title="Sweep: losses of the trials")


def draw_importance(trials: Any, options: SweepOptions) -> go.Figure:
    """Draw what the loss depends on, as far as the trials can tell."""
    study = rebuild(trials, options, searched=True)
    losses = {t.value for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if len(losses) < FEWEST:
        return go.Figure().update_layout(
            title=f"Sweep: importance needs {FEWEST} trials that came to their end"
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    figure = optuna.visualization.plot_param_importances(study, evaluator=evaluator)
    return figure.update_layout(title="Sweep: what the validation loss depends on (fANOVA)")


def draw_parallel(trials: Any, options: SweepOptions) -> go.Figure:
    """Draw each trial as a line through its settings."""
    figure = optuna.visualization.plot_parallel_coordinate(
        rebuild(trials, options, searched=True), params=PARAMETERS, target_name="loss"
    )
    return figure.update_layout(title="Sweep: settings and loss")


def draw_slices(trials: Any, options: SweepOptions) -> go.Figure:
    """Draw the loss over each setting."""
    figure = optuna.visualization.plot_slice(
        rebuild(trials, options, searched=True), params=PARAMETERS, target_name="loss"
    )
    return figure.update_layout(title="Sweep: loss over each setting")
