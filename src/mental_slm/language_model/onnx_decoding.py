"""Running an exported decoder with ONNX Runtime: whole prompts, single steps, greedy answers."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Cache = list[Array]


@dataclass(frozen=True)
class Decoding:
    """A greedy answer and how long it took.

    Attributes:
        token_ids: New tokens, the stop token included.
        finish_reason: ``stop`` or ``length``.
        prompt_seconds: Time until the first token was chosen.
        step_seconds: Time of each further token.
    """

    token_ids: list[int]
    finish_reason: str
    prompt_seconds: float
    step_seconds: list[float]


class OnnxDecoder:
    """An exported decoder in memory.

    Args:
        graph: The ``.onnx`` file; its weights lie beside it.
        threads: CPU threads of ONNX Runtime.
        mapped: Read the weights where they lie in the file instead of packing copies of them. About
            a tenth slower, but the system can take the memory back.
    """

    def __init__(self, graph: Path, threads: int, mapped: bool = False):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings tell of optimisations it leaves out
        if mapped:
            options.add_session_config_entry("session.disable_prepacking", "1")
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._caches = {
            value.name: tuple(value.shape)
            for value in self._session.get_inputs()
            if value.name != "input_ids"
        }

    def empty_cache(self) -> Cache:
        """Return the cache before the first token: keys and values of no position."""
        return [
            np.zeros((1, shape[1], 0, shape[3]), dtype=np.float32)
            for shape in self._caches.values()
        ]

    def forward(self, token_ids: Sequence[int], cache: Cache) -> tuple[Array, Cache]:
        """Run new tokens against a cache.

        Args:
            token_ids: One or more new tokens.
            cache: Of the tokens before them.

        Returns:
            Logits ``[tokens, vocabulary]`` and the extended cache.
        """
        feeds = {"input_ids": np.array([token_ids], dtype=np.int64)}
        feeds |= dict(zip(self._caches, cache, strict=True))
        logits, *extended = self._session.run(self._outputs, feeds)
        return logits[0], extended

    def decode(
        self, prompt: Sequence[int], max_new_tokens: int, stops: Collection[int] = ()
    ) -> Decoding:
        """Answer greedily.

        Args:
            prompt: Token ids of the prompt.
            max_new_tokens: Where the answer is cut.
            stops: Tokens that end the answer.
        """
        started = time.perf_counter()
        logits, cache = self.forward(prompt, self.empty_cache())
        chosen = [int(logits[-1].argmax())]
        prompt_seconds = time.perf_counter() - started
        steps: list[float] = []
        while len(chosen) < max_new_tokens and chosen[-1] not in stops:
            started = time.perf_counter()
            logits, cache = self.forward(chosen[-1:], cache)
            chosen.append(int(logits[-1].argmax()))
            steps.append(time.perf_counter() - started)
        reason = "stop" if chosen[-1] in stops else "length"
        return Decoding(chosen, reason, prompt_seconds, steps)
