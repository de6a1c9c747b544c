"""The metrics of the judge (``judge_metrics``).

Shape of the result; an *estimate* is ``{value, low, high, n}`` with a 95 % percentile bootstrap
interval over posts, whose bounds are None with fewer than two posts::

    format      name and version of this shape
    data        edition, items, answers, repeats, ruled (by rule: n), cut, without_reference
    rubric      version, criteria, scale
    judges      one block per judge: model, replies, retried, failed, reasked, cost, stopped_by,
                failures (criterion -> reason -> n)
    headlines   criterion and "overall" -> estimate of the tuned model with sd, failures, by_rule,
                baselines (base, template, padded, reference), status (headline | indicative), why
    systems     system -> criterion and "overall" -> estimate with sd, failures, by_rule
    paired      criterion and "overall" -> estimate of tuned minus base, p, p_holm, detectable, verdict
    attacks     template | padded -> criterion and "overall" -> estimate of attack minus tuned,
                measures_style
    length      criterion and "overall" -> estimate of Spearman's r of score and words
    repeats     criterion -> estimate of the sd between two judgements of one answer, baselines
                (unrelated: the sd between unrelated answers)
    anchors     estimate of the share of scores within their bands; baselines (constant: the best
                single score), by_judge
    agreement   judges: criterion -> estimate of alpha, or None with one judge
                humans: criterion -> kappa, alpha, people (alpha among them), passes; or None
    notes       what a reader must know before quoting a number

An estimate that is not defined (no variation, no score) is None as a whole.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mental_slm import statistics as stats
from mental_slm.prompts import CRITERIA

from . import agreement
from .anchors import read_anchors
from .options import JudgeOptions
from .requests import HIGHEST, LOWEST
from .samples import ANCHOR, ATTACKS, MODELS, SYSTEMS
from .scoring import ANSWER, OVERALL, panel_of, ratings_of

FORMAT = "mental-slm judge metrics 1"

#: Below this number of posts an interval is so wide that the metrics carry a note.
FEW_POSTS = 30

MEASURES = (*CRITERIA, OVERALL)

#: Resamples behind the intervals of alpha, which has no closed form over weights.
MOST_ALPHA_RESAMPLES = 500

Block = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What the metrics are made with.

    Attributes:
        judge: Options of the judge.
        edition: Name of the data edition.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
    """

    judge: JudgeOptions
    edition: str
    resamples: int
    seed: int


def summarise(
    scores: pd.DataFrame,
    replies: Sequence[dict[str, Any]],
    judges: Sequence[dict[str, Any]],
    settings: Settings,
) -> Block:
    """Condense the scores; the shape is in the docstring of this module.

    Args:
        scores: Of :func:`.scoring.tabulate`.
        replies: Rows of ``judge_replies``.
        judges: What asking each judge took.
        settings: Options, edition, resamples, seed.

    Raises:
        ValueError: No rating in the file of human ratings belongs to a judged answer.
    """
    real = scores[scores["task"] != ANCHOR]
    panel = panel_of(real)
    boot = _Bootstrap(sorted(set(panel["text_id"])), settings)
    people = _human_agreement(real, panel, boot, settings)
    systems = {
        system: {name: _system_block(real, panel, system, name, boot) for name in MEASURES}
        for system in SYSTEMS
        if system in set(panel["system"])
    }
    attacks = {attack: _attack(panel, attack, boot, settings) for attack in ATTACKS}
    metrics: Block = {
        "format": FORMAT,
        "data": _data(replies, settings),
        "rubric": {
            "version": replies[0]["rubric_version"],
            "criteria": list(CRITERIA),
            "scale": [LOWEST, HIGHEST],
        },
        "judges": [judge | {"failures": _failures(scores, judge["judge"])} for judge in judges],
        "headlines": {name: _headline(systems, name, people) for name in MEASURES},
        "systems": systems,
        "paired": _paired(panel, boot, settings),
        "attacks": attacks,
        "length": {name: _length(panel, name, boot) for name in MEASURES},
        "repeats": {name: _repeats(real, name, boot) for name in CRITERIA},
        "anchors": _anchors(scores, settings),
        "agreement": {
            "judges": {name: _judge_agreement(real, name, boot) for name in CRITERIA}
            if len(judges) > 1
            else None,
            "humans": people,
        },
    }
    return metrics | {"notes": _notes(metrics, settings)}


