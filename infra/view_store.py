"""The tables of views: rows, tracked positions, builds side by side. docs/formats/view.md.

A table holds the rows of all clinics, and of each clinic one *build* that is read and at times a
second one in the making; `rapport.tracking` says which one is read, and as of which position.
Which tables there are is the business of those who give them; this module knows their names and
columns.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby, islice
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from infra.arrivals import MOVED, WAITED, Arrivals, Tracked, tracked
from infra.clinics import pinned, with_option
from infra.keyring import Keyring
from infra.view_builds import (
    Building,
    Comparison,
    RebuildRunning,
    Round,
    Told,
    building,
    folding,
    told,
)
from infra.view_digests import Digest, Streams, digesting
from infra.view_parts import PartWriter
from infra.view_rows import NewRows, Table, in_order
from infra.view_spelling import StoredRow
from infra.view_steps import Standing, Steps, stepping
from infra.view_tables import (
    clear,
    configure,
    make,
    named,
    older_versions,
    parked,
)
from infra.view_writing import Place, Prepared, Writer

__all__ = [
    "Comparison",
    "RebuildRunning",
    "Round",
    "Standing",
    "Steps",
    "Told",
    "ViewStore",
    "Writer",
]

_CONNECTION_SECONDS: Final = 5


class StoredReading(NamedTuple):
    """Rows, the position they cover, and what could not be folded."""

    position: int
    rows: Sequence[StoredRow]
    parked: Mapping[str, tuple[int, str]]


class ViewStore:
    """The views of one clinic. Safe to share between threads."""

    def __init__(
        self, conninfo: str, clinic: UUID, keyring: Keyring, *, pool_size: int = 6
    ) -> None:
        """`conninfo` of the role `rapport_views`, or of one that only reads."""
        self.clinic = clinic
        self._keyring = keyring
        self._conninfo = make_conninfo(
            pinned(conninfo, clinic), connect_timeout=_CONNECTION_SECONDS
        )
        self._arrivals = Arrivals(self._conninfo, clinic)
        # Every statement follows an index, in its order. Of a build in the making PostgreSQL knows
        # nothing, and would read the whole table for each part of it, and sort that.
        by_index = with_option(self._conninfo, "enable_seqscan=off")
        self._pool = ConnectionPool(
            with_option(by_index, "enable_bitmapscan=off"),
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True},
            min_size=1,
            max_size=pool_size,
            timeout=_CONNECTION_SECONDS,
            reconnect_timeout=_CONNECTION_SECONDS,
            open=True,
            configure=configure,
            check=ConnectionPool.check_connection,
        )
        self._place = Place(self._pool, clinic, keyring)

    def close(self) -> None:
        self._arrivals.close()
        self._pool.close()

    # --- Reading ------------------------------------------------------------------------------

    def tracked(self, tables: Iterable[str]) -> dict[str, Tracked]:
        """Where those of the views stand that were built."""
        with self._pool.connection() as conn:
            return tracked(conn, self.clinic, tables)

    def standing(self, tables: Iterable[str]) -> tuple[int, dict[str, Tracked]]:
        """The position of the log's last entry, and where those of the views stand then."""
        with self._pool.connection() as conn:
            rows = conn.execute(_STANDING, (list(tables), self.clinic), prepare=True).fetchall()
        found = [row for row in rows if row["view"] is not None]
        return rows[0]["size"] if rows else 0, {
            row["view"]: Tracked(row["position"], row["build"]) for row in found
        }

    def wait_for(self, tables: Sequence[str], position: int, timeout: float) -> bool:
        """Waits until all these views cover `position`; False after `timeout` seconds.

        Whoever waits is called: no connection is held meanwhile, and nothing is asked again.
        """
        return self._arrivals.wait(
            tables, position, timeout, lambda: self.tracked(tables), self._say_that_somebody_waits
        )

    def _say_that_somebody_waits(self) -> None:
        with self._pool.connection() as conn:
            conn.execute("SELECT pg_notify(%s, %s)", (WAITED, str(self.clinic)), prepare=True)

    def read(
        self,
        table: Table,
        *,
        stream: str | None = None,
        where: Mapping[str, object] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> StoredReading | None:
        """The rows of one stream, past row `after`, or of all, by stream and entry.

        `where` names clear columns: equal to the value or, for several ids, containing it. All
        of the answer is as of one moment. None: this version of the view was never built.
        """
        conditions: list[sql.Composable] = [sql.SQL("clinic = %s AND build = %s")]
        values: list[object] = []
        if stream is not None:
            conditions.append(sql.SQL("stream = %s AND until > %s"))
            values += [stream, after]
        for column, value in (where or {}).items():
            holds = "{} @> ARRAY[%s]" if table.columns[column].endswith("[]") else "{} = %s"
            conditions.append(sql.SQL(holds).format(sql.Identifier(column)))
            values.append(value)
        query = sql.SQL("SELECT * FROM {} WHERE {} ORDER BY stream, entry, until").format(
            named(table.table), sql.SQL(" AND ").join(conditions)
        )
        with self._snapshot() as conn:
            found = tracked(conn, self.clinic, [table.table]).get(table.table)
            if found is None:
                return None
            with conn.cursor(name="rows") if limit else conn.cursor() as blocks:
                blocks.execute(query, [self.clinic, found.build, *values])
                past = (row for row in self._rows(table, blocks) if row.entry > after)
                rows = list(islice(past, limit))
            return StoredReading(
                found.position, rows, parked(conn, self.clinic, table.table, found.build)
            )

    def _rows(self, table: Table, blocks: Iterable[DictRow]) -> Iterator[StoredRow]:
        """The rows of blocks, in order."""
        seals = self._place.seals
        rows = in_order(
            (
                block["stream"],
                block["entry"],
                block["until"],
                [(row.entry, row) for row in seals.opened(table.name, table.table, block)],
            )
            for block in blocks
        )
        return (row for _, _, row in rows)

    def digest(self, table: Table) -> Digest | None:
        """The digest of what is read now; None: this version of the view was never built."""
        with self._snapshot() as conn:
            found = tracked(conn, self.clinic, [table.table]).get(table.table)
            if found is None:
                return None
            build = self._place.build(conn, table, found.build)
            digest = digesting(
                self.clinic, self._keyring, table.name, table.version, found.position
            )
            for _, lines in groupby(build.lines(), lambda line: line[0][0]):
                digest.add(Streams.of(lines))
            return digest.finished(build.parked())

    # --- Writing ------------------------------------------------------------------------------

    def stepping(self, tables: Iterable[Table]) -> AbstractContextManager[Steps]:
        """A worker's own connection, by which it is told of appends. See infra/view_steps.py."""
        return stepping(self._conninfo, self._place, list(tables))

    def make(self, tables: Iterable[Table]) -> None:
        """Makes the tables that are missing; workers that start together may all call it."""
        for table in tables:
            with self._pool.connection() as conn:
                make(conn, table)

    @contextmanager
    def advancing(self, tables: Iterable[Table]) -> Iterator[Mapping[str, "Writer"]]:
        """One transaction in which these views move on: their writers, by table.

        Views that another worker is moving right now, or that were never built, are left out.
        """
        by_name = {table.table: table for table in tables}
        named = (self.clinic, list(by_name))
        # In a pipeline the statements between two answers share one round trip.
        with self._pool.connection() as conn, conn.pipeline(), conn.transaction():
            standing = conn.execute(_LOCK, named, prepare=True)
            missing = conn.execute(_PARKED, named, prepare=True)
            found = {row["view"]: Tracked(row["position"], row["build"]) for row in standing}
            parked: dict[str, set[str]] = {name: set() for name in found}
            for row in missing:
                if row["view"] in found and row["build"] == found[row["view"]].build:
                    parked[row["view"]].add(row["stream"])
            writers = {
                name: Writer(
                    self._place.build(conn, by_name[name], at.build), at.position, parked[name]
                )
                for name, at in found.items()
            }
            yield writers
            self._move(conn, [writer for writer in writers.values() if writer.has_moved])

    def _move(self, conn: Connection[DictRow], writers: Sequence["Writer"]) -> None:
        if writers:
            views = [writer.build.table.table for writer in writers]
            positions = [writer.position for writer in writers]
            parameters = (views, positions, self.clinic, MOVED, str(self.clinic))
            conn.execute(_MOVE, parameters, prepare=True)

    def prepared(self, table: Table, build: UUID, changes: Iterable[NewRows]) -> Prepared:
        """Changes of a build in bytes: for the writer of that build, in whichever process."""
        with self._pool.connection() as conn:
            return self._place.build(conn, table, build).prepared(changes)

    def building(
        self, tables: Sequence[Table], *, afresh: bool = False
    ) -> AbstractContextManager[Building]:
        """Builds beside those that are read; raises RebuildRunning. See infra/view_builds.py."""
        return building(self._place, tables, afresh=afresh)

    def folding(
        self, round_: Round, tables: Sequence[Table], past: str, upto: str
    ) -> AbstractContextManager[Mapping[str, PartWriter]]:
        """The transaction in which one part of these builds is written: their writers by table."""
        return folding(self._place, round_, tables, past, upto)

    def told(
        self,
        round_: Round,
        tables: Sequence[Table],
        past: str,
        upto: str,
        written: Mapping[str, PartWriter],
    ) -> dict[str, Told]:
        """One part of those views that are compared, as it stands in both builds; `written`: by
        whom, where it was written just now."""
        return told(self._place, round_, tables, past, upto, written)

    def forget_older(self, table: Table) -> None:
        """Deletes this clinic's rows of older versions of the view."""
        with self._pool.connection() as conn:
            for older, _ in older_versions(conn, self.clinic, table):
                clear(conn, self.clinic, older.table, ())
                conn.execute(_FORGET_VIEW, (self.clinic, older.table))

    def generation(self) -> int:
        """A number that moves whenever any process destroyed a key."""
        return self._keyring.generation()

    def erased_streams(self, category: str) -> list[str]:
        """The names of the category's streams that hold content whose key is destroyed."""
        destroyed = list(self._keyring.destroyed(self.clinic))
        if not destroyed:
            return []
        with self._pool.connection() as conn:
            rows = conn.execute(
                "SELECT DISTINCT stream FROM rapport.entries WHERE clinic = %s "
                "AND key_id = ANY(%s) AND starts_with(stream, %s) ORDER BY stream",
                (self.clinic, destroyed, f"{category}-"),
            ).fetchall()
        return [row["stream"] for row in rows]

    # --- Inside -------------------------------------------------------------------------------

    @contextmanager
    def _snapshot(self) -> Iterator[Connection[DictRow]]:
        with self._pool.connection() as conn, conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield conn


_FORGET_VIEW: Final = "DELETE FROM rapport.tracking WHERE clinic = %s AND view = %s"

_STANDING: Final = """
SELECT h.size, t.view, t.position, t.build
FROM rapport.heads AS h LEFT JOIN rapport.tracking AS t
    ON t.clinic = h.clinic AND t.view = ANY(%s)
WHERE h.clinic = %s
"""

_LOCK: Final = """
SELECT view, position, build FROM rapport.tracking
WHERE clinic = %s AND view = ANY(%s) ORDER BY view FOR UPDATE SKIP LOCKED
"""

_PARKED: Final = """
SELECT view, build, stream FROM rapport.parked WHERE clinic = %s AND view = ANY(%s)
"""

# What a crash may take back of views comes again from the log: nobody waits for the disk.
_MOVE: Final = """
WITH moved AS (
    UPDATE rapport.tracking AS t SET position = m.position
    FROM unnest(%s::text[], %s::bigint[]) AS m (view, position)
    WHERE t.clinic = %s AND t.view = m.view RETURNING t.view
)
SELECT pg_notify(%s, %s), set_config('synchronous_commit', 'off', true)
WHERE EXISTS (SELECT FROM moved)
"""
