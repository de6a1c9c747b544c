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

from mental_slm.datasets.reference import FACTS, ReferenceDataset
from mental_slm.fingerprints import content_files, digest_file
from mental_slm.references import DLCRef, Reference

BLOCK_BYTES = 2**20
LOCAL_HEADER_BYTES = 30
LOCAL_HEADER_MAGIC = b"PK\x03\x04"
ENCRYPTED = 0x1

MODEL, PREPARED, METADATA = "model", "htp.cache.", "dlc.metadata"
HISTORY = f"{METADATA}.history"
SUFFIX = ".dlc"


@dataclass(frozen=True)
class Chip:
    """What the vendor's tools call a chip and the architecture of its NPU."""

    soc_model: int
    htp_arch: int


#: Snapdragon 8 Gen 2, 8 Gen 3, 8 Elite and 8 Elite Gen 5, by the names of the vendor's tools.
CHIPS = {
    "sm8550": Chip(43, 73),
    "sm8650": Chip(57, 75),
    "sm8750": Chip(69, 79),
    "sm8850": Chip(87, 81),
}


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
        ``members``, ``made_with`` (tool and version per conversion), and per prepared cache
        ``name``, ``soc_model``, ``dsp_arch``, ``build_id`` and ``graphs`` with inputs and outputs.

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
    caches = _metadata(path, names, f"{METADATA}2").get("cacheList", [])
    history = _metadata(path, names, HISTORY).get("dlcGenerationInfo", [])
    return {
        "kind": "mixed" if all(kinds.values()) else next(k for k, found in kinds.items() if found),
        "members": [asdict(member) for member in members],
        "made_with": [_describe_command(entry.get("converterCommand", {})) for entry in history],
        "caches": [_describe_cache(cache) for cache in caches],
    }


def check_chips(path: Path, facts: dict[str, Any], soc: str) -> None:
    """Check that what is compiled in a container is for the wanted chips.

    Args:
        path: Of the container.
        facts: From :func:`describe_container`.
        soc: Names from :data:`CHIPS`, separated by commas.

    Raises:
        ValueError: Names the cache and both chips.
    """
    wanted = [CHIPS[name] for name in soc.split(",")]
    for cache in facts["caches"]:
        found = Chip(cache["soc_model"], cache["dsp_arch"])
        if found not in wanted:
            name = next((name for name, chip in CHIPS.items() if chip == found), "an unknown chip")
            raise ValueError(
                f"{path.name}: {cache['name']} is compiled for {name} (soc_model "
                f"{found.soc_model}, arch {found.htp_arch}), not for {soc}"
            )


class DLCDataset(ReferenceDataset[DLCRef]):
    """A folder with containers and what lies beside them, or with the note why none was made.

    Every container below the folder is read and checked when it is saved, down to the SHA-256 of
    its members, and again when it is loaded.
    """

    reference_type: ClassVar[type[Reference]] = DLCRef

    def _inspect(self, reference: DLCRef) -> dict[str, Any]:
        if not reference.path.is_dir():
            raise ValueError("no such folder; where no container was made, it may be empty")
        containers = {}
        digests = {}
        for name in content_files(reference.path):
            path = reference.path / name
            if name.endswith(SUFFIX):
                containers[name] = describe_container(path)
                check_chips(path, containers[name], reference.soc)
            else:
                digests[name] = digest_file(path)
        if not containers and not reference.skipped_because:
            raise ValueError(f"no *{SUFFIX}; where none was made, say why in skipped_because")
        return {"containers": containers, "sha256": digests}

    def _verify(self, reference: DLCRef, note: dict[str, Any]) -> None:
        super()._verify(reference, note)
        for name, facts in note[FACTS]["containers"].items():
            expected = {Member(**member) for member in facts["members"]}
            if differing := expected ^ set(read_members(reference.path / name)):
                names = ", ".join(sorted({member.name for member in differing}))
                raise ValueError(f"{reference.path / name}: not as it was published: {names}")
        for name, sha256 in note[FACTS]["sha256"].items():
            if digest_file(reference.path / name) != sha256:
                raise ValueError(f"{reference.path / name}: not as it was published")


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


def _metadata(path: Path, names: list[str], prefix: str) -> dict[str, Any]:
    """Return JSON metadata of a container; older ones hold lines of text instead."""
    name = next((name for name in names if name.startswith(prefix)), None)
    if name is None:
        return {}
    try:
        return dict(json.loads(read_member(path, name)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {name} is damaged ({error})") from error


def _describe_command(command: dict[str, Any]) -> dict[str, Any]:
    return {"tool": command.get("tool"), "version": command.get("converterVersion")}


def _describe_cache(cache: dict[str, Any]) -> dict[str, Any]:
    context = cache.get("contextMetadata", {})
    return {
        "name": cache.get("cacheName"),
        "soc_model": cache.get("socModel"),
        "dsp_arch": context.get("dspArch"),
        "build_id": cache.get("buildId") or context.get("buildId"),
        "graphs": [
            {
                "name": graph.get("graphName"),
                "inputs": [_describe_tensor(t) for t in graph.get("graphInputs", [])],
                "outputs": [_describe_tensor(t) for t in graph.get("graphOutputs", [])],
            }
            for graph in cache.get("graphs", [])
        ],
    }


def _describe_tensor(tensor: dict[str, Any]) -> str:
    kind = str(tensor.get("dataType", "")).removeprefix("QNN_DATATYPE_").lower()
    return f"{tensor.get('name')}: {kind}{tensor.get('dimensions')}"
