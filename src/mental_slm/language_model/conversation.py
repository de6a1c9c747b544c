"""A conversation with the model of a bundle: several turns, streamed, with the crisis resource.

The text of a person and the text of the model both pass the risk detector of
:mod:`mental_slm.safety`; the resource is added by code, whatever the model says or fails to say.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mental_slm.language_model.chat import encode_prompt
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.language_model.onnx_decoding import Cache, OnnxDecoder
from mental_slm.records import Message
from mental_slm.safety import INTERNATIONAL, with_crisis_resource

#: What a decoder yields for bytes that are no whole character yet.
INCOMPLETE = "\ufffd"


class Conversation:
    """A dialogue with the model of a bundle.

    Args:
        bundle: The folder, as the deployment pipeline made it.
        threads: CPU threads.
        country: ISO 3166 code of the person, for the crisis resource.

    Raises:
        FileNotFoundError: A file of the bundle is missing.
    """

    def __init__(self, bundle: Path, threads: int = 1, country: str = INTERNATIONAL):
        manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
        config = json.loads((bundle / "config.json").read_text("utf-8"))
        self._tokenizer = load_tokenizer(bundle)
        self._decoder = OnnxDecoder(bundle / manifest["model_file"], threads)
        self._stops = frozenset(manifest["stop_token_ids"])
        self._most = int(manifest["max_new_tokens"])
        self._context = int(config["max_position_embeddings"])
        self._country = country
        self._system: Message = {"role": "system", "content": manifest["prompt"]["system"]}
        self._turns: list[Message] = []
        self._said: list[str] = []
        self._read: list[int] = []
        self._cache: Cache = self._decoder.empty_cache()

    def reply(self, message: str) -> Iterator[str]:
        """Answer a message, piece by piece as it is decoded.

        Whoever stops listening early (an interrupt) keeps what was said so far in the dialogue.
        :meth:`resource` is due afterwards, however the answer ended.

        Args:
            message: What the person says.

        Raises:
            ValueError: It is longer than the model's context.
        """
        self._said.append(message)
        asked: Message = {"role": "user", "content": message}
        answer: Message = {"role": "assistant", "content": ""}
        prompt = self._fit([*self._turns, asked])
        self._turns += [asked, answer]
        chosen: list[int] = []
        for token in self._decode(prompt):
            chosen.append(token)
            text = self._tokenizer.decode(chosen, skip_special_tokens=True).lstrip()
            if not text.endswith(INCOMPLETE):
                fresh, answer["content"] = text[len(answer["content"]) :], text
                if fresh:
                    yield fresh

    def resource(self) -> str:
        """Return the crisis resource if anything so far calls for it, else an empty text."""
        answer = str(self._turns[-1]["content"]) if self._turns else ""
        shown = with_crisis_resource(answer, "\n".join(self._said), self._country)
        return shown[len(answer.rstrip()) :].strip() if shown != answer else ""

    def _fit(self, turns: list[Message]) -> list[int]:
        """Encode the dialogue, without its oldest turns where it has outgrown the context."""
        room = self._context - self._most
        for start in range(0, len(turns), 2):
            prompt = encode_prompt(self._tokenizer, [self._system, *turns[start:]])
            if len(prompt) <= room:
                return prompt
        raise ValueError(
            f"the message has {len(prompt)} tokens with its prompt, the model reads {room}; "
            "shorten it"
        )

    def _decode(self, prompt: list[int]) -> Iterator[int]:
        """Choose the likeliest token again and again; what was read before is not read again."""
        try:
            fresh = prompt[self._rewind(prompt) :]
            for _ in range(self._most):
                logits, self._cache = self._decoder.forward(fresh, self._cache)
                self._read += fresh
                token = int(logits[-1].argmax())
                if token in self._stops:
                    return
                fresh = [token]
                yield token
        except BaseException:  # interrupted between two steps: what was read is uncertain
            self._read, self._cache = [], self._decoder.empty_cache()
            raise

    def _rewind(self, prompt: list[int]) -> int:
        """Cut the cache to what it has in common with a prompt; return how many tokens that is.

        One token is always left to read, for without it there would be no logits.
        """
        same = 0
        for read, wanted in zip(self._read, prompt[:-1], strict=False):
            if read != wanted:
                break
            same += 1
        self._read = self._read[:same]
        self._cache = [_first_positions(values, same) for values in self._cache]
        return same


def _first_positions(values: Any, count: int) -> Any:
    return values[:, :, :count]
