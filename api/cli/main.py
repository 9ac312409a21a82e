"""The command `rapport`, put together from its parts."""

import inspect
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from api.cli import (
    analysing,
    backup,
    changing,
    demonstration,
    erasing,
    exporting,
    importing,
    keys,
    reading,
    record,
    recording,
    replay,
    rescoring,
    roles,
    scoring,
    serving,
    terminal,
    views,
)

app = typer.Typer(
    name="rapport",
    help="A tamper-evident record of the therapeutic relationship.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # terminal.run tells errors, without a traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rapport {version('rapport-record')}")
        raise typer.Exit


@app.callback()
def _rapport(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """A tamper-evident record of the therapeutic relationship.

    Everything it keeps lies under RAPPORT_HOME, unless RAPPORT_DATABASE_URL names a database.

    Exit status: 0 fine, 1 something was found or refused, 2 used wrongly, 3 database or keyring
    not available, 130 interrupted.
    """


for part in (
    serving,
    demonstration,
    importing,
    recording,
    reading,
    replay,
    record,
    views,
    backup,
    scoring,
    rescoring,
    analysing,
    changing,
    exporting,
    erasing,
    keys,
    roles,
):
    part.add_to(app)


def _flow(group: typer.Typer) -> None:
    """Help texts wrap at the terminal's width, not at the source's; examples stay as they are."""
    for command in group.registered_commands:
        paragraphs = inspect.cleandoc(command.callback.__doc__ or "").split("\n\n")
        command.help = "\n\n".join(
            paragraph[2:] if paragraph.startswith("\b\n") else " ".join(paragraph.split())
            for paragraph in paragraphs
        )
    for below in group.registered_groups:
        if below.typer_instance is not None:
            _flow(below.typer_instance)


_flow(app)


def main() -> None:
    """The entry point."""
    sys.exit(terminal.run(app))
