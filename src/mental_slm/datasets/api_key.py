"""A key from the credentials, handed to the node that needs it and shown to nobody."""

from typing import Any, Never

from kedro.io import AbstractDataset, DatasetError
from pydantic import SecretStr


class APIKeyDataset(AbstractDataset[Never, SecretStr | None]):
    """The key of an OpenAI-compatible server; None where the environment variable is not set.

    Example of a catalog entry::

        teacher_api_key:
          type: mental_slm.datasets.APIKeyDataset
          credentials: openai
    """

    def __init__(
        self, *, credentials: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        """Take the key out of the credentials.

        Args:
            credentials: With an entry ``api_key``.
            metadata: Not used here; kedro-viz reads its layer from it.
        """
        key = credentials["api_key"]
        self._key = None if key is None else SecretStr(key)
        self.metadata = metadata

    def load(self) -> SecretStr | None:
        """Return the key; printing it shows asterisks."""
        return self._key

    def save(self, data: Never) -> None:
        """Refuse: keys come from environment variables.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("keys are read-only; set the environment variable in credentials.yml")

    def _describe(self) -> dict[str, Any]:
        return {"set": self._key is not None}

    def _exists(self) -> bool:
        return self._key is not None
