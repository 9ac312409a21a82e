"""The keyring: data keys with a life of their own, apart from the database.

Losing a key is losing what it sealed, and destroying a key *is* the erasure of what it sealed; so
three answers are kept apart everywhere: the key, `None` (destroyed on purpose) and `KeyUnknown`
(never in this ring: a lost or old keyring, which must not pass for an erasure).

The file version serves one host: one SQLite file, several processes and threads. Its format and
its handling are written down in docs/formats/keyring.md.
"""

import errno
import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, Self
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.canonical import encode, time_text

FORMAT: Final = "rapport-keyring/1"
RING_FILE: Final = "keyring.db"
MASTER_FORMAT: Final = "rapport-master-key/1"
MASTER_FILE: Final = "master.key"
KEY_BYTES: Final = 32
REFRESH_SECONDS: Final = 0.25
"""How long a process may go on with what it knows before it asks the file again."""

_NONCE_BYTES: Final = 12
_CACHE_LIMIT: Final = 100_000
_BUSY_SECONDS: Final = 30.0

_SCHEMA: Final = """
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

_SAYS: Final = {
    "busy": "Another process holds the keyring for too long; try again.",
    "closed": "This keyring was closed.",
    "damaged": "The keyring is damaged: put it aside and restore a backup.",
    "disk_full": "The disk that holds the keyring is full; no key was created.",
    "exists": "The destination exists already; backups are never overwritten.",
    "forked": "A keyring must be opened again after a fork.",
    "key_destroyed": "The key of this owner was destroyed; nothing more can be sealed for it.",
    "keyring_missing": "The log has entries, but the keyring that opens them is not here: put "
    "back master.key and restore a backup of the ring.",
    "key_unknown": "This keyring never held the key; the ring that did must be restored.",
    "master_key_damaged": "master.key is not a whole master key: put back your copy of it.",
    "master_key_missing": "There is no master.key for this keyring: put back your copy of it.",
    "master_key_wrong": "The master key is not the one this keyring was made under.",
    "not_empty": "The keyring holds keys already; ask for a merge to add the backup's to them.",
    "permissions": "Others may read the keyring: set 0700 on its directory, 0600 on its files.",
    "replaced": "The keyring's file was moved or replaced while in use: start again.",
    "ring_missing": "There is a master.key but no keyring: restore a backup of it.",
    "unwritable": "The keyring cannot be read or written; look at its disk and permissions.",
}


class KeyringError(Exception):
    """The ring cannot answer. `code` is a key of the table above, `str()` says what to do."""

    def __init__(self, code: str, key_id: UUID | None = None) -> None:
        super().__init__(code, key_id)
        self.code = code
        self.key_id = key_id

    def __str__(self) -> str:
        return _SAYS[self.code] + (f" (key {self.key_id})" if self.key_id else "")


class KeyUnknown(KeyringError):
    """The key was never in this ring: the ring is lost, old or another's. Not an erasure."""

    def __init__(self, clinic: UUID, key_id: UUID) -> None:
        super().__init__("key_unknown", key_id)
        self.clinic = clinic


class KeyDestroyed(KeyringError):
    """The owner's key was destroyed: nothing further can be sealed for this owner."""

    def __init__(self, clinic: UUID, stream: str, subject: str) -> None:
        super().__init__("key_destroyed")
        self.clinic, self.stream, self.subject = clinic, stream, subject


class Keyring(Protocol):
    """What the rest of the program may ask of a keyring. Keys are 32 random bytes."""

    def key_for(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytes]:
        """The owner's key and its id, created durably if new; `KeyDestroyed` once destroyed."""
        ...

    def get(self, clinic: UUID, key_id: UUID) -> bytes | None:
        """The key; None: destroyed; raises `KeyUnknown` where it was never in this ring."""
        ...

    def destroy(self, clinic: UUID, key_id: UUID) -> None:
        """Destroys the key for good. Repeating it is harmless; `KeyUnknown` as in `get`."""
        ...

    def destroy_again(self, clinic: UUID, key_ids: Iterable[UUID]) -> None:
        """Makes destroyed what the log says is destroyed, known to this ring or not."""
        ...

    def destroyed(self, clinic: UUID) -> frozenset[UUID]:
        """The ids of all destroyed keys."""
        ...

    def generation(self) -> int:
        """A number that moves whenever any process destroyed a key."""
        ...


