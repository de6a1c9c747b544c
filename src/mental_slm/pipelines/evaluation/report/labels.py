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
_BASELINES = ("tfidf", "majority")
_DATASET_OF = {task: dataset for dataset, task in DATASET_TASK.items()}


def write_labels(metrics: Block, published: Block) -> Iterator[str]:
    """Yield the paragraphs and tables of the chapter.

    Args:
        metrics: Labels and text.
        published: Results of other work with their sources.
    """
    yield (
        "The label is read strictly from the answer: its last line must be exactly the answer line, "
        "and an answer without one is wrong. TF-IDF and the majority label learnt from the training "
        "posts alone. Published results stand on other test splits: they say where a field stands."
    )
    yield "[Figure: accuracy by task](accuracy.json)"
    cited: dict[str, None] = {}
    for measure, heading in MEASURES.items():
        anchors = {
            task: _anchors(published, task, measure) for task in metrics["data"]["n_by_task"]
        }
        cited |= dict.fromkeys(one["source"] for found in anchors.values() for one in found)
        yield f"### {heading}"
        yield headline_table(
            "dataset", [_by_task(metrics, task, measure, anchors) for task in _tasks(metrics)]
        )
    if cited:
        yield "Sources of published results:"
        yield "\n".join(f"- `{name}`: {published['sources'][name].strip()}" for name in cited)
    yield "### How the label was read"
    yield (
        "Weighted F1 of three readings. Lenient: the answer line however written, else the last "
        "line that names one option. Likelihood: the most probable option directly behind the "
        "prompt, without an explanation."
    )
    yield _readings(metrics)
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


def _by_task(
    metrics: Block, task: str, measure: str, anchors: Mapping[str, list[dict[str, Any]]]
) -> Headline:
    known = "; ".join(
        f"{one['system']} {one['value']:.3f} (`{one['source']}`)" for one in anchors.get(task, [])
    )
    systems = {system: metrics["systems"][system][task] for system in _SYSTEMS}
    return Headline(
        where=f"metrics: systems.tuned.{task}.{measure}",
        title=title_of(task),
        n=systems["tuned"].get("n"),
        tuned=systems["tuned"][measure],
        beside={"base": systems["base"][measure]},
        baselines={_SYSTEMS[name]: systems[name][measure] for name in _BASELINES},
        extras={"published": known} if any(anchors.values()) else {},
    )


def _anchors(published: Block, task: str, measure: str) -> list[dict[str, Any]]:
    """Return published results of a task, best first.

    Raises:
        ValueError: A result names a source that is not listed.
    """
    found = [r for r in published["results"] if (r["task"], r["measure"]) == (task, measure)]
    unknown = sorted({r["source"] for r in found} - set(published["sources"]))
    if unknown:
        raise ValueError(
            f"conf/base/published_results.yml: results name sources that are not listed: "
            f"{', '.join(unknown)}; add them under `sources`"
        )
    return sorted(found, key=lambda result: -result["value"])


def _readings(metrics: Block) -> str:
    rows = [
        [
            title_of(task),
            f"{metrics['systems']['tuned'][task]['n']:,}",
            *(
                show(block["weighted_f1"], share)
                for system in ("tuned", "base")
                for whole in [metrics["systems"][system][task]]
                for block in (whole, whole["lenient"], whole["likelihood"])
            ),
        ]
        for task in _tasks(metrics)
    ]
    header = [f"{system}, {how}" for system in ("tuned", "base") for how in _READINGS]
    return table(["dataset", "n", *header], rows)


_READINGS = ("strict", "lenient", "likelihood")


def _form(metrics: Block) -> str:
    rows = []
    for task in _tasks(metrics):
        row = [title_of(task)]
        for system in ("tuned", "base"):
            block = metrics["systems"][system][task]
            for rate in (
                block["invalid_rate"],
                block["lenient"]["invalid_rate"],
                block["truncated_rate"],
            ):
                row.append(f"{round(rate * block['n']):,} of {block['n']:,}")
        rows.append(row)
    counts = ("no label, strict", "no label, lenient", "cut off")
    header = [f"{system}: {what}" for system in ("tuned", "base") for what in counts]
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
            tuned=blocks["tuned"][measure],
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
                tuned=systems["tuned"][measure],
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
            tuned=tuned,
            beside={"base": found["base"]},
            baselines={"TF-IDF": found["tfidf"], "chance": chance},
        )
