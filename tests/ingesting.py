"""Runs of the ingestion pipeline on the real catalog, with all outputs below a folder of the test."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from mental_slm.pipelines.ingestion import create_pipeline
from mental_slm.pipelines.ingestion.options import IngestionOptions

PROJECT = Path(__file__).parents[1]
CATALOG = "catalog_ingestion.yml"

#: Everything up to the corpus, without the report.
CORPUS_ONLY = create_pipeline().to_nodes("guard_corpus", "parse_studemo")

#: The nodes that read the raw files.
PARSING = create_pipeline().only_nodes_with_tags("network") - create_pipeline().only_nodes(
    "repair_posts"
)


def load_catalog(folder: Path, data: str = "sample") -> DataCatalog:
    """Build the project's catalog of one edition, with all outputs below ``folder``."""
    conf = folder / "conf" / "base"
    conf.mkdir(parents=True)
    shutil.copy(PROJECT / "conf" / "base" / CATALOG, conf)
    (conf / "globals.yml").write_text(f"data: {data}\n")
    config = OmegaConfigLoader(str(folder / "conf"), base_env="base", default_run_env="base")[
        "catalog"
    ]
    for name, entry in config.items():
        if not name.startswith("_"):
            raw = name.endswith("_file")
            entry["filepath"] = str((PROJECT if raw else folder) / entry["filepath"])
    return DataCatalog.from_config(config)


def ingest(
    folder: Path,
    data: str = "sample",
    pipeline: Pipeline = CORPUS_ONLY,
    inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> DataCatalog:
    """Run (a part of) the pipeline and return the catalog with its outputs.

    Args:
        folder: Where the outputs go.
        data: Edition of the raw files.
        pipeline: What to run.
        inputs: What stands in for entries of the catalog.
        options: Of ``params:ingestion``.
    """
    catalog = load_catalog(folder, data)
    catalog["params:ingestion"] = IngestionOptions(**options)
    for name, value in (inputs or {}).items():
        catalog[name] = MemoryDataset(value, copy_mode="assign")
    SequentialRunner().run(pipeline, catalog)
    return catalog


def outputs(folder: Path) -> dict[str, str]:
    """Return the digests of all files of a run by their paths."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "data").rglob("*"))
        if path.is_file()
    }
