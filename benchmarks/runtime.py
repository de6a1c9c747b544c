"""Speed, memory and size of an exported model in each runtime on this machine, as ratios to torch.

    python benchmarks/runtime.py                                  # what the last demo left
    python benchmarks/runtime.py --model DIR --exports DIR --rounds 5

Every target runs in a process of its own on one thread; rounds take turns, so that a busy neighbour
slows all of them. A ratio is the median over rounds of the ratio within a round. The prompt is random
tokens (what they say changes no time), decoding is greedy. Memory is the most that the process had
resident, with what it had before the model was loaded given beside it. Targets:

    torch        the merged model in float32         onnx fp32   the same graph in ONNX Runtime
    onnx int8    the bundle's model                  genai int4  the folder for onnxruntime-genai
    llama.cpp q8_0 and q4_0, the GGUF files (deployment.cpu.gguf), where llama_cpp is installed

llama.cpp has no wheel: CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON"
pip install llama-cpp-python builds it in a few minutes. Its native build (with AMX) crashed on the
first prompt of more than one token.
"""

import argparse
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

#: Target to what it runs, below the exports.
PLACES = {
    "onnx fp32": "onnx_fp32/model.onnx",
    "onnx int8": "onnx_int8/model.onnx",
    "genai int4": "genai_int4/model.onnx",
    "llama.cpp q8_0": "gguf/model-q8_0.gguf",
    "llama.cpp q4_0": "gguf/model-q4_0.gguf",
}
TARGETS = ("torch", *PLACES)
MEASURES = {
    "prompt tokens/s": "prompt_tokens_per_s",
    "first token ms": "first_token_ms",
    "decode tokens/s": "decode_tokens_per_s",
    "load s": "load_s",
    "peak MB": "peak_mb",
    "before MB": "before_mb",
    "size MB": "size_mb",
}


def main(arguments: Sequence[str]) -> int:
    """Measure all targets in turns and print the table and the ratios."""
    options = parse(arguments)
    if options.target:
        print(json.dumps(measure(options.target, options)))
        return 0
    targets = [target for target in TARGETS if can_run(target, options)]
    rounds = [{t: run_child(t, arguments) for t in targets} for _ in range(options.rounds)]
    print(f"{options.model}, {options.prompt} prompt tokens, {options.steps} decoded, 1 thread,")
    print(f"median of {options.rounds} rounds, on {os.cpu_count()} cores\n")
    print("| target | " + " | ".join(MEASURES) + " | decode against torch | size against torch |")
    print("| --- " * (len(MEASURES) + 3) + "|")
    for target in targets:
        cells = [f"{median(r[target][key] for r in rounds):.4g}" for key in MEASURES.values()]
        faster = median(
            r[target]["decode_tokens_per_s"] / r["torch"]["decode_tokens_per_s"] for r in rounds
        )
        smaller = rounds[0][target]["size_mb"] / rounds[0]["torch"]["size_mb"]
        print(f"| {target} | {' | '.join(cells)} | {faster:.2f}x | {smaller:.3f}x |")
    return 0


