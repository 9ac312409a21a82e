"""One build of a view: its blocks written and read again, on a connection in a transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg_pool import ConnectionPool

from infra.keyring import Keyring
from infra.view_digests import Line, line
from infra.view_rows import Block, NewRows, Seals, Table, Unsealable, in_order
from infra.view_spelling import NewRow, Spelt
from infra.view_tables import Rows, on, parked

_ROWS_AT_ONCE: Final = 1_000
_BLOCKS_AT_ONCE: Final = 100
_STREAMS_AT_ONCE: Final = 32


class Prepared(NamedTuple):
    """What becomes of some streams in one build, in bytes; may be sent to another process."""

    afresh: Sequence[str]
    """Streams all of whose rows go first."""
    parked: Sequence[tuple[str, int, str]]
    """Streams without rows: position and code of what could not be folded."""
    rows: bytes
    """Packed as one parameter; empty: none is written."""


@dataclass(frozen=True, slots=True)
class Build:
    """One build's rows."""

    conn: Connection[DictRow]
    clinic: UUID
    seals: Seals
    table: Table
    id: UUID
    insertion: Callable[[Connection[DictRow], Table], Rows]

    def rows(self, changes: Iterable[NewRows]) -> list[bytes]:
        """Their blocks, sealed and packed; Unsealable where one of them cannot be."""
        return self.packed(
            block for change in changes for block in self.seals.blocks(self.table, change)
        )

    def packed(self, blocks: Iterable[Block]) -> list[bytes]:
        """Blocks, sealed and packed."""
        inserting = self.insertion(self.conn, self.table)
        mine = inserting.build(self.clinic, self.id)
        return [
            inserting.row(mine, block, self.seals.sealed(self.table, block)) for block in blocks
        ]

    def prepared(self, changes: Iterable[NewRows]) -> Prepared:
        """The changes in bytes, as `Writer.put` takes them; parked, what cannot be sealed."""
        its, rows = list[NewRows](), list[bytes]()
        for change in changes:
            try:
                rows += self.rows([change])
                its.append(change)
            except Unsealable as error:
                its.append(_Parked(change.stream, (change.position, error.code)))
        return Prepared(
            [str(change.stream) for change in its if change.afresh],
            [(str(change.stream), *change.parked) for change in its if change.parked is not None],
            self.insertion(self.conn, self.table).packed(rows) if rows else b"",
        )

    def lines(self) -> Iterator[Line]:
        """Every row in key order, however many there are."""
        with self.conn.cursor(name=f"lines_{self.id.hex}") as cursor:
            cursor.itersize = _BLOCKS_AT_ONCE
            cursor.execute(on(self.table.table, f"{_ROWS} {_IN_ORDER}"), (self.clinic, self.id))
            yield from (line(stream, row) for stream, row in self._spelt(cursor))

    def lines_of(self, past: str, upto: str) -> list[Line]:
        """The rows of the streams past one name, up to and with another, in key order."""
        return [line(stream, row) for stream, row in self.spelt_of(past, upto)]

    def spelt_of(self, past: str, upto: str) -> Iterator[tuple[str, Spelt]]:
        """The same, each with its stream."""
        query = on(self.table.table, f"{_ROWS} AND stream > %s AND stream <= %s {_IN_ORDER}")
        parameters = (self.clinic, self.id, past, upto)
        return self._spelt(self.conn.execute(query, parameters, prepare=True))

    def _spelt(self, blocks: Iterable[DictRow]) -> Iterator[tuple[str, Spelt]]:
        rows = in_order(
            (
                block["stream"],
                block["entry"],
                block["until"],
                [(row.entry, row) for row in self.seals.spelt(self.table, block)],
            )
            for block in blocks
        )
        return ((stream, row) for stream, _, row in rows)

    def parked(self) -> dict[str, tuple[int, str]]:
        """The streams that it has no rows of, each with the position and the code of why."""
        return parked(self.conn, self.clinic, self.table.table, self.id)


