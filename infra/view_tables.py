"""The tables of views: how they are made, and the statements on their rows.

Which tables there are is the business of those who give them; here their names and columns are
known. docs/formats/view.md.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final
from uuid import UUID

import psycopg
from psycopg import Connection, sql
from psycopg.rows import DictRow
from psycopg.types.string import BytesBinaryDumper

from infra.arrivals import Tracked, tracked
from infra.packed import NULLABLE, ArrayType, encoded_text, text
from infra.view_rows import FIXED, Block, Sealed, Table
from infra.view_spelling import Form

NO_BUILD: Final = UUID(int=0)

_SOMEBODY_ELSE_MADE_IT: Final = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
)


class ViewChanged(Exception):
    """A table has other columns than the view of this release; its version must be raised."""


# --- Tables -------------------------------------------------------------------------------------


def make(conn: Connection[DictRow], table: Table) -> None:
    """Makes the table where it is missing; any number of processes may call it. ViewChanged."""
    try:
        with conn.transaction():
            _make(conn, table)
    except _SOMEBODY_ELSE_MADE_IT:
        pass
    _compare_columns(conn, table)


def _make(conn: Connection[DictRow], table: Table) -> None:
    there = conn.execute("SELECT to_regclass(%s) AS it", (f"views.{table.table}",)).fetchone()
    if there is not None and there["it"] is not None:
        return
    named_ = named(table.table)
    searched = [
        sql.SQL("{} {}, ").format(sql.Identifier(name), sql.SQL(sql_type))
        for name, sql_type in table.columns.items()
    ]
    conn.execute(
        sql.SQL(
            "CREATE TABLE {} (clinic uuid NOT NULL, build uuid NOT NULL, "
            'stream text COLLATE "C" NOT NULL, entry bigint NOT NULL, until bigint NOT NULL, '
            "clear text NOT NULL, keys uuid[] NOT NULL, sealed bytea[] NOT NULL, "
            "mac bytea NOT NULL, "
            "{} PRIMARY KEY (clinic, build, stream, entry, until))"
        ).format(named_, sql.SQL("").join(searched))
    )
    for name in table.columns:
        method = "gin" if table.columns[name].endswith("[]") else "btree"
        index = sql.SQL("CREATE INDEX ON {} USING {} ({})")
        conn.execute(index.format(named_, sql.SQL(method), sql.Identifier(name)))
    for statement in (
        "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE {} FORCE ROW LEVEL SECURITY",  # its owner is the role that writes it
        # Ciphertext does not get smaller by trying.
        "ALTER TABLE {} ALTER COLUMN sealed SET STORAGE EXTERNAL",
        "CREATE POLICY own_clinic ON {} USING "
        "(clinic = nullif(current_setting('rapport.clinic', true), '')::uuid)",
        "GRANT SELECT ON {} TO rapport_app, rapport_read",
    ):
        conn.execute(sql.SQL(statement).format(named_))


def _columns(conn: Connection[DictRow], table: Table) -> dict[str, str]:
    """Name → type of every column there is, in the table's order."""
    rows = conn.execute(
        "SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"views.{table.table}",),
    )
    return {row["name"]: row["type"] for row in rows}


def _compare_columns(conn: Connection[DictRow], table: Table) -> None:
    found = {name: kind for name, kind in _columns(conn, table).items() if name not in FIXED}
    if found != table.columns:
        raise ViewChanged(f"views.{table.table} has other columns than its view")


# --- Rows ---------------------------------------------------------------------------------------


class _Packed(bytes):
    """A parameter that is packed already; a cast in the statement says of what type it is."""


class _PackedDumper(BytesBinaryDumper):
    oid = 0  # of no type: the cast decides


def configure(conn: Connection[Any]) -> None:
    """Makes a connection ready for rows of views."""
    conn.adapters.register_dumper(_Packed, _PackedDumper)


