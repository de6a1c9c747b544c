"""The scores of one task, or of all, with the same items in the same order for every system."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mental_slm import statistics as stats
from mental_slm.label_metrics import MEASURES, ORDINAL_MEASURES, Measure, confusion
from mental_slm.statistics import Array
from mental_slm.tasks import TASKS

SYSTEMS = ("base", "tuned", "majority", "tfidf")
MODELS = ("base", "tuned")
OVERALL = "overall"


@dataclass(frozen=True, eq=False)
class Block:
    """Items of one task, or of all tasks, with the resamples that serve all systems.

    Attributes:
        name: Name of the task, or ``overall``.
        tables: Rows of the scores table, per system.
        resamples: Number of bootstrap resamples, and of exchanges in the paired tests.
        seed: Seed of both.
    """

    name: str
    tables: dict[str, pd.DataFrame]
    resamples: int
    seed: int

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.tables["base"])

    @cached_property
    def posts(self) -> list[str]:
        """The post of every item: what is resampled, since two datasets label the same posts."""
        return [str(post) for post in self.tables["base"]["text_id"]]

    @cached_property
    def weights(self) -> Array:
        """The sample itself (row 0) and its resamples."""
        drawn = stats.bootstrap_weights(self.posts, self.resamples, self._seed)
        return np.vstack([np.ones((1, self.n)), drawn])

    @cached_property
    def swaps(self) -> Array:
        """Which posts change sides in the paired tests."""
        return stats.swap_weights(self.posts, self.resamples, (*self._seed, 1))

    @cached_property
    def inside(self) -> dict[str, NDArray[np.bool_]]:
        """Which items belong to each task."""
        tasks = self.tables["base"]["task"].to_numpy()
        return {task: tasks == task for task in TASKS if (tasks == task).any()}

    @property
    def _seed(self) -> tuple[int, int]:
        return self.seed, zlib.crc32(self.name.encode())

    def column(self, system: str, name: str) -> Array:
        """Return a column of numbers."""
        return self.tables[system][name].to_numpy(dtype=float, na_value=np.nan)

    def right(self, system: str, column: str = "predicted") -> NDArray[np.bool_]:
        """Return whether each label of a column is right; a missing one is not."""
        table = self.tables[system]
        return np.asarray(table[column].eq(table["label"]).fillna(False), dtype=bool)

    def measures(self) -> dict[str, Measure]:
        """Return the measures that fit: those of ordered labels for a single ordinal task."""
        ordinal = self.name in TASKS and TASKS[self.name].ordinal
        return MEASURES | (ORDINAL_MEASURES if ordinal else {})

    def counts(self, column: str, weights: Mapping[str, Array]) -> list[Array]:
        """Count gold against predicted labels, per task, over all systems given.

        Args:
            column: Column of the predicted label.
            weights: Per system, shape (rows, n); more than one where answers are exchanged.
        """
        return [
            np.sum(
                [
                    confusion(
                        self.tables[system].loc[inside, "label"].tolist(),
                        _or_none(self.tables[system].loc[inside, column]),
                        TASKS[task].labels,
                        rows[:, inside],
                    )
                    for system, rows in weights.items()
                ],
                axis=0,
            )
            for task, inside in self.inside.items()
        ]

    def pooled(self, column: str, weights: Mapping[str, Array]) -> Array:
        """Return the mean of a column over the items that have it; not a number if none has."""
        total = count = np.zeros(1)
        for system, rows in weights.items():
            values = self.column(system, column)
            known = ~np.isnan(values)
            total = total + rows[:, known] @ values[known]
            count = count + rows[:, known].sum(axis=1)
        with np.errstate(invalid="ignore"):
            result: Array = total / count
        return result


def mean_of_tasks(values: list[Array]) -> Array:
    """Return the mean over tasks; one of which no item was drawn is left out of that resample."""
    stacked = np.vstack(values)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        result: Array = np.where(known, stacked, 0).sum(axis=0) / known.sum(axis=0)
    return result


def build_blocks(scores: pd.DataFrame, resamples: int, seed: int) -> dict[str, Block]:
    """Cut the scores into one block per task and one over all.

    Raises:
        ValueError: A system holds other items than the base model; says how many.
    """
    ordered = scores.sort_values(["task", "pair_id"])
    tables = {
        system: ordered[ordered["system"] == system].reset_index(drop=True) for system in SYSTEMS
    }
    ids = set(tables["base"]["pair_id"])
    for system, table in tables.items():
        difference = ids ^ set(table["pair_id"])
        if difference:
            raise ValueError(
                f"scores: systems base and {system} hold other items: {len(difference)} stand in "
                f"one of them only, first {min(difference)}; run `kedro run --pipelines "
                "evaluation` from the start"
            )
    present = set(tables["base"]["task"])
    blocks = {OVERALL: Block(OVERALL, tables, resamples, seed)}
    for task in [task for task in TASKS if task in present]:
        of_task = {
            system: table[table["task"] == task].reset_index(drop=True)
            for system, table in tables.items()
        }
        blocks[task] = Block(task, of_task, resamples, seed)
    return blocks


def _or_none(labels: pd.Series) -> list[str | None]:
    return [None if pd.isna(label) else str(label) for label in labels]
