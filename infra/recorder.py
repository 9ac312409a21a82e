"""Where entries meet PostgreSQL: one statement per batch, gapless positions per clinic.

The stock recorder of `eventsourcing` locks the table and takes positions from a sequence. Here
the clinic's head row is compared and swapped in the statement that inserts the batch: no row back
means that somebody else was first, and nothing was written.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from select import POLLIN, poll
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import (
    BasePostgresFactory,
    ConnectionPool,
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresFactory,
)
from eventsourcing.utils import Environment
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row, tuple_row

from infra import canonical
from infra.batch import ENTRY_COLUMNS, Batch, Head, Meanwhile, Writer
from infra.clinics import NoSuchClinic, pinned, with_option
from infra.mapper import SealedEntry
from infra.merkle import Frontier, leaf_hash
from infra.sealing import Envelope

# The library silences psycopg when it is imported; an operator wants to hear of lost connections.
for _name in ("psycopg", "psycopg.pool"):
    logging.getLogger(_name).setLevel(logging.NOTSET)

_CONNECTION_SECONDS = 5
"""How long a caller waits for a connection before the store counts as unavailable. For as long the
pool tries by itself to get one back; later the next caller starts it again, so that nobody waits
for pauses that grew with the outage."""

_STANDSTILL_SECONDS = 10
"""How long a process may keep the others from the head without saying anything to PostgreSQL."""


class Placed(NamedTuple):
    """Where an entry stands, and the bytes that are hashed for it."""

    position: int
    stream: str
    version: int
    leaf_input: bytes


class LostRace(Exception):
    """Another process moved the head first; nothing was written."""


class CommandSeen(Exception):
    """A command id of the batch is in the record already; nothing was written."""


class StoreUnavailable(Exception):
    """PostgreSQL could not be reached, or did not answer in time. The command may be repeated."""


class ClinicDatastore(PostgresDatastore):
    """A pool whose connections can see one clinic only, under one role.

    The clinic is a start-up option of the session, so not even RESET ALL un-pins it, and
    connections are never handed from one clinic to another.
    """

    def __init__(self, conninfo: str, clinic: UUID, *, pool_size: int = 4) -> None:
        super().__init__(
            dbname="", host="", port="", user="", password="",
            schema="rapport", originator_id_type="text",
        )  # fmt: skip
        self.clinic = clinic
        self._conninfo = make_conninfo(
            pinned(conninfo, clinic), connect_timeout=_CONNECTION_SECONDS
        )
        self._writer: Writer | None = None
        self.pool = ConnectionPool(
            # Every statement follows one of two unique indexes. Before the tables are analysed, as
            # after an import, a bitmap looks cheaper: all that is left of a log, sorted each time.
            with_option(self._conninfo, "enable_bitmapscan=off"),
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True},
            min_size=1,
            max_size=pool_size,
            timeout=_CONNECTION_SECONDS,
            reconnect_timeout=_CONNECTION_SECONDS,
            open=False,
            check=_check,
        )

    @contextmanager
    def get_connection(self) -> Iterator[Connection[DictRow]]:
        """A connection of the pool; raises StoreUnavailable, all other errors stay psycopg's."""
        try:
            self.pool.open()
            with self.pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise StoreUnavailable from error

    @contextmanager
    def writer(self) -> Iterator["Writer"]:
        """The one connection that appends, for one thread at a time; StoreUnavailable as above.

        It is not asked whether it lives before each append: that would double the round trips.
        """
        try:
            if self._writer is None or self._writer.closed:
                # The statement is always the same: planning it anew would take as long as it.
                conninfo = with_option(self._conninfo, "plan_cache_mode=force_generic_plan")
                # Who keeps others out and stands still is put out, so that they go on.
                patience = f"idle_in_transaction_session_timeout={_STANDSTILL_SECONDS}s"
                self._writer = Writer(with_option(conninfo, patience))
            yield self._writer
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._close_writer()
            raise StoreUnavailable from error

    def close(self) -> None:
        """Closes every connection."""
        self._close_writer()
        super().close()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def register_type_adapters(self) -> None:
        """Nothing: this schema has no composite types."""


