"""Comparison of made-up metrics files through the project's own catalog entries."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from mental_slm.pipelines.comparison import create_pipeline
from mental_slm.pipelines.comparison.evaluated import Metrics
from mental_slm.pipelines.comparison.nodes import draw_comparison, tabulate_models
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.pipelines.comparison.pairing import compare_models
from mental_slm.pipelines.evaluation import summary
from mental_slm.published import Published
from mental_slm.statistics import mcnemar

OPTIONS = ComparisonOptions(decimals=2, resamples=400)
CONF = Path(__file__).parents[3] / "conf"
PUBLISHED = yaml.safe_load((CONF / "base" / "published_results.yml").read_text("utf-8"))


def _estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def _metrics(environment: str, accuracy: float, **data: Any) -> dict[str, Any]:
    def blocks(value: float) -> dict[str, Any]:
        measures = {
            "accuracy": _estimate(value),
            "macro_f1": _estimate(value - 0.1),
            "weighted_f1": _estimate(value - 0.05),
            "balanced_accuracy": _estimate(value - 0.02),
        }
        block = {
            **measures,
            "n": 40,
            "invalid_rate": 0.125,
            "lenient": {**measures, "invalid_rate": 0.025},
            "likelihood": {
                **measures, "calibration_error": _estimate(0.2), "brier_skill": _estimate(0.1)
            },
            "truncated_rate": 0.075,
            "bertscore_f1": _estimate(0.6),
            "bertscore_floor": 0.43,
            "bertscore_skill": _estimate(0.3),
            "text": {"chrf": _estimate(0.33), "bertscore_copy_f1": _estimate(0.5)},
        }  # fmt: skip
        return {"overall": block, "stress": block}

    gain = {"accuracy": _estimate(0.2), "weighted_f1": _estimate(0.1), "mcnemar_p": 0.0004}
    outcome = {**_estimate(0.1), "p_holm": 0.04, "detectable": 0.07, "verdict": "better"}
    return {
        "format": summary.FORMAT,
        "model": {
            "environment": environment,
            "base": {"name": f"{environment}-base"},
            "tuned": {"name": f"{environment}-tuned"},
        },
        "data": {"edition": "sample", "items_digest": "aa", "n": 40, "n_by_task": {"stress": 40}}
        | data,
        "bertscore": {"encoder": "mini", "encoder_digest": "1", "layers": 6},
        "systems": {
            "base": blocks(0.4),
            "tuned": blocks(accuracy),
            "majority": blocks(0.5),
            "tfidf": blocks(0.6),
        },
        "risk": None,
        "paired": {"overall": gain, "stress": gain},
        "headlines": {"tests": {"stress.weighted_f1_over_base": outcome}},
    }


def _scores(right: int, n: int = 40, first: int = 0) -> pd.DataFrame:
    """Make up the tuned model's rows: the first items are right, the others wrong."""
    labels = ["yes", "no"] * n
    rows = [
        {
            "system": "tuned",
            "pair_id": f"{number:03}",
            "text_id": f"post {number}",
            "task": "stress",
            "label": labels[number],
            "predicted": labels[number] if number < right else labels[number + 1],
            "correct": number < right,
        }
        for number in range(first, first + n)
    ]
    return pd.DataFrame(rows)


def _write(root: Path, name: str, content: str) -> None:
    path = root / "data" / "08_reporting" / "comparison" / "metrics" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def _write_scores(root: Path, name: str, scores: pd.DataFrame) -> None:
    path = root / "data" / "08_reporting" / "comparison" / "scores" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    scores.to_parquet(path)


def _catalog(root: Path, monkeypatch: pytest.MonkeyPatch) -> DataCatalog:
    """Build the project's own entries for the metrics, with paths below ``root``."""
    monkeypatch.chdir(root)
    catalog = DataCatalog.from_config(
        {
            "all_metrics": _entry("all_metrics"),
            "all_scores": _entry("all_scores"),
        }
    )
    catalog["published_results"] = PUBLISHED
    catalog["params:comparison"] = OPTIONS
    for name in ("comparison_table", "comparison_figure"):
        catalog[name] = MemoryDataset()
    return catalog


def _entry(name: str) -> dict[str, Any]:
    text = (CONF / "base" / "catalog_comparison.yml").read_text("utf-8")
    text = text.replace("${globals:model}", "smollm2").replace("${globals:data}", "sample")
    return dict(yaml.safe_load(text)[name])


