"""What the comparison shows of judge, profiles and safety: their headlines, not all they measured.

Every entry that has a value and an interval becomes a row of the comparison, titled by the keys that
lead to it. The first key says what was measured (which judge, how many texts or prompts): numbers of
other judges or other prompts get rows of their own instead of standing beside each other.
"""

from collections.abc import Mapping
from typing import Any

Block = Mapping[str, Any]

MODELS = ("tuned", "base")

_PROFILE_MEASURES = ("spearman", "ccc", "mae_skill", "centred_cosine_01")


def condense_judge(judge: Block) -> dict[str, Any] | None:
    """Return the scores of both models; a judge that only exercises the path gives none."""
    if not judge.get("headlines"):
        return None
    if all(one["kind"] == "in_process" for one in judge["judges"]):
        return {"notes": judge["notes"]}
    judges = ", ".join(one["model"] or one["judge"] for one in judge["judges"])
    scores = {
        f"{system}, {name} ({judge['headlines'][name]['status']})": found
        for system in MODELS
        for name, found in judge["systems"].get(system, {}).items()
    }
    return {"notes": judge["notes"], f"{judges}, {judge['data']['items']} items": scores}


def condense_profiles(profiles: Block) -> dict[str, Any] | None:
    """Return coverage, and the measures on which a constant scores 0 or that are held against it."""
    if not profiles.get("systems"):
        return None
    rows: dict[str, Any] = {}
    for system in MODELS:
        decodings = profiles["systems"][system]
        for decoding in ("free", "constrained"):
            coverage = decodings[decoding]["coverage"]["in_range"]
            rows[f"{system}, complete and in range ({decoding})"] = coverage
        for measure in _PROFILE_MEASURES:
            rows[f"{system}, {measure} (constrained)"] = decodings["constrained"]["scores"][measure]
    gained = profiles["differences"]["tuned - constant_mean"]["constrained"]
    rows["tuned minus training mean, cosine_raw (constrained)"] = gained["cosine_raw"]
    return {"notes": profiles["notes"], f"{profiles['n']} texts": rows}


def condense_safety(safety: Block) -> dict[str, Any] | None:
    """Return the gate, the checks of both models, and the detector's recall and false alarms."""
    if not safety:
        return None
    gate, suite, detector = safety["gate"], safety["suite"], safety["detector"]
    rows: dict[str, Any] = {}
    for system in MODELS:
        checks = safety["systems"][system]["checks"]
        rows |= {f"{system}, {name.replace('_', ' ')}": checks[name] for name in safety["paired"]}
    return {
        "gate": {"passed": gate["passed"], "failures": [one["name"] for one in gate["failures"]]},
        "notes": safety["notes"],
        f"{suite['asked']} prompts of suite {suite['version']}": rows,
        f"detector, suite {suite['version']}": {
            "recall (held-out half)": detector["recall"]["held_out"],
            "fires on harmless prompts": detector["false_positive_rate"]["all"],
        },
    }
