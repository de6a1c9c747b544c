"""The journal of generated answers: append-only, one JSON line per answer, on disk at once.

A run that was killed continues where it stopped, because every answer is keyed by what made it:
the pair, its prompt, the model and the settings. Nothing is ever rewritten, but answers to posts
that were forgotten are removed.
"""

import json
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mental_slm.storage import atomic_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnswerKey:
    """What an answer depends on.

    Attributes:
        pair_id: The test pair.
        prompt_digest: Digest of the messages the model saw.
        model_digest: Digest of the model.
        settings_digest: Digest of decoding settings and of the code that applies them.
    """

    pair_id: str
    prompt_digest: str
    model_digest: str
    settings_digest: str


@dataclass(frozen=True)
class JournalledAnswer:
    """One line of the journal.

    Attributes:
        key: What the answer depends on.
        text: The answer.
        finish_reason: ``stop`` or ``length``.
        tokens: Number of generated tokens.
        seconds: Its share of the time that it and those finished with it took.
    """

    key: AnswerKey
    text: str
    finish_reason: str
    tokens: int
    seconds: float


class Journal:
    """The answers of one model, in one file.

    Args:
        path: The file; it and its folder are made on the first append.
    """

    def __init__(self, path: Path):
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from generating the same answers at the same time."""
        from filelock import FileLock, Timeout

        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another run that writes %s", self.path)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def read(self) -> dict[AnswerKey, JournalledAnswer]:
        """Return all answers; the rest of a line cut by a crash is removed from the file.

        Raises:
            ValueError: A line is damaged; names file and line.
        """
        if not self.path.is_file():
            return {}
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            logger.warning("%s: the last line was cut by a crash; removing it", self.path)
            os.truncate(self.path, len(whole))
        answers = {}
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                fields = json.loads(line)
                answer = JournalledAnswer(**{**fields, "key": AnswerKey(**fields["key"])})
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self.path}: line {number} is damaged; delete that line, and its answer "
                    "is generated again"
                ) from error
            answers[answer.key] = answer
        return answers

    def forget_others(self, pair_ids: Collection[str]) -> int:
        """Remove the answers to all pairs but these for good; the file is replaced in one step.

        Args:
            pair_ids: All pairs there are. An id that is missing was forgotten by ingestion, or
                belongs to a prompt that is no longer asked.

        Returns:
            Number of answers removed.
        """
        kept = set(pair_ids)
        answers = self.read()
        forgotten = [answer for answer in answers.values() if answer.key.pair_id not in kept]
        if forgotten:
            rest = [answer for answer in answers.values() if answer.key.pair_id in kept]
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(_as_lines(rest))
            logger.info("%s: %d answers to forgotten pairs removed", self.path, len(forgotten))
        return len(forgotten)

    def append(self, answers: Sequence[JournalledAnswer]) -> None:
        """Write answers at the end of the file, in one piece, and wait until they are on disk."""
        with self.path.open("ab") as file:
            file.write(_as_lines(answers))
            file.flush()
            os.fsync(file.fileno())


def _as_lines(answers: Sequence[JournalledAnswer]) -> bytes:
    lines = [json.dumps(asdict(a), ensure_ascii=False, sort_keys=True) for a in answers]
    return "".join(f"{line}\n" for line in lines).encode("utf-8")
