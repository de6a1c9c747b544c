"""The last two chapters: how the numbers were made, and what they are not."""

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from mental_slm.pipelines.evaluation.report.headlines import table
from mental_slm.safety import INTENDED_USE

Block = Mapping[str, Any]

_PACKAGES = ("mental-slm", "torch", "transformers")

_NOT = (
    INTENDED_USE,
    "No clinical validation: no clinician rated an answer, and no person in need was asked.",
    "Labels are those of public datasets of English posts and self-reports, mostly given by lay "
    "raters or by the forum a post stood in. A label of a post is no diagnosis of its author.",
    "A similarity to references is no measure of help: references were written by a teacher model "
    "or template, and their faults are rewarded too.",
    "These are the numbers of the model before it is exported. What the phone runs is compared "
    "with it in `parity_report.json`.",
    "Published results beside ours were measured on other test splits and are no paired comparison.",
)


def write_making(metrics: Block) -> Iterator[str]:
    """Yield models, settings, speed and versions behind the numbers."""
    model, generation = metrics["model"], metrics["generation"]
    rows = []
    for system in ("tuned", "base"):
        speed = generation[system]
        overall = metrics["systems"][system]["overall"]
        rate = speed["tokens_per_second"]
        rows.append(
            [
                system,
                model[system]["name"],
                f"`{model[system]['digest']}`",
                f"{model[system]['parameters']:,}",
                f"{speed['tokens']:,} in {speed['seconds']:,.0f} s",
                "" if rate is None else f"{rate:,.1f}",
                f"{round(overall['truncated_rate'] * overall['n']):,} of {overall['n']:,}",
            ]
        )
    yield table(
        ["", "model", "digest", "parameters", "tokens", "tokens/s", "answers cut off"], rows
    )
    data = metrics["data"]
    settings = ", ".join(f"{name} {value}" for name, value in metrics["settings"].items())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    yield "\n".join(
        f"- {line}"
        for line in (
            f"Environment `{model['environment']}`, data edition `{data['edition']}`, items "
            f"`{data['items_digest']}`.",
            f"Settings: {settings}.",
            f"Report written with {versions}; every parameter of the run is in "
            "`run_manifest.json` beside this report.",
            "Made again with `kedro run --pipelines evaluation` in the same environment.",
        )
    )
    yield "### Methods"
    yield "\n".join(
        f"- *{name.replace('_', ' ')}*: {text}." for name, text in metrics["methods"].items()
    )


def write_limits() -> str:
    """Return what the report does not show."""
    return "\n".join(f"- {line}" for line in _NOT)
