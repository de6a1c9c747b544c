"""The embedded model as judge: always valid JSON, resumable, the same bytes whatever came before."""

import json
from pathlib import Path
from typing import Any

import pytest
from judging import judge, make_items, make_options

from mental_slm.language_model import loading
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.judge import asking, in_process
from mental_slm.pipelines.evaluation.judge.anchors import read_anchors
from mental_slm.pipelines.evaluation.judge.options import JudgeModel, JudgeOptions
from mental_slm.pipelines.evaluation.judge.requests import schema_of
from mental_slm.pipelines.evaluation.judge.samples import make_samples
from mental_slm.prompts import CRITERIA, Prompts
from mental_slm.references import ModelRef


def test_every_reply_holds_every_criterion_on_the_scale(
    tmp_path: Path, tiny_model: ModelRef
) -> None:
    result = judge(tmp_path, make_items(2), make_options(), model=tiny_model)
    for row in result["replies"]:
        assert row["failures"] == {} and row["attempts"] == 1
        assert list(json.loads(row["reply"])) == row["order"]  # scored in the order it reads
        assert set(row["scores"].values()) <= set(range(6))
        assert row["model"] == f"{tiny_model.name}@{tiny_model.digest}"
    metrics = result["metrics"]
    assert "only exercise the path" in metrics["notes"][0]
    bands = sum(len(anchor.bands) for anchor in read_anchors().values())
    assert metrics["data"]["answers"] == 10 and metrics["anchors"]["n"] == bands
    assert set(metrics["headlines"]) == {*CRITERIA, "overall"}


def test_a_second_run_loads_no_model_and_a_new_model_judges_anew(
    tmp_path: Path, tiny_model: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(1)
    first = judge(tmp_path, items, make_options(), model=tiny_model)
    loaded: list[Any] = []
    load = loading.load_model

    def counted(*args: Any, **kwargs: Any) -> Any:
        loaded.append(args)
        return load(*args, **kwargs)

    monkeypatch.setattr(loading, "load_model", counted)
    again = judge(tmp_path, items, make_options(), model=tiny_model)
    assert again["replies"] == first["replies"] and not loaded
    swapped = ModelRef(**{**vars(tiny_model), "digest": "f" * 16})
    judge(tmp_path, items, make_options(), model=swapped)
    assert len(loaded) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_judging_gives_the_same_replies(
    tmp_path: Path,
    tiny_model: ModelRef,
    prompts: Prompts,
    dtype: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is computed at once decides the rounding, so it must not depend on what is answered."""
    items = make_items(1)
    answers = [{"pair_id": items[0]["pair_id"], "answer": "A word about letters and tiles."}]
    options = JudgeOptions()
    samples = make_samples(items, {"base": answers, "tuned": answers}, prompts, options, seed=1)
    embedded = JudgeModel(name="embedded", kind="in_process")
    requests = asking.first_requests(samples, embedded, "me", prompts, options)
    threads = ModelOptions(name="tiny", source="random", threads=1)

    def ask(path: Path) -> dict[str, str]:
        in_process.ask_in_process(requests, path, tiny_model, dtype, threads)
        rows = [json.loads(line) for line in path.open()]
        return {
            row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"]
            for row in rows
        }

    starts: list[tuple[int, ...]] = []
    common_start = in_process.common_start

    def noted(asked: Any) -> list[int]:
        starts.append(tuple(common_start(asked)))
        return common_start(asked)

    monkeypatch.setattr(in_process, "common_start", noted)
    whole = ask(tmp_path / "whole.jsonl")
    starts_of_whole = set(starts)
    starts.clear()
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == len(requests)
    # killed in the middle of the fifth line, the last one about the first post
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:40])
    assert ask(tmp_path / "cut.jsonl") == whole
    assert starts and set(starts) <= starts_of_whole


def test_a_remembered_start_does_not_change_a_reply(
    tmp_path: Path, tiny_model: ModelRef, prompts: Prompts
) -> None:
    """Alone or after others about the same post: in float32 a judge replies the same."""
    from mental_slm.language_model.chat import encode_prompt
    from mental_slm.language_model.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(tiny_model.path)
    model = in_process._Judge(load_model(tiny_model.path), tokenizer)
    body = {
        "max_tokens": 120,
        "response_format": {"json_schema": {"schema": schema_of(CRITERIA)}},
    }
    asked = [
        encode_prompt(
            tokenizer,
            [
                {"role": "system", "content": "Grade it."},
                {"role": "user", "content": f"A post about tiles. Answer: {n} letters."},
            ],
        )
        for n in range(5)
    ]
    together = []
    model.remember(asked)
    for prompt in asked:
        together.append(model.reply(prompt, body))
    alone = []
    for prompt in asked:
        model.remember([prompt])
        alone.append(model.reply(prompt, body))
    assert together == alone
    assert len({tuple(reply) for reply in together}) >= 1


def test_a_reply_that_may_not_be_long_enough_is_a_failure(
    tmp_path: Path, tiny_model: ModelRef
) -> None:
    options = make_options(max_tokens=12, reasks=0)
    result = judge(tmp_path, make_items(1), options, model=tiny_model)
    assert {fault for row in result["replies"] for fault in row["failures"].values()} == {
        "cut_short"
    }
    assert result["metrics"]["headlines"]["safety"]["value"] is None
