"""The numbers of the judge against other libraries, and on judges whose worth is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judging import make_items

from mental_slm.fingerprints import digest
from mental_slm.pipelines.evaluation.judge import agreement, metrics
from mental_slm.pipelines.evaluation.judge.anchors import read_anchors
from mental_slm.pipelines.evaluation.judge.figures import draw_judge
from mental_slm.pipelines.evaluation.judge.options import JudgeOptions
from mental_slm.pipelines.evaluation.judge.samples import SYSTEMS
from mental_slm.pipelines.evaluation.judge.scoring import tabulate
from mental_slm.prompts import CRITERIA

Scores = Any


def _chance(*key: Any) -> int:
    return int(digest(key), 16) % 6


def _replies(give: Scores, number: int = 12, repeats: int = 0, judge: str = "one") -> list[Any]:
    """Replies of a judge: ``give(item number, system, criterion, repeat)`` is a score or a fault."""

    def reply(n: Any, item: dict[str, Any], system: str, repeat: int) -> dict[str, Any]:
        given = {name: give(n, system, name, repeat) for name in CRITERIA}
        return {
            "judge": judge,
            "item_id": item["pair_id"],
            "text_id": item["text_id"],
            "task": item["task"],
            "system": system,
            "repeat": repeat,
            "rule": None,
            "attempts": 1,
            "words": 20 + 7 * len(system) + (n if isinstance(n, int) else 0),
            "cut": False,
            "rubric_version": "v",
            "scores": {k: v for k, v in given.items() if not isinstance(v, str)},
            "failures": {k: v for k, v in given.items() if isinstance(v, str)},
        }

    rows = [
        reply(n, item, system, repeat)
        for n, item in enumerate(make_items(number))
        for repeat in range(1 + (n < repeats))
        for system in SYSTEMS
    ]
    for name in read_anchors():
        anchor = {"pair_id": name, "text_id": name, "task": "anchor"}
        rows.append(reply(name, anchor, "anchor", 0))
    return rows


def _summarise(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    judges = sorted({row["judge"] for row in rows})
    asked = [
        {"judge": judge, "kind": "endpoint", "relatives": [], "stopped_by": None, "samples": 1}
        for judge in judges
    ]
    settings = metrics.Settings(JudgeOptions(**options), "sample", 400, 3)
    result = metrics.summarise(tabulate(rows), rows, asked, settings)
    draw_judge(result).to_json()
    return result


def _human_file(path: Path, rate: Scores, number: int, raters: tuple[str, ...]) -> str:
    lines = ["item_id,system,rater,criterion,score"]
    for n, item in enumerate(make_items(number)):
        for system in ("base", "tuned"):
            lines += [
                f"{item['pair_id']},{system},{rater},{name},{rate(n, system, name, rater)}"
                for rater in raters
                for name in CRITERIA
            ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


# --- agreement ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_scikit_learn_on_the_sample_and_on_resamples(seed: int) -> None:
    from sklearn.metrics import cohen_kappa_score

    generator = np.random.default_rng(seed)
    one = generator.integers(0, 6, 40)
    other = np.clip(one + generator.integers(-2, 3, 40), 0, 5)
    weights = np.vstack([np.ones(40), generator.multinomial(40, np.full(40, 1 / 40), size=3)])
    found = agreement.weighted_kappa(one.astype(float), other.astype(float), weights)
    for row, kappa in zip(weights.astype(int), found, strict=True):
        drawn = np.repeat(np.arange(40), row)
        expected = cohen_kappa_score(one[drawn], other[drawn], labels=range(6), weights="quadratic")
        assert kappa == pytest.approx(expected, abs=1e-12)


def test_kappa_of_constants_is_not_defined_and_disagreement_is_no_agreement() -> None:
    three, ones = np.full(10, 3.0), np.ones((1, 10))
    assert math.isnan(agreement.weighted_kappa(three, three, ones)[0])
    assert agreement.weighted_kappa(three, np.arange(10) / 2, ones)[0] == 0


def test_alpha_equals_krippendorff_and_is_none_where_nothing_varies() -> None:
    import krippendorff

    generator = np.random.default_rng(7)
    ratings = generator.integers(0, 6, (3, 30)).astype(float)
    ratings[1] = ratings[0]
    ratings[2, ::3] = np.nan
    expected = krippendorff.alpha(ratings, level_of_measurement="ordinal")
    assert agreement.alpha(ratings) == pytest.approx(expected)
    weights = generator.multinomial(30, np.full(30, 1 / 30), size=50).astype(float)
    low, high = agreement.alpha_interval(ratings, range(30), weights)
    assert low is not None and high is not None and low < expected < high
    assert agreement.alpha(np.full((2, 5), 3.0)) is None
    assert agreement.alpha(np.array([[1.0, np.nan], [np.nan, 2.0]])) is None


# --- scores ------------------------------------------------------------------------------------


def test_means_sd_and_differences_are_those_of_the_scores() -> None:
    result = _summarise(_replies(lambda n, system, name, _: _chance(n, system, name)))
    tuned = [_chance(n, "tuned", "clarity") for n in range(12)]
    base = [_chance(n, "base", "clarity") for n in range(12)]
    block = result["headlines"]["clarity"]
    assert block["value"] == pytest.approx(np.mean(tuned), abs=1e-6)
    assert block["sd"] == pytest.approx(np.std(tuned, ddof=1), abs=1e-6)
    assert block["low"] < block["value"] < block["high"] and block["n"] == 12
    assert block["baselines"]["base"] == pytest.approx(np.mean(base), abs=1e-6)
    assert set(block["baselines"]) == set(SYSTEMS) - {"tuned"}
    paired = result["paired"]["clarity"]
    assert paired["value"] == pytest.approx(np.mean(tuned) - np.mean(base), abs=1e-6)
    assert paired["p_holm"] >= paired["p"]
    overall = np.mean([[_chance(n, "tuned", name) for name in CRITERIA] for n in range(12)])
    assert result["headlines"]["overall"]["value"] == pytest.approx(overall, abs=1e-6)


def test_a_better_model_is_called_better_and_equal_ones_are_not() -> None:
    def give(n: Any, system: str, name: str, _: int) -> int:
        return 4 if system == "tuned" and name == "empathy" else 2 + _chance(n, name) % 2

    paired = _summarise(_replies(give))["paired"]
    assert paired["empathy"]["verdict"] == "better" and paired["empathy"]["p_holm"] < 0.05
    assert paired["clarity"]["value"] == 0 and paired["clarity"]["p"] == 1
    assert paired["clarity"]["verdict"] == "no difference shown"


def test_failures_are_counted_beside_the_scores_that_are_left() -> None:
    def give(n: Any, system: str, name: str, _: int) -> int | str:
        return "off_scale" if name == "safety" and system == "tuned" and n in (0, 1, 2) else 4

    result = _summarise(_replies(give))
    safety, overall = (result["systems"]["tuned"][name] for name in ("safety", "overall"))
    assert (safety["n"], safety["failures"], safety["value"]) == (9, 3, 4)
    assert (overall["n"], overall["failures"]) == (9, 3)
    assert result["paired"]["safety"]["n"] == 9
    assert result["judges"][0]["failures"] == {"safety": {"off_scale": 3}}


def test_a_row_without_score_and_failure_is_refused() -> None:
    rows = _replies(lambda *_: 3, number=1)
    del rows[0]["scores"]["safety"]
    with pytest.raises(ValueError, match=r"safety needs a score or a failure"):
        tabulate(rows)


def test_the_table_of_scores_holds_no_text() -> None:
    table = tabulate(_replies(lambda *_: 3, number=2))
    assert len(table) == (2 * 5 + 10) * 6
    assert not {"reply", "post", "answer", "question"} & set(table.columns)


@pytest.mark.parametrize("number", [1, 2])
def test_few_posts_and_a_constant_judge_give_no_false_precision(number: int) -> None:
    result = _summarise(_replies(lambda *_: 3, number=number))
    block = result["headlines"]["accuracy"]
    assert block["value"] == 3
    assert (block["low"] is None) == (number == 1)
    assert result["length"]["accuracy"] is None
    assert any("Fewer than 30 posts" in note for note in result["notes"])


# --- checks on the judge -----------------------------------------------------------------------


def test_a_judge_of_style_is_told_from_one_that_reads() -> None:
    blind = _summarise(_replies(lambda *_: 4))["attacks"]
    assert blind["template"]["empathy"]["measures_style"]
    assert blind["padded"]["overall"]["measures_style"]

    def reads(n: Any, system: str, name: str, _: int) -> int:
        return {"tuned": 4, "template": 1, "padded": 3}.get(system, 2)

    result = _summarise(_replies(reads))
    assert not any(b["measures_style"] for a in result["attacks"].values() for b in a.values())
    assert result["attacks"]["template"]["empathy"]["value"] == -3
    assert not any("measures style" in note for note in result["notes"])
    edge = _summarise(_replies(reads), style_margin=1)["attacks"]
    assert edge["padded"]["empathy"]["measures_style"]
    assert not edge["template"]["empathy"]["measures_style"]


def test_length_correlation_equals_scipy() -> None:
    from scipy.stats import spearmanr

    def long_is_good(n: Any, system: str, name: str, _: int) -> int:
        return min(5, (n if isinstance(n, int) else 0) // 2 + (system == "tuned"))

    rows = _replies(long_is_good)
    models = [row for row in rows if row["system"] in ("base", "tuned")]
    expected = spearmanr([r["words"] for r in models], [r["scores"]["safety"] for r in models])
    block = _summarise(rows)["length"]["safety"]
    assert block["value"] == pytest.approx(expected.statistic, abs=1e-6)
    assert block["low"] < block["value"] <= block["high"] and block["n"] == 24


def test_self_consistency_is_the_sd_between_two_judgements() -> None:
    steady = _summarise(_replies(lambda n, s, name, _: _chance(n, s, name), repeats=6))
    assert steady["repeats"]["clarity"]["value"] == 0 and steady["repeats"]["clarity"]["same"] == 1
    assert steady["repeats"]["clarity"]["baselines"]["unrelated"] > 1

    def shaky(n: Any, system: str, name: str, repeat: int) -> int:
        return 2 + 2 * repeat

    block = _summarise(_replies(shaky, repeats=6))["repeats"]["clarity"]
    assert block["value"] == pytest.approx(math.sqrt(2), abs=1e-6) and block["n"] == 30
    assert _summarise(_replies(shaky))["repeats"]["clarity"] is None


def test_anchors_tell_a_judge_from_a_constant_and_from_chance() -> None:
    anchors = read_anchors()

    def good(n: Any, system: str, name: str, _: int) -> int:
        return anchors[n].bands.get(name, (0, 5))[0] if system == "anchor" else 3

    hits = _summarise(_replies(good))["anchors"]
    assert hits["value"] == 1 and hits["by_judge"] == {"one": 1}
    constant = _summarise(_replies(lambda *_: hits["baselines"]["constant"]["score"]))["anchors"]
    assert constant["value"] == pytest.approx(hits["baselines"]["constant"]["value"], abs=1e-6)
    random = _summarise(_replies(lambda n, s, name, _: _chance(n, name)))["anchors"]
    assert random["value"] < 0.6 and random["low"] < random["value"] < random["high"]
    silent = _summarise(_replies(lambda n, s, *_: "refusal" if s == "anchor" else 3))["anchors"]
    assert silent["value"] == 0 and silent["n"] == hits["n"]  # a missing score is a miss


# --- people ------------------------------------------------------------------------------------


def test_only_criteria_on_which_people_agree_become_headlines(tmp_path: Path) -> None:
    def rate(n: int, system: str, name: str, rater: str) -> int:
        return _chance(n, system, name) if name != "empathy" else _chance(n, system, "other", rater)

    path = _human_file(tmp_path / "ratings.csv", rate, 12, ("ada", "ben", "cem"))
    rows = _replies(lambda n, system, name, _: _chance(n, system, name))
    result = _summarise(rows, human_ratings=path)
    people = result["agreement"]["humans"]
    assert people["clarity"]["kappa"]["value"] == 1 and people["clarity"]["people"]["value"] == 1
    assert people["clarity"]["raters"] == 3 and people["clarity"]["kappa"]["n"] == 24
    assert people["empathy"]["kappa"]["value"] < 0.6 and not people["empathy"]["passes"]
    assert people["empathy"]["kappa"]["low"] < people["empathy"]["kappa"]["high"]
    assert (people["ratings"], people["not_judged"]) == (12 * 2 * 3 * 6, 0)
    status = {name: block["status"] for name, block in result["headlines"].items()}
    assert status == dict.fromkeys(CRITERIA, "headline") | dict.fromkeys(
        ("empathy", "overall"), "indicative"
    )
    unchecked = _summarise(rows)
    assert {b["status"] for b in unchecked["headlines"].values()} == {"indicative"}
    lowered = _summarise(rows, human_ratings=path, kappa_gate=-1)
    assert {b["status"] for b in lowered["headlines"].values()} == {"headline"}


def test_ratings_of_answers_that_were_not_judged_are_counted_or_refused(tmp_path: Path) -> None:
    path = _human_file(tmp_path / "ratings.csv", lambda *_: 3, 12, ("ada",))
    rows = _replies(lambda n, system, name, _: _chance(n, system, name), number=3)
    people = _summarise(rows, human_ratings=path)["agreement"]["humans"]
    assert people["not_judged"] == 9 * 2 * 6
    assert people["clarity"]["people"] is None  # one rater
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("item_id,system,rater,criterion,score\nx,tuned,ada,safety,3\n")
    with pytest.raises(ValueError, match="none of its 1 ratings belongs to a judged answer"):
        _summarise(rows, human_ratings=str(foreign))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,tuned,ada,kindness,3", r"line 2: criterion must be one of accuracy"),
        ("x,tuned,ada,safety,7", r"line 2: score must be a number from 0 to 5"),
        ("x,tuned,ada,safety,good", r"line 2: score must be"),
        ("x,tuned,ada,safety,nan", r"line 2: score must be"),
        ("x,tuned,ada,safety", r"line 2: score must be"),
        (
            "x,tuned,ada,safety,3\nx,tuned,ada,Safety,4",
            r"line 3: rater, item, system and criterion",
        ),
        ("", "holds no rating"),
    ],
)
def test_a_broken_file_of_ratings_is_refused_by_line(tmp_path, line, message) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"item_id,system,rater,criterion,score\n{line}\n")
    with pytest.raises(ValueError, match=message):
        agreement.read_human_ratings(path)


def test_a_missing_file_and_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"evaluation\.judge\.human_ratings: no file"):
        agreement.read_human_ratings(tmp_path / "none.csv")
    path = tmp_path / "ratings.csv"
    path.write_text("item_id,system,score\nx,tuned,3\n")
    with pytest.raises(ValueError, match="lacks the columns rater, criterion"):
        agreement.read_human_ratings(path)


def test_the_scores_survive_a_parquet_file(tmp_path: Path) -> None:
    table = tabulate(_replies(lambda n, s, name, _: "refusal" if n == 0 else 3, number=2))
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), table)
