"""Processes that really die in the middle of a save."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

#: Every step through which a save changes the disk; the process dies just before one of them.
STEPS = (
    *((os, name) for name in ("rename", "replace", "fsync", "link", "unlink", "rmdir", "mkdir")),
    (shutil, "copy2"),
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_killed(work: Callable[[], Any], at: int) -> bool:
    """Run ``work`` in a process that is killed before its step ``at``; tell whether it was."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(work, at))
    process.start()
    process.join(timeout=60)
    assert process.exitcode in (0, -signal.SIGKILL), f"exit code {process.exitcode}"
    return process.exitcode != 0


def kill_at_every_step(work: Callable[[], Any], check: Callable[[], Any]) -> list[Any]:
    """Kill ``work`` before each of its steps in turn; return what ``check`` saw after each."""
    seen = []
    while run_killed(work, len(seen)):
        seen.append(check())
    return seen


def _run(work: Callable[[], Any], at: int) -> None:
    steps = iter(range(at + 1))

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(steps, None) == at:
                die()
            return step(*args, **kwargs)

        return call

    for module, name in STEPS:
        setattr(module, name, counted(getattr(module, name)))
    work()