def _check(connection: Connection[DictRow]) -> None:
    """Raises where the server has hung up; only one that has said something is asked, for to ask
    takes as long as a statement."""
    said = poll()
    said.register(connection.fileno(), POLLIN)
    if said.poll(0):
        ConnectionPool.check_connection(connection)


ScannedRow = tuple[Any, ...]
"""An entry without its leaf, by the columns of `_SCANNED`: what `infra/scanned.py` reads."""


class SnapshotRow(NamedTuple):
    """A stream's snapshot as the table holds it: `keys` are ids, in order."""

    stream: str
    version: int
    keys: Sequence[UUID]
    sealed: bytes


class EntryRecorder(PostgresApplicationRecorder):
    """Inserts and selects entries of one clinic."""

    datastore: ClinicDatastore

    def append(self, batch: Batch, rows: Sequence[bytes], meanwhile: Meanwhile) -> None:
        """Appends the batch, whose entries are packed; `meanwhile` is done while PostgreSQL works.

        Raises LostRace, CommandSeen, StoreUnavailable.
        """
        try:
            with self.datastore.writer() as writer:
                appended = writer.append_packed(batch, self.datastore.clinic, rows, meanwhile)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.table_name and error.diag.table_name.startswith("commands"):
                raise CommandSeen from None
            raise LostRace from None
        if not appended:
            raise LostRace

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process appends to this log meanwhile: what is decided here is not outrun."""
        try:
            with self.datastore.writer() as writer:
                writer.keep_others_out(self.datastore.clinic)
            yield
        finally:
            with self.datastore.writer() as writer:
                writer.give_way()

    def head(self) -> Head:
        """The clinic's head as committed; raises NoSuchClinic."""
        with self.datastore.get_connection() as conn:
            row = conn.execute(_HEAD, (self.datastore.clinic,), prepare=True).fetchone()
        if row is None:
            raise NoSuchClinic(str(self.datastore.clinic))
        return Head(Frontier.from_bytes(row["frontier"]), row["recorded_at"])

    def streams_between(self, start: int, end: int) -> list[str]:
        """The names of the streams that the entries past `start` and up to `end` belong to."""
        with self.datastore.get_connection() as conn:
            rows = conn.execute(_STREAMS_BETWEEN, (self.datastore.clinic, start, end)).fetchall()
        return [row["stream"] for row in rows]

    def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        """The hashes of the leaves from `start` up to, not including, `end`, made here."""
        with self.datastore.get_connection() as conn:
            return leaf_hashes(conn, self.datastore.clinic, start, end)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """A stream's entries by version; without bounds all of them."""
        return self._select(
            f"clinic = %s AND stream = %s AND version > %s AND version <= %s "
            f"ORDER BY version {'DESC' if desc else 'ASC'} LIMIT %s",
            (self.datastore.clinic, originator_id, gt or 0, _cap(lte), limit),
        )

    def select_positions(self, after: int, limit: int) -> Sequence[SealedEntry]:
        """Up to `limit` entries past position `after`, in order."""
        return self._select(
            "clinic = %s AND position > %s ORDER BY position LIMIT %s",
            (self.datastore.clinic, after, limit),
        )

    def scan_positions(self, after: int, limit: int) -> list[ScannedRow]:
        """Up to `limit` entries past position `after`, in order, without their leaves."""
        return self._scan(
            "clinic = %s AND position > %s ORDER BY position LIMIT %s",
            (self.datastore.clinic, after, limit),
        )

    def scan_stream(self, stream: str, after: int) -> list[ScannedRow]:
        """A stream's entries past version `after`, in order."""
        return self._scan(
            "clinic = %s AND stream = %s AND version > %s ORDER BY version",
            (self.datastore.clinic, stream, after),
        )

    def scan_streams(self, streams: Sequence[str]) -> list[ScannedRow]:
        """All entries of these streams, each stream's by version."""
        parameters = (self.datastore.clinic, list(streams))
        rows = self._scan("clinic = %s AND stream = ANY(%s)", parameters)
        # They come as the index has them; a sort of such wide rows by PostgreSQL goes to its disk.
        return sorted(rows, key=_STREAM_AND_VERSION)

    def stretches(self, category: str, after: int, upto: int) -> list[tuple[str, int, int]]:
        """The category's streams with entries past one position, up to and with another, and the
        versions of the first and the last of these."""
        bounds = (self.datastore.clinic, after, upto, f"{category}-")
        with (
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row) as cursor,
        ):
            return cursor.execute(_STRETCHES, bounds, prepare=True).fetchall()

    def scan_stretches(
        self, stretches: Sequence[tuple[str, int, int]], after: int, upto: int
    ) -> list[ScannedRow]:
        """The entries of such streams between these versions and positions, in order."""
        parameters = (*map(list, zip(*stretches, strict=True)), self.datastore.clinic, after, upto)
        with (
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row, binary=True) as cursor,
        ):
            rows = cursor.execute(_SCAN_STRETCHES, parameters, prepare=True).fetchall()
        return sorted(rows, key=_POSITION)

    def scan_from_snapshot(
        self, stream: str, format_: str
    ) -> tuple[list[ScannedRow], SnapshotRow | None]:
        """A stream's entries from the one on that its snapshot of that format stops at, and the
        snapshot; all of them where there is none, or where the log does not go as far."""
        parameters = {"clinic": self.datastore.clinic, "stream": stream, "format": format_}
        with (
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row, binary=True) as cursor,
        ):
            rows = cursor.execute(_FROM_SNAPSHOT, parameters, prepare=True).fetchall()
        *_, stops_at, keys, sealed = rows[0]
        if stops_at is None:  # of no entries there is one row, without any
            return [row[:-3] for row in rows if row[0] is not None], None
        if keys is None:  # there is no such entry
            return self.scan_stream(stream, 0), None
        return [row[:-3] for row in rows], SnapshotRow(stream, stops_at, keys, sealed)

    def without_snapshot(
        self, category: str, format_: str, further: int, past: str, limit: int
    ) -> list[str]:
        """The names of streams of the category, past that name and in order, that go so many
        entries further than their snapshot of that format does."""
        parameters = {
            "clinic": self.datastore.clinic,
            "format": format_,
            "further": further,
            "past": past or f"{category}-",
            "before": f"{category}.",
            "limit": limit,
        }
        with self.datastore.get_connection() as conn:
            return [row["stream"] for row in conn.execute(_WITHOUT_SNAPSHOT, parameters)]

    def write_snapshots(self, format_: str, rows: Sequence[SnapshotRow]) -> None:
        """Keeps each, unless one of that format is there that goes further."""
        values = [(self.datastore.clinic, format_, *row) for row in rows]
        with self.datastore.get_connection() as conn, conn.transaction():
            conn.execute(_NOBODY_WAITS)
            for value in sorted(values, key=itemgetter(2)):  # as others do, who write the same
                conn.execute(_KEEP_SNAPSHOT, value, prepare=True)

    def delete_snapshots(self, keys: Sequence[UUID]) -> None:
        """Deletes those that any of these keys takes part in."""
        with self.datastore.get_connection() as conn:
            conn.execute(_DELETE_SNAPSHOTS, (self.datastore.clinic, keys))

    def begun(self, streams: Sequence[str]) -> set[str]:
        """Those of the streams that have an entry."""
        with self.datastore.get_connection() as conn:
            rows = conn.execute(_BEGUN, (list(streams), self.datastore.clinic), prepare=True)
            return {row["name"] for row in rows}

    def stream_names(self, category: str) -> Iterator[str]:
        """The names of the category's streams, in order, a page at a time."""
        return (name for name, _ in self.stream_sizes(category))

    def stream_sizes(self, category: str) -> Iterator[tuple[str, int]]:
        """The same, each with its last version: how many entries it has."""
        last = f"{category}-"
        while True:
            with self.datastore.get_connection() as conn:
                page = (self.datastore.clinic, last, f"{category}.")
                rows = conn.execute(_STREAMS, page).fetchall()
            if not rows:
                return
            yield from ((row["stream"], row["version"]) for row in rows)
            last = rows[-1]["stream"]

    def streams_since(self, category: str, position: int) -> list[str]:
        """The names of the category's streams with entries past that position."""
        with self.datastore.get_connection() as conn:
            bounds = (self.datastore.clinic, position, f"{category}-")
            return [row["stream"] for row in conn.execute(_SINCE, bounds)]

    def command_rows(self, command_ids: Sequence[UUID]) -> dict[UUID, DictRow]:
        """Those of the commands that are in the record, with the root they were receipted with."""
        with self.datastore.get_connection() as conn:
            rows = conn.execute(_COMMANDS, (self.datastore.clinic, list(command_ids))).fetchall()
        return {row["command_id"]: row for row in rows}

    def places(self, positions: Sequence[int]) -> dict[int, Placed]:
        """What receipts say of the entries at these positions."""
        if not positions:
            return {}
        with (
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row, binary=True) as cursor,
        ):
            rows = cursor.execute(_PLACES, (self.datastore.clinic, positions))
            return {row[0]: Placed(*row) for row in rows}

    def _select(self, where: str, parameters: tuple[Any, ...]) -> list[SealedEntry]:
        query = f"SELECT {COLUMNS} FROM rapport.entries WHERE {where}"  # noqa: S608  constants
        with self.datastore.get_connection() as conn:
            return [entry_of(row) for row in conn.execute(query, parameters, prepare=True)]

    def _scan(self, where: str, parameters: tuple[Any, ...]) -> list[ScannedRow]:
        query = f"SELECT {_SCANNED} FROM rapport.entries WHERE {where}"  # noqa: S608  constants
        with (
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row, binary=True) as cursor,
        ):
            return cursor.execute(query, parameters, prepare=True).fetchall()


