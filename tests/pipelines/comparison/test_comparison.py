"""Comparison of made-up metrics files through the project's own catalog entries."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from mental_slm.pipelines.comparison import create_pipeline
from mental_slm.pipelines.comparison.evaluated import Metrics
from mental_slm.pipelines.comparison.nodes import draw_comparison, tabulate_models
from mental_slm.pipelines.comparison.options import ComparisonOptions
from mental_slm.pipelines.evaluation import summary

OPTIONS = ComparisonOptions(decimals=2)
CONF = Path(__file__).parents[3] / "conf"


def _estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def _metrics(environment: str, accuracy: float, **data: Any) -> dict[str, Any]:
    def blocks(value: float) -> dict[str, Any]:
        block = {
            "n": 40,
            "accuracy": _estimate(value),
            "macro_f1": _estimate(value - 0.1),
            "invalid_rate": 0.125,
            "bertscore_skill": _estimate(0.3),
        }
        return {"overall": block, "stress": block}

    gain = {"accuracy": _estimate(0.2), "macro_f1": _estimate(0.1), "mcnemar_p": 0.04}
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
        "paired": {"overall": gain, "stress": gain},
    }


def _write(root: Path, name: str, content: str) -> None:
    path = root / "data" / "08_reporting" / "comparison" / "metrics" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def _catalog(root: Path, monkeypatch: pytest.MonkeyPatch) -> DataCatalog:
    """Build the project's own entries for the metrics, with paths below ``root``."""
    monkeypatch.chdir(root)
    catalog = DataCatalog.from_config(
        {
            "all_metrics": _entry("all_metrics"),
        }
    )
    catalog["params:comparison"] = OPTIONS
    for name in ("comparison_table", "comparison_figure"):
        catalog[name] = MemoryDataset()
    return catalog


def _entry(name: str) -> dict[str, Any]:
    text = (CONF / "base" / "catalog_comparison.yml").read_text("utf-8")
    text = text.replace("${globals:model}", "smollm2").replace("${globals:data}", "sample")
    return dict(yaml.safe_load(text)[name])


def _tabulate(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return tabulate_models(_catalog(root, monkeypatch).load("all_metrics"), OPTIONS)


def test_models_on_the_same_items_share_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7)))
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.8)))
    table = _tabulate(tmp_path, monkeypatch)
    assert table.count("## ") == 1
    assert "| qwen-tuned (qwen/sample) | tuned | 0.80 [0.75, 0.85] | 0.70 [0.65, 0.75] |" in table
    assert "smollm2-tuned (smollm2/sample)" in table
    assert table.count("| TF-IDF + logistic regression | tfidf |") == 1
    assert "+0.20 [+0.15, +0.25]" in table
    assert "Left out" not in table


def test_editions_and_other_items_of_one_edition_are_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "smollm2/sample", json.dumps(_metrics("smollm2", 0.7)))
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.8, items_digest="bb")))
    _write(tmp_path, "qwen/public", json.dumps(_metrics("qwen", 0.9, edition="public")))
    table = _tabulate(tmp_path, monkeypatch)
    sections = table.split("\n## ")[1:]
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
        (json.dumps(_metrics("x", 0.7) | {"format": "mental-slm metrics 0"}), "format"),
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
    assert "| BERTScore skill |" not in table
    assert "BERTScore is left out" in table


def test_the_comparison_runs_alone_and_after_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro must order it behind the node that files new metrics and hand it old and new."""
    _write(tmp_path, "qwen/sample", json.dumps(_metrics("qwen", 0.8)))
    catalog = _catalog(tmp_path, monkeypatch)
    SequentialRunner().run(create_pipeline(), catalog)
    assert "smollm2" not in catalog.load("comparison_table")

    def summarise() -> dict[str, Any]:
        return {"smollm2/sample": _metrics("smollm2", 0.7)}

    whole = create_pipeline() + Pipeline(
        [Node(summarise, inputs=None, outputs="all_metrics", name="summarise")]
    )
    assert whole.nodes[0].name == "summarise"
    SequentialRunner().run(whole, catalog)
    assert "smollm2-tuned (smollm2/sample)" in catalog.load("comparison_table")
    assert len(catalog.load("comparison_figure").data) == 5  # two models with bases, one TF-IDF


def test_the_format_is_the_one_evaluation_writes() -> None:
    assert Metrics.model_fields["format"].annotation.__args__ == (summary.FORMAT,)
