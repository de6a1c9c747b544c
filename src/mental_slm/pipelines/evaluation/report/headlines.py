"""Numbers that may be quoted, and the one table they stand in.

A number is a headline only together with its interval, the number of items behind it and what is
reached without understanding anything. One that lacks any of them stops the report: a bare number
is quoted bare.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: An estimate as the metrics hold it, a plain number, or None where it is not defined.
Number = Mapping[str, Any] | float | None
Form = Callable[[float], str]

NOT_DEFINED = "not defined"
#: What stands for a value from a single post: there is nothing to resample.
NO_INTERVAL = "no interval from one post"


def share(value: float) -> str:
    """Write a measure between 0 and 1."""
    return f"{value:.3f}"


def percent(value: float) -> str:
    """Write a share as a percentage."""
    return f"{value:.1%}"


def signed(value: float) -> str:
    """Write a difference."""
    return f"{value:+.3f}"


def score(value: float) -> str:
    """Write a judge's score between 0 and 5."""
    return f"{value:.2f}"


@dataclass(frozen=True)
class Headline:
    """One number with what it must not be quoted without.

    Attributes:
        where: Dataset and key, for errors.
        title: What its row is called.
        n: Items behind it.
        measured: Value, low, high; mostly of the tuned model.
        baselines: What is reached without understanding, by heading.
        beside: Other systems, by heading; they are no trivial baselines.
        extras: Further cells, by heading.
        posts: Posts behind it, where they are fewer than items; one post has no interval.
    """

    where: str
    title: str
    n: int | None
    measured: Number
    baselines: Mapping[str, Number]
    beside: Mapping[str, Number] = field(default_factory=dict)
    extras: Mapping[str, str] = field(default_factory=dict)
    posts: int | None = None

    def __post_init__(self) -> None:
        """Check that the number can be quoted.

        Raises:
            ValueError: Interval, n or baseline is missing; names the key.
        """
        if not isinstance(self.n, int):
            raise ValueError(_explain(self.where, "the number of items (n)"))
        if not _is_defined(self.measured):
            return
        if not _has_interval(self.measured) and not self._is_single:
            raise ValueError(_explain(self.where, "its 95 % interval (low, high)"))
        if not any(_is_defined(number) for number in self.baselines.values()):
            raise ValueError(_explain(self.where, "a trivial baseline"))

    @property
    def _is_single(self) -> bool:
        assert self.n is not None
        return min(self.n, self.n if self.posts is None else self.posts) < 2

    def cells(self, headings: Sequence[str], form: Form) -> list[str]:
        """Return the row: title, n, the number itself, then what stands under every heading."""
        numbers = {**self.beside, **self.baselines}
        return [
            self.title,
            f"{self.n:,}",
            show(self.measured, form),
            *(
                self.extras.get(heading, "")
                if heading not in numbers
                else show(numbers[heading], form)
                for heading in headings
            ),
        ]


def headline_table(
    first: str, headlines: Sequence[Headline], form: Form = share, system: str = "tuned"
) -> str:
    """Return headlines as a Markdown table: n, the number, other systems, baselines, extras.

    Args:
        first: Heading of the column of titles.
        headlines: One per row; a heading that a row lacks leaves its cell empty.
        form: How a number is written.
        system: Whose numbers they are.
    """
    headings: dict[str, None] = {}
    for part in ("beside", "baselines", "extras"):
        for headline in headlines:
            headings |= dict.fromkeys(getattr(headline, part))
    names = list(headings)
    return table([first, "n", system, *names], [line.cells(names, form) for line in headlines])


def show(number: Number, form: Form) -> str:
    """Write an estimate with its interval, a plain number without; never an estimate without."""
    if number is None or not _is_defined(number):
        return NOT_DEFINED
    if not isinstance(number, Mapping):
        return form(number)
    if not _has_interval(number):
        return NO_INTERVAL
    return f"{form(number['value'])} [{form(number['low'])}, {form(number['high'])}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _is_defined(number: Number) -> bool:
    value = number.get("value") if isinstance(number, Mapping) else number
    return value is not None


def _has_interval(number: Number) -> bool:
    if not isinstance(number, Mapping):
        return False
    bounds = [number.get(key) for key in ("value", "low", "high")]
    return all(isinstance(bound, int | float) and math.isfinite(bound) for bound in bounds)


def _explain(where: str, what: str) -> str:
    return (
        f"{where} lacks {what}, and a number without it must not be quoted; make the metrics again "
        "with this version: kedro run --pipelines evaluation"
    )
