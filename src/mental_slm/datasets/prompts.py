"""The folder of prompts as a catalog entry, so that lineage shows what the pairs depend on."""

import json
import os
from pathlib import Path
from typing import Any, Never

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview

from mental_slm.datasets.local import local_path
from mental_slm.prompts import PromptError, Prompts


class PromptsDataset(AbstractDataset[Never, Prompts]):
    """The prompts in ``conf/base/prompts``; read-only.

    Example of a catalog entry::

        prompts:
          type: mental_slm.datasets.PromptsDataset
          filepath: conf/base/prompts
    """

    def __init__(
        self, *, filepath: str | os.PathLike[str], metadata: dict[str, Any] | None = None
    ) -> None:
        """Set up the dataset.

        Args:
            filepath: Folder with the YAML files.
            metadata: Not used here; kedro-viz reads its layer from it.
        """
        self._filepath = local_path(filepath)
        self.metadata = metadata

    def load(self) -> Prompts:
        """Read and check the prompts.

        Raises:
            DatasetError: A file is missing or wrong; names file and key.
        """
        try:
            return Prompts.read(Path(self._filepath))
        except PromptError as error:
            raise DatasetError(str(error)) from error

    def save(self, data: Never) -> None:
        """Refuse: people write prompts.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"{self._filepath}: prompts are read-only; edit the files")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()

    def preview(self) -> JSONPreview:
        """Show the prompts in kedro-viz."""
        shown = self.load().model_dump(exclude={"template_answers"}) if self.exists() else {}
        return JSONPreview(json.dumps(shown, ensure_ascii=False))
