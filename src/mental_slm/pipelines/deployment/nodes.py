"""The story of the deployment stage: export, quantise, compare, convert, describe, bundle."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import Fingerprint, digest_code, digest_file, digest_folder
from mental_slm.language_model.chat import stop_token_ids
from mental_slm.language_model.loading import load_tokenizer, use_threads
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.deployment.bundle import (
    FORMAT,
    MEASURER,
    check_test_vectors,
    describe_files,
    describe_prompt,
    describe_safety,
    fill_bundle,
    render_test_vectors,
    write_json,
)
from mental_slm.pipelines.deployment.card import CardFacts, check_complete, render_card
from mental_slm.pipelines.deployment.options import DeploymentOptions
from mental_slm.references import AdapterRef, DLCRef, ModelRef, OnnxRef, RuntimeModelRef
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

PACKAGE = "mental_slm.pipelines.deployment"
MODEL_FILE = "model.onnx"


def export_onnx(
    merged_model: ModelRef, options: DeploymentOptions, deployment_workspace: Path
) -> OnnxRef:
    """Export the merged model to a float32 ONNX graph with a key-value cache.

    Args:
        merged_model: A Llama or Qwen2 model.
        options: ``opset`` counts.
        deployment_workspace: Keeps the result between runs.

    Returns:
        The graph; re-used where model, options and code are the same.

    Raises:
        ValueError: The model has a setting that cannot be exported; names the config key.
    """
    made_from = Fingerprint.of(
        "onnx export",
        model=merged_model.digest,
        options=options.opset,
        code=digest_code(f"{PACKAGE}.export", f"{PACKAGE}.decoder", f"{PACKAGE}.weights"),
    )

    def build(target: Path) -> None:
        from mental_slm.pipelines.deployment.export import export_decoder

        export_decoder(
            merged_model.path, target, options.opset, deployment_workspace / "export.log"
        )

    folder = deployment_workspace / "onnx_fp32"
    return _build_once(folder, made_from, build, "fp32", options.opset, merged_model.digest)


def quantise_weights(
    onnx_model: OnnxRef, options: DeploymentOptions, deployment_workspace: Path
) -> OnnxRef:
    """Quantise all weight matrices, embedding and head included, to blocks of 8-bit integers.

    Args:
        onnx_model: The float32 graph.
        options: ``int8`` counts.
        deployment_workspace: Keeps the result between runs.

    Returns:
        The graph; re-used where float graph, options and code are the same.
    """
    made_from = Fingerprint.of(
        "int8 weights",
        model=onnx_model.digest,
        options=options.int8.model_dump(mode="json"),
        code=digest_code(f"{PACKAGE}.quantisation", f"{PACKAGE}.export"),
    )

    def build(target: Path) -> None:
        from mental_slm.pipelines.deployment.quantisation import quantise_graph

        int8 = options.int8
        quantise_graph(onnx_model.path, target, int8.block_size, int8.accuracy_level)

    folder = deployment_workspace / "onnx_int8"
    return _build_once(folder, made_from, build, "int8", options.opset, onnx_model.digest)


def check_parity(
    merged_model: ModelRef,
    onnx_model: OnnxRef,
    onnx_int8_model: OnnxRef,
    genai_model: RuntimeModelRef,
    gguf_model: RuntimeModelRef,
    pairs_test: list[dict[str, Any]],
    options: DeploymentOptions,
    model: ModelOptions,
) -> dict[str, Any]:
    """Compare all exports for CPUs with the original on held-out pairs; stop if they differ.

    Args:
        merged_model: The original.
        onnx_model: Its float32 graph.
        onnx_int8_model: Its INT8 graph.
        genai_model: Its 4-bit folder for onnxruntime-genai.
        gguf_model: Its files for llama.cpp.
        pairs_test: Held-out pairs.
        options: ``parity`` and ``cpu`` count.
        model: ``threads`` counts.

    Returns:
        The report: differences, losses, sizes and speeds per artefact, and the gates.

    Raises:
        ParityBroken: Names the broken gates with their numbers.
    """
    from mental_slm.pipelines.deployment.cpu.nodes import measure_runtimes
    from mental_slm.pipelines.deployment.cpu.parity import check_runtime_gates
    from mental_slm.pipelines.deployment.parity import (
        check_gates,
        draw_held_out,
        measure_exported,
        measure_original,
    )

    threads = use_threads(model.threads)
    held_out = draw_held_out(pairs_test, load_tokenizer(merged_model.path), options.parity)
    original, torch_report = measure_original(
        merged_model.path, held_out, options.parity.speed_tokens
    )
    fp32, int8 = (
        measure_exported(artefact, held_out, original, options.parity, threads)
        for artefact in (onnx_model, onnx_int8_model)
    )
    gates = check_gates(fp32, int8, options.parity)
    runtimes = measure_runtimes(
        merged_model, genai_model, gguf_model, held_out, original, options, threads
    )
    for name, report in {"float32": fp32, "int8": int8, **runtimes}.items():
        logger.info(
            "%s: %.1f MB, KL %.2g nats, largest logit difference %.2g, %s tokens/s "
            "(torch float32: %.1f)",
            name,
            report["size_bytes"] / 1e6,
            report["kl"],
            report["max_logit_difference"],
            report.get("decode_tokens_per_s", "unmeasured"),
            torch_report["decode_tokens_per_s"],
        )
    if runtimes:
        gates += check_runtime_gates(runtimes, fp32["size_bytes"], options)
    return {
        "model": merged_model.name,
        "sources": {
            "merged": merged_model.digest,
            "fp32": onnx_model.digest,
            "int8": onnx_int8_model.digest,
        },
        "samples": len(held_out.samples),
        "threads": threads,
        "torch": torch_report,
        "fp32": fp32,
        "int8": int8,
        "runtimes": runtimes,
        "gates": gates,
    }


def write_model_card(
    merged_model: ModelRef,
    adapter: AdapterRef,
    dlc: DLCRef,
    genai_model: RuntimeModelRef,
    gguf_model: RuntimeModelRef,
    options: DeploymentOptions,
    **reports: dict[str, Any],
) -> str:
    """Write the model card from what earlier stages measured; see :mod:`.card`.

    Args:
        merged_model: What the card is about.
        adapter: What was trained.
        dlc: Containers for the NPU, or why there are none.
        genai_model: For onnxruntime-genai, or why there is none.
        gguf_model: For llama.cpp, or why there is none.
        options: ``data`` and ``base_licence`` count.
        reports: ``token_audit``, ``merge_report``, ``parity_report``, ``npu_parity``, ``metrics``,
            ``safety_metrics``, ``ingestion_counts`` and ``device_anchors``.

    Raises:
        ValueError: The evaluation belongs to another model.
    """
    return render_card(
        CardFacts(
            model=merged_model,
            adapter=adapter,
            dlc=dlc,
            runtimes=(genai_model, gguf_model),
            data=options.data,
            base_licence=options.base_licence,
            audit=reports["token_audit"],
            merging=reports["merge_report"],
            parity=reports["parity_report"],
            npu_parity=reports["npu_parity"],
            metrics=reports["metrics"],
            safety=reports["safety_metrics"],
            sources=reports["ingestion_counts"]["sources"],
            anchors=reports["device_anchors"],
        )
    )


def assemble_bundle(
    onnx_int8_model: OnnxRef,
    merged_model: ModelRef,
    pairs_test: list[dict[str, Any]],
    parity_report: dict[str, Any],
    dlc: DLCRef,
    model_card: str,
    options: DeploymentOptions,
    deployment_workspace: Path,
    **runtimes: RuntimeModelRef,
) -> OnnxRef:
    """Put models, tokenizer, template, test vectors, manifest, card and a runner into one folder.

    Args:
        onnx_int8_model: The model of the bundle.
        merged_model: Its tokenizer, config and stop tokens.
        pairs_test: Only the system message of the first pair is taken.
        parity_report: Goes into the manifest.
        dlc: Containers for the NPU, or why there are none.
        model_card: Becomes the bundle's README.
        options: ``max_new_tokens`` counts.
        deployment_workspace: Keeps the result between runs.
        runtimes: Models for other runtimes by the name of their subfolder.

    Returns:
        The bundle; re-used where everything but the measured speeds is the same.

    Raises:
        CardIncomplete: A required part of the card is empty.
        ValueError: The runner could not reproduce the model's chat template.
    """
    check_complete(model_card)
    optional: dict[str, RuntimeModelRef | DLCRef] = {**runtimes, "dlc": dlc}
    extras = {name: model for name, model in optional.items() if not model.skipped_because}
    made_from = Fingerprint.of(
        "bundle",
        model=onnx_int8_model.digest,
        merged=merged_model.digest,
        system=pairs_test[0]["messages"][0]["content"],
        gates=_without_speeds(parity_report),
        extras={name: model.digest for name, model in extras.items()},
        dlc=dlc.skipped_because,
        options=[options.max_new_tokens, options.data],
        code=digest_code(
            f"{PACKAGE}.bundle",
            f"{PACKAGE}.bundle_runner",
            f"{PACKAGE}.card",
            "mental_slm.safety",
            "mental_slm.emotions",
        ),
        measurer=digest_file(MEASURER),
    )

    def build(target: Path) -> None:
        tokenizer = load_tokenizer(merged_model.path)
        stops = stop_token_ids(tokenizer, merged_model.path)
        prompt = describe_prompt(tokenizer, pairs_test[0]["messages"][0]["content"])
        vectors = render_test_vectors(tokenizer)
        generation = {
            "do_sample": False,
            "eos_token_id": stops,
            "pad_token_id": tokenizer.pad_token_id,
            "max_new_tokens": options.max_new_tokens,
        }
        fill_bundle(
            target,
            onnx_int8_model.path,
            merged_model.path,
            generation,
            vectors,
            model_card,
            {name: model.path for name, model in extras.items()},
        )
        check_test_vectors(target, prompt["parts"], vectors)
        manifest = {
            "format": FORMAT,
            "name": merged_model.name,
            "family": merged_model.family,
            "precision": onnx_int8_model.precision,
            "opset": onnx_int8_model.opset,
            "model_file": onnx_int8_model.model_file,
            "data": options.data,
            "max_new_tokens": options.max_new_tokens,
            "stop_token_ids": stops,
            "prompt": prompt,
            "safety": describe_safety(),
            "dlc": {"soc": dlc.soc, "skipped_because": dlc.skipped_because},
            "runtimes": {
                model.runtime: {
                    "files": model.model_files,
                    "skipped_because": model.skipped_because,
                }
                for model in runtimes.values()
            },
            "measured": parity_report,
            "files": describe_files(target),
        }
        write_json(target / "manifest.json", manifest)

    folder = deployment_workspace / "bundle"
    return _build_once(
        folder, made_from, build, "int8", onnx_int8_model.opset, onnx_int8_model.digest
    )


def _build_once(
    folder: Path,
    made_from: Fingerprint,
    build: Callable[[Path], None],
    precision: str,
    opset: int,
    source_digest: str,
) -> OnnxRef:
    """Build an ONNX folder below ``folder`` unless the same build is there already."""
    artefact, reference = folder / "model", folder / "reference.json"
    if not made_from.matches(folder):
        started = time.perf_counter()
        made_from.unseal(folder)
        shutil.rmtree(artefact, ignore_errors=True)
        artefact.mkdir(parents=True)
        build(artefact)
        built = OnnxRef(
            path=artefact,
            digest=digest_folder(artefact),
            model_file=MODEL_FILE,
            precision=precision,
            opset=opset,
            size_bytes=sum(file.stat().st_size for file in artefact.glob(f"{MODEL_FILE}*")),
            source_digest=source_digest,
        )
        write_text(reference, json.dumps(built.to_json(), indent=2) + "\n")
        made_from.seal(folder)
        logger.info(
            "%s: %.1f MB in %.1f s",
            made_from.stage,
            built.size_bytes / 1e6,
            time.perf_counter() - started,
        )
    return OnnxRef.from_json(json.loads(reference.read_text("utf-8"))).at(artefact)


def _without_speeds(report: dict[str, Any]) -> dict[str, Any]:
    """Drop what differs from run to run, so that a bundle is not made again for a busy machine."""
    return {
        name: {k: v for k, v in part.items() if not k.endswith("_per_s")}
        if isinstance(part, dict)
        else part
        for name, part in report.items()
    }
