"""The journal of generated answers: append-only, one JSON line per answer, on disk at once.

A run that was killed continues where it stopped, because every answer is keyed by what made it:
the pair, its prompt, the model and the settings. Nothing is ever rewritten.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnswerKey:
    """What an answer depends on.

    Attributes:
        pair_id: The test pair.
        prompt_digest: Digest of the messages the model saw.
        model_digest: Digest of the model.
        settings_digest: Digest of decoding settings, of the code that applies them and, in
            bfloat16, of the batch it was generated in.
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
        seconds: Its share of the time its batch took.
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

    def append(self, answers: Sequence[JournalledAnswer]) -> None:
        """Write answers at the end of the file, in one piece, and wait until they are on disk."""
        lines = [json.dumps(asdict(a), ensure_ascii=False, sort_keys=True) for a in answers]
        with self.path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
