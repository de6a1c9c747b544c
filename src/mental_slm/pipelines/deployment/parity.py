"""How close an exported model is to the original, and how fast: numbers, then gates.

The original answers first and its logits stay in memory; then each exported artefact is loaded in
its turn, so that never more than one model is held.
"""

import gc
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from mental_slm.language_model.chat import encode_pair
from mental_slm.language_model.loading import load_model
from mental_slm.language_model.onnx_decoding import Array, OnnxDecoder
from mental_slm.pipelines.deployment.options import ParityOptions
from mental_slm.pipelines.deployment.task_metric import (
    Question,
    compare_answers,
    draw_questions,
    label_shares,
)
from mental_slm.references import OnnxRef

logger = logging.getLogger(__name__)

#: A token counts as decided where the first choice leads the second by this probability.
DECIDED_LEAD = 0.1

#: The float32 graph of a 3B model has 13 GB; packed copies of that do not fit a common machine.
MAPPED_FROM_BYTES = 4 * 2**30


class Decoder(Protocol):
    """What runs an exported model: tokens and a cache in, logits and the extended cache out."""

    def empty_cache(self) -> Any:
        """Return the cache before the first token."""
        ...

    def forward(self, token_ids: Sequence[int], cache: Any) -> tuple[Array, Any]:
        """Return logits ``[tokens, vocabulary]`` and the extended cache."""
        ...


class ParityBroken(RuntimeError):
    """An exported model differs from the original by more than its gates allow."""


@dataclass(frozen=True)
class Sample:
    """One held-out pair as token ids.

    Attributes:
        token_ids: Prompt and response, cut at the limit.
        prompt_length: How many of them belong to the prompt.
    """

    token_ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class HeldOut:
    """What the models are compared on.

    Attributes:
        samples: Texts whose every next token is compared.
        questions: Posts of which only the label is compared.
    """

    samples: list[Sample]
    questions: list[Question]


@dataclass(frozen=True)
class Answers:
    """What a model says to them.

    Attributes:
        logits: ``[tokens, vocabulary]`` per sample.
        labels: Shares of the labels per question.
    """

    logits: list[Array]
    labels: list[tuple[float, ...]]


def draw_held_out(
    pairs: Sequence[dict[str, Any]], tokenizer: Any, options: ParityOptions
) -> HeldOut:
    """Draw samples and questions; see :func:`draw_samples` and :func:`.draw_questions`."""
    return HeldOut(
        draw_samples(pairs, tokenizer, options.prompts, options.tokens),
        draw_questions(pairs, tokenizer, options.task_items, options.task_tokens),
    )


def draw_samples(
    pairs: Sequence[dict[str, Any]], tokenizer: Any, prompts: int, tokens: int
) -> list[Sample]:
    """Choose and encode held-out pairs. Ids are hashes, so their order is a fair draw.

    Args:
        pairs: Held-out pairs.
        tokenizer: With a chat template.
        prompts: How many.
        tokens: Where each is cut.

    Raises:
        ValueError: There is no pair.
    """
    answered = [pair for pair in pairs if pair["response"]]
    if not answered:
        raise ValueError("pairs_test: no pair has a response; parity is measured on held-out pairs")
    chosen = sorted(answered, key=lambda pair: str(pair["pair_id"]))[:prompts]
    encoded = [encode_pair(tokenizer, pair["messages"]) for pair in chosen]
    return [Sample(pair.input_ids[:tokens], min(pair.prompt_length, tokens)) for pair in encoded]


def measure_original(
    folder: Path, held_out: HeldOut, speed_tokens: int
) -> tuple[Answers, dict[str, Any]]:
    """Run the original model in float32 with torch.

    Returns:
        What it says, and the report of the original: loss of the responses, size, speed.
    """
    import torch

    model = load_model(folder, "float32", on="cpu")

    def forward(token_ids: Sequence[int], cache: Any) -> tuple[Array, Any]:
        with torch.inference_mode():
            output = model(
                input_ids=torch.tensor([list(token_ids)], device=model.device),
                past_key_values=cache,
                use_cache=True,
            )
        return output.logits[0].float().cpu().numpy(), output.past_key_values

    answers = _answers(forward, lambda: None, held_out)
    report = {
        "engine": f"torch {torch.__version__}",
        "precision": "fp32",
        "size_bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        "response_nll": response_nll(answers.logits, held_out.samples),
        **_speed(forward, lambda: None, held_out.samples[0], speed_tokens),
    }
    return answers, report


