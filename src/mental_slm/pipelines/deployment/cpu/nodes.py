"""Nodes that make the models for other runtimes, and measure them for the parity table."""

import importlib.util
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mental_slm.fingerprints import Fingerprint, digest_code, digest_folder
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.pipelines.deployment.options import DeploymentOptions
from mental_slm.references import ModelRef, RuntimeModelRef
from mental_slm.storage import write_text

if TYPE_CHECKING:
    from mental_slm.pipelines.deployment.parity import Answers, HeldOut

logger = logging.getLogger(__name__)

CPU = "mental_slm.pipelines.deployment.cpu"


def build_genai_model(
    merged_model: ModelRef, options: DeploymentOptions, deployment_workspace: Path
) -> RuntimeModelRef:
    """Make the 4-bit folder of onnxruntime-genai, and check how it reads prompts.

    Args:
        merged_model: A Llama or Qwen2 model.
        options: ``cpu.genai`` counts.
        deployment_workspace: Keeps the result between runs.

    Returns:
        The folder, or why there is none.

    Raises:
        RuntimeError: The package's builder failed.
        ValueError: The runtime reads a prompt otherwise than the trained model.
    """
    skipped = ""
    if not options.cpu.genai:
        skipped = "deployment.cpu.genai is off"
    elif importlib.util.find_spec("onnxruntime_genai") is None:
        skipped = "onnxruntime-genai is not installed (pip install 'mental-slm[genai]')"

    def build(target: Path) -> dict[str, str]:
        from mental_slm.pipelines.deployment.cpu.genai import PRECISION, build_folder

        build_folder(merged_model, target, deployment_workspace)
        return {PRECISION: "model.onnx"}

    made_from = Fingerprint.of(
        "onnxruntime-genai folder",
        model=merged_model.digest,
        skipped=skipped,
        code=digest_code(f"{CPU}.genai", f"{CPU}.template", "mental_slm.language_model.engines"),
    )
    place = deployment_workspace / "genai_int4"
    return _build_once(place, made_from, build, "onnxruntime-genai", merged_model, skipped)


def build_gguf_files(
    merged_model: ModelRef, options: DeploymentOptions, deployment_workspace: Path
) -> RuntimeModelRef:
    """Write GGUF files for llama.cpp with a Modelfile for Ollama, and check what they say.

    Args:
        merged_model: A Llama or Qwen2 model.
        options: ``cpu.gguf`` counts.
        deployment_workspace: Keeps the result between runs.

    Returns:
        The folder with the files, or why there is none.

    Raises:
        ValueError: The model or its tokenizer has no counterpart in the format.
    """
    wanted: list[str] = sorted(set(options.cpu.gguf))

    def build(target: Path) -> dict[str, str]:
        from mental_slm.pipelines.deployment.cpu.gguf_file import check_prompts, write_file
        from mental_slm.pipelines.deployment.cpu.modelfile import render_modelfile

        files = {precision: f"model-{precision}.gguf" for precision in wanted}
        tokenizer = load_tokenizer(merged_model.path)
        for precision, name in files.items():
            write_file(merged_model, target / name, precision)
            check_prompts(target / name, merged_model.path)
            modelfile = render_modelfile(name, tokenizer, merged_model.path, options.max_new_tokens)
            write_text(target / f"Modelfile.{precision}", modelfile)
        return files

    made_from = Fingerprint.of(
        "GGUF files",
        model=merged_model.digest,
        options=[wanted, options.max_new_tokens],
        code=digest_code(f"{CPU}.gguf_file", f"{CPU}.template", f"{CPU}.modelfile"),
    )
    skipped = "" if wanted else "deployment.cpu.gguf is empty"
    place = deployment_workspace / "gguf"
    return _build_once(place, made_from, build, "llama.cpp", merged_model, skipped)


def measure_runtimes(
    merged_model: ModelRef,
    genai_model: RuntimeModelRef,
    gguf_model: RuntimeModelRef,
    held_out: "HeldOut",
    original: "Answers",
    options: DeploymentOptions,
    threads: int,
) -> dict[str, dict[str, Any]]:
    """Return the rows of the parity table for what was made, by name."""
    from mental_slm.pipelines.deployment.cpu.parity import measure_genai, measure_gguf

    rows = {}
    if not genai_model.skipped_because:
        rows["genai_int4"] = measure_genai(genai_model, held_out, original, options, threads)
    for precision in gguf_model.model_files:
        rows[f"gguf_{precision}"] = measure_gguf(
            gguf_model, precision, merged_model, held_out, original, options.cpu.gguf_prompts
        )
    return rows


def _build_once(
    place: Path,
    made_from: Fingerprint,
    build: Callable[[Path], dict[str, str]],
    runtime: str,
    model: ModelRef,
    skipped: str,
) -> RuntimeModelRef:
    """Fill ``place/model`` unless the same work is there already, or leave it empty."""
    folder, note = place / "model", place / "files.json"
    if not made_from.matches(place):
        started = time.perf_counter()
        made_from.unseal(place)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files = {} if skipped else build(folder)
        write_text(note, json.dumps(files) + "\n")
        made_from.seal(place)
        logger.info("%s: %.1f s", made_from.stage, time.perf_counter() - started)
    if skipped:
        logger.warning("No model for %s: %s", runtime, skipped)
    return RuntimeModelRef(
        path=folder,
        digest=digest_folder(folder),
        runtime=runtime,
        model_files=json.loads(note.read_text("utf-8")),
        source_digest=model.digest,
        skipped_because=skipped,
    )
