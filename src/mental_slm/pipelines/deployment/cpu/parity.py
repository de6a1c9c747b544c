"""Parity of the formats for other runtimes: rows for the table of :mod:`..parity`, and gates."""

import gc
import logging
from collections.abc import Sequence
from typing import Any

from mental_slm.language_model.onnx_decoding import Array
from mental_slm.pipelines.deployment.cpu.genai import PRECISION, GenaiDecoder, runtime_version
from mental_slm.pipelines.deployment.cpu.gguf_file import load_back
from mental_slm.pipelines.deployment.options import DeploymentOptions
from mental_slm.pipelines.deployment.parity import (
    Answers,
    HeldOut,
    ParityBroken,
    compare_logits,
    measure_decoder,
    response_nll,
)
from mental_slm.pipelines.deployment.task_metric import compare_answers, label_shares
from mental_slm.references import ModelRef, RuntimeModelRef

logger = logging.getLogger(__name__)

#: GGUF types that have to be as close as INT8; the others are judged as four bits are.
CLOSE_TYPES = ("f16", "q8_0")


def measure_genai(
    model: RuntimeModelRef,
    held_out: HeldOut,
    original: Answers,
    options: DeploymentOptions,
    threads: int,
) -> dict[str, Any]:
    """Run the 4-bit model in onnxruntime-genai on the samples and compare; a row of the table."""
    gc.collect()  # the model before this one may hang in a circle of references
    lengths = [len(sample.token_ids) for sample in held_out.samples]
    longest = max(lengths + [len(question.token_ids) for question in held_out.questions])
    decoder = GenaiDecoder(model.path, threads, longest + options.parity.speed_tokens)
    return {
        "engine": runtime_version(),
        "precision": PRECISION,
        "size_bytes": _size(model, PRECISION),
        **measure_decoder(decoder, held_out, original, options.parity),
    }


def measure_gguf(
    model: RuntimeModelRef,
    precision: str,
    original_model: ModelRef,
    held_out: HeldOut,
    original: Answers,
    prompts: int,
) -> dict[str, Any]:
    """Load one file back and compare some of its logits; a row of the table, without speeds.

    The weights are the file's, dequantised; the arithmetic is torch's, so that its speed would say
    nothing about llama.cpp.
    """
    import torch
    import transformers

    gc.collect()
    loaded = load_back(model.path / model.model_files[precision], original_model.path)

    def run(token_ids: Sequence[int], keep: int = 0) -> Array:
        with torch.inference_mode():
            output = loaded(input_ids=torch.tensor([list(token_ids)]), logits_to_keep=keep)
        logits: Array = output.logits[0].numpy()
        return logits

    samples = held_out.samples[:prompts]
    logits = [run(sample.token_ids) for sample in samples]
    labels = [label_shares(q, run(q.token_ids, keep=1)[-1]) for q in held_out.questions]
    return {
        "engine": f"transformers {transformers.__version__}, dequantised",
        "precision": f"GGUF {precision}",
        "size_bytes": _size(model, precision),
        **compare_logits(original.logits[:prompts], logits),
        **compare_answers(held_out.questions, original.labels, labels),
        "response_nll": response_nll(logits, samples),
    }


def check_runtime_gates(
    rows: dict[str, dict[str, Any]], fp32_bytes: int, options: DeploymentOptions
) -> list[dict[str, Any]]:
    """Compare the rows with what is allowed.

    Args:
        rows: By name: ``genai_int4``, ``gguf_<type>``.
        fp32_bytes: Size of the float32 graph.
        options: ``cpu`` for four bits, ``parity`` for the GGUF types that must be close.

    Returns:
        One entry per gate: ``gate``, ``value``, ``limit``, ``passed``.

    Raises:
        ParityBroken: Names each broken gate with its number and its limit.
    """
    gates: list[dict[str, Any]] = []
    for name, row in rows.items():
        close = name.removeprefix("gguf_") in CLOSE_TYPES
        kl, share, top1, task = (
            (
                options.parity.int8_max_kl,
                options.parity.int8_max_kl_share,
                options.parity.int8_min_top1,
                options.parity.int8_min_task,
            )
            if close
            else (
                options.cpu.int4_max_kl,
                options.cpu.int4_max_kl_share,
                options.cpu.int4_min_top1,
                options.cpu.int4_min_task,
            )
        )
        found, labels = row["decided_top1_agreement"], row["decided_task_agreement"]
        gates += [
            _gate(f"{name}_max_kl", row["kl"], kl, row["kl"] <= kl),
            _gate(f"{name}_max_kl_share", row["kl_share"], share, row["kl_share"] <= share),
            _gate(f"{name}_min_top1", found, top1, found is None or found >= top1),
            _gate(f"{name}_min_task", labels, task, labels is None or labels >= task),
        ]
        if name == f"genai_{PRECISION}":
            size, most = row["size_bytes"] / fp32_bytes, options.cpu.int4_max_size_share
            gates.append(_gate(f"{name}_max_size_share", size, most, size <= most))
    if broken := [gate for gate in gates if not gate["passed"]]:
        told = "; ".join(f"{g['gate']}: {g['value']:.3g}, allowed {g['limit']:.3g}" for g in broken)
        raise ParityBroken(
            f"a model for another runtime is not the original: {told}. Leave the format out "
            "(deployment.cpu.genai, deployment.cpu.gguf) or, knowingly, move the gate "
            "(deployment.cpu)"
        )
    return gates


def _gate(name: str, value: float | None, limit: float, passed: bool) -> dict[str, Any]:
    return {"gate": name, "value": value, "limit": limit, "passed": bool(passed)}


def _size(model: RuntimeModelRef, precision: str) -> int:
    file = model.path / model.model_files[precision]
    return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
