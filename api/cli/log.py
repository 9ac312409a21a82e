"""`rapport log`: the log for others: its key, signed heads, proofs, and all of it as files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import witnesses
from api.cli.operator import TokenFileOption, who_asks
from api.cli.terminal import (
    Exit,
    Failed,
    Format,
    FormatOption,
    progress_bar,
    say,
    settings_of_record,
    show,
)
from api.composition import Service, house, open_service
from api.doors import enter
from infra import tile_files
from infra.checkpoint import Checkpoint, NoteBroken, VerifierKey
from infra.published import Continuation, PublishedLog
from infra.tile_files import Checked, FolderBroken

_BUNDLES: str = "log-entries"
"""The door that bundles of entries lie behind, also here."""

_log = typer.Typer(
    help="The log for others: its key, signed heads, proofs, and all of it as files.",
    no_args_is_help=True,
)

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="A file for it, instead of the terminal.")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(_log, name="log")


# --- From the record ------------------------------------------------------------------------


@_log.command("key")
def key(output: OutputOption = None, format_: FormatOption = Format.TEXT) -> None:
    """Show the public key that checks what the log signs, as a verifier key of a signed note.

    Give it away by another path than the log itself: in print, on the clinic's site, to a witness.
    Older keys are those of the log before it was restored; they are in the JSON document.

    \b
    Examples:
      rapport log key
      rapport log key -o log.vkey
      rapport log key --format json
    """
    with _opened() as (_, published):
        log_key = published.key
    verifier = str(log_key.verifier)
    document = {
        "key": verifier,
        "origin": log_key.origin,
        "log_id": log_key.log_id,
        "older": [str(each) for each in log_key.verifiers[:-1]],
    }
    _show_text(format_, document, f"{verifier}\n", output)


@_log.command("checkpoint")
def checkpoint(output: OutputOption = None, format_: FormatOption = Format.TEXT) -> None:
    """Sign how far the log is now, and show it with the cosignatures that it has.

    Kept elsewhere, it tells later whether the log was cut or rewritten: `rapport log check
    --against`.

    \b
    Examples:
      rapport log checkpoint
      rapport log checkpoint -o monday.checkpoint
    """
    with _opened() as (_, published):
        note = published.head()
        signed = published.key.verified(note)
    document = {
        "origin": signed.origin,
        "size": signed.size,
        "root": signed.root.hex(),
        "checkpoint": note,
    }
    _show_text(format_, document, note, output)


@_log.command("proof")
def proof(
    position: Annotated[int, typer.Argument(min=1, help="The entry's position in the log.")],
    output: OutputOption = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Show the proof that the log contains an entry: a .tlog-proof, which needs nothing of ours.

    It holds hashes and a signed head, nothing of the entry itself.

    \b
    Examples:
      rapport log proof 1
      rapport log proof 12 -o entry-12.tlog-proof
    """
    with _opened() as (_, published):
        found = published.proof(position)
    if found is None:
        raise Failed(Exit.FOUND, f"The log has no entry {position}.", "See `rapport clinic`.")
    _show_text(format_, {"position": position, "proof": found}, found, output)


