"""The report in Markdown: verdict, notes, and a chapter for each block of metrics."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mental_slm.pipelines.evaluation.report.judge import write_judge
from mental_slm.pipelines.evaluation.report.labels import write_labels
from mental_slm.pipelines.evaluation.report.making import write_limits, write_making
from mental_slm.pipelines.evaluation.report.profiles import write_profiles
from mental_slm.pipelines.evaluation.report.safety import write_safety
from mental_slm.pipelines.evaluation.report.text import write_reference, write_text
from mental_slm.pipelines.evaluation.report.verdict import tests_table, write_verdict
from mental_slm.pipelines.evaluation.summary import FORMAT
from mental_slm.published import Published

Block = Mapping[str, Any]

_READING = (
    "A number in brackets is a 95 % interval over posts. Better and worse need significance after "
    "Holm's adjustment over all declared tests *and* a difference above what a test of this size "
    "finds four times in five."
)

#: What stands in place of a chapter, and what brings it.
_NO_PROFILES = (
    "Not measured: these data hold no emotion profiles. Put StudEmo's texts at hand (docs/data.md) "
    "and run `kedro run` again."
)
_NO_JUDGE = (
    "Not measured: no answer was judged. Name a judge in `evaluation.judge.judges` and run "
    "`kedro run --pipelines evaluation`."
)
_NO_SAFETY = "Not measured. Run `kedro run --pipelines evaluation`."
_NO_REFERENCE = (
    "Not asked: no reference system is configured (`evaluation.reference`, a server that answers "
    "the same items)."
)


def write_report(
    metrics: Block,
    judge: Block,
    profiles: Block,
    safety: Block,
    reference: Block,
    published: Published,
) -> str:
    """Write the report of one model.

    Args:
        metrics: Labels and text.
        judge: Scores of the judge; may be empty.
        profiles: Emotion profiles; may be empty.
        safety: The safety suite; may be empty.
        reference: The reference system; may be empty.
        published: Results of other work with their sources.

    Returns:
        Markdown. A line that holds nothing but a link to a figure's JSON stands where the HTML
        report shows that figure.

    Raises:
        ValueError: A headline lacks its interval, its n or its baseline; names the key. Or the
            metrics were written by another version.
    """
    if metrics.get("format") != FORMAT:
        raise ValueError(
            f"metrics: {metrics.get('format', 'no format')} is not {FORMAT!r}; make them again: "
            "kedro run --pipelines evaluation"
        )
    chapters: list[tuple[str, Iterable[str]]] = [
        ("Before you quote a number", _notes(metrics, judge, profiles, safety, reference)),
        ("What was shown", _shown(metrics)),
        ("Labels", write_labels(metrics, published)),
        ("Explanations", write_text(metrics)),
        (
            "Emotion profiles",
            write_profiles(profiles) if profiles.get("systems") else [_NO_PROFILES],
        ),
        ("Judge", write_judge(judge) if judge.get("headlines") else [_NO_JUDGE]),
        ("Safety", write_safety(safety) if safety else [_NO_SAFETY]),
        (
            "Reference system",
            write_reference(reference, metrics) if reference.get("asked") else [_NO_REFERENCE],
        ),
        ("How it was made", write_making(metrics)),
        ("What it is not", [write_limits()]),
    ]
    opening = [
        f"# Evaluation of {metrics['model']['tuned']['name']}",
        write_verdict(metrics, safety),
    ]
    body = [part for title, parts in chapters for part in (f"## {title}", *parts)]
    return "\n\n".join([*opening, *body]) + "\n"


def _notes(
    metrics: Block, judge: Block, profiles: Block, safety: Block, reference: Block
) -> Iterator[str]:
    """Yield what must be known before a number is quoted, block by block."""
    blocks = {
        "Labels and explanations": metrics,
        "Emotion profiles": profiles,
        "Judge": judge,
        "Safety": safety,
        "Reference system": reference if reference.get("asked") else {},
    }
    said = [
        f"- **{title}.** {note}"
        for title, block in blocks.items()
        for note in block.get("notes", [])
    ]
    yield "\n".join([f"- {_READING}", *said])


def _shown(metrics: Block) -> Iterator[str]:
    """Yield the declared tests, made or not."""
    headlines = metrics["headlines"]
    yield (
        f"{len(headlines['family'])} tests were declared before any number was seen; p-values are "
        "adjusted over all that could be made."
    )
    yield tests_table(metrics)
    if headlines["untested"]:
        names = ", ".join(f"`{name}`" for name in headlines["untested"])
        yield f"Not tested, because these data hold no such items: {names}."
