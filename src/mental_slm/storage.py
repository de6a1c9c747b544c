"""Writing files and folders so that an interruption leaves the old artefact whole.

A file is written beside its target, flushed to the disk and renamed over it. A folder cannot be
renamed over another one, so the old folder steps aside first; :func:`recover_folder` puts it back
if the process died between the two renames. A lock keeps readers (:func:`settled`) and writers of
one folder apart, so that a reader sees the old artefact or the new one, never a gap.

Names beside a folder ``x``: ``.x.incoming`` is rubbish unless its writer lives, ``.x.previous`` is
always whole, ``.x.lock`` is empty.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

#: Files up to this size are copied, not linked: libraries rewrite configs and tokenizers in place.
LINKED_FROM_BYTES = 32 * 2**20

#: A temporary file that nobody wrote to for this long was left by a killed process.
LEFTOVER_SECONDS = 24 * 3600


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path to write to; on success its content replaces ``target`` in one step.

    Args:
        target: The file to create or replace. Missing parent folders are made.

    Yields:
        A temporary path in the same folder, its own for every call, so that two writers never mix
        their bytes. If the block raises, it is removed and ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_leftovers(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    r"""Write ``text`` as UTF-8 with ``\n`` line ends, atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it replaces ``target`` in one step for readers.

    Args:
        target: The folder to create or replace. Missing parent folders are made.

    Yields:
        A temporary folder beside it. If the block raises, it is removed and ``target`` stays as it
        was. Other writers of ``target``, and readers that use :func:`settled`, wait meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming, previous = _incoming(target), _previous(target)
    with _alone(target):
        _recover(target)
        _remove(incoming)
        incoming.mkdir()
        try:
            yield incoming
            for path in (incoming, *incoming.rglob("*")):
                _fsync(path)
        except BaseException:
            _remove(incoming)
            raise
        try:
            if os.path.lexists(target):
                os.rename(target, previous)
            os.rename(incoming, target)
            _fsync(target.parent)
        finally:
            _recover(target)


def publish_folder(source: Path, target: Path, notes: dict[str, str] | None = None) -> None:
    """Make ``target`` a whole copy of the folder ``source``, atomically.

    Large files are hard-linked where the file system allows it, so publishing gigabytes costs no
    disk and no time. A large artefact must therefore never be edited in place: whoever makes it
    again removes the old file first (safetensors does; ``onnx`` appends to external data).

    Args:
        source: An existing folder.
        target: The folder to create or replace.
        notes: Texts to put beside the copies, by file name.

    Raises:
        FileNotFoundError: ``source`` is not a folder.
        ValueError: One of the two lies inside the other.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: not a folder, nothing to publish to {target}")
    inner, outer = source.resolve(), target.resolve()
    if inner != outer and (inner.is_relative_to(outer) or outer.is_relative_to(inner)):
        raise ValueError(f"{source} and {target}: one lies inside the other, choose another place")
    with atomic_folder(target) as incoming:
        share(source, incoming)
        for name, text in (notes or {}).items():
            (incoming / name).unlink(missing_ok=True)
            (incoming / name).write_bytes(text.encode("utf-8"))


def share(source: Path, target: Path) -> None:
    """Copy a file or folder, hard-linking large files; symbolic links become what they point to."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_or_copy, dirs_exist_ok=True)
    else:
        _link_or_copy(str(source), str(target))


def recover_folder(target: Path) -> None:
    """Undo an interrupted :func:`atomic_folder`: put back the old folder if no new one stands."""
    with settled(target):
        pass


@contextmanager
def settled(target: Path) -> Iterator[None]:
    """Keep writers of ``target`` away while the block reads it, after undoing an interrupted one.

    In a folder that cannot be written to (a read-only mount) nobody publishes, so nothing is
    locked there.
    """
    if not os.access(target.parent, os.W_OK):
        yield
        return
    with _alone(target):
        _recover(target)
        yield


def _recover(target: Path) -> None:
    previous, incoming = _previous(target), _incoming(target)
    if not os.path.lexists(previous):
        return
    if not os.path.lexists(target):
        os.rename(previous, target)
        return
    _remove(incoming)
    os.rename(previous, incoming)  # a removal that is cut short must not leave half a `previous`
    _remove(incoming)


def _alone(target: Path) -> FileLock:
    return FileLock(target.with_name(f".{target.name}.lock"))


def _incoming(target: Path) -> Path:
    return target.with_name(f".{target.name}.incoming")


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sweep_leftovers(target: Path) -> None:
    opening, ending = f".{target.name}.", ".tmp"
    for path in target.parent.iterdir():
        ours = path.name.startswith(opening) and path.name.endswith(ending)
        if ours and len(path.name) == len(opening) + 8 + len(ending):
            try:
                if path.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
                    path.unlink()
            except FileNotFoundError:  # its writer was just done with it
                continue


def _link_or_copy(source: str, target: str) -> None:
    real = os.path.realpath(source)  # a link to a symbolic link would dangle at its new place
    if os.path.getsize(real) < LINKED_FROM_BYTES:
        shutil.copy2(real, target)
        return
    try:
        os.link(real, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(real, target)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
