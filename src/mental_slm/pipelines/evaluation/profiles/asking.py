"""Asking a model for emotion profiles in three ways: journalled, so that a killed run goes on.

* ``free``: it writes what it likes; shows whether it has learnt the form.
* ``constrained``: it writes within the grammar of profiles; shows what a phone would get.
* ``slots``: it writes nothing; every legal half step of every dimension is scored
  (:mod:`mental_slm.language_model.slot_scoring`), which gives a whole distribution.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mental_slm.emotions import longest_profile_bytes, profile_form, profile_grammar
from mental_slm.fingerprints import digest, digest_code
from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.answering import resolve_dtype
from mental_slm.pipelines.evaluation.journal import AnswerKey, Journal, JournalledAnswer
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.records import Message
from mental_slm.references import ModelRef

logger = logging.getLogger(__name__)

WAYS = ("free", "constrained", "slots")

#: A profile depends on this code: prompt rendering, loading, decoding, and what is legal.
_CODE = (
    *(
        f"mental_slm.language_model.{module}"
        for module in ("chat", "loading", "generation", "constrained", "slot_scoring")
    ),
    "mental_slm.emotions",
)

_Batch = list[tuple[AnswerKey, list[Message]]]

#: Prompts in, answers out: text, finish reason and number of tokens by key.
_Ask = Callable[[list[Any]], Iterator[tuple[str, str, str, int]]]


def ask_for_profiles(
    items: Sequence[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> list[dict[str, Any]]:
    """Return what a model answered to every item in all three ways, in the order of the items.

    What the journal in the workspace already holds is taken from it; the rest is appended batch by
    batch, so that a killed run loses one batch at most.

    Args:
        items: Test pairs of the profile task; the model sees their system and user turns.
        model: The model to ask.
        options: Settings of decoding.
        model_options: Number of threads.
        workspace: Folder of the journal.

    Returns:
        Per item ``pair_id``, ``free`` and ``constrained`` (``answer``, ``finish_reason``,
        ``tokens``), and ``slots``: log-probabilities of the values of each dimension.

    Raises:
        ValueError: The journal is damaged; names file and line.
    """
    if not items:
        return []
    plan = {way: _plan(items, way, model, options) for way in WAYS}
    keys = {
        (way, key.pair_id): key for way, batches in plan.items() for b in batches for key, _ in b
    }
    journal = Journal(workspace / "profiles" / f"{model.digest}.jsonl")
    with journal.locked():
        known = journal.read()
        logger.info(
            "%s: %d of %d profiles found in the journal",
            model.name,
            sum(key in known for key in keys.values()),
            len(keys),
        )
        missing = [
            (way, batch)
            for way, batches in plan.items()
            for batch in batches
            if any(key not in known for key, _ in batch)
        ]
        for answers in _ask_for_missing(missing, model, options, model_options):
            journal.append(answers)
            known |= {answer.key: answer for answer in answers}
    return [
        _record(item, {way: known[keys[way, item["pair_id"]]] for way in WAYS}) for item in items
    ]


def _record(item: dict[str, Any], answers: dict[str, JournalledAnswer]) -> dict[str, Any]:
    written = {
        way: {
            "answer": answers[way].text,
            "finish_reason": answers[way].finish_reason,
            "tokens": answers[way].tokens,
        }
        for way in ("free", "constrained")
    }
    return {"pair_id": item["pair_id"], **written, "slots": json.loads(answers["slots"].text)}


def _plan(
    items: Sequence[dict[str, Any]], way: str, model: ModelRef, options: EvaluationOptions
) -> list[_Batch]:
    """Cut all items into batches, known or not, so that a resumed run forms the same ones.

    In float32 the batch does not change an answer; in bfloat16 it does, and belongs to the key.
    """
    settings: dict[str, Any] = {"way": way, "dtype": resolve_dtype(options.dtype)}
    if way == "free":
        settings["max_new_tokens"] = options.profiles.max_new_tokens
    code = digest_code(*_CODE)
    size = options.profiles.batch_size
    ordered = sorted(items, key=lambda item: (-len(item["instruction"]), item["pair_id"]))
    batches = []
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        prompts = [[turn for turn in i["messages"] if turn["role"] != "assistant"] for i in batch]
        company = prompts if settings["dtype"] == "bfloat16" else []
        made_by = digest([settings, code, company])
        batches.append(
            [
                (AnswerKey(item["pair_id"], digest(prompt), model.digest, made_by), prompt)
                for item, prompt in zip(batch, prompts, strict=True)
            ]
        )
    return batches


def _ask_for_missing(
    missing: Sequence[tuple[str, _Batch]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
) -> Iterator[list[JournalledAnswer]]:
    if not missing:
        return
    from mental_slm.language_model.generation import Prompt

    ways = _ways_of_asking(model, options, model_options)
    started = time.monotonic()
    for done, (way, batch) in enumerate(missing, start=1):
        batch_started = time.monotonic()
        prompts = [Prompt(key=key.pair_id, messages=prompt) for key, prompt in batch]
        answers = list(ways[way](prompts))
        now = time.monotonic()
        logger.info(
            "%s: profiles, %s, batch %d/%d, about %.0f s left",
            model.name,
            way,
            done,
            len(missing),
            (now - started) / done * (len(missing) - done),
        )
        key_of = {key.pair_id: key for key, _ in batch}
        yield [
            JournalledAnswer(
                key=key_of[pair_id],
                text=text,
                finish_reason=finish_reason,
                tokens=tokens,
                seconds=round((now - batch_started) / len(batch), 3),
            )
            for pair_id, text, finish_reason, tokens in answers
        ]


def _ways_of_asking(
    model: ModelRef, options: EvaluationOptions, model_options: ModelOptions
) -> dict[str, _Ask]:
    """Load the model and return one function per way."""
    from mental_slm.language_model.constrained import Grammar, generate_constrained
    from mental_slm.language_model.generation import Answer, Prompt, generate_answers
    from mental_slm.language_model.loading import load_model, load_tokenizer, use_threads
    from mental_slm.language_model.slot_scoring import Form, fill_forms

    use_threads(model_options.threads)
    tokenizer = load_tokenizer(model.path)
    network = load_model(model.path, dtype=resolve_dtype(options.dtype))
    grammar = Grammar.for_model(profile_grammar(), network, tokenizer)
    form = Form(*profile_form())
    size = options.profiles.batch_size

    def written(answers: Iterator[Answer]) -> Iterator[tuple[str, str, str, int]]:
        for answer in answers:
            yield answer.key, answer.text, answer.finish_reason, answer.tokens

    def free(prompts: list[Prompt]) -> Iterator[tuple[str, str, str, int]]:
        limit = options.profiles.max_new_tokens
        return written(generate_answers(network, tokenizer, prompts, limit, size))

    def constrained(prompts: list[Prompt]) -> Iterator[tuple[str, str, str, int]]:
        limit = longest_profile_bytes() + 1  # a token holds a byte at least, and one ends the turn
        return written(generate_constrained(network, tokenizer, prompts, grammar, limit, size))

    def slots(prompts: list[Prompt]) -> Iterator[tuple[str, str, str, int]]:
        for filled in fill_forms(network, tokenizer, prompts, form, size):
            rounded = [[round(v, 6) for v in slot] for slot in filled.log_probabilities]
            yield filled.key, json.dumps(rounded), "stop", 0

    return {"free": free, "constrained": constrained, "slots": slots}