class Place:
    """Where the views of one clinic are kept. Safe to share between threads."""

    def __init__(
        self, pool: ConnectionPool[Connection[DictRow]], clinic: UUID, keyring: Keyring
    ) -> None:
        self.connection = pool.connection
        self.clinic = clinic
        self.keyring = keyring
        self.seals = Seals(clinic, keyring)
        self._rows: dict[str, Rows] = {}

    def build(self, conn: Connection[DictRow], table: Table, id_: UUID) -> Build:
        """A build of a view, on this connection."""
        return Build(conn, self.clinic, self.seals, table, id_, self.rows)

    def rows(self, conn: Connection[DictRow], table: Table) -> Rows:
        """How its rows are written."""
        found = self._rows.get(table.table)
        if found is None:
            found = self._rows[table.table] = Rows(conn, table)
        return found


@dataclass(frozen=True, slots=True)
class _Parked:
    """A stream that loses its rows, because one of them cannot be sealed."""

    stream: object
    parked: tuple[int, str]
    afresh: ClassVar[bool] = True
    written: ClassVar[Mapping[int, NewRow]] = MappingProxyType({})
    since: ClassVar[int] = 0

    @property
    def position(self) -> int:
        return self.parked[0]


class Writer:
    """One build of a view inside a transaction that changes it."""

    def __init__(
        self,
        build: Build,
        position: int,
        parked: Collection[str] | None = None,
        *,
        empty: bool = False,
    ) -> None:
        """`parked`: its parked streams, if they are known already. `empty`: it has no rows of what
        will be written, so that nothing need be looked for."""
        self.build = build
        self.position = position
        """Of the last entry that the view covers."""
        self._stood = position
        self._parked = parked
        self._empty = empty

    @property
    def has_moved(self) -> bool:
        return self.position != self._stood

    def write(self, changes: Iterable[NewRows]) -> None:
        """Writes what becomes of some streams; each stream at most once.

        A few at a time: in a pipeline PostgreSQL writes them while the next are folded.
        """
        some, rows = list[NewRows](), 0
        for change in changes:
            some.append(change)
            rows += len(change.written)
            if rows >= _ROWS_AT_ONCE or len(some) >= _STREAMS_AT_ONCE:
                self._write(some)
                some, rows = [], 0
        if some:
            self._write(some)

    def _write(self, changes: Sequence[NewRows]) -> None:
        self.put(self.build.prepared(changes))

    def put(self, prepared: Prepared) -> None:
        """Writes what somebody has prepared; each stream at most once."""
        build = self.build
        if not self._empty:
            self._delete(prepared)
        if prepared.rows:
            build.insertion(build.conn, build.table).put(build.conn, prepared.rows)
        for stream, position, code in prepared.parked:
            place = (build.clinic, build.table.table, build.id, stream)
            build.conn.execute(_PARK, (*place, position, code))

    def move(self, position: int) -> None:
        """Says that the view covers the log up to `position`, once the transaction commits."""
        self.position = position

    def parked(self) -> Collection[str]:
        """The streams that have no rows here, because they could not be folded."""
        return self.build.parked() if self._parked is None else self._parked

    def _delete(self, prepared: Prepared) -> None:
        build, afresh = self.build, list(prepared.afresh)
        if afresh:
            build.conn.execute(
                on(build.table.table, _DELETE_STREAMS), (build.clinic, build.id, afresh)
            )
            parameters = (build.clinic, build.table.table, build.id, afresh)
            build.conn.execute(_UNPARK, parameters)
            # Whoever remembers where this view stands, and what of it is parked, is to look again.
            place = (build.clinic, build.table.table, build.id)
            build.conn.execute(_SAY_SO, place, prepare=True)


_ROWS: Final = "SELECT * FROM {} WHERE clinic = %s AND build = %s"
_IN_ORDER: Final = "ORDER BY stream, entry, until"
_DELETE_STREAMS: Final = "DELETE FROM {} WHERE clinic = %s AND build = %s AND stream = ANY(%s)"
_UNPARK: Final = """
DELETE FROM rapport.parked WHERE clinic = %s AND view = %s AND build = %s AND stream = ANY(%s)
"""
_SAY_SO: Final = """
UPDATE rapport.tracking SET position = position WHERE clinic = %s AND view = %s AND build = %s
"""
_PARK: Final = """
INSERT INTO rapport.parked (clinic, view, build, stream, position, code)
VALUES (%s, %s, %s, %s, %s, %s)
"""
