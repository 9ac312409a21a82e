"""The tables of views: rows, tracked positions, builds side by side. docs/formats/view.md.

A table holds the rows of all clinics, and of each clinic one *build* that is read and at times a
second one in the making; `rapport.tracking` says which one is read, and as of which position.
Which tables there are is the business of those who give them; this module knows their names and
columns.
"""

import hmac
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple, Protocol
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from infra.arrivals import APPENDED, MOVED, Arrivals, Tracked, notices, tracked
from infra.keyring import Keyring
from infra.recorder import pinned
from infra.view_rows import FIXED, Digest, NewRow, Seals, StoredRow, Unsealable, digest_line

_CONNECTION_SECONDS: Final = 5
_ROWS_AT_ONCE: Final = 1_000
_DIFFERENCES_NAMED: Final = 1_000
_SOMEBODY_ELSE_MADE_IT: Final = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
)
_NO_BUILD: Final = UUID(int=0)


class Table(Protocol):
    """What a view tells of its table."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def table(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, str]: ...
    @property
    def indexed(self) -> Sequence[str]: ...


class NewRows(Protocol):
    """What becomes of one stream's rows; `afresh`: all that are there go first."""

    @property
    def stream(self) -> object: ...
    @property
    def afresh(self) -> bool: ...
    @property
    def written(self) -> Mapping[int, NewRow]: ...
    @property
    def gone(self) -> Collection[int]: ...
    @property
    def parked(self) -> tuple[int, str] | None: ...
    @property
    def position(self) -> int: ...


