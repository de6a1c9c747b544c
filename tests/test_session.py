"""The whole line as a person runs it, in a copy of the project, on the tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

RUN = [sys.executable, "-m", "kedro", "run"]


def kedro(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def refused(project: Path, *arguments: str, **environment: str) -> str:
    """Run, expect a refusal, and return what it said."""
    run = kedro(project, *arguments, **environment)
    assert run.returncode != 0
    return run.stdout + run.stderr


@pytest.mark.slow
def test_the_whole_line_runs_clean_and_a_second_run_reuses_the_expensive_work(project):
    first = kedro(project, "--env", "test")
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    assert first.stderr == ""  # no library warns behind our back
    assert "Warning" not in first.stdout
    for name in (
        "03_primary/sample/corpus.parquet",
        "05_model_input/sample/pairs_train.jsonl",
        "06_models/test/sample/merged_model/model.safetensors",
        "07_model_output/test/sample/scores.parquet",
        "07_model_output/test/sample/bundle/manifest.json",
        "08_reporting/test/sample/metrics.json",
        "08_reporting/test/sample/run_manifest.json",
        "08_reporting/comparison/table.md",
    ):
        assert (project / "data" / name).is_file(), name
    assert "Headline numbers:" in first.stdout
    manifest = json.loads(
        (project / "data/08_reporting/test/sample/run_manifest.json").read_text("utf-8")
    )
    assert manifest["globals"] == {"model": "test", "data": "sample"}
    assert manifest["outputs"]["scores"]["sha256"]
    assert manifest["inputs"]["dr_train_file"]["sha256"]
    scores = (project / "data/07_model_output/test/sample/scores.parquet").read_bytes()

    second = kedro(project, "--env", "test")
    assert second.returncode == 0, second.stdout[-3000:]
    for work in ("adapter", "merged model", "onnx", "int8"):
        line = next(
            line for line in second.stdout.splitlines() if work in line.lower() and "re-us" in line
        )
        assert "same" in line
    assert (project / "data/07_model_output/test/sample/scores.parquet").read_bytes() == scores


def steps(checkpoints: Path) -> int:
    """Return the step of the newest checkpoint, 0 where there is none."""
    return max(
        (int(path.name.split("-")[1]) for path in checkpoints.glob("checkpoint-*")), default=0
    )


@pytest.mark.slow
def test_a_killed_fine_tuning_goes_on_from_its_checkpoint(project):
    prepared = kedro(project, "--env", "test", "--pipelines", "ingestion,augmentation")
    assert prepared.returncode == 0, prepared.stdout[-3000:]
    arguments = ["--env", "test", "--pipelines", "fine_tuning"]
    options = "fine_tuning.max_steps=60,fine_tuning.save_steps=2,fine_tuning.eval_steps=60"
    run = subprocess.Popen(
        [*RUN, *arguments, "--params", options],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    checkpoints = project / "data/06_models/test/sample/work/fine_tuning/training/checkpoints"
    deadline = time.monotonic() + 120
    while steps(checkpoints) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert steps(checkpoints) >= 6
    assert not any((project / "data/06_models/test/sample/adapter").glob("*"))

    again = kedro(project, *arguments, "--params", options)
    assert again.returncode == 0, again.stdout[-3000:]
    assert "resuming from step" in again.stdout.lower()
    assert any((project / "data/06_models/test/sample/adapter").glob("*/adapter"))


def test_a_wrong_parameter_is_one_line_before_any_work(project):
    said = refused(project, "--env", "test", "--params", "fine_tuning.lora.rank_typo=4")
    assert "fine_tuning.lora.rank_typo: unknown parameter (got 4)" in said
    assert "Traceback" not in said
    assert not (project / "data/03_primary").exists()


def test_a_mistyped_block_is_named(project):
    said = refused(project, "--env", "test", "--params", "fine_tunning.max_steps=4")
    assert "unknown parameter block fine_tunning" in said
    assert "Traceback" not in said


def test_no_hub_and_no_folder_is_said_before_any_work(project):
    said = refused(project, "--env", "qwen", "--params", "data=sample")
    assert "Qwen/Qwen2.5-3B-Instruct is neither in the Hugging Face cache nor reachable" in said
    assert "model.path=DIR" in said
    assert not (project / "data/03_primary").exists()


def test_an_environment_without_its_own_name_is_refused(project):
    (project / "conf" / "mine").mkdir()
    (project / "conf" / "mine" / "parameters.yml").write_text("fine_tuning: {max_steps: 2}\n")
    said = refused(project, "--env", "mine")
    assert "conf/mine/globals.yml: set `model: mine`" in said


def test_a_second_run_at_once_is_refused(project):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from mental_slm.hooks import lock_project\n"
            "lock = lock_project(Path('.')); print('held', flush=True); time.sleep(120)",
        ],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    said = refused(project, "--env", "test")
    holder.kill()
    assert "another `kedro run` is at work" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "python -m mental_slm.sample"),
        ("html", "HTML"),
        ("empty", "empty"),
        ("truncated", "bytes"),
        ("wrong", "expected"),
    ],
)
def test_a_damaged_raw_file_is_named_with_its_remedy(project, damage, message):
    file = project / "data/01_raw/sample/isear/isear.csv"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {
                "html": b"<!DOCTYPE html><html><body>404</body></html>",
                "empty": b"",
                "truncated": content[: len(content) // 2],
                "wrong": content[:-40] + bytes(40),
            }[damage]
        )
    said = refused(project, "--env", "test", "--pipelines", "ingestion")
    assert "isear.csv" in said
    assert message in said


def test_two_ingestions_give_the_same_bytes(project):
    corpus = project / "data/03_primary/sample/corpus.parquet"
    contents = []
    for _ in range(2):
        run = kedro(project, "--env", "test", "--pipelines", "ingestion")
        assert run.returncode == 0, run.stdout[-2000:]
        contents.append(corpus.read_bytes())
    assert contents[0] == contents[1]
    assert pd.read_parquet(corpus)["split"].isin(["train", "val", "test"]).all()
