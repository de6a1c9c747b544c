"""Rows to bytes, exactly: line ends, quoting and even broken bytes are part of a format."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_bytes(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    line_end: str = "\n",
    final_line_end: bool = True,
) -> bytes:
    """Return a comma-separated file, fields quoted only where they must be.

    Args:
        header: Column names.
        rows: Fields in the order of the header.
        line_end: What ends a line. Newlines inside a field stay as they are.
        final_line_end: False leaves the last line unfinished, as some upstream files do.

    Returns:
        UTF-8; a lone surrogate U+DC80..U+DCFF in a field becomes the undecodable byte 0x80..0xFF.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=line_end)
    writer.writerow(header)
    writer.writerows(rows)
    text = buffer.getvalue()
    if not final_line_end:
        text = text.removesuffix(line_end)
    return text.encode("utf-8", "surrogateescape")
