"""A search that is really killed goes on, and ends as one that was left alone."""

import json
import subprocess
import sys

import pytest

from mental_slm.pipelines.sweep.study import open_study

CHILD = """
import json, logging, sys
from pathlib import Path
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.sweep.options import SweepOptions
from mental_slm.pipelines.sweep.search import Search
from mental_slm.references import ModelRef
from mental_slm.training.options import FineTuningOptions

logging.basicConfig(level=logging.INFO, format="%(message)s")
job = json.loads(Path(sys.argv[1]).read_text())
Search.prepare(
    job["train"], job["val"],
    ModelRef.from_json(job["base"]).at(Path(job["base_path"])),
    ModelOptions(**job["model"]),
    FineTuningOptions(**job["fine_tuning"]),
    SweepOptions(**job["options"]),
    Path(job["workspace"]),
).run()
"""


def same(trials: list[dict]) -> list[dict]:
    """Return what must not depend on a kill: all but time and number."""
    left_out = ("seconds", "trial")
    return [{k: v for k, v in trial.items() if k not in left_out} for trial in trials]


CHANGES = {"max_steps": 8, "validations": 2}


@pytest.fixture(scope="module")
def whole(make_search, tmp_path_factory) -> list[dict]:
    """Run the search and leave it alone."""
    return make_search(tmp_path_factory.mktemp("whole"), **CHANGES).run()


@pytest.mark.slow
@pytest.mark.parametrize("line", ["trial 0 (recipe original)", "trial 3: learning rate"])
def test_a_killed_search_ends_with_the_same_trials(
    make_search,
    make_options,
    make_pairs,
    tiny_model,
    tiny_options,
    fine_tuning,
    whole,
    tmp_path,
    line,
):
    job = {
        "train": make_pairs(20),
        "val": make_pairs(10, "val"),
        "base": tiny_model.to_json(),
        "base_path": str(tiny_model.path),
        "model": tiny_options.model_dump(mode="json"),
        "fine_tuning": fine_tuning.model_dump(mode="json"),
        "options": make_options(**CHANGES).model_dump(mode="json"),
        "workspace": str(tmp_path / "killed"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "job.json")],
        stderr=subprocess.PIPE,
        text=True,
    )
    for said in process.stderr:
        if line in said:
            break
    for said in process.stderr:  # in the middle of it
        if "validation loss" in said and "after" not in said:
            process.kill()
            break
    assert process.wait() == -9
    search = make_search(tmp_path / "killed", **CHANGES)
    study = open_study(search.study_name, search.options, search.workspace)
    running = [trial for trial in study.trials if trial.state.name == "RUNNING"]
    assert len(running) == 1
    finished = sum(trial.state.is_finished() for trial in study.trials)
    again = search.run()
    states = [trial.state.name for trial in study.trials]
    assert states.count("FAIL") == 1
    assert "RUNNING" not in states
    assert len(states) == len(whole) + 1  # the one that was cut off, and nothing else, twice
    order = sorted(again, key=lambda trial: (trial["learning_rate"], trial["r"]))
    assert same(order) == same(
        sorted(whole, key=lambda trial: (trial["learning_rate"], trial["r"]))
    )
    assert [t["trial"] for t in again][:finished] == [t["trial"] for t in whole][:finished]


def test_trials_of_other_places_are_left_alone(make_search, tmp_path):
    from mental_slm.pipelines.sweep.study import requeue_killed

    search = make_search(tmp_path)
    study = open_study("shared", search.options, tmp_path)
    ours, theirs = study.ask(), study.ask()
    ours.set_user_attr("place", "here")
    theirs.set_user_attr("place", "there")
    assert requeue_killed(study, "here", shared=True) == 1
    assert [trial.state.name for trial in study.trials] == ["FAIL", "RUNNING", "WAITING"]
    assert requeue_killed(study, "here", shared=False) == 1
