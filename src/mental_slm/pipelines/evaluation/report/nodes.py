"""Nodes of the report: collect for the comparison, write, render."""

from typing import Any

#: File of each figure beside the report; the report links to it by this name.
FIGURE_FILES = {
    "accuracy_figure": "accuracy.json",
    "reliability_figure": "reliability.json",
    "bertscore_figure": "bertscore.json",
    "profile_figure": "profiles.json",
    "judge_figure": "judge.json",
    "safety_figure": "safety.json",
}


def collect_evaluation(
    metrics: dict[str, Any],
    judge_metrics: dict[str, Any],
    profile_metrics: dict[str, Any],
    safety_metrics: dict[str, Any],
) -> dict[str, Any]:
    """Add the headlines of judge, profiles and safety to the metrics, for the comparison.

    Returns:
        The metrics with ``judge``, ``profiles`` and ``safety``, each None where it was not measured;
        see :mod:`.collecting`.
    """
    from mental_slm.pipelines.evaluation.report import collecting

    return {
        **metrics,
        "judge": collecting.condense_judge(judge_metrics),
        "profiles": collecting.condense_profiles(profile_metrics),
        "safety": collecting.condense_safety(safety_metrics),
    }


def write_evaluation_report(
    metrics: dict[str, Any],
    judge_metrics: dict[str, Any],
    profile_metrics: dict[str, Any],
    safety_metrics: dict[str, Any],
    reference_metrics: dict[str, Any],
    published_results: dict[str, Any],
) -> str:
    """Write everything that was measured on one model as one report in Markdown.

    A block that is empty is said to be absent, with what brings it.

    Raises:
        ValueError: A headline lacks its interval, its number of items or its trivial baseline, or
            the published results are malformed.
    """
    from mental_slm.pipelines.evaluation.report.markdown import write_report
    from mental_slm.published import Published

    return write_report(
        metrics,
        judge_metrics,
        profile_metrics,
        safety_metrics,
        reference_metrics,
        Published.read(published_results),
    )


def render_evaluation_report(report: str, **figures: Any) -> str:
    """Render the report as one HTML page with its figures, which needs no network.

    Args:
        report: The Markdown.
        figures: By dataset name (:data:`FIGURE_FILES`), each a ``plotly.graph_objects.Figure``.
    """
    from mental_slm.pipelines.evaluation.report.html import render_page

    return render_page(report, {FIGURE_FILES[name]: figure for name, figure in figures.items()})
