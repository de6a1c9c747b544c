"""What runs a model while it answers, behind one seam.

Every engine gets the same token ids, rendered by the model's own chat template, stops at the same
tokens and decodes greedily. ``transformers`` is the default and the reference for the others.
"""

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from mental_slm.language_model.chat import encode_prompt, render_prompt, stop_token_ids
from mental_slm.language_model.generation import (
    Answer,
    Prompt,
    decode_answer,
    generate_answers,
)
from mental_slm.language_model.loading import load_model, load_tokenizer
from mental_slm.language_model.options import EngineOptions
from mental_slm.references import ModelRef
from mental_slm.storage import atomic_folder

logger = logging.getLogger(__name__)

#: Prompts that vLLM gets at a time, so that answers reach the journal while others are made.
VLLM_PROMPTS = 256


class Engine(Protocol):
    """Answers prompts."""

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Answer]:
        """Yield an answer to every prompt as it is finished, in any order."""
        ...


@dataclass(frozen=True)
class Decoding:
    """How answers are made, whatever the engine.

    Attributes:
        max_new_tokens: Answers longer than this are cut.
        batch_size: Answers under way at a time.
        dtype: Number format of the weights (not used by an ONNX copy).
        threads: CPU threads.
    """

    max_new_tokens: int
    batch_size: int
    dtype: Literal["float32", "bfloat16"]
    threads: int


def open_engine(
    options: EngineOptions, model: ModelRef, decoding: Decoding, workspace: Path
) -> Engine:
    """Load a model into an engine.

    Args:
        options: Which engine.
        model: What it runs.
        decoding: How it answers.
        workspace: Where an engine that needs the model in another format keeps it.

    Raises:
        ModuleNotFoundError: The engine is not installed; names the pip command.
    """
    if options.name == "transformers":
        return TransformersEngine(model, decoding)
    if options.name == "vllm":
        return VllmEngine(model, decoding)
    return GenaiEngine(model, decoding, options.precision, workspace)


class TransformersEngine:
    """The model as torch runs it, many answers at a time (see :mod:`.generation`)."""

    def __init__(self, model: ModelRef, decoding: Decoding):
        self._tokenizer = load_tokenizer(model.path)
        self._model = load_model(model.path, dtype=decoding.dtype)
        self._decoding = decoding

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Answer]:
        """Yield answers as they are finished."""
        yield from generate_answers(
            self._model,
            self._tokenizer,
            prompts,
            self._decoding.max_new_tokens,
            self._decoding.batch_size,
        )


class GenaiEngine:
    """An ONNX copy of the model under onnxruntime-genai, one answer at a time.

    The copy is made once per model and precision by the package's own builder and kept in the
    workspace. One at a time, because the package finds the padding of a batch by the pad token,
    which may be the token that ends a turn and stands in every prompt.

    Raises:
        ModuleNotFoundError: The package is missing; names the pip command.
        ValueError: The copy's tokenizer reads a prompt differently.
    """

    def __init__(self, model: ModelRef, decoding: Decoding, precision: str, workspace: Path):
        _require("onnxruntime_genai", "onnxruntime_genai", "'mental-slm[genai]'")
        import onnxruntime_genai as genai

        folder = build_genai_folder(model, precision, workspace)
        self._tokenizer = load_tokenizer(model.path)
        self._stops = frozenset(stop_token_ids(self._tokenizer, model.path))
        config = genai.Config(str(folder))
        session = {"intra_op_num_threads": decoding.threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self._model = genai.Model(config)
        self._decoding = decoding
        self._check_tokenizer(genai.Tokenizer(self._model))

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Answer]:
        """Yield answers in the order of the prompts."""
        for prompt in prompts:
            ids = self._continue(encode_prompt(self._tokenizer, prompt.messages))
            yield decode_answer(self._tokenizer, prompt.key, ids, self._stops)

    def _continue(self, prompt: list[int]) -> list[int]:
        import numpy as np
        import onnxruntime_genai as genai

        parameters = genai.GeneratorParams(self._model)
        most = len(prompt) + self._decoding.max_new_tokens
        parameters.set_search_options(do_sample=False, max_length=most, num_beams=1)
        generator = genai.Generator(self._model, parameters)
        generator.append_tokens(np.array([prompt], dtype=np.int32))
        ids: list[int] = []
        while len(ids) < self._decoding.max_new_tokens and not (ids and ids[-1] in self._stops):
            generator.generate_next_token()
            ids.append(int(generator.get_next_tokens()[0]))
        return ids

    def _check_tokenizer(self, own: Any) -> None:
        probe = [
            {"role": "system", "content": "You support people."},
            {"role": "user", "content": "It rained \u2014 all week; I\u2019m tired.\n\nAnd you?"},
        ]
        rendered = render_prompt(self._tokenizer, probe)  # type: ignore[arg-type]
        expected = encode_prompt(self._tokenizer, probe)  # type: ignore[arg-type]
        if [int(token) for token in own.encode(rendered)] != expected:
            raise ValueError(
                "onnxruntime-genai reads a prompt as other tokens than the model's tokenizer; its "
                "answers could not be compared. Use evaluation.engine.name: transformers"
            )


def build_genai_folder(model: ModelRef, precision: str, workspace: Path) -> Path:
    """Return the model in the format of onnxruntime-genai, built on the first call.

    Raises:
        RuntimeError: The builder failed; carries the end of what it said.
    """
    folder = workspace / "genai" / f"{model.digest}-{precision}"
    if (folder / "genai_config.json").is_file():
        return folder
    logger.info("%s: making an ONNX copy (%s) for onnxruntime-genai", model.name, precision)
    with atomic_folder(folder) as incoming:
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        where = ["-i", str(model.path), "-o", str(incoming), "-c", str(incoming / ".cache")]
        run = subprocess.run(
            [*builder, *where, "-p", precision, "-e", "cpu"],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            raise RuntimeError(
                f"{model.name}: the builder of onnxruntime-genai failed. Its last words: "
                + " | ".join(run.stderr.strip().splitlines()[-3:])
            )
    return folder


class VllmEngine:
    """The model under vLLM, on a GPU.

    Raises:
        ModuleNotFoundError: vLLM is missing; names the pip command.
    """

    def __init__(self, model: ModelRef, decoding: Decoding):
        _require("vllm", "vllm", "vllm")
        from vllm import LLM, SamplingParams

        self._tokenizer = load_tokenizer(model.path)
        self._stops = frozenset(stop_token_ids(self._tokenizer, model.path))
        self._model = LLM(
            model=str(model.path), dtype=decoding.dtype, max_num_seqs=decoding.batch_size
        )
        self._sampling = SamplingParams(
            temperature=0.0,
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=sorted(self._stops),
        )

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Answer]:
        """Yield answers, some hundred at a time."""
        for start in range(0, len(prompts), VLLM_PROMPTS):
            some = prompts[start : start + VLLM_PROMPTS]
            inputs = [
                {"prompt_token_ids": encode_prompt(self._tokenizer, prompt.messages)}
                for prompt in some
            ]
            outputs = self._model.generate(inputs, self._sampling, use_tqdm=False)
            for prompt, output in zip(some, outputs, strict=True):
                ids = list(output.outputs[0].token_ids)
                yield decode_answer(self._tokenizer, prompt.key, ids, self._stops)


def _require(module: str, engine: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(
            f"evaluation.engine.name is {engine}, but its package is missing: pip install {package}"
        )
