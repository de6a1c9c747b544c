"""Lists of records as JSON lines: chats, instruction pairs, OpenAI Batch requests and responses."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview

from mental_slm.datasets.local import LocalDataset
from mental_slm.storage import atomic_path

Row = dict[str, Any]


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON Lines file one by one; blank lines do not count.

    Raises:
        ValueError: Names the file, the line (from 1) and what is wrong with it, never its text.
    """
    with path.open("rb") as file:  # as bytes, a line ends at \n only, never at U+2028
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _parse(line, f"{path}, line {number}")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    r"""Write objects as JSON Lines, atomically and as they come.

    Keys keep the order they are given in, text stays as it is (no ASCII escapes), every line ends
    with ``\n``: equal rows give equal bytes.

    Raises:
        ValueError: Names the file and the row (from 0) that cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for number, row in enumerate(rows):
            file.write(_format(row, f"{path}, row {number}"))


def _parse(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: no valid JSON ({error.msg}, column {error.colno}); "
            "mend or delete the line, or make the file again"
        ) from None  # the decoder's exception carries the text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: no UTF-8 (byte {error.start}); save the file as UTF-8"
        ) from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a JSON object is needed, this is a {type(row).__name__}")
    return row


def _format(row: Mapping[str, Any], where: str) -> bytes:
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: a dict is needed, this is a {type(row).__name__}")
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: half of a surrogate pair; repair the text first") from None
    except (TypeError, ValueError) as error:  # not a JSON type, or NaN
        raise ValueError(f"{where}: {error}") from error


class ChatJSONLDataset(LocalDataset[list[Row]]):
    """A list of dictionaries, one JSON object per line. Equal rows give equal bytes.

    Example of a catalog entry::

        pairs_train:
          type: mental_slm.datasets.ChatJSONLDataset
          filepath: data/05_model_input/pairs_train.jsonl
          made_by: augmentation
          metadata:
            kedro-viz:
              layer: model_input
              preview_args:
                nrows: 3
    """

    def load(self) -> list[Row]:
        """Read all rows.

        Raises:
            DatasetError: The file is missing, or a line of it is broken; names file and line.
        """
        return self._read(None)

    def save(self, data: list[Row]) -> None:
        """Write all rows in one step; see :func:`write_jsonl`.

        Raises:
            DatasetError: A row is no dictionary or cannot be written as JSON; names the row.
        """
        path = self._save_to()
        try:
            write_jsonl(path, data)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def preview(self, nrows: int = 3) -> JSONPreview:
        """Show the first rows in kedro-viz.

        Args:
            nrows: How many; only these are read.
        """
        if not self.exists():
            return JSONPreview(json.dumps([self._nothing_here]))
        return JSONPreview(json.dumps(self._read(nrows), ensure_ascii=False))

    def _read(self, limit: int | None) -> list[Row]:
        path = self._load_from()
        if not path.is_file():
            raise self._missing(path)
        try:
            return list(islice(read_jsonl(path), limit))
        except ValueError as error:
            raise DatasetError(str(error)) from None
