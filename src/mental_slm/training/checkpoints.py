"""Checkpoints that can be trusted after a kill.

A checkpoint is many files. It counts only once a mark lies beside them, written last, with the
digest of each file; a folder without a true mark was cut off while it was written.
"""

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from mental_slm.fingerprints import FILE_NAME, Fingerprint, digest_file
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

MARK = "complete.json"

#: Says that the training came to its end, so that its checkpoints are worth nothing any more.
FINISHED = "finished"

#: With one alone, the old checkpoint would be gone before the new one carries its mark.
KEPT = 2


class FolderNotWritable(OSError):
    """Nothing can be written to a folder; the message names it and the remedy."""


class CheckpointOfOtherRun(ValueError):
    """There are checkpoints of an unfinished run that is not this one; the message says why."""


class CheckpointNotSaved(RuntimeError):
    """A checkpoint could not be written; the message names the one that is still good."""


def require_writable(folder: Path) -> None:
    """Make a folder, and make sure before any work that files can be written to it.

    Raises:
        FolderNotWritable: With the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderNotWritable(
            f"{folder}: cannot be written to ({error.strerror}); it keeps checkpoints and the "
            "adapter, so make it writable or give another folder in conf/local/catalog.yml"
        ) from error


def open_checkpoints(folder: Path, run: Fingerprint, restart: bool = False) -> Path | None:
    """Prepare the folder of a run's checkpoints and find the one to go on from.

    Args:
        folder: Created if missing. Checkpoints of a finished run of something else are removed.
        run: What this run is made of.
        restart: Remove those of an unfinished one as well.

    Returns:
        The newest whole checkpoint of this very run, or None.

    Raises:
        CheckpointOfOtherRun: Names every part in which an unfinished run differs from this one.
    """
    if not run.matches(folder):
        left = _newest_whole(folder)
        if left is not None and not restart and not (folder / FINISHED).exists():
            raise CheckpointOfOtherRun(
                f"{left}: belongs to an unfinished training that differs from this one in "
                f"{_difference(folder, run)}. Undo that to go on with it, or give it up with "
                "fine_tuning.restart=true"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run.seal(folder)
    newest = _newest_whole(folder)
    for checkpoint in _by_step(folder):
        if newest is None or step_of(checkpoint) > step_of(newest):
            logger.info("%s was cut off while it was written, leaving it out", checkpoint.name)
            shutil.rmtree(checkpoint)
    return newest


def mark_whole(checkpoint: Path) -> None:
    """Say that a checkpoint is all there. Call this after its last file was written."""
    digests = {}
    for path in sorted(checkpoint.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digests[path.name] = digest_file(path)
    write_text(checkpoint / MARK, json.dumps(digests, indent=2, sort_keys=True) + "\n")


def mark_finished(folder: Path) -> None:
    """Say that the run came to its end: another one may take the folder over."""
    write_text(folder / FINISHED, "")


def describe_newest(folder: Path) -> str:
    """Return a sentence on what is left to go on from, for the message of a failure."""
    newest = _newest_whole(folder)
    return f"{newest} is whole" if newest else "there is no checkpoint yet"


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step a checkpoint was made at."""
    return int(checkpoint.name.rpartition("-")[2])


def _by_step(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def _newest_whole(folder: Path) -> Path | None:
    return next(filter(_is_whole, _by_step(folder)), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        digests: dict[str, str] = json.loads((checkpoint / MARK).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return all(
        (checkpoint / name).is_file() and digest_file(checkpoint / name) == expected
        for name, expected in digests.items()
    )


def _difference(folder: Path, run: Fingerprint) -> str:
    """Say part by part what was and what is; digests of files are only named."""
    try:
        known: dict[str, str] = json.loads((folder / FILE_NAME).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return "what is no longer known"
    changed = [part for part in known | run.parts if known.get(part) != run.parts.get(part)]
    return ", ".join(
        f"{part} ({known.get(part, 'unset')} -> {run.parts.get(part, 'unset')})"
        if part.startswith("fine_tuning.")
        else part.replace("_", " ")
        for part in changed
    )
