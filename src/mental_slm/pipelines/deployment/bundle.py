"""The bundle: one folder with everything an application needs to run the model, and its proof."""

import json
import shutil
from pathlib import Path
from typing import Any

from mental_slm.emotions import profile_grammar
from mental_slm.fingerprints import content_files, digest_file
from mental_slm.language_model.chat import encode_prompt, render_prompt
from mental_slm.pipelines.deployment.cpu.modelfile import split_dialogue
from mental_slm.records import Message
from mental_slm.safety import (
    CRISIS_RESOURCE,
    CRISIS_RESOURCES,
    INTENDED_USE,
    RISK_PATTERN,
    RISK_SUBSTITUTIONS,
)
from mental_slm.storage import share, write_text

FORMAT = 1
RUNNER = Path(__file__).with_name("bundle_runner.py")
MEASURER = Path(__file__).with_name("measure.sh")
GRAMMAR_FILE = "emotion_profile.gbnf"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)

#: Made-up turns whose token ids prove that an application renders prompts as the project does.
TEST_TURNS = (
    ("You read posts with care.", "I have not slept well for weeks."),
    (
        "You read posts with care.",
        "Größere Sorgen? 你好 🙂 – it’s “fine”.\n\n\tTwo  spaces, a tab.",
    ),
    ("Answer in one word.", "Options: stressed; not stressed"),
)


def split_prompt(tokenizer: Any) -> list[str]:
    """Cut the model's chat template into the text before, between and after two messages.

    An application then needs no template engine.

    Returns:
        Three strings: before the system message, between system and user message, and from there
        to the start of the answer.

    Raises:
        ValueError: The template changes or repeats messages, so that no such text exists.
    """
    marks = ("[[system-message]]", "[[user-message]]")
    rendered = render_prompt(tokenizer, _turns(*marks))
    if any(rendered.count(mark) != 1 for mark in marks) or rendered.index(
        marks[0]
    ) > rendered.index(marks[1]):
        raise ValueError(
            f"{tokenizer.name_or_path}: its chat template does not keep a system and a user message "
            "once each and in order; the bundle's runner cannot reproduce it"
        )
    before, rest = rendered.split(marks[0])
    between, after = rest.split(marks[1])
    return [before, between, after]


def render_test_vectors(tokenizer: Any) -> list[dict[str, Any]]:
    """Return made-up messages with the token ids of their prompt."""
    return [
        {
            "system": system,
            "user": user,
            "token_ids": encode_prompt(tokenizer, _turns(system, user)),
        }
        for system, user in TEST_TURNS
    ]


def describe_prompt(tokenizer: Any, system: str) -> dict[str, Any]:
    """Return what a program needs to put a dialogue into the model's format without a template engine.

    Args:
        tokenizer: With a chat template.
        system: The system message the model was trained with.

    Raises:
        ValueError: The template changes, repeats or drops a turn.
    """
    _, _, past, following, _ = split_dialogue(tokenizer)
    controls = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
    return {
        "system": system,
        "parts": split_prompt(tokenizer),
        "history": [past, following],
        "control_tokens": sorted(token for token in controls if token.startswith("<")),
    }


def check_test_vectors(folder: Path, parts: list[str], vectors: list[dict[str, Any]]) -> None:
    """Encode the test vectors as the runner does: literal text and the plain tokenizer file.

    Raises:
        ValueError: Another result than the chat template's.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    before, between, after = parts
    for number, vector in enumerate(vectors):
        text = f"{before}{vector['system']}{between}{vector['user']}{after}"
        if tokenizer.encode(text, add_special_tokens=False).ids != vector["token_ids"]:
            raise ValueError(
                f"{folder}/tokenizer.json: test vector {number} encodes to other token ids than "
                "the chat template gives"
            )


def fill_bundle(
    folder: Path,
    graph_folder: Path,
    model_folder: Path,
    generation: dict[str, Any],
    vectors: list[dict[str, Any]],
    card: str,
    extras: dict[str, Path],
) -> None:
    """Put the files of a bundle into an empty folder; all but the manifest.

    Args:
        folder: Existing, empty.
        graph_folder: The ONNX model; its files are linked, not copied.
        model_folder: The model's tokenizer and config.
        generation: Content of ``generation_config.json``.
        vectors: From :func:`render_test_vectors`.
        card: The model card; becomes ``README.md`` with the way to run put under it.
        extras: Models for other runtimes and the NPU by the name of their subfolder; of containers
            only what was compiled for a chip.
    """
    for subfolder, source in extras.items():
        for name in content_files(source):
            if "/" in name or not name.endswith(".dlc"):
                (folder / subfolder / name).parent.mkdir(parents=True, exist_ok=True)
                share(source / name, folder / subfolder / name)
    for name in content_files(graph_folder):
        share(graph_folder / name, folder / name)
    for name in (*TOKENIZER_FILES, "config.json"):
        if (model_folder / name).is_file():
            shutil.copyfile(model_folder / name, folder / name)
    write_json(folder / "generation_config.json", generation)
    write_json(folder / "test_vectors.json", vectors)
    write_text(folder / GRAMMAR_FILE, profile_grammar())
    shutil.copyfile(RUNNER, folder / "run.py")
    shutil.copyfile(MEASURER, folder / "measure.sh")
    write_text(folder / "README.md", card.rstrip() + "\n" + HOW_TO_RUN)


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of each file of a bundle."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest_file(folder / name)}
        for name in content_files(folder)
    }


def describe_safety() -> dict[str, Any]:
    """Return what an application must carry over: the words and the pattern that calls for them."""
    return {
        "intended_use": INTENDED_USE,
        "crisis_resource": CRISIS_RESOURCE,
        "crisis_resources": CRISIS_RESOURCES,
        "risk_normal_form": "NFKD",
        "risk_substitutions": [list(step) for step in RISK_SUBSTITUTIONS],
        "risk_pattern": RISK_PATTERN,
        "risk_pattern_flags": "put the text into risk_normal_form, apply risk_substitutions in "
        "order, then search for risk_pattern; ignore case throughout",
    }


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON, the same bytes for the same content."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _turns(system: str, user: str) -> list[Message]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


HOW_TO_RUN = """
## How to run

    pip install onnxruntime numpy tokenizers
    python run.py --check
    python run.py "I have not slept well for weeks."
    python run.py --chat

    LLAMA_BENCH=... sh measure.sh results.json     # on a phone; needs adb

| file | what |
| --- | --- |
| `model.onnx`, `model.onnx.data` | graph with a key-value cache, and its weights |
| `tokenizer.json`, `chat_template.jinja` | the model's own tokenizer and chat template |
| `generation_config.json` | stop tokens and greedy decoding |
| `test_vectors.json` | messages and the token ids they must encode to |
| `manifest.json` | digests, sources, measured numbers, prompt text, risk pattern, crisis resource |
| `emotion_profile.gbnf` | grammar of emotion profiles, for llama.cpp (`--grammar-file`) and others |
| `run.py` | a complete example of about 150 lines |
| `measure.sh` | measures the models on a phone |
| `genai_int4/` | 4-bit weights for onnxruntime-genai |
| `gguf/` | GGUF files for llama.cpp; `ollama create NAME -f gguf/Modelfile.q8_0` |
| `dlc/` | containers and contexts for the NPU, compiled for the chip; positions and manifest |

The graph takes `input_ids` [batch, sequence] and `past_key_values.<layer>.{key,value}`
[batch, heads, past, size] (`past` may be 0), and returns `logits` and `present.<layer>.{key,value}`.
Rows of a batch have equal length; there is no padding.
"""