def leaf_hashes(conn: Connection[Any], clinic: UUID, start: int, end: int) -> list[bytes]:
    """The hashes of a clinic's leaves from `start` up to, not including, `end`, made here."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_LEAVES, (clinic, start, end)).fetchall()
    return [leaf_hash(row[0]) for row in rows]


class EntryFactory(PostgresFactory):
    """Gives the application our recorder on a pool that exists already."""

    application_recorder_class = EntryRecorder

    def __init__(self, env: Environment, datastore: ClinicDatastore) -> None:
        # Past BasePostgresFactory, which would read a DSN from the process environment.
        super(BasePostgresFactory, self).__init__(env)
        self.datastore = datastore


def entry_of(row: DictRow) -> SealedEntry:
    """A row of `rapport.entries` as a sealed entry. Raises CanonicalError for a broken offset."""
    envelope = Envelope(
        clinic=row["clinic"],
        position=row["position"],
        stream=row["stream"],
        stream_version=row["version"],
        topic=row["topic"],
        schema_version=row["schema_version"],
        occurred_at=canonical.parse_time(
            canonical.time_text(row["occurred_at"]), row["occurred_offset"]
        ),
        recorded_at=row["recorded_at"],
        actor=row["actor"],
        on_behalf_of=row["on_behalf_of"],
        source=row["source"],
        command_id=row["command_id"],
        command_index=row["command_index"],
        key_id=row["key_id"],
    )
    return SealedEntry(
        originator_id=row["stream"],
        originator_version=row["version"],
        topic=row["topic"],
        state=row["ciphertext"],
        id=row["position"],
        envelope=envelope,
        commitment=row["commitment"],
        leaf_input=row["leaf_input"],
    )


def _cap(bound: int | None) -> int:
    return 2**53 if bound is None else bound


COLUMNS = ", ".join(ENTRY_COLUMNS)

_STREAM_AND_VERSION = itemgetter(1, 2)
_POSITION = itemgetter(0)

# Without the leaf, which only proofs need. Ids are read as text: seals are bound to it, and of one
# that comes again and again an id is then made once.
_SCANNED = (
    "position, stream, version, topic, schema_version, occurred_at, occurred_offset, recorded_at, "
    "actor::text, on_behalf_of::text, source, command_id::text, command_index, key_id::text, "
    "commitment, ciphertext"
)

# Row security lets a condition choose among entries only where it can tell nothing of others: CASE
# is known to be so, and coalesce is not. With it every entry of the stream would be looked at.
_FROM_SNAPSHOT = f"""
SELECT {_SCANNED}, stops_at, CASE WHEN version = stops_at THEN keys END,
    CASE WHEN version = stops_at THEN sealed END
