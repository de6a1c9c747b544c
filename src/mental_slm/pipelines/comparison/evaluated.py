"""Reading the metrics of all evaluated models, as far as the comparison needs them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from kedro.io import DatasetError
from pydantic import BaseModel, ValidationError, model_validator

from mental_slm.tasks import TASKS

OVERALL = "overall"

System = Literal["base", "tuned", "majority", "tfidf"]
SYSTEMS: tuple[System, ...] = get_args(System)


class Estimate(BaseModel):
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class SystemMetrics(BaseModel):
    """One system on one task (or overall)."""

    n: int
    accuracy: Estimate
    macro_f1: Estimate
    invalid_rate: float
    bertscore_skill: Estimate | None = None


class Gain(BaseModel):
    """Tuned minus base on the same items."""

    accuracy: Estimate
    macro_f1: Estimate
    mcnemar_p: float


class ModelName(BaseModel):
    """The model behind the metrics."""

    name: str


class Models(BaseModel):
    """Base and tuned model."""

    environment: str
    base: ModelName
    tuned: ModelName


class Data(BaseModel):
    """What the model was evaluated on."""

    edition: str
    items_digest: str
    n: int
    n_by_task: dict[str, int]


class TextScoring(BaseModel):
    """What a BERTScore must agree in to be compared."""

    encoder: str
    encoder_digest: str
    layers: int


class Metrics(BaseModel):
    """The part of a metrics file that the comparison reads; further keys are ignored."""

    format: Literal["mental-slm metrics 1"]
    model: Models
    data: Data
    bertscore: TextScoring
    systems: dict[System, dict[str, SystemMetrics]]
    paired: dict[str, Gain]

    @model_validator(mode="after")
    def _hold_every_number(self) -> Self:
        """Refuse a file that lacks a system or a task, so that the table has no holes."""
        unknown = sorted(self.data.n_by_task.keys() - TASKS.keys())
        if unknown:
            raise ValueError(f"unknown tasks {unknown}")
        for name in (OVERALL, *self.data.n_by_task):
            if name not in self.paired or any(
                name not in self.systems.get(system, {}) for system in SYSTEMS
            ):
                raise ValueError(f"numbers of {name} are missing")
        return self


@dataclass(frozen=True)
class Group:
    """Models that answered the very same items, by the id of their metrics."""

    edition: str
    items_digest: str
    models: dict[str, Metrics]

    @property
    def data(self) -> Data:
        """What they were evaluated on."""
        return next(iter(self.models.values())).data

    @property
    def title(self) -> str:
        """A heading that tells the group from others of the same edition."""
        return f"data edition {self.edition}, {self.data.n} items ({self.items_digest})"

    @property
    def same_encoder(self) -> bool:
        """Whether one encoder made all BERTScores, so that they may stand in one column."""
        return len({metrics.bertscore.model_dump_json() for metrics in self.models.values()}) == 1


def read_groups(
    partitions: Mapping[str, Callable[[], Any]],
) -> tuple[list[Group], dict[str, str]]:
    """Load all metrics and group them by the items they were measured on.

    Args:
        partitions: Id such as ``smollm2/sample`` to a function that loads the metrics file.

    Returns:
        The groups, ordered by edition, and the files left out with the reason.

    Raises:
        ValueError: No file could be used.
    """
    by_items: dict[tuple[str, str], dict[str, Metrics]] = {}
    left_out: dict[str, str] = {}
    for name, load in sorted(partitions.items()):
        try:
            metrics = Metrics.model_validate(load())
        except DatasetError:
            left_out[name] = "the file is damaged"
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            left_out[name] = f"not metrics of this version ({where}: {first['msg']})"
        else:
            key = (metrics.data.edition, metrics.data.items_digest)
            by_items.setdefault(key, {})[name] = metrics
    if not by_items:
        raise ValueError(
            "comparison: no usable metrics among "
            f"{', '.join(f'{name}/metrics.json' for name in left_out)}; run "
            "`kedro run --pipelines evaluation` first"
        )
    return [Group(*key, models) for key, models in sorted(by_items.items())], left_out