class StoredReading(NamedTuple):
    """Rows, the position they cover, and what could not be folded."""

    position: int
    rows: Sequence[StoredRow]
    parked: Mapping[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two builds of a view at one position. `differing` names streams and entries, not values."""

    before: Digest
    after: Digest
    differing: tuple[tuple[str, int], ...]
    """The first thousand rows that are not the same in both."""
    differences: int
    """How many there are."""

    @property
    def equal(self) -> bool:
        return hmac.compare_digest(self.before.mac, self.after.mac)


class RebuildRunning(Exception):
    """Another process is rebuilding this view; its text is the view's name."""


class ViewChanged(Exception):
    """A table has other columns than the view of this release; its version must be raised."""


class ViewStore:
    """The views of one clinic. Safe to share between threads."""

    def __init__(
        self, conninfo: str, clinic: UUID, keyring: Keyring, *, pool_size: int = 4
    ) -> None:
        """`conninfo` of the role `rapport_views`, or of one that only reads."""
        self.clinic = clinic
        self._keyring = keyring
        self._seals = Seals(clinic, keyring)
        self._conninfo = make_conninfo(
            pinned(conninfo, clinic), connect_timeout=_CONNECTION_SECONDS
        )
        self._arrivals = Arrivals(self._conninfo, clinic)
        self._pool = ConnectionPool(
            self._conninfo,
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True},
            min_size=1,
            max_size=pool_size,
            timeout=_CONNECTION_SECONDS,
            reconnect_timeout=_CONNECTION_SECONDS,
            open=True,
            check=ConnectionPool.check_connection,
        )

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
        with self._arrivals.waiter(tables, position) as waiter:
            return (
                waiter.is_served_by(self.tracked(tables))
                or waiter.called.wait(timeout)
                or waiter.is_served_by(self.tracked(tables))
            )

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
            conditions.append(sql.SQL("stream = %s AND entry > %s"))
            values += [stream, after]
        for column, value in (where or {}).items():
            holds = "{} @> ARRAY[%s]" if table.columns[column].endswith("[]") else "{} = %s"
            conditions.append(sql.SQL(holds).format(sql.Identifier(column)))
            values.append(value)
        query = sql.SQL("SELECT * FROM {} WHERE {} ORDER BY stream, entry LIMIT %s").format(
            _named(table.table), sql.SQL(" AND ").join(conditions)
        )
        with self._snapshot() as conn:
            found = tracked(conn, self.clinic, [table.table]).get(table.table)
            if found is None:
                return None
            rows = conn.execute(query, [self.clinic, found.build, *values, limit])
            opened = [self._seals.opened(table.name, table.table, row) for row in rows]
            return StoredReading(
                found.position, opened, _parked(conn, self.clinic, table, found.build)
            )

    def digest(self, table: Table) -> Digest | None:
        """The digest of what is read now; None: this version of the view was never built."""
        with self._snapshot() as conn:
            found = tracked(conn, self.clinic, [table.table]).get(table.table)
            if found is None:
                return None
            build = _Build(conn, self.clinic, self._seals, table, found.build)
            digesting = self._seals.digesting(table.name, table.version, found.position)
            for _, line in build.lines():
                digesting.add(line)
            return digesting.finished(build.parked())

    # --- Writing ------------------------------------------------------------------------------

    @contextmanager
    def wakings(self, poll: float) -> Iterator[Iterator[None]]:
        """Wakings: one at once, then for each notice of an append, or after `poll` seconds."""
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            yield notices(connection, APPENDED, self.clinic, poll)

    def make(self, tables: Iterable[Table]) -> None:
        """Makes the tables that are missing; workers that start together may all call it."""
        for table in tables:
            with self._pool.connection() as conn:
                try:
                    with conn.transaction():
                        _make(conn, table)
                except _SOMEBODY_ELSE_MADE_IT:
                    pass
                _compare_columns(conn, table)

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
            writers = {
                row["view"]: self._writer(conn, by_name[row["view"]], row) for row in standing
            }
            lacking = [(row["view"], row["build"], row["stream"]) for row in missing]
            for name, writer in writers.items():
                place = name, writer.build.id
                writer.know_parked(stream for *at, stream in lacking if tuple(at) == place)
            yield writers
            self._move(conn, [writer for writer in writers.values() if writer.has_moved])

    def _move(self, conn: Connection[DictRow], writers: Sequence["Writer"]) -> None:
        if writers:
            views = [writer.build.table.table for writer in writers]
            positions = [writer.position for writer in writers]
            parameters = (views, positions, self.clinic, MOVED, str(self.clinic))
            conn.execute(_MOVE, parameters, prepare=True)

    @contextmanager
    def building(self, tables: Sequence[Table]) -> Iterator[Mapping[str, "Building"]]:
        """Builds beside those that are read, by table; raises RebuildRunning.

        Whatever an interrupted rebuild, or this one if it is not swapped in, leaves is cleared.
        """
        turns = {f"{table.table} rebuild": table for table in tables}
        with self._pool.connection() as conn, conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO rapport.tracking (clinic, view, position, build) "
                "VALUES (%s, %s, 0, %s) ON CONFLICT DO NOTHING",
                [(self.clinic, turn, _NO_BUILD) for turn in turns],
            )
        with self._pool.connection() as lock, lock.transaction():
            rows = lock.execute(
                "SELECT view FROM rapport.tracking WHERE clinic = %s AND view = ANY(%s) "
                "ORDER BY view FOR UPDATE SKIP LOCKED",
                (self.clinic, list(turns)),
            )
            taken = {row["view"] for row in rows}
            for turn, table in turns.items():
                if turn not in taken:
                    raise RebuildRunning(table.name)
            self._clear_other_builds(tables)
            try:
                yield {table.table: Building(self, table, uuid4()) for table in tables}
            finally:
                self._clear_other_builds(tables)

    def forget_older(self, table: Table) -> None:
        """Deletes this clinic's rows of older versions of the view."""
        with self._pool.connection() as conn:
            for older in _older_versions(conn, self.clinic, table):
                _clear(conn, self.clinic, older.table, kept=_NO_BUILD)
                conn.execute(
                    "DELETE FROM rapport.tracking WHERE clinic = %s AND view = %s",
                    (self.clinic, older.table),
                )

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

    def _writer(self, conn: Connection[DictRow], table: Table, row: DictRow) -> "Writer":
        build = _Build(conn, self.clinic, self._seals, table, row["build"])
        return Writer(build, row["position"])

    def _clear_other_builds(self, tables: Sequence[Table]) -> None:
        """Deletes the rows of builds that nobody reads any more, or that were given up."""
        names = [table.table for table in tables]
        with self._pool.connection() as conn:
            found = tracked(conn, self.clinic, names)
            for name in names:
                kept = found[name].build if name in found else _NO_BUILD
                _clear(conn, self.clinic, name, kept=kept)


