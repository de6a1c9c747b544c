"""The project's own commands, beside those of Kedro: ``kedro chat``, ``kedro device-results``.

Kedro finds them here by the name of the module and of the group.
"""

import sys
from pathlib import Path

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
        click.echo()
        return None


def find_bundle(env: str | None) -> Path:
    """Return the folder of an environment's bundle.

    Raises:
        ClickException: There is none, or it was damaged; names the command that makes it.
    """
    from kedro.framework.session import KedroSession
    from kedro.io import DatasetError

    with KedroSession.create(env=env) as session:
        dataset = session.load_context().catalog["bundle"]
        try:
            if dataset.exists():
                return Path(dataset.load().path)
        except DatasetError as error:
            raise click.ClickException(str(error)) from error
    run = f"kedro run --env {env}" if env else "kedro run"
    raise click.ClickException(
        f"no bundle to chat with yet; make it with: {run} --pipelines deployment (or, from the "
        f"start, with: {run})"
    )
