"""A ring as one SQLite file: the file version's own, and the form of every backup.

Layout and handling are written down in docs/formats/keyring.md.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from infra.keyring_errors import KeyringError, disk_told
from infra.master_key import RING_FORMAT, refuse_open_to_others

BUSY_SECONDS: Final = 30.0

SCHEMA: Final = """
CREATE TABLE ring (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    format TEXT NOT NULL,
    proof BLOB NOT NULL,          -- opens under the master key and under no other
    generation INTEGER NOT NULL   -- moves whenever a key is destroyed
) STRICT;
CREATE TABLE keys (
    clinic TEXT NOT NULL,
    key_id TEXT NOT NULL,
    stream TEXT,                  -- with subject: whose key it is; null where only the log knows
    subject TEXT,
    wrapped BLOB,                 -- null once destroyed
    created_at TEXT,
    destroyed_at TEXT,
    PRIMARY KEY (clinic, key_id),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
    CHECK (wrapped IS NULL OR (stream IS NOT NULL AND subject IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_owner ON keys (clinic, stream, subject);
"""

ROW: Final = "clinic, key_id, stream, subject, wrapped, created_at, destroyed_at"


class Row(NamedTuple):
    """A key as every ring keeps it: `wrapped` is empty once it was destroyed."""

    clinic: str
    key_id: str
    stream: str | None
    subject: str | None
    wrapped: bytes | None
    created_at: str | None
    destroyed_at: str | None


class RingState(NamedTuple):
    """A ring's one row about itself."""

    proof: bytes
    generation: int


class RingFile:
    """The place of a ring in a file (0600)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def proof(self) -> bytes | None:
        if not self.path.exists():
            return None
        refuse_open_to_others(self.path)
        # Not read-only: what a process left undone when it was killed has to be taken back first.
        with told(), closing(connect(self.path)) as db:
            return _state(db).proof

    def create(self, proof: bytes) -> None:
        write_ring(self.path, RingState(proof, 0), ())


def write_ring(path: Path, state: RingState, rows: Iterable[Row]) -> None:
    """Writes a ring to a new file (0600), whole or not at all; on disk before it returns."""
    with told():
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        draft.with_name(draft.name + "-journal").unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(connect(draft)) as db:
            db.executescript(f"BEGIN;{SCHEMA}")
            db.execute("INSERT INTO ring VALUES (1, ?, ?, ?)", (RING_FORMAT, *state))
            db.executemany("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")
        draft.rename(path)
        _sync(path.parent)


def read_ring(path: Path) -> tuple[RingState, list[Row]]:
    """What a copy of a ring says, with its keys; changes nothing in it."""
    with told(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute(f"SELECT {ROW} FROM keys").fetchall()  # noqa: S608  constants
        return _state(db), [Row(*row) for row in rows]


def _state(db: sqlite3.Connection) -> RingState:
    row = db.execute("SELECT proof, generation, format FROM ring").fetchone()
    if row is None or row[2] != RING_FORMAT:
        raise KeyringError("damaged")
    return RingState(*row[:2])


def connect(path: Path) -> sqlite3.Connection:
    """A connection that leaves transactions to its user, and nothing of what is overwritten."""
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode=DELETE",
        "synchronous=EXTRA",
        "fullfsync=ON",  # macOS: through the drive's own cache
        "secure_delete=ON",  # a destroyed key is overwritten with zeros, not only let go of
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_CODES: Final = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_ERROR: "damaged",
}


@contextmanager
def told() -> Iterator[None]:
    """Turns what SQLite and the disk raise into a `KeyringError` that says what to do."""
    try:
        with disk_told():
            yield
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        raise KeyringError(_CODES.get(primary, "unwritable")) from error
