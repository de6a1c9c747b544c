"""How a run that goes wrong ends on the command line: in one line if the error explains itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.io import DatasetError

from mental_slm import hooks
from mental_slm.training.checkpoints import step_of
from mental_slm.training.config import share_rows

PLAN = ["--env", "test", "--pipelines", "fine_tuning", "--tags", "plan"]


def refused(project: Path, *arguments: str, **environment: str) -> str:
    """Run ``kedro run``, expect a refusal, and return what it said."""
    run = subprocess.run(
        [sys.executable, "-m", "kedro", "run", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode != 0
    return run.stdout + run.stderr


def last_line(said: str) -> str:
    return said.rstrip().splitlines()[-1]


def test_an_expected_error_of_a_node_ends_in_one_line(project):
    too_small = ["--params", "fine_tuning.plan.memory_gb=0.01"]
    said = refused(project, *PLAN, *too_small)
    assert last_line(said).startswith("Error: random-llama needs ")
    assert "Traceback" not in said
    assert "plan_training failed" in said
    traced = refused(project, *PLAN, *too_small, MENTAL_SLM_TRACEBACK="1")
    assert "Traceback" in traced
    assert "PlanImpossible" in traced


def test_a_fault_of_the_program_keeps_its_traceback(project):
    file = project / "src/mental_slm/pipelines/fine_tuning/nodes.py"
    source = file.read_text("utf-8")
    place = "    name, config = read_model_config(model)\n"
    assert place in source
    file.write_text(source.replace(place, place + "    config['no such key']\n"), "utf-8")
    said = refused(project, *PLAN)
    assert "KeyError" in said
    assert "Traceback" in said


def test_a_missing_input_ends_in_the_name_of_its_file(project):
    said = refused(project, "--env", "test", "--nodes", "fine_tuning.draw_loss_curve")
    assert "Traceback" not in said
    assert "training_log" in said.rpartition("Error: ")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--params", "data=foo_"], "Error: data=foo_: unknown edition; use one of sample, public"),
        (["--env", "nope"], "Error: --env nope: there is no folder conf/nope; use one of base, d"),
        (["--pipelines", "fine_tuning,nope"], "Error: --pipelines nope: there is none; use augmen"),
    ],
)
def test_a_wrong_edition_environment_or_pipeline_ends_in_one_line(project, arguments, message):
    said = refused(project, *arguments)
    assert last_line(said).startswith(message)
    assert "Traceback" not in said


def caught(work) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("it went well")


def test_what_our_code_raises_on_purpose_is_expected():
    error = caught(lambda: share_rows(3, 1, 2))
    assert hooks.is_expected(error)
    wrapped = DatasetError("while loading")
    assert hooks.is_expected(wrapped)
    wrapped.__cause__ = error
    assert hooks.is_expected(wrapped)
    wrapped.__cause__ = FileNotFoundError("x")
    assert hooks.is_expected(wrapped)


def test_what_python_and_libraries_raise_is_not():
    assert not hooks.is_expected(caught(lambda: int("x")))
    # in our code, but by no `raise` of ours
    assert not hooks.is_expected(caught(lambda: step_of(Path("checkpoint-x"))))
    assert not hooks.is_expected(ValueError("never raised"))
    wrapped = DatasetError("while loading")
    wrapped.__cause__ = caught(lambda: int("x"))
    assert not hooks.is_expected(wrapped)


def test_a_fault_is_none_whoever_raises_it(monkeypatch):
    error = caught(lambda: share_rows(3, 1, 2))
    fault = KeyError("x").with_traceback(error.__traceback__)
    assert not hooks.is_expected(fault)
