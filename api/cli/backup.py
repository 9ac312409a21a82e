"""`rapport backup` and `rapport restore`: the record in a folder, and out of it again."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from api.cli.keys import unknown_keys
from api.cli.terminal import Exit, Failed, Format, FormatOption, progress_bar, say, settings, show
from api.composition import Service, open_service
from domain.records import system_clock
from infra.backup import (
    RING,
    BackedUpLog,
    Manifest,
    accept_loss,
    acknowledged,
    back_up,
    read_manifest,
    remember,
    require_empty,
    restore_database,
)
from infra.clinics import clinics
from infra.keyring import MASTER_FILE
from infra.keyrings import keyring_of, restore_keyring
from infra.log_key import begin_anew
from infra.migrate import migrate
from infra.postgres import Database, open_database
from infra.settings import Settings
from infra.verify import LogBroken, Verified, verify
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from projections.rebuild import rebuild

_HOW = "docs/operate/backup.md says how."


def add_to(app: typer.Typer) -> None:
    app.command("backup")(backup)
    app.command("restore")(restore)


# --- Backup ---------------------------------------------------------------------------------


def backup(
    folder: Annotated[Path, typer.Argument(help="The new folder; none is ever written over.")],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Write database, keyring and acknowledged heads into a folder (mode 0700), as of one moment.

    The product may run meanwhile. master.key is NOT in it: without a copy of that, kept elsewhere,
    nobody can read the backup, you included. Views are not in it either: a restore builds them.

    \b
    Examples:
      rapport backup /var/backups/rapport/2026-03-02
      rapport backup monday --format json
    """
    loaded = settings()
    _require_record(loaded)
    with (
        keyring_of(loaded, first_use=False) as keyring,
        open_database(loaded, progress=say) as database,
    ):
        manifest = back_up(
            database.dsn("owner"),
            keyring,
            loaded.home / "heads",
            folder.absolute(),
            now=system_clock(),
            binaries=loaded.postgres_bin,
            progress=say,
        )
    show(format_, _written(folder, manifest), "\n".join(_in_words(folder, manifest)))
    master = "What the master key's command gives"
    if loaded.master_key_command is None:
        master = str(loaded.keyring / MASTER_FILE)
    say(
        f"{master} is not in it, and without it nobody can read it. "
        "Keep a copy of it elsewhere; whoever has both reads everything."
    )
    _tell_of_loss(manifest)


def _written(folder: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "backup": str(folder.absolute()),
        "made_at": manifest.made_at,
        "bytes": manifest.dump.bytes,
        "logs": [
            {"clinic": str(log.clinic), "size": log.head.size, "root": log.head.root}
            for log in manifest.logs
        ],
    }


def _in_words(folder: Path, manifest: Manifest) -> Iterable[str]:
    yield f"Wrote {folder} at {manifest.made_at}, {manifest.dump.bytes:,} bytes of database."
    for log in manifest.logs:
        yield f"clinic {log.clinic}: {log.head.size} entries, root {log.head.root}"


def _tell_of_loss(manifest: Manifest) -> None:
    for log in manifest.logs:
        if log.acknowledged is not None and log.acknowledged.size > log.head.size:
            raise Failed(
                Exit.FOUND,
                f"The log of clinic {log.clinic} has {log.head.size} entries, but "
                f"{log.acknowledged.size} were acknowledged. The backup holds no more than it has.",
                "Keep older backups, and run `rapport verify`.",
            )


# --- Restore --------------------------------------------------------------------------------


