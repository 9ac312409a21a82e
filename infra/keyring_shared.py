"""A keyring for several hosts: in a PostgreSQL database of its own, apart from the record's.

The same two tables as in the file, the same wrapping, so a ring can be moved from one to the
other by a backup and a restore. What PostgreSQL keeps of a row that was overwritten, and for how
long, is written down in docs/formats/keyring.md, *Several hosts*.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import Connection, errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.keyring_errors import KeyringError
from infra.master_key import RING_FORMAT, MasterKey
from infra.wrapped_keyring import WrappedKeyring, system_clock

SCHEMA: Final = "rapport_keyring"

_TABLES: Final = f"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.ring (
    id integer PRIMARY KEY CHECK (id = 1),
    format text NOT NULL,
    proof bytea NOT NULL,         -- opens under the master key and under no other
    generation bigint NOT NULL    -- moves whenever a key is destroyed
);
CREATE TABLE {SCHEMA}.keys (
    clinic text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    stream text COLLATE "C",      -- with subject: whose key it is; null where only the log knows
    subject text COLLATE "C",
    wrapped bytea,                -- null once destroyed
    created_at text COLLATE "C",
    destroyed_at text COLLATE "C",
    PRIMARY KEY (clinic, key_id),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
    CHECK (wrapped IS NULL OR (stream IS NOT NULL AND subject IS NOT NULL))
);
CREATE INDEX keys_by_owner ON {SCHEMA}.keys (clinic, stream, subject);
"""

# Advisory lock of whoever makes a ring: the bytes of "key ring" as a number.
_MAKING: Final = int.from_bytes(b"key ring", "big")

_SESSION: Final = f"""
SET search_path = {SCHEMA};
SET synchronous_commit = on;
SET statement_timeout = '30s';
SET lock_timeout = '30s';
SET idle_in_transaction_session_timeout = '60s';
"""
"""A key is durable before it is given out; nobody who stands still holds up the others for ever."""

_SCRUB_LOCK: Final = "SET lock_timeout = '5s'"

_log = logging.getLogger("rapport.keyring")


class SharedRing:
    """The place of a ring in a database."""

    def __init__(self, url: str) -> None:
        self._url = url

    def proof(self) -> bytes | None:
        with told(), connect(self._url) as db:
            if not _is_made(db):
                return None
            row = db.execute("SELECT proof FROM ring WHERE format = %s", (RING_FORMAT,)).fetchone()
        if row is None:
            raise KeyringError("damaged")
        return bytes(row[0])

    def create(self, proof: bytes) -> None:
        with told(), connect(self._url) as db, db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
            if not _is_made(db):
                db.execute(_TABLES.encode())
                db.execute("INSERT INTO ring VALUES (1, %s, %s, 0)", (RING_FORMAT, proof))


class SharedKeyring(WrappedKeyring):
    """A keyring in a database, for the processes of any number of hosts.

    One connection a process, made again where it was lost. `infra/keyrings.py` opens it.
    """

    def __init__(
        self, url: str, master: MasterKey, *, clock: Callable[[], datetime] = system_clock
    ) -> None:
        """Opens the ring; raises `KeyringError` if there is none, or not of this master key."""
        super().__init__(master, clock)
        self._url = url
        with told():
            self._db: Connection | None = connect(url)
            info = self._db.info
            major = info.server_version // 10000
            self.place = f"PostgreSQL {major} at {info.host}:{info.port}, database {info.dbname}"
            if not _is_made(self._db):
                self._let_go()
                raise KeyringError("ring_missing")
        self._open()

    def _begin(self, *, write: bool) -> None:
        try:
            self._begin_on(self._db or connect(self._url), write=write)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            if self._db is None or not self._db.closed:
                raise
            # It was lost since it was last used; nothing was begun on it.
            self._begin_on(connect(self._url), write=write)

    def _begin_on(self, db: Connection, *, write: bool) -> None:
        self._db = db
        if write:
            db.execute("BEGIN")
            # Who holds this row is alone among all writers of all hosts.
            db.execute("SELECT FROM ring FOR UPDATE")
        else:
            db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def _commit(self) -> None:
        self._execute("COMMIT")

    def _undo(self) -> None:
        try:
            if self._db is not None and not self._db.closed:
                self._db.execute("ROLLBACK")
        except psycopg.Error:  # then the server undoes it, and the connection is of no more use
            self._let_go()

    def _execute(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        assert self._db is not None, "a transaction was begun"
        cursor = self._db.execute(statement.replace("?", "%s").encode(), values)
        return cursor.fetchall() if cursor.description else ()

    def _execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        assert self._db is not None, "a transaction was begun"
        with self._db.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s").encode(), rows)
            return cursor.rowcount

    def _told(self) -> AbstractContextManager[None]:
        return told()

    def _require_place(self) -> None:
        """Whatever connection there is, the ring itself is looked at in each transaction."""

    def _check_whole(self) -> None:
        """PostgreSQL keeps checksums of its own; every key is opened besides."""

    def _scrub(self) -> None:
        """Writes the table anew, without the rows that were overwritten.

        Best effort: where somebody reads for long, or this role may not, the destroyed key's bytes
        (wrapped) stay in the table until a later one, or PostgreSQL's own vacuum, gets to them.
        """
        with self._lock:
            try:
                # Another thread may have written it anew, and let go, meanwhile.
                self._db = self._db or connect(self._url)
                self._db.execute(_SCRUB_LOCK)
                self._db.execute("VACUUM (FULL) keys")
            except psycopg.Error as error:
                _log.warning("the keyring's table was not written anew: %s", error.sqlstate)
            finally:
                self._let_go()  # with what was set for it

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()


def connect(url: str) -> Connection:
    """A connection to the keyring's own database, on a server that takes writes."""
    try:
        conninfo = make_conninfo(
            url,
            connect_timeout=5,
            target_session_attrs="read-write",
            tcp_user_timeout=10_000,
            application_name="rapport keyring",
        )
        misread = "@" in str(conninfo_to_dict(conninfo).get("host", ""))[1:]
    except psycopg.ProgrammingError:
        misread = True
    if misread:  # libpq's message may quote the URL, password and all
        raise KeyringError("url_invalid")
    # What is prepared on a connection is lost behind a pooler.
    db = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    try:
        db.execute(_SESSION.encode())
        if db.execute("SELECT to_regnamespace('rapport')").fetchone() != (None,):
            raise KeyringError("same_database")
    except BaseException:
        db.close()
        raise
    return db


def _is_made(db: Connection) -> bool:
    return db.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.ring",)).fetchone() != (None,)


_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (errors.DiskFull, "disk_full"),
    (errors.LockNotAvailable, "busy"),
    (errors.QueryCanceled, "busy"),
    (errors.UndefinedTable, "replaced"),
    (errors.DataError, "damaged"),
    (errors.InsufficientPrivilege, "unreachable"),
    (psycopg.OperationalError, "unreachable"),
    (psycopg.InterfaceError, "unreachable"),
)


@contextmanager
def told() -> Iterator[None]:
    """Turns what PostgreSQL raises into a `KeyringError` that says what to do."""
    try:
        yield
    except psycopg.Error as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "unreachable")
        raise KeyringError(code) from error
