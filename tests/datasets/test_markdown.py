from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import kill_at_every_step

from mental_slm.datasets import MarkdownDataset


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
