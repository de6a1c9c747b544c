"""Text in Markdown: reports, tables and model cards."""

import html
from pathlib import Path

from kedro_datasets._typing import HTMLPreview

from mental_slm.datasets.local import LocalDataset
from mental_slm.storage import write_text


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
        """Render the text for kedro-viz; HTML inside the text is shown, not run."""
        if not self.exists():
            return HTMLPreview(f"<p>{html.escape(self._nothing_here)}</p>")
        # comes with kedro, through rich
        from markdown_it import MarkdownIt

        text = Path(self._load_from()).read_bytes().decode("utf-8")
        renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
        return HTMLPreview(renderer.render(text))
