"""Figures of the augmentation, drawn from counts alone."""

from typing import Any

from mental_slm.tasks import SPLITS

from .report import title_of

#: Okabe-Ito colours, told apart with colour-blindness too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#999999")


def draw_pairs(counts: dict[str, Any]) -> Any:
    """Draw the pairs by task, stacked by split, as a ``plotly.graph_objects.Figure``."""
    import plotly.graph_objects as go

    by_task = counts["by_task"]
    figure = go.Figure(
        [
            go.Bar(
                name=split,
                y=[title_of(task) for task in by_task],
                x=[row[split] for row in by_task.values()],
                orientation="h",
                marker_color=colour,
                texttemplate="%{x:,}",
            )
            for split, colour in zip(SPLITS, _COLOURS, strict=False)
        ]
    )
    total = sum(counts["pairs"].values())
    return _finish(figure, f"{total:,} instruction pairs by task and split", "pairs")


def draw_rejections(counts: dict[str, Any]) -> Any:
    """Draw the answers put aside by task, stacked by reason."""
    import plotly.graph_objects as go

    by_task = counts["filtering"]["by_task"]
    reasons = [reason for reason, count in counts["filtering"]["by_reason"].items() if count]
    figure = go.Figure(
        [
            go.Bar(
                name=reason.replace("_", " "),
                y=[title_of(task) for task in by_task],
                x=[row.get(reason, 0) for row in by_task.values()],
                orientation="h",
                marker_color=_COLOURS[number % len(_COLOURS)],
                texttemplate="%{x:,}",
            )
            for number, reason in enumerate(reasons)
        ]
    )
    answered, rejected = counts["joining"]["answered"], counts["filtering"]["rejected"]
    return _finish(figure, f"{rejected:,} of {answered:,} answers put aside, by reason", "answers")


def draw_quality(counts: dict[str, Any]) -> Any:
    """Draw, by task, how often the label was repeated as told and how alike the openings are."""
    import plotly.graph_objects as go

    tasks = list(counts["openings"])
    labels = [counts["joining"]["labels_by_task"][task] for task in tasks]
    shares = {
        "answers that end with the label as told": [
            n["repeated"] / n["told"] if n["told"] else None for n in labels
        ],
        "answers with the most frequent opening": [counts["openings"][task] for task in tasks],
    }
    figure = go.Figure(
        [
            go.Bar(
                name=name,
                y=[title_of(task) for task in tasks],
                x=values,
                orientation="h",
                marker_color=colour,
                texttemplate="%{x:.1%}",
            )
            for (name, values), colour in zip(shares.items(), _COLOURS, strict=False)
        ]
    )
    _finish(figure, "Agreement with the label told, and likeness of the openings", "share")
    return figure.update_layout(barmode="group", xaxis={"tickformat": ".0%", "range": [0, 1.05]})


def draw_lengths(counts: dict[str, Any]) -> Any:
    """Draw how long the responses are, one line per task, as shares of the task."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (task, histogram), colour in zip(counts["words"].items(), _COLOURS, strict=False):
        total = sum(histogram.values())
        figure.add_scatter(
            name=title_of(task),
            x=[int(start) + 5 for start in histogram],
            y=[count / total for count in histogram.values()],
            mode="lines+markers",
            line={"color": colour},
        )
    figure.update_layout(yaxis={"tickformat": ".0%", "title": "share of the task's answers"})
    return _finish(figure, "Length of the responses", "words", reverse=False)


def _finish(figure: Any, title: str, x_title: str, *, reverse: bool = True) -> Any:
    figure.update_layout(
        template="plotly_white",
        barmode="stack",
        title=title,
        xaxis={"title": x_title, "rangemode": "tozero"},
        showlegend=True,  # also for a single reason
        legend={"orientation": "h", "y": -0.25, "traceorder": "normal"},
    )
    if reverse:  # the first task on top
        figure.update_yaxes(autorange="reversed")
    return figure
