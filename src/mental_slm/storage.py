"""Writing files and folders so that an interruption leaves the old artefact whole.

A file is written beside its target, flushed to the disk and renamed over it. A folder cannot be
renamed over another one, so the old folder steps aside first; :func:`recover_folder` puts it back
if the process died between the two renames.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path to write to; on success its content replaces ``target`` in one step.

    Args:
        target: The file to create or replace. Missing parent folders are made.

    Yields:
        A temporary path in the same folder. If the block raises, it is removed and ``target``
        stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def publish_folder(source: Path, target: Path) -> None:
    """Make ``target`` a whole copy of the folder ``source``, atomically.

    Files are hard-linked where the file system allows it, so publishing gigabytes costs no disk
    and no time; no artefact is ever edited in place, which is what makes sharing safe.

    Args:
        source: An existing folder.
        target: The folder to create or replace.

    Raises:
        FileNotFoundError: ``source`` is not a folder.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: not a folder, nothing to publish to {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(target)
    incoming = target.with_name(f".{target.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(source, incoming, copy_function=_link_or_copy)
    for path in incoming.rglob("*"):
        _fsync(path)
    previous = _previous(target)
    if target.exists():
        os.rename(target, previous)
    os.rename(incoming, target)
    _fsync(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo an interrupted :func:`publish_folder`: put back the old folder if no new one stands."""
    previous = _previous(target)
    if not previous.exists():
        return
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
    else:
        os.rename(previous, target)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
