from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import kill_at_every_step

from mental_slm.datasets import MarkdownDataset, MarkdownFolderDataset


@pytest.fixture
def dataset(tmp_path: Path) -> MarkdownDataset:
    return MarkdownDataset(filepath=tmp_path / "card.md", made_by="deployment")


def test_text_comes_back_as_it_was(dataset: MarkdownDataset, tmp_path: Path) -> None:
    dataset.save("# Card\r\n\nGrüße 🙂")
    assert dataset.load() == "# Card\r\n\nGrüße 🙂"
    assert (tmp_path / "card.md").read_bytes() == "# Card\r\n\nGrüße 🙂".encode()


def test_preview_renders_and_runs_nothing(dataset: MarkdownDataset) -> None:
    dataset.save("# Card\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script>\n")
    shown = dataset.preview()
    assert "<h1>Card</h1>" in shown
    assert "<td>1</td>" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_missing_file_says_what_to_run(dataset: MarkdownDataset) -> None:
    with pytest.raises(DatasetError, match="card.md: .*kedro run --pipelines deployment"):
        dataset.load()
    assert "kedro run --pipelines deployment" in dataset.preview()


def test_killed_at_every_step(dataset: MarkdownDataset) -> None:
    dataset.save("old" * 999)
    seen = kill_at_every_step(lambda: dataset.save("new" * 999), dataset.load)
    assert set(seen) == {"old" * 999, "new" * 999}


@pytest.fixture
def folder(tmp_path: Path) -> MarkdownFolderDataset:
    return MarkdownFolderDataset(filepath=tmp_path / "cards", made_by="ingestion")


def test_a_folder_holds_what_was_saved_last_and_nothing_older(
    folder: MarkdownFolderDataset, tmp_path: Path
) -> None:
    folder.save({"one": "# One\r\n", "two": "# Zwei: Grüße 🙂"})
    assert folder.load() == {"one": "# One\r\n", "two": "# Zwei: Grüße 🙂"}
    folder.save({"three": "# Three"})
    assert folder.load() == {"three": "# Three"}
    assert [path.name for path in (tmp_path / "cards").iterdir()] == ["three.md"]


def test_the_preview_of_a_folder_shows_all_texts_and_runs_nothing(
    folder: MarkdownFolderDataset,
) -> None:
    folder.save({"b": "# Second <script>alert(1)</script>", "a": "# First"})
    shown = folder.preview()
    assert shown.index("<h1>First</h1>") < shown.index("<hr>") < shown.index("<h1>Second")
    assert "<script>" not in shown


def test_a_missing_folder_says_what_to_run(folder: MarkdownFolderDataset) -> None:
    with pytest.raises(DatasetError, match="cards: .*kedro run --pipelines ingestion"):
        folder.load()
    assert "kedro run --pipelines ingestion" in folder.preview()


def test_a_folder_killed_at_every_step(folder: MarkdownFolderDataset) -> None:
    old, new = ({name: word * 99 for name in ("a", "b")} for word in ("old", "new"))
    folder.save(old)
    seen = kill_at_every_step(lambda: folder.save(new), folder.load)
    assert all(found in (old, new) for found in seen)
    assert old in seen and new in seen