@dataclass(frozen=True, slots=True)
class _Build:
    """One build's rows, on a connection in a transaction."""

    conn: Connection[DictRow]
    clinic: UUID
    seals: Seals
    table: Table
    id: UUID

    def lines(self) -> Iterator[tuple[tuple[str, int], bytes]]:
        """Every row in key order, with its line of the digest."""
        query = sql.SQL("SELECT * FROM {} WHERE clinic = %s AND build = %s ORDER BY stream, entry")
        with self.conn.cursor(name=f"lines_{self.id.hex}") as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            cursor.execute(query.format(_named(self.table.table)), (self.clinic, self.id))
            for row in cursor:
                opened = self.seals.opened(self.table.name, self.table.table, row)
                yield (opened.stream, opened.entry), digest_line(opened)

    def parked(self) -> dict[str, tuple[int, str]]:
        return _parked(self.conn, self.clinic, self.table, self.id)


@dataclass(frozen=True, slots=True)
class _Parked:
    """A stream that loses its rows, because one of them cannot be sealed."""

    stream: object
    parked: tuple[int, str]
    afresh: ClassVar[bool] = True
    written: ClassVar[Mapping[int, NewRow]] = MappingProxyType({})
    gone: ClassVar[Collection[int]] = ()

    @property
    def position(self) -> int:
        return self.parked[0]


