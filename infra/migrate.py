"""The durable schema: `infra/migrations/NNNN_name.sql`, each applied once, in order.

Views are not durable and own their tables elsewhere. With partitions asked for, every table whose
statement ends in `/*partition by clinic*/;` becomes hash-partitioned by clinic: the same SQL must
run on a sharded engine, and this proves it on a plain one.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql

MIGRATIONS = Path(__file__).parent / "migrations"

# The roles the migrations grant to; the owner is whoever applies them.
GROUP_ROLES = ("rapport_app", "rapport_views", "rapport_import", "rapport_read")

# Advisory lock, one of ours per database: the bytes of "rapport" as a number.
_LOCK = int.from_bytes(b"rapport", "big")

_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

# A CREATE TABLE and the marker that closes it, with no other CREATE TABLE between.
_MARKED_TABLE = re.compile(
    r"CREATE TABLE (?P<table>[a-z0-9_.]+)(?P<rest>(?:(?!CREATE TABLE).)*?)"
    r"\s*/\*partition by clinic\*/\s*;",
    re.DOTALL,
)


class MigrationError(Exception):
    """The schema and this version of the code do not fit together."""

    code = "migration-failed"


class MigrationChanged(MigrationError):
    """A file differs from what was applied under its number."""

    code = "migration-changed"


class DatabaseNewer(MigrationError):
    """The database has migrations this code does not know."""

    code = "database-newer-than-code"


class MigrationsUnordered(MigrationError):
    """The files are not numbered 0001, 0002, … without a gap."""

    code = "migrations-unordered"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, not applied here."""

    version: int
    name: str
    sha256: str
    sql: str


@dataclass(frozen=True, slots=True)
class Applied:
    """One file, applied."""

    version: int
    name: str
    sha256: str
    applied_at: datetime


def load(folder: Path = MIGRATIONS) -> list[Migration]:
    """The files of a folder in order. Raises `MigrationsUnordered`."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        named = _FILE_NAME.fullmatch(path.name)
        if named is None or int(named["version"]) != len(found) + 1:
            raise MigrationsUnordered(f"{path.name} is not migration number {len(found) + 1:04}.")
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        found.append(Migration(len(found) + 1, named["name"], digest, content.decode("utf-8")))
    return found


def pending(dsn: str, *, folder: Path = MIGRATIONS) -> list[Migration]:
    """What `migrate` would apply. Any role that may read `rapport.migrations` can ask.

    Raises `MigrationChanged`, `DatabaseNewer`, `MigrationsUnordered`.
    """
    with psycopg.connect(dsn) as connection:
        return _missing(load(folder), _applied(connection))


def migrate(dsn: str, *, partitions: int = 0, folder: Path = MIGRATIONS) -> list[Applied]:
    """Apply what is pending, as the owner of the database; returns what was applied just now.

    Each file is one transaction. Processes that migrate at once take turns. With `partitions` > 0
    the marked tables get that many hash partitions by clinic.

    Raises `MigrationChanged`, `DatabaseNewer`, `MigrationsUnordered`, or psycopg's error of a
    statement, after which that file has left no trace.
    """
    known = load(folder)
    done: list[Applied] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            _take_turns(connection)
            ensure_roles(connection)
            _make_record(connection)
        while True:
            with connection.transaction():
                _take_turns(connection)
                missing = _missing(known, _applied(connection))
                if not missing:
                    return done
                done.append(_apply(connection, missing[0], partitions))


def ensure_roles(connection: psycopg.Connection) -> None:
    """The roles that the migrations grant to, where they are missing.

    A role that cannot log in is reached by SET ROLE from the owner, who is made its member.
    """
    # Since 16 whoever makes a role is its member, but not one that may SET ROLE.
    kind = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    query = "SELECT rolcanlogin, pg_has_role(oid, %s) FROM pg_roles WHERE rolname = %s"
    for role in GROUP_ROLES:
        row = connection.execute(query, (kind, role)).fetchone()
        if row is None:
            _create_role(connection, role)
            row = connection.execute(query, (kind, role)).fetchone() or (False, False)
        can_login, member = row
        if not can_login and not member:
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))


def _create_role(connection: psycopg.Connection, role: str) -> None:
    # Roles belong to the whole server, the lock to one database: another database's migration may
    # be faster.
    with (
        suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation),
        connection.transaction(),
    ):
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))


def _take_turns(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _make_record(connection: psycopg.Connection) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS rapport")
    connection.execute(
        """
        CREATE TABLE IF NOT EXISTS rapport.migrations (
            version    integer     PRIMARY KEY,
            name       text        NOT NULL,
            sha256     text        NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


def _applied(connection: psycopg.Connection) -> list[Applied]:
    row = connection.execute("SELECT to_regclass('rapport.migrations') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return []
    rows = connection.execute(
        "SELECT version, name, sha256, applied_at FROM rapport.migrations ORDER BY version"
    )
    return [Applied(*row) for row in rows]


def _missing(known: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    if len(applied) > len(known):
        raise DatabaseNewer(
            f"The database is at migration {len(applied):04}, this version of the program knows "
            f"{len(known):04}. Run the newer version."
        )
    for file, row in zip(known, applied, strict=False):
        if (file.version, file.name, file.sha256) != (row.version, row.name, row.sha256):
            raise MigrationChanged(
                f"Migration {file.version:04}_{file.name} is not what was applied as "
                f"{row.version:04}_{row.name}. An applied migration never changes: restore the "
                "file, and put the change into a new one."
            )
    return list(known[len(applied) :])


def _apply(connection: psycopg.Connection, migration: Migration, partitions: int) -> Applied:
    # Bytes, so that a file of several statements goes as it is, % signs and all.
    connection.execute(partitioned(migration.sql, partitions).encode("utf-8"))
    row = connection.execute(
        "INSERT INTO rapport.migrations (version, name, sha256) VALUES (%s, %s, %s) "
        "RETURNING version, name, sha256, applied_at",
        (migration.version, migration.name, migration.sha256),
    ).fetchone()
    if row is None:
        raise MigrationError(f"Migration {migration.version:04} was not recorded.")
    return Applied(*row)


def partitioned(script: str, partitions: int) -> str:
    """The script with its marked tables split into hash partitions by clinic; 0 leaves it alone."""
    if partitions == 0:
        return script

    def split(match: re.Match[str]) -> str:
        table = match["table"]
        parts = [f"CREATE TABLE {table}{match['rest']} PARTITION BY HASH (clinic);"]
        parts += [
            f"CREATE TABLE {table}_p{number} PARTITION OF {table} "
            f"FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number});"
            for number in range(partitions)
        ]
        return "\n".join(parts)

    result, count = _MARKED_TABLE.subn(split, script)
    if count != script.count("/*partition by clinic*/"):
        raise MigrationError("A /*partition by clinic*/ does not close a CREATE TABLE.")
    return result
