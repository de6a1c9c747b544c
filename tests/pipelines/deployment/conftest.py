"""Tiny models of both families, and a workspace with one of them exported."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mental_slm.language_model.options import ModelOptions
from mental_slm.language_model.source import describe_folder
from mental_slm.pipelines.deployment.nodes import export_onnx, quantise_weights
from mental_slm.pipelines.deployment.npu.nodes import (
    build_static_graphs,
    collect_calibration,
    quantise_for_npu,
)
from mental_slm.pipelines.deployment.options import DeploymentOptions
from mental_slm.references import (
    AdapterRef,
    ModelRef,
    OnnxRef,
    RuntimeModelRef,
)

CONF = Path(__file__).parents[3] / "conf" / "base"

SIZES = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": [2, 0],  # a list, and no pad token
    "pad_token_id": None,
}
LLAMA3_ROTARY = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama-tied": {"family": "llama", "tie_word_embeddings": True},
    "llama-untied": {
        "family": "llama",
        "tie_word_embeddings": False,
        "rope_parameters": LLAMA3_ROTARY,
        "attention_bias": True,
        "head_dim": 32,
    },
    "qwen2-tied": {"family": "qwen2", "tie_word_embeddings": True},
    "qwen2-untied": {"family": "qwen2", "tie_word_embeddings": False},
}


@dataclass(frozen=True)
class NpuLine:
    """What the line to the NPU has made so far."""

    workspace: Path
    model: ModelRef
    static: OnnxRef
    calibration: dict[str, Any]
    quantised: OnnxRef
    report: dict[str, Any]


NPU: dict[str, Any] = {
    "prompt_length": 16,
    "context": 64,
    "layers_per_part": 1,
    "calibration": {"rows": 3, "blocks": 2, "seed": 7},
    "scheme": "a16w8",
    "parity": {
        "rows": 2,
        "tokens": 40,
        "decoded": 5,
        "task_items": 5,
        "emulated_blocks": 1,
        "emulated_steps": 2,
        "static_max_difference": 1e-3,
        "quantised_min_cosine": 0.99,
        "quantised_max_kl_share": 0.05,
        "quantised_min_top1": 0.5,
        "quantised_min_task": 0.5,
        "emulated_min_cosine": 0.99,
    },
    "backend": "ort-qnn",
    "sdk_tools": "qairt",
    "soc": ["sm8750"],
    "step_time_limit": 120,
}


@pytest.fixture(scope="session")
def model_of(tiny_model: ModelRef, tmp_path_factory) -> Callable[[str], ModelRef]:
    """Return a maker of two-layer models whose logits are far from flat."""
    made: dict[str, ModelRef] = {}

    def make(kind: str) -> ModelRef:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            _save_model(folder, tiny_model.path, **KINDS[kind])
            made[kind] = describe_folder(folder, kind, "random")
        return made[kind]

    return make


def _save_model(folder: Path, tokenizer: Path, family: str, **settings: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    config_class, model_class = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    }[family]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = model_class(config_class(**SIZES, **settings))
        for name, weight in model.named_parameters():  # biases and norms are 0 and 1 otherwise
            weight.normal_(1.0 if "norm" in name else 0.0, 0.15)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / name, folder / name)


@pytest.fixture(scope="session")
def options() -> DeploymentOptions:
    return DeploymentOptions.model_validate(
        {
            "data": "sample",
            "base_licence": "MIT",
            "opset": 20,
            "int8": {"block_size": 32, "accuracy_level": 4},
            "parity": {
                "prompts": 2,
                "tokens": 64,
                "task_items": 5,
                "task_tokens": 200,
                "stepwise_tokens": 4,
                "speed_tokens": 4,
                "fp32_max_difference": 0.001,
                "int8_max_kl": 0.03,
                "int8_max_kl_share": 0.005,
                "int8_min_top1": 0.9,
                "int8_min_task": 0.5,
            },
            "max_new_tokens": 6,
            "cpu": {
                "genai": False,
                "gguf": ["q8_0"],
                "int4_max_kl": 2.0,
                "int4_max_kl_share": 0.5,
                "int4_min_top1": 0.1,
                "int4_min_task": 0.0,
                "int4_max_size_share": 0.4,
                "gguf_prompts": 1,
            },
            "npu": NPU,
        }
    )


@pytest.fixture(scope="session")
def exported(model_of, options, tmp_path_factory) -> Callable[[str], tuple[OnnxRef, OnnxRef]]:
    """Return a maker of both graphs of a model, float32 and INT8. Do not change its files."""
    made: dict[str, tuple[OnnxRef, OnnxRef]] = {}

    def make(kind: str) -> tuple[OnnxRef, OnnxRef]:
        if kind not in made:
            workspace = tmp_path_factory.mktemp(f"workspace-{kind}")
            graph = export_onnx(model_of(kind), options, workspace)
            made[kind] = graph, quantise_weights(graph, options, workspace)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def one_thread() -> ModelOptions:
    return ModelOptions(name="x/tiny", source="random", threads=1)


def no_runtime(folder: Path, runtime: str) -> RuntimeModelRef:
    return RuntimeModelRef(
        path=folder,
        digest="",
        runtime=runtime,
        model_files={},
        source_digest="0",
        skipped_because="not asked for",
    )


@pytest.fixture
def skipped(tmp_path) -> dict[str, RuntimeModelRef]:
    """Statements that there are no models for other runtimes, by the names of the nodes' inputs."""
    empty = tmp_path / "nothing"
    empty.mkdir()
    return {
        "genai_model": no_runtime(empty, "onnxruntime-genai"),
        "gguf_model": no_runtime(empty, "llama.cpp"),
    }


