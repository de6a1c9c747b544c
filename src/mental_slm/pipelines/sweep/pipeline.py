"""The sweep pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.sweep.nodes import (
    choose_settings,
    draw_sweep_history,
    draw_sweep_importance,
    draw_sweep_parallel,
    draw_sweep_slices,
    report_sweep,
    search_settings,
)


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: search for settings of the adapter, choose, draw, report.

    It is no part of the default line: it costs many trainings and is asked for by name.
    """
    figures = {
        "history": draw_sweep_history,
        "importance": draw_sweep_importance,
        "parallel": draw_sweep_parallel,
        "slices": draw_sweep_slices,
    }
    return Pipeline(
        [
            Node(
                search_settings,
                inputs=[
                    "pairs_train",
                    "pairs_val",
                    "params:sweep",
                    "params:fine_tuning",
                    "params:model",
                    "model_cache",
                    "sweep_workspace",
                ],
                outputs="sweep_trials",
                name="search_settings",
                tags=["gpu", "slow", "network"],
            ),
            Node(
                choose_settings,
                inputs=["sweep_trials", "params:fine_tuning"],
                outputs="sweep_best",
                name="choose_settings",
            ),
            *(
                Node(
                    draw,
                    inputs=["sweep_trials", "params:sweep"],
                    outputs=f"sweep_{name}",
                    name=f"draw_sweep_{name}",
                )
                for name, draw in figures.items()
            ),
            Node(
                report_sweep,
                inputs=["sweep_trials", "sweep_best", "params:sweep"],
                outputs="sweep_report",
                name="report_sweep",
            ),
        ]
    )
