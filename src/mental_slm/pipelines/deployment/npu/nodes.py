"""The line to the NPU: static graphs, calibration, quantised graphs, containers, parity."""

import json
import logging
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mental_slm.datasets.dlc import CHIPS
from mental_slm.fingerprints import Fingerprint, digest_code, digest_folder
from mental_slm.language_model.loading import load_tokenizer, use_threads
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.deployment.npu.options import NpuOptions
from mental_slm.pipelines.deployment.options import DeploymentOptions
from mental_slm.references import DLCRef, ModelRef, OnnxRef
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

PACKAGE = "mental_slm.pipelines.deployment"
NPU = f"{PACKAGE}.npu"
FIRST_GRAPH = "part0_prompt.onnx"


def build_static_graphs(
    merged_model: ModelRef, options: DeploymentOptions, deployment_workspace: Path
) -> OnnxRef:
    """Write the merged model as graphs with fixed shapes; see :mod:`.static_decoder`.

    Args:
        merged_model: A Llama or Qwen2 model.
        options: ``npu.prompt_length``, ``context`` and ``layers_per_part`` count.
        deployment_workspace: Keeps the result between runs.

    Returns:
        The graphs; re-used where model, options and code are the same.

    Raises:
        ValueError: The model has a setting that the decoder does not compute; names the config key.
    """
    npu = options.npu
    sizes = [npu.prompt_length, npu.context, npu.layers_per_part]
    made_from = Fingerprint.of(
        "static graphs",
        model=merged_model.digest,
        options=sizes,
        code=digest_code(f"{NPU}.static_decoder", f"{PACKAGE}.weights"),
    )

    def build(target: Path) -> None:
        from mental_slm.pipelines.deployment.npu.static_decoder import build_static_decoder

        build_static_decoder(merged_model.path, target, *sizes)

    folder = _build_once(deployment_workspace / "static", made_from, build)
    return _reference(folder, "fp32", merged_model.digest)


def collect_calibration(
    static_decoder: OnnxRef,
    merged_model: ModelRef,
    pairs_train: list[dict[str, Any]],
    options: DeploymentOptions,
    model: ModelOptions,
    deployment_workspace: Path,
) -> dict[str, Any]:
    """Run training rows through the float graphs and keep what each graph saw.

    Args:
        static_decoder: The float graphs.
        merged_model: Its tokenizer and template.
        pairs_train: Training rows.
        options: ``npu.calibration`` counts.
        model: ``threads`` counts.
        deployment_workspace: The set lies in its folder ``calibration``.

    Returns:
        The manifest: row ids, inputs per graph, digest of every file.
    """
    from mental_slm.pipelines.deployment.npu.calibration import (
        MANIFEST_FILE,
        draw_rows,
        write_calibration,
    )
    from mental_slm.pipelines.deployment.npu.runner import plan_steps
    from mental_slm.pipelines.deployment.npu.static_decoder import read_geometry

    wanted = options.npu.calibration
    rows = draw_rows(pairs_train, wanted.rows, wanted.seed)
    made_from = Fingerprint.of(
        "calibration",
        graphs=static_decoder.digest,
        tokenizer=merged_model.digest,
        rows=[[row["pair_id"], row["messages"]] for row in rows],
        options=wanted.model_dump(mode="json"),
        code=digest_code(f"{NPU}.calibration", f"{NPU}.runner", "mental_slm.language_model.chat"),
    )

    def build(target: Path) -> None:
        geometry = read_geometry(static_decoder.path)
        # one token more goes through the decode graph, so that both graphs have their lists
        limit = min(wanted.blocks * geometry.prompt_length + 1, geometry.context)
        texts = _encode(rows, merged_model.path, limit)
        write_calibration(
            static_decoder.path,
            [plan_steps(text, 1, geometry) for text in texts],
            target,
            use_threads(model.threads),
            {
                "seed": wanted.seed,
                "split": "train",
                "rows": [row["pair_id"] for row in rows],
                "tasks": {task: sum(row["task"] == task for row in rows) for task in _tasks(rows)},
                "source": static_decoder.digest,
            },
        )

    folder = _build_once(deployment_workspace / "calibration", made_from, build)
    return dict(json.loads((folder / MANIFEST_FILE).read_text("utf-8")))


