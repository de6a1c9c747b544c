from pathlib import Path

import pytest
from kedro.io import DatasetError

from mental_slm.datasets import WorkspaceDataset


def test_loading_makes_the_folder_and_keeps_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = WorkspaceDataset(filepath="data/work")
    assert not dataset.exists()
    folder = dataset.load()
    assert folder == tmp_path / "data" / "work"
    assert dataset.exists()
    (folder / "checkpoint").write_text("1")
    assert (dataset.load() / "checkpoint").read_text() == "1"


def test_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="an input only"):
        WorkspaceDataset(filepath=tmp_path).save(tmp_path)
