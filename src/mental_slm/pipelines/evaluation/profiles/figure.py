"""One figure of the emotion profiles: correlations under their ceilings, cosines over their floors."""

from typing import Any

from mental_slm.pipelines.evaluation.profiles.floors import FLOORS
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS

#: Okabe-Ito colours; floors are muted.
COLOURS = {"base": "#56B4E9", "tuned": "#0072B2"}
TITLES = {"base": "Base model", "tuned": "Tuned model"}
FLOOR_COLOUR, CEILING_COLOUR = "#BBBBBB", "#D55E00"

#: The decoding that is drawn: what a phone would show, complete for every text.
DECODING = "constrained"

COSINES = {
    "cosine_raw": "raw cosine",
    "cosine_01": "cosine on 0..1",
    "centred_cosine_01": "centred",
}


def draw_profiles(metrics: dict[str, Any]) -> Any:
    """Draw the two panels; an empty figure with the note where there are no profiles.

    Args:
        metrics: Result of :func:`.summary.summarise`.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    if not metrics["systems"]:
        figure = go.Figure()
        figure.add_annotation(text="<br>".join(metrics["notes"]), showarrow=False)
        figure.update_layout(template="plotly_white", title="Emotion profiles")
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)
        return figure
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.55, 0.45],
        subplot_titles=("Rank correlation by dimension", "Cosine beside what reads no text"),
    )
    _add_correlations(figure, metrics)
    _add_cosines(figure, metrics)
    figure.update_layout(
        template="plotly_white",
        barmode="group",
        title={
            "text": f"Emotion profiles<br><sup>{DECODING} decoding, {metrics['n']} texts; "
            "bars: 95 % interval</sup>"
        },
        legend={"orientation": "h", "y": -0.25},
    )
    return figure


def _add_correlations(figure: Any, metrics: dict[str, Any]) -> None:
    for system, decodings in metrics["systems"].items():
        by_dimension = decodings[DECODING]["per_dimension"]
        figure.add_bar(
            row=1,
            col=1,
            name=TITLES[system],
            legendgroup=system,
            marker_color=COLOURS[system],
            x=list(DIMENSIONS),
            y=[by_dimension[name]["spearman"] for name in DIMENSIONS],
        )
    cited = "" if metrics["agreement"]["texts"] else ", as in StudEmo"
    ceilings = metrics["agreement"]["ceiling_one_rater"]
    figure.add_scatter(
        row=1,
        col=1,
        name=f"Ceiling: root of two raters' correlation{cited}",
        mode="markers",
        marker={
            "symbol": "line-ew-open",
            "size": 18,
            "color": CEILING_COLOUR,
            "line": {"width": 3},
        },
        x=list(DIMENSIONS),
        y=[ceilings[name] for name in DIMENSIONS],
    )


def _add_cosines(figure: Any, metrics: dict[str, Any]) -> None:
    names = list(COSINES.values())
    for floor in FLOORS:
        values = [metrics["floors"][floor][measure] for measure in COSINES]
        figure.add_bar(
            row=1,
            col=2,
            name=floor.replace("_", " "),
            legendgroup="floors",
            marker_color=FLOOR_COLOUR,
            marker_line={"color": "#666666", "width": 1},
            x=names,
            y=values,
            text=floor.replace("_", " "),
            textangle=-90,
        )
    for system, decodings in metrics["systems"].items():
        scores = [decodings[DECODING]["scores"][measure] for measure in COSINES]
        figure.add_bar(
            row=1,
            col=2,
            name=TITLES[system],
            legendgroup=system,
            showlegend=False,
            marker_color=COLOURS[system],
            x=names,
            y=[score["value"] for score in scores],
            error_y={
                "array": [_reach(score, "high") for score in scores],
                "arrayminus": [_reach(score, "low") for score in scores],
                "thickness": 1.2,
                "width": 3,
            },
        )


def _reach(score: dict[str, Any], bound: str) -> float | None:
    return None if score["value"] is None else abs(score[bound] - score["value"])
