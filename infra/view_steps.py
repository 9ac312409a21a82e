"""The steps of the worker that leads: what new entries change in all views, by one statement.

It keeps in mind where the views stand, and which transaction last wrote the row that says so in
`rapport.tracking`. Each statement names those transactions, and does nothing where another one came
since: whoever moves a view, swaps its build or parks a stream writes that row. So no lock is held
between two steps, and what is remembered is never older than what is changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow, dict_row

from infra.arrivals import APPENDED, MOVED, WAITED, Listening
from infra.recorder import SCAN_POSITIONS, ScannedRow
from infra.view_rows import NewRows, Table, Unsealable
from infra.view_tables import configure
from infra.view_writing import Place

_TEXT, _BINARY = 0, 1


@dataclass(frozen=True, slots=True)
class Standing:
    """Where all views stand, and what was read of them in the same moment."""

    position: int
    builds: Mapping[str, UUID]
    """By table."""
    parked: Mapping[str, frozenset[str]]
    """By table: the streams that it has no rows of."""
    written_by: Mapping[str, str]
    """By table: the id of the transaction that last wrote where it stands."""


class _Written(NamedTuple):
    """The rows of one table, packed."""

    table: Table
    rows: bytes


class Steps:
    """One worker's own connection: it is told of appends there, and moves all views along."""

    def __init__(self, connection: Connection[DictRow], place: Place, tables: Sequence[Table]):
        self.connection = connection
        """It commits by itself, and does not wait for the disk."""
        self._place = place
        self._tables = {table.table: table for table in tables}
        self._prepared: dict[tuple[str, ...], bytes] = {}
        self._loading = Transformer(connection)
        self._leads = False
        self._listening = Listening(connection, place.clinic, APPENDED, WAITED)
        self.called = False
        """Whether it was told of an append when it last waited."""

    def leads(self) -> bool:
        """Whether this worker is the one that answers notices, as long as its connection lasts.

        The others look now and then: to fold the same entries twice would help nobody.
        """
        if not self._leads:
            row = self.connection.execute(_LEAD, (self._turn(),)).fetchone()
            self._leads = row is not None and row["leads"]
        return self._leads

    def _turn(self) -> int:
        names = " ".join([str(self._place.clinic), *sorted(self._tables)])
        return int.from_bytes(sha256(names.encode()).digest()[:8], "big", signed=True)

    def wait(self, seconds: float) -> None:
        """Until an append is told, if this worker leads, or for so long; then `called` says which.

        A notice is only a hint, and what came in the meantime counts.
        """
        self.called = self._listening.wait(APPENDED, seconds, heed=self._leads)

    def rest(self, seconds: float) -> bool:
        """Lets so many seconds pass, or fewer if somebody waits; whether somebody does."""
        return self._listening.wait(WAITED, seconds)

    def standing(self) -> Standing | None:
        """Where the views stand; None where it is not one place, or some were never built."""
        names = list(self._tables)
        found = self.connection.execute(_STANDING, (self._place.clinic, names)).fetchall()
        positions = {row["position"] for row in found}
        if len(found) < len(names) or len(positions) != 1:
            return None
        return Standing(
            positions.pop(),
            {row["view"]: row["build"] for row in found},
            {row["view"]: frozenset(row["parked"]) for row in found},
            {row["view"]: row["written_by"] for row in found},
        )

    def rows_past(self, position: int, limit: int) -> list[ScannedRow]:
        """Up to `limit` entries past a position, as the log reads them.

        The statement goes to libpq as it is: a cursor takes as long again as PostgreSQL does.
        """
        past = [str(self._place.clinic).encode(), b"%d" % position, b"%d" % limit]
        statement = self._prepared_once(("entries",), _PAST)
        result = self._done(
            self.connection.pgconn.exec_prepared(statement, past, [_TEXT] * 3, _BINARY)
        )
        self._loading.set_pgresult(result)
        return self._loading.load_rows(0, result.ntuples, tuple)

    def taken(
        self, standing: Standing, changes: Mapping[str, Sequence[NewRows]], position: int
    ) -> Standing | None:
        """Writes what changes in the views, by table, and moves all of them on to `position`.

        Where they stand then; None where nothing was done: because somebody else has changed
        where a view stands, or because rows are to go or a stream is to be parked, which takes
        more than one statement.
        """
        written = []
        for name, its in changes.items():
            rows = self._packed(standing, name, its)
            if rows is None:
                return None
            if rows:
                written.append(_Written(self._tables[name], rows))
        names = list(standing.written_by)
        parameters = [
            str(self._place.clinic).encode(),
            _array(names),
            _array([standing.written_by[name] for name in names]),
            b"%d" % position,
            *(each.rows for each in written),
        ]
        statement = self._statement([each.table for each in written])
        formats = [_TEXT] * 4 + [_BINARY] * len(written)
        result = self._done(
            self.connection.pgconn.exec_prepared(statement, parameters, formats, _TEXT)
        )
        by = result.get_value(0, 0) if result.ntuples else None
        if by is None:
            return None
        return Standing(
            position, standing.builds, standing.parked, dict.fromkeys(names, by.decode())
        )

    def _packed(self, standing: Standing, name: str, changes: Sequence[NewRows]) -> bytes | None:
        """The rows to be written in one table; None where there is more to do."""
        if any(change.afresh or change.parked is not None for change in changes):
            return None
        build = self._place.build(self.connection, self._tables[name], standing.builds[name])
        try:
            rows = build.rows(changes)
        except Unsealable:
            return None
        return self._place.rows(self.connection, build.table).packed(rows) if rows else b""

    def _statement(self, tables: Sequence[Table]) -> bytes:
        """The name of the statement that writes rows of these tables."""
        names = tuple(table.table for table in tables)
        if names in self._prepared:
            return self._prepared[names]
        parts = [_FROM_WHERE_IT_STANDS]
        for number, table in enumerate(tables, 5):
            rows = self._place.rows(self.connection, table)
            parts.append(f", rows_{number} AS ({rows.insertion(f'${number}', 'whole, ')})")
        return self._prepared_once(names, "".join([*parts, _BY_WHOM]))

    def _prepared_once(self, names: tuple[str, ...], query: str) -> bytes:
        """The name of a statement that is prepared when it is first asked for."""
        if names not in self._prepared:
            name = f"step_{len(self._prepared)}".encode()
            self._done(self.connection.pgconn.prepare(name, query.encode()))
            self._prepared[names] = name
        return self._prepared[names]

    def _done(self, result: PGresult) -> PGresult:
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return result
        if self.connection.pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError("the connection was lost")
        raise psycopg.errors.error_from_result(result)


