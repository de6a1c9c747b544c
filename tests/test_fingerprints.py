"""Work is done again where something changed, and only there."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mental_slm.fingerprints import (
    FILE_NAME,
    Fingerprint,
    digest,
    digest_code,
    digest_file,
    digest_folder,
)


def test_digest_forgets_the_order_of_keys_but_not_of_lists() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert len(digest(None)) == 16


def test_digest_of_a_set_is_the_same_in_every_process() -> None:
    code = "from mental_slm.fingerprints import digest; print(digest({'a', 'b', 'c', 'd', 'e'}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_digest_takes_half_of_a_surrogate_pair() -> None:
    assert digest("\ud83d") != digest("\ud83e")


def test_digest_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_digest_folder_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_text("a")
    first = digest_folder(tmp_path)
    (tmp_path / "inner" / "a").write_text("b")
    second = digest_folder(tmp_path)
    (tmp_path / "inner" / "a").rename(tmp_path / "a")
    assert len({first, second, digest_folder(tmp_path)}) == 3


@pytest.mark.parametrize("name", [".hidden", ".cache/lock", FILE_NAME, "reference.json"])
def test_digest_folder_leaves_out_how_it_was_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_text("a")
    before = digest_folder(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("today")
    assert digest_folder(tmp_path) == before


def test_digest_code_changes_with_the_code_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "digested"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was run')")
    (package / "inner" / "a.py").write_text("A = 1")
    monkeypatch.syspath_prepend(tmp_path)
    first = digest_code("digested")
    (package / "inner" / "a.py").write_text("A = 2")
    second = digest_code("digested")
    (package / "inner" / "a.py").rename(package / "a.py")
    assert len({first, second, digest_code("digested")}) == 3
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        digest_code("no_such_module")


def test_finished_work_matches_until_a_part_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    work = Fingerprint.of("training", pairs="123", options={"r": 8})
    assert not work.matches(tmp_path)
    assert "no earlier result" in caplog.text
    work.seal(tmp_path)
    assert work.matches(tmp_path)
    assert "re-using" in caplog.text
    assert not Fingerprint.of("training", pairs="123", options={"r": 4}).matches(tmp_path)
    assert "because of new options" in caplog.text
    assert not Fingerprint.of("training", pairs="123").matches(tmp_path)
    work.unseal(tmp_path)
    work.unseal(tmp_path)
    assert not work.matches(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"pairs": "1', b"\x00" * 64, b"\xff\xfe", b"[1]", b"7"])
def test_a_damaged_fingerprint_means_doing_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert not Fingerprint.of("training", pairs="123").matches(tmp_path)
    assert "damaged" in caplog.text
    assert str(tmp_path / FILE_NAME) in caplog.text
