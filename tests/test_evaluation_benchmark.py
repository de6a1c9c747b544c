"""The evaluation benchmark's parts run and check themselves; its figures are not looked at."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "evaluation.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("evaluation_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_all_lines_run_on_a_tiny_model(benchmark, tiny_model, capsys):
    assert benchmark.main(["--quick", "--model", str(tiny_model.path)]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 7  # head, rule, five lines
    for word in ("one by one", "resume", "7 options", "grammar", "BERTScore"):
        assert word in printed


def test_a_missed_target_is_called_so(benchmark, capsys):
    options = type("Options", (), {"dtype": "float32", "repeats": 1})()
    line = benchmark.Line("answers", 2.0, 6.0, 3.0, "at least 4x", False)
    benchmark.print_table("tiny", options, [line])
    assert "| answers | 2 | 6 | 3 | at least 4x | MISSED |" in capsys.readouterr().out