def quantise_for_npu(
    static_decoder: OnnxRef,
    merged_model: ModelRef,
    calibration: dict[str, Any],
    pairs_test: list[dict[str, Any]],
    options: DeploymentOptions,
    model: ModelOptions,
    deployment_workspace: Path,
) -> tuple[OnnxRef, dict[str, Any]]:
    """Quantise the static graphs and compare both forms with the model on held-out pairs.

    Args:
        static_decoder: The float graphs.
        merged_model: The original.
        calibration: Manifest of the set in ``deployment_workspace``.
        pairs_test: Held-out pairs.
        options: ``npu.scheme`` and ``npu.parity`` count.
        model: ``threads`` counts.
        deployment_workspace: Keeps the result between runs; what a gate refuses goes to its folder
            ``rejected``.

    Returns:
        The quantised graphs and the parity table so far.

    Raises:
        ParityBroken: With the broken gates and the table.
    """
    from mental_slm.pipelines.deployment.npu import parity

    npu = options.npu
    made_from = Fingerprint.of(
        f"quantised graphs ({npu.scheme})",
        graphs=static_decoder.digest,
        calibration=calibration["files"],
        options=npu.scheme,
        code=digest_code(f"{NPU}.qdq", f"{NPU}.calibration"),
    )

    def build(target: Path) -> None:
        from mental_slm.pipelines.deployment.npu.qdq import quantise_decoder

        source = deployment_workspace / "calibration" / "made"
        quantise_decoder(static_decoder.path, source, target, npu.scheme)

    place = deployment_workspace / f"qdq_{npu.scheme}"
    folder = _build_once(place, made_from, build)
    samples = _held_out(pairs_test, merged_model.path, static_decoder.path, npu)
    questions, asked = _questions(pairs_test, merged_model.path, static_decoder.path, npu)
    texts = [*samples, *asked]
    original = _original_logits(merged_model.path, texts, model)
    static = _run(static_decoder.path, texts, model)
    quantised = _run(folder, texts, model)
    rows = [
        parity.compare_step("static fp32", "torch", samples, original, static, questions),
        parity.compare_step(
            f"QDQ {npu.scheme}", "static fp32", samples, static, quantised, questions
        ),
    ]
    gates = parity.check_static(rows[0], npu.parity) + parity.check_quantised(rows[1], npu.parity)
    _keep_or_reject(place, deployment_workspace, rows, gates)
    report = {"scheme": npu.scheme, "samples": len(samples), "rows": rows, "gates": gates}
    return _reference(folder, npu.scheme, static_decoder.digest), report