class _Bootstrap:
    """Resamples of posts, shared by all estimates, so that differences are paired ones."""

    def __init__(self, posts: Sequence[str], settings: Settings):
        self._place = {post: place for place, post in enumerate(posts)}
        seed = (settings.seed, zlib.crc32(b"judge"))
        self.weights = stats.resample_weights(max(len(posts), 1), settings.resamples, seed)

    def places(self, posts: Sequence[str]) -> Any:
        """Return the column of ``weights`` for every post."""
        return np.array([self._place[post] for post in posts], dtype=int)

    def sums(self, values: Any, places: Any) -> Any:
        """Return the sum of values over each resample."""
        return self.weights @ np.bincount(places, values, minlength=self.weights.shape[1])

    def mean(self, values: Any, posts: Sequence[str]) -> Block | None:
        """Return the estimate of a mean; values that are not a number do not count."""
        values = np.asarray(values, dtype=float)
        known = ~np.isnan(values)
        places = self.places(posts)[known]
        values = values[known]
        if not len(values):
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates = self.sums(values, places) / self.sums(np.ones(len(values)), places)
        return self.estimate(float(values.mean()), replicates, places)

    def estimate(self, value: float, replicates: Any, places: Any) -> Block:
        """Return a value with its interval; resamples in which it is not defined do not count."""
        finite = replicates[np.isfinite(replicates)]
        low = high = None
        if len(set(places.tolist())) > 1 and len(finite):
            low, high = (round(float(v), 6) for v in np.quantile(finite, [0.025, 0.975]))
        return {"value": round(value, 6), "low": low, "high": high, "n": len(places)}


def _data(replies: Sequence[Block], settings: Settings) -> Block:
    one_judge = [reply for reply in replies if reply["judge"] == replies[0]["judge"]]
    real = [reply for reply in one_judge if reply["task"] != ANCHOR]
    first = [reply for reply in real if reply["repeat"] == 0]
    items = {reply["item_id"] for reply in first}
    return {
        "edition": settings.edition,
        "items": len(items),
        "posts": len({reply["text_id"] for reply in first}),
        "answers": len(first),
        "repeats": len(real) - len(first),
        "ruled": dict(sorted(Counter(r["rule"] for r in first if r["rule"]).items())),
        "cut": sum(reply["cut"] for reply in first),
        "without_reference": len(items) - sum(r["system"] == "reference" for r in first),
    }


def _failures(scores: pd.DataFrame, judge: str) -> dict[str, dict[str, int]]:
    failed = scores[(scores["judge"] == judge) & scores["failure"].notna()]
    counts: dict[str, dict[str, int]] = {}
    for row in failed.itertuples():
        of_criterion = counts.setdefault(str(row.criterion), {})
        of_criterion[str(row.failure)] = of_criterion.get(str(row.failure), 0) + 1
    return {name: dict(sorted(counts[name].items())) for name in CRITERIA if name in counts}


def _system_block(
    scores: pd.DataFrame, panel: pd.DataFrame, system: str, name: str, boot: _Bootstrap
) -> Block:
    """Return mean, interval and sd of one system, and how often there was no score."""
    rows = panel[panel["system"] == system]
    estimate = boot.mean(rows[name], rows["text_id"].tolist())
    asked = scores[(scores["system"] == system) & (scores["repeat"] == 0)]
    if name != OVERALL:
        asked = asked[asked["criterion"] == name]
    values = rows[name].dropna()
    return {
        **(estimate or {"value": None, "low": None, "high": None, "n": 0}),
        "sd": round(float(values.std(ddof=1)), 6) if len(values) > 1 else None,
        "failures": int(asked["failure"].notna().sum()),
        "by_rule": int(rows["rule"].notna().sum()),
    }


