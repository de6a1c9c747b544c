"""The chapter on labels: by dataset, by reading, calibration, severity and suicide risk."""

from collections.abc import Iterator, Mapping
from typing import Any

from mental_slm.pipelines.evaluation.report.headlines import (
    Headline,
    headline_table,
    share,
    show,
    table,
)
from mental_slm.published import Published
from mental_slm.tasks import DATASET_TASK, TASKS

Block = Mapping[str, Any]

OVERALL = "overall"

#: Measures that get a table of their own, the declared one first.
MEASURES = {
    "weighted_f1": "Weighted F1",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
}

_SYSTEMS = {"tuned": "tuned", "base": "base", "tfidf": "TF-IDF", "majority": "majority label"}
_MODELS = ("tuned", "base")
_BASELINES = ("tfidf", "majority")
_DATASET_OF = {task: dataset for dataset, task in DATASET_TASK.items()}


def write_labels(metrics: Block, published: Published) -> Iterator[str]:
    """Yield the paragraphs and tables of the chapter.

    Args:
        metrics: Labels and text.
        published: Results of other work with their sources.
    """
    yield (
        "The label is read strictly from the answer: its last line must be exactly the answer line, "
        "and an answer without one is wrong. TF-IDF and the majority label learnt from the training "
        "posts alone."
    )
    yield "[Figure: accuracy by task](accuracy.json)"
    for measure, heading in MEASURES.items():
        yield f"### {heading}"
        yield headline_table(
            "dataset", [_by_task(metrics, task, measure) for task in _tasks(metrics)]
        )
    yield from _anchors(metrics, published)
    yield "### How the label was read"
    yield (
        "Weighted F1 of three readings. Lenient: the answer line however written, else the last "
        "line that names one option. Likelihood: the most probable option directly behind the "
        "prompt, without an explanation."
    )
    for system in _MODELS:
        yield _readings(metrics, system)
    yield "How many answers had no label in them, and how many were cut off:"
    yield _form(metrics)
    yield "### Calibration"
    yield (
        "What the probabilities of the options are worth, over all tasks. Calibration error: mean "
        "gap between confidence and accuracy, above 0 in a small sample even where nothing is "
        "wrong. Brier skill: 0 equals the shares of the training labels, 1 is perfect. Area under "
        "risk: error rate among the most confident, lower is better."
    )
    yield "[Figure: reliability, risk and coverage](reliability.json)"
    yield headline_table("measure", _calibration(metrics))
    yield "### Severity and suicide risk"
    clinical = [*_severity(metrics), *_risk(metrics)]
    yield headline_table("measure", clinical) if clinical else "No such items in these data."


def title_of(task: str) -> str:
    """Return dataset and task as people read them."""
    return "All tasks" if task == OVERALL else f"{_DATASET_OF[task]} ({TASKS[task].title})"


def _tasks(metrics: Block) -> list[str]:
    return [*metrics["data"]["n_by_task"], OVERALL]


def _by_task(metrics: Block, task: str, measure: str) -> Headline:
    systems = {system: metrics["systems"][system][task] for system in _SYSTEMS}
    return Headline(
        where=f"metrics: systems.tuned.{task}.{measure}",
        title=title_of(task),
        n=systems["tuned"].get("n"),
        measured=systems["tuned"][measure],
        beside={"base": systems["base"][measure]},
        baselines={_SYSTEMS[name]: systems[name][measure] for name in _BASELINES},
    )


def _anchors(metrics: Block, published: Published) -> Iterator[str]:
    """Yield published results beside ours, with their sources."""
    rows, cited = [], dict[str, None]()
    for task in metrics["data"]["n_by_task"]:
        for measure, heading in MEASURES.items():
            found = published.of(task, measure)
            if not found:
                continue
            cited |= dict.fromkeys(result.source for result in found)
            ours = metrics["systems"]["tuned"][task]
            rows.append(
                [
                    f"{title_of(task)}, {heading[0].lower()}{heading[1:]}",
                    f"{ours['n']:,}",
                    show(ours[measure], share),
                    "; ".join(f"{r.system} {share(r.value)} (`{r.source}`)" for r in found),
                ]
            )
    if rows:
        yield "### Published results beside ours"
        yield "On other test splits, so they say where a field stands and are no comparison."
        yield table(["dataset, measure", "n", "tuned", "published"], rows)
        yield "\n".join(f"- `{name}`: {published.sources[name].strip()}" for name in cited)