@_log.command("consistency")
def consistency(
    old: Annotated[int, typer.Argument(min=0, help="Entries that the log had.")],
    new: Annotated[int, typer.Argument(min=0, help="Entries that it had later.")],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Show the proof that the log only grew between two sizes (RFC 6962, section 2.1.2).

    \b
    Examples:
      rapport log consistency 5 12
      rapport log consistency 5 12 --format json
    """
    with _opened() as (_, published):
        found = published.consistency(old, new)
    if found is None:
        raise Failed(
            Exit.FOUND, f"The log never went from {old} to {new} entries.", "See `rapport clinic`."
        )
    show(format_, _told(found), "\n".join(_lines(found)))


@_log.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="The folder; it may hold an earlier export.")],
    entries: Annotated[
        bool, typer.Option(help="Also what is logged of each entry: envelopes, never content.")
    ] = False,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Write the log as files: hash tiles, and a signed checkpoint that covers them.

    A folder that is there already is continued, with entries if it has some, and only if the log
    still continues it. Any web server can serve it, and any reader of tiles can check it. Entries
    are readable by you alone; that they were read is an entry itself.

    \b
    Examples:
      rapport log export tiles
      rapport log export tiles --entries
    """
    entries = entries or (folder / tile_files.ENTRIES).is_dir()
    with _opened() as (service, published), progress_bar() as advance:
        if entries:
            enter(house(service), who_asks(service, token_file, None), _BUNDLES)
        note = published.head()
        try:
            exported = tile_files.export(
                folder,
                note,
                published.tree(note),
                published.key.verifier,
                entries=entries,
                progress=lambda done, total: advance("exported", done, total),
            )
        except FolderBroken as broken:
            raise Failed(
                Exit.FOUND,
                f"{folder} is not continued: {broken}",
                "Keep it as it is and run `rapport verify`; export into another folder.",
            ) from None
    document = {"folder": str(folder), "size": exported.size, "written": exported.written}
    show(
        format_,
        document,
        f"{exported.size} entries in {folder}: {exported.written} files are new.",
    )


_log.command("witnesses")(witnesses.witnesses)


@contextmanager
def _opened() -> Iterator[tuple[Service, PublishedLog]]:
    """A record that is there already, and its log as others read it."""
    with open_service(settings_of_record(), progress=say) as service:
        yield service, PublishedLog(service.log)


def _told(found: Continuation) -> dict[str, Any]:
    return {
        "old": found.old,
        "old_root": found.old_root.hex(),
        "new": found.new,
        "new_root": found.new_root.hex(),
        "path": [each.hex() for each in found.path],
    }


def _lines(found: Continuation) -> Iterator[str]:
    yield f"old {found.old} {found.old_root.hex()}"
    yield f"new {found.new} {found.new_root.hex()}"
    for each in found.path:
        yield each.hex()


def _show_text(format_: Format, document: dict[str, Any], text: str, output: Path | None) -> None:
    """The result; where a file is named the text goes there, byte for byte."""
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise Failed(Exit.USAGE, f"{output} cannot be written: {error.strerror}.") from None
        text = f"Written to {output}."
    show(format_, document, text.removesuffix("\n"))


# --- From a folder alone --------------------------------------------------------------------


@_log.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="A folder that `rapport log export` wrote.")],
    key: Annotated[
        str, typer.Option(metavar="VKEY", help="The log's key, or a file that holds it.")
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept elsewhere, which the folder must continue."),
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Check every file of an exported log against the log's key alone.

    It needs neither database nor keyring, and trusts nothing in the folder. Exit status 1 names the
    first file that does not fit what was signed.

    \b
    Examples:
      rapport log check tiles --key log.vkey
      rapport log check tiles --key log.vkey --against monday.checkpoint
    """
    verifier = _key(key)
    before = None if against is None else _checkpoint(against, verifier)
    try:
        with progress_bar() as advance:
            checked = tile_files.check(
                folder,
                verifier,
                against=before,
                progress=lambda done, total: advance("checked", done, total),
            )
    except FolderBroken as broken:
        if format_ is Format.JSON:
            document = {"ok": False, "code": broken.code, "file": broken.path, "says": str(broken)}
            show(format_, document, "")
        raise Failed(
            Exit.FOUND,
            f"The log in {folder} is not what was signed. {broken}",
            "Keep the folder as it is; docs/formats/log.md says what each file holds.",
        ) from None
    signed = checked.checkpoint
    document = {
        "ok": True,
        "origin": signed.origin,
        "size": signed.size,
        "root": signed.root.hex(),
        "entries": checked.entries,
        "against": before and before.size,
    }
    show(format_, document, lambda: _in_words(checked, before))


def _in_words(checked: Checked, before: Checkpoint | None) -> str:
    signed = checked.checkpoint
    hashed = "entries hashed again" if checked.entries else "hashes alone: no entries are here"
    continued = f"\ncontinues the {before.size} entries of the other checkpoint" if before else ""
    return (
        f"Everything fits the signature: {signed.size} entries, {hashed}.\n"
        f"log    {signed.origin}\nroot   {signed.root.hex()}{continued}"
    )


def _key(text: str) -> VerifierKey:
    """The verifier key itself, or the one in that file."""
    try:
        if "+" not in text:
            text = _read(Path(text)).removesuffix("\n")
        return VerifierKey.parse(text)
    except NoteBroken:
        raise Failed(
            Exit.USAGE, "--key is no verifier key.", "`rapport log key` shows the log's."
        ) from None


def _checkpoint(file: Path, verifier: VerifierKey) -> Checkpoint:
    try:
        return Checkpoint.verified(_read(file), verifier)
    except NoteBroken:
        raise Failed(
            Exit.USAGE,
            f"{file} is no checkpoint that this key has signed.",
            "A log that was restored has another key since.",
        ) from None


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise Failed(Exit.USAGE, f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Failed(Exit.USAGE, f"{file} is no text.") from None