class Writer:
    """One build of a view inside a transaction that moves it."""

    def __init__(self, build: _Build, position: int) -> None:
        self.build = build
        self.position = position
        """Of the last entry that the view covers."""
        self._stood = position
        self._parked: set[str] | None = None

    @property
    def has_moved(self) -> bool:
        return self.position != self._stood

    def write(self, changes: Iterable[NewRows]) -> None:
        """Writes what becomes of some streams; each stream at most once."""
        sealed = [self._sealed(change) for change in changes]
        changes = [change for change, _ in sealed]
        self._delete(changes)
        self._insert([row for _, rows in sealed for row in rows])
        self._park(changes)

    def move(self, position: int) -> None:
        """Says that the view covers the log up to `position`, once the transaction commits."""
        self.position = position

    def parked(self) -> Collection[str]:
        """The streams that have no rows here, because they could not be folded."""
        return self.build.parked() if self._parked is None else self._parked

    def know_parked(self, streams: Iterable[str]) -> None:
        """Tells which streams are parked, where that was asked for several views at once."""
        self._parked = set(streams)

    def _delete(self, changes: Sequence[NewRows]) -> None:
        build = self.build
        afresh = [str(change.stream) for change in changes if change.afresh]
        gone = [(str(change.stream), entry) for change in changes for entry in change.gone]
        if afresh:
            query = "DELETE FROM {} WHERE clinic = %s AND build = %s AND stream = ANY(%s)"
            build.conn.execute(self._on_table(query), (build.clinic, build.id, afresh))
            build.conn.execute(
                "DELETE FROM rapport.parked "
                "WHERE clinic = %s AND view = %s AND build = %s AND stream = ANY(%s)",
                (build.clinic, build.table.table, build.id, afresh),
            )
        if gone:
            query = (
                "DELETE FROM {} t USING unnest(%s::text[], %s::bigint[]) g (stream, entry) "
                "WHERE t.clinic = %s AND t.build = %s "
                "AND t.stream = g.stream AND t.entry = g.entry"
            )
            streams, entries = (list(part) for part in zip(*gone, strict=True))
            parameters = (streams, entries, build.clinic, build.id)
            build.conn.execute(self._on_table(query), parameters)

    def _sealed(self, change: NewRows) -> tuple[NewRows, list[dict[str, object]]]:
        """The change with its rows in bytes; parked where one of them has none."""
        build, stream = self.build, str(change.stream)
        place = build.table.name, build.table.table, stream
        try:
            rows = [build.seals.sealed(*place, *row) for row in change.written.items()]
        except Unsealable as error:
            return _Parked(change.stream, (change.position, error.code)), []
        return change, rows

    def _insert(self, rows: list[dict[str, object]]) -> None:
        build = self.build
        for row in rows:
            row["cited"] = Jsonb(row["cited"])
            row |= {"clinic": build.clinic, "build": build.id}
        with build.conn.cursor() as cursor:
            cursor.executemany(_upsert(build.table.table, [*FIXED, *build.table.columns]), rows)

    def _park(self, changes: Sequence[NewRows]) -> None:
        build = self.build
        with build.conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO rapport.parked (clinic, view, build, stream, position, code) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    (build.clinic, build.table.table, build.id, str(change.stream), *change.parked)
                    for change in changes
                    if change.parked is not None
                ],
            )

    def _on_table(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(_named(self.build.table.table))


class Building:
    """A build in the making, beside the one that is read."""

    def __init__(self, store: ViewStore, table: Table, build: UUID) -> None:
        self._store = store
        self._table = table
        self._id = build

    def position(self) -> int | None:
        """Where the view stands by what is read now, if need be by its last version; or None."""
        with self._store._pool.connection() as conn:
            read = self._read(conn)
        return None if read is None else read[1].position

    def write(self, changes: Iterable[NewRows]) -> None:
        """Writes what becomes of some streams, in a transaction of its own."""
        with self._store._pool.connection() as conn, conn.transaction():
            Writer(self._on(conn, self._table, self._id), 0).write(changes)

    @contextmanager
    def finishing(self) -> Iterator["Finishing"]:
        """The transaction in which the build is completed, compared and swapped in.

        The view does not move while it lasts; its readers go on.
        """
        with self._store._pool.connection() as conn, conn.transaction():
            known = self._read(conn)
            if known is not None:
                conn.execute(
                    "SELECT FROM rapport.tracking WHERE clinic = %s AND view = %s FOR UPDATE",
                    (self._store.clinic, known[0].table),
                )
                known = self._read(conn)  # as it stands now that it cannot move
            fresh = Writer(self._on(conn, self._table, self._id), 0)
            read = known and Writer(self._on(conn, known[0], known[1].build), known[1].position)
            yield Finishing(read, fresh)

    def _on(self, conn: Connection[DictRow], table: Table, build: UUID) -> _Build:
        return _Build(conn, self._store.clinic, self._store._seals, table, build)

    def _read(self, conn: Connection[DictRow]) -> tuple[Table, Tracked] | None:
        clinic = self._store.clinic
        for table in (self._table, *_older_versions(conn, clinic, self._table)):
            found = tracked(conn, clinic, [table.table]).get(table.table)
            if found is not None:
                return table, found
        return None


@dataclass(frozen=True, slots=True)
class Finishing:
    """The last transaction of a rebuild."""

    read: Writer | None
    """The build that is read so far, maybe of an older version."""
    fresh: Writer
    """The build that is about to be."""

    @property
    def read_version(self) -> int | None:
        """The version of the code that folded what is read so far."""
        return None if self.read is None else self.read.build.table.version

    def compare(self, position: int) -> Comparison | None:
        """Both builds as of `position`, row by row; None: nothing was read so far.

        Both are digested as of the fresh one's version, so that equal rows are equal.
        """
        if self.read is None:
            return None
        old, new = self.read.build, self.fresh.build
        before, after = (
            new.seals.digesting(new.table.name, new.table.version, position) for _ in range(2)
        )
        differing: list[tuple[str, int]] = []
        differences = 0
        for key, one, other in _side_by_side(old.lines(), new.lines()):
            if one is not None:
                before.add(one)
            if other is not None:
                after.add(other)
            if one != other:
                differences += 1
                if differences <= _DIFFERENCES_NAMED:
                    differing.append(key)
        return Comparison(
            before.finished(old.parked()),
            after.finished(new.parked()),
            tuple(differing),
            differences,
        )

    def swap(self, position: int) -> None:
        """From the commit on the fresh build is read, as of `position`."""
        build = self.fresh.build
        build.conn.execute(
            "INSERT INTO rapport.tracking (clinic, view, position, build) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (clinic, view) "
            "DO UPDATE SET position = excluded.position, build = excluded.build",
            (build.clinic, build.table.table, position, build.id),
        )
        build.conn.execute("SELECT pg_notify(%s, %s)", (MOVED, str(build.clinic)))


_Line = tuple[tuple[str, int], bytes]


def _side_by_side(
    before: Iterator[_Line], after: Iterator[_Line]
) -> Iterator[tuple[tuple[str, int], bytes | None, bytes | None]]:
    """Every key of two sequences in key order, with its line in each of them."""
    one, other = next(before, None), next(after, None)
    while one is not None or other is not None:
        if one is not None and (other is None or one[0] < other[0]):
            yield one[0], one[1], None
            one = next(before, None)
        elif other is not None and (one is None or other[0] < one[0]):
            yield other[0], None, other[1]
            other = next(after, None)
        elif one is not None and other is not None:
            yield one[0], one[1], other[1]
            one, other = next(before, None), next(after, None)


# --- Statements ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Older:
    """The table of an older version of a view; its rows say themselves what columns they have."""

    name: str
    version: int

    @property
    def table(self) -> str:
        return f"{self.name}_v{self.version}"

    columns: ClassVar[Mapping[str, str]] = MappingProxyType({})
    indexed: ClassVar[Sequence[str]] = ()


def _older_versions(conn: Connection[DictRow], clinic: UUID, table: Table) -> list[_Older]:
    """Those that were built, the newest first."""
    names = [_Older(table.name, version) for version in range(table.version - 1, 0, -1)]
    found = tracked(conn, clinic, [older.table for older in names])
    return [older for older in names if older.table in found]


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


def _parked(
    conn: Connection[DictRow], clinic: UUID, table: Table, build: UUID
) -> dict[str, tuple[int, str]]:
    rows = conn.execute(
        "SELECT stream, position, code FROM rapport.parked "
        "WHERE clinic = %s AND view = %s AND build = %s",
        (clinic, table.table, build),
    )
    return {row["stream"]: (row["position"], row["code"]) for row in rows}


def _clear(conn: Connection[DictRow], clinic: UUID, table: str, *, kept: UUID) -> None:
    rows = sql.SQL("DELETE FROM {} WHERE clinic = %s AND build <> %s").format(_named(table))
    conn.execute(rows, (clinic, kept))
    conn.execute(
        "DELETE FROM rapport.parked WHERE clinic = %s AND view = %s AND build <> %s",
        (clinic, table, kept),
    )


def _named(table: str) -> sql.Identifier:
    return sql.Identifier("views", table)


def _upsert(table: str, names: Sequence[str]) -> sql.Composed:
    key = ("clinic", "build", "stream", "entry")
    return sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
        _named(table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
        sql.SQL(", ").join(map(sql.Identifier, key)),
        sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
            for name in names
            if name not in key
        ),
    )


