"""Models for other runtimes: the same weights, tokens and prompts as the trained model."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mental_slm.datasets import RuntimeModelDataset
from mental_slm.language_model.chat import render_prompt
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.pipelines.deployment.cpu import gguf_file
from mental_slm.pipelines.deployment.cpu.modelfile import render_modelfile, split_dialogue
from mental_slm.pipelines.deployment.cpu.nodes import (
    build_genai_model,
    build_gguf_files,
    measure_runtimes,
)
from mental_slm.pipelines.deployment.cpu.parity import check_runtime_gates
from mental_slm.pipelines.deployment.cpu.template import PROBES, standalone_template
from mental_slm.pipelines.deployment.parity import (
    ParityBroken,
    draw_held_out,
    measure_original,
)


def with_cpu(options, **changes):
    return options.model_copy(update={"cpu": options.cpu.model_copy(update=changes)})


def original(model, options, make_pairs):
    tokenizer = load_tokenizer(model.path)
    held_out = draw_held_out(make_pairs(5, "test"), tokenizer, options.parity)
    return held_out, measure_original(model.path, held_out, options.parity.speed_tokens)[0]


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("llama-tied", ["f16", "q8_0"]),
        ("llama-untied", ["f16"]),
        ("qwen2-tied", ["f16", "q4_0"]),
        ("qwen2-untied", ["f16"]),
    ],
)
def test_gguf_loads_back_as_the_same_model(
    kind, types, model_of, options, make_pairs, skipped, tmp_path
) -> None:
    model, wanted = model_of(kind), with_cpu(options, gguf=types)
    made = build_gguf_files(model, wanted, tmp_path)
    held_out, answers = original(model, wanted, make_pairs)
    rows = measure_runtimes(model, skipped["genai_model"], made, held_out, answers, wanted, 1)
    exact = rows.pop("gguf_f16")
    assert exact["kl"] < 1e-5
    assert exact["top1_agreement"] > 0.98
    assert (exact["task_items"], exact["task_agreement"]) == (5, 1.0)
    for name, row in rows.items():
        assert exact["kl_share"] < row["kl_share"] < {"gguf_q8_0": 0.005, "gguf_q4_0": 0.5}[name]
        assert row["size_bytes"] < exact["size_bytes"]


def test_gguf_says_what_the_config_says(model_of, options, tmp_path) -> None:
    from gguf import GGUFReader

    model = model_of("llama-untied")
    made = build_gguf_files(model, options, tmp_path)
    reader = GGUFReader(made.path / made.model_files["q8_0"])
    fields = {name: reader.fields[f"llama.{name}"].contents() for name in EXPECTED}
    assert fields == EXPECTED
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert "output.weight" in tensors
    factors = np.array(tensors["rope_freqs.weight"].data)
    np.testing.assert_allclose(factors, scaled_by_transformers(model.path), rtol=1e-6)


EXPECTED = {
    "block_count": 2,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 32,
    "rope.dimension_count": 32,
    "rope.freq_base": 500000.0,
    "vocab_size": 49152,
}


def scaled_by_transformers(folder: Path) -> np.ndarray:
    from transformers import AutoConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaled = AutoConfig.from_pretrained(folder)
    plain = AutoConfig.from_pretrained(folder)
    plain.rope_parameters = {"rope_type": "default", "rope_theta": 500000.0}
    frequencies = [LlamaRotaryEmbedding(config).inv_freq.numpy() for config in (plain, scaled)]
    return frequencies[0] / frequencies[1]


def test_a_gguf_with_another_template_or_tokenizer_is_noticed(model_of, options, tmp_path) -> None:
    model = model_of("qwen2-tied")
    made = build_gguf_files(model, options, tmp_path)
    other = Path(shutil.copytree(model.path, tmp_path / "other"))
    template = other / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("\n", " \n"), "utf-8")
    file = made.path / made.model_files["q8_0"]
    with pytest.raises(ValueError, match="another chat template"):
        gguf_file.check_prompts(file, other)
    shutil.copy(model.path / "chat_template.jinja", template)
    tokenizer = json.loads((other / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:2000]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(ValueError, match="other tokens than the trained model"):
        gguf_file.check_prompts(file, other)


def test_a_tokenizer_without_a_name_is_refused(model_of, tmp_path) -> None:
    folder = Path(shutil.copytree(model_of("qwen2-tied").path, tmp_path / "other"))
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=r"no name for its pre_tokenizer.*deployment.cpu.gguf="):
        gguf_file.find_words(folder)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model_type", "gemma", "model_type gemma"),
        ("rope_parameters", {"rope_type": "yarn"}, "yarn"),
    ],
)
def test_what_the_format_cannot_say_is_refused(key, value, told, model_of, tmp_path) -> None:
    model = model_of("llama-tied")
    folder = Path(shutil.copytree(model.path, tmp_path / "other"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if isinstance(value, dict):
        value = config[key] | value
    (folder / "config.json").write_text(json.dumps(config | {key: value}), "utf-8")
    with pytest.raises(ValueError, match=f"config.json: .*{told}"):
        gguf_file.write_file(model.at(folder), tmp_path / "x.gguf", "f16")


@pytest.mark.optional
@pytest.mark.parametrize("kind", ["llama-tied", "qwen2-untied"])
@pytest.mark.parametrize(("precision", "least"), [("f16", 0.9999), ("q8_0", 0.99)])
def test_llama_cpp_reads_a_file_as_the_model(
    kind, precision, least, model_of, options, tmp_path
) -> None:
    """llama.cpp has no wheel: docs/deployment.md says how to build it."""
    llama_cpp = pytest.importorskip("llama_cpp")
    import torch

    model = model_of(kind)
    made = build_gguf_files(model, with_cpu(options, gguf=[precision]), tmp_path)
    tokenizer = load_tokenizer(model.path)
    text = render_prompt(tokenizer, [{"role": "user", "content": "Can't sleep 😟 before 3 exams."}])
    token_ids = tokenizer(text, add_special_tokens=False).input_ids
    runtime = llama_cpp.Llama(
        str(made.path / made.model_files[precision]),
        n_ctx=128,
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        verbose=False,
    )
    try:
        assert runtime.tokenize(text.encode(), add_bos=False, special=True) == token_ids
        runtime.eval(token_ids)
        found = np.array(runtime.scores[: len(token_ids)])
    finally:
        runtime.close()
    with torch.inference_mode():
        expected = load_model(model.path, "float32", on="cpu")(torch.tensor([token_ids])).logits[0]
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected.numpy(), axis=-1)
    assert ((found * expected.numpy()).sum(-1) / lengths).min() > least


@pytest.mark.optional
def test_genai_folder_answers_as_the_model(
    model_of, options, make_pairs, skipped, tmp_path
) -> None:
    pytest.importorskip("onnxruntime_genai")
    model, wanted = model_of("llama-tied"), with_cpu(options, genai=True)
    made = build_genai_model(model, wanted, tmp_path)
    held_out, answers = original(model, wanted, make_pairs)
    rows = measure_runtimes(model, made, skipped["gguf_model"], held_out, answers, wanted, 1)
    row = rows["genai_int4"]
    assert row["kl_share"] < 0.5
    assert row["stepwise_difference"] < 0.5 * row["max_logit_difference"] + 1e-3
    assert row["decode_tokens_per_s"] > 0
    gates = check_runtime_gates(rows, 13_000_000, wanted)
    assert {gate["gate"] for gate in gates} >= {"genai_int4_max_kl", "genai_int4_max_size_share"}
    config = json.loads((made.path / "genai_config.json").read_text("utf-8"))
    assert config["model"]["eos_token_id"] == [0, 2]
    from mental_slm.pipelines.deployment.cpu.genai import check_prompts

    template = made.path / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("<|im_end|>", "<|im_end|> "), "utf-8")
    with pytest.raises(ValueError, match="renders the chat template otherwise"):
        check_prompts(made.path, load_tokenizer(model.path))


def test_no_package_is_one_sentence(model_of, options, tmp_path, monkeypatch, caplog) -> None:
    model, found = model_of("llama-tied"), importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda n, *a: None if n == "onnxruntime_genai" else found(n, *a),
    )
    made = build_genai_model(model, with_cpu(options, genai=True), tmp_path)
    assert "pip install 'mental-slm[genai]'" in made.skipped_because
    assert "No model for onnxruntime-genai" in caplog.text


ROW = {
    "kl": 0.01,
    "kl_share": 0.001,
    "decided_top1_agreement": 0.99,
    "decided_task_agreement": 1.0,
    "size_bytes": 100,
}


@pytest.mark.parametrize(
    ("name", "changes", "gate"),
    [
        ("gguf_q8_0", {"kl": 0.5}, "gguf_q8_0_max_kl"),
        ("gguf_q8_0", {"kl_share": float("nan")}, "gguf_q8_0_max_kl_share"),
        ("gguf_q4_0", {"kl": 3.0}, "gguf_q4_0_max_kl"),
        ("genai_int4", {"decided_top1_agreement": 0.05}, "genai_int4_min_top1"),
        ("gguf_q8_0", {"decided_task_agreement": 0.4}, "gguf_q8_0_min_task"),
        ("genai_int4", {"size_bytes": 500}, "genai_int4_max_size_share"),
    ],
)
def test_broken_gates_stop_the_run(name, changes, gate, options) -> None:
    assert all(g["passed"] for g in check_runtime_gates({name: ROW}, 1000, options))
    with pytest.raises(ParityBroken, match=rf"{gate}: "):
        check_runtime_gates({name: ROW | changes}, 1000, options)


DATED = (
    "{%- if not date_string is defined %}{%- set date_string = 'today' %}{%- endif %}"
    "{{ date_string }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = DATED.replace("assistant\n{% endif", "assistant\n<think>\n{% endif").replace(
    "{{ date_string }}", ""
)


@pytest.mark.parametrize("template", [DATED, THINKING])
def test_the_written_template_needs_no_argument(template, model_of) -> None:
    tokenizer = load_tokenizer(model_of("qwen2-tied").path)
    tokenizer.chat_template = template
    written = standalone_template(tokenizer)
    for probe in PROBES:
        plain = tokenizer.apply_chat_template(
            probe, chat_template=written, tokenize=False, add_generation_prompt=True
        )
        assert plain == render_prompt(tokenizer, probe)
    assert written != template


def test_modelfile_repeats_the_chat_format(model_of) -> None:
    model = model_of("qwen2-tied")
    tokenizer = load_tokenizer(model.path)
    before, between, past, following, after = split_dialogue(tokenizer)
    system, first, answer, second = (str(turn["content"]) for turn in PROBES[1])
    dialogue = f"{before}{system}{between}{first}{past}{answer}{following}{second}{after}"
    assert dialogue == render_prompt(tokenizer, PROBES[1])
    written = render_modelfile("model-q8_0.gguf", tokenizer, model.path, 9)
    assert written.startswith("FROM ./model-q8_0.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in written
    assert written.count("{{") == written.count("}}")


def test_dataset_keeps_the_files_and_refuses_others(model_of, options, skipped, tmp_path) -> None:
    made = build_gguf_files(model_of("qwen2-tied"), options, tmp_path)
    dataset = RuntimeModelDataset(filepath=str(tmp_path / "published"))
    dataset.save(made)
    assert dataset.load().model_files == {"q8_0": "model-q8_0.gguf"}
    assert str(made.path) not in dataset.preview()
    file = tmp_path / "published" / "model-q8_0.gguf"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Exception, match="damaged since it was published"):
        dataset.load()
    (made.path / "model-q8_0.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(Exception, match="model-q8_0.gguf is no GGUF file"):
        dataset.save(made)
    empty = RuntimeModelDataset(filepath=str(tmp_path / "none"))
    empty.save(skipped["gguf_model"])
    assert empty.load().skipped_because == "not asked for"