def _system_clock() -> datetime:
    return datetime.now(UTC)


class FileKeyring:
    """A keyring in one SQLite file, every key wrapped under a master key kept elsewhere.

    Safe to share between threads and to open in several processes of one host. Open it with
    `open_keyring`; `create` makes a new file.
    """

    def __init__(
        self, path: Path, master: bytes, *, clock: Callable[[], datetime] = _system_clock
    ) -> None:
        """Opens the ring at `path`; raises `KeyringError` if it is none of this master key."""
        self._path = path
        self._clock = clock
        self._wrap = AESGCM(master)
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._keys: dict[tuple[UUID, UUID], bytes | None] = {}
        self._owners: dict[tuple[UUID, str, str], UUID] = {}
        self._fresh_until = 0.0
        self._closed = False
        with _told():
            if not path.exists():
                raise KeyringError("ring_missing")
            _refuse_open_to_others(path)
            self._inode = path.stat().st_ino
            self._db = _connect(path)
        try:
            self._generation = self._open_ring()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def create(cls, path: Path, master: bytes) -> Self:
        """Makes a new, empty ring at `path` (0600), whole or not at all, and opens it."""
        draft = _empty_draft(path)
        nonce = os.urandom(_NONCE_BYTES)
        proof = nonce + AESGCM(master).encrypt(nonce, b"", FORMAT.encode())
        with _told():
            db = _connect(draft)
            try:
                db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
                db.execute("INSERT INTO ring VALUES (1, ?, ?, 0)", (FORMAT, proof))
            finally:
                db.close()
        draft.rename(path)
        _sync(path.parent)
        return cls(path, master)

    def close(self) -> None:
        """Lets go of the file and forgets every key."""
        with self._lock:
            self._closed = True
            self._fresh_until = 0.0
            self._forget()
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Asking ---------------------------------------------------------------------------

    def key_for(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytes]:
        """The owner's key and its id; on disk before this returns. `KeyDestroyed` once destroyed.

        Processes that race get the same key. Subject: a person's id, "joint", or, in a clinic's
        own stream, a purpose and its generation ("access/0").
        """
        self._refresh()
        key_id = self._owners.get((clinic, stream, subject))
        key = self._keys.get((clinic, key_id)) if key_id else None
        if key_id is None or key is None:
            with self._lock:
                with self._writing():
                    key_id, key = self._found_or_created(clinic, stream, subject)
                # Only now is it on disk; and only under the lock can no destruction have been
                # noticed, and the key forgotten, since it was read.
                self._remember(clinic, key_id, key)
                self._owners[clinic, stream, subject] = key_id
        return key_id, key

    def get(self, clinic: UUID, key_id: UUID) -> bytes | None:
        """The key; None: destroyed; raises `KeyUnknown` where it was never in this ring."""
        self._refresh()
        try:
            return self._keys[clinic, key_id]
        except KeyError:
            pass
        with self._reading():
            row = self._db.execute(
                "SELECT stream, subject, wrapped FROM keys WHERE clinic = ? AND key_id = ?",
                (str(clinic), str(key_id)),
            ).fetchone()
            if row is None:
                raise KeyUnknown(clinic, key_id)
            key = self._unwrapped(clinic, key_id, *row) if row[2] else None
            self._remember(clinic, key_id, key)
            return key

    def destroyed(self, clinic: UUID) -> frozenset[UUID]:
        """The ids of all destroyed keys of the clinic."""
        with self._reading():
            rows = self._db.execute(
                "SELECT key_id FROM keys WHERE clinic = ? AND wrapped IS NULL", (str(clinic),)
            )
            return frozenset(UUID(key_id) for (key_id,) in rows)

    def live(self, clinic: UUID) -> tuple[tuple[UUID, str, str], ...]:
        """Every key of the clinic that is not destroyed: its id, and whose it is."""
        with self._reading():
            rows = self._db.execute(
                "SELECT key_id, stream, subject FROM keys"
                " WHERE clinic = ? AND wrapped IS NOT NULL ORDER BY stream, subject, key_id",
                (str(clinic),),
            ).fetchall()
        return tuple((UUID(key_id), stream, subject) for key_id, stream, subject in rows)

    def generation(self) -> int:
        """A number that moves whenever any process destroyed a key, seen within 0.25 s."""
        self._refresh()
        return self._generation

    def verify(self) -> int:
        """Reads the whole file and opens every key; the number of live keys, or `KeyringError`."""
        with self._reading():
            if self._db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise KeyringError("damaged")
            return sum(1 for row in self._rows(self._db) if self._opens(row))

    # --- Destroying -----------------------------------------------------------------------

    def destroy(self, clinic: UUID, key_id: UUID) -> None:
        """Destroys the key for good: its bytes leave the file, its id stays as destroyed.

        Repeating it is harmless. Backups of the ring still hold the key: docs/formats/keyring.md.
        """
        if self.get(clinic, key_id) is not None:
            self.destroy_again(clinic, [key_id])

    def destroy_again(self, clinic: UUID, key_ids: Iterable[UUID]) -> None:
        """Makes destroyed what the log says is destroyed, known to this ring or not.

        For starts and restores: an older ring brings a key back, or never knew it.
        """
        now = time_text(self._clock())
        with self._writing():
            for key_id in key_ids:
                self._entomb(str(clinic), str(key_id), None, None, now)

    def _entomb(
        self, clinic: str, key_id: str, stream: str | None, subject: str | None, at: str
    ) -> None:
        changed = self._db.execute(
            "INSERT INTO keys (clinic, key_id, stream, subject, destroyed_at)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET wrapped = NULL,"
            " destroyed_at = coalesce(destroyed_at, excluded.destroyed_at),"
            " stream = coalesce(stream, excluded.stream),"
            " subject = coalesce(subject, excluded.subject)"
            " WHERE wrapped IS NOT NULL OR (stream IS NULL AND excluded.stream IS NOT NULL)",
            (clinic, key_id, stream, subject, at),
        ).rowcount
        if changed:
            self._db.execute("UPDATE ring SET generation = generation + 1")

    # --- Backup and restore ---------------------------------------------------------------

    def backup(self, dest: Path) -> None:
        """Writes a copy (0600) that is whole or not there. Useless without the master key."""
        if dest.exists():
            raise KeyringError("exists")
        draft = _empty_draft(dest)
        with self._reading():
            self._db.execute("VACUUM INTO ?", (str(draft),))
        _sync(draft)
        draft.rename(dest)
        _sync(dest.parent)

    def restore(self, src: Path, *, merge: bool = False) -> int:
        """Takes over the keys of a backup made under the same master key; how many were new.

        A ring that holds keys refuses (`not_empty`) unless `merge` is asked for; the outcome is
        the union, and a key destroyed on either side stays destroyed.
        """
        with _told():
            backup = sqlite3.connect(f"{src.absolute().as_uri()}?mode=ro", uri=True)
        try:
            with _told():
                self._require_master(backup)
                rows = self._rows(backup)
        finally:
            backup.close()
        for row in rows:
            self._opens(row)
        with self._writing():
            (held,) = self._db.execute("SELECT count(*) FROM keys").fetchone()
            if held and not merge:
                raise KeyringError("not_empty")
            return sum(1 for row in rows if self._took_over(row))

    def _took_over(self, row: "_Row") -> bool:
        """Whether the row brought a key; if not, what it knows of a destroyed one is kept."""
        clinic, key_id, stream, subject, wrapped, _, destroyed_at = row
        known = self._db.execute(
            "SELECT destroyed_at FROM keys WHERE clinic = ? AND key_id = ?", (clinic, key_id)
        ).fetchone()
        if known is None and wrapped is not None:
            self._db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            return True
        buried_at = destroyed_at or (known and known[0])
        if buried_at is not None:  # on either side; the other may know whose key it was
            self._entomb(clinic, key_id, stream, subject, buried_at)
        return False

    # --- Inside ---------------------------------------------------------------------------

    def _open_ring(self) -> int:
        with self._reading():
            self._require_master(self._db)
            (generation,) = self._db.execute("SELECT generation FROM ring").fetchone()
        return int(generation)

    def _require_master(self, db: sqlite3.Connection) -> None:
        row = db.execute("SELECT format, proof FROM ring").fetchone()
        if row is None or row[0] != FORMAT:
            raise KeyringError("damaged")
        try:
            self._wrap.decrypt(row[1][:_NONCE_BYTES], row[1][_NONCE_BYTES:], FORMAT.encode())
        except InvalidTag:
            raise KeyringError("master_key_wrong") from None

    def _refresh(self) -> None:
        """Forgets every opened key if, as of 0.25 s ago at the latest, one was destroyed."""
        if time.monotonic() < self._fresh_until:
            return
        with self._reading():
            started = time.monotonic()
            (generation,) = self._db.execute("SELECT generation FROM ring").fetchone()
            if generation != self._generation:
                self._forget()
                self._generation = generation
            self._fresh_until = started + REFRESH_SECONDS

    def _require_usable(self) -> None:
        if self._closed:
            raise KeyringError("closed")
        # A key written to a file that was moved away is a key lost with the process.
        try:
            if self._path.stat().st_ino == self._inode:
                return
        except OSError:
            pass
        raise KeyringError("replaced")

    def _found_or_created(self, clinic: UUID, stream: str, subject: str) -> tuple[UUID, bytes]:
        row = self._db.execute(
            "SELECT key_id, wrapped FROM keys WHERE clinic = ? AND stream = ? AND subject = ?"
            " ORDER BY wrapped IS NOT NULL, created_at, key_id LIMIT 1",
            (str(clinic), stream, subject),
        ).fetchone()
        if row is not None:
            key_id, wrapped = UUID(row[0]), row[1]
            if wrapped is None:
                raise KeyDestroyed(clinic, stream, subject)
            return key_id, self._unwrapped(clinic, key_id, stream, subject, wrapped)
        key_id, key, nonce = uuid4(), os.urandom(KEY_BYTES), os.urandom(_NONCE_BYTES)
        wrapped = nonce + self._wrap.encrypt(nonce, key, _aad(clinic, key_id, stream, subject))
        self._db.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (str(clinic), str(key_id), stream, subject, wrapped, time_text(self._clock())),
        )
        return key_id, key

    def _unwrapped(
        self, clinic: UUID, key_id: UUID, stream: str, subject: str, wrapped: bytes
    ) -> bytes:
        nonce, ciphertext = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return self._wrap.decrypt(nonce, ciphertext, _aad(clinic, key_id, stream, subject))
        except (InvalidTag, ValueError):  # ValueError: too short to be sealed at all
            raise KeyringError("damaged", key_id) from None

    def _opens(self, row: "_Row") -> bool:
        clinic, key_id, stream, subject, wrapped, _, _ = row
        if wrapped is None or stream is None or subject is None:
            return False
        try:
            ids = UUID(clinic), UUID(key_id)
        except ValueError:
            raise KeyringError("damaged") from None
        self._unwrapped(*ids, stream, subject, wrapped)
        return True

    @staticmethod
    def _rows(db: sqlite3.Connection) -> "list[_Row]":
        # All at once: a half-read answer would hold the file's lock until it is collected.
        return db.execute(
            "SELECT clinic, key_id, stream, subject, wrapped, created_at, destroyed_at FROM keys"
        ).fetchall()

    def _remember(self, clinic: UUID, key_id: UUID, key: bytes | None) -> None:
        if len(self._keys) >= _CACHE_LIMIT:
            self._forget()
        self._keys[clinic, key_id] = key

    def _forget(self) -> None:
        self._keys.clear()
        self._owners.clear()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if os.getpid() != self._pid:  # before the lock: another thread's may have been copied
            raise KeyringError("forked")
        with self._lock, _told():
            self._require_usable()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, alone among all processes; on disk when it ends, or undone."""
        with self._reading():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._fresh_until = 0.0


_Row = tuple[str, str, str | None, str | None, bytes | None, str | None, str | None]


def open_keyring(
    directory: Path,
    *,
    new_ring: bool = False,
    first_use: bool = True,
    clock: Callable[[], datetime] = _system_clock,
) -> FileKeyring:
    """Opens master.key and keyring.db in `directory`, making all three (0700, 0600) on first use.

    Where there are entries already it is not the first use: without `first_use` nothing is made,
    and a directory that holds no keyring is refused. Never makes half of it anew: a keyring
    without its master key and a master key without its keyring are refused, since going on would
    bury that keys were lost. `new_ring` makes an empty ring beside an existing master key, to
    restore a backup into.
    """
    if not first_use and not any((directory / name).exists() for name in (MASTER_FILE, RING_FILE)):
        raise KeyringError("keyring_missing")
    with _told():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_open_to_others(directory)
        with _alone(directory):
            _complete(directory, new_ring=new_ring)
        master = _read_master(directory / MASTER_FILE)
        return FileKeyring(directory / RING_FILE, master, clock=clock)


def restore_keyring(directory: Path, src: Path, *, merge: bool = False) -> int:
    """Takes over a backup where there may be no ring, but must be its master.key; how many keys.

    A ring made for a backup that turns out to be of another master key goes again: it would
    belong to the wrong one, and refuse the right one.
    """
    made = not (directory / RING_FILE).exists()
    with open_keyring(directory, new_ring=True) as keyring:
        try:
            return keyring.restore(src, merge=merge)
        except KeyringError:
            if made:
                (directory / RING_FILE).unlink()
            raise


def _complete(directory: Path, *, new_ring: bool) -> None:
    """Makes what is missing, where it is missing because this is the first use."""
    master, ring = directory / MASTER_FILE, directory / RING_FILE
    draft = directory / f"{MASTER_FILE}.new"
    if master.exists():
        if new_ring and not ring.exists():
            FileKeyring.create(ring, _read_master(master)).close()
        return
    # The ring takes its place before the master key does. So a master key alone always tells of
    # a lost ring, and a ring beside a draft of its master key of a first use that was cut short.
    if not ring.exists() and not new_ring:
        _write_master(draft)
        FileKeyring.create(ring, _read_master(draft)).close()
    elif not draft.exists():
        raise KeyringError("master_key_missing")
    FileKeyring(ring, _read_master(draft)).close()
    draft.rename(master)
    _sync(directory)


def _empty_draft(path: Path) -> Path:
    """An empty file (0600) beside `path`, to be filled and then renamed to it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.with_name(draft.name + "-journal").unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return draft


