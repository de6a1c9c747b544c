"""The chapter on safety: the gate first, then what it rests on."""

from collections.abc import Iterator, Mapping
from typing import Any

from mental_slm.pipelines.evaluation.report.headlines import (
    Headline,
    headline_table,
    percent,
    show,
    signed,
    table,
)
from mental_slm.statistics import SIGNIFICANCE

Block = Mapping[str, Any]

_BASELINES = {"mute": "says nothing", "fixed": "one kind sentence"}


def write_safety(safety: Block) -> Iterator[str]:
    """Yield the paragraphs and tables of the chapter.

    Args:
        safety: Metrics of the suite.
    """
    suite = safety["suite"]
    yield from _gate(safety["gate"])
    yield (
        f"Suite version {suite['version']} (`{suite['digest']}`, {suite['review']}): "
        f"{suite['asked']:,} of {suite['total']:,} made-up prompts asked. Shares are of answers that "
        "**pass**; a crisis resource is added by code whenever the detector fires, and *unaided* is "
        "what the model said by itself. Two answers that need no model stand beside."
    )
    yield "[Figure: answers that pass each check](safety.json)"
    yield headline_table("check", [_check(safety, name) for name in safety["paired"]], percent)
    yield _differences(safety["paired"])
    yield "### The risk detector"
    rows = [*_detector(safety["detector"])]
    yield headline_table("prompts of the suite", rows, percent, "detector")
    posts = safety["detector"]["posts"]
    if posts:
        yield "How often it fires on test posts, by label (a share that is neither good nor bad):"
        yield table(
            ["dataset", "label", "n", "fires"],
            [
                [one["dataset"], str(one["label"]), f"{one['n']:,}", show(one, percent)]
                for one in posts
            ],
        )
    yield "### Recited posts, and what is covered"
    yield "\n".join(f"- {line}" for line in [*_memorised(safety), *_covered(safety)])


def _gate(gate: Block) -> Iterator[str]:
    if gate["passed"]:
        yield f"**Release gate: passed** ({len(gate['checked'])} thresholds)."
        return
    yield (
        f"**Release gate: failed** ({len(gate['failures'])} of {len(gate['checked'])} thresholds "
        "not kept). This model must not be released."
    )
    yield table(
        ["threshold not kept", "requirement", "measured", "required"],
        [
            [
                f"`{one['name']}`",
                one["requirement"],
                "not measured" if one["value"] is None else f"{one['value']:g}",
                f"{'at least' if one['bound'] == 'min' else 'at most'} {one['threshold']:g}",
            ]
            for one in gate["failures"]
        ],
    )


def _check(safety: Block, name: str) -> Headline:
    tuned, base = (safety["systems"][s]["checks"][name] for s in ("tuned", "base"))
    return Headline(
        where=f"safety_metrics: systems.tuned.checks.{name}",
        title=f"{name.replace('_', ' ')} ({tuned['requirement']})",
        n=tuned.get("n"),
        measured=tuned,
        beside={"base": base},
        baselines={
            title: safety["baselines"][system]["checks"].get(name)
            for system, title in _BASELINES.items()
        },
    )


def _differences(paired: Block) -> str:
    """Name the checks on which tuned and base model differ, prompt by prompt."""
    found = [
        f"{name.replace('_', ' ')} {show(one, signed)}"
        for name, one in paired.items()
        if one["p_holm"] < SIGNIFICANCE
    ]
    said = "; ".join(found) if found else "shown on no check"
    return f"Tuned minus base, where it is significant (McNemar, p after Holm): {said}."


def _detector(detector: Block) -> Iterator[Headline]:
    one_word = detector["baselines"]["one_word"]
    for part, title in (
        ("recall", "fires on prompts at risk"),
        ("false_positive_rate", "fires on harmless prompts (lower is better)"),
    ):
        for half, of_which in (("held_out", "held-out half"), ("all", "all")):
            found = detector[part][half]
            yield Headline(
                where=f"safety_metrics: detector.{part}.{half}",
                title=f"{title}, {of_which}",
                n=found.get("n"),
                measured=found,
                baselines={'the word "suicid" alone': one_word[part][half]},
            )


def _memorised(safety: Block) -> Iterator[str]:
    for name in ("tuned", "base"):
        found = safety["memorisation"][name]
        if not found["posts"]:
            yield f"{name}: not tried whether training posts are recited."
        else:
            yield (
                f"{name}: {found['memorised']:,} of {found['posts']:,} training posts recited word "
                f"for word ({found['verbatim_tokens']} tokens after {found['prefix_tokens']}; the "
                f"longest {found['recited_most']})."
            )


def _covered(safety: Block) -> Iterator[str]:
    for state in ("yes", "partly", "no"):
        names = [name for name, one in safety["requirements"].items() if one["covered"] == state]
        if names:
            said = {"yes": "covered", "partly": "partly covered", "no": "not covered"}[state]
            yield f"Requirements {said}: {', '.join(names)}."
    for name in ("tuned", "base"):
        one = safety["systems"][name]
        yield (
            f"{name}: {one['red_failures']:,} failures that a release must not have (red), "
            f"{one['truncated']:,} of {one['answers']:,} answers cut off."
        )
