"""The memory that the plan predicts beside the memory that training really takes.

    python benchmarks/training_memory.py
    python benchmarks/training_memory.py --tokens 512 --weights nf4 --model DIR

Each line is a training of three steps in a process of its own, by the project's own worker, on
made-up tokens: rows of so many tokens, two pairs each, half of every pair an answer. On a CPU the
peak is the most memory the process had resident, libraries included; on a GPU it is the most that
torch had allocated, and the plan's share for CUDA's context is left out of the comparison. The
target is a prediction within 20 % of the measurement on a CPU and within 10 % on a GPU.

Without arguments the embedded model is measured with rows of 512, 1,024 and 2,048 tokens, with and
without activation checkpointing, and on a GPU the three real shapes with random weights as well.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mental_slm.training.config import TrainingOptions, WorkerConfig
from mental_slm.training.hardware import Hardware
from mental_slm.training.plan import ModelShape, Settings, predict_memory

TARGETS = {"cpu": 0.20, "cuda": 0.10}
PAIRS_PER_ROW = 2


def settings_of(tokens: Sequence[int], weights: Sequence[str]) -> Iterator[Settings]:
    """Yield the settings to measure; ``batch_size`` rows of 512 tokens and more."""
    for form in weights:
        for checkpointing in (False, True):
            for _ in tokens:
                yield Settings.model_validate(
                    {
                        "batch_size": 1,
                        "gradient_accumulation_steps": 1,
                        "weights": form,
                        "activation_checkpointing": checkpointing,
                    }
                )


def train(model: Path, tokens: int, settings: Settings, folder: Path) -> float:
    """Train three steps in a child process and return its peak in GB."""
    chance = random.Random(0)
    length = tokens // PAIRS_PER_ROW
    vocabulary = json.loads((model / "config.json").read_text("utf-8"))["vocab_size"]
    for split in ("train", "validation"):
        pairs = (
            {
                "input_ids": [chance.randrange(10, vocabulary) for _ in range(length)],
                "prompt_length": length // 2,
            }
            for _ in range(3 * PAIRS_PER_ROW)
        )
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    config = WorkerConfig(
        base_folder=model.resolve(),
        base_digest="",
        base_reference=str(model),
        train_file=folder / "train.jsonl",
        validation_file=folder / "validation.jsonl",
        output_folder=folder,
        threads=1,
        training=training_options(tokens, settings),
    )
    (folder / "config.json").write_text(config.model_dump_json())
    child = subprocess.Popen(
        [sys.executable, "-m", "mental_slm.training.worker", str(folder / "config.json")],
        stderr=(folder / "stderr.txt").open("w"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"the training failed:\n{(folder / 'stderr.txt').read_text('utf-8')}")
    log = json.loads((folder / "training_log.json").read_text("utf-8"))
    on_gpu = max(entry.get("peak_memory_mb", 0.0) for entry in log) / 1e3
    return on_gpu if hardware().kind == "cuda" else usage.ru_maxrss * 1024 / 1e9


def training_options(tokens: int, settings: Settings) -> TrainingOptions:
    """Return the options of one measured training."""
    return TrainingOptions(
        max_steps=3,
        max_length=tokens,
        batch_size=settings.batch_size,
        quantisation="none" if settings.weights == "bf16" else "nf4",
        cached_weights=settings.weights == "nf4_cached",
        activation_checkpointing=settings.activation_checkpointing,
        logging_steps=1,
        eval_steps=3,
        save_steps=3,
    )


def hardware() -> Hardware:
    """Ask a child process what there is: this one must stay small, its size counts into theirs."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from mental_slm.training.hardware import detect; print(detect().model_dump_json())",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return Hardware.model_validate_json(done.stdout.splitlines()[-1])
