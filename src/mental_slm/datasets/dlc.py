"""Qualcomm deep learning containers (DLC), read without the vendor's SDK.

A DLC is a zip archive whose members are all stored (never deflated). The checksums in the archive
are zero, so neither ``zipfile`` nor the vendor's reader notices a damaged weight: the members'
SHA-256 in our own note does. The vendor's reader may crash on a file that is no zip, which is one
more reason to look first. The names of the members come from DLCs made with qairt and from the
public header ``QnnSystemDlc.h``; versions end their names, so they are matched by prefix.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

from mental_slm.datasets.reference import FACTS, ReferenceDataset, format_note
from mental_slm.references import FILE_NAME, DLCRef, Reference
from mental_slm.storage import atomic_folder, share

BLOCK_BYTES = 2**20
LOCAL_HEADER_BYTES = 30
LOCAL_HEADER_MAGIC = b"PK\x03\x04"
ENCRYPTED = 0x1

MODEL, PREPARED, METADATA = "model", "htp.cache.", "dlc.metadata"


@dataclass(frozen=True)
class Member:
    """One member of a container.

    Attributes:
        name: Its name in the archive.
        size: Bytes.
        sha256: Hex digits over its bytes.
    """

    name: str
    size: int
    sha256: str


def read_members(path: Path) -> list[Member]:
    """Read and hash all members of a container, in the order of the archive.

    Raises:
        ValueError: It is no zip, is cut off, or was packed by another program (deflated,
            encrypted, absolute or repeated names). Names the member.
    """
    with path.open("rb") as file:
        return [
            Member(entry.filename, entry.file_size, _sha256(file, entry))
            for entry in _entries(path)
        ]


def read_member(path: Path, name: str) -> bytes:
    """Return the bytes of one member.

    Raises:
        KeyError: There is no such member.
        ValueError: See :func:`read_members`.
    """
    for entry in _entries(path):
        if entry.filename == name:
            with path.open("rb") as file:
                return b"".join(_blocks(file, entry))
    raise KeyError(name)


def describe_container(path: Path) -> dict[str, Any]:
    """Return what a container is: its kind, its members and what its metadata says.

    Returns:
        ``kind`` (``ir``: from the converter; ``prepared``: compiled for a chip; ``mixed``),
        ``members``, and per prepared cache ``name``, ``soc_model``, ``dsp_arch``, ``build_id``.

    Raises:
        ValueError: See :func:`read_members`; or it holds neither a model nor a prepared cache.
    """
    members = read_members(path)
    names = [member.name for member in members]
    kinds = {"ir": MODEL in names, "prepared": any(name.startswith(PREPARED) for name in names)}
    if not any(kinds.values()):
        raise ValueError(f"{path.name} is no DLC: neither a model nor a prepared cache is in it")
    if not any(name.startswith(METADATA) for name in names):
        raise ValueError(f"{path.name} is no DLC: {METADATA}* is missing")
    return {
        "kind": "mixed" if all(kinds.values()) else next(k for k, found in kinds.items() if found),
        "members": [asdict(member) for member in members],
        "caches": [_describe_cache(cache) for cache in _metadata(path, names).get("cacheList", [])],
    }


class DLCDataset(ReferenceDataset[DLCRef]):
    """A folder with a DLC file and its note, or with the plain note that none was made.

    ``filepath`` is the folder; the reference it loads points at the file inside. Where the step
    was skipped (``skipped_because``) the reference points at the folder. Loading hashes the file.
    """

    reference_type: ClassVar[type[Reference]] = DLCRef

    def _inspect(self, reference: DLCRef) -> dict[str, Any]:
        if reference.skipped_because:
            return {}
        if not reference.path.is_file():
            raise ValueError("no such file; where none was made, say why in skipped_because")
        return describe_container(reference.path)

    def _publish(self, reference: DLCRef, facts: dict[str, Any], folder: Path) -> None:
        made = not reference.skipped_because
        files = {reference.path.name: reference.path.stat().st_size} if made else {}
        note = format_note(reference, reference.path.name if made else ".", files, facts)
        with atomic_folder(folder) as incoming:
            if made:
                share(reference.path, incoming / reference.path.name)
            (incoming / FILE_NAME).write_bytes(note.encode("utf-8"))

    def _verify(self, reference: DLCRef, note: dict[str, Any]) -> None:
        super()._verify(reference, note)
        if reference.skipped_because:
            return
        expected = {Member(**member) for member in note[FACTS]["members"]}
        differing = expected ^ set(read_members(reference.path))
        if differing:
            names = ", ".join(sorted({member.name for member in differing}))
            raise ValueError(f"{reference.path}: not as it was published: {names}")


def _entries(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path.name} is cut off or no DLC (not a zip archive)") from error
    seen: set[str] = set()
    for entry in entries:
        _check_entry(entry, path.name, seen)
        seen.add(entry.filename)
    return entries


def _check_entry(entry: zipfile.ZipInfo, file: str, seen: set[str]) -> None:
    name = entry.orig_filename
    if name in seen:
        raise ValueError(f"{file}: two members are called {name}")
    if PurePosixPath(name).is_absolute() or "\\" in name or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{file}: member {name!r} has a path of its own")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"{file}: {name} is compressed; a re-packed DLC does not load on a phone")
    if entry.flag_bits & ENCRYPTED:
        raise ValueError(f"{file}: {name} is encrypted")


def _blocks(file: BinaryIO, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a stored member; ``zipfile`` would refuse the checksum of zero."""
    file.seek(entry.header_offset)
    header = file.read(LOCAL_HEADER_BYTES)
    if header[:4] != LOCAL_HEADER_MAGIC:
        raise ValueError(f"{entry.filename}: its header is damaged")
    name_bytes, extra_bytes = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    file.seek(name_bytes + extra_bytes, 1)
    left = entry.file_size
    while left:
        block = file.read(min(left, BLOCK_BYTES))
        if not block:
            raise ValueError(f"{entry.filename}: cut off")
        left -= len(block)
        yield block


def _sha256(file: BinaryIO, entry: zipfile.ZipInfo) -> str:
    hashed = hashlib.sha256()
    for block in _blocks(file, entry):
        hashed.update(block)
    return hashed.hexdigest()


def _metadata(path: Path, names: list[str]) -> dict[str, Any]:
    """Return the JSON metadata of a container; older ones hold lines of text instead."""
    name = next((name for name in names if name.startswith(f"{METADATA}2")), None)
    if name is None:
        return {}
    try:
        return dict(json.loads(read_member(path, name)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {name} is damaged ({error})") from error


def _describe_cache(cache: dict[str, Any]) -> dict[str, Any]:
    context = cache.get("contextMetadata", {})
    return {
        "name": cache.get("cacheName"),
        "soc_model": cache.get("socModel"),
        "dsp_arch": context.get("dspArch"),
        "build_id": cache.get("buildId") or context.get("buildId"),
    }
