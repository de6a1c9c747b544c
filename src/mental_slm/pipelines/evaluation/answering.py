"""Answers of a model to the test items: many at a time, journalled, resumable."""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mental_slm.fingerprints import digest, digest_code
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.journal import AnswerKey, Journal, JournalledAnswer
from mental_slm.pipelines.evaluation.options import Dtype, EvaluationOptions
from mental_slm.records import Message
from mental_slm.references import ModelRef

if TYPE_CHECKING:
    from mental_slm.language_model.generation import Answer

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

    The batch size is one of them in bfloat16 only: answers share no padding, so that on a CPU it
    changes nothing at all, but a GPU picks its bfloat16 kernels by the number of rows.
    """
    settings: dict[str, Any] = {"decoding": "greedy", "max_new_tokens": options.max_new_tokens}
    if options.engine.name == "onnxruntime_genai":
        return settings | {"engine": options.engine.name, "dtype": options.engine.precision}
    if options.engine.name != "transformers":
        settings["engine"] = options.engine.name
    settings["dtype"] = resolve_dtype(options.dtype)
    if settings["dtype"] == "bfloat16":
        settings["batch_size"] = options.batch_size
    return settings


def answer_items(
    items: Sequence[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
    existing: Collection[str] | None = None,
) -> list[JournalledAnswer]:
    """Return one answer per item, in the order of the items.

    Answers that the journal in the workspace already holds are taken from it; the others are
    generated and appended as they are finished, so that a killed run loses a second's work at most.

    Args:
        items: Test pairs, or dialogues so far. All turns but a final answer are shown to the
            model.
        model: The model to ask.
        options: Engine, decoding settings and batch size.
        model_options: Number of threads.
        workspace: Folder of the journal.
        existing: Ids of all pairs there are. Answers to any other are removed from the journal:
            their posts were forgotten. None keeps all.

    Raises:
        ValueError: The journal is damaged; names file and line.
    """
    asked = _key_items(items, model, options)
    journal = Journal(workspace / "answers" / f"{model.digest}.jsonl")
    with journal.locked():
        if existing is not None:
            journal.forget_others(existing)
        known = journal.read()
        missing = {key: prompt for key, prompt in asked if key not in known}
        logger.info(
            "%s: %d of %d answers found in the journal",
            model.name,
            len(items) - len(missing),
            len(items),
        )
        for answers in _generate(missing, model, options, model_options, workspace):
            journal.append(answers)
            known |= {answer.key: answer for answer in answers}
    return [known[key] for key, _ in asked]


#: An answer depends on this code: prompt rendering, loading and decoding.
_ANSWERING_CODE = tuple(
    f"mental_slm.language_model.{module}"
    for module in ("chat", "loading", "generation", "slots", "engines")
)

#: Answers are brought to the disk at most this often; each time takes milliseconds.
APPEND_EVERY_SECONDS = 1.0


def _key_items(
    items: Sequence[dict[str, Any]], model: ModelRef, options: EvaluationOptions
) -> list[tuple[AnswerKey, list[Message]]]:
    """Return what each answer depends on, with its prompt."""
    made_by = digest([settings_of(options), digest_code(*_ANSWERING_CODE)])
    prompts = [_without_reference(item["messages"]) for item in items]
    return [
        (AnswerKey(item["pair_id"], digest(prompt), model.digest, made_by), prompt)
        for item, prompt in zip(items, prompts, strict=True)
    ]


def _without_reference(messages: list[Message]) -> list[Message]:
    """Return what the model is shown; its own earlier answers in a dialogue belong to that."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def _generate(
    missing: dict[AnswerKey, list[Message]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> Iterator[list[JournalledAnswer]]:
    """Yield answers a few at a time, as they are finished."""
    if not missing:
        return
    from mental_slm.language_model.engines import Decoding, open_engine
    from mental_slm.language_model.generation import Prompt
    from mental_slm.language_model.loading import use_threads

    threads = use_threads(model_options.threads)
    dtype = resolve_dtype(options.dtype)
    decoding = Decoding(options.max_new_tokens, options.batch_size, dtype, threads)
    engine = open_engine(options.engine, model, decoding, workspace)
    key_of = {key.pair_id: key for key in missing}
    prompts = [Prompt(key=key.pair_id, messages=prompt) for key, prompt in missing.items()]
    progress = _Progress(model.name, len(prompts))
    finished: list[Answer] = []
    since = time.monotonic()
    for answer in engine.answer(prompts):
        finished.append(answer)
        seconds = time.monotonic() - since
        if seconds >= APPEND_EVERY_SECONDS or progress.items + len(finished) == len(prompts):
            progress.add(len(finished), sum(answer.tokens for answer in finished))
            yield [_journalled(one, key_of[one.key], seconds / len(finished)) for one in finished]
            finished, since = [], time.monotonic()


def _journalled(answer: "Answer", key: AnswerKey, seconds: float) -> JournalledAnswer:
    return JournalledAnswer(
        key=key,
        text=answer.text,
        finish_reason=answer.finish_reason,
        tokens=answer.tokens,
        seconds=round(seconds, 3),
    )


class _Progress:
    """Logs items, rate and time left, at most every :data:`LOG_EVERY_SECONDS` and at the end."""

    def __init__(self, name: str, total: int):
        self.items = 0
        self._name = name
        self._total = total
        self._tokens = 0
        self._started = self._logged = time.monotonic()

    def add(self, items: int, tokens: int) -> None:
        self.items += items
        self._tokens += tokens
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_SECONDS and self.items < self._total:
            return
        self._logged = now
        elapsed = now - self._started
        logger.info(
            "%s: %d/%d answers, %.1f tokens/s, about %.0f s left",
            self._name,
            self.items,
            self._total,
            self._tokens / elapsed,
            elapsed / self.items * (self._total - self.items),
        )
