"""The comparison pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.comparison.nodes import draw_comparison, tabulate_models


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: the metrics of all evaluated models become one table and one figure.

    ``metrics@all`` and the evaluation's ``metrics@one`` are one dataset to Kedro, so that the
    comparison follows the evaluation when both run.
    """
    return Pipeline(
        [
            Node(
                tabulate_models,
                inputs=["metrics@all", "params:comparison"],
                outputs="comparison_table",
                name="tabulate_models",
            ),
            Node(
                draw_comparison,
                inputs="metrics@all",
                outputs="comparison_figure",
                name="draw_comparison",
            ),
        ]
    )