def _headline(systems: dict[str, Block], name: str, people: Block | None) -> Block:
    baselines = {
        system: blocks[name]["value"] for system, blocks in systems.items() if system != "tuned"
    }
    checked = (
        None if people is None else [people[c] for c in (CRITERIA if name == OVERALL else (name,))]
    )
    if checked is None:
        status, why = "indicative", "not compared with ratings by people"
    elif all(block is not None and block["passes"] for block in checked):
        status, why = "headline", "agrees with people"
    else:
        status, why = "indicative", "agrees too little with people"
    return {**systems["tuned"][name], "baselines": baselines, "status": status, "why": why}


def _side_by_side(panel: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Return one minus other for the items that both systems answered, with their posts."""
    sides = [
        panel[panel["system"] == system].set_index(["pair_id", "text_id"])[list(MEASURES)]
        for system in (one, other)
    ]
    return (sides[0] - sides[1]).reset_index()


def _paired(panel: pd.DataFrame, boot: _Bootstrap, settings: Settings) -> Block:
    """Return tuned minus base; p-values by exchanging the two systems on whole posts."""
    blocks: dict[str, Block | None] = {}
    both = _side_by_side(panel, "tuned", "base")
    for name in MEASURES:
        rows = both.dropna(subset=[name])
        posts = rows["text_id"].tolist()
        differences = rows[name].to_numpy(dtype=float)
        block = boot.mean(differences, posts)
        if block is not None:
            seed = (settings.seed, zlib.crc32(b"judge paired"))
            swaps = stats.swap_weights(posts, settings.resamples, seed)
            swapped = (1 - 2 * swaps) @ differences / len(differences)
            weights = stats.bootstrap_weights(posts, settings.resamples, seed)
            detectable = stats.detectable_difference(stats.mean(differences, weights))
            block |= {
                "p": round(stats.randomisation_p(float(differences.mean()), swapped), 6),
                "detectable": round(detectable, 6),
            }
        blocks[name] = block
    tested = [name for name in CRITERIA if blocks[name] is not None]
    adjusted = stats.holm([_known(blocks[name])["p"] for name in tested])
    for name, p_value in zip(tested, adjusted, strict=True):
        block = _known(blocks[name])
        verdict = stats.judge_difference(block["value"], p_value, block["detectable"])
        block |= {"p_holm": round(p_value, 6), "verdict": verdict}
    return blocks


def _known(block: Block | None) -> Block:
    assert block is not None
    return block


def _attack(panel: pd.DataFrame, attack: str, boot: _Bootstrap, settings: Settings) -> Block:
    """Return attack minus tuned; an attack that comes close shows that the judge measures style."""
    blocks: Block = {}
    rows = _side_by_side(panel, attack, "tuned")
    for name in MEASURES:
        block = boot.mean(rows[name], rows["text_id"].tolist())
        if block is not None:
            block |= {"measures_style": block["value"] >= -settings.judge.style_margin}
        blocks[name] = block
    return blocks


def _length(panel: pd.DataFrame, name: str, boot: _Bootstrap) -> Block | None:
    """Return Spearman's correlation of score and length over the answers of both models.

    Resamples weigh the ranks of the whole sample.
    """
    rows = panel[panel["system"].isin(MODELS) & panel["rule"].isna()].dropna(subset=[name])
    if rows[name].nunique() < 2 or rows["words"].nunique() < 2:
        return None
    x, y = (rows[column].rank().to_numpy(dtype=float) for column in ("words", name))
    places = boot.places(rows["text_id"].tolist())

    def correlation(total: Any, *sums: Any) -> Any:
        sx, sy, sxx, syy, sxy = (each / total for each in sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(np.maximum(sxx - sx**2, 0) * np.maximum(syy - sy**2, 0))
            return np.where(spread > 1e-9, (sxy - sx * sy) / spread, np.nan)

    moments = (np.ones(len(x)), x, y, x * x, y * y, x * y)
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = correlation(*(boot.sums(moment, places) for moment in moments))
    value = float(correlation(*(np.array(moment.sum()) for moment in moments)))
    return boot.estimate(value, replicates, places)


def _repeats(scores: pd.DataFrame, name: str, boot: _Bootstrap) -> Block | None:
    """Return the standard deviation between two judgements of one answer by one judge.

    It is the root of the mean of d²/2 over the pairs. The baseline is what unrelated answers would
    give: the standard deviation of all scores of that criterion.
    """
    rows = scores[scores["criterion"] == name]
    wide = rows.pivot(index=["judge", *ANSWER], columns="repeat", values="score")
    if 1 not in wide:
        return None
    pairs = wide.dropna(subset=[0, 1])
    halves = ((pairs[0] - pairs[1]) ** 2 / 2).to_numpy(dtype=float)
    posts = [str(post) for post in pairs.index.get_level_values("text_id")]
    block = boot.mean(halves, posts)
    if block is None:
        return None
    for bound in ("value", "low", "high"):
        block[bound] = None if block[bound] is None else round(float(np.sqrt(block[bound])), 6)
    unrelated = rows.loc[(rows["repeat"] == 0) & rows["rule"].isna(), "score"].std(ddof=1)
    return block | {
        "same": round(float((halves == 0).mean()), 6),
        "baselines": {"unrelated": None if pd.isna(unrelated) else round(float(unrelated), 6)},
    }


def _anchors(scores: pd.DataFrame, settings: Settings) -> Block:
    """Return how often the scores of the anchors lie within their bands; failures are misses."""
    rows = scores[scores["task"] == ANCHOR]
    anchors = read_anchors()
    hits: list[float] = []
    names: list[str] = []
    by_judge: dict[str, list[float]] = {}
    constants = dict.fromkeys(range(LOWEST, HIGHEST + 1), 0)
    bands_seen = 0
    scored = rows["score"].to_numpy(dtype=float)
    for name, criterion, judge, score in zip(
        rows["pair_id"], rows["criterion"], rows["judge"], scored, strict=True
    ):
        band = anchors[name].bands.get(criterion)
        if band is None:
            continue
        hit = float(band[0] <= score <= band[1])  # NaN is a miss
        hits.append(hit)
        names.append(name)
        by_judge.setdefault(judge, []).append(hit)
        bands_seen += 1
        for constant in constants:
            constants[constant] += band[0] <= constant <= band[1]
    boot = _Bootstrap(sorted(anchors), settings)
    best = max(constants, key=lambda constant: (constants[constant], -constant))
    block = boot.mean(hits, names) or {"value": None, "low": None, "high": None, "n": 0}
    return {
        **block,
        "baselines": {"constant": {"score": best, "value": round(constants[best] / bands_seen, 6)}},
        "by_judge": {judge: round(float(np.mean(each)), 6) for judge, each in by_judge.items()},
    }


def _judge_agreement(scores: pd.DataFrame, name: str, boot: _Bootstrap) -> Block | None:
    ratings, posts = ratings_of(scores, name)
    return _alpha_block(ratings, posts, boot)


def _alpha_block(ratings: Any, posts: Sequence[str], boot: _Bootstrap) -> Block | None:
    value = agreement.alpha(ratings)
    if value is None:
        return None
    places = boot.places(posts)
    low = high = None
    if len(set(posts)) > 1:
        weights = boot.weights[:MOST_ALPHA_RESAMPLES]
        low, high = agreement.alpha_interval(ratings, places.tolist(), weights)
    bounds = [None if bound is None else round(bound, 6) for bound in (low, high)]
    return {"value": round(value, 6), "low": bounds[0], "high": bounds[1], "n": len(posts)}


def _human_agreement(
    scores: pd.DataFrame, panel: pd.DataFrame, boot: _Bootstrap, settings: Settings
) -> Block | None:
    """Compare the panel with people, by criterion, over the answers that no rule decided."""
    if settings.judge.human_ratings is None:
        return None
    path = Path(settings.judge.human_ratings)
    ratings = agreement.read_human_ratings(path)
    judged = panel[panel["rule"].isna()].set_index(["pair_id", "system"])
    known = set(judged.index)
    fits = [key in known for key in zip(ratings["item_id"], ratings["system"], strict=True)]
    if not any(fits):
        raise ValueError(
            f"{path}: none of its {len(ratings)} ratings belongs to a judged answer; item_id is "
            "the pair_id in judge_scores, and evaluation.judge.items says how many are judged"
        )
    blocks: Block = {
        name: _criterion_agreement(ratings[fits], judged, name, boot, settings) for name in CRITERIA
    }
    return blocks | {"ratings": len(ratings), "not_judged": len(ratings) - sum(fits)}


def _criterion_agreement(
    ratings: pd.DataFrame, judged: pd.DataFrame, name: str, boot: _Bootstrap, settings: Settings
) -> Block | None:
    rows = ratings[ratings["criterion"] == name]
    if rows.empty:
        return None
    wide = rows.pivot(index=["item_id", "system"], columns="rater", values="score")
    both = pd.DataFrame(
        {
            "people": wide.median(axis=1),
            "judge": judged[name].reindex(wide.index),
            "text_id": judged["text_id"].reindex(wide.index),
        }
    ).dropna()
    if both.empty:
        return None
    posts = both["text_id"].astype(str).tolist()
    places = boot.places(posts)
    judge, people = (both[side].to_numpy(dtype=float) for side in ("judge", "people"))
    point = float(agreement.weighted_kappa(judge, people, np.ones((1, len(both))))[0])
    kappa = None
    if np.isfinite(point):
        replicates = agreement.weighted_kappa(judge, people, boot.weights[:, places])
        kappa = boot.estimate(point, replicates, places)
    everyone = wide.to_numpy(dtype=float).T
    of_people = [str(judged.loc[key, "text_id"]) for key in wide.index]
    return {
        "kappa": kappa,
        "alpha": _alpha_block(np.stack([judge, people]), posts, boot),
        "people": _alpha_block(everyone, of_people, boot) if len(everyone) > 1 else None,
        "raters": len(everyone),
        "passes": kappa is not None and kappa["value"] >= settings.judge.kappa_gate,
    }


def _notes(metrics: Block, settings: Settings) -> list[str]:
    notes = []
    for judge in metrics["judges"]:
        name = judge["judge"]
        if judge["kind"] == "in_process":
            notes.append(
                f"Judge {name} is the base model of this environment: these scores only exercise "
                "the path and say nothing about the answers."
            )
        elif judge["relatives"]:
            notes.append(
                f"Judge {name} is of one family with {', '.join(judge['relatives'])}: judges prefer "
                "their own kind."
            )
        if judge["stopped_by"]:
            notes.append(
                f"Judge {name} was stopped early ({judge['stopped_by']}); {judge['without_reply']} "
                "samples have no reply."
            )
        failed = sum(sum(reasons.values()) for reasons in judge["failures"].values())
        if failed:
            asked = judge["samples"] * len(CRITERIA)
            notes.append(f"Judge {name} gave no usable score {failed} times of {asked}.")
    styled = [
        f"{attack} ({', '.join(flagged)})"
        for attack, blocks in metrics["attacks"].items()
        if (flagged := [n for n in MEASURES if blocks[n] and blocks[n]["measures_style"]])
    ]
    if styled:
        notes.append(
            f"The judge measures style: within {settings.judge.style_margin:g} of the tuned model "
            f"or above it: {'; '.join(styled)}."
        )
    if metrics["agreement"]["humans"] is None:
        notes.append("No ratings by people: every criterion is indicative only.")
    if metrics["data"]["posts"] < FEW_POSTS:
        notes.append(
            f"Fewer than {FEW_POSTS} posts ({metrics['data']['posts']}): differences are mostly "
            "chance."
        )
    return notes