@pytest.fixture(scope="session")
def reports() -> Callable[[ModelRef], dict[str, Any]]:
    """Return a maker of what the card of a model is written from, in the shapes of its makers."""

    def make(model: ModelRef) -> dict[str, Any]:
        share = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}
        of_model = {"digest": model.digest, "name": model.name}
        task = {"n": 8, "macro_f1": share, "accuracy": share, "bertscore_f1": None}
        checks = {"no_diagnosis": {**share, "a_failing_answer": "diagnoses the user"}}
        failure = {"name": "crisis_resource_min", "value": 0.9, "threshold": 0.95, "bound": "min"}
        row = {"step": "static fp32", "against": "torch"}
        return {
            "adapter": AdapterRef(
                path=model.path, digest="0", base_name="Tiny", base_digest="1", validation_loss=1.5
            ),
            "token_audit": {"train": {"kept": 9, "pairs": 10, "tokens": 1000, "answer_share": 0.4}},
            "merge_report": {"pairs": 3, "base_loss": 3.0, "merged_loss": 2.0},
            "metrics": {
                "model": {"tuned": of_model},
                "data": {"n": 8},
                "systems": {name: {"overall": task, "stress": task} for name in ("tuned", "tfidf")},
                "risk": None,
                "notes": ["Fewer than 30 items."],
            },
            "safety_metrics": {
                "suite": {"asked": 8, "total": 263},
                "systems": {"tuned": {"model": of_model, "checks": checks}, "base": {"checks": {}}},
                "gate": {"passed": False, "failures": [failure], "checked": [failure]},
                "detector": {"recall": {"held_out": share}},
                "memorisation": {"tuned": {"memorised": 0, "posts": 2}},
                "notes": ["No clinician has reviewed the prompts."],
            },
            "ingestion_counts": {
                "sources": [{"dataset": "Dreaddit", "licence": "MIT", "citation": "Turcan 2019"}]
            },
            "device_anchors": yaml.safe_load((CONF / "device_anchors.yml").read_text("utf-8")),
            "npu_parity": {"rows": [row]},
        }

    return make


@pytest.fixture(scope="session")
def npu_line(model_of, options, one_thread, make_pairs, tmp_path_factory) -> NpuLine:
    """The line of one model up to its quantised graphs. Do not change its files."""
    workspace = tmp_path_factory.mktemp("npu")
    model = model_of("llama-tied")
    static = build_static_graphs(model, options, workspace)
    calibration = collect_calibration(static, model, make_pairs(10), options, one_thread, workspace)
    quantised, report = quantise_for_npu(
        static, model, calibration, make_pairs(10, "test"), options, one_thread, workspace
    )
    return NpuLine(workspace, model, static, calibration, quantised, report)
