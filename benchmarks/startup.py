"""How long Kedro takes to answer in this project, beside an empty one.

    python benchmarks/startup.py
    python benchmarks/startup.py --runs 15

Two commands are timed, ``kedro --help`` and ``kedro registry list``, in this project and in an
empty one made with ``kedro new``. Runs alternate between the two, so that a busy moment of the
machine falls on both; the first pair fills the caches and is dropped. The ratio of the medians is
the number to watch: at most 1.5.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COMMANDS = ("--help", "registry list")
TARGET = 1.5
KEDRO = [sys.executable, "-m", "kedro"]
ENVIRONMENT = {**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}


def run_kedro(command: str, folder: Path) -> None:
    """Run a Kedro command in a folder; a failing one ends the benchmark with what it said."""
    done = subprocess.run(
        [*KEDRO, *command.split()],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"kedro {command} failed in {folder}:\n{done.stderr[-2000:]}")


def make_empty_project(folder: Path) -> Path:
    """Make a Kedro project without tools and without an example pipeline."""
    run_kedro("new --name empty --tools none --example n --telemetry no", folder)
    return folder / "empty"


def seconds(command: str, project: Path) -> float:
    """Run a Kedro command in a project; return the wall time in seconds."""
    start = time.perf_counter()
    run_kedro(command, project)
    return time.perf_counter() - start


def compare(command: str, empty: Path, runs: int) -> tuple[float, float]:
    """Return the median seconds of a command in the empty project and in this one."""
    times: dict[Path, list[float]] = {empty: [], PROJECT: []}
    for run in range(runs + 1):
        # whoever goes second finds warmer caches: take turns
        for project in sorted(times, reverse=run % 2 == 0):
            times[project].append(seconds(command, project))
    return statistics.median(times[empty][1:]), statistics.median(times[PROJECT][1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status says whether all ratios keep the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each (default: 7)")
    runs = parser.parse_args(arguments).runs

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, median of {runs} runs\n"
    )
    print(f"{'command':<22} {'empty [s]':>10} {'this [s]':>10} {'ratio':>7}  target")
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        empty = make_empty_project(Path(folder))
        for command in COMMANDS:
            nothing, this = compare(command, empty, runs)
            ratio = this / nothing
            kept = kept and ratio <= TARGET
            verdict = "kept" if ratio <= TARGET else "missed"
            print(
                f"kedro {command:<16} {nothing:>10.2f} {this:>10.2f} {ratio:>7.2f}  "
                f"<= {TARGET} {verdict}"
            )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