def _make(conn: Connection[DictRow], table: Table) -> None:
    there = conn.execute("SELECT to_regclass(%s) AS it", (f"views.{table.table}",)).fetchone()
    if there is not None and there["it"] is not None:
        return
    named = _named(table.table)
    clear = [
        sql.SQL("{} {}, ").format(sql.Identifier(name), sql.SQL(sql_type))
        for name, sql_type in table.columns.items()
    ]
    conn.execute(
        sql.SQL(
            "CREATE TABLE {} (clinic uuid NOT NULL, build uuid NOT NULL, "
            'stream text COLLATE "C" NOT NULL, entry bigint NOT NULL, '
            "cited jsonb NOT NULL, keys uuid[] NOT NULL, sealed bytea[] NOT NULL, "
            "mac bytea NOT NULL, "
            "{} PRIMARY KEY (clinic, build, stream, entry))"
        ).format(named, sql.SQL("").join(clear))
    )
    for name in table.indexed:
        method = "gin" if table.columns[name].endswith("[]") else "btree"
        index = sql.SQL("CREATE INDEX ON {} USING {} ({})")
        conn.execute(index.format(named, sql.SQL(method), sql.Identifier(name)))
    for statement in (
        "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE {} FORCE ROW LEVEL SECURITY",  # its owner is the role that writes it
        "CREATE POLICY own_clinic ON {} USING "
        "(clinic = nullif(current_setting('rapport.clinic', true), '')::uuid)",
        "GRANT SELECT ON {} TO rapport_app, rapport_read",
    ):
        conn.execute(sql.SQL(statement).format(named))


def _compare_columns(conn: Connection[DictRow], table: Table) -> None:
    rows = conn.execute(
        "SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (f"views.{table.table}",),
    )
    found = {row["name"]: row["type"] for row in rows if row["name"] not in FIXED}
    timestamptz = "timestamp with time zone"
    wanted = {
        name: timestamptz if kind == "timestamptz" else kind for name, kind in table.columns.items()
    }
    if found != wanted:
        raise ViewChanged(f"views.{table.table} has other columns than its view")