class Rows:
    """How blocks of one table are written: all of a batch by one statement, as one parameter."""

    def __init__(self, conn: Connection[DictRow], table: Table) -> None:
        columns = _columns(conn, table)
        assert tuple(columns)[: len(FIXED)] == FIXED, "it was made so"
        self._type = ArrayType(conn, f"views.{table.table}")
        self._number = len(columns).to_bytes(4, "big")
        self._searched = [
            (name, NULLABLE[kind]) for name, kind in columns.items() if name not in FIXED
        ]
        key = ("clinic", "build", "stream", "entry", "until")
        replaced = [sql.Identifier(name) for name in columns if name not in key]
        self._replacing = (
            sql.SQL("ON CONFLICT (clinic, build, stream, entry, until) DO UPDATE SET {}")
            .format(sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(n) for n in replaced))
            .as_string(conn)
        )
        self._table = named(table.table).as_string(conn)
        self._insert = self.insertion("%s").encode()

    def insertion(self, parameter: str, beside: str = "") -> str:
        """The statement that writes the packed blocks of a parameter in place of those that are
        there; all of them again for each row of what is named `beside`."""
        rows = f"{beside}unnest({parameter}::{self._table}[]) AS r"
        return f"INSERT INTO {self._table} SELECT r.* FROM {rows} {self._replacing}"  # noqa: S608

    def build(self, clinic: UUID, build: UUID) -> bytes:
        """What each block of a build begins with: how many fields it has, clinic and build."""
        return b"".join((self._number, _ID(clinic), _ID(build)))

    def row(self, build: bytes, block: Block, sealed: Sealed) -> bytes:
        """A block in PostgreSQL's binary format, of the build that is packed like that."""
        groups, mac = sealed
        return b"".join(
            (
                build,
                text(block.stream),
                _NUMBER(block.entry),
                _NUMBER(block.until),
                encoded_text(block.clear),
                _KEYS(block.keys),
                _GROUPS(groups),
                _MAC(mac),
                *(pack(block.searched[name]) for name, pack in self._searched),
            )
        )

    def packed(self, rows: Sequence[bytes]) -> bytes:
        """Rows as one parameter."""
        return self._type.array(rows)

    def put(self, conn: Connection[DictRow], packed: bytes) -> None:
        """Writes rows, packed as one parameter, in place of those that are there."""
        conn.execute(self._insert, (_Packed(packed),), prepare=True)


_ID, _NUMBER, _KEYS, _GROUPS, _MAC = (
    NULLABLE[kind] for kind in ("uuid", "bigint", "uuid[]", "bytea[]", "bytea")
)


def parked(
    conn: Connection[DictRow], clinic: UUID, table: str, build: UUID
) -> dict[str, tuple[int, str]]:
    """The streams that a build has no rows of, each with the position and the code of why."""
    rows = conn.execute(_PARKED, (clinic, table, build), prepare=True)
    return {row["stream"]: (row["position"], row["code"]) for row in rows}


def clear(conn: Connection[DictRow], clinic: UUID, table: str, kept: Collection[UUID]) -> None:
    """Deletes a clinic's rows of all builds but those that are kept."""
    for statement in _FORGET:
        conn.execute(statement, (clinic, table, list(kept)))
    last: UUID | None = NO_BUILD
    while last is not None:
        # From one build to the next by the index: all rows of a clinic are many.
        row = conn.execute(on(table, _NEXT_BUILD), (clinic, last)).fetchone()
        last = None if row is None else row["build"]
        if last is not None and last not in kept:
            conn.execute(on(table, _DELETE_BUILD), (clinic, last))


@lru_cache(1_024)
def on(table: str, statement: str) -> bytes:
    """A statement on a table of the schema `views`, which takes the place of {}."""
    return sql.SQL(statement).format(named(table)).as_bytes(None)


def named(table: str) -> sql.Identifier:
    return sql.Identifier("views", table)


_NEXT_BUILD: Final = "SELECT build FROM {} WHERE clinic = %s AND build > %s ORDER BY build LIMIT 1"
_DELETE_BUILD: Final = "DELETE FROM {} WHERE clinic = %s AND build = %s"
_FORGET: Final = (
    "DELETE FROM rapport.parked WHERE clinic = %s AND view = %s AND build <> ALL(%s)",
    "DELETE FROM rapport.folded WHERE clinic = %s AND view = %s AND build <> ALL(%s)",
)
_PARKED: Final = (
    "SELECT stream, position, code FROM rapport.parked "
    "WHERE clinic = %s AND view = %s AND build = %s"
)


# --- Older versions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Older:
    """The table of an older version of a view, read as if it told rows in the forms of today."""

    name: str
    version: int
    category: str
    forms: Sequence[Form]

    @property
    def table(self) -> str:
        return f"{self.name}_v{self.version}"

    columns: ClassVar[Mapping[str, str]] = MappingProxyType({})


def older_versions(
    conn: Connection[DictRow], clinic: UUID, table: Table
) -> list[tuple[Older, Tracked]]:
    """Those that were built, the newest first, and where they stand."""
    below = range(table.version - 1, 0, -1)
    names = [Older(table.name, version, table.category, table.forms) for version in below]
    found = tracked(conn, clinic, [older.table for older in names])
    return [(older, found[older.table]) for older in names if older.table in found]
