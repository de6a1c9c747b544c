"""The project's own commands, beside those of Kedro: ``kedro chat``, ``kedro device-results``.

Kedro finds them here by the name of the module and of the group.
"""

import json
import sys
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from mental_slm.safety import CRISIS_RESOURCES, INTENDED_USE, INTERNATIONAL


@click.group(context_settings=CONTEXT_SETTINGS)
def cli() -> None:
    """Commands of Mental SLM."""


@cli.command()
@env_option
@click.option(
    "--country",
    type=click.Choice(sorted(CRISIS_RESOURCES)),
    default=INTERNATIONAL,
    help="Whose crisis lines are shown.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, help="CPU threads.")
def chat(env: str | None, country: str, threads: int) -> None:
    """Talk to an environment's bundle in the terminal.

    One line is one message. Ctrl-C stops an answer; at the prompt it ends the chat, as Ctrl-D does.
    """
    bundle = find_bundle(env)
    click.echo(INTENDED_USE)

    from mental_slm.language_model.conversation import Conversation

    conversation = Conversation(bundle, threads, country)
    while (message := read_message()) is not None:
        if not message:
            continue
        try:
            for piece in conversation.reply(message):
                click.echo(piece, nl=False)
        except KeyboardInterrupt:
            click.echo(" [stopped]", nl=False)
        except ValueError as error:
            click.echo(str(error), nl=False)
        finally:  # nothing that goes wrong with an answer may swallow the resource
            click.echo()
            if resource := conversation.resource():
                click.echo(f"\n{resource}\n")


def read_message() -> str | None:
    """Read one line; None at the end of the input or at an interrupt."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        if sys.stdin.isatty():
            click.echo()
        return None


def load_dataset(env: str | None, name: str) -> Any:
    """Load a dataset of an environment; None if it was not made yet.

    Raises:
        ClickException: It was damaged; names the file and the command that makes it again.
    """
    from kedro.framework.session import KedroSession
    from kedro.io import DatasetError

    with KedroSession.create(env=env) as session:
        dataset = session.load_context().catalog[name]  # type: ignore[attr-defined]
        try:
            return dataset.load() if dataset.exists() else None
        except DatasetError as error:
            raise click.ClickException(str(error)) from error


def find_bundle(env: str | None) -> Path:
    """Return the folder of an environment's bundle.

    Raises:
        ClickException: There is none; names the command that makes it.
    """
    if (bundle := load_dataset(env, "bundle")) is not None:
        return Path(bundle.path)
    run = f"kedro run --env {env}" if env else "kedro run"
    raise click.ClickException(
        f"no bundle to chat with yet; make it with: {run} --pipelines deployment (or, from the "
        f"start, with: {run})"
    )


@cli.command("device-results")
@click.argument("file", type=click.Path(path_type=Path))
@env_option
def check_device_results(file: Path, env: str | None) -> None:
    """Check a FILE that a bundle's measure.sh wrote, and set it beside published speeds."""
    from mental_slm.device_results import DeviceResultsRefused, compare_results, read_results

    try:
        results = read_results(file)
        manifest = json.loads((find_bundle(env) / "manifest.json").read_text("utf-8"))
        click.echo(compare_results(results, manifest, load_dataset(env, "device_anchors")))
    except DeviceResultsRefused as error:
        raise click.ClickException(str(error)) from error
