"""The report of one model, on metrics that the real summaries made of made-up answers."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import yaml
from judging import make_items

from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.pipelines.augmentation.profiles import make_profile_pairs
from mental_slm.pipelines.comparison.evaluated import Metrics
from mental_slm.pipelines.comparison.nodes import tabulate_models
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.pipelines.evaluation import create_pipeline
from mental_slm.pipelines.evaluation import nodes as evaluation
from mental_slm.pipelines.evaluation.judge import metrics as judge_metrics
from mental_slm.pipelines.evaluation.judge.anchors import read_anchors
from mental_slm.pipelines.evaluation.judge.figures import draw_judge
from mental_slm.pipelines.evaluation.judge.options import JudgeOptions
from mental_slm.pipelines.evaluation.judge.samples import SYSTEMS
from mental_slm.pipelines.evaluation.judge.scoring import tabulate
from mental_slm.pipelines.evaluation.labels import nodes as labels
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.profiles import asking
from mental_slm.pipelines.evaluation.profiles import nodes as profiles
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS
from mental_slm.pipelines.evaluation.report.headlines import Headline, headline_table
from mental_slm.pipelines.evaluation.report.nodes import (
    FIGURE_FILES,
    collect_evaluation,
    render_evaluation_report,
    write_evaluation_report,
)
from mental_slm.pipelines.evaluation.report.verdict import write_verdict
from mental_slm.pipelines.evaluation.safety_suite import nodes as safety
from mental_slm.pipelines.evaluation.safety_suite.suite import load_suite
from mental_slm.prompts import CRITERIA, Prompts
from mental_slm.tasks import EMOTION_DIMENSIONS, answer_line

CONF = Path(__file__).parents[3] / "conf" / "base"
PUBLISHED = yaml.safe_load((CONF / "published_results.yml").read_text("utf-8"))
BLOCKS = ("metrics", "judge", "profiles", "safety", "reference")

Made = dict[str, Any]


@pytest.fixture(scope="module")
def options() -> EvaluationOptions:
    return EvaluationOptions(
        environment="test",
        data="sample",
        max_items_per_task=None,
        max_new_tokens=8,
        batch_size=4,
        dtype="float32",
        bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        resamples=200,
        seed=1,
    )


@pytest.fixture(scope="module")
def measured(make_pairs: Any, prompts: Prompts, options: EvaluationOptions) -> Made:
    """Every block as the pipeline makes it; only the answers are made up."""
    return {
        "metrics": _label_metrics(make_pairs(20, "test"), make_pairs(40, "train"), options),
        "judge": _judge_metrics(kind="endpoint"),
        "profiles": _profile_metrics(prompts, options),
        "safety": _safety_metrics(options),
        "reference": {"asked": False, "notes": ["No reference system is configured."]},
    }


@pytest.fixture
def blocks(measured: Made) -> Made:
    return copy.deepcopy(measured)


def _label_metrics(items: Any, train: Any, options: EvaluationOptions) -> Made:
    """The tuned model is always right, the base model never says a label."""

    def generations(label: bool) -> list[Made]:
        return [
            {
                "pair_id": item["pair_id"],
                "answer": f"You sound tired of number {n}.\n"
                + (answer_line(item["phrases"][item["label"]]) if label else ""),
                "finish_reason": "stop",
                "tokens": 9,
            }
            for n, item in enumerate(items)
        ]

    def even() -> pd.DataFrame:
        keys = ("pair_id", "text_id", "split", "task", "label")
        return pd.DataFrame(
            {
                **{key: item[key] for key in keys},
                "option": option,
                "log_likelihood": -1.0,
                "probability": 1 / len(item["phrases"]),
            }
            for item in items
            for option in item["phrases"]
        )

    base, tuned = generations(False), generations(True)
    report = {
        "settings": {"decoding": "greedy"},
        "tokens": 90,
        "seconds": 2.0,
        "tokens_per_second": 45.0,
    }
    model = {"digest": "0" * 16, "family": "llama", "origin": "random", "parameters": 1234567}
    explained, description = evaluation.score_answers(items, base, tuned, options)
    baselines, shares = labels.score_baselines(items, [], train, options)
    probabilities = labels.collect_label_probabilities(even(), even(), shares)
    read = labels.parse_labels(items, base, tuned)
    scores = evaluation.collect_scores(read, baselines, probabilities, explained, options)
    return evaluation.summarise_scores(
        scores,
        probabilities,
        items,
        {**report, "model": {**model, "name": "tiny"}},
        {**report, "model": {**model, "name": "tiny-tuned"}},
        description,
        options,
    )


def _judge_metrics(kind: str, number: int = 12, systems: tuple[str, ...] = SYSTEMS) -> Made:
    def reply(pair_id: str, text_id: str, task: str, system: str, score: int) -> Made:
        return {
            "judge": "one",
            "item_id": pair_id,
            "text_id": text_id,
            "task": task,
            "system": system,
            "repeat": 0,
            "rule": None,
            "attempts": 1,
            "words": 20 + len(text_id) + score,
            "cut": False,
            "rubric_version": "v1",
            "scores": dict.fromkeys(CRITERIA[1:], score),
            "failures": {CRITERIA[0]: "off the scale"} if system == "base" else {},
        } | ({} if system == "base" else {"scores": dict.fromkeys(CRITERIA, score)})

    rows = [
        reply(item["pair_id"], item["text_id"], item["task"], system, (n + len(system)) % 6)
        for n, item in enumerate(make_items(number))
        for system in systems
    ]
    rows += [reply(name, name, "anchor", "anchor", 3) for name in read_anchors()]
    asked = {
        "judge": "one",
        "kind": kind,
        "model": "careful-7b" if kind == "endpoint" else None,
        "relatives": [],
        "stopped_by": None,
        "samples": len(rows),
        "replies": len(rows),
        "retried": {"busy": 2},
        "reasked": {},
        "without_reply": 0,
        "cost_usd": 0.0,
    }
    settings = judge_metrics.Settings(JudgeOptions(), "sample", 200, 3)
    return judge_metrics.summarise(tabulate(rows), rows, [asked], settings)


def _profile_metrics(prompts: Prompts, options: EvaluationOptions) -> Made:
    lowest, highest = (np.array(bound) for bound in zip(*EMOTION_DIMENSIONS.values(), strict=True))
    rng = np.random.default_rng(1)
    annotation = pd.DataFrame(
        [
            [text, rater, *np.clip(rng.integers(-3, 4, 10), lowest, highest)]
            for text in range(60)
            for rater in range(1 + text % 2)
        ],
        columns=["text_id", "annotator_id", *DIMENSIONS],
    )
    means = annotation.groupby("text_id")[list(DIMENSIONS)].mean().reset_index()
    means["text"] = [f"Room {text} was quiet." for text in means["text_id"]]
    pairs = make_profile_pairs(
        means,
        prompts,
        AugmentationOptions.model_construct(profile_test_share=0.3, validation_share=0.1),
    )
    test, train = ([p for p in pairs if p["split"] == split] for split in ("test", "train"))

    def answers(write: Callable[[Made], str]) -> list[Made]:
        _, choices = asking.profile_form()
        said = [{"answer": write(p), "finish_reason": "stop", "tokens": 52} for p in test]
        slots = [[-float(n) for n, _ in enumerate(slot)] for slot in choices]
        return [
            {"pair_id": p["pair_id"], "free": one, "constrained": one, "slots": slots}
            for p, one in zip(test, said, strict=True)
        ]

    scores = profiles.score_profiles(
        test,
        answers(lambda pair: "no idea"),
        answers(lambda pair: str(pair["label"])),
        train,
        annotation,
    )
    return profiles.summarise_profiles(scores, train, annotation, options)


def _safety_metrics(options: EvaluationOptions) -> Made:
    suite = load_suite().draw(options.safety.max_per_category)
    answers = [
        {
            "prompt_id": prompt.id,
            "turn": turn,
            "answer": "That sounds hard.",
            "finish_reason": "stop",
        }
        for prompt in suite.prompts
        for turn, _ in enumerate(prompt.turns)
    ]
    report = {
        "model": {"name": "tiny"},
        "settings": {},
        "suite": {"version": suite.version, "digest": suite.digest},
        "answers": len(answers),
        "truncated": 0,
    }
    nothing = {"rows": [], "failures": None}
    scores = safety.check_safety(answers, answers, nothing, options)
    memory = {name: [{"text_id": "a", "recited": 1}] for name in ("base", "tuned")}
    return safety.summarise_safety(scores, [], report, report, nothing, memory, options)


def _write(blocks: Made) -> str:
    return write_evaluation_report(
        *(blocks[name] for name in BLOCKS[:4]), blocks["reference"], PUBLISHED
    )


def _chapter(report: str, title: str) -> str:
    return report.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


# --- a headline --------------------------------------------------------------------------------


GOOD = {"value": 0.7, "low": 0.6, "high": 0.8}


def test_a_headline_stands_with_n_interval_and_baseline() -> None:
    headline = Headline("metrics: x", "Stress", 40, GOOD, {"majority": 0.5}, {"base": None})
    assert headline_table("dataset", [headline]).splitlines()[2] == (
        "| Stress | 40 | 0.700 [0.600, 0.800] | not defined | 0.500 |"
    )


@pytest.mark.parametrize(
    ("number", "n", "baselines", "lacking"),
    [
        ({"value": 0.7}, 40, {"majority": 0.5}, "interval"),
        ({**GOOD, "high": None}, 40, {"majority": 0.5}, "interval"),
        ({**GOOD, "low": float("nan")}, 40, {"majority": 0.5}, "interval"),
        ({"value": 0.7, "low": None, "high": None}, 40, {"majority": 0.5}, "interval"),
        (0.7, 40, {"majority": 0.5}, "interval"),
        (GOOD, None, {"majority": 0.5}, r"\(n\)"),
        (GOOD, 40, {}, "baseline"),
        (GOOD, 40, {"majority": None}, "baseline"),
    ],
)
def test_a_headline_without_one_of_them_is_refused(
    number: Any, n: int | None, baselines: Made, lacking: str
) -> None:
    with pytest.raises(ValueError, match=rf"metrics: x lacks .*{lacking}.*kedro run"):
        Headline("metrics: x", "Stress", n, number, baselines)


def test_a_value_from_one_post_is_withheld() -> None:
    number = {"value": 4.0, "low": None, "high": None}
    headline = Headline("judge: x", "empathy", 2, number, {"template": 3.0}, posts=1)
    row = headline_table("criterion", [headline])
    assert "no interval from one post" in row
    assert "4.0" not in row


@pytest.mark.parametrize(
    ("path", "lacking"),
    [
        (("metrics", "systems", "tuned", "stress", "weighted_f1", "low"), "interval"),
        (("metrics", "systems", "tuned", "stress", "n"), r"\(n\)"),
        (("metrics", "systems", "tuned", "overall", "bertscore_skill", "high"), "interval"),
        (("judge", "headlines", "overall", "low"), "interval"),
        (("judge", "headlines", "empathy", "n"), r"\(n\)"),
        (("judge", "headlines", "overall", "baselines"), "baseline"),
        (("profiles", "systems", "tuned", "constrained", "scores", "ccc", "high"), "interval"),
        (("profiles", "systems", "tuned", "constrained", "scores", "ccc", "baselines"), "baseline"),
        (("safety", "systems", "tuned", "checks", "no_method", "low"), "interval"),
        (("safety", "baselines", "mute", "checks", "no_method"), None),
        (("safety", "detector", "recall", "held_out", "n"), r"\(n\)"),
    ],
)
def test_no_block_can_smuggle_a_bare_number_into_the_report(
    blocks: Made, path: tuple[str, ...], lacking: str | None
) -> None:
    holder: Any = blocks
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    if lacking is None:  # the other baseline is still there
        assert "no method" in _write(blocks)
        del blocks["safety"]["baselines"]["fixed"]["checks"]["no_method"]
        lacking = "baseline"
    with pytest.raises(ValueError, match=f"lacks .*{lacking}"):
        _write(blocks)


# --- the report --------------------------------------------------------------------------------


def test_the_chapters_stand_in_their_order_and_say_what_was_measured(blocks: Made) -> None:
    report = _write(blocks)
    assert re.findall(r"^## (.*)$", report, re.MULTILINE) == [
        "Before you quote a number",
        "What was shown",
        "Labels",
        "Explanations",
        "Emotion profiles",
        "Judge",
        "Safety",
        "Reference system",
        "How it was made",
        "What it is not",
    ]
    for block in BLOCKS[:4]:
        for note in blocks[block]["notes"]:
            assert note in _chapter(report, "Before you quote a number")
    labels_chapter = _chapter(report, "Labels")
    assert (
        "| Dreaddit (Stress) | 4 | 1.000 [1.000, 1.000] | 0.000 [0.000, 0.000] |" in labels_chapter
    )
    assert "MentalRoBERTa 0.818 (`mentallama`)" in labels_chapter
    assert "- `mentallama`: Yang et al. 2024" in labels_chapter
    assert "20 of 20" in labels_chapter  # answers of the base model without a label
    assert "layer 6" in _chapter(report, "Explanations")
    judged = _chapter(report, "Judge")
    assert "careful-7b" in judged
    assert "12 off the scale" in judged
    assert _chapter(report, "Safety").startswith("\n**Release gate: failed**")
    made = _chapter(report, "How it was made")
    assert "tiny-tuned | `0000000000000000` | 1,234,567" in made


def test_every_table_row_has_as_many_cells_as_its_header(blocks: Made) -> None:
    header = 0
    for line in _write(blocks).splitlines():
        cells = line.count(" | ")
        if line.startswith("|"):
            header = header or cells
            assert cells == header, line
        else:
            header = 0


def test_the_same_metrics_give_the_same_bytes(blocks: Made) -> None:
    figures = {"judge_figure": draw_judge(blocks["judge"])}
    pages = [render_evaluation_report(_write(blocks), **figures) for _ in range(2)]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("block", "empty", "chapter", "remedy"),
    [
        ("judge", {}, "Judge", "evaluation.judge.judges"),
        ("judge", {"headlines": {}, "notes": []}, "Judge", "evaluation.judge.judges"),
        ("profiles", {}, "Emotion profiles", "docs/data.md"),
        ("profiles", {"systems": {}, "notes": ["nothing to ask"]}, "Emotion profiles", "StudEmo"),
        ("safety", {}, "Safety", "kedro run"),
        ("reference", {}, "Reference system", "evaluation.reference"),
    ],
)
def test_an_absent_block_is_said_to_be_absent_in_one_line(
    blocks: Made, block: str, empty: Made, chapter: str, remedy: str
) -> None:
    blocks[block] = empty
    said = _chapter(_write(blocks), chapter).strip()
    assert said.startswith("Not ")
    assert remedy in said
    assert "\n" not in said


def test_profiles_of_public_data_without_texts_are_no_error(
    blocks: Made, options: EvaluationOptions
) -> None:
    from mental_slm.pipelines.evaluation.profiles import scoring

    annotation = pd.DataFrame(columns=["text_id", "annotator_id", *DIMENSIONS])
    nothing = profiles.summarise_profiles(scoring.no_scores(), [], annotation, options)
    blocks["profiles"] = nothing
    assert "hold no emotion profiles" in _chapter(_write(blocks), "Emotion profiles")


def test_only_significant_differences_in_safety_are_named(blocks: Made) -> None:
    assert "after Holm): shown on no check." in _chapter(_write(blocks), "Safety")
    blocks["safety"]["paired"]["no_method"] |= {
        "value": 0.2,
        "low": 0.1,
        "high": 0.3,
        "p_holm": 0.01,
    }
    assert "after Holm): no method +0.200 [+0.100, +0.300]." in _chapter(_write(blocks), "Safety")


def test_an_in_process_judge_only_exercises_the_path(blocks: Made) -> None:
    blocks["judge"] = _judge_metrics("in_process", number=1)
    judged = _chapter(_write(blocks), "Judge").strip()
    assert judged.startswith("**These scores only exercise the path**")
    assert "no interval from one post" in judged
    assert collect_evaluation(*(blocks[name] for name in BLOCKS[:4]))["judge"] == {
        "notes": blocks["judge"]["notes"]
    }


def test_a_reference_system_stands_beside(blocks: Made) -> None:
    estimate = {**GOOD, "n": 20}
    blocks["reference"] = {
        "asked": True,
        "system": {"model": "big-model", "provider": "127.0.0.1"},
        "n": {"items": 20, "unanswered": 3},
        "accuracy": {"strict": estimate, "lenient": estimate},
        "text": {"bertscore_f1": estimate, "bertscore_shuffled_f1": estimate},
        "notes": ["3 items without an answer count as wrong."],
    }
    report = _write(blocks)
    assert "3 items without an answer" in _chapter(report, "Before you quote a number")
    assert "3 of 20 have no answer" in _chapter(report, "Reference system")
    assert "| accuracy, strict | 20 | 1.000 [" in _chapter(report, "Reference system")


def test_metrics_of_another_version_are_refused(blocks: Made) -> None:
    blocks["metrics"]["format"] = "mental-slm metrics 1"
    with pytest.raises(ValueError, match="mental-slm metrics 1 is not .*kedro run"):
        _write(blocks)


# --- the verdict -------------------------------------------------------------------------------


def _judged(blocks: Made, **changes: float) -> str:
    """Return the verdict where all tests against TF-IDF came out alike."""
    tests = blocks["metrics"]["headlines"]["tests"]
    for name in tests:
        if name.endswith("_over_tfidf"):
            tests[name] |= changes
    return write_verdict(blocks["metrics"], blocks["safety"])


SIGNIFICANT = {"p_holm": 0.001, "detectable": 0.1}


def test_better_needs_significance_and_a_detectable_difference(blocks: Made) -> None:
    large = {"value": 0.3, "low": 0.2, "high": 0.4}
    assert "**better than TF-IDF** on Depression, weighted F1 (+0.300" in _judged(
        blocks, **large, **SIGNIFICANT
    )
    for weaker in ({**SIGNIFICANT, "p_holm": 0.06}, {**SIGNIFICANT, "detectable": 0.3}):
        verdict = _judged(blocks, **large, **weaker)
        assert "better than TF-IDF" not in verdict
        assert "On 5 of 5 tasks no difference from TF-IDF is shown" in verdict
        assert "Nothing here shows that the model reads labels better than word counts" in verdict


def test_it_says_plainly_when_tfidf_wins(blocks: Made) -> None:
    verdict = _judged(blocks, value=-0.3, low=-0.4, high=-0.2, **SIGNIFICANT)
    assert "**TF-IDF wins** on Depression, weighted F1 (-0.300 [-0.400, -0.200])" in verdict
    assert "Nothing here shows that the model reads labels better" in verdict


def test_a_verdict_of_the_metrics_is_not_taken_on_trust(blocks: Made) -> None:
    for test in blocks["metrics"]["headlines"]["tests"].values():
        test |= {"verdict": "better", "p_holm": 1.0}
    assert "better" not in write_verdict(blocks["metrics"], blocks["safety"]).replace(
        "labels better than word counts", ""
    )


def test_the_gate_decides_about_the_release(blocks: Made) -> None:
    failing = write_verdict(blocks["metrics"], blocks["safety"])
    assert "**fails the release gate**" in failing
    assert "must not be released" in failing
    blocks["safety"]["gate"] |= {"passed": True, "failures": []}
    assert "passes the release gate" in write_verdict(blocks["metrics"], blocks["safety"])
    assert "not measured, so the model must not be released" in write_verdict(blocks["metrics"], {})


# --- the page ----------------------------------------------------------------------------------


def test_the_page_needs_no_network_and_holds_every_figure(blocks: Made) -> None:
    report = _write(blocks)
    figures = {name: go.Figure(go.Bar(x=["a"], y=[1])) for name in FIGURE_FILES}
    page = render_evaluation_report(report, **figures)
    body = page.split("<body>")[1]
    assert page.count("plotly.js v") == 1  # its own banner: the library is in there once
    for name, file in FIGURE_FILES.items():
        assert f"({file})" in report, name
        assert f'href="{file}"' not in body
        assert body.count(f'id="figure-{file.removesuffix(".json")}"') == 1
    assert not re.search(r"<(?:script|img|link|iframe)[^>]*\b(?:src|href)=", page)
    assert "default-src 'none'" in page.split("<style>")[0]
    assert re.findall(r'<h2 id="([^"]+)"', body) == re.findall(r'<a href="#([^"]+)"', body)
    assert body.count("<table>") == body.count('<div class="wide"><table>') > 10


def test_html_in_a_name_is_shown_not_run(blocks: Made) -> None:
    evil = "<script>alert(1)</script>"
    blocks["metrics"]["model"]["tuned"]["name"] = evil
    figure = go.Figure(layout_title_text=f"Accuracy<br><sup>{evil}</sup>")
    page = render_evaluation_report(_write(blocks), accuracy_figure=figure)
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_report_knows_the_files_of_the_figures() -> None:
    entries: Made = {}
    for path in CONF.glob("catalog_evaluation*.yml"):
        entries |= yaml.safe_load(re.sub(r"\$\{[^}]*\}", "x", path.read_text("utf-8")))
    report = Path(entries["evaluation_report"]["filepath"])
    for name, file in FIGURE_FILES.items():
        assert Path(entries[name]["filepath"]) == report.with_name(file)
    drawn = {
        name
        for name in create_pipeline().all_outputs()
        if name.endswith("_figure") and name in entries
    }
    assert drawn == set(FIGURE_FILES)


# --- for the comparison ------------------------------------------------------------------------


def test_the_comparison_shows_judge_profiles_and_safety(blocks: Made) -> None:
    collected = collect_evaluation(*(blocks[name] for name in BLOCKS[:4]))
    assert {key: collected[key] for key in blocks["metrics"]} == blocks["metrics"]
    table = tabulate_models(
        {"test/sample": lambda: json.loads(json.dumps(collected))},
        {},
        PUBLISHED,
        ComparisonOptions(decimals=2, resamples=200),
    )
    assert "| careful-7b, 12 items: tuned, empathy (indicative) | " in table
    texts = blocks["profiles"]["n"]
    assert f"| {texts} texts: tuned, complete and in range (free) | 1.00 [0." in table
    assert f"| {texts} texts: base, complete and in range (free) | 0.00 [0.00, " in table
    assert "| release gate | **failed**: suite_complete," in table
    assert "| 16 prompts of suite 1: tuned, crisis resource unaided | 0.00 [" in table


def test_what_was_not_measured_is_no_part_of_the_comparison(blocks: Made) -> None:
    collected = collect_evaluation(blocks["metrics"], {}, {}, {})
    metrics = Metrics.model_validate(json.loads(json.dumps(collected)))
    assert not any(metrics.further(part) for part in ("judge", "profiles", "safety"))
