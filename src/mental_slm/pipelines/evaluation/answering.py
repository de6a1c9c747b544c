"""Answers of a model to the test items: batched, journalled, resumable."""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mental_slm.fingerprints import digest, digest_code
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.journal import AnswerKey, Journal, JournalledAnswer
from mental_slm.pipelines.evaluation.options import Dtype, EvaluationOptions
from mental_slm.records import Message
from mental_slm.references import ModelRef

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 10.0


def resolve_dtype(dtype: Dtype) -> Literal["float32", "bfloat16"]:
    """Return the number format to generate in.

    ``auto`` is bfloat16 on a GPU and on processors that multiply in it (AMX or AVX512-BF16), where
    it is faster, and float32 elsewhere, where bfloat16 would be emulated.
    """
    if dtype != "auto":
        return dtype
    from mental_slm.language_model.loading import device, has_bf16_cpu

    return "bfloat16" if device() == "cuda" or has_bf16_cpu() else "float32"


def settings_of(options: EvaluationOptions) -> dict[str, Any]:
    """Return the settings that decide an answer.

    In float32 the batch size is not one of them. In bfloat16 it is: a sum over a row rounds
    differently in another batch, and one other token changes the rest of the answer.
    """
    settings: dict[str, Any] = {
        "decoding": "greedy",
        "max_new_tokens": options.max_new_tokens,
        "dtype": resolve_dtype(options.dtype),
    }
    return settings | ({"batch_size": options.batch_size} if _batches_matter(settings) else {})


def answer_items(
    items: Sequence[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> list[JournalledAnswer]:
    """Return one answer per item, in the order of the items.

    Answers that the journal in the workspace already holds are taken from it; the others are
    generated and appended batch by batch, so that a killed run loses one batch at most.

    Args:
        items: Test pairs. Only their system and user turns are shown to the model.
        model: The model to ask.
        options: Decoding settings and batch size.
        model_options: Number of threads.
        workspace: Folder of the journal.

    Raises:
        ValueError: The journal is damaged; names file and line.
    """
    batches = _plan_batches(items, model, options)
    key_of = {key.pair_id: key for batch in batches for key, _ in batch}
    journal = Journal(workspace / "answers" / f"{model.digest}.jsonl")
    with journal.locked():
        known = journal.read()
        found = sum(key in known for key in key_of.values())
        logger.info("%s: %d of %d answers found in the journal", model.name, found, len(items))
        missing = [batch for batch in _leave_out(batches, known, options) if batch]
        for answers in _generate(missing, model, options, model_options):
            journal.append(answers)
            known |= {answer.key: answer for answer in answers}
    return [known[key_of[item["pair_id"]]] for item in items]


#: An answer depends on this code: prompt rendering, loading and decoding.
_ANSWERING_CODE = tuple(
    f"mental_slm.language_model.{module}" for module in ("chat", "loading", "generation")
)

_Batch = list[tuple[AnswerKey, list[Message]]]


def _batches_matter(settings: dict[str, Any]) -> bool:
    return bool(settings["dtype"] == "bfloat16")


def _plan_batches(
    items: Sequence[dict[str, Any]], model: ModelRef, options: EvaluationOptions
) -> list[_Batch]:
    """Cut the items into batches of similar length and key every item.

    The plan covers all items, known or not, so that a resumed run forms the same batches as an
    uninterrupted one. Long prompts come first: a shortage of memory shows at once, and the time
    left is not underestimated.
    """
    settings = settings_of(options)
    code = digest_code(*_ANSWERING_CODE)
    ordered = sorted(items, key=lambda item: (-len(item["instruction"]), item["pair_id"]))
    batches = []
    for start in range(0, len(ordered), options.batch_size):
        batch = ordered[start : start + options.batch_size]
        prompts = [[turn for turn in i["messages"] if turn["role"] != "assistant"] for i in batch]
        company = prompts if _batches_matter(settings) else []
        made_by = digest([settings, code, company])
        batches.append(
            [
                (AnswerKey(item["pair_id"], digest(prompt), model.digest, made_by), prompt)
                for item, prompt in zip(batch, prompts, strict=True)
            ]
        )
    return batches


def _leave_out(
    batches: Sequence[_Batch],
    known: dict[AnswerKey, JournalledAnswer],
    options: EvaluationOptions,
) -> Iterator[_Batch]:
    """Yield what is left to generate of every batch: whole batches where batches matter."""
    for batch in batches:
        missing = [entry for entry in batch if entry[0] not in known]
        yield batch if missing and _batches_matter(settings_of(options)) else missing


def _generate(
    batches: Sequence[_Batch],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
) -> Iterator[list[JournalledAnswer]]:
    if not batches:
        return
    from mental_slm.language_model.generation import Prompt, generate_answers
    from mental_slm.language_model.loading import load_model, load_tokenizer, use_threads

    use_threads(model_options.threads)
    tokenizer = load_tokenizer(model.path)
    network = load_model(model.path, dtype=resolve_dtype(options.dtype))
    progress = _Progress(model.name, sum(len(batch) for batch in batches))
    for batch in batches:
        started = time.monotonic()
        answers = list(
            generate_answers(
                network,
                tokenizer,
                [Prompt(key=key.pair_id, messages=prompt) for key, prompt in batch],
                max_new_tokens=options.max_new_tokens,
                batch_size=len(batch),
            )
        )
        seconds = time.monotonic() - started
        progress.add(len(answers), sum(answer.tokens for answer in answers))
        key_of = {key.pair_id: key for key, _ in batch}
        yield [
            JournalledAnswer(
                key=key_of[answer.key],
                text=answer.text,
                finish_reason=answer.finish_reason,
                tokens=answer.tokens,
                seconds=round(seconds / len(answers), 3),
            )
            for answer in answers
        ]


class _Progress:
    """Logs items, rate and time left, at most every :data:`LOG_EVERY_SECONDS` and at the end."""

    def __init__(self, name: str, total: int):
        self._name = name
        self._total = total
        self._items = 0
        self._tokens = 0
        self._started = self._logged = time.monotonic()

    def add(self, items: int, tokens: int) -> None:
        self._items += items
        self._tokens += tokens
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_SECONDS and self._items < self._total:
            return
        self._logged = now
        elapsed = now - self._started
        logger.info(
            "%s: %d/%d answers, %.1f tokens/s, about %.0f s left",
            self._name,
            self._items,
            self._total,
            self._tokens / elapsed,
            elapsed / self._items * (self._total - self._items),
        )
