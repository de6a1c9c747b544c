"""Base of the datasets that publish a big artefact and hand out a reference to it."""

import json
import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview

from mental_slm.datasets.local import LocalDataset
from mental_slm.fingerprints import content_files
from mental_slm.references import FILE_NAME, Reference
from mental_slm.storage import publish_folder, settled

R = TypeVar("R", bound=Reference)

#: What the note says beside the fields of the reference.
FILES, FACTS = "files", "facts"


class ReferenceDataset(LocalDataset[R], Generic[R]):
    """A published folder with a note, ``reference.json``, that says what it is.

    ``save(reference)`` checks the artefact and publishes a copy of it (large files are
    hard-linked) into the dataset's own folder, in one step. ``load()`` puts an interrupted save in
    order, checks that all files are there in their full size, and returns the reference at the
    dataset's own place.
    """

    reference_type: ClassVar[type[Reference]]

    def load(self) -> R:
        """Return the reference to the published artefact.

        Raises:
            DatasetError: Nothing was published yet, or the artefact was damaged since; names the
                file and the command that makes it again.
        """
        folder = self._load_from()
        with settled(folder):
            note = self._read_note(folder)
            reference = self._rebuild(note, folder)
            try:
                self._verify(reference, note)
            except (ValueError, OSError) as error:
                raise DatasetError(
                    f"{folder}: damaged since it was published: {error}; "
                    f"copy it again, or make it again with: {self._command}"
                ) from error
        return reference

    def save(self, data: R) -> None:
        """Check the artefact and publish it.

        Raises:
            DatasetError: It is not what the dataset holds, a file is missing or damaged, or the
                dataset's folder holds something else.
        """
        folder = self._save_to()
        if not isinstance(data, self.reference_type):
            wanted = self.reference_type.__name__
            raise DatasetError(f"{folder}: takes a {wanted}, not a {type(data).__name__}")
        _refuse_foreign(folder)
        try:
            self._publish(data, self._inspect(data), folder)
        except (ValueError, OSError) as error:
            raise DatasetError(f"{data.path}: cannot be published to {folder}: {error}") from error

    def preview(self) -> JSONPreview:
        """Show what the note says in kedro-viz, without a look at the artefact itself."""
        if not self.exists():
            return JSONPreview(json.dumps(self._nothing_here))
        note = self._read_note(self._load_from())
        shown = {key: value for key, value in note.items() if key not in (FILES, FACTS, "path")}
        return JSONPreview(json.dumps({**shown, **note[FACTS]}, ensure_ascii=False))

    @abstractmethod
    def _inspect(self, reference: R) -> dict[str, Any]:
        """Check an artefact before it is published and return facts for the preview.

        Raises:
            ValueError: It is incomplete or damaged.
        """

    def _publish(self, reference: R, facts: dict[str, Any], folder: Path) -> None:
        note = format_note(reference, ".", file_sizes(reference.path), facts)
        publish_folder(reference.path, folder, {FILE_NAME: note})

    def _verify(self, reference: R, note: dict[str, Any]) -> None:
        """Check a published artefact, cheaply: all files are there, in their full size.

        Raises:
            ValueError: Names the file at fault.
        """
        root = reference.path if reference.path.is_dir() else reference.path.parent
        for name, size in note[FILES].items():
            if not (root / name).is_file():
                raise ValueError(f"{root / name} is missing")
            if (found := (root / name).stat().st_size) != size:
                raise ValueError(f"{root / name} has {found} bytes instead of {size}")

    def _exists(self) -> bool:
        folder = Path(self._get_load_path()).absolute()
        with settled(folder):
            return (folder / FILE_NAME).is_file()

    def _read_note(self, folder: Path) -> dict[str, Any]:
        path = folder / FILE_NAME
        if not path.is_file():
            raise self._missing(folder)
        try:
            note = json.loads(path.read_bytes())
            if not {"path", FILES, FACTS} <= set(note):
                raise ValueError(f"{FILES}, {FACTS} or path is missing")
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f"{path}: damaged ({error}); make it again with: {self._command}"
            ) from error
        return dict(note)

    def _rebuild(self, note: dict[str, Any], folder: Path) -> R:
        fields = {key: value for key, value in note.items() if key not in (FILES, FACTS)}
        try:
            reference = self.reference_type.from_json(fields)
        except TypeError as error:
            raise DatasetError(
                f"{folder / FILE_NAME}: no {self.reference_type.__name__} ({error}); "
                f"make it again with: {self._command}"
            ) from error
        # an absolute path in the note wins over the folder
        return reference.at(Path(os.path.normpath(folder / note["path"])))  # type: ignore[return-value]


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file that makes up an artefact.

    Raises:
        ValueError: There is no such folder.
    """
    if not folder.is_dir():
        raise ValueError("no such folder")
    return {name: (folder / name).stat().st_size for name in content_files(folder)}


def format_note(reference: Reference, path: str, files: dict[str, int], facts: Any) -> str:
    """Return the text of a note.

    Args:
        reference: What was published.
        path: Where it lies, from the folder of the note.
        files: Size in bytes by name.
        facts: What else the preview shows.

    Raises:
        ValueError: A number is not finite.
    """
    note = {**reference.to_json(), "path": path, FILES: files, FACTS: facts}
    return json.dumps(note, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: The file is missing or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is no valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return data


def _refuse_foreign(folder: Path) -> None:
    """Make sure that replacing ``folder`` deletes nothing but an earlier artefact.

    Raises:
        DatasetError: It holds something else, for example versions of the same dataset.
    """
    if not folder.exists():
        return
    published = folder.is_dir() and (folder / FILE_NAME).is_file()
    versions = any(folder.glob(f"*/{folder.name}/{FILE_NAME}"))
    if versions or not (published or (folder.is_dir() and not any(folder.iterdir()))):
        raise DatasetError(
            f"{folder}: holds something that this dataset did not publish"
            f"{' (versions of itself)' if versions else ''}; move it away first"
        )
