"""Starting the worker: inside this program, or as several processes of their own.

Several processes are started by ``torch.distributed.run`` in a child, because CUDA, gloo and a
parent that has threads of its own do not survive a fork. On several machines the same worker is
started by hand on each of them, see the README of the fine_tuning pipeline.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

logger = logging.getLogger(__name__)

#: Lines of a failed process that its error message repeats.
LAST_LINES = 20

#: How torch.distributed.run tells of a process that failed.
_FAILURE = re.compile(r"rank\s+: (\d+) .*\n\s+exitcode\s+: (-?\d+)")


class TrainingFailed(RuntimeError):
    """A process of the training failed; the message holds its last lines."""


def launch(config_file: Path, processes: int) -> None:
    """Train what a config file describes.

    Args:
        config_file: See :class:`mental_slm.training.config.WorkerConfig`.
        processes: 1 trains here and now. More share the rows of each step, over nccl with a GPU
            each, or over gloo on CPUs. Each writes what it says to ``logs/`` beside the config.

    Raises:
        ValueError: There are fewer GPUs than processes.
        TrainingFailed: Names the process that failed first and repeats its last lines.
    """
    if processes == 1:
        from mental_slm.training.worker import main

        main(config_file)
        return
    check_gpus(processes)
    logs = config_file.parent / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    child = subprocess.Popen(
        _command(config_file, processes, logs),
        env=_environment(processes),
        stdin=subprocess.PIPE,  # closes with this program, see worker.leave_with_parent
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    said: deque[str] = deque(maxlen=200)
    try:
        for line in child.stdout:
            said.append(line)
            if progress := re.match(r"\[rank0\]: (?:\S+ \S+ INFO )?(.+)", line):
                logger.info("%s", progress[1])
        code = child.wait()
    finally:
        if child.poll() is None:  # interrupted
            child.terminate()
            child.wait()
    if code:
        raise TrainingFailed(explain_failure("".join(said), logs))


def check_gpus(processes: int) -> None:
    """Make sure that every process has a GPU of its own, where there are GPUs.

    Raises:
        ValueError: Names both numbers.
    """
    import torch

    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise ValueError(
            f"fine_tuning.launcher.processes={processes}: each needs a GPU of its own, and there "
            f"are {gpus}; set it to {gpus} or less"
        )


def explain_failure(said: str, logs: Path) -> str:
    """Return the message for a failed launch.

    A process that was killed takes the others down with it, as they lose their connection; where
    one ended by a signal that is not our own, it is the cause.

    Args:
        said: The last output of ``torch.distributed.run``.
        logs: Its log folder.
    """
    failures = [(int(rank), int(code)) for rank, code in _FAILURE.findall(said)]
    if not failures:
        return f"the processes could not be started:\n{_last_lines(said)}"
    killed = [one for one in failures if one[1] < 0 and one[1] != -signal.SIGTERM]
    rank, code = (killed or failures[-1:])[0]  # the first failure is told of last
    files = sorted(logs.glob(f"*/attempt_*/{rank}/stderr.log"))
    own = files[-1].read_text("utf-8", "replace") if files else ""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return (
        f"process {rank} of the training {how}; whole checkpoints are kept, and the same command "
        f"goes on from the last one. All it said is in {files[-1] if files else logs}; its last "
        f"lines:\n{_last_lines(own)}"
    )


def _last_lines(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])


def _command(config_file: Path, processes: int, logs: Path) -> list[str]:
    from mental_slm.training.config import WITH_PARENT

    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        f"--log-dir={logs}",
        "--tee=3",  # into a file for each process, and to us
        "-m",
        "mental_slm.training.worker",
        str(config_file),
        WITH_PARENT,
    ]


def _environment(processes: int) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "OMP_NUM_THREADS": str(max(1, (cores or 1) // processes)),
        **os.environ,
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[rank${rank}]: ",
    }