def _tabulate(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    catalog = _catalog(root, monkeypatch)
    scores = root / "data" / "08_reporting" / "comparison" / "scores"
    of_models = catalog.load("all_scores") if scores.is_dir() else {}
    return tabulate_models(catalog.load("all_metrics"), of_models, PUBLISHED, OPTIONS)


def test_models_on_the_same_items_share_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7)))
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.8)))
    table = _tabulate(tmp_path, monkeypatch)
    assert table.count("\n## ") == 2  # the models, and the sources
    rows = _section(table, "Accuracy")
    assert rows[0] == (
        "| dataset (task, n) | qwen-base (qwen/sample) | qwen-tuned (qwen/sample) | "
        "smollm2-base (smollm2/sample) | smollm2-tuned (smollm2/sample) | majority label | "
        "TF-IDF + logistic regression | published |"
    )
    assert rows[2].startswith(
        "| Dreaddit (Stress, 40) | 0.40 [0.35, 0.45] | 0.80 [0.75, 0.85] | 0.40 [0.35, 0.45] | "
        "0.70 [0.65, 0.75] | 0.50 [0.45, 0.55] | 0.60 [0.55, 0.65] |"
    )
    assert "Mental-RoBERTa 0.83; Mental-Alpaca 0.82" in _section(table, "Balanced accuracy")[2]
    assert _section(table, "Explanations")[2].count("0.60 [0.55, 0.65]") == 4
    assert "| 12.5% |" in table and "| 2.5% |" in table
    gains = "\n".join(_section(table, "Tuned minus base"))
    assert "+0.20 [+0.15, +0.25]" in gains and "| < 0.001 |" in gains
    assert "stress.weighted_f1_over_base | +0.10 [+0.05, +0.15] | 0.040 | 0.07 | better" in table
    assert "has no scores to compare item by item" in table
    assert "Left out" not in table and "Not compared" not in table


def _section(table: str, heading: str) -> list[str]:
    """Return the lines of the first table below a heading."""
    below = table.split(f"\n### {heading}")[1].split("\n\n")[1]
    return below.splitlines()


def test_editions_and_other_items_of_one_edition_are_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7)))
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.8, items_digest="bb")))
    _write(tmp_path, "qwen/public", json.dumps(_metrics("qwen", 0.9, edition="public")))
    _write_scores(tmp_path, "smollm2/sample", _scores(20))
    _write_scores(tmp_path, "qwen/sample", _scores(20, n=38, first=3))
    table = _tabulate(tmp_path, monkeypatch)
    refused = table.split("## Not compared, because the test sets differ")[1]
    assert "3 items only in the first, 1 only in the second" in refused
    assert "public" not in refused.split("##")[0]
    sections = [part for part in table.split("\n## ")[1:] if part.startswith("Data edition")]
    assert [section.splitlines()[0] for section in sections] == [
        "Data edition public, 40 items (aa)",
        "Data edition sample, 40 items (aa)",
        "Data edition sample, 40 items (bb)",
    ]
    assert ["smollm2" in section for section in sections] == [False, True, False]
    figure = draw_comparison(_catalog(tmp_path, monkeypatch).load("all_metrics"))
    assert {trace.yaxis for trace in figure.data} == {"y", "y2", "y3"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{not json", "the file is damaged"),
        ('"text"', "not metrics of this version"),
        ('{"accuracy": 1}', "not metrics of this version"),
        (json.dumps(_metrics("x", 0.7) | {"format": "mental-slm metrics 1"}), "format"),
        (json.dumps(_metrics("x", 0.7) | {"paired": {}}), "numbers of overall are missing"),
        (json.dumps(_metrics("x", 0.7, n_by_task={"horoscope": 1})), "unknown tasks"),
    ],
    ids=["damaged", "text", "foreign", "old", "holes", "task"],
)
def test_an_unusable_file_is_named_and_the_rest_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: str,
    reason: str,
) -> None:
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7)))
    _write(tmp_path, "other/sample", content)
    table = _tabulate(tmp_path, monkeypatch)
    assert "smollm2-tuned" in table
    left_out = table.split("## Left out")[1]
    assert "`other/sample`" in left_out and reason in left_out
    assert "left out the metrics of other/sample" in caplog.text


def test_nothing_usable_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "other/sample", "{}")
    with pytest.raises(ValueError, match=r"other/sample/metrics\.json; run `kedro run"):
        _tabulate(tmp_path, monkeypatch)


def test_scores_of_different_encoders_do_not_share_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _metrics("qwen", 0.8)
    other["bertscore"]["layers"] = 5
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7)))
    _write(tmp_path, "qwen/sample", json.dumps(other))
    table = _tabulate(tmp_path, monkeypatch)
    assert "| skill over the floor |" not in table and "| bertscore copy f1 |" not in table
    assert "| chrf |" in table
    assert "BERTScore is left out" in table


