"""`rapport verify`. It loads little, and so begins soon: no web, no rules, no views."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import psycopg
import typer

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
from infra.canonical import time_text
from infra.checkpoint import NoteBroken, VerifierKey
from infra.clinics import acknowledged_head, clinic_in, pinned
from infra.keyring import open_keyring
from infra.log_key import LogKey, verified_by
from infra.migrate import pending
from infra.postgres import Database, open_database
from infra.receipts import KeptReceipt, ReceiptRefused, read_receipt
from infra.settings import Settings
from infra.verify import LogBroken, Progress, Trusted, Verified
from infra.verify import verify as verify_log

if TYPE_CHECKING:
    from infra.opening import Opened


def add_to(app: typer.Typer) -> None:
    app.command("verify")(verify)


def verify(
    receipt: Annotated[
        list[Path] | None,
        typer.Option(help="Also hold it against what was promised in this file; any number."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="The log's public key, where the keyring is not to be trusted or gone."),
    ] = None,
    open_: Annotated[
        bool,
        typer.Option(
            "--open", help="Also open every entry by its key, and hold the keyring to it."
        ),
    ] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Read every entry again, hash it again, and compare: with the log, its roots and its head.

    It trusts the database with nothing. Exit status 1 names the first entry that does not fit, or
    the smallest range between two roots of which only the first fits. A receipt that somebody kept
    (the JSON answer to a command, a .tlog-proof, or a signed checkpoint) finds a log that was cut
    or rewritten as a whole; only for its signature is a key needed, the log's public one.

    With --open every entry is opened too: content that its envelope does not speak of, entries that
    were made up without a key, and keys destroyed in silence are found. No content is shown.

    \b
    Examples:
      rapport verify
      rapport verify --format json
      rapport verify --receipt receipt.json --receipt entry-42.tlog-proof
      rapport verify --open
    """
    with existing_record() as (loaded, database, id_), progress_bar() as advance:
        kept = list(_kept(receipt or [], key or [], loaded, id_))
        try:
            verified = verify_log(
                database.dsn("read"),
                id_,
                acknowledged=acknowledged_head(loaded, id_),
                trusted=[
                    Trusted(each.checkpoint.size, each.checkpoint.root, f"receipt {each.name}")
                    for each in kept
                ],
                progress=lambda done, total: advance("verified", done, total),
            )
            _require_contained(kept, database, id_)
            opened = _opened(loaded, database, id_, partial(advance, "opened")) if open_ else None
        except ReceiptRefused as refused:
            raise Failed(Exit.FOUND, str(refused)) from None
        except LogBroken as broken:
            if format_ is Format.JSON:
                show(format_, _broken(id_, broken), "")
            raise Failed(
                Exit.FOUND,
                f"The log of clinic {id_} is not what it was. {broken}",
                "Keep the database as it is for examination; docs/operate/backup.md says how to "
                "restore.",
            ) from None
    document = _verified(verified) | (_in_numbers(opened) if opened else {})
    show(format_, document, lambda: "\n".join([_in_words(verified), *_told(opened)]))


def _require_contained(kept: Sequence[KeptReceipt], database: Database, clinic: UUID) -> None:
    if kept:
        from infra.recorder import leaf_hashes  # noqa: PLC0415  seldom, and slow to load

        with psycopg.connect(pinned(database.dsn("read"), clinic)) as connection:
            for each in kept:
                each.contains(partial(leaf_hashes, connection, clinic))


def _opened(loaded: Settings, database: Database, clinic: UUID, advance: Progress) -> "Opened":
    from infra.opening import open_entries  # noqa: PLC0415  seldom, and slow to load

    with open_keyring(loaded.keyring, first_use=False) as keyring:
        return open_entries(database.dsn("read"), clinic, keyring, progress=advance)