def measure_exported(
    artefact: OnnxRef,
    held_out: HeldOut,
    original: Answers,
    options: ParityOptions,
    threads: int,
) -> dict[str, Any]:
    """Run an exported model on the same texts and compare.

    Returns:
        Differences (see :func:`compare_logits`); of stepwise decoding, the largest difference from
        one forward pass and the divergence from the original; the labels it takes
        (:func:`.compare_answers`); loss of the responses, size, speed.
    """
    import onnxruntime

    gc.collect()  # the model before this one may hang in a circle of references
    decoder = OnnxDecoder(
        artefact.path / artefact.model_file,
        threads,
        mapped=artefact.size_bytes >= MAPPED_FROM_BYTES,
    )
    return {
        "engine": f"onnxruntime {onnxruntime.__version__}",
        "precision": artefact.precision,
        "size_bytes": artefact.size_bytes,
        **measure_decoder(decoder, held_out, original, options),
    }


def measure_decoder(
    decoder: Decoder, held_out: HeldOut, original: Answers, options: ParityOptions
) -> dict[str, Any]:
    """Run a decoder on the texts and compare; see :func:`measure_exported`."""
    found, samples = _answers(decoder.forward, decoder.empty_cache, held_out), held_out.samples
    return {
        **compare_logits(original.logits, found.logits),
        **_compare_stepwise(
            decoder, samples[0], found.logits[0], original.logits[0], options.stepwise_tokens
        ),
        **compare_answers(held_out.questions, original.labels, found.labels),
        "response_nll": response_nll(found.logits, samples),
        **_speed(decoder.forward, decoder.empty_cache, samples[0], options.speed_tokens),
    }


def compare_logits(original: Sequence[Array], other: Sequence[Array]) -> dict[str, Any]:
    """Compare next-token distributions, token by token.

    Args:
        original: ``[tokens, vocabulary]`` per sample.
        other: Same shapes.

    Returns:
        ``max_logit_difference``; ``kl``: mean divergence of the other from the original, in nats;
        ``kl_share``: the same divided by the divergence of a uniform guess, ``log V - H``;
        ``top1_agreement`` over all tokens; ``decided_top1_agreement`` over the ``decided_tokens``
        (None without any); ``tokens``.
    """
    differences, divergences, knowledge, same, decided = [], [], [], [], []
    for expected, found in zip(original, other, strict=True):
        differences.append(float(np.abs(expected - found).max()))
        log_p, log_q = _log_softmax(expected), _log_softmax(found)
        p = np.exp(log_p)
        divergences += (p * (log_p - log_q)).sum(-1).tolist()
        knowledge += (np.log(p.shape[-1]) + (p * log_p).sum(-1)).tolist()
        same += (expected.argmax(-1) == found.argmax(-1)).tolist()
        second, first = np.partition(p, -2, axis=-1)[:, -2:].T
        decided += (first - second >= DECIDED_LEAD).tolist()
    agreement = [equal for equal, clear in zip(same, decided, strict=True) if clear]
    return {
        "max_logit_difference": max(differences),
        "kl": float(np.mean(divergences)),
        "kl_share": float(np.sum(divergences) / np.sum(knowledge)),
        "top1_agreement": float(np.mean(same)),
        "decided_top1_agreement": float(np.mean(agreement)) if agreement else None,
        "decided_tokens": len(agreement),
        "tokens": len(same),
    }


