"""Nodes of the comparison pipeline: one table, one figure."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mental_slm.pipelines.comparison.evaluated import (
    OVERALL,
    Estimate,
    Group,
    Metrics,
    SystemMetrics,
    read_groups,
)
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.tasks import TASKS

logger = logging.getLogger(__name__)

_BASELINES = {"majority": "majority label", "tfidf": "TF-IDF + logistic regression"}

#: Okabe-Ito colours, one per model.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")


def tabulate_models(metrics: dict[str, Callable[[], Any]], options: ComparisonOptions) -> str:
    """Write the table of all evaluated models in Markdown, one section per data edition.

    Models that answered different items never share a table: their numbers cannot be compared.

    Args:
        metrics: Id such as ``smollm2/sample`` to a function that loads the metrics.
        options: Number of decimals.

    Returns:
        The Markdown text. Files left out are named in it, and logged, with the reason.

    Raises:
        ValueError: No file could be used.
    """
    groups, left_out = read_groups(metrics)
    for name, reason in left_out.items():
        logger.warning("left out the metrics of %s: %s; evaluate that model again", name, reason)
    lines = [
        "# Comparison of models",
        "",
        "Values with their 95 % interval. An answer without a readable label is wrong. BERTScore "
        "skill: 0 is no better than the reference of another post, 1 is identity. A model that "
        "does not clear TF-IDF has learnt little about the labels.",
    ]
    for group in groups:
        lines += ["", f"## {group.title[0].upper()}{group.title[1:]}", ""]
        lines += _table(_system_rows(group, options))
        if not group.same_encoder:
            lines += ["", "BERTScore is left out: the models were scored by different encoders."]
        lines += ["", "Tuned minus base, on the same items:", ""]
        lines += _table(_gain_rows(group, options))
    if left_out:
        lines += ["", "## Left out", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in left_out.items()]
    return "\n".join(lines) + "\n"


def draw_comparison(metrics: dict[str, Callable[[], Any]]) -> Any:
    """Draw macro F1 per task, one panel per data edition and one colour per model.

    A bar is the tuned model with its 95 % interval, the diamond on it is its base model, and the
    grey bar is the TF-IDF baseline.

    Args:
        metrics: Id such as ``smollm2/sample`` to a function that loads the metrics.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        ValueError: No file could be used.
    """
    from plotly.subplots import make_subplots

    groups, _ = read_groups(metrics)
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        subplot_titles=[group.title for group in groups],
        vertical_spacing=0.25 / len(groups),
    )
    colours: dict[str, str] = {}
    for row, group in enumerate(groups, start=1):
        for name, model in group.models.items():
            environment = model.model.environment
            colour = colours.setdefault(environment, _COLOURS[len(colours) % len(_COLOURS)])
            figure.add_traces(_draw_model(name, model, colour), rows=row, cols=1)
        figure.add_trace(_draw_tfidf(group, first=row == 1), row=row, col=1)
    figure.update_layout(
        template="plotly_white",
        barmode="group",
        scattermode="group",
        title="Macro F1 of the tuned models (bars, 95 % interval) over base model and TF-IDF",
        height=180 + 320 * len(groups),
    )
    figure.update_yaxes(range=[0, 1], title="macro F1")
    return figure


def _system_rows(group: Group, options: ComparisonOptions) -> Iterator[list[str]]:
    tasks = [OVERALL, *group.data.n_by_task]
    skill = ["BERTScore skill"] if group.same_encoder else []
    yield [
        "model",
        "system",
        "accuracy",
        *(f"macro F1: {_title(task)} (n = {_count(group, task)})" for task in tasks),
        "invalid",
        *skill,
    ]
    for name, metrics in group.models.items():
        for system in ("base", "tuned"):
            label = getattr(metrics.model, system).name
            yield _system_row(f"{label} ({name})", system, metrics, group, options)
    yield from _baseline_rows(group, options)


def _baseline_rows(group: Group, options: ComparisonOptions) -> Iterator[list[str]]:
    """Yield each baseline once, or once per outcome where models were tuned on other pairs."""
    for system, label in _BASELINES.items():
        outcomes: dict[tuple[str, ...], list[str]] = {}
        for name, metrics in group.models.items():
            row = _system_row(label, system, metrics, group, options)
            outcomes.setdefault(tuple(row), []).append(name)
        for row_cells, names in outcomes.items():
            shown = label if len(outcomes) == 1 else f"{label} ({', '.join(names)})"
            yield [shown, *row_cells[1:]]


def _system_row(
    label: str, system: Any, metrics: Metrics, group: Group, options: ComparisonOptions
) -> list[str]:
    blocks = metrics.systems[system]
    overall: SystemMetrics = blocks[OVERALL]
    row = [label, system, _show(overall.accuracy, options)]
    row += [_show(blocks[task].macro_f1, options) for task in [OVERALL, *group.data.n_by_task]]
    row.append(f"{overall.invalid_rate:.1%}")
    if group.same_encoder:
        skill = overall.bertscore_skill
        row.append(_show(skill, options) if skill else "")
    return row


def _gain_rows(group: Group, options: ComparisonOptions) -> Iterator[list[str]]:
    yield ["model", "task", "accuracy", "macro F1", "McNemar p"]
    for name, metrics in group.models.items():
        for task in [OVERALL, *group.data.n_by_task]:
            gain = metrics.paired[task]
            yield [
                f"{metrics.model.tuned.name} ({name})",
                _title(task),
                _show(gain.accuracy, options, sign="+"),
                _show(gain.macro_f1, options, sign="+"),
                f"{gain.mcnemar_p:.3f}",
            ]


def _show(estimate: Estimate, options: ComparisonOptions, sign: str = "") -> str:
    value, low, high = (
        f"{number:{sign}.{options.decimals}f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def _table(rows: Iterator[list[str]]) -> list[str]:
    header, *body = rows
    lines: Sequence[list[str]] = [header, ["---"] * len(header), *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def _title(task: str) -> str:
    return "overall" if task == OVERALL else TASKS[task].title


def _count(group: Group, task: str) -> int:
    return group.data.n if task == OVERALL else group.data.n_by_task[task]


def _axis(group: Group) -> list[str]:
    return [
        f"{_title(task)}<br>n = {_count(group, task)}" for task in [OVERALL, *group.data.n_by_task]
    ]


def _draw_model(name: str, metrics: Metrics, colour: str) -> list[Any]:
    import plotly.graph_objects as go

    group = Group(metrics.data.edition, metrics.data.items_digest, {name: metrics})
    tasks = [OVERALL, *metrics.data.n_by_task]
    tuned = [metrics.systems["tuned"][task].macro_f1 for task in tasks]
    base = [metrics.systems["base"][task].macro_f1 for task in tasks]
    return [
        go.Bar(
            name=f"{metrics.model.tuned.name} ({name})",
            x=_axis(group),
            y=[estimate.value for estimate in tuned],
            error_y=_error_bars(tuned),
            marker_color=colour,
            offsetgroup=name,
        ),
        go.Scatter(
            name=f"its base model ({name})",
            x=_axis(group),
            y=[estimate.value for estimate in base],
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 9,
                "color": "white",
                "line": {"color": "black", "width": 1.5},
            },
            offsetgroup=name,
        ),
    ]


def _draw_tfidf(group: Group, first: bool) -> Any:
    import plotly.graph_objects as go

    metrics = next(iter(group.models.values()))
    tasks = [OVERALL, *group.data.n_by_task]
    estimates = [metrics.systems["tfidf"][task].macro_f1 for task in tasks]
    return go.Bar(
        name="TF-IDF + logistic regression",
        x=_axis(group),
        y=[estimate.value for estimate in estimates],
        error_y=_error_bars(estimates),
        marker_color="#BBBBBB",
        offsetgroup="tfidf",
        legendgroup="tfidf",
        showlegend=first,
    )


def _error_bars(estimates: list[Estimate]) -> dict[str, Any]:
    return {
        "array": [estimate.high - estimate.value for estimate in estimates],
        "arrayminus": [estimate.value - estimate.low for estimate in estimates],
        "thickness": 1.2,
        "width": 3,
    }
