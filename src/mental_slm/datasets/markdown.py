"""Text in Markdown: reports, tables and model cards."""

import html
from pathlib import Path

from kedro_datasets._typing import HTMLPreview

from mental_slm.datasets.local import LocalDataset
from mental_slm.storage import atomic_folder, settled, write_text


class MarkdownDataset(LocalDataset[str]):
    """A Markdown file. Loads and saves the text as it is; kedro-viz shows it rendered."""

    def load(self) -> str:
        """Read the text.

        Raises:
            DatasetError: The file is missing.
        """
        path = self._load_from()
        if not path.is_file():
            raise self._missing(path)
        return path.read_bytes().decode("utf-8")

    def save(self, data: str) -> None:
        """Write the text in one step."""
        write_text(self._save_to(), data)

    def preview(self) -> HTMLPreview:
        """Render the text for kedro-viz."""
        if not self.exists():
            return HTMLPreview(f"<p>{html.escape(self._nothing_here)}</p>")
        return HTMLPreview(_render(Path(self._load_from()).read_bytes().decode("utf-8")))


class MarkdownFolderDataset(LocalDataset[dict[str, str]]):
    """A folder of Markdown files, by name without ``.md``; a save replaces the whole folder.

    Example:
        ::

            dataset_cards:
              type: mental_slm.datasets.MarkdownFolderDataset
              filepath: data/08_reporting/sample/dataset_cards
    """

    def load(self) -> dict[str, str]:
        """Read all texts, in the order of their names.

        Raises:
            DatasetError: The folder is missing.
        """
        folder = self._load_from()
        with settled(folder):
            if not folder.is_dir():
                raise self._missing(folder)
            return {
                path.stem: path.read_bytes().decode("utf-8") for path in sorted(folder.glob("*.md"))
            }

    def save(self, data: dict[str, str]) -> None:
        """Write the texts; a reader sees the old folder or the new one, never a mixture."""
        with atomic_folder(self._save_to()) as folder:
            for name, text in data.items():
                (folder / f"{name}.md").write_bytes(text.encode("utf-8"))

    def preview(self) -> HTMLPreview:
        """Render the texts one after another for kedro-viz."""
        if not self.exists():
            return HTMLPreview(f"<p>{html.escape(self._nothing_here)}</p>")
        return HTMLPreview("<hr>".join(map(_render, self.load().values())))


def _render(text: str) -> str:
    """Return the text as HTML; HTML inside the text is shown, not run."""
    # comes with kedro, through rich
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
