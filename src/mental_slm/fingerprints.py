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

from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

FILE_NAME = "fingerprint.json"


def digest(value: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a JSON-serialisable value (keys sorted)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex, read in blocks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> str:
    """Return 16 hex digits over the names and contents of all files below ``folder``.

    Hidden files and the fingerprint itself do not count: they say how an artefact was made, not
    what it is.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != FILE_NAME
    )
    return digest([[str(path.relative_to(folder)), digest_file(path)] for path in files])


def digest_code(*modules: str) -> str:
    """Return 16 hex digits over the source of modules or packages, without importing them."""
    sources: list[list[str]] = []
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{name}: no such module to take the code digest of")
        origin = Path(spec.origin)
        files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
        sources += [[f"{name}/{file.name}", digest_file(file)] for file in files]
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
            known = json.loads(path.read_text("utf-8"))
        except json.JSONDecodeError:
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
