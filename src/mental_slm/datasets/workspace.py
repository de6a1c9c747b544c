"""Folders that stages work in."""

import os
from pathlib import Path
from typing import Any, Never

from kedro.io import AbstractDataset, DatasetError

from mental_slm.datasets.local import local_path


class WorkspaceDataset(AbstractDataset[Never, Path]):
    """A folder that a stage keeps between runs: checkpoints, caches, staging.

    Loading makes the folder and returns its absolute path. It is an input only: what a stage
    makes in it is handed on as a reference, whose dataset publishes it.
    """

    def __init__(
        self, *, filepath: str | os.PathLike[str], metadata: dict[str, Any] | None = None
    ) -> None:
        """Set up the dataset; the folder is made when it is first loaded.

        Args:
            filepath: The local folder.
            metadata: Not used here; kedro-viz reads its layer from it.
        """
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the absolute path of the folder, which is made if need be."""
        folder = Path(self._filepath).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save(self, data: Never) -> None:
        """Refuse: a workspace is never an output.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(
            f"{self._filepath}: a workspace is an input only; return a reference to what was made "
            "in it, to an entry such as ModelDataset"
        )

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()
