"""The chapter on the judge: what it says, and how far it may be believed."""

from collections.abc import Iterator, Mapping
from typing import Any

from mental_slm.pipelines.evaluation.report.headlines import (
    Headline,
    headline_table,
    percent,
    score,
    show,
    signed,
    table,
)

Block = Mapping[str, Any]

_OTHERS = {
    "template": "attack: template",
    "padded": "attack: padded",
    "reference": "reference",
}


def write_judge(judge: Block) -> Iterator[str]:
    """Yield the paragraphs and tables of the chapter.

    Args:
        judge: Metrics with at least one headline.
    """
    data = judge["data"]
    if all(one["kind"] == "in_process" for one in judge["judges"]):
        yield (
            "**These scores only exercise the path**: the judge is the base model of this "
            "environment. Name a judge in `evaluation.judge.judges` for scores that mean something."
        )
    yield (
        f"{data['answers']:,} answers to {data['items']:,} items ({data['posts']:,} posts), scored "
        f"0 to 5 by rubric `{judge['rubric']['version']}`, one at a time and blind to who wrote them. "
        "*Indicative*: agreement with people has not been shown, or is too low. Attacks are a kind "
        "template that read no post and the tuned answer padded with empty phrases; one that comes "
        "close to the tuned model shows that style is measured."
    )
    yield "[Figure: scores by criterion](judge.json)"
    yield headline_table(
        "criterion",
        [_headline(name, found, data["posts"]) for name, found in judge["headlines"].items()],
        score,
    )
    yield "### Differences"
    yield _differences(judge)
    yield "### The judges themselves"
    yield _judges(judge)
    yield "\n".join(f"- {line}" for line in _checks(judge))


def _headline(name: str, found: Block, posts: int) -> Headline:
    baselines = found.get("baselines", {})
    deviation = found["sd"]
    return Headline(
        where=f"judge_metrics: headlines.{name}",
        title=name,
        n=found.get("n"),
        posts=posts,
        measured=found,
        beside={"base": baselines.get("base")},
        baselines={title: baselines.get(system) for system, title in _OTHERS.items()},
        extras={
            "sd": "" if deviation is None else score(deviation),
            "failures": f"{found['failures']:,}",
            "by rule": f"{found['by_rule']:,}",
            "status": found["status"],
        },
    )


def _differences(judge: Block) -> str:
    rows = []
    for name, paired in judge["paired"].items():
        tested = paired or {}
        attacks = {attack: blocks[name] for attack, blocks in judge["attacks"].items()}
        styled = [attack for attack, found in attacks.items() if found and found["measures_style"]]
        rows.append(
            [
                name,
                show(paired, _points),
                f"{tested['p_holm']:.3f}" if "p_holm" in tested else "",
                tested.get("verdict", ""),
                *(show(found, _points) for found in attacks.values()),
                ", ".join(styled) or "no",
            ]
        )
    attacks_named = [f"{attack} minus tuned" for attack in judge["attacks"]]
    header = ["criterion", "tuned minus base", "p (Holm)", "tuned is", *attacks_named]
    return table([*header, "style measured"], rows)


def _judges(judge: Block) -> str:
    rows = [
        [
            one["judge"],
            one["model"] or "the base model, in process",
            f"{one['replies']:,} of {one['samples']:,}",
            _named(one["reasked"]),
            _named(one["retried"]),
            "; ".join(f"{name}: {_named(why)}" for name, why in one["failures"].items()) or "none",
            "unknown" if one["cost_usd"] is None else f"{one['cost_usd']:.2f} $",
        ]
        for one in judge["judges"]
    ]
    header = ["judge", "model", "replies", "asked again", "tried again", "failures", "cost"]
    return table(header, rows)


def _checks(judge: Block) -> Iterator[str]:
    anchors = judge["anchors"]
    constant = anchors["baselines"]["constant"]
    yield (
        f"Anchors of known quality: {show(anchors, percent)} of {anchors['n']:,} scores within their "
        f"bands; always saying {constant['score']} reaches {percent(constant['value'])}."
    )
    repeated = {name: block for name, block in judge["repeats"].items() if block}
    if repeated:
        spread = ", ".join(
            f"{name} {show(block, score)} (unrelated answers "
            f"{show(block['baselines']['unrelated'], score)})"
            for name, block in repeated.items()
        )
        yield f"Standard deviation between two judgements of one answer: {spread}."
    else:
        yield "No answer was judged twice, so its constancy is not known."
    lengths = judge["length"]["overall"]
    yield f"Spearman's correlation of score and length, overall: {show(lengths, signed)}."
    between = judge["agreement"]["judges"]
    if between:
        alphas = ", ".join(f"{name} {show(found, signed)}" for name, found in between.items())
        yield f"Krippendorff's alpha between the judges: {alphas}."
    people = judge["agreement"]["humans"]
    if people:
        kappas = ", ".join(
            f"{name} {show(found['kappa'], signed)}"
            for name, found in people.items()
            if isinstance(found, Mapping)
        )
        yield f"Quadratic weighted kappa with people: {kappas}."


def _points(difference: float) -> str:
    return f"{difference:+.2f}"


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"
