"""The nodes of the report, as part of the evaluation pipeline."""

from kedro.pipeline import Node

from mental_slm.pipelines.evaluation.report.nodes import (
    FIGURE_FILES,
    collect_evaluation,
    render_evaluation_report,
    write_evaluation_report,
)


def report_nodes() -> list[Node]:
    """Return the nodes: collect for the comparison, write, render."""
    return [
        Node(
            collect_evaluation,
            inputs=["metrics", "judge_metrics", "profile_metrics", "safety_metrics"],
            outputs="evaluation_metrics",
            name="collect_evaluation",
        ),
        Node(
            write_evaluation_report,
            inputs=[
                "metrics",
                "judge_metrics",
                "profile_metrics",
                "safety_metrics",
                "reference_metrics",
                "published_results",
            ],
            outputs="evaluation_report",
            name="write_evaluation_report",
        ),
        Node(
            render_evaluation_report,
            inputs={"report": "evaluation_report", **{name: name for name in FIGURE_FILES}},
            outputs="evaluation_report_html",
            name="render_evaluation_report",
        ),
    ]
