"""The command `rapport`, put together from its parts."""

import inspect
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from api.cli import terminal
from domain.cycles import search_put_off

_PARTS = {
    "serving": ("serve", "work"),
    "demonstration": ("demo",),
    "importing": ("import",),
    "recording": ("record",),
    "reading": ("read",),
    "replay": ("replay",),
    "record": ("migrate", "clinic"),
    "verifying": ("verify",),
    "log": ("log",),
    "views": ("rebuild",),
    "backup": ("backup", "restore"),
    "scoring": ("score", "gas", "gbo"),
    "wording": ("text-pack",),
    "rescoring": ("rescore",),
    "analysing": ("analyse",),
    "changing": ("change",),
    "exporting": ("export", "export-dossier"),
    "erasing": ("erase", "erasure"),
    "keys": ("keyring", "token"),
    "roles": ("role",),
}
"""The modules of this package and the commands that each adds, in the order of the help."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rapport {version('rapport-record')}")
        raise typer.Exit


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


def command_line(asked: str | None = None) -> typer.Typer:
    """The whole command line; where a command of it is asked for, only the part that holds it.

    Most of the time that a score takes would else go into reading what only a record needs.
    """
    app = typer.Typer(
        name="rapport",
        help="A tamper-evident record of the therapeutic relationship.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # terminal.run tells errors, without a traceback
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_rapport)
    alone = [part for part, commands in _PARTS.items() if asked in commands]
    for part in alone or _PARTS:
        import_module(f"api.cli.{part}").add_to(app)
    _flow(app)
    return app


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


def main() -> None:
    """The entry point."""
    sys.exit(terminal.run(_called))


def _called() -> None:
    """Loads what was called, and runs it."""
    with search_put_off():  # of what is loaded nearly all stays
        called = command_line(next(iter(sys.argv[1:]), None))
    called()
