"""Time, memory and size of one part of a large model on its way to the NPU, and what follows.

    python benchmarks/deployment.py
    python benchmarks/deployment.py --layers 1 --context 4096 --scheme a16w8
    python benchmarks/deployment.py --vocabulary 128256      # with the real embedding and head

The layers have the shape of Llama-3.2-3B (or what the options say) and random weights: their values
change neither time nor size. Every stage runs in a process of its own, on one thread; the memory is
the most that the process, or the vendor's process it started, had resident. The vocabulary is small
unless asked for, so that a line says what layers cost; with the real one it is what the first and
the last part cost at most, since the part then holds both embedding and head. The estimate for a
whole model is the sum over its parts without embedding and head, and says nothing about a phone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SHAPE = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
SMALL_VOCABULARY = 1024
STAGES = ("model", "export", "calibrate", "quantise", "convert", "prepare")


def main(arguments: Sequence[str]) -> int:
    """Run all stages one after the other and print a table."""
    options = parse(arguments)
    if options.stage:
        run_stage(options)
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = [measure(stage, arguments, Path(folder)) for stage in STAGES]
        sizes = describe_sizes(Path(folder))
    print(
        f"{options.layers} layers, prompt block {options.prompt_length}, context "
        f"{options.context}, vocabulary {options.vocabulary}, {options.scheme}"
    )
    print("| stage | wall s | CPU s | peak GB |\n| --- | --- | --- | --- |")
    for stage, (wall, cpu, peak) in zip(STAGES, rows, strict=True):
        print(f"| {stage} | {wall:.0f} | {cpu:.0f} | {peak:.1f} |")
    print(json.dumps(sizes))
    if options.vocabulary != SMALL_VOCABULARY:
        return 0
    parts = -(-options.whole // options.layers)
    line = [row for stage, row in zip(STAGES, rows, strict=True) if stage in STAGES[1:]]
    print(
        f"Estimate for {options.whole} layers in {parts} parts, without embedding and head: "
        f"{parts * sum(cpu for _, cpu, _ in line) / 60:.0f} CPU minutes, "
        f"{max(peak for *_, peak in line):.1f} GB at once, compiled weights of one graph "
        f"{parts * sizes['context binary MB'] / 1000:.2f} GB"
    )
    return 0


def measure(stage: str, arguments: Sequence[str], folder: Path) -> tuple[float, float, float]:
    """Run one stage in a child; returns wall seconds, CPU seconds and peak memory in GB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments, "--stage", stage, "--work", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{stage}: ended with {process.returncode}")
    cpu, peak = json.loads(output.splitlines()[-1])
    return time.perf_counter() - started, cpu, peak


def run_stage(options: argparse.Namespace) -> None:
    """Do the work of one stage and print what it took."""
    {
        "model": make_model,
        "export": export,
        "calibrate": calibrate,
        "quantise": quantise,
        "convert": convert,
        "prepare": prepare,
    }[options.stage](options, options.work)
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(json.dumps([cpu, max(usage.ru_maxrss for usage in usages) / 1e6]))


def make_model(options: argparse.Namespace, folder: Path) -> None:
    """Write a model folder with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **SHAPE,
        vocab_size=options.vocabulary,
        num_hidden_layers=options.layers,
        max_position_embeddings=131072,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder / "model")


def export(options: argparse.Namespace, folder: Path) -> None:
    """Write the static graphs."""
    from mental_slm.pipelines.deployment.npu.static_decoder import build_static_decoder

    (folder / "static").mkdir()
    build_static_decoder(
        folder / "model",
        folder / "static",
        options.prompt_length,
        options.context,
        options.layers,
    )


def calibrate(options: argparse.Namespace, folder: Path) -> None:
    """Capture two blocks of one made-up text."""
    from mental_slm.pipelines.deployment.npu.calibration import write_calibration

    (folder / "set").mkdir()
    steps = _steps(options, folder, 2 * options.prompt_length + 1)
    write_calibration(folder / "static", [steps], folder / "set", 1, {})


def quantise(options: argparse.Namespace, folder: Path) -> None:
    """Quantise both graphs."""
    from mental_slm.pipelines.deployment.npu.qdq import quantise_decoder

    (folder / "qdq").mkdir()
    quantise_decoder(folder / "static", folder / "set", folder / "qdq", options.scheme)


def convert(options: argparse.Namespace, folder: Path) -> None:
    """Make the IR container of the prompt graph."""
    _worker(folder, {"task": "convert", "target": str(folder / "prompt.dlc")})


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Compile both graphs for the Snapdragon 8 Elite."""
    (folder / "compiled").mkdir()
    for kind in ("prompt", "decode"):
        target = str(folder / "compiled" / f"part0_{kind}.onnx")
        config = {"task": "prepare", "target": target, "container": False}
        _worker(folder, config, f"part0_{kind}.onnx")


def describe_sizes(folder: Path) -> dict[str, float]:
    """Return the sizes of what was made, in MB."""
    files = {
        "float weights MB": folder / "static" / "part0.data",
        "quantised weights MB": folder / "qdq" / "part0_prompt.onnx.data",
        "container MB": folder / "prompt.dlc",
        "context binary MB": folder / "compiled" / "part0_prompt_qnn.bin",
    }
    return {name: round(path.stat().st_size / 1e6, 1) for name, path in files.items()}


def _steps(options: argparse.Namespace, folder: Path, tokens: int) -> list:
    import numpy as np

    from mental_slm.pipelines.deployment.npu.runner import plan_steps
    from mental_slm.pipelines.deployment.npu.static_decoder import read_geometry

    ids = np.random.default_rng(0).integers(3, options.vocabulary, tokens).tolist()
    return plan_steps(ids, 1, read_geometry(folder / "static"))


def _worker(folder: Path, config: dict, graph: str = "part0_prompt.onnx") -> None:
    from mental_slm.datasets.dlc import CHIPS
    from mental_slm.pipelines.deployment.npu.child import run_worker

    chip = CHIPS["sm8750"]
    common = {
        "graph": str(folder / "qdq" / graph),
        "soc_model": chip.soc_model,
        "htp_arch": chip.htp_arch,
    }
    run_worker(config["task"], {**common, **config}, folder / "logs", 3600)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2, help="layers of the part")
    parser.add_argument("--whole", type=int, default=28, help="layers of the whole model")
    parser.add_argument("--vocabulary", type=int, default=SMALL_VOCABULARY)
    parser.add_argument("--prompt-length", type=int, default=128)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--scheme", default="a16w4")
    parser.add_argument("--folder", type=Path, help="where to work; needs some GB")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
