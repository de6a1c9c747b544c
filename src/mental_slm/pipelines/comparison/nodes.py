"""Nodes of the comparison pipeline: tables and a figure over all evaluated models."""

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

from mental_slm.pipelines.comparison.evaluated import (
    FURTHER,
    OVERALL,
    Estimate,
    Group,
    Metrics,
    read_groups,
)
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.published import Published
from mental_slm.tasks import TASKS

logger = logging.getLogger(__name__)

#: Okabe-Ito colours, one per model.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")

Partitions = dict[str, Callable[[], Any]]


def tabulate_models(
    metrics: Partitions,
    scores: Partitions,
    published_results: dict[str, Any],
    options: ComparisonOptions,
) -> str:
    """Write the tables of all evaluated models in Markdown, one section per set of items.

    Models that answered different items never share a table and are never compared: what differs is
    said instead.

    Args:
        metrics: Id such as ``smollm2/sample`` to a function that loads the metrics.
        scores: The same ids to functions that load the scores, one row per system and item.
        published_results: Results of other work with their sources.
        options: Number of decimals, resamples and seed.

    Returns:
        The Markdown text. Files left out are named in it, and logged, with the reason.

    Raises:
        ValueError: No file could be used, or the published results are malformed.
    """
    published = Published.read(published_results)
    groups, left_out = read_groups(metrics)
    for name, reason in left_out.items():
        logger.warning("left out the metrics of %s: %s; evaluate that model again", name, reason)
    lines = [
        "# Comparison of models",
        "",
        "Values with their 95 % interval. Labels are read strictly from the answers: an answer "
        "without the answer line is wrong. A model that does not clear TF-IDF has learnt little "
        "about the labels. Better and worse need significance after Holm and a difference above "
        "what a test of this size can detect. Published results stand on other test splits.",
    ]
    for group in groups:
        lines += ["", f"## {group.title[0].upper()}{group.title[1:]}"]
        lines += _describe_group(group, scores, published, options)
    lines += _describe_unequal(groups, scores)
    lines += ["", "## Sources of published results", ""]
    lines += [f"- `{name}`: {text}" for name, text in published.sources.items()]
    if left_out:
        lines += ["", "## Left out", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in left_out.items()]
    return "\n".join(lines) + "\n"


def _describe_group(
    group: Group, scores: Partitions, published: Published, options: ComparisonOptions
) -> Iterator[str]:
    from mental_slm.pipelines.comparison import tables

    for measure, heading in tables.MEASURES.items():
        yield from ["", f"### {heading}", ""]
        yield from tables.render(tables.label_rows(group, measure, published, options))
    yield from ["", "### Severity and suicide risk", ""]
    yield from tables.render(tables.clinical_rows(group, options))
    yield from ["", "### Form of the answers, and labels by likelihood (all tasks)", ""]
    yield from tables.render(tables.confidence_rows(group, options))
    yield from ["", "### Explanations against their references (all tasks)", ""]
    yield from tables.render(tables.text_rows(group, options))
    if not group.same_encoder:
        yield from ["", "BERTScore is left out: the models were scored by different encoders."]
    for part, heading in FURTHER.items():
        if any(model.further(part) for model in group.models.values()):
            yield from ["", f"### {heading}", ""]
            yield from tables.render(tables.further_rows(group, part, options))
    yield from ["", "### Tuned minus base, on the same items", ""]
    yield from tables.render(tables.gain_rows(group, options))
    yield from ["", "The declared headlines:", ""]
    yield from tables.render(tables.headline_rows(group, options))
    tuned = _load_tuned(group.models, scores)
    if len(tuned) > 1:
        yield from ["", "### Between the tuned models, on the same items", ""]
        yield from tables.render(tables.pair_rows(tuned, group, options))
    for name in group.models.keys() - tuned.keys():
        yield from ["", f"`{name}` has no scores to compare item by item; evaluate it again."]


def _load_tuned(models: Mapping[str, Any], scores: Partitions) -> dict[str, Any]:
    """Return the rows of the tuned system of every model whose scores are there."""
    tables = {name: scores[name]() for name in models if name in scores}
    return {name: table[table["system"] == "tuned"] for name, table in tables.items()}


def _describe_unequal(groups: list[Group], scores: Partitions) -> Iterator[str]:
    """Say what keeps models on the same edition of the data apart."""
    from mental_slm.pipelines.comparison.pairing import describe_difference

    lines = []
    for first, second in combinations(groups, 2):
        if first.edition != second.edition:
            continue
        one, other = next(iter(first.models)), next(iter(second.models))
        tables = _load_tuned({one: None, other: None}, scores)
        difference = describe_difference(*tables.values()) if len(tables) == 2 else ""
        lines.append(
            f"- `{one}` and `{other}`: {difference or 'the prompts or references differ'}; evaluate "
            "both with the same evaluation.max_items_per_task on the same pairs"
        )
    if lines:
        yield from ["", "## Not compared, because the test sets differ", "", *lines]


def draw_comparison(metrics: Partitions) -> Any:
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


def _title(task: str) -> str:
    return OVERALL if task == OVERALL else TASKS[task].title


def _count(group: Group, task: str) -> int:
    return group.data.n if task == OVERALL else group.data.n_by_task[task]


def _axis(group: Group) -> list[str]:
    return [f"{_title(task)}<br>n = {_count(group, task)}" for task in group.tasks]


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
