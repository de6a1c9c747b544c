"""Generation with a tiny real model: resume, batches, keys."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.answering import answer_items, settings_of
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.references import ModelRef

MODEL_OPTIONS = ModelOptions(name="tiny", source="random", threads=1)

Pairs = list[dict[str, Any]]


def _options(**changes: Any) -> EvaluationOptions:
    values = {
        "environment": "test",
        "data": "sample",
        "max_items_per_task": None,
        "max_new_tokens": 12,
        "batch_size": 4,
        "dtype": "float32",
        "bertscore": BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        "resamples": 100,
        "seed": 1,
    }
    return EvaluationOptions(**{**values, **changes})


def _answers(
    items: Pairs, model: ModelRef, folder: Path, **changes: Any
) -> list[tuple[str, str, str, int]]:
    answers = answer_items(items, model, _options(**changes), MODEL_OPTIONS, folder)
    return [(a.key.pair_id, a.text, a.finish_reason, a.tokens) for a in answers]


def _journal(folder: Path, model: ModelRef) -> Path:
    return folder / "answers" / f"{model.digest}.jsonl"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_killed_run_goes_on_without_repeating_an_answer(
    dtype: str, tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    items = make_pairs(40, "test")
    settings = {"max_new_tokens": 32, "dtype": dtype}
    whole = _answers(items, tiny_model, tmp_path / "whole", **settings)

    folder = tmp_path / "killed"
    job = {
        "items": items,
        "model": tiny_model.to_json(),
        "options": _options(**settings).model_dump(),
        "model_options": MODEL_OPTIONS.model_dump(),
        "folder": str(folder),
    }
    script = (
        "import json, sys; from pathlib import Path\n"
        "from mental_slm.language_model.options import ModelOptions\n"
        "from mental_slm.pipelines.evaluation.answering import answer_items\n"
        "from mental_slm.pipelines.evaluation.options import EvaluationOptions\n"
        "from mental_slm.references import ModelRef\n"
        "from mental_slm.pipelines.evaluation import answering\n"
        "answering.APPEND_EVERY_SECONDS = 0.0\n"  # the tiny model is done within a second
        "job = json.load(sys.stdin)\n"
        "answer_items(job['items'], ModelRef.from_json(job['model']),\n"
        "    EvaluationOptions(**job['options']), ModelOptions(**job['model_options']),\n"
        "    Path(job['folder']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    journal = _journal(folder, tiny_model)
    while process.poll() is None and not (journal.is_file() and journal.stat().st_size):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    survived = journal.read_bytes()
    assert 0 < survived.count(b"\n") < len(items)

    assert _answers(items, tiny_model, folder, **settings) == whole
    assert journal.read_bytes().startswith(survived)
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    assert sorted(line["key"]["pair_id"] for line in lines) == sorted(i["pair_id"] for i in items)


def test_a_finished_run_is_read_back_without_loading_the_model(
    tmp_path: Path,
    tiny_model: ModelRef,
    make_pairs: Callable[..., Pairs],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    items = make_pairs(6, "test")
    first = _answers(items, tiny_model, tmp_path)
    gone = tiny_model.at(tmp_path / "no-such-folder")
    assert _answers(items, gone, tmp_path) == first
    assert "0 of 6 answers found" in caplog.text
    assert "6 of 6 answers found" in caplog.text


def test_batch_size_does_not_change_an_answer_in_float32(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    items = make_pairs(7, "test")
    runs = [_answers(items, tiny_model, tmp_path / str(b), batch_size=b) for b in (1, 3, 7)]
    assert runs[0] == runs[1] == runs[2]
    assert [run[0] for run in runs[0]] == [item["pair_id"] for item in items]


def test_more_items_reuse_the_known_answers_in_float32(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    items = make_pairs(9, "test")
    _answers(items[:5], tiny_model, tmp_path)
    _answers(items, tiny_model, tmp_path, batch_size=2)
    assert len(_journal(tmp_path, tiny_model).read_bytes().splitlines()) == 9


@pytest.mark.parametrize(
    "change", [{"max_new_tokens": 5}, {"dtype": "bfloat16"}], ids=["tokens", "dtype"]
)
def test_other_settings_never_reuse_an_answer(
    change: dict[str, Any], tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    items = make_pairs(3, "test")
    _answers(items, tiny_model, tmp_path)
    _answers(items, tiny_model, tmp_path, **change)
    assert len(_journal(tmp_path, tiny_model).read_bytes().splitlines()) == 6


def test_in_bfloat16_another_batch_size_never_reuses_an_answer(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    """A GPU picks its kernels by the number of rows, so a reused answer might not be this run's."""
    items = make_pairs(4, "test")
    for batch_size, generated in ((2, 4), (2, 4), (3, 8)):
        _answers(items, tiny_model, tmp_path, dtype="bfloat16", batch_size=batch_size)
        assert len(_journal(tmp_path, tiny_model).read_bytes().splitlines()) == generated
    _answers(items[:3], tiny_model, tmp_path, dtype="bfloat16", batch_size=2)
    assert len(_journal(tmp_path, tiny_model).read_bytes().splitlines()) == 8


def test_another_engine_never_reuses_an_answer() -> None:
    settings = [
        settings_of(_options(engine={"name": name, "precision": precision}))
        for name, precision in (
            ("transformers", "int4"),
            ("onnxruntime_genai", "int4"),
            ("onnxruntime_genai", "fp32"),
            ("vllm", "int4"),
        )
    ]
    assert all(one not in settings[:n] for n, one in enumerate(settings))
    assert settings_of(_options(engine={"precision": "fp32"})) == settings[0]  # not used there


def test_answers_to_forgotten_pairs_leave_the_journal_and_the_others_stay(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    items = make_pairs(6, "test")
    whole = _answers(items, tiny_model, tmp_path)
    journal = _journal(tmp_path, tiny_model)
    before = journal.read_bytes().splitlines()
    left = {item["pair_id"] for item in items[1:]}
    gone = tiny_model.at(tmp_path / "no-such-folder")  # nothing is generated again
    answers = answer_items(items[1:4], gone, _options(), MODEL_OPTIONS, tmp_path, left)
    assert [answer.text for answer in answers] == [text for _, text, *_ in whole[1:4]]
    kept = journal.read_bytes().splitlines()
    assert len(kept) == 5
    assert set(kept) < set(before)
    assert items[0]["pair_id"].encode() not in journal.read_bytes()


def test_another_prompt_or_another_model_never_reuses_an_answer(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    item = make_pairs(1, "test")[0]
    _answers([item], tiny_model, tmp_path)
    reworded = {
        **item,
        "messages": [{"role": "system", "content": "Be brief."}, *item["messages"][1:]],
    }
    _answers([reworded], tiny_model, tmp_path)
    assert len(_journal(tmp_path, tiny_model).read_bytes().splitlines()) == 2
    other = ModelRef(**{**vars(tiny_model), "digest": "0" * 16})
    _answers([item], other, tmp_path)
    assert len(_journal(tmp_path, other).read_bytes().splitlines()) == 1


def test_the_reference_is_never_shown_to_the_model(
    tmp_path: Path, tiny_model: ModelRef, make_pairs: Callable[..., Pairs]
) -> None:
    item = make_pairs(1, "test")[0]
    other = {**item, "messages": [*item["messages"][:2], {"role": "assistant", "content": "else"}]}
    _answers([item], tiny_model, tmp_path)
    _answers([other], tiny_model, tmp_path)
    assert len(_journal(tmp_path, tiny_model).read_bytes().splitlines()) == 1
