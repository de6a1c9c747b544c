"""Run the packaged project: ``mental-slm --env qwen --pipelines fine_tuning``, ``mental-slm chat``."""

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.project import run
from kedro.framework.project import configure_project

from mental_slm.cli import cli


def main(args: list[str] | None = None, **kwargs: Any) -> Any:
    """Configure the package as a Kedro project and hand over to one of its commands or ``run``."""
    configure_project(Path(__file__).parent.name)
    arguments = sys.argv[1:] if args is None else list(args)
    command = cli if arguments[:1] and arguments[0] in cli.commands else run
    return command(arguments, standalone_mode=not hasattr(sys, "ps1"), **kwargs)


if __name__ == "__main__":
    main()
