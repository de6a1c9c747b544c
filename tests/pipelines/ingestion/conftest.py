import csv
import hashlib
import io

import pytest

from mental_slm.datasets.remote_file import RawFile, Source


@pytest.fixture
def write_raw(tmp_path):
    """Write a real raw file and return the handle that the catalog would give for it."""

    def write(content, name="file.csv", rows=None):
        if isinstance(content, list):
            buffer = io.StringIO()
            csv.writer(buffer).writerows(content)
            content = buffer.getvalue()
        if isinstance(content, str):
            content = content.encode()
        path = tmp_path / name
        path.write_bytes(content)
        source = Source(
            file=name,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            rows=rows,
            licence="CC0-1.0",
        )
        return RawFile(path, source)

    return write


@pytest.fixture(autouse=True)
def no_mirror(request, monkeypatch):
    if "mirror" not in request.keywords:
        monkeypatch.delenv("MENTAL_SLM_MIRROR", raising=False)