def convert_to_dlc(
    static_decoder: OnnxRef,
    qdq_model: OnnxRef,
    qdq_parity: dict[str, Any],
    merged_model: ModelRef,
    pairs_test: list[dict[str, Any]],
    options: DeploymentOptions,
    model: ModelOptions,
    deployment_workspace: Path,
) -> tuple[DLCRef, dict[str, Any]]:
    """Make containers for the NPU, compile them for the chip and run them in emulation.

    Args:
        static_decoder: The float graphs, which the vendor's SDK starts from.
        qdq_model: The quantised graphs, which onnxruntime-qnn starts from.
        qdq_parity: The table so far.
        merged_model: Its tokenizer and template.
        pairs_test: Held-out pairs.
        options: ``npu`` counts.
        model: ``threads`` counts.
        deployment_workspace: Keeps the result between runs.

    Returns:
        The containers, or why there are none, and the table with a row for the emulation.

    Raises:
        VendorStepFailed: Names the step that crashed, hung or refused.
        ParityBroken: The compiled graphs compute something else than the quantised ones.
    """
    from mental_slm.pipelines.deployment.npu import parity
    from mental_slm.pipelines.deployment.npu.backends import Job, make_containers, missing_for

    npu = options.npu
    missing = missing_for(npu)
    place = deployment_workspace / f"dlc_{npu.scheme}"
    made_from = Fingerprint.of(
        f"containers ({npu.backend})",
        graphs=static_decoder.digest,
        quantised=qdq_model.digest,
        options=[npu.backend, npu.sdk_tools, npu.scheme, npu.soc],
        missing=[missing, platform.machine()],
        code=digest_code(f"{NPU}.worker", f"{NPU}.backends"),
    )

    def build(target: Path) -> None:
        job = Job(
            static=static_decoder.path,
            quantised=qdq_model.path,
            calibration=deployment_workspace / "calibration" / "made",
            target=target,
            logs=deployment_workspace / "logs",
            options=npu,
        )
        make_containers(job, missing)

    folder = _build_once(place, made_from, build)
    if missing:
        level = logging.INFO if npu.backend == "none" else logging.WARNING
        logger.log(level, "No container for %s: %s", ", ".join(npu.soc), missing)
    report = dict(qdq_parity)
    if npu.backend == "ort-qnn" and not missing:
        texts = _held_out(pairs_test, merged_model.path, qdq_model.path, npu, emulated=True)
        emulated, seconds = _emulate(folder, qdq_model, texts, npu, deployment_workspace)
        rows = [
            parity.compare_step(f"HTP emulation {npu.soc[0]}", name, texts, before, emulated)
            for name, before in (
                (f"QDQ {npu.scheme}", _run(qdq_model.path, texts, model)),
                ("static fp32", _run(static_decoder.path, texts, model)),
            )
        ]
        report["rows"] = [*qdq_parity["rows"], *rows]
        report["gates"] = [*qdq_parity["gates"], *parity.check_emulated(rows[0], npu.parity)]
        report["emulation_seconds"] = round(seconds, 1)
        _keep_or_reject(place, deployment_workspace, report["rows"], report["gates"])
    reference = DLCRef(
        path=folder,
        digest=digest_folder(folder),
        soc=",".join(npu.soc),
        source_digest=(static_decoder if npu.backend == "qairt-sdk" else qdq_model).digest,
        skipped_because=missing,
    )
    return reference, report


def _emulate(
    folder: Path,
    qdq_model: OnnxRef,
    samples: Sequence[Sequence[Any]],
    npu: NpuOptions,
    workspace: Path,
) -> tuple[list[Any], float]:
    """Run what was compiled for the first chip; returns logits per text and the seconds it took."""
    import numpy as np

    from mental_slm.pipelines.deployment.npu.child import run_worker

    soc = npu.soc[0]
    logs = workspace / "logs" / "emulation"
    logs.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    config = {
        "task": "emulate",
        "prepared": str(folder / soc),
        "folder": str(qdq_model.path),
        "target": str(logs / "logits.npz"),
        **asdict(CHIPS[soc]),
        "samples": [[asdict(step) for step in steps] for steps in samples],
    }
    run_worker(f"run the containers for {soc} in emulation", config, logs, npu.step_time_limit)
    with np.load(logs / "logits.npz") as saved:
        emulated = [saved[name] for name in saved.files]
    (logs / "logits.npz").unlink()
    return emulated, time.perf_counter() - started


def _held_out(
    pairs: list[dict[str, Any]],
    tokenizer_folder: Path,
    graphs: Path,
    npu: NpuOptions,
    emulated: bool = False,
) -> list[list[Any]]:
    """Return the steps of held-out texts: some for the CPU, or a short one for the emulation."""
    from mental_slm.pipelines.deployment.npu.runner import plan_steps
    from mental_slm.pipelines.deployment.npu.static_decoder import read_geometry
    from mental_slm.pipelines.deployment.parity import draw_samples

    geometry = read_geometry(graphs)
    rows, tokens, decoded = npu.parity.rows, npu.parity.tokens, npu.parity.decoded
    if emulated:
        rows, decoded = 1, npu.parity.emulated_steps
        tokens = npu.parity.emulated_blocks * npu.prompt_length + decoded
    drawn = draw_samples(pairs, load_tokenizer(tokenizer_folder), rows, min(tokens, npu.context))
    return [
        plan_steps(sample.token_ids, min(decoded, len(sample.token_ids) - 1), geometry)
        for sample in drawn
    ]


