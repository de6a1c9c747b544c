"""The folder of onnxruntime-genai: its own builder's 4-bit model, checked and measured in it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mental_slm.language_model.chat import stop_token_ids
from mental_slm.language_model.engines import build_genai_folder
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.language_model.onnx_decoding import Array
from mental_slm.pipelines.deployment.cpu.template import (
    PROBES,
    expected_tokens,
    standalone_template,
)
from mental_slm.references import ModelRef
from mental_slm.storage import share, write_text

PRECISION = "int4"
CONFIG_FILE = "genai_config.json"
TEMPLATE_FILE = "chat_template.jinja"


def build_folder(model: ModelRef, target: Path, workspace: Path) -> None:
    """Fill a folder that onnxruntime-genai loads and that reads prompts as the model does.

    Args:
        model: The merged model.
        target: Existing, empty.
        workspace: Keeps the builder's work.

    Raises:
        RuntimeError: The builder failed.
        ValueError: The runtime renders a dialogue, or cuts it into tokens, in another way.
    """
    share(build_genai_folder(model, PRECISION, workspace), target)
    tokenizer = load_tokenizer(model.path)
    write_text(target / TEMPLATE_FILE, standalone_template(tokenizer))
    config = json.loads((target / CONFIG_FILE).read_text("utf-8"))
    config["model"]["eos_token_id"] = stop_token_ids(tokenizer, model.path)
    config["search"] |= {"do_sample": False, "temperature": 1.0}
    write_text(target / CONFIG_FILE, json.dumps(config, indent=4) + "\n")
    check_prompts(target, tokenizer)


def check_prompts(folder: Path, tokenizer: Any) -> None:
    """Render and encode the probes in the runtime.

    Raises:
        ValueError: Other text or other tokens than those of the trained model.
    """
    own = _package().Tokenizer(_load(folder, 1))
    for probe, (text, ids) in zip(PROBES, expected_tokens(tokenizer), strict=True):
        if own.apply_chat_template(json.dumps(probe), add_generation_prompt=True) != text:
            raise ValueError(
                f"{folder.name}: onnxruntime-genai renders the chat template otherwise than the "
                "model was trained with"
            )
        if [int(token) for token in own.encode(text)] != ids:
            raise ValueError(
                f"{folder.name}: onnxruntime-genai cuts a prompt into other tokens than the model "
                "was trained with"
            )


class GenaiDecoder:
    """A model in onnxruntime-genai with the manners of :class:`.onnx_decoding.OnnxDecoder`.

    The cache lives in the runtime; what stands for it here is its generator, which goes forward
    only.

    Args:
        folder: As :func:`build_folder` made it.
        threads: CPU threads.
        length: Positions the cache has room for.
    """

    def __init__(self, folder: Path, threads: int, length: int):
        self._model = _load(folder, threads)
        self._length = length

    def empty_cache(self) -> Any:
        """Return a generator that has read nothing."""
        package = _package()
        parameters = package.GeneratorParams(self._model)
        parameters.set_search_options(do_sample=False, max_length=self._length)
        return package.Generator(self._model, parameters)

    def forward(self, token_ids: Sequence[int], cache: Any) -> tuple[Array, Any]:
        """Run new tokens; returns logits ``[tokens, vocabulary]`` and the same generator."""
        cache.append_tokens(np.array([token_ids], dtype=np.int32))
        return np.array(cache.get_output("logits")[0], dtype=np.float32), cache


def runtime_version() -> str:
    """Return name and version of the runtime."""
    return f"onnxruntime-genai {_package().__version__}"


def _load(folder: Path, threads: int) -> Any:
    package = _package()
    config = package.Config(str(folder))
    session = {"intra_op_num_threads": threads}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    return package.Model(config)


def _package() -> Any:
    import onnxruntime_genai

    return onnxruntime_genai
