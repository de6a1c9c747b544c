"""Reuse of finished work, decided by content.

``kedro run --only-missing-outputs`` looks only at whether a file exists. An expensive stage
therefore writes, next to its result, a fingerprint of everything that made it (inputs, options,
the code of the stage) and does the work again only where a part of it has changed. The log says
which and why.
"""

import hashlib
import importlib.util
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mental_slm.references import FILE_NAME as REFERENCE_FILE
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

FILE_NAME = "fingerprint.json"


def digest(value: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a JSON-serialisable value (keys sorted)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_as_json)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex, read in blocks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_files(folder: Path) -> list[str]:
    """Return the names of the files that make up an artefact, relative to its folder, sorted.

    Hidden files and folders, the fingerprint and the catalog's note do not count: they say how an
    artefact was made, not what it is.
    """
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        name.as_posix()
        for name in names
        if name.name not in (FILE_NAME, REFERENCE_FILE)
        and not any(part.startswith(".") for part in name.parts)
    )


def digest_folder(folder: Path) -> str:
    """Return 16 hex digits over the names and contents of :func:`content_files`."""
    return digest([[name, digest_file(folder / name)] for name in content_files(folder)])


def digest_code(*modules: str) -> str:
    """Return 16 hex digits over the source of modules or packages, without importing them."""
    sources: list[list[str]] = []
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{name}: no such module to take the code digest of")
        origin = Path(spec.origin)
        files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
        sources += [
            [f"{name}/{file.relative_to(origin.parent).as_posix()}", digest_file(file)]
            for file in files
        ]
    return digest(sources)


@dataclass(frozen=True)
class Fingerprint:
    """What a piece of work was made from: named parts, each with its digest."""

    stage: str
    parts: dict[str, str]

    @classmethod
    def of(cls, stage: str, **parts: Any) -> "Fingerprint":
        """Build a fingerprint; a part that is not a string yet is digested.

        Args:
            stage: Name of the work, used in the log.
            **parts: Everything the result depends on, for example ``options``, ``pairs``, ``code``.
        """
        return cls(stage, {k: v if isinstance(v, str) else digest(v) for k, v in parts.items()})

    def matches(self, folder: Path) -> bool:
        """Tell whether ``folder`` holds finished work with this fingerprint, and log why (not)."""
        path = folder / FILE_NAME
        if not path.is_file():
            logger.info("%s: no earlier result in %s, starting afresh", self.stage, folder)
            return False
        try:
            known = dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError):  # cut off, or not the JSON object it was
            logger.warning("%s: %s is damaged, doing the work again", self.stage, path)
            return False
        changed = sorted(
            part for part in self.parts | known if self.parts.get(part) != known.get(part)
        )
        if changed:
            logger.info("%s: doing it again, because of new %s", self.stage, ", ".join(changed))
            return False
        logger.info(
            "%s: re-using the result in %s (same %s)", self.stage, folder, ", ".join(self.parts)
        )
        return True

    def seal(self, folder: Path) -> None:
        """Mark the work in ``folder`` as finished. Call this last."""
        write_text(folder / FILE_NAME, json.dumps(self.parts, indent=2, sort_keys=True) + "\n")

    @staticmethod
    def unseal(folder: Path) -> None:
        """Mark the work in ``folder`` as unfinished. Call this before changing it."""
        (folder / FILE_NAME).unlink(missing_ok=True)


def _as_json(value: Any) -> Any:
    if isinstance(value, set | frozenset):  # their order changes from process to process
        return sorted(value)
    return str(value)
