"""Tiny models of both families, and a workspace with one of them exported."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mental_slm.language_model.options import ModelOptions
from mental_slm.language_model.source import describe_folder
from mental_slm.pipelines.deployment.nodes import export_onnx, quantise_weights
from mental_slm.pipelines.deployment.npu.nodes import (
    build_static_graphs,
    collect_calibration,
    quantise_for_npu,
)
from mental_slm.pipelines.deployment.options import DeploymentOptions
from mental_slm.references import ModelRef, OnnxRef

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
        "emulated_blocks": 1,
        "emulated_steps": 2,
        "static_max_difference": 1e-3,
        "quantised_min_cosine": 0.99,
        "quantised_max_kl_share": 0.05,
        "quantised_min_top1": 0.5,
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
            "opset": 20,
            "int8": {"block_size": 32, "accuracy_level": 4},
            "parity": {
                "prompts": 2,
                "tokens": 64,
                "stepwise_tokens": 4,
                "speed_tokens": 4,
                "fp32_max_difference": 0.001,
                "int8_max_kl": 0.03,
                "int8_max_kl_share": 0.005,
                "int8_min_top1": 0.9,
            },
            "max_new_tokens": 6,
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
