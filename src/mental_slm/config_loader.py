"""The project's config loader: ``--params data=public`` chooses the edition of the data."""

from pathlib import Path
from typing import Any

from click import ClickException
from kedro.config import OmegaConfigLoader

EDITIONS = ("sample", "public")


class EditionConfigLoader(OmegaConfigLoader):
    """Lets the runtime parameter ``data`` replace the global ``data``.

    Kedro refuses ``${runtime_params:...}`` inside ``globals.yml``; without this, every path of the
    catalog would have to spell out the choice between runtime parameter and global itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_environment()
        edition = (self.runtime_params or {}).get("data", self["globals"].get("data"))
        if edition not in EDITIONS:
            raise ClickException(
                f"data={edition}: unknown edition; use one of {', '.join(EDITIONS)}"
            )
        self["globals"] = {**self["globals"], "data": edition}

    def _check_environment(self) -> None:
        """Refuse an environment that is not there, before Kedro looks for its files.

        Raises:
            ClickException: Names those there are.
        """
        folder = Path(self.conf_source)
        if self.env and folder.is_dir() and not (folder / self.env).is_dir():
            there = sorted(one.name for one in folder.iterdir() if one.is_dir())
            raise ClickException(
                f"--env {self.env}: there is no folder conf/{self.env}; use one of "
                f"{', '.join(there)}, or make it (docs/models.md, 'Adding a model')"
            )