def run_child(target: str, arguments: Sequence[str]) -> dict[str, float]:
    """Measure one target in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--target", target],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(target: str, options: argparse.Namespace) -> dict[str, float]:
    """Load a target, read a prompt, decode; once to warm up and once for the clock."""
    place = place_of(target, options)
    config = json.loads((options.model / "config.json").read_text("utf-8"))
    draw = random.Random(7)
    prompt = [draw.randrange(config["vocab_size"]) for _ in range(options.prompt)]
    prepare = OPENERS[target.split(maxsplit=1)[0]](place, options.prompt + options.steps + 1)
    before = peak_mb()
    started = time.perf_counter()
    decoder = prepare()
    loaded = time.perf_counter() - started
    for _ in range(2):  # the second run counts
        started = time.perf_counter()
        logits, cache = decoder.forward(prompt, decoder.empty_cache())
        token = int(logits[-1].argmax())
        first = time.perf_counter() - started
        seconds = []
        for _ in range(options.steps):
            started = time.perf_counter()
            logits, cache = decoder.forward([token], cache)
            token = int(logits[-1].argmax())
            seconds.append(time.perf_counter() - started)
    weights = place.glob("*.safetensors") if place.is_dir() else place.parent.glob(f"{place.name}*")
    return {
        "prompt_tokens_per_s": options.prompt / first,
        "first_token_ms": 1000 * first,
        "decode_tokens_per_s": 1 / median(seconds),
        "load_s": loaded,
        "peak_mb": peak_mb(),
        "before_mb": before,
        "size_mb": sum(file.stat().st_size for file in weights) / 1e6,
    }


def open_torch(folder: Path, length: int) -> Any:
    """Return a loader of the merged model in torch."""
    import torch

    from mental_slm.language_model.loading import load_model, use_threads

    class TorchDecoder:
        """The model with the manners of an exported decoder."""

        def __init__(self) -> None:
            use_threads(1)
            self.model = load_model(folder, "float32", on="cpu")

        def empty_cache(self) -> None:
            """Return what stands for a cache before the first token."""

        def forward(self, token_ids: Sequence[int], cache: Any) -> tuple[Any, Any]:
            """Return logits and the extended cache."""
            with torch.inference_mode():
                output = self.model(
                    input_ids=torch.tensor([list(token_ids)]), past_key_values=cache, use_cache=True
                )
            return output.logits[0], output.past_key_values

    return TorchDecoder


def open_onnx(graph: Path, length: int) -> Any:
    """Return a loader of an exported graph."""
    import onnxruntime  # noqa: F401  its import is not part of loading

    from mental_slm.language_model.onnx_decoding import OnnxDecoder

    return lambda: OnnxDecoder(graph, 1)


def open_genai(graph: Path, length: int) -> Any:
    """Return a loader of the folder for onnxruntime-genai."""
    import onnxruntime_genai  # noqa: F401

    from mental_slm.pipelines.deployment.cpu.genai import GenaiDecoder

    return lambda: GenaiDecoder(graph.parent, 1, length)


def open_llama_cpp(file: Path, length: int) -> Any:
    """Return a loader of a GGUF file in llama.cpp."""
    import llama_cpp
    import numpy as np

    class LlamaDecoder:
        """llama.cpp with the manners of an exported decoder."""

        def __init__(self) -> None:
            self.model = llama_cpp.Llama(
                str(file), n_ctx=length, n_threads=1, n_threads_batch=1, verbose=False
            )

        def empty_cache(self) -> None:
            """Forget what was read."""
            self.model.reset()

        def forward(self, token_ids: Sequence[int], cache: Any) -> tuple[Any, Any]:
            """Return the logits behind the last token; the cache is its own."""
            self.model.eval(token_ids)
            vocabulary = self.model.n_vocab()
            last = llama_cpp.llama_get_logits_ith(self.model.ctx, -1)
            return np.ctypeslib.as_array(last, (vocabulary,))[None], None

    return LlamaDecoder


OPENERS = {
    "torch": open_torch,
    "onnx": open_onnx,
    "genai": open_genai,
    "llama.cpp": open_llama_cpp,
}


def place_of(target: str, options: argparse.Namespace) -> Path:
    """Return the folder or file of a target."""
    return Path(options.model if target == "torch" else options.exports / PLACES[target])


def can_run(target: str, options: argparse.Namespace) -> bool:
    """Tell whether a target is there, with its runtime."""
    installed = "llama.cpp" not in target or importlib.util.find_spec("llama_cpp") is not None
    return installed and place_of(target, options).exists()


def peak_mb() -> float:
    """Return the most memory this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path("data")
    parser.add_argument(
        "--model", type=Path, default=data / "06_models/smollm2/sample/merged_model"
    )
    parser.add_argument("--exports", type=Path, default=data / "07_model_output/smollm2/sample")
    parser.add_argument("--prompt", type=int, default=128, help="tokens")
    parser.add_argument("--steps", type=int, default=64, help="decoded tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", choices=TARGETS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
