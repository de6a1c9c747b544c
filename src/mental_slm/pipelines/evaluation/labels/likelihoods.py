"""Likelihoods of the options of many items, kept batch by batch, so that a killed run goes on.

A batch is one small file, named by the digest of everything its scores depend on: prompts, phrases,
model, number format and code. In bfloat16 a score depends on the batch it was made in, and since
the batch is what is kept, no score is ever taken from another one.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import digest, digest_code
from mental_slm.language_model.label_scoring import Choice, OptionScores, score_options
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.answering import resolve_dtype
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.references import ModelRef
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 10.0

#: A score depends on this code: prompt rendering, loading and scoring.
_SCORING_CODE = tuple(
    f"mental_slm.language_model.{module}" for module in ("chat", "loading", "label_scoring")
)


def score_pairs(
    pairs: Sequence[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> list[OptionScores]:
    """Return the scores of every pair's options, in the order of the pairs.

    Args:
        pairs: The model sees their system and user turns; the options are their ``phrases``.
        model: The model to ask.
        options: Batch size and number format.
        model_options: Number of threads.
        workspace: Folder in which finished batches are kept.

    Raises:
        ValueError: The model gives a score that is not a number; names the pair.
    """
    folder = workspace / "label_likelihoods" / model.digest
    planned = {
        folder / f"{_digest_batch(batch, options)}.json": batch
        for batch in _plan_batches(pairs, options.labels.batch_size)
    }
    known = {path: kept for path in planned if (kept := _read(path)) is not None}
    logger.info(
        "%s: label likelihoods of %d of %d batches found", model.name, len(known), len(planned)
    )
    missing = {path: batch for path, batch in planned.items() if path not in known}
    if missing:
        known |= _score(missing, model, options, model_options)
    by_key = {scores.key: scores for kept in known.values() for scores in kept}
    return [by_key[pair["pair_id"]] for pair in pairs]


def _plan_batches(pairs: Sequence[dict[str, Any]], batch_size: int) -> list[list[Choice]]:
    """Cut the pairs of each task into batches of similar length, long prompts first."""
    ordered = sorted(pairs, key=lambda p: (p["task"], -len(p["instruction"]), p["pair_id"]))
    batches: list[list[Choice]] = []
    for task in sorted({pair["task"] for pair in ordered}):
        of_task = [
            Choice(
                pair["pair_id"],
                [turn for turn in pair["messages"] if turn["role"] != "assistant"],
                tuple(pair["phrases"].values()),
            )
            for pair in ordered
            if pair["task"] == task
        ]
        batches += [of_task[i : i + batch_size] for i in range(0, len(of_task), batch_size)]
    return batches


def _digest_batch(batch: Sequence[Choice], options: EvaluationOptions) -> str:
    asked = [[choice.key, choice.messages, choice.phrases] for choice in batch]
    return digest([asked, resolve_dtype(options.dtype), digest_code(*_SCORING_CODE)])


def _read(path: Path) -> list[OptionScores] | None:
    """Return a kept batch, or None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        rows = json.loads(path.read_text("utf-8"))
        return [OptionScores(row["key"], tuple(row["log_likelihoods"])) for row in rows]
    except (ValueError, TypeError, KeyError):
        logger.warning("%s is damaged; scoring its items again", path)
        return None


def _score(
    batches: dict[Path, list[Choice]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
) -> dict[Path, list[OptionScores]]:
    from mental_slm.language_model.loading import load_model, load_tokenizer, use_threads

    use_threads(model_options.threads)
    tokenizer = load_tokenizer(model.path)
    network = load_model(model.path, dtype=resolve_dtype(options.dtype))
    total = sum(map(len, batches.values()))
    done = 0
    started = logged = time.monotonic()
    scored = {}
    for path, batch in batches.items():
        scored[path] = list(score_options(network, tokenizer, batch, len(batch)))
        rows = [{"key": s.key, "log_likelihoods": s.log_likelihoods} for s in scored[path]]
        write_text(path, json.dumps(rows))
        done += len(batch)
        now = time.monotonic()
        if now - logged >= LOG_EVERY_SECONDS or done == total:
            logged = now
            logger.info(
                "%s: label likelihoods of %d/%d items, about %.0f s left",
                model.name,
                done,
                total,
                (now - started) / done * (total - done),
            )
    return scored
