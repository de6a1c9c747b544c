"""Figures of the evaluation: systems side by side, per task, with 95 % intervals."""

from typing import Any

from mental_slm.pipelines.evaluation.blocks import MODELS, OVERALL, SYSTEMS
from mental_slm.tasks import TASKS

TITLES = {
    "base": "Base model",
    "tuned": "Tuned model",
    "majority": "Majority label",
    "tfidf": "TF-IDF + logistic regression",
}

#: Okabe-Ito colours, told apart with colour-blindness too; baselines are muted.
COLOURS = {"base": "#56B4E9", "tuned": "#0072B2", "majority": "#BBBBBB", "tfidf": "#E69F00"}


def draw_accuracy(metrics: dict[str, Any]) -> Any:
    """Draw accuracy per task as grouped bars, one colour per system.

    Args:
        metrics: Result of :func:`.summary.summarise`.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    figure = go.Figure([_bars(metrics, system, "accuracy") for system in SYSTEMS])
    return _finish(figure, metrics, "Accuracy (invalid answers are wrong)", [0, 1])


def draw_bertscore(metrics: dict[str, Any]) -> Any:
    """Draw BERTScore F1 per task as grouped bars, with the shuffled floor as a line on each bar.

    Args:
        metrics: Result of :func:`.summary.summarise`.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    figure = go.Figure([_bars(metrics, system, "bertscore_f1") for system in MODELS])
    for system in MODELS:
        blocks = metrics["systems"][system]
        figure.add_scatter(
            name=f"{TITLES[system]}: wrong reference (floor)",
            x=_names(metrics),
            y=[blocks[task]["bertscore_floor"] for task in _tasks(metrics)],
            mode="markers",
            marker={
                "symbol": "line-ew-open",
                "size": 26,
                "color": "#D55E00" if system == "base" else "#000000",
                "line": {"width": 3},
            },
            offsetgroup=system,
            hovertemplate="%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(scattermode="group")
    bertscore = metrics["bertscore"]
    title = f"BERTScore F1 of the explanation ({bertscore['encoder']}, layer {bertscore['layers']})"
    return _finish(figure, metrics, title, None)


def draw_reliability(metrics: dict[str, Any]) -> Any:
    """Draw what label probabilities are worth, over all tasks.

    On the left accuracy against confidence (a calibrated system lies on the diagonal; the size of a
    marker is the share of items in its bin), on the right the error rate among the most confident
    items (a confidence that knows its errors falls towards the left).

    Args:
        metrics: Result of :func:`.summary.summarise`.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=2, subplot_titles=["Reliability", "Risk and coverage"])
    figure.add_scatter(
        name="calibrated",
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": "#888888", "dash": "dot"},
        hoverinfo="skip",
        row=1,
        col=1,
    )
    for system in SYSTEMS:
        curves = metrics["reliability"][system]
        error = metrics["systems"][system][OVERALL]["likelihood"]["calibration_error"]["value"]
        look = {"legendgroup": system, "mode": "lines+markers"}
        figure.add_scatter(
            name=f"{TITLES[system]} (calibration error {error:.2f})",
            x=[one["confidence"] for one in curves["bins"]],
            y=[one["accuracy"] for one in curves["bins"]],
            marker={
                "color": COLOURS[system],
                "size": [6 + 24 * one["n"] / metrics["data"]["n"] for one in curves["bins"]],
            },
            customdata=[one["n"] for one in curves["bins"]],
            hovertemplate="confidence %{x:.2f}, accuracy %{y:.2f}, n = %{customdata}"
            "<extra>%{fullData.name}</extra>",
            **look,
            row=1,
            col=1,
        )
        figure.add_scatter(
            x=[one["coverage"] for one in curves["risk_coverage"]],
            y=[one["risk"] for one in curves["risk_coverage"]],
            marker={"color": COLOURS[system], "size": 5},
            hovertemplate="most confident %{x:.0%}: %{y:.2f} wrong"
            f"<extra>{TITLES[system]}</extra>",
            showlegend=False,
            **look,
            row=1,
            col=2,
        )
    _finish(figure, metrics, "Label probabilities (all tasks)", [0, 1], interval=False)
    figure.update_xaxes(range=[0, 1], title="confidence", row=1, col=1)
    figure.update_xaxes(range=[0, 1.02], title="share of items, most confident first", row=1, col=2)
    figure.update_yaxes(range=[0, 1.02], title="accuracy", row=1, col=1)
    figure.update_yaxes(range=[0, 1.02], title="error rate", row=1, col=2)
    return figure


def _tasks(metrics: dict[str, Any]) -> list[str]:
    return [OVERALL, *metrics["data"]["n_by_task"]]


def _names(metrics: dict[str, Any]) -> list[str]:
    counts = {OVERALL: metrics["data"]["n"], **metrics["data"]["n_by_task"]}
    return [f"{_title(task)}<br>n = {counts[task]}" for task in _tasks(metrics)]


def _title(task: str) -> str:
    return "Overall" if task == OVERALL else TASKS[task].title


def _bars(metrics: dict[str, Any], system: str, metric: str) -> Any:
    import plotly.graph_objects as go

    estimates = [metrics["systems"][system][task][metric] for task in _tasks(metrics)]
    return go.Bar(
        name=TITLES[system],
        x=_names(metrics),
        y=[estimate["value"] for estimate in estimates],
        error_y={
            "array": [estimate["high"] - estimate["value"] for estimate in estimates],
            "arrayminus": [estimate["value"] - estimate["low"] for estimate in estimates],
            "thickness": 1.2,
            "width": 3,
        },
        customdata=[[estimate["low"], estimate["high"]] for estimate in estimates],
        hovertemplate="%{x}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        "<extra>%{fullData.name}</extra>",
        marker_color=COLOURS[system],
        offsetgroup=system,
    )


def _finish(
    figure: Any,
    metrics: dict[str, Any],
    title: str,
    y_range: list[float] | None,
    interval: bool = True,
) -> Any:
    model = metrics["model"]["tuned"]["name"]
    edition = metrics["data"]["edition"]
    figure.update_layout(
        template="plotly_white",
        barmode="group",
        title={
            "text": f"{title}<br><sup>{model}, data edition {edition}"
            f"{'; bars: 95 % interval' if interval else ''}</sup>"
        },
        yaxis={"range": y_range, "zeroline": True},
        legend={"orientation": "h", "y": -0.25},
    )
    return figure
