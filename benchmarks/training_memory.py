"""The memory that the plan predicts beside the memory that training really takes.

    python benchmarks/training_memory.py
    python benchmarks/training_memory.py --tokens 512 1024 --weights nf4_cached --model DIR

Each line is a training of three steps in a process of its own, by the project's own worker, on
made-up tokens: rows of so many tokens, two pairs each, half of every pair an answer. On a CPU the
peak is the most memory the process had resident, libraries included. On a GPU it is the most that
torch had allocated, and the plan's share for CUDA's context is left out; give a stand-in as DIR to
measure a real width (python -m mental_slm.standin). The target is a prediction within 20 % of the
measurement on a CPU and within 10 % on a GPU.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from mental_slm.training.config import TrainingOptions, WorkerConfig
from mental_slm.training.hardware import Hardware
from mental_slm.training.plan import ModelShape, Settings, predict_memory

TARGETS = {"cpu": 0.20, "cuda": 0.10}
PAIRS_PER_ROW = 2
FORMS = ("nf4", "nf4_cached", "bf16")


def train(model: Path, tokens: int, settings: Settings, folder: Path, kind: str) -> float:
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
    if kind == "cpu":
        return usage.ru_maxrss * 1024 / 1e9
    log = map(json.loads, (folder / "training_log.jsonl").read_text("utf-8").splitlines())
    return max(entry.get("peak_memory_mb", 0.0) for entry in log) / 1e3


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


def obtain_embedded(folder: Path) -> Path:
    """Convert the embedded model in a child process; return its folder."""
    code = (
        "from pathlib import Path; import sys; "
        "from mental_slm.language_model.options import ModelOptions; "
        "from mental_slm.language_model.source import obtain_model; "
        "options = ModelOptions(name='HuggingFaceTB/SmolLM2-135M-Instruct', source='embedded'); "
        "print(obtain_model(options, Path(sys.argv[1])).path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    return Path(done.stdout.splitlines()[-1])


def compare(model: Path, tokens: int, settings: Settings, device: Hardware) -> tuple[float, float]:
    """Return the predicted and the measured peak of one training, in GB."""
    shape = ModelShape.of(json.loads((model / "config.json").read_text("utf-8")))
    options = training_options(tokens, settings)
    parts = predict_memory(shape, options, settings, device, tokens // PAIRS_PER_ROW)
    if device.kind == "cuda":
        del parts["program"]  # torch counts its own tensors alone
    with tempfile.TemporaryDirectory() as folder:
        return sum(parts.values()) / 1e9, train(model, tokens, settings, Path(folder), device.kind)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per setting; return 1 if a prediction misses the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="model folder; default: the embedded model")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--weights", nargs="+", choices=FORMS, default=["nf4", "bf16"])
    options = parser.parse_args(arguments)
    device = hardware()
    model = options.model or obtain_embedded(Path(tempfile.gettempdir()) / "mental-slm-models")
    target = TARGETS[device.kind]
    print(f"{model.name} on {device.name}, predicted within {target:.0%}; peaks in GB")
    print(
        f"{'weights':<12}{'checkpointing':<15}{'tokens':>7}{'predicted':>11}{'measured':>10}{'off':>7}"
    )
    missed = 0
    for form, checkpointing, tokens in product(options.weights, (False, True), options.tokens):
        settings = Settings(
            batch_size=1,
            gradient_accumulation_steps=1,
            weights=form,
            activation_checkpointing=checkpointing,
        )
        predicted, measured = compare(model, tokens, settings, device)
        off = predicted / measured - 1
        missed += abs(off) > target
        again = "on" if checkpointing else "off"
        print(
            f"{form:<12}{again:<15}{tokens:>7}{predicted:>11.2f}{measured:>10.2f}{off:>+7.0%}",
            flush=True,
        )
    if device.kind == "cpu":
        print("on a GPU: not run: no GPU")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
