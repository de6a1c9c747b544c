"""Figures of the evaluation: systems side by side, per task, with 95 % intervals."""

from typing import Any

from mental_slm.pipelines.evaluation.summary import MODELS, OVERALL, SYSTEMS
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


def _finish(figure: Any, metrics: dict[str, Any], title: str, y_range: list[float] | None) -> Any:
    model = metrics["model"]["tuned"]["name"]
    edition = metrics["data"]["edition"]
    figure.update_layout(
        template="plotly_white",
        barmode="group",
        title={
            "text": f"{title}<br><sup>{model}, data edition {edition}; bars: 95 % interval</sup>"
        },
        yaxis={"range": y_range, "zeroline": True},
        legend={"orientation": "h", "y": -0.25},
    )
    return figure
