"""The embedded model as judge: greedy replies held to the JSON schema by llguidance.

Only the six numbers are the model's choice; everything between them is forced and fed in at once.
What several requests have in common at their start (rubric, post) is computed once.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mental_slm.language_model.options import ModelOptions
from mental_slm.language_model.tokens import common_start
from mental_slm.openai_client import Summary
from mental_slm.openai_client.journal import Journal
from mental_slm.openai_client.protocol import Entry, make_entry
from mental_slm.references import ModelRef

from .requests import Request

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 10.0

#: One way to write the JSON, the one that models write.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def ask_in_process(
    requests: Sequence[Request],
    journal_path: Path,
    model: ModelRef,
    dtype: Literal["float32", "bfloat16"],
    model_options: ModelOptions,
) -> Summary:
    """Let a model on this machine answer what the journal does not hold yet.

    Replies are appended in the format of the Batch API, as those of a server are. A second run
    with nothing to ask loads no model.

    Args:
        requests: In the Batch format, with a JSON schema.
        journal_path: A JSONL file; made if missing.
        model: The judge.
        dtype: Number format of its weights.
        model_options: Number of threads.

    Raises:
        JournalError: The journal cannot be written; what it holds is safe.
    """
    started = time.monotonic()
    summary = Summary(asked=len(requests))
    with Journal.opened(journal_path) as journal:
        for _ in journal.load():
            pass
        summary.answered_before = sum(r["custom_id"] in journal.answered for r in requests)
        if summary.missing:
            for entry in _reply(requests, journal.answered, model, dtype, model_options):
                journal.append(entry)
                journal.sync()
                summary.note(entry, model.name)
    summary.seconds = time.monotonic() - started
    return summary


def _reply(
    requests: Sequence[Request],
    answered: set[str],
    model: ModelRef,
    dtype: Literal["float32", "bfloat16"],
    model_options: ModelOptions,
) -> Iterator[Entry]:
    from mental_slm.language_model.chat import encode_prompt
    from mental_slm.language_model.loading import load_model, load_tokenizer, use_threads

    use_threads(model_options.threads)
    tokenizer = load_tokenizer(model.path)
    judge = _Judge(load_model(model.path, dtype=dtype), tokenizer)
    missing = {r["custom_id"] for r in requests} - answered
    logger.info("%s judges: %d replies to make", model.name, len(missing))
    total, made, logged = len(missing), 0, time.monotonic()
    for group in _group(requests):
        if not any(request["custom_id"] in missing for request in group):
            continue
        prompts = [encode_prompt(tokenizer, request["body"]["messages"]) for request in group]
        judge.remember(prompts)
        for request, prompt in zip(group, prompts, strict=True):
            if request["custom_id"] not in missing:
                continue
            reply = judge.reply(prompt, request["body"])
            yield _entry(request, reply, model, len(prompt), tokenizer)
            made += 1
            if time.monotonic() - logged >= LOG_EVERY_SECONDS:
                logged = time.monotonic()
                logger.info("%s judges: %d of %d replies", model.name, made, total)


def _group(requests: Sequence[Request]) -> list[list[Request]]:
    """Put requests with the same rubric about the same post together.

    Groups hold answered requests as well, so that a resumed run computes the common start, and
    with it every rounding, as an uninterrupted one.
    """
    groups: dict[tuple[str, str], list[Request]] = {}
    for request in requests:
        key = (request["body"]["messages"][0]["content"], request["custom_id"].split("-")[0])
        groups.setdefault(key, []).append(request)
    return list(groups.values())


def _entry(
    request: Request, tokens: list[int], model: ModelRef, prompt_tokens: int, tokenizer: Any
) -> Entry:
    limit = request["body"]["max_tokens"]
    message = {"role": "assistant", "content": tokenizer.decode(tokens), "refusal": None}
    finish_reason = "length" if len(tokens) >= limit else "stop"
    body = {
        "model": f"{model.name}@{model.digest}",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": len(tokens)},
    }
    return make_entry(request["custom_id"], status=200, body=body)


class _Judge:
    """A model that replies in JSON by a schema."""

    def __init__(self, model: Any, tokenizer: Any):
        import llguidance.hf

        self._model = model
        self._guide = llguidance.hf.from_tokenizer(tokenizer)
        self._cache: Any = None
        self._remembered = 0

    def remember(self, prompts: Sequence[Sequence[int]]) -> None:
        """Compute what the next prompts have in common at their start."""
        from transformers import DynamicCache

        # of each prompt at least one token is left to run
        start = common_start([prompt[:-1] for prompt in prompts])
        self._cache, self._remembered = DynamicCache(), len(start)
        if start:
            self._feed(start)

    def reply(self, prompt: Sequence[int], body: dict[str, Any]) -> list[int]:
        """Return the tokens of the most likely reply that the schema allows."""
        from llguidance import LLMatcher

        schema = body["response_format"]["json_schema"]["schema"]
        grammar = LLMatcher.grammar_from_json_schema({**schema, "x-guidance": _LAYOUT})
        matcher = LLMatcher(self._guide, grammar)
        waiting, reply = list(prompt[self._remembered :]), list[int]()
        while not matcher.is_stopped() and len(reply) < body["max_tokens"]:
            tokens = matcher.compute_ff_tokens()
            if not tokens:
                tokens = [self._choose(self._feed(waiting), matcher)]
                waiting = []
            matcher.consume_tokens(tokens)
            waiting += tokens
            reply += tokens
        if matcher.is_error():
            raise RuntimeError(f"constrained decoding failed: {matcher.get_error()}")
        self._cache.crop(self._remembered - self._cache.get_seq_length())
        return reply[: body["max_tokens"]]

    def _feed(self, tokens: Sequence[int]) -> Any:
        """Put tokens through the model and return the scores of the next one."""
        import torch

        with torch.inference_mode():
            output = self._model(
                input_ids=torch.tensor([list(tokens)], device=self._model.device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[0, -1]

    @staticmethod
    def _choose(scores: Any, matcher: Any) -> int:
        """Return the most likely token that the grammar allows."""
        import numpy as np

        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little")[: scores.shape[0]])
        return int(allowed[int(scores[allowed].argmax())])
