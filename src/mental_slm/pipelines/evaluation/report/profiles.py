"""The chapter on emotion profiles: are they complete, and do they say anything."""

from collections.abc import Iterator, Mapping
from typing import Any

from mental_slm.pipelines.evaluation.report.headlines import (
    Headline,
    headline_table,
    percent,
    share,
    show,
    signed,
    table,
)

Block = Mapping[str, Any]

#: What a phone would show: complete for every text.
CONSTRAINED = "constrained"

DECODINGS = {
    "free": "free",
    CONSTRAINED: "constrained",
    "slots_argmax": "most probable values",
    "slots_expected": "expected values",
}

MEASURES = {
    "spearman": "Spearman",
    "ccc": "concordance (CCC)",
    "mae_skill": "MAE skill",
    "centred_cosine_01": "centred cosine",
    "cosine_01": "cosine on 0..1",
    "cosine_raw": "raw cosine",
}

_FLOORS = {
    "constant_mean": "training mean",
    "all_equal": "1 everywhere",
    "shuffled": "another text's",
    "sentiment_prototypes": "sign of valence (oracle)",
}

_COVERAGE = {
    "json": "valid JSON",
    "in_range": "complete, in range",
    "default": "unfilled (all alike)",
    "finished": "ended by itself",
}


def write_profiles(profiles: Block) -> Iterator[str]:
    """Yield the paragraphs and tables of the chapter.

    Args:
        profiles: Metrics with at least one system.
    """
    tuned, base = profiles["systems"]["tuned"], profiles["systems"]["base"]
    yield (
        f"Ten dimensions of StudEmo for {profiles['n']:,} texts. An answer that is no profile counts "
        "as the training mean. Spearman and concordance are means of the ten dimensions; MAE skill is "
        "0 for the best constant. A cosine alone says nothing: the training mean, said for every "
        "text, scores what stands beside it. Constrained: held to the grammar token by token, as "
        "on a phone."
    )
    yield "[Figure: correlations under their ceilings, cosines over their floors](profiles.json)"
    yield "### Coverage"
    yield _coverage(profiles)
    yield "### Agreement with people, constrained"
    yield headline_table("measure", [_headline(profiles, measure) for measure in MEASURES])
    ceiling = profiles["agreement"]
    source = (
        f"{ceiling['texts']:,} texts with two raters"
        if ceiling["texts"]
        else "StudEmo's own ratings, cited"
    )
    yield (
        "Human ceiling: the highest correlation with one rater that anybody can reach, mean of the "
        f"dimensions (root of the raters' agreement; {source})."
    )
    yield _differences(profiles)
    yield "### Other decodings, tuned model"
    few = [name for name in MEASURES if name != "cosine_01"]
    yield table(
        ["decoding", "n", *(MEASURES[name] for name in few)],
        [
            [
                title,
                f"{profiles['n']:,}",
                *(show(tuned[decoding]["scores"][name], share) for name in few),
            ]
            for decoding, title in DECODINGS.items()
            if decoding in tuned and decoding != CONSTRAINED
        ],
    )
    yield "### By dimension, constrained"
    yield "Single dimensions carry no interval here: read them together, never quote one."
    yield table(
        ["dimension", "tuned: Spearman", "base: Spearman", "tuned: CCC", "human ceiling"],
        [
            [
                name,
                show(facts["spearman"], signed),
                show(base[CONSTRAINED]["per_dimension"][name]["spearman"], signed),
                show(facts["ccc"], signed),
                show(facts["ceiling"], share),
            ]
            for name, facts in tuned[CONSTRAINED]["per_dimension"].items()
        ],
    )


def _coverage(profiles: Block) -> str:
    rows = []
    for decoding in ("free", CONSTRAINED):
        for system in ("tuned", "base"):
            found = profiles["systems"][system][decoding]["coverage"]
            rows.append(
                [
                    f"{system}, {DECODINGS[decoding]}",
                    f"{profiles['n']:,}",
                    *(show(found[name], percent) for name in _COVERAGE),
                ]
            )
    return table(["answers", "n", *_COVERAGE.values()], rows)


def _headline(profiles: Block, measure: str) -> Headline:
    tuned, base = (
        profiles["systems"][system][CONSTRAINED]["scores"][measure] for system in ("tuned", "base")
    )
    ceilings = profiles["agreement"]["ceiling_one_rater"].values()
    known = [ceiling for ceiling in ceilings if ceiling is not None]
    correlates = measure in ("spearman", "ccc")
    return Headline(
        where=f"profile_metrics: systems.tuned.{CONSTRAINED}.scores.{measure}",
        title=MEASURES[measure],
        n=tuned.get("n"),
        measured=tuned,
        beside={"base": base},
        baselines={
            title: tuned.get("baselines", {}).get(floor) for floor, title in _FLOORS.items()
        },
        extras={"human ceiling": share(sum(known) / len(known)) if correlates and known else ""},
    )


def _differences(profiles: Block) -> str:
    """Return what the tuned model gains over base model and training mean, on the same texts."""
    columns = {
        other: profiles["differences"][f"tuned - {other}"][CONSTRAINED]
        for other in ("base", "constant_mean")
    }
    rows = [
        [title, *(show(found[measure], signed) for found in columns.values())]
        for measure, title in MEASURES.items()
    ]
    return table(["measure", "tuned minus base", "tuned minus training mean"], rows)
