"""A Parquet table whose preview survives columns of lists.

Not exported from the package: it brings pandas along, which no command line start should wait for.
"""

from typing import Any

import numpy as np
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset


class TableDataset(ParquetDataset):
    """``pandas.ParquetDataset`` for tables with list columns.

    kedro-viz writes previews as JSON and stops the whole build at the arrays that Parquet makes of
    list cells.

    Example:
        ::

            corpus:
              type: mental_slm.datasets.table.TableDataset
              filepath: data/03_primary/sample/corpus.parquet
              metadata: {kedro-viz: {layer: primary, preview_args: {nrows: 5}}}
    """

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows, lists as text.

        Args:
            nrows: How many rows.
        """
        preview: Any = super().preview(nrows)
        preview["data"] = [[_as_shown(cell) for cell in row] for row in preview["data"]]
        return TablePreview(preview)


def _as_shown(cell: Any) -> Any:
    return ", ".join(map(str, cell)) if isinstance(cell, np.ndarray) else cell
