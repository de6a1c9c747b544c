"""Reading the metrics of all evaluated models, as far as the comparison needs them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from kedro.io import DatasetError
from pydantic import BaseModel, ValidationError, model_validator

from mental_slm.tasks import TASKS

OVERALL = "overall"

System = Literal["base", "tuned", "majority", "tfidf"]
SYSTEMS: tuple[System, ...] = get_args(System)

#: Parts of a metrics file that other stages of the evaluation may have added, with their headings.
#: Whatever estimates they hold are shown under their own names.
FURTHER = {"judge": "Judge", "profiles": "Emotion profiles", "safety": "Safety"}


class Estimate(BaseModel):
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class Labels(BaseModel):
    """Measures of labels, however they were had."""

    accuracy: Estimate
    macro_f1: Estimate
    weighted_f1: Estimate
    balanced_accuracy: Estimate
    quadratic_kappa: Estimate | None = None
    under_triage_rate: Estimate | None = None


class LenientLabels(Labels):
    """Labels read leniently."""

    invalid_rate: float


class LikelyLabels(Labels):
    """The most probable options, and what their probabilities are worth."""

    calibration_error: Estimate
    brier_skill: Estimate | None


class SystemMetrics(LenientLabels):
    """One system on one task (or overall); its own labels are those read strictly."""

    n: int
    lenient: LenientLabels
    likelihood: LikelyLabels
    truncated_rate: float | None = None
    bertscore_f1: Estimate | None = None
    bertscore_floor: float | None = None
    bertscore_skill: Estimate | None = None
    text: dict[str, Estimate | None] = {}


class RiskMetrics(BaseModel):
    """Flagging suicidal posts with one system."""

    recall: Estimate | None
    false_positive_rate: Estimate | None
    area_under_curve: Estimate | None


class Risk(BaseModel):
    """Flagging suicidal posts at a rate of false alarms fixed on validation posts."""

    allowed_false_positive_rate: float
    systems: dict[System, RiskMetrics]


class Gain(BaseModel):
    """Tuned minus base on the same items."""

    accuracy: Estimate
    weighted_f1: Estimate
    mcnemar_p: float | None = None


class Outcome(Estimate):
    """The outcome of one declared test, adjusted for all of them."""

    p_holm: float
    detectable: float
    verdict: str


class Headlines(BaseModel):
    """The declared tests of the tuned model."""

    tests: dict[str, Outcome]


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

    format: Literal["mental-slm metrics 2"]
    model: Models
    data: Data
    bertscore: TextScoring
    systems: dict[System, dict[str, SystemMetrics]]
    risk: Risk | None
    paired: dict[str, Gain]
    headlines: Headlines
    judge: dict[str, Any] | None = None
    profiles: dict[str, Any] | None = None
    safety: dict[str, Any] | None = None

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

    def further(self, part: str) -> dict[str, Estimate]:
        """Return the estimates of a part that another stage added, by their path in it."""
        return dict(_find_estimates(getattr(self, part) or {}))


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
    def tasks(self) -> list[str]:
        """All tasks and, first, the whole."""
        return [OVERALL, *self.data.n_by_task]

    @property
    def same_encoder(self) -> bool:
        """Whether one encoder made all BERTScores, so that they may stand in one column."""
        return len({metrics.bertscore.model_dump_json() for metrics in self.models.values()}) == 1

    def columns(self) -> dict[str, tuple[Metrics, System]]:
        """Return the systems to show side by side, by their headings.

        Base and tuned model of every environment; then each baseline once, or once per outcome
        where models were tuned on other pairs.
        """
        columns: dict[str, tuple[Metrics, System]] = {}
        for name, metrics in self.models.items():
            columns[f"{metrics.model.base.name} ({name})"] = (metrics, "base")
            columns[f"{metrics.model.tuned.name} ({name})"] = (metrics, "tuned")
        baselines: tuple[tuple[System, str], ...] = (
            ("majority", "majority label"),
            ("tfidf", "TF-IDF + logistic regression"),
        )
        for system, title in baselines:
            outcomes: dict[str, list[str]] = {}
            for name, metrics in self.models.items():
                blocks = metrics.systems[system].items()
                outcome = str([(task, block.model_dump_json()) for task, block in blocks])
                outcomes.setdefault(outcome, []).append(name)
            for names in outcomes.values():
                heading = title if len(outcomes) == 1 else f"{title} ({', '.join(names)})"
                columns[heading] = (self.models[names[0]], system)
        return columns


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


def _find_estimates(part: Any, path: str = "") -> Iterator[tuple[str, Estimate]]:
    """Walk a nested dictionary and yield whatever has a value and an interval."""
    if not isinstance(part, dict):
        return
    bounds = [part.get(key) for key in ("value", "low", "high")]
    if all(isinstance(number, int | float) for number in bounds):
        yield path, Estimate.model_validate(part)
    for key, inner in part.items():
        yield from _find_estimates(inner, f"{path}: {key}" if path else str(key))