def _questions(
    pairs: list[dict[str, Any]], tokenizer_folder: Path, graphs: Path, npu: NpuOptions
) -> tuple[list[Any], list[list[Any]]]:
    """Return held-out posts whose label is compared, and their steps."""
    from mental_slm.pipelines.deployment.npu.runner import plan_steps
    from mental_slm.pipelines.deployment.npu.static_decoder import read_geometry
    from mental_slm.pipelines.deployment.task_metric import draw_questions

    geometry = read_geometry(graphs)
    tokenizer = load_tokenizer(tokenizer_folder)
    questions = draw_questions(pairs, tokenizer, npu.parity.task_items, npu.context)
    return questions, [plan_steps(question.token_ids, 1, geometry) for question in questions]


def _encode(rows: Sequence[dict[str, Any]], tokenizer_folder: Path, limit: int) -> list[list[int]]:
    from mental_slm.language_model.chat import encode_pair

    tokenizer = load_tokenizer(tokenizer_folder)
    return [encode_pair(tokenizer, row["messages"]).input_ids[:limit] for row in rows]


def _tasks(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({row["task"] for row in rows})


def _original_logits(
    folder: Path, samples: Sequence[Sequence[Any]], model: ModelOptions
) -> list[Any]:
    import torch

    from mental_slm.language_model.loading import load_model

    use_threads(model.threads)
    original = load_model(folder, "float32", on="cpu")
    with torch.inference_mode():
        return [
            original(torch.tensor([[t for step in steps for t in step.token_ids]]))
            .logits[0]
            .numpy()
            for steps in samples
        ]


def _run(folder: Path, samples: Sequence[Sequence[Any]], model: ModelOptions) -> list[Any]:
    from mental_slm.pipelines.deployment.npu.runner import cpu_opener, run_parts

    return run_parts(folder, samples, cpu_opener(folder, use_threads(model.threads)))


def _keep_or_reject(
    place: Path,
    workspace: Path,
    rows: Sequence[dict[str, Any]],
    gates: Sequence[dict[str, Any]],
) -> None:
    """Log the last row; where a gate is broken, move the work aside and stop.

    Raises:
        ParityBroken: With the broken gates and the table.
    """
    from mental_slm.pipelines.deployment.npu import parity

    for row in rows[-2:]:
        logger.info(
            "%s against %s: cosine %.5f, KL %.2g nats, same first choice %.1f %%",
            row["step"],
            row["against"],
            row["cosine"],
            row["kl"],
            100 * row["top1_agreement"],
        )
    kept = workspace / "rejected" / place.name
    if not all(gate["passed"] for gate in gates):
        Fingerprint.unseal(place)
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        place.rename(kept)
        write_text(kept / "parity.md", parity.render_table(rows) + "\n")
    parity.stop_if_broken(rows, gates, f"{kept.parent.name}/{kept.name}")


def _reference(folder: Path, precision: str, source_digest: str) -> OnnxRef:
    from mental_slm.pipelines.deployment.npu.static_decoder import OPSET

    return OnnxRef(
        path=folder,
        digest=digest_folder(folder),
        model_file=FIRST_GRAPH,
        precision=precision,
        opset=OPSET,
        size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
        source_digest=source_digest,
    )


def _build_once(place: Path, made_from: Fingerprint, build: Callable[[Path], None]) -> Path:
    """Fill ``place/made`` unless the same work is there already; return it."""
    made = place / "made"
    if not made_from.matches(place):
        started = time.perf_counter()
        made_from.unseal(place)
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        build(made)
        made_from.seal(place)
        logger.info("%s: %.1f s", made_from.stage, time.perf_counter() - started)
    return made
