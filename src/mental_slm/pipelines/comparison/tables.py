"""The tables of the comparison, as rows of cells."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from mental_slm import statistics as stats
from mental_slm.pipelines.comparison.evaluated import (
    OVERALL,
    Estimate,
    Group,
    Metrics,
    System,
)
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.pipelines.comparison.pairing import compare_models
from mental_slm.published import Published
from mental_slm.tasks import DATASET_TASK, TASKS

Rows = Iterator[list[str]]

#: Measures of labels, each with a table of its own: datasets down, systems across.
MEASURES = {
    "weighted_f1": "Weighted F1",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "balanced_accuracy": "Balanced accuracy",
}

_DATASET_OF = {task: dataset for dataset, task in DATASET_TASK.items()}


def render(rows: Rows) -> list[str]:
    """Return the lines of a Markdown table; the first row is its header."""
    header, *body = rows
    lines: Sequence[list[str]] = [header, ["---"] * len(header), *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def label_rows(
    group: Group, measure: str, published: Published, options: ComparisonOptions
) -> Rows:
    """Yield one row per dataset, one column per system, and the published results."""
    columns = group.columns()
    yield ["dataset (task, n)", *columns, "published"]
    for task in [*group.data.n_by_task, OVERALL]:
        cells = [
            show(getattr(metrics.systems[system][task], measure), options)
            for metrics, system in columns.values()
        ]
        known = "; ".join(
            f"{result.system} {result.value:.{options.decimals}f}"
            for result in published.of(task, measure)
        )
        yield [title(group, task), *cells, known]


def clinical_rows(group: Group, options: ComparisonOptions) -> Rows:
    """Yield what a clinician asks first: is severity underrated, are suicidal posts found."""
    columns = group.columns()
    yield ["", *columns]
    for name, heading in (
        ("quadratic_kappa", "quadratic kappa"),
        ("under_triage_rate", "under-triage rate (lower is better)"),
    ):
        for task in [task for task in group.data.n_by_task if TASKS[task].ordinal]:
            blocks = [metrics.systems[system][task] for metrics, system in columns.values()]
            cells = [show(getattr(block, name), options) for block in blocks]
            yield [f"{TASKS[task].title}: {heading}", *cells]
    for name, heading in (
        ("recall", "recall of suicidal posts"),
        ("false_positive_rate", "false alarms on test posts"),
        ("area_under_curve", "area under the ROC curve"),
    ):
        cells = [
            show(getattr(metrics.risk.systems[system], name), options) if metrics.risk else ""
            for metrics, system in columns.values()
        ]
        if any(cells):
            yield [f"{TASKS['suicide_risk'].title}: {heading}", *cells]


def confidence_rows(group: Group, options: ComparisonOptions) -> Rows:
    """Yield form of the answers, and labels and calibration by likelihood, over all tasks."""
    columns = group.columns()
    yield ["", *columns]
    readings: dict[str, Callable[[Any], str]] = {
        "answers without a label, strict": lambda block: f"{block.invalid_rate:.1%}",
        "answers without a label, lenient": lambda block: f"{block.lenient.invalid_rate:.1%}",
        "answers cut off": lambda block: (
            "" if block.truncated_rate is None else f"{block.truncated_rate:.1%}"
        ),
        "weighted F1, lenient": lambda block: show(block.lenient.weighted_f1, options),
        "weighted F1, likelihood": lambda block: show(block.likelihood.weighted_f1, options),
        "calibration error (lower is better)": lambda block: show(
            block.likelihood.calibration_error, options
        ),
        "Brier skill over label shares": lambda block: show(block.likelihood.brier_skill, options),
    }
    for heading, read in readings.items():
        cells = [read(metrics.systems[system][OVERALL]) for metrics, system in columns.values()]
        yield [heading, *cells]


def text_rows(group: Group, options: ComparisonOptions) -> Rows:
    """Yield BERTScore raw, its floor and its skill, and further measures of the text."""
    columns = _models_only(group)
    yield ["", *columns]
    blocks = [metrics.systems[system][OVERALL] for metrics, system in columns.values()]
    if group.same_encoder:
        yield ["BERTScore F1, raw", *(show(block.bertscore_f1, options) for block in blocks)]
        floors = [block.bertscore_floor for block in blocks]
        yield [
            "floor: reference of another post",
            *("" if floor is None else f"{floor:.{options.decimals}f}" for floor in floors),
        ]
        yield ["skill over the floor", *(show(block.bertscore_skill, options) for block in blocks)]
    for name in sorted({name for block in blocks for name in block.text}):
        if group.same_encoder or not name.startswith("bertscore"):
            cells = [show(block.text.get(name), options) for block in blocks]
            yield [name.replace("_", " "), *cells]


def gain_rows(group: Group, options: ComparisonOptions) -> Rows:
    """Yield tuned minus base per dataset."""
    yield ["model", "dataset (task, n)", "accuracy", "weighted F1", "McNemar p"]
    for name, metrics in group.models.items():
        for task in group.tasks:
            gain = metrics.paired[task]
            yield [
                f"{metrics.model.tuned.name} ({name})",
                title(group, task),
                show(gain.accuracy, options, sign="+"),
                show(gain.weighted_f1, options, sign="+"),
                "" if gain.mcnemar_p is None else _show_p(gain.mcnemar_p),
            ]


def headline_rows(group: Group, options: ComparisonOptions) -> Rows:
    """Yield the declared tests of the tuned model."""
    yield ["model", "headline", "difference", "p (Holm)", "detectable", "tuned is"]
    for name, metrics in group.models.items():
        for headline, test in metrics.headlines.tests.items():
            yield [
                f"{metrics.model.tuned.name} ({name})",
                headline,
                show(test, options, sign="+"),
                _show_p(test.p_holm),
                f"{test.detectable:.{options.decimals}f}",
                test.verdict,
            ]


def pair_rows(scores: dict[str, pd.DataFrame], group: Group, options: ComparisonOptions) -> Rows:
    """Yield weighted F1 of two tuned models, item by item."""
    yield [
        "first",
        "second",
        "dataset (task, n)",
        "weighted F1, first minus second",
        "p (Holm)",
        "detectable",
        "McNemar p",
        "first is",
    ]
    for first, second, task, found, p_holm, mcnemar_p in compare_models(scores, options):
        difference = found.difference
        yield [
            first,
            second,
            title(group, task),
            show(Estimate(**difference.to_json()), options, sign="+"),
            _show_p(p_holm),
            f"{found.detectable:.{options.decimals}f}",
            _show_p(mcnemar_p),
            stats.judge_difference(difference.value, p_holm, found.detectable),
        ]


def further_rows(group: Group, part: str, options: ComparisonOptions) -> Rows:
    """Yield the estimates of a part that another stage of the evaluation added."""
    found = {name: metrics.further(part) for name, metrics in group.models.items()}
    yield ["", *found]
    gates = [(getattr(metrics, part) or {}).get("gate") for metrics in group.models.values()]
    if any(gates):
        yield ["release gate", *map(_show_gate, gates)]
    for path in dict.fromkeys(path for estimates in found.values() for path in estimates):
        yield [path, *(show(estimates.get(path), options) for estimates in found.values())]


def show(estimate: Estimate | None, options: ComparisonOptions, sign: str = "") -> str:
    """Return a value with its interval, or nothing."""
    if estimate is None:
        return ""
    value, low, high = (
        f"{number:{sign}.{options.decimals}f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def title(group: Group, task: str) -> str:
    """Return dataset, task and number of items."""
    if task == OVERALL:
        return f"all ({group.data.n})"
    return f"{_DATASET_OF[task]} ({TASKS[task].title}, {group.data.n_by_task[task]})"


def _show_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _show_gate(gate: dict[str, Any] | None) -> str:
    if gate is None:
        return ""
    return "passed" if gate["passed"] else f"**failed**: {', '.join(gate['failures'])}"


def _models_only(group: Group) -> dict[str, tuple[Metrics, System]]:
    columns = group.columns()
    return {name: column for name, column in columns.items() if column[1] in ("base", "tuned")}
