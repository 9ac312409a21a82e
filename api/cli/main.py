"""The command `rapport`, put together from its parts."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from api.cli import terminal
from domain.cycles import search_ended, search_put_off

_PARTS: Mapping[str, Mapping[str, str]] = {
    "serving": {
        "serve": "Serve the API and the pages, and keep the views in a process beside, until"
        " stopped.",
        "work": "Keep the views at the end of the log, until stopped. Any number of workers may"
        " run.",
    },
    "demonstration": {
        "demo": "Fill an empty clinic with two invented years, through the real commands.",
    },
    "importing": {
        "import": "Import sessions and ratings. A row that does not fit is reported, the others"
        " are imported.",
    },
    "recording": {
        "record": "Record what happened: any command of the record, and its receipt as the answer.",
    },
    "reading": {
        "read": "Show the entries of one relationship, as far as one may see them. The reading is"
        " recorded.",
    },
    "replay": {
        "replay": "Show one relationship as of two times, told from the log itself. The reading is"
        " recorded.",
    },
    "record": {
        "migrate": "Bring the database to this version: schema, keyring, and on a new one the"
        " clinic's log.",
        "clinic": "Show which clinic is served, the head of its log, and how far its views are.",
    },
    "verifying": {
        "verify": "Read every entry again, hash it again, and compare: with the log, its roots and"
        " its head.",
    },
    "log": {
        "log": "The log for others: its key, signed heads, proofs, and all of it as files.",
    },
    "views": {
        "rebuild": "Build views anew from the log beside the old ones, compare both by digest, and"
        " swap.",
    },
    "backup": {
        "backup": "Write database, keyring and acknowledged heads into a folder (mode 0700), as of"
        " one moment.",
        "restore": "Take a backup back into an empty home, or an empty database, and prove that it"
        " is whole.",
    },
    "scoring": {
        "score": "Score answers by an instrument's key, with cut-offs, risk items, flags and"
        " sources.",
        "gas": "Compute the T-score of Goal Attainment Scaling (Kiresuk & Sherman 1968).",
        "gbo": "Compute how far goals moved, by Goal-Based Outcomes: each by itself, and on the"
        " mean.",
    },
    "wording": {
        "text-pack": "Check a clinic's own wording of an instrument, and tell the hash to adopt it"
        " by.",
    },
    "rescoring": {
        "rescore": "Report which ratings another key scores differently: old, new and entry."
        " Nothing changes.",
    },
    "analysing": {
        "analyse": "Ask a method about a series. It says what it found, from what, and by which"
        " parameters.",
    },
    "changing": {
        "change": "Judge changes by Jacobson and Truax: reliable, and across a cut-off or not.",
    },
    "exporting": {
        "export": "Write an evidence bundle of one relationship. That it was made is an entry"
        " first.",
        "export-dossier": "Write a copy of one relationship's record as JSON. That it was made is"
        " an entry first.",
    },
    "erasing": {
        "erase": "Destroy the keys of what one person gave, for good. The entries stay, and prove"
        " they existed.",
        "erasure": "What shows that something was erased.",
    },
    "keys": {
        "keyring": "The keys without which nothing can be read: back them up, apart from the"
        " database.",
        "token": "Who may knock: bearer tokens of the API.",
    },
    "roles": {
        "role": "In what capacity somebody may use the record: a token works only while its role"
        " stands.",
    },
}
"""The modules of this package and the commands that each adds, in the order of the help; each with
what it says of itself first, so that the help need not load it."""


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
    """The whole command line. Where a command of it is asked for, only the part that holds it;
    where anything else is, only what there is to ask for.

    Most of the time that a score or the help takes would else go into reading what only a record
    needs.
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
    parts = [part for part, told in _PARTS.items() if asked is None or asked in told]
    for part in parts:
        import_module(f"api.cli.{part}").add_to(app)
    _flow(app)
    if not parts:
        _list(app)
    return app


def _list(app: typer.Typer) -> None:
    """What there is to ask for. None of it was, so nothing of it is called."""

    def not_loaded() -> None:
        raise AssertionError("it was not asked for")

    for told in _PARTS.values():
        for name, says in told.items():
            app.command(name, help=says)(not_loaded)


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
    status = terminal.run(_called)
    search_ended()
    sys.exit(status)


def _called() -> None:
    """Loads what was called, and runs it."""
    with search_put_off():  # of what is loaded nearly all stays
        called = command_line(_asked(sys.argv[1:]))
    called()


def _asked(words: Sequence[str]) -> str:
    """The command among them; an option, or nothing, where there is none."""
    return next((word for word in words if word != "--"), "")
