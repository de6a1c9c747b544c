"""Checkpoints that can be trusted after a kill.

A checkpoint is many files. It counts only once a mark lies beside them, written last, with the
digest of each file; a folder without a true mark was cut off while it was written.
"""

import json
import logging
import os
import shutil
from pathlib import Path

from mental_slm.fingerprints import Fingerprint, digest_file
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

MARK = "complete.json"

#: With one alone, the old checkpoint would be gone before the new one carries its mark.
KEPT = 2


def open_checkpoints(folder: Path, run: Fingerprint) -> Path | None:
    """Prepare the folder of a run's checkpoints and find the one to go on from.

    Args:
        folder: Created if missing. Checkpoints of another run are removed; the log says which part
            of the run is another one.
        run: What this run is made of.

    Returns:
        The newest whole checkpoint of this very run, or None.
    """
    if not run.matches(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run.seal(folder)
    newest = None
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        if newest is None and _is_whole(checkpoint):
            newest = checkpoint
        elif newest is None:
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


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step a checkpoint was made at."""
    return int(checkpoint.name.rpartition("-")[2])


def _is_whole(checkpoint: Path) -> bool:
    try:
        digests: dict[str, str] = json.loads((checkpoint / MARK).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return all(
        (checkpoint / name).is_file() and digest_file(checkpoint / name) == expected
        for name, expected in digests.items()
    )