def _write_master(path: Path) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{MASTER_FORMAT} {os.urandom(KEY_BYTES).hex()}\n")
        file.flush()
        os.fsync(file.fileno())


def _read_master(path: Path) -> bytes:
    _refuse_open_to_others(path)
    try:
        name, _, text = path.read_text(encoding="ascii").strip().partition(" ")
        master = bytes.fromhex(text)
    except ValueError:
        raise KeyringError("master_key_damaged") from None
    if name != MASTER_FORMAT or len(master) != KEY_BYTES:
        raise KeyringError("master_key_damaged")
    return master


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode=DELETE",
        "synchronous=EXTRA",
        "fullfsync=ON",  # macOS: through the drive's own cache
        "secure_delete=ON",  # a destroyed key is overwritten with zeros, not only let go of
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _aad(clinic: UUID, key_id: UUID, stream: str, subject: str) -> bytes:
    return encode(
        {
            "clinic": clinic,
            "format": FORMAT,
            "key_id": key_id,
            "stream": stream,
            "subject": subject,
        }
    )


def _refuse_open_to_others(path: Path) -> None:
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyringError("permissions")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock if the process dies."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


_SQLITE_CODES: Final = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_ERROR: "damaged",
}


@contextmanager
def _told() -> Iterator[None]:
    """Turns what SQLite and the disk raise into a `KeyringError` that says what to do."""
    try:
        yield
    except OSError as error:
        code = "disk_full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "unwritable"
        raise KeyringError(code) from error
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        code = _SQLITE_CODES.get(primary, "unwritable")
        raise KeyringError(code) from error
