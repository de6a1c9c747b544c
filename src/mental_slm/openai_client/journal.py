"""The journal of responses: one JSON line each, appended as they arrive, never paid for twice.

A line is handed to the operating system in one write as soon as its response is there, so a killed
process loses nothing that it received; :meth:`Journal.sync` then brings it to the disk, against a
power cut. Of several lines for one id the first answer counts, and an answer beats errors.
"""

import json
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mental_slm.storage import atomic_path

from .protocol import Entry, completion, failure_code, parse_entry, read_recorded
from .state import BatchState

logger = logging.getLogger(__name__)


class JournalError(RuntimeError):
    """A journal cannot be read or written; the message names the file and the remedy."""


class Journal:
    """An open journal. Use :meth:`opened`.

    Attributes:
        path: The file.
        answered: Ids with an answer.
        failed: Ids without one, with the status or fault of their last line.
        duplicates: Lines for ids that already had an answer.
    """

    def __init__(self, path: Path, descriptor: int):
        self.path = path
        self.answered: set[str] = set()
        self.failed: dict[str, str] = {}
        self.duplicates = 0
        self._descriptor = descriptor
        self._end = os.fstat(descriptor).st_size

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator["Journal"]:
        """Open a journal for this process alone; drop what a killed process left of a last line.

        Raises:
            JournalError: Another process writes it, or it cannot be written.
        """
        with _alone(path):
            try:
                _mend_end(path)
                descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            except OSError as error:
                raise JournalError(f"{path}: cannot be written ({error.strerror})") from error
            try:
                journal = cls(path, descriptor)
                yield journal
                journal.sync()
            finally:
                os.close(descriptor)

    def load(self) -> Iterator[Entry]:
        """Read the journal from the start, noting its ids, and yield every response that counts.

        Raises:
            ValueError: Names the line that is no response.
        """
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    entry = parse_entry(line, f"{self.path}, line {number}")
                    self._note(entry)
                    yield entry

    def append(self, entry: Entry) -> None:
        """Write a response, or leave the file as it was.

        Raises:
            JournalError: The disk is full, for example.
        """
        # ASCII escapes: a server may answer with half a surrogate pair, which UTF-8 cannot hold
        line = json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self._end)
            raise JournalError(self._cannot_write(error)) from error
        self._end += len(line)
        self._note(entry)

    def sync(self) -> None:
        """Wait until all that was appended is on the disk. May be called from another thread."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise JournalError(self._cannot_write(error)) from error

    def _note(self, entry: Entry) -> None:
        custom_id = entry["custom_id"]
        if custom_id in self.answered:
            self.duplicates += 1
        elif completion(entry) is None:
            self.failed[custom_id] = failure_code(entry)
        else:
            self.answered.add(custom_id)
            self.failed.pop(custom_id, None)

    def _cannot_write(self, error: OSError) -> str:
        return (
            f"{self.path}: cannot write another response ({error.strerror}). The "
            f"{len(self.answered)} answers in it are safe; make room and run again, only the "
            "others are asked for"
        )


def read_answers(path: Path) -> Iterator[Entry]:
    """Yield the answers in a journal, the first one for each id, in the order they arrived."""
    yield from (entry for entry in read_recorded([path]) if completion(entry) is not None)


def read_failures(path: Path) -> dict[str, str]:
    """Return the ids in a journal that have no answer, with the status or fault of each."""
    failures: dict[str, str] = {}
    for entry in read_recorded([path]):
        if completion(entry) is None:
            failures[entry["custom_id"]] = failure_code(entry)
        else:
            failures.pop(entry["custom_id"], None)
    return failures


def held_ids(path: Path) -> set[str]:
    """Return the ids of all responses in a journal and of all requests in batches under way."""
    entries = read_recorded([path]) if path.exists() else ()
    return {entry["custom_id"] for entry in entries} | BatchState.ids_beside(path)


def forget(path: Path, custom_ids: Collection[str]) -> int:
    """Remove all responses with the given ids from a journal for good.

    The file is written anew beside the old one and takes its place in one step. Batches that are
    under way forget the ids as well: what comes back for them is not taken.

    Returns:
        Number of lines removed.

    Raises:
        JournalError: Another process writes the journal.
    """
    unwanted = frozenset(custom_ids)
    with _alone(path):
        BatchState.forget(path, unwanted)
        if not path.exists():
            return 0
        _mend_end(path)
        removed = 0
        with path.open("rb") as old, atomic_path(path) as temporary, temporary.open("wb") as new:
            for number, line in enumerate(old, start=1):
                kept = not line.strip() or (
                    parse_entry(line, f"{path}, line {number}")["custom_id"] not in unwanted
                )
                removed += not kept
                new.write(line if kept else b"")
    logger.info("%s: %d responses forgotten", path, removed)
    return removed


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise JournalError(
            f"{path}: another process is writing it; wait for its end, or two would pay for the "
            "same answers"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _mend_end(path: Path) -> None:
    """Finish or drop the last line, which a killed process may have left without its end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        start = _start_of_last_line(path)
        file.seek(start)
        last = file.read()
        if not last:
            return
        try:
            parse_entry(last, "last line")
        except ValueError:
            logger.warning(
                "%s: dropping the last line, which was cut off after %d bytes", path, len(last)
            )
            file.truncate(start)
        else:  # only the line end is missing
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())


def _start_of_last_line(path: Path) -> int:
    """Return where the text after the last line end begins; the file's size if there is none."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            step = min(position, 2**16)
            file.seek(position - step)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                return position - step + found + 1
            position -= step
    return 0