FROM (VALUES (%(clinic)s::uuid, %(stream)s::text COLLATE "C")) AS asked (of_clinic, of_stream)
LEFT JOIN (
    SELECT clinic AS its_clinic, stream AS its_stream, version AS stops_at, keys, sealed
    FROM rapport.snapshots WHERE format = %(format)s
) AS kept ON its_clinic = of_clinic AND its_stream = of_stream
LEFT JOIN LATERAL (
    SELECT * FROM rapport.entries
    WHERE clinic = of_clinic AND stream = of_stream
        AND version >= CASE WHEN stops_at IS NULL THEN 1 ELSE stops_at END
    ORDER BY version OFFSET 0
) AS its ON true ORDER BY version
"""  # noqa: S608  constants

_WITHOUT_SNAPSHOT = """
SELECT stream FROM rapport.entries AS e
WHERE clinic = %(clinic)s AND stream > %(past)s AND stream < %(before)s GROUP BY stream
HAVING max(version) >= %(further)s + coalesce((
    SELECT s.version FROM rapport.snapshots AS s
    WHERE s.clinic = %(clinic)s AND s.stream = e.stream AND s.format = %(format)s
), 0) ORDER BY stream LIMIT %(limit)s
"""

_KEEP_SNAPSHOT = """
INSERT INTO rapport.snapshots AS there (clinic, format, stream, version, keys, sealed)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (clinic, stream) DO UPDATE SET
    version = excluded.version, format = excluded.format,
    keys = excluded.keys, sealed = excluded.sealed
