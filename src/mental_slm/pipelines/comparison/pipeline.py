"""The comparison pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.comparison.nodes import draw_comparison, tabulate_models


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: the metrics of all evaluated models become one table and one figure.

    Each evaluation files its metrics in ``all_metrics`` and its scores in ``all_scores``, so that the
    comparison follows it when both run, and finds those of earlier runs when it runs alone.
    """
    return Pipeline(
        [
            Node(
                tabulate_models,
                inputs=["all_metrics", "all_scores", "published_results", "params:comparison"],
                outputs="comparison_table",
                name="tabulate_models",
            ),
            Node(
                draw_comparison,
                inputs="all_metrics",
                outputs="comparison_figure",
                name="draw_comparison",
            ),
        ]
    )
