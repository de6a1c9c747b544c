"""How long Kedro takes to answer in this project, beside an empty one.

    python benchmarks/startup.py
    python benchmarks/startup.py --runs 15

Two commands are timed, ``kedro --help`` and ``kedro registry list``, in this project and in an
empty one made with ``kedro new``. Runs alternate between the two, so that a busy moment of the
machine falls on both; the first pair fills the caches and is dropped. The number to watch is the
ratio of the median wall times: at most 1.5. Processor time (user and system) stands beside it,
because it says the same on a busy machine.
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


def seconds(command: str, project: Path) -> tuple[float, float]:
    """Run a Kedro command in a project; return its wall and its processor time in seconds."""
    before, start = os.times(), time.perf_counter()
    run_kedro(command, project)
    after, wall = os.times(), time.perf_counter() - start
    processor = after.children_user + after.children_system
    return wall, processor - before.children_user - before.children_system


def compare(command: str, empty: Path, runs: int) -> list[tuple[float, float]]:
    """Return the medians (empty project, this project) of the wall and of the processor time."""
    times: dict[Path, list[tuple[float, float]]] = {empty: [], PROJECT: []}
    for run in range(runs + 1):
        # whoever goes second finds warmer caches: take turns
        for project in sorted(times, reverse=run % 2 == 0):
            times[project].append(seconds(command, project))
    return [
        (
            statistics.median(run[clock] for run in times[empty][1:]),
            statistics.median(run[clock] for run in times[PROJECT][1:]),
        )
        for clock in (0, 1)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status says whether all ratios keep the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each (default: 7)")
    runs = parser.parse_args(arguments).runs

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, median of {runs} runs\n"
    )
    print(f"{'command':<22} {'clock':<10} {'empty [s]':>9} {'this [s]':>9} {'ratio':>6}  target")
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        empty = make_empty_project(Path(folder))
        for command in COMMANDS:
            wall, processor = compare(command, empty, runs)
            ratio = wall[1] / wall[0]
            kept = kept and ratio <= TARGET
            verdict = f"<= {TARGET} {'kept' if ratio <= TARGET else 'missed'}"
            for clock, (nothing, this), note in (
                ("wall", wall, verdict),
                ("processor", processor, ""),
            ):
                print(
                    f"kedro {command:<16} {clock:<10} {nothing:>9.2f} {this:>9.2f} "
                    f"{this / nothing:>6.2f}  {note}"
                )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