WHERE there.version <= excluded.version OR there.format <> excluded.format
"""

_DELETE_SNAPSHOTS = "DELETE FROM rapport.snapshots WHERE clinic = %s AND keys && %s"

# What a crash takes of a cache is read again.
_NOBODY_WAITS = "SET LOCAL synchronous_commit = off"

SCAN_POSITIONS = (
    f"SELECT {_SCANNED} FROM rapport.entries "  # noqa: S608  constants
    "WHERE clinic = %s AND position > %s ORDER BY position LIMIT %s"
)

# In the order of positions: else they may be looked for in all that there is of the category.
_STRETCHES = """
SELECT stream, min(version), max(version) FROM (
    SELECT stream, version FROM rapport.entries
    WHERE clinic = %s AND position > %s AND position <= %s ORDER BY position OFFSET 0
) AS e WHERE starts_with(stream, %s) GROUP BY stream
"""

# Stream by stream along the index, whatever the planner thinks of their number.
_SCAN_STRETCHES = f"""
SELECT {_SCANNED} FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS s (its, first, last)
CROSS JOIN LATERAL (
    SELECT * FROM rapport.entries
    WHERE clinic = %s AND stream = s.its COLLATE "C" AND version BETWEEN s.first AND s.last
        AND position > %s AND position <= %s OFFSET 0
) AS e
"""  # noqa: S608  constants

# By version, so that it is found by the index however many entries a stream is thought to have.
_BEGUN = """
SELECT s.name FROM unnest(%s::text[]) AS s (name) CROSS JOIN LATERAL (
    SELECT FROM rapport.entries
    WHERE clinic = %s AND stream = s.name COLLATE "C" ORDER BY version LIMIT 1
) AS e
"""

_HEAD = "SELECT frontier, recorded_at FROM rapport.heads WHERE clinic = %s"

_PLACES = """
SELECT position, stream, version, leaf_input FROM rapport.entries
WHERE clinic = %s AND position = ANY(%s)
"""

_LEAVES = """
SELECT leaf_input FROM rapport.entries WHERE clinic = %s AND position > %s AND position <= %s
ORDER BY position
"""

_STREAMS_BETWEEN = """
SELECT DISTINCT stream FROM rapport.entries WHERE clinic = %s AND position > %s AND position <= %s
"""

_STREAMS = """
SELECT stream, max(version) AS version FROM rapport.entries
WHERE clinic = %s AND stream > %s AND stream < %s GROUP BY stream ORDER BY stream LIMIT 1000
"""

_SINCE = """
SELECT DISTINCT stream FROM (
    SELECT stream FROM rapport.entries WHERE clinic = %s AND position > %s
    ORDER BY position OFFSET 0
) AS e WHERE starts_with(stream, %s) ORDER BY stream
"""

_COMMANDS = """
SELECT c.command_id, c.body_mac, c.first_position, c.entries, c.tree_size, b.root, b.recorded_at
FROM rapport.commands c JOIN rapport.batches b ON b.clinic = c.clinic AND b.size = c.tree_size
WHERE c.clinic = %s AND c.command_id = ANY(%s)
"""
