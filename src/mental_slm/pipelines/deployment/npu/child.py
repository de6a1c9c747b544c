"""Vendor code in a process of its own: what it does to itself, it does not do to the pipeline."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.storage import write_text

WORKER = "mental_slm.pipelines.deployment.npu.worker"
LAST_LINES = 5


class VendorStepFailed(RuntimeError):
    """A step in the vendor's code crashed, hung or refused; names the step and its log."""


def run_worker(step: str, config: dict[str, Any], folder: Path, limit: float) -> dict[str, Any]:
    """Run one task of the worker and return its result.

    Args:
        step: What errors call it, for example ``"prepare part0_prompt for sm8750"``.
        config: Of the task; see :mod:`.worker`.
        folder: Receives config, log and result.
        limit: Seconds after which the worker is stopped.

    Raises:
        VendorStepFailed: See :func:`run_command`; or the worker states an error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.json" for name in ("config", "result")}
    paths["result"].unlink(missing_ok=True)
    write_text(paths["config"], json.dumps(config, indent=2) + "\n")
    command = [sys.executable, "-m", WORKER, str(paths["config"]), str(paths["result"])]
    run_command(step, command, folder / "worker.log", limit)
    return dict(json.loads(paths["result"].read_text("utf-8")))


def run_command(
    step: str, command: Sequence[str], log: Path, limit: float, cwd: Path | None = None
) -> None:
    """Run a command with its output in a log.

    Args:
        step: What errors call it.
        command: Program and arguments.
        log: Receives what it prints.
        limit: Seconds after which it is killed, with all it has started.
        cwd: Where it runs.

    Raises:
        VendorStepFailed: It was killed by a signal, ran past the limit, or returned an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise VendorStepFailed(
                f"{step}: no end after {limit:g} s, stopped; raise "
                f"deployment.npu.step_time_limit or take fewer layers per part. Log: {log}"
            ) from error
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of it ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code < 0:
        raise VendorStepFailed(
            f"{step}: crashed in the vendor's code ({signal.Signals(-code).name}). Log: {log}"
        )
    if code:
        raise VendorStepFailed(f"{step}: failed with code {code}. Log: {log}\n{_tail(log)}")


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])