def test_the_comparison_runs_alone_and_after_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro must order it behind the node that files new metrics and hand it old and new."""
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.8)))
    _write_scores(tmp_path, "qwen/sample", _scores(30))
    catalog = _catalog(tmp_path, monkeypatch)
    SequentialRunner().run(create_pipeline(), catalog)
    assert "smollm2" not in catalog.load("comparison_table")

    def summarise() -> tuple[dict[str, Any], dict[str, Any]]:
        return {"smollm2/sample": _metrics("smollm2", 0.7)}, {"smollm2/sample": _scores(10)}

    whole = create_pipeline() + Pipeline(
        [Node(summarise, inputs=None, outputs=["all_metrics", "all_scores"], name="summarise")]
    )
    assert whole.nodes[0].name == "summarise"
    SequentialRunner().run(whole, catalog)
    table = catalog.load("comparison_table")
    assert "smollm2-tuned (smollm2/sample)" in table
    between = _section(table, "Between the tuned models")[2]
    assert "| +0.50 [" in between and between.endswith("| better |")
    assert len(catalog.load("comparison_figure").data) == 5  # two models with bases, one TF-IDF


def test_the_format_is_the_one_evaluation_writes() -> None:
    assert Metrics.model_fields["format"].annotation.__args__ == (summary.FORMAT,)


# --- two models, item by item ------------------------------------------------------------------


def test_models_are_compared_on_the_same_items_in_any_order() -> None:
    scores = {"a": _scores(30), "b": _scores(20).sample(frac=1, random_state=1)}
    ((first, second, task, found, p_holm, mcnemar_p),) = compare_models(scores, OPTIONS)
    assert (first, second, task) == ("a", "b", "stress")
    assert found.difference.value == pytest.approx(0.25)
    right = [np.arange(40) < n for n in (30, 20)]
    assert mcnemar_p == pytest.approx(mcnemar(*right)[2])
    assert found.p_value == p_holm == pytest.approx(mcnemar_p, abs=0.01)


def test_p_values_are_adjusted_for_all_pairs_of_models() -> None:
    scores = {"a": _scores(30), "b": _scores(21), "c": _scores(20)}
    compared = {(a, b): (found, p) for a, b, _, found, p, _ in compare_models(scores, OPTIONS)}
    assert len(compared) == 3
    found, p_holm = compared["a", "b"]
    assert p_holm >= min(1, 2 * found.p_value) > found.p_value
    assert compared["b", "c"][1] == 1


def test_unequal_test_sets_are_refused_with_the_difference() -> None:
    scores = {"a": _scores(30), "b": _scores(20, n=38, first=3)}
    with pytest.raises(ValueError, match="a and b cannot.*3 items only in the first, 1 only in"):
        list(compare_models(scores, OPTIONS))


# --- what stands beside ours -------------------------------------------------------------------


def test_the_published_results_are_cited_and_known() -> None:
    published = Published.read(PUBLISHED)
    stress = published.of("stress", "balanced_accuracy")
    assert (stress[0].system, stress[0].value) == ("Mental-RoBERTa", 0.831)
    assert {result.source for result in published.results} == set(published.sources)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "horoscope"}, "results.0.task: unknown task"),
        ({"value": 83.1}, "results.0.value"),
        ({"source": "hearsay"}, "sources that are not listed: hearsay"),
    ],
)
def test_a_wrong_published_result_is_named(change: dict[str, Any], message: str) -> None:
    content = {**PUBLISHED, "results": [{**PUBLISHED["results"][0], **change}]}
    with pytest.raises(ValueError, match=f"published_results.yml: .*{message}"):
        Published.read(content)


def test_parts_that_other_stages_add_are_shown_under_their_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = {"tuned": {"empathy": {**_estimate(3.1), "n": 9}}, "notes": ["made up"]}
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7) | {"judge": judged}))
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.7)))
    table = _tabulate(tmp_path, monkeypatch)
    assert "| tuned: empathy |  | 3.10 [3.05, 3.15] |" in _section(table, "Judge")
    assert "### Safety" not in table


def test_conf_states_every_default_and_the_code_the_same() -> None:
    text = (CONF / "base" / "parameters_comparison.yml").read_text("utf-8")
    block = yaml.safe_load(text)["comparison"]
    assert ComparisonOptions(**block) == ComparisonOptions()
    assert block.keys() == ComparisonOptions.model_fields.keys()
