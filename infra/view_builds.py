"""Building views anew beside those that are read: parts, their comparison, and the swap.

A part is the streams of a category past one name, up to and with another. It is folded in one
transaction with a row of `rapport.folded` that says so, by any process that knows the round;
whoever rebuilds after an interruption goes on with what is missing. docs/formats/view.md.
"""

import hmac
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import DictRow

from infra.arrivals import MOVED, Tracked, tracked
from infra.view_digests import Digest, Digesting, Line, Streams, digesting
from infra.view_parts import PartWriter
from infra.view_rows import Table
from infra.view_tables import NO_BUILD, Older, clear, older_versions
from infra.view_writing import Build, Place, Writer

_DIFFERENCES_NAMED: Final = 1_000


class RebuildRunning(Exception):
    """Another process is rebuilding this view; its text is the view's name."""


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


class Read(NamedTuple):
    """The build of a view that is read so far, maybe of an older version."""

    version: int
    table: str
    build: UUID
    parked: Mapping[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Round:
    """What all know who fold or compare parts at the same time; may be sent to other processes."""

    builds: Mapping[str, UUID]
    """By table: the build in the making."""
    positions: Mapping[str, int]
    """By table: as of which position it is folded."""
    keys: int
    """The keyring's generation when the builds were begun."""
    snapshot: str | None
    """In which what is read so far stands at those positions; None: nothing is compared."""
    read: Mapping[str, Read]

    def uncompared(self) -> "Round":
        """The same, with nothing to compare."""
        return replace(self, snapshot=None, read={})


class Told(NamedTuple):
    """One part in both builds, and the rows that are not the same."""

    before: Streams
    after: Streams | None
    """None: the same."""
    differing: list[tuple[str, int]]


# --- One part -----------------------------------------------------------------------------------


@contextmanager
def folding(
    place: Place, round_: Round, tables: Sequence[Table], past: str, upto: str
) -> Iterator[Mapping[str, PartWriter]]:
    """The transaction in which a part is written: the writers of these views, by table."""
    with place.connection() as conn, conn.transaction():
        if round_.snapshot is not None:
            _see(conn, round_.snapshot)
        # Who swaps the builds in waits until all of them are on the disk.
        conn.execute("SET LOCAL synchronous_commit TO off")
        known = conn.execute(
            _PART, (place.clinic, [table.table for table in tables], past), prepare=True
        ).fetchall()
        done = {(row["view"], row["build"]) for row in known}
        with conn.pipeline():
            yield {
                table.table: PartWriter(
                    place.build(conn, table, round_.builds[table.table]),
                    round_.positions[table.table],
                    empty=(table.table, round_.builds[table.table]) not in done,
                    read=_read_so_far(place, conn, round_, table),
                    past=past,
                    upto=upto,
                )
                for table in tables
            }
            for table in tables:
                name = table.table
                at = (name, round_.builds[name], table.category, past, upto)
                conn.execute(_NOTE, (place.clinic, *at, round_.positions[name], round_.keys))


def _see(conn: Connection[DictRow], snapshot: str) -> None:
    """The transaction that begins sees what that snapshot sees."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    conn.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())


def _read_so_far(
    place: Place, conn: Connection[DictRow], round_: Round, table: Table
) -> Build | None:
    """The build of a view that is read so far, where it is compared."""
    read = round_.read.get(table.table)
    if read is None:
        return None
    older = Older(table.name, read.version, table.category, table.forms)
    return place.build(conn, older, read.build)


def told(
    place: Place,
    round_: Round,
    tables: Sequence[Table],
    past: str,
    upto: str,
    written: Mapping[str, PartWriter],
) -> dict[str, Told]:
    """A part of these views as it stands in both builds; `written`: by whom it was, just now."""
    found: dict[str, Told] = {}
    its = [table for table in tables if table.table in round_.read]
    for table in its:
        writer = written.get(table.table)
        if writer is not None and writer.lines is not None:
            found[table.table] = Told(Streams.of(writer.lines), None, [])
    if round_.snapshot is None or len(found) == len(its):
        return found
    with place.connection() as old, place.connection() as new, old.transaction():
        _see(old, round_.snapshot)
        for table in its:
            before = _read_so_far(place, old, round_, table)
            if before is not None and table.table not in found:
                after = place.build(new, table, round_.builds[table.table])
                lines = before.lines_of(past, upto), after.lines_of(past, upto)
                found[table.table] = _side_by_side(*lines)
    return found


def _side_by_side(before: Sequence[Line], after: Sequence[Line]) -> Told:
    if before == after:
        return Told(Streams.of(before), None, [])
    one, other = dict(before), dict(after)
    differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return Told(Streams.of(before), Streams.of(after), differing)


@dataclass(slots=True)
class Comparing:
    """Digests of both builds of a view, part after part in the order of names."""

    before: Digesting
    after: Digesting | None = None
    """None: all lines were the same so far."""
    differing: list[tuple[str, int]] = field(default_factory=list)
    differences: int = 0

    def add(self, part: Told) -> None:
        if part.after is not None and self.after is None:
            self.after = self.before.copy()
        if self.after is not None:
            self.after.add(part.before if part.after is None else part.after)
        self.before.add(part.before)
        self.differences += len(part.differing)
        self.differing += part.differing[: _DIFFERENCES_NAMED - len(self.differing)]


# --- All of it ----------------------------------------------------------------------------------


@contextmanager
def building(place: Place, tables: Sequence[Table], *, afresh: bool) -> Iterator["Building"]:
    """Builds beside those that are read; raises RebuildRunning.

    They go on with what an interrupted rebuild of the same views has left, unless keys were
    destroyed since or `afresh` is asked for.
    """
    turns = {f"{table.table} rebuild": table for table in tables}
    with place.connection() as conn, conn.transaction():
        for turn in turns:
            conn.execute(_TURN, (place.clinic, turn, NO_BUILD))
    with place.connection() as lock, lock.transaction():
        rows = lock.execute(_TAKE, (place.clinic, list(turns)))
        taken = {row["view"] for row in rows}
        for turn, table in turns.items():
            if turn not in taken:
                raise RebuildRunning(table.name)
        made = _begun(place, tables, afresh=afresh)
        yield made
        made.clear_others()


def _begun(place: Place, tables: Sequence[Table], *, afresh: bool) -> "Building":
    names = [table.table for table in tables]
    keys = place.keyring.generation()
    with place.connection() as conn:
        live = {found.build for found in tracked(conn, place.clinic, names).values()}
        rows = conn.execute(_PARTS, (place.clinic, names)).fetchall()
    left = {name: [row for row in rows if row["view"] == name] for name in names}
    builds = {name: next((row["build"] for row in left[name]), uuid4()) for name in names}
    by_category: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for table in tables:
        parts = tuple((row["past"], row["upto"]) for row in left[table.table])
        by_category.setdefault(table.category, set()).add(parts)
    goes_on = (
        not afresh
        and all(row["keys"] == keys and row["build"] == builds[row["view"]] for row in rows)
        and all(len(parts) == 1 for parts in by_category.values())
        and live.isdisjoint(builds.values())
    )
    if not goes_on:
        rows, builds = [], {name: uuid4() for name in names}
    made = Building(place, tables, builds, keys, rows)
    made.clear_others()
    return made


class Building:
    """New builds of some views in the making, by whoever has claimed that."""

    def __init__(
        self,
        place: Place,
        tables: Sequence[Table],
        builds: Mapping[str, UUID],
        keys: int,
        parts: Iterable[DictRow],
    ) -> None:
        self._place = place
        self._tables = {table.table: table for table in tables}
        self._builds = builds
        self._keys = keys
        self._folded: dict[str, dict[str, tuple[str, int]]] = {}
        # The views of a category have the same parts; the least position is the last to be noted.
        for row in sorted(parts, key=lambda row: -row["position"]):
            self.note(row["category"], row["past"], row["upto"], row["position"])

    def parts(self, category: str) -> list[tuple[str, str, int]]:
        """The parts that are folded, by name: past, up to, and the least position as of which."""
        found = self._folded.get(category, {})
        return [(past, upto, position) for past, (upto, position) in sorted(found.items())]

    def note(self, category: str, past: str, upto: str, position: int) -> None:
        """Remembers that a part is folded as of a position."""
        self._folded.setdefault(category, {})[past] = upto, position

    @contextmanager
    def round(self, *, compare: bool) -> Iterator[Round]:
        """A moment as of which to fold: compared, where each view stands; else the log's end."""
        with self._place.connection() as conn, conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            head = conn.execute(_HEAD, (self._place.clinic,)).fetchone()
            size = 0 if head is None else head["size"]
            positions, read = dict.fromkeys(self._tables, size), {}
            for name, table in self._tables.items() if compare else ():
                found = self._read(conn, table)
                if found is not None:
                    # A view past the log's end tells of entries that there are not.
                    positions[name] = min(found[1].position, size)
                    build = self._place.build(conn, found[0], found[1].build)
                    read[name] = Read(found[0].version, found[0].table, build.id, build.parked())
            exported = conn.execute("SELECT pg_export_snapshot() AS it").fetchone()
            snapshot = exported["it"] if exported and read else None
            yield Round(self._builds, positions, self._keys, snapshot, read)

    def comparing(self, round_: Round) -> dict[str, Comparing]:
        """Digests to be filled, of each view that is compared."""

        place, at = self._place, round_.positions
        return {
            name: Comparing(
                digesting(place.clinic, place.keyring, table.name, table.version, at[name])
            )
            for name, table in self._tables.items()
            if name in round_.read
        }

    def compared(self, round_: Round, found: Mapping[str, Comparing]) -> dict[str, Comparison]:
        """What the comparison came to, now that all parts were told. Both builds are digested as
        of the fresh one's version, so that equal rows are equal."""
        outcome = {}
        with self._place.connection() as conn:
            for name, one in found.items():
                fresh = self._place.build(conn, self._tables[name], self._builds[name])
                after = one.after or one.before.copy()
                outcome[name] = Comparison(
                    one.before.finished(round_.read[name].parked),
                    after.finished(fresh.parked()),
                    tuple(one.differing),
                    one.differences,
                )
        return outcome

    @contextmanager
    def settling(self, table: Table) -> Iterator[Writer | None]:
        """A transaction on what is read of this view so far, if it is of the same version."""
        with self._place.connection() as conn, conn.transaction():
            found = self._locked(conn, table)
            same = found is not None and found[0].version == table.version
            yield self._writer(conn, found) if found is not None and same else None

    @contextmanager
    def finishing(self, table: Table) -> Iterator["Finishing"]:
        """The transaction in which the build is completed and swapped in.

        The view does not move while it lasts; its readers go on.
        """
        with self._place.connection() as conn, conn.transaction():
            found = self._locked(conn, table)
            fresh = self._place.build(conn, table, self._builds[table.table])
            read = None if found is None else self._writer(conn, found)
            yield Finishing(read, Writer(fresh, 0))

    def clear_others(self) -> None:
        """Deletes the rows of builds that nobody reads any more, or that were given up.

        By a connection for each processor, table by table: the rows of large views are many.
        """
        with self._place.connection() as conn:
            found = tracked(conn, self._place.clinic, self._tables)
        read = {name: at.build for name, at in found.items()}
        with ThreadPoolExecutor(min(os.cpu_count() or 1, len(self._tables))) as clearing:
            for _ in clearing.map(partial(self._clear, read), self._tables):
                pass

    def _clear(self, read: Mapping[str, UUID], name: str) -> None:
        kept = {self._builds[name], read.get(name, self._builds[name])}
        with self._place.connection() as conn:
            clear(conn, self._place.clinic, name, kept)

    def _locked(self, conn: Connection[DictRow], table: Table) -> tuple[Table, Tracked] | None:
        found = self._read(conn, table)
        if found is None:
            return None
        conn.execute(_HOLD, (self._place.clinic, found[0].table))
        return self._read(conn, table)  # as it stands now that it cannot move

    def _writer(self, conn: Connection[DictRow], found: tuple[Table, Tracked]) -> Writer:
        table, at = found
        return Writer(self._place.build(conn, table, at.build), at.position)

    def _read(self, conn: Connection[DictRow], table: Table) -> tuple[Table, Tracked] | None:
        """What is read so far, if need be of the last version before."""
        clinic = self._place.clinic
        found = tracked(conn, clinic, [table.table]).get(table.table)
        if found is not None:
            return table, found
        return next(iter(older_versions(conn, clinic, table)), None)


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

    def swap(self, position: int) -> None:
        """From the commit on the fresh build is read, as of `position`."""
        build = self.fresh.build
        place = (build.clinic, build.table.table)
        build.conn.execute(_SWAP, (*place, position, build.id))
        build.conn.execute("DELETE FROM rapport.folded WHERE clinic = %s AND view = %s", place)
        build.conn.execute("SELECT pg_notify(%s, %s)", (MOVED, str(build.clinic)))


_TURN: Final = """
INSERT INTO rapport.tracking (clinic, view, position, build) VALUES (%s, %s, 0, %s)
ON CONFLICT DO NOTHING
"""
_TAKE: Final = """
SELECT view FROM rapport.tracking WHERE clinic = %s AND view = ANY(%s)
ORDER BY view FOR UPDATE SKIP LOCKED
"""
_HOLD: Final = "SELECT FROM rapport.tracking WHERE clinic = %s AND view = %s FOR UPDATE"
_HEAD: Final = "SELECT size FROM rapport.heads WHERE clinic = %s"
_PARTS: Final = """
SELECT view, build, category, past, upto, position, keys FROM rapport.folded
WHERE clinic = %s AND view = ANY(%s) ORDER BY view, past
"""
_PART: Final = """
SELECT view, build FROM rapport.folded WHERE clinic = %s AND view = ANY(%s) AND past = %s
"""
_NOTE: Final = """
INSERT INTO rapport.folded (clinic, view, build, category, past, upto, position, keys)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (clinic, view, build, past) DO UPDATE SET position = excluded.position
"""
_SWAP: Final = """
INSERT INTO rapport.tracking (clinic, view, position, build) VALUES (%s, %s, %s, %s)
ON CONFLICT (clinic, view) DO UPDATE SET position = excluded.position, build = excluded.build
"""
