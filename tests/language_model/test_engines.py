"""Engines behind one seam: the same tokens in, the same answers out."""

import importlib.util
from dataclasses import replace

import pytest

from mental_slm.language_model.engines import Decoding, open_engine
from mental_slm.language_model.generation import Prompt
from mental_slm.language_model.options import EngineOptions

DECODING = Decoding(max_new_tokens=8, batch_size=3, dtype="float32", threads=1)
PROMPTS = [
    Prompt(str(n), [{"role": "user", "content": f"Day {n}. " + "It rained again. " * n}])
    for n in range(5)
]


@pytest.mark.optional
def test_the_onnx_copy_answers_as_the_model_does_and_is_made_once(tiny_model, tmp_path):
    pytest.importorskip("onnxruntime_genai")
    plain = open_engine(EngineOptions(), tiny_model, DECODING, tmp_path)
    options = EngineOptions(name="onnxruntime_genai", precision="fp32")
    copy = open_engine(options, tiny_model, DECODING, tmp_path)
    expected = {answer.key: answer for answer in plain.answer(PROMPTS)}
    assert {answer.key: answer for answer in copy.answer(PROMPTS)} == expected
    (folder,) = (tmp_path / "genai").glob(f"{tiny_model.digest}-*")
    assert folder.name.endswith("-fp32")
    before = (folder / "genai_config.json").stat().st_mtime_ns
    open_engine(options, tiny_model, DECODING, tmp_path)
    assert (folder / "genai_config.json").stat().st_mtime_ns == before


@pytest.mark.optional
def test_a_builder_that_fails_leaves_nothing_and_says_why(tiny_model, tmp_path):
    pytest.importorskip("onnxruntime_genai")
    gone = tiny_model.at(tmp_path / "no-such-folder")
    options = EngineOptions(name="onnxruntime_genai")
    with pytest.raises(RuntimeError, match="the builder of onnxruntime-genai failed"):
        open_engine(options, gone, DECODING, tmp_path)
    assert not list((tmp_path / "genai").glob("[!.]*"))


@pytest.mark.parametrize(
    ("name", "package"), [("onnxruntime_genai", r"'mental-slm\[genai\]'"), ("vllm", "vllm")]
)
def test_a_missing_engine_names_its_package(name, package, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        open_engine(EngineOptions(name=name), tiny_model, DECODING, tmp_path)


def test_batch_sizes_and_number_formats_change_nothing_but_the_order(tiny_model, tmp_path):
    """In bfloat16 too: answers share no padding, so that a row rounds as if it were alone."""
    for dtype in ("float32", "bfloat16"):
        answers = []
        for batch_size in (1, 2, 5):
            decoding = replace(DECODING, dtype=dtype, batch_size=batch_size)
            engine = open_engine(EngineOptions(), tiny_model, decoding, tmp_path)
            answers.append({answer.key: answer for answer in engine.answer(PROMPTS)})
        assert answers[0] == answers[1] == answers[2]