def _in_numbers(opened: "Opened") -> dict[str, Any]:
    return {
        "opened": opened.opened,
        "erased": opened.erased,
        "keys_destroyed": opened.keys_destroyed,
        "late": list(opened.late),
    }


def _told(opened: "Opened | None") -> Iterator[str]:
    if opened is None:
        return
    yield (
        f"opened {opened.opened} entries; {opened.erased} are erased, by "
        f"{opened.keys_destroyed} keys that the log says were destroyed"
    )
    if opened.late:
        places = ", ".join(map(str, opened.late))
        yield (
            f"Look at entries {places}: they name a key that was destroyed before them. They were "
            "written in the moment of the erasure, or somebody without a key made them up."
        )


def _kept(
    files: Sequence[Path], keys: Sequence[str], loaded: Settings, clinic: UUID
) -> Iterator[KeptReceipt]:
    """What the files promise, checked with the keys that were named, or those of the keyring."""
    if not files:
        return
    try:
        verified = partial(verified_by, list(map(VerifierKey.parse, keys)))
    except NoteBroken:
        raise Failed(
            Exit.USAGE, "--key is no public key of a log.", "`rapport log key` shows it."
        ) from None
    if not keys:
        with open_keyring(loaded.keyring, first_use=False) as keyring:
            verified = partial(verified_by, LogKey.of(keyring, clinic).verifiers)
    for file in files:
        try:
            yield read_receipt(file, verified)
        except ReceiptRefused as refused:
            raise Failed(Exit.FOUND, str(refused)) from None


def _verified(verified: Verified) -> dict[str, Any]:
    return {
        "ok": True,
        "clinic": str(verified.clinic),
        "size": verified.size,
        "root": verified.root,
        "batches": verified.batches,
        "streams": verified.streams,
        "recorded_at": time_text(verified.recorded_at) if verified.size else None,
        "trusted": [
            {"size": root.size, "root": root.root.hex(), "source": root.source}
            for root in verified.trusted
        ],
    }


def _broken(clinic: UUID, broken: LogBroken) -> dict[str, Any]:
    return {
        "ok": False,
        "clinic": str(clinic),
        "code": broken.code,
        "first": broken.first,
        "last": broken.last,
        "column": broken.column or None,
        "source": broken.source or None,
        "proven": broken.proven.size if broken.proven else 0,
        "says": str(broken),
    }


def _in_words(verified: Verified) -> str:
    until = f", the last recorded at {time_text(verified.recorded_at)}" if verified.size else ""
    held = (f"\nholds  what {root.source} is for: {root.size} entries" for root in verified.trusted)
    return (
        f"{_how_far(verified)}: {verified.size} entries in {verified.streams} streams and "
        f"{verified.batches} commits{until}.\nclinic {verified.clinic}\nroot   {verified.root}"
        + "".join(held)
    )


def _how_far(verified: Verified) -> str:
    """What is true of the entries, and not only consistent, because a root from outside fits."""
    if not verified.trusted:
        return "All fits, but no root from outside was there to hold it against"
    last = verified.trusted[-1]
    if last.size == verified.size:
        return "Nothing was changed"
    return f"Nothing was changed in the first {last.size} entries ({last.source}), and all fits"


@contextmanager
def existing_record() -> Iterator[tuple[Settings, Database, UUID]]:
    """A record that is there already; a command that only looks begins none."""
    loaded = settings_of_record()
    with open_database(loaded, progress=say) as database:
        if pending(database.dsn("owner")):
            raise Failed(
                Exit.UNAVAILABLE,
                f"The schema of the {database.description} is not that of this program.",
                "Run `rapport migrate`.",
            )
        id_ = clinic_in(database, loaded)
        if id_ is None:
            named = f"clinic {loaded.clinic}" if loaded.clinic else "clinic"
            raise Failed(
                Exit.USAGE,
                f"There is no {named} in the {database.description}.",
                "`rapport migrate` begins one; or look at RAPPORT_CLINIC.",
            )
        yield loaded, database, id_
