"""Answers that a grammar allows, and no others.

At every step the grammar says which tokens may follow, and all others lose their probability. The
grammar is run by llguidance, one state per row of the batch; where it leaves no choice (the next key
of a JSON object), only the tokenizer's own way of writing it is allowed, so that a model reads the
ids that it was trained on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mental_slm.language_model.chat import stop_token_ids
from mental_slm.language_model.generation import Answer, Prompt, generate_answers


class Grammar:
    """A grammar compiled for the vocabulary of one model; this takes a second, so keep it.

    Args:
        gbnf: Rules in llama.cpp's notation, starting from ``root``.
        tokenizer: A fast tokenizer.
        stops: Ids that may follow a complete answer.

    Raises:
        ValueError: The rules cannot be read.
    """

    def __init__(self, gbnf: str, tokenizer: Any, stops: Sequence[int]):
        from llguidance import LLMatcher, grammar_from
        from llguidance.hf import from_tokenizer

        self._vocabulary = from_tokenizer(tokenizer, eos_token=list(stops))
        self._start = LLMatcher(self._vocabulary, grammar_from("gbnf", gbnf))
        if self._start.is_error():
            raise ValueError(f"the grammar cannot be used: {self._start.get_error()}")

    @classmethod
    def for_model(cls, gbnf: str, model: Any, tokenizer: Any) -> "Grammar":
        """Compile a grammar whose answers end with the tokens at which the model stops."""
        return cls(gbnf, tokenizer, stop_token_ids(tokenizer, Path(model.config._name_or_path)))

    def accepts(self, text: str) -> bool:
        """Tell whether a text is a complete answer."""
        state = self._start.deep_copy()
        ids = self._vocabulary.tokenize_str(text)
        return bool(state.try_consume_tokens(ids) == len(ids) and state.is_accepting())

    def mask(self, rows: int) -> "GrammarMask":
        """Return a fresh logits processor for one batch of ``rows`` prompts."""
        return GrammarMask([self._start.deep_copy() for _ in range(rows)], self._vocabulary)


class GrammarMask:
    """A logits processor of transformers' ``generate`` that keeps every row within its grammar.

    Made by :meth:`Grammar.mask` for one call of ``generate``, without beams.
    """

    def __init__(self, states: list[Any], vocabulary: Any):
        from llguidance.numpy import allocate_token_bitmask

        self._states = states
        self._words = allocate_token_bitmask(len(states), vocabulary.vocab_size)
        self._size = vocabulary.vocab_size
        self._begun = False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Give every token that may not follow a score of minus infinity.

        Args:
            input_ids: Shape (rows, columns); the last column is what was chosen last time.
            scores: Shape (rows, size of the model's vocabulary), which may exceed the tokenizer's
                (Qwen2.5 has unused rows): what the tokenizer does not know is never allowed.

        Raises:
            RuntimeError: A row was continued with a token that was not allowed.
        """
        import torch
        from llguidance.numpy import fill_next_token_bitmask

        if self._begun:
            self._consume(input_ids[:, -1].tolist())
        self._begun = True
        masked = torch.full_like(scores, float("-inf"))
        for row, state in enumerate(self._states):
            fill_next_token_bitmask(state, self._words, row)
            allowed = self._allowed(row, scores.shape[1]).to(scores.device)
            masked[row, allowed] = scores[row, allowed]
        return masked

    def _allowed(self, row: int, size: int) -> Any:
        """Return the ids below ``size`` whose bits are set; mostly a handful, so only these are read."""
        import numpy as np
        import torch

        words = np.flatnonzero(self._words[row])
        bits = np.unpackbits(
            self._words[row, words, None].view(np.uint8), axis=1, bitorder="little"
        )
        word, bit = np.nonzero(bits)
        ids = words[word] * 32 + bit
        return torch.from_numpy(ids[ids < min(self._size, size)])

    def _consume(self, chosen: list[int]) -> None:
        for row, (state, token) in enumerate(zip(self._states, chosen, strict=True)):
            # a finished row is padded until the last one of its batch is finished
            if not state.is_stopped() and not state.consume_token(token):
                raise RuntimeError(f"row {row}, token {token}: {state.get_error()}")


def generate_constrained(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    grammar: Grammar,
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[Answer]:
    """Answer prompts greedily within a grammar, batch by batch.

    Args:
        model: In evaluation mode.
        tokenizer: Of the same folder, with a pad token.
        prompts: In any order.
        grammar: Compiled for this model.
        max_new_tokens: Enough for the longest answer of the grammar and the token that ends it.
        batch_size: Rows per batch.

    Yields:
        Complete answers as they are finished, in order of prompt length.

    Raises:
        RuntimeError: An answer was cut, because ``max_new_tokens`` is less than that.
    """
    for answer in generate_answers(
        model, tokenizer, prompts, max_new_tokens, batch_size, constrain=grammar.mask
    ):
        if answer.finish_reason != "stop":
            raise RuntimeError(
                f"answer {answer.key}: cut after {answer.tokens} tokens; max_new_tokens must hold "
                "the longest answer that the grammar allows, and its stop token"
            )
        yield answer
