"""One part of a rebuild: folded, held against what is read so far, and written beside it.

A row that is read so far has to stand in its table as the fold tells it: what is in the clear to
the last byte, and each of its groups is opened. A thousand rows are gone through at a time, as one
stream may be long: where all of them do, PostgreSQL copies them, sealed as they are. Else they are
sealed anew, and then both builds of the part are read row by row.
"""

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from psycopg.rows import scalar_row

from infra.view_rows import Unsealable, Written, line_of
from infra.view_tables import NewRows, Rows, Span, on
from infra.view_writing import Build, Line, Writer

_ROWS_AT_ONCE: Final = 1_000
_LAST_ENTRY: Final = 2**63 - 1
"""Past all entries that a stream can have."""
_FIELD: Final = 8
"""Bytes before each field: its type, and how long it is."""
_BUILD: Final = 4 + _FIELD + 16
"""Where the build stands: after the number of fields, and the clinic."""
_KEY: Final = _BUILD + _FIELD + 16
"""Where the stream stands."""
_MAC: Final = _FIELD + 32
_ARRAY: Final = 20
"""Bytes before the elements of an array."""
_NUMBER: Final = Struct("!i").unpack_from

Place = tuple[str, int]
"""A row's stream and entry."""


class _Kept(NamedTuple):
    """A row as it is to be written, with what stands in the clear in PostgreSQL's binary format."""

    row: Written
    before: bytes
    after: bytes
    """What stands before the groups, from the stream on, and after the MAC."""


class PartWriter(Writer):
    """Writes one part of a build."""

    def __init__(
        self,
        build: Build,
        position: int,
        *,
        empty: bool,
        read: Build | None,
        past: str,
        upto: str,
    ) -> None:
        """`read`: what is read so far, where the part is to be compared with it."""
        super().__init__(build, position, empty=empty)
        same = read is not None and read.table.table == build.table.table
        self._read = read if empty and same else None
        self._past = past, _LAST_ENTRY
        self._upto = upto, _LAST_ENTRY
        self.lines: list[Line] | None = None
        """The part's lines of the digest, if it was found to be the same."""

    def write(self, changes: Iterable[NewRows]) -> None:
        """Writes the whole part: its streams by name."""
        if self._read is None:
            super().write(changes)
            return
        self.lines, kept, others = [], list[_Kept](), list[NewRows]()
        rows = self.build.insertion(self.build.conn, self.build.table)
        for change in changes:
            try:
                for one in self._kept(rows, change):
                    if len(kept) >= _ROWS_AT_ONCE:
                        self._settle(self._read, rows, kept, _place(kept[-1]))
                        kept = []
                    kept.append(one)
            except Unsealable:
                kept = [one for one in kept if one.row.stream != str(change.stream)]
                # Of a long stream some rows may have been written: they go again.
                self._empty, self.lines = False, None
                others.append(change)
            if change.parked is not None:
                others.append(change)
        self._settle(self._read, rows, kept, self._upto)
        super().write(others)

    def _kept(self, rows: Rows, change: NewRows) -> Iterator[_Kept]:
        build = self.build
        stream, written = str(change.stream), sorted(change.written.items())
        its = ((stream, entry, row) for entry, row in written)
        for row in build.seals.written(build.table.name, build.table.table, its):
            # As PostgreSQL writes it: no name in there has a comma.
            cited = row.cited.replace(b",", b", ")
            before = rows.before(row, cited)
            yield _Kept(row, before, rows.after(row.row))

    def _settle(self, read: Build, rows: Rows, kept: Sequence[_Kept], upto: Place) -> None:
        """Writes the rows past those that were written, up to and with a place: copied, if what is
        read so far is exactly what was kept."""
        build, span = self.build, Span(read.clinic, read.id, *self._past, *upto)
        self._past = upto
        with build.conn.cursor(binary=True, row_factory=scalar_row) as cursor:
            query = on(build.table.table, _STORED)
            stored = cursor.execute(query, span, prepare=True).fetchall()
        if len(stored) != len(kept) or not all(map(self._alike, stored, kept)):
            self.lines = None
            self._append(rows, kept)
            return
        if self.lines is not None:
            self.lines += [(_place(one), line_of(one.row)) for one in kept]
        rows.copy(build.conn, span, build.id)

    def _alike(self, stored: bytes, kept: _Kept) -> bool:
        """Whether the row that is read so far says the same as the one that is to be written."""
        sealed_at = _KEY + len(kept.before)
        if stored[_KEY:sealed_at] != kept.before:
            return False
        (length,) = _NUMBER(stored, sealed_at + 4)
        mac_at = sealed_at + _FIELD + length
        if stored[mac_at + _MAC :] != kept.after:
            return False
        groups = _elements(stored[sealed_at + _FIELD : mac_at])
        mac = stored[mac_at + _FIELD : mac_at + _MAC]
        return self.build.seals.holds(self.build.table.name, kept.row, groups, mac)

    def _append(self, rows: Rows, kept: Sequence[_Kept]) -> None:
        build = self.build
        mine, its = rows.build(build.clinic, build.id), [one.row for one in kept]
        if its:
            rows.insert(build.conn, rows.rows(mine, its, build.seals.sealed(its)))


def _place(one: _Kept) -> Place:
    return one.row.stream, one.row.entry


def _elements(array: bytes) -> list[bytes | None]:
    """What an array of bytea holds."""
    found: list[bytes | None] = []
    at = _ARRAY
    while at < len(array):
        (length,) = _NUMBER(array, at)
        at += 4
        found.append(None if length < 0 else array[at : at + length])
        at += max(length, 0)
    return found


_STORED: Final = """
SELECT record_send(t) FROM {} AS t
WHERE clinic = %s AND build = %s
    AND (stream, entry) > (%s, %s) AND (stream, entry) <= (%s, %s) ORDER BY stream, entry
"""
