"""Fixtures shared by all tests: a tiny real model, made-up pairs, and a copy of the project."""

import os
import shutil
from functools import cache
from pathlib import Path

# before torch is imported anywhere: two threads on a busy two-core machine are slower than one
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from mental_slm.fingerprints import digest
from mental_slm.language_model.options import ModelOptions
from mental_slm.prompts import Prompts
from mental_slm.references import ModelRef
from mental_slm.tasks import DATASET_TASK, TASKS, answer_line

ROOT = Path(__file__).parents[1]
COPIED = ("conf", "src", "pyproject.toml", ".telemetry", "notebooks")


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where the tests keep the converted tiny model between runs."""
    return ROOT / ".cache" / "tests" / "base"


@pytest.fixture(scope="session")
def tiny_options() -> ModelOptions:
    return ModelOptions(name="mental-slm/random-llama", source="random", threads=1)


@pytest.fixture(scope="session")
def tiny_model(model_cache: Path, tiny_options: ModelOptions) -> ModelRef:
    """Two layers of random weights (hidden 64) with SmolLM2's real tokenizer and template."""
    from mental_slm.language_model.source import obtain_model

    return obtain_model(tiny_options, model_cache)


@pytest.fixture(scope="session")
def make_pairs():
    """Return a factory of made-up pairs that cycle through the five tasks and their labels."""

    def make(n: int, split: str = "train") -> list[dict]:
        return [_made_up_pair(number, split) for number in range(n)]

    return make


@pytest.fixture(scope="session")
def prompts() -> Prompts:
    """The prompts that the project ships."""
    return _shipped_prompts()


@pytest.fixture
def project(tmp_path: Path, model_cache: Path, tiny_model: ModelRef, monkeypatch) -> Path:
    """A copy of the project in a folder of its own, with the tiny model already in its cache."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    shutil.copytree(ROOT / "data" / "01_raw" / "sample", folder / "data" / "01_raw" / "sample")
    shutil.copytree(model_cache, folder / "data" / "06_models" / "base")
    monkeypatch.chdir(folder)
    return folder


@cache
def _shipped_prompts() -> Prompts:
    return Prompts.read(ROOT / "conf" / "base" / "prompts")


def _made_up_pair(number: int, split: str) -> dict:
    dataset, task_name = list(DATASET_TASK.items())[number % len(DATASET_TASK)]
    task = TASKS[task_name]
    label = task.labels[(number // len(DATASET_TASK)) % len(task.labels)]
    clue = f"clue {task.labels.index(label)}"
    post = f"Day {number} of the week went by and all I noticed was {clue} in the {split} notes."
    prompts = _shipped_prompts()
    phrases = prompts.tasks[task_name].phrases
    instruction = prompts.student_prompt(task_name, post)
    response = f'The writer says "{clue}". It may help to talk about it.'
    if split != "test":
        response += f"\n{answer_line(phrases[label])}"
    record_id = f"{dataset}-{digest([split, number])}"
    return {
        "pair_id": digest([record_id, instruction]),
        "record_id": record_id,
        "text_id": digest(post),
        "dataset": dataset,
        "task": task_name,
        "split": split,
        "post": post,
        "phrases": phrases,
        "instruction": instruction,
        "response": response,
        "messages": [
            {"role": "system", "content": "You support people with warmth and care."},
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": response},
        ],
        "label": label,
        "teacher": "template",
        "custom_id": digest([record_id, "request"]),
        "student_version": prompts.student_version,
        "teacher_version": prompts.teacher_version,
    }
