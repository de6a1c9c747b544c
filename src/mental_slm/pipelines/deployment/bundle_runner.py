"""Run this bundle with ONNX Runtime, NumPy and tokenizers; nothing else is needed.

    python run.py "I have not slept well for weeks."
    python run.py --chat                      # a dialogue; one line is one message
    python run.py --check                     # digests and test vectors

The crisis resource is added by this program whenever the message or the answer matches the risk
pattern of manifest.json. Keep it that way in your own application.
"""

import argparse
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

BUNDLE = Path(__file__).resolve().parent


def main() -> int:
    """Answer one message, or check the bundle."""
    manifest = json.loads((BUNDLE / "manifest.json").read_text("utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("message", nargs="?", help="what the user says")
    parser.add_argument("--system", default=manifest["prompt"]["system"], help="system message")
    parser.add_argument("--max-new-tokens", type=int, default=manifest["max_new_tokens"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--country", default="international", help="whose crisis lines are shown, as in DE, FR, US"
    )
    parser.add_argument("--chat", action="store_true", help="a dialogue in the terminal")
    parser.add_argument("--check", action="store_true", help="check digests and test vectors")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(BUNDLE / "tokenizer.json"))
    if arguments.check:
        return check(manifest, tokenizer)
    if not (arguments.message or arguments.chat):
        parser.error("give a message, --chat or --check")
    session = open_session(BUNDLE / manifest["model_file"], arguments.threads)
    if arguments.chat:
        write(manifest["safety"]["intended_use"])
    said: list[str] = []
    answers: list[str] = []
    for message in read_lines() if arguments.chat else [arguments.message]:
        said.append(message)
        prompt = encode(manifest, tokenizer, arguments.system, said, answers)
        tokens = decode(session, prompt, arguments.max_new_tokens, set(manifest["stop_token_ids"]))
        answers.append(tokenizer.decode(tokens, skip_special_tokens=True).strip())
        everything = "\n".join(said)
        shown = with_crisis_resource(manifest["safety"], answers[-1], everything, arguments.country)
        write(shown)
    return 0


def read_lines() -> Iterator[str]:
    """Yield what is typed, line by line, until the end of the input or an interrupt."""
    try:
        for line in sys.stdin:
            if line.strip():
                yield line.strip()
    except KeyboardInterrupt:
        return


def encode(
    manifest: dict[str, Any],
    tokenizer: Any,
    system: str,
    said: Sequence[str],
    answers: Sequence[str] = (),
) -> list[int]:
    """Put a dialogue into the model's chat format and return token ids.

    Control tokens that somebody typed are broken, so that a message cannot end its turn.
    """
    prompt = manifest["prompt"]
    before, between, after = prompt["parts"]
    past, following = prompt["history"]

    def plain(text: str) -> str:
        for token in prompt["control_tokens"]:
            text = text.replace(token, f"< {token[1:]}")
        return text.strip()

    text = f"{before}{plain(system)}{between}{plain(said[0])}"
    for answer, message in zip(answers, said[1:], strict=True):
        text += f"{past}{plain(answer)}{following}{plain(message)}"
    return list(tokenizer.encode(f"{text}{after}", add_special_tokens=False).ids)


def open_session(graph: Path, threads: int) -> Any:
    """Load the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def decode(session: Any, prompt: list[int], max_new_tokens: int, stops: set[int]) -> list[int]:
    """Choose the likeliest token again and again, feeding the key-value cache back."""
    inputs = [value for value in session.get_inputs() if value.name != "input_ids"]
    outputs = [value.name for value in session.get_outputs()]
    cache = [np.zeros((1, v.shape[1], 0, v.shape[3]), dtype=np.float32) for v in inputs]
    answer: list[int] = []
    fresh = prompt
    while len(answer) < max_new_tokens:
        feeds = {"input_ids": np.array([fresh], dtype=np.int64)}
        feeds |= {value.name: past for value, past in zip(inputs, cache, strict=True)}
        logits, *cache = session.run(outputs, feeds)
        fresh = [int(logits[0, -1].argmax())]
        answer += fresh
        if fresh[0] in stops:
            break
    return answer


def with_crisis_resource(
    safety: dict[str, Any], answer: str, message: str, country: str = "international"
) -> str:
    """Put the crisis resource under the answer where message or answer mention risk."""
    resource = safety["crisis_resources"].get(country, safety["crisis_resource"])
    if resource in answer or not (mentions_risk(safety, message) or mentions_risk(safety, answer)):
        return answer
    return f"{answer}\n\n{resource}".lstrip()


def mentions_risk(safety: dict[str, Any], text: str) -> bool:
    """Tell whether a text speaks of suicide or self-harm, as the manifest describes."""
    plain = unicodedata.normalize(safety["risk_normal_form"], text)
    for pattern, replacement in safety["risk_substitutions"]:
        plain = re.sub(pattern, replacement, plain, flags=re.IGNORECASE)
    return re.search(safety["risk_pattern"], plain, re.IGNORECASE) is not None


def check(manifest: dict[str, Any], tokenizer: Any) -> int:
    """Compare every file with its digest and every test vector with its token ids."""
    problems = []
    for name, expected in manifest["files"].items():
        path = BUNDLE / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif sha256(path) != expected["sha256"]:
            problems.append(f"{name}: its content differs from the manifest")
    vectors = json.loads((BUNDLE / "test_vectors.json").read_text("utf-8"))
    for number, vector in enumerate(vectors):
        if encode(manifest, tokenizer, vector["system"], [vector["user"]]) != vector["token_ids"]:
            problems.append(f"test_vectors.json: vector {number} encodes to other token ids")
    for problem in problems:
        write(problem)
    if not problems:
        write(f"{len(manifest['files'])} files and {len(vectors)} test vectors: all as made")
    return 1 if problems else 0


def sha256(path: Path) -> str:
    """Digest a file in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write(line: str) -> None:
    """Print, whatever the terminal's encoding."""
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
