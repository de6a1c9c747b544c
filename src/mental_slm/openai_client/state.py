"""Which batches are under way: a small file beside the journal, replaced in one step."""

import json
import secrets
import time
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mental_slm.storage import write_text


class Part(BaseModel):
    """One file of requests on its way through the Batch API.

    Attributes:
        key: Names it at the server (file name, metadata), so that it is found again there even if
            the process died before it could note the ids below.
        model: All requests of a batch go to one model.
        custom_ids: What it asks for.
        file_id: The uploaded file; None before.
        batch_id: The batch; None before it was made.
        reserved_usd: Ceiling of its cost.
        made_at: Seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid")

    key: str = Field(default_factory=lambda: secrets.token_hex(8))
    model: str
    custom_ids: list[str]
    file_id: str | None = None
    batch_id: str | None = None
    reserved_usd: float = 0.0
    made_at: float = Field(default_factory=time.time)


class BatchState(BaseModel):
    """All parts under way.

    Attributes:
        url: The server they are at.
        parts: In the order they were made.
        submissions: How often each open request was put into a batch.
    """

    model_config = ConfigDict(extra="forbid")

    url: str
    parts: list[Part] = []
    submissions: dict[str, int] = {}

    @staticmethod
    def path_for(journal: Path) -> Path:
        """Return where the state of a journal's batches is kept."""
        return journal.with_name(f"{journal.name}.batches.json")

    @classmethod
    def load(cls, journal: Path, url: str) -> "BatchState":
        """Read the state beside a journal, or begin a new one.

        Raises:
            ValueError: It is damaged, or its batches are under way at another server.
        """
        path = cls.path_for(journal)
        state = cls._read(path)
        if state.parts and state.url != url:
            raise ValueError(
                f"{path}: batches are under way at {state.url}, but base_url is {url}; finish them "
                "there first, or delete the file to give them up"
            )
        return state.model_copy(update={"url": url})

    @classmethod
    def _read(cls, path: Path) -> "BatchState":
        if not path.exists():
            return cls(url="")
        try:
            return cls.model_validate(json.loads(path.read_text("utf-8")))
        except (json.JSONDecodeError, ValidationError) as error:
            raise ValueError(
                f"{path}: is damaged ({type(error).__name__}). It says which batches are under "
                "way; look them up at the provider, then delete the file"
            ) from None

    def save(self, journal: Path) -> None:
        """Write the state; an empty one removes the file."""
        if self.parts:
            write_text(self.path_for(journal), self.model_dump_json(indent=1) + "\n")
        else:
            self.path_for(journal).unlink(missing_ok=True)

    def close(self, part: Part, journal: Path) -> None:
        """Take a part off the list, for good."""
        self.parts.remove(part)
        self.save(journal)

    def open_ids(self) -> set[str]:
        """Return the ids of all requests that are under way."""
        return {custom_id for part in self.parts for custom_id in part.custom_ids}

    @classmethod
    def ids_beside(cls, journal: Path) -> set[str]:
        """Return the ids under way for a journal, at whatever server."""
        return cls._read(cls.path_for(journal)).open_ids()

    @classmethod
    def forget(cls, journal: Path, custom_ids: Collection[str]) -> None:
        """Remove ids from the parts of a journal, so that their answers are not taken."""
        path = cls.path_for(journal)
        if not path.exists():
            return
        state = cls._read(path)
        for part in state.parts:
            kept = [name for name in part.custom_ids if name not in custom_ids]
            if part.batch_id is None and len(kept) < len(part.custom_ids):
                # the file that may have been uploaded must not become a batch
                part.key, part.file_id = secrets.token_hex(8), None
            part.custom_ids = kept
        for custom_id in custom_ids:
            state.submissions.pop(custom_id, None)
        state.save(journal)
