"""The project's config loader: ``--params data=public`` chooses the edition of the data."""

from typing import Any

from kedro.config import OmegaConfigLoader

EDITIONS = ("sample", "public")


class EditionConfigLoader(OmegaConfigLoader):
    """Lets the runtime parameter ``data`` replace the global ``data``.

    Kedro refuses ``${runtime_params:...}`` inside ``globals.yml``; without this, every path of the
    catalog would have to spell out the choice between runtime parameter and global itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        edition = (self.runtime_params or {}).get("data", self["globals"].get("data"))
        if edition not in EDITIONS:
            raise ValueError(f"data={edition}: unknown edition; use one of {', '.join(EDITIONS)}")
        self["globals"] = {**self["globals"], "data": edition}