def restore(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder that `rapport backup` wrote.")
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Go on without entries that were acknowledged but are not in the backup; without"
            " a folder: not in the database as it is now.",
        ),
    ] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Take a backup back into an empty home, or an empty database, and prove that it is whole.

    Put master.key in its place first. Afterwards every entry is read and hashed again and compared
    with what the backup says of itself, every key that the log names is looked for, and the views
    are built. Where more was acknowledged than the backup holds, nothing is restored, unless you
    accept the loss.

    \b
    Examples:
      rapport restore /var/backups/rapport/2026-03-02
      rapport restore /var/backups/rapport/2026-02-23 --accept-loss
      rapport restore --accept-loss
    """
    loaded = settings()
    if folder is not None:
        found = _restored(loaded, folder.absolute(), accept=accept_loss)
    elif accept_loss:
        found = _as_it_is(loaded)
    else:
        raise Failed(Exit.USAGE, "Name the folder of a backup.", _HOW)
    document = {"ok": True, "logs": [_proven(verified) for verified in found]}
    show(format_, document, "\n".join(_proven_in_words(verified) for verified in found))


def _restored(loaded: Settings, folder: Path, *, accept: bool) -> list[Verified]:
    manifest = read_manifest(folder)
    _require_master_key(loaded)
    with open_database(loaded, progress=say) as database:
        owner = database.dsn("owner")
        require_empty(owner)
        held = {log.clinic: log.head.known() for log in manifest.logs}
        if not accept:
            _refuse_loss(loaded, held)
        unsure = [clinic for clinic in held if acknowledged(loaded.home / "heads", clinic) is None]
        _restore_keyring(loaded, folder)
        restore_database(folder, manifest, owner, binaries=loaded.postgres_bin, progress=say)
        remember(loaded.home / "heads", manifest.logs)
        migrate(owner)
        found = [_proof(database, log) for log in manifest.logs]
        unsure += _accept(loaded, held)
        _require_every_key(loaded, database, held)
        for clinic in unsure:
            _begin_anew(loaded, clinic)
        for log in manifest.logs:
            _finish(loaded, log.clinic)
    return found


def _as_it_is(loaded: Settings) -> list[Verified]:
    """Accepts that the database, whoever restored it, holds less than was acknowledged."""
    _require_record(loaded)
    with open_database(loaded, progress=say) as database:
        migrate(database.dsn("owner"))
        found = [_verified(database, clinic) for clinic in clinics(database.dsn("owner"))]
    lost = _accept(loaded, {each.clinic: (each.size, bytes.fromhex(each.root)) for each in found})
    if not lost:
        raise Failed(Exit.USAGE, "The database holds all that was acknowledged: nothing to accept.")
    for clinic in lost:
        _begin_anew(loaded, clinic)
    return found


def _require_record(loaded: Settings) -> None:
    if loaded.database_url is None and not (loaded.home / "postgres").exists():
        raise Failed(Exit.USAGE, f"There is no record at {loaded.home}.", "Look at RAPPORT_HOME.")


def _require_master_key(loaded: Settings) -> None:
    place = loaded.keyring / MASTER_FILE
    if loaded.master_key_command is None and not place.exists():
        raise Failed(
            Exit.UNAVAILABLE,
            f"There is no {place}. No backup holds it, and no backup can be read without it.",
            "Put your copy of it there first (mode 0600, its folder 0700). If there is none left, "
            "nobody can read this record any more: keep the backup in case a copy turns up.",
        )


def _restore_keyring(loaded: Settings, folder: Path) -> None:
    ring = folder / RING
    if ring.exists():
        keys = restore_keyring(loaded, ring, merge=True)
        say(f"Took over {keys} keys into the keyring; destroyed ones stay destroyed.")
    else:
        with keyring_of(loaded, first_use=False) as keyring:
            say(f"The backup has no {RING}: going on with the keyring at {keyring.place}.")


def _proof(database: Database, log: BackedUpLog) -> Verified:
    verified = _verified(database, log.clinic, log.head.known())
    if (verified.size, verified.root) != (log.head.size, log.head.root):
        raise Failed(
            Exit.FOUND,
            f"The backup says {log.head.size} entries of clinic {log.clinic}, the database now has "
            f"{verified.size}.",
            "Look for another backup; keep this one for examination.",
        )
    return verified


def _verified(database: Database, clinic: UUID, known: tuple[int, bytes] | None = None) -> Verified:
    with progress_bar() as advance:
        try:
            return verify(
                database.dsn("read"),
                clinic,
                acknowledged=known,
                progress=lambda done, total: advance("verified", done, total),
            )
        except LogBroken as broken:
            raise Failed(
                Exit.FOUND,
                f"The log of clinic {clinic} is not what it was. {broken}",
                "Look for another backup; keep this one for examination.",
            ) from None


def _require_every_key(loaded: Settings, database: Database, held: Iterable[UUID]) -> None:
    with keyring_of(loaded, first_use=False) as keyring:
        keyring.verify()
        missing = [
            key_id
            for clinic in held
            for key_id in unknown_keys(keyring, database.dsn("read"), clinic)
        ]
    if missing:
        raise Failed(
            Exit.FOUND,
            f"The log is whole, but {len(missing)} keys that it names are not in the keyring: what "
            "they seal cannot be read.",
            "Add a newer copy by `rapport keyring restore FILE --merge`, then `rapport rebuild`.",
        )


def _begin_anew(loaded: Settings, clinic: UUID) -> None:
    """A further log key, where more may have been promised than the log holds now.

    Nobody here can tell what was signed after the backup was made; under another name nothing
    contradicts it.
    """
    with keyring_of(loaded, first_use=False) as keyring:
        key = begin_anew(keyring, clinic)
    say(
        f"The log of clinic {clinic} goes on under a new key and name, since more may have been "
        "promised of it than the backup holds. Older receipts stay good for what it holds. Give "
        f"this public key to witnesses and to whoever checks receipts:\n  {key.verifier}"
    )


def _finish(loaded: Settings, clinic: UUID) -> None:
    """Builds the views, and says what only a person can look after."""
    with open_service(loaded.model_copy(update={"clinic": clinic})) as service:
        say("Building the views")
        store = ViewStore(service.database.dsn("views"), clinic, service.keyring)
        try:
            rebuild(VIEWS.all(), service.log, store, compare=False)
        finally:
            store.close()
        _tell_of_tokens(service)


def _tell_of_tokens(service: Service) -> None:
    now = system_clock()
    known = service.tokens.known()
    live = sum(token.revoked_at is None and token.expires_at > now for token in known)
    if live:
        say(
            f"{live} tokens are in force as they were then, also any that was revoked since: "
            "see `rapport token list`."
        )


# --- What a backup cannot bring back --------------------------------------------------------

_Heads = Mapping[UUID, tuple[int, bytes]]
"""(size, root) of the log that there is, by clinic."""


def _lost(loaded: Settings, held: _Heads) -> dict[UUID, range]:
    """The positions that were acknowledged and are not held, by clinic."""
    known = {clinic: acknowledged(loaded.home / "heads", clinic) for clinic in held}
    return {
        clinic: range(size + 1, head[0] + 1)
        for clinic, (size, _) in held.items()
        if (head := known[clinic]) is not None and head[0] > size
    }


def _refuse_loss(loaded: Settings, held: _Heads) -> None:
    for clinic, positions in _lost(loaded, held).items():
        raise Failed(
            Exit.FOUND,
            f"{len(positions)} entries of clinic {clinic} were acknowledged that this backup does "
            f"not hold: positions {positions[0]} to {positions[-1]}. Nothing was restored.",
            "Restore a newer backup. If there is none, --accept-loss goes on without them.",
        )


def _accept(loaded: Settings, held: _Heads) -> dict[UUID, range]:
    lost = _lost(loaded, held)
    for clinic, positions in lost.items():
        aside = accept_loss(loaded.home / "heads", clinic, held[clinic], system_clock())
        say(
            f"Lost: positions {positions[0]} to {positions[-1]} of clinic {clinic}. They will be "
            f"given out again, to other entries. What was acknowledged for them is kept in {aside}."
        )
    return lost


def _proven(verified: Verified) -> dict[str, Any]:
    return {"clinic": str(verified.clinic), "size": verified.size, "root": verified.root}


def _proven_in_words(verified: Verified) -> str:
    return (
        f"clinic {verified.clinic}: {verified.size} entries, each read and hashed again, "
        f"root {verified.root}"
    )
