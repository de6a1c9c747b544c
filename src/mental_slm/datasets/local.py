"""What all datasets on the local disk share: paths, versions, and what to say if nothing is there.

They are local on purpose: a hard link and a rename are what make a save atomic and free, and an
object store has neither.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import VersionNotFoundError, get_protocol_and_path

Data = TypeVar("Data")


def local_path(filepath: str | os.PathLike[str]) -> PurePosixPath:
    """Return the path of a catalog entry.

    Raises:
        DatasetError: The path belongs to a remote file system.
    """
    protocol, path = get_protocol_and_path(filepath)
    if protocol != "file":
        raise DatasetError(f"{filepath}: only local paths are supported, not {protocol}://")
    return PurePosixPath(path)


class LocalDataset(AbstractVersionedDataset[Data, Data], Generic[Data]):
    """Base of datasets that keep one file or folder on the local disk."""

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        made_by: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Set up the dataset; nothing is read or made yet.

        Args:
            filepath: The local file or folder.
            made_by: The pipeline that makes it; named in the message if it is missing.
            version: Set by Kedro where the catalog says ``versioned: true``.
            metadata: Not used here; kedro-viz reads its layer and preview arguments from it.
        """
        super().__init__(filepath=local_path(filepath), version=version)
        self.made_by = made_by
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "made_by": self.made_by, "version": self._version}

    def _exists(self) -> bool:
        return Path(self._get_load_path()).exists()

    def _load_from(self) -> Path:
        """Return the absolute path to load, of the wanted version where there are versions."""
        try:
            return Path(self._get_load_path()).absolute()
        except VersionNotFoundError as error:
            raise VersionNotFoundError(f"{self._filepath}: {self._nothing_here}") from error

    def _save_to(self) -> Path:
        return Path(self._get_save_path()).absolute()

    def _missing(self, path: Path) -> DatasetError:
        """Return the error that says what to run."""
        wanted = self._version.load if self._version else None
        if wanted and (others := self.list_versions(full_path=False)):
            return DatasetError(f"{path}: no such version; there are {', '.join(others)}")
        return DatasetError(f"{path}: {self._nothing_here}")

    @property
    def _nothing_here(self) -> str:
        return f"not made yet; make it with: {self._command}"

    @property
    def _command(self) -> str:
        return f"kedro run --pipelines {self.made_by}" if self.made_by else "kedro run"
