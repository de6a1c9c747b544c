"""The notebook runs from top to bottom on a finished run of the tiny model."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("nbmake")


@pytest.mark.slow
def test_the_notebook_runs(project):
    environment = {**os.environ, "KEDRO_ENV": "test"}
    for command in (
        [sys.executable, "-m", "kedro", "run", "--env", "test"],
        [sys.executable, "-m", "pytest", "--nbmake", "notebooks", "-q", "-p", "no:cacheprovider"],
    ):
        run = subprocess.run(
            command,
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
