"""What every command has in common: where it writes, how it shows that it works, how it fails.

Results go to stdout, one JSON document where `--format json` asks for it; everything else goes to
stderr. Nobody is ever shown a traceback.
"""

import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from domain.event import Refusal
from domain.scoring import ItemOutOfRange
from infra.settings import Settings, SettingsInvalid, default_home, load_settings


class Exit(IntEnum):
    """What the exit status says."""

    OK = 0
    FOUND = 1
    """A verification or a validation found something, or the record refused."""
    USAGE = 2
    UNAVAILABLE = 3
    """The database or the keyring cannot be had."""
    UNEXPECTED = 70
    """A fault of the product: sysexits' EX_SOFTWARE."""
    INTERRUPTED = 130


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="Text for people, or one JSON document.")
]


class Failed(Exception):
    """A command that ends here: what is wrong and where, and what mends it."""

    def __init__(self, status: Exit, what: str, mend: str = "") -> None:
        self.status, self.what, self.mend = status, what, mend
        super().__init__(what)


# --- Writing --------------------------------------------------------------------------------


def say(message: str) -> None:
    """A message for people; never a result."""
    typer.echo(message, err=True)


def show(format_: Format, document: Mapping[str, Any], text: Callable[[], str] | str) -> None:
    """The result of a command: the document as JSON, or the text."""
    if format_ is Format.JSON:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo(text if isinstance(text, str) else text())


Advance = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@contextmanager
def progress_bar() -> Iterator[Advance]:
    """A bar per kind of work, on a terminal; elsewhere nothing."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {task.description: task.id for task in progress.tasks}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read (0600), in place of what was there."""
    draft = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Failed(Exit.USAGE, f"{path} cannot be written: {error.strerror}.") from None


# --- Failing --------------------------------------------------------------------------------


def explain(error: Exception) -> Failed | None:
    """What a known error means to the person at the terminal; None: it is a fault of ours."""
    match error:
        case Failed():
            return error
        case Refusal():
            rule = f"; rule {error.rule}" if error.rule else ""
            detail = error.to_caller if isinstance(error, ItemOutOfRange) else error.detail
            return Failed(Exit.FOUND, f"{detail} ({error.code}{rule})")
        case ValidationError():
            return Failed(Exit.USAGE, _faulty_fields(error))
        case _:
            # Read only now: it knows every room, and most commands need few of them.
            known: Failed | None = import_module("api.cli.failures").explain(error)
            return known


def _faulty_fields(error: ValidationError) -> str:
    """Field by field what does not fit; never what was given, which may be clinical."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "\n".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
        for problem in problems
    )


def tell(failed: Failed) -> int:
    """Says what failed; the exit status."""
    say(f"rapport: {failed.what}")
    if failed.mend:
        say(f"  {failed.mend}")
    return failed.status


def run(command: Callable[[], object]) -> int:
    """Runs the command line; the exit status, whatever happens. Nobody sees a traceback."""
    try:
        command()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else Exit.OK if done.code is None else 1
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # the last line of defence: whatever it is, it is told and kept
        return tell(explain(error) or keep_trace(error))
    return Exit.OK


def keep_trace(error: Exception) -> Failed:
    """A fault of ours: its trace goes to a file that only its owner may read."""
    error_id = uuid4().hex[:12]
    try:
        logs = _home() / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = logs / f"error-{error_id}.txt"
        write_private(path, "".join(traceback.format_exception(error)))
        where = f"Its trace is in {path}."
    except (OSError, Failed):
        where = "Its trace could not be kept."
    return Failed(
        Exit.UNEXPECTED,
        f"Something unexpected happened ({type(error).__name__}, error {error_id}).",
        f"{where} It may hold what was being worked on: look before you send it to anybody.",
    )


def _home() -> Path:
    try:
        return load_settings().home
    except SettingsInvalid:
        return default_home()


def settings(**changes: Any) -> Settings:
    """The settings of this process, some of them changed by options."""
    given = {name: value for name, value in changes.items() if value is not None}
    return load_settings().model_copy(update=given)


def settings_of_record() -> Settings:
    """The settings, if there is a record at all: a command that only looks begins none."""
    loaded = load_settings()
    if loaded.database_url is None and not (loaded.home / "postgres").exists():
        raise Failed(
            Exit.USAGE,
            f"There is no record at {loaded.home}.",
            "Look at RAPPORT_HOME; `rapport migrate` begins a record.",
        )
    return loaded
