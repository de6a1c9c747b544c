"""How far a run is: a bar on a terminal, one line per interval in a log."""

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from .summary import Summary

logger = logging.getLogger(__name__)

#: In a log; a terminal shows every step.
SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Shows done and total, rate, cost so far and time left.

    Args:
        summary: The counts of the run, read at every step.
        total: Number of requests; None if it is not known before the end.
    """

    def __init__(self, summary: Summary, total: int | None):
        self._summary, self._total = summary, total
        self._start = self._last_line = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, unit="answer", dynamic_ncols=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self) -> None:
        """Show what the summary says now."""
        if self._bar is not None:
            self._bar.n = self._done
            self._bar.set_postfix_str(self._cost, refresh=False)
            self._bar.update(0)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            logger.info("%s", self)

    @property
    def _done(self) -> int:
        return self._summary.answered_before + self._summary.answered_now

    @property
    def _cost(self) -> str:
        cost = self._summary.cost_usd
        return "cost unknown" if cost is None else f"{cost:.4f} $"

    def __str__(self) -> str:
        seconds = time.monotonic() - self._start
        rate = self._summary.answered_now / seconds if seconds else 0.0
        of_total = "" if self._total is None else f" of {self._total}"
        left = ""
        if self._total is not None and rate:
            left = f", {(self._total - self._done) / rate:.0f} s left"
        failed = self._summary.failed.total()
        return (
            f"{self._done}{of_total} answered, {failed} failed, {rate:.1f} a second, "
            f"{self._cost}{left}"
        )
