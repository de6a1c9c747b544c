"""The paragraph a reader starts with, phrased from the declared tests alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from mental_slm import statistics as stats
from mental_slm.pipelines.evaluation.report.headlines import share, show, signed, table
from mental_slm.pipelines.evaluation.significance import HEADLINES, Headline

Block = Mapping[str, Any]

_MADE_UP = ", whose posts are made up: its numbers say nothing about real ones"

#: What the tuned model is held against, with the words for it.
_OTHERS = {"base": "base", "tfidf": "TF-IDF"}


def write_verdict(metrics: Block, safety: Block) -> str:
    """Say in one paragraph what was shown, and what was not.

    "Better" and "worse" need significance after Holm's adjustment and a difference above the
    minimum detectable effect (:func:`mental_slm.statistics.judge_difference`).

    Args:
        metrics: Labels and text.
        safety: Result of the safety suite; may be empty.
    """
    data = metrics["data"]
    said = [
        f"**{metrics['model']['tuned']['name']}**, evaluated on {data['n']:,} items "
        f"({data['posts']:,} posts) of the data edition `{data['edition']}`"
        f"{_MADE_UP if data['edition'] == 'sample' else ''}.",
        _against_base(_tests(metrics, "base")),
        _against_tfidf(metrics, _tests(metrics, "tfidf")),
        _gate(safety),
    ]
    return " ".join(said)


def tests_table(metrics: Block) -> str:
    """Return every declared test with difference, p-value, detectable effect and verdict."""
    rows = [
        [
            headline.title,
            _OTHERS[headline.against],
            _difference(test),
            _show_p(test["p_holm"]),
            f"{test['detectable']:.3f}",
            _emphasised(judge(test)),
        ]
        for against in _OTHERS
        for headline, test in _tests(metrics, against).items()
    ]
    header = ["declared test", "against", "tuned minus it", "p (Holm)", "detectable", "tuned is"]
    return table(header, rows) if rows else "None of the declared tests fits these items."


def judge(test: Block) -> str:
    """Return better, worse or no difference shown."""
    return stats.judge_difference(test["value"], test["p_holm"], test["detectable"])


def _tests(metrics: Block, against: str) -> dict[Headline, Block]:
    """Return the tests against one system that could be made, in the declared order."""
    made = metrics["headlines"]["tests"]
    return {h: made[h.name] for h in HEADLINES if h.against == against and h.name in made}


def _against_base(tests: Mapping[Headline, Block]) -> str:
    if not tests:
        return "No declared test against its base model fits these items."
    found = _by_verdict(tests)
    if not found["better"] and not found["worse"]:
        return (
            f"Against its base model no difference is shown by any of {len(tests)} declared tests."
        )
    parts = [
        f"**{verdict}** on {_listed(headlines, tests)}"
        for verdict in ("better", "worse")
        if (headlines := found[verdict])
    ]
    undecided = len(found["no difference shown"])
    rest = f"; no difference shown by {undecided} of {len(tests)} declared tests"
    return f"Against its base model: {' and '.join(parts)}{rest if undecided else ''}."


def _against_tfidf(metrics: Block, tests: Mapping[Headline, Block]) -> str:
    if not tests:
        return "No declared test against TF-IDF fits these items."
    found = _by_verdict(tests)
    said = []
    if found["worse"]:
        said.append(f"**TF-IDF wins** on {_listed(found['worse'], tests)}.")
    if found["better"]:
        said.append(f"It is **better than TF-IDF** on {_listed(found['better'], tests)}.")
    undecided = found["no difference shown"]
    if undecided:
        values = [tests[headline]["value"] for headline in undecided]
        said.append(
            f"On {len(undecided)} of {len(tests)} tasks no difference from TF-IDF is shown: its "
            f"value is higher on {sum(value < 0 for value in values)} of them, the model's on "
            f"{sum(value > 0 for value in values)}."
        )
    if not found["better"]:
        ours, theirs = (
            show(metrics["systems"][system]["overall"]["weighted_f1"], share)
            for system in ("tuned", "tfidf")
        )
        said.append(
            "**Nothing here shows that the model reads labels better than word counts do** (mean "
            f"weighted F1 {ours}, TF-IDF {theirs})."
        )
    return " ".join(said)


def _gate(safety: Block) -> str:
    if not safety:
        return "Safety was not measured, so the model must not be released."
    gate = safety["gate"]
    if gate["passed"]:
        return "It passes the release gate of the safety suite."
    return (
        f"It **fails the release gate** of the safety suite ({len(gate['failures'])} of "
        f"{len(gate['checked'])} thresholds not kept) and must not be released."
    )


def _by_verdict(tests: Mapping[Headline, Block]) -> dict[str, list[Headline]]:
    found: dict[str, list[Headline]] = {"better": [], "worse": [], "no difference shown": []}
    for headline, test in tests.items():
        found[judge(test)].append(headline)
    return found


def _listed(headlines: Sequence[Headline], tests: Mapping[Headline, Block]) -> str:
    return "; ".join(f"{h.title} ({_difference(tests[h])})" for h in headlines)


def _difference(test: Block) -> str:
    return show(test, signed)


def _emphasised(verdict: str) -> str:
    return f"**{verdict}**" if verdict in ("better", "worse") else verdict


def _show_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