def check_gates(
    fp32: dict[str, Any], int8: dict[str, Any], options: ParityOptions
) -> list[dict[str, Any]]:
    """Compare the numbers with the allowed ones.

    A number that is not finite passes no gate.

    Returns:
        One entry per gate: ``gate``, ``value``, ``limit``, ``passed``.

    Raises:
        ParityBroken: Names each broken gate with its number and its limit.
    """
    highest = {
        "fp32_max_difference": max(
            (fp32["max_logit_difference"], fp32["stepwise_difference"]), key=_worst
        ),
        "int8_max_kl": max((int8["kl"], int8["stepwise_kl"]), key=_worst),
        "int8_max_kl_share": int8["kl_share"],
    }
    gates = [
        {"gate": gate, "value": value, "limit": limit, "passed": bool(value <= limit)}
        for gate, value in highest.items()
        for limit in [getattr(options, gate)]
    ]
    top1 = int8["decided_top1_agreement"]
    gates.append(
        {
            "gate": "int8_min_top1",
            "value": top1,
            "limit": options.int8_min_top1,
            "passed": top1 is None or bool(top1 >= options.int8_min_top1),
        }
    )
    labels, fewest = int8["decided_task_agreement"], options.int8_min_task
    gates.append(
        {
            "gate": "int8_min_task",
            "value": labels,
            "limit": fewest,
            "passed": labels is None or bool(labels >= fewest),
        }
    )
    broken = [
        f"{gate['gate']}: {gate['value']:.3g}, allowed {gate['limit']:.3g}"
        for gate in gates
        if not gate["passed"]
    ]
    if broken:
        raise ParityBroken(
            f"the exported model is not the original: {'; '.join(broken)}. Export again "
            "(remove the deployment workspace), take smaller blocks (deployment.int8.block_size) "
            "or, knowingly, move the gate (deployment.parity)"
        )
    return gates


def _answers(forward: Any, empty_cache: Any, held_out: HeldOut) -> Answers:
    return Answers(
        [forward(sample.token_ids, empty_cache())[0] for sample in held_out.samples],
        [
            label_shares(question, forward(question.token_ids, empty_cache())[0][-1])
            for question in held_out.questions
        ],
    )


def _compare_stepwise(
    decoder: Decoder, sample: Sample, whole: Array, original: Array, stepwise_tokens: int
) -> dict[str, float]:
    """Feed the last tokens one by one; single tokens may take other kernels than whole prompts."""
    start = max(1, len(sample.token_ids) - stepwise_tokens)
    _, cache = decoder.forward(sample.token_ids[:start], decoder.empty_cache())
    steps = []
    for token in sample.token_ids[start:]:
        logits, cache = decoder.forward([token], cache)
        steps.append(logits[0])
    found = np.stack(steps)
    return {
        "stepwise_difference": float(np.abs(found - whole[start:]).max()),
        "stepwise_kl": compare_logits([original[start:]], [found])["kl"],
    }


def response_nll(logits: Sequence[Array], samples: Sequence[Sample]) -> float | None:
    """Return the mean loss per response token in nats; None where every response was cut off."""
    losses: list[float] = []
    for sample, values in zip(samples, logits, strict=True):
        wanted = sample.token_ids[sample.prompt_length :]
        if wanted:
            positions = np.arange(sample.prompt_length - 1, len(sample.token_ids) - 1)
            losses += (-_log_softmax(values[positions])[np.arange(len(wanted)), wanted]).tolist()
    return float(np.mean(losses)) if losses else None


def _speed(forward: Any, empty_cache: Any, sample: Sample, steps: int) -> dict[str, float]:
    """Time one prompt and some decoding steps after it; the runs before have warmed up."""
    prompt = sample.token_ids[: sample.prompt_length]
    started = time.perf_counter()
    logits, cache = forward(prompt, empty_cache())
    prompt_seconds = time.perf_counter() - started
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        logits, cache = forward([int(logits[-1].argmax())], cache)
        seconds.append(time.perf_counter() - started)
    return {
        "prompt_tokens_per_s": round(len(prompt) / prompt_seconds, 1),
        "decode_tokens_per_s": round(1 / median(seconds), 1),
    }


def _worst(value: float) -> float:
    return float("inf") if math.isnan(value) else value  # no number is worse than any number


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
