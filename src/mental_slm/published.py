"""Results of other work, to stand beside ours."""

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mental_slm.options import Options
from mental_slm.tasks import TASKS


class Result(Options):
    """One published number."""

    task: str
    measure: Literal["accuracy", "macro_f1", "weighted_f1", "balanced_accuracy"]
    system: str
    value: float = Field(ge=0, le=1)
    source: str

    @field_validator("task")
    @classmethod
    def _know_task(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"unknown task; known: {', '.join(TASKS)}")
        return task


class Published(Options):
    """All published numbers, each with its source."""

    sources: dict[str, str]
    results: tuple[Result, ...]

    @model_validator(mode="after")
    def _cite_every_result(self) -> "Published":
        unknown = sorted({result.source for result in self.results} - set(self.sources))
        if unknown:
            raise ValueError(f"results name sources that are not listed: {', '.join(unknown)}")
        return self

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Published":
        """Check the content of the file.

        Raises:
            ValueError: Names the key and what is wrong with it.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"conf/base/published_results.yml: {where}: "
                f"{first['msg'].removeprefix('Value error, ')}"
            ) from error

    def of(self, task: str, measure: str) -> list[Result]:
        """Return the results on a task, best first."""
        found = [r for r in self.results if (r.task, r.measure) == (task, measure)]
        return sorted(found, key=lambda result: -result.value)