def _readings(metrics: Block, system: str) -> str:
    rows = []
    for task in _tasks(metrics):
        strict = metrics["systems"][system][task]
        blocks = (strict, strict["lenient"], strict["likelihood"])
        cells = [show(block["weighted_f1"], share) for block in blocks]
        rows.append([title_of(task), f"{strict['n']:,}", *cells])
    header = [f"{system}, {reading}" for reading in ("strict", "lenient", "likelihood")]
    return table(["dataset", "n", *header], rows)


def _form(metrics: Block) -> str:
    rows = []
    for task in _tasks(metrics):
        row = [title_of(task)]
        for system in _MODELS:
            block = metrics["systems"][system][task]
            for rate in (
                block["invalid_rate"],
                block["lenient"]["invalid_rate"],
                block["truncated_rate"],
            ):
                row.append(f"{round(rate * block['n']):,} of {block['n']:,}")
        rows.append(row)
    header = [f"{system}, {what}" for system in _MODELS for what in ("strict", "lenient", "cut")]
    return table(["dataset", *header], rows)


_CALIBRATION = {
    "calibration_error": "calibration error (lower is better)",
    "brier_skill": "Brier skill",
    "brier": "Brier score, 0 to 2 (lower is better)",
    "area_under_risk": "area under risk (lower is better)",
}


def _calibration(metrics: Block) -> list[Headline]:
    blocks = {s: metrics["systems"][s][OVERALL]["likelihood"] for s in _SYSTEMS}
    return [
        Headline(
            where=f"metrics: systems.tuned.overall.likelihood.{measure}",
            title=title,
            n=metrics["data"]["n"],
            measured=blocks["tuned"][measure],
            beside={"base": blocks["base"][measure]},
            baselines={_SYSTEMS[name]: blocks[name][measure] for name in _BASELINES},
        )
        for measure, title in _CALIBRATION.items()
    ]


def _severity(metrics: Block) -> Iterator[Headline]:
    ordinal = [task for task in metrics["data"]["n_by_task"] if TASKS[task].ordinal]
    for task in ordinal:
        systems = {system: metrics["systems"][system][task] for system in _SYSTEMS}
        for measure, title in (
            ("quadratic_kappa", "quadratic kappa"),
            ("under_triage_rate", "under-triage rate (lower is better)"),
        ):
            yield Headline(
                where=f"metrics: systems.tuned.{task}.{measure}",
                title=f"{TASKS[task].title}: {title}",
                n=systems["tuned"]["n"],
                measured=systems["tuned"][measure],
                beside={"base": systems["base"][measure]},
                baselines={_SYSTEMS[name]: systems[name][measure] for name in _BASELINES},
            )


def _risk(metrics: Block) -> Iterator[Headline]:
    risk = metrics["risk"]
    if not risk:
        return
    task = TASKS[risk["task"]].title
    allowed = risk["allowed_false_positive_rate"]
    for measure, title, chance in (
        ("recall", f"recall at {allowed:.0%} false alarms (threshold from validation)", allowed),
        ("false_positive_rate", "false alarms on test posts", allowed),
        ("area_under_curve", "area under the ROC curve", 0.5),
    ):
        found = {system: risk["systems"][system][measure] for system in _SYSTEMS}
        tuned = found["tuned"]
        yield Headline(
            where=f"metrics: risk.systems.tuned.{measure}",
            title=f"{task}: {title}",
            n=(tuned or {}).get("n", metrics["data"]["n_by_task"][risk["task"]]),
            measured=tuned,
            beside={"base": found["base"]},
            baselines={"TF-IDF": found["tfidf"], "chance": chance},
        )