@contextmanager
def stepping(conninfo: str, place: Place, tables: Sequence[Table]) -> Iterator[Steps]:
    """A connection for steps, closed at the end of the block. `conninfo`: sees this clinic.

    Its commits do not wait for the disk: what a crash takes back comes again from the log.
    """
    with Connection[DictRow].connect(conninfo, autocommit=True, row_factory=dict_row) as connection:
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}".encode())
        configure(connection)
        yield Steps(connection, place, tables)


def _array(words: Sequence[str]) -> bytes:
    """Names of tables or numbers as PostgreSQL writes an array of them."""
    return f"{{{','.join(words)}}}".encode()


_SETTINGS: Final = (
    "synchronous_commit = off",
    "plan_cache_mode = force_generic_plan",
    "enable_bitmapscan = off",  # as infra/recorder.py says
    "enable_seqscan = off",  # as infra/view_store.py says
)

_PAST: Final = SCAN_POSITIONS % ("$1", "$2", "$3")

_LEAD: Final = "SELECT pg_try_advisory_lock(%s) AS leads"

_STANDING: Final = """
SELECT t.view, t.position, t.build, t.xmin::text AS written_by, ARRAY(
    SELECT p.stream FROM rapport.parked AS p
    WHERE p.clinic = t.clinic AND p.view = t.view AND p.build = t.build
) AS parked
FROM rapport.tracking AS t WHERE t.clinic = %s AND t.view = ANY(%s)
"""

_FROM_WHERE_IT_STANDS: Final = """
WITH due AS MATERIALIZED (
    SELECT t.view FROM rapport.tracking AS t, unnest($2::text[], $3::xid[]) AS s (view, written_by)
    WHERE t.clinic = $1::uuid AND t.view = s.view AND t.xmin = s.written_by
    FOR UPDATE OF t SKIP LOCKED
), whole AS MATERIALIZED (
    SELECT FROM due HAVING count(*) = cardinality($2::text[])
), moved AS (
    UPDATE rapport.tracking AS t SET position = $4::bigint FROM whole
    WHERE t.clinic = $1::uuid AND t.view = ANY($2::text[])
)"""

_BY_WHOM: Final = f"""
SELECT pg_current_xact_id()::xid::text, pg_notify('{MOVED}', $1::uuid::text) FROM whole
"""  # noqa: S608  a constant
