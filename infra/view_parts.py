"""One part of a rebuild: written, read back byte for byte, and held against what is read so far.

What is stored of a row in the making has to be exactly what was sent. The row that is read so far
has other random bytes: what stands in the clear beside them has to be the same to the last byte,
and each of its groups is opened. Where anything is otherwise both builds are read row by row.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from psycopg import Connection
from psycopg.rows import DictRow, scalar_row

from infra.view_rows import NewRow, Sealed, Unsealable, line_of
from infra.view_tables import NewRows, Rows, on
from infra.view_writing import Build, Line, Writer

_FIELD: Final = 8
"""Bytes before each field: its type, and how long it is."""
_BUILD: Final = 4 + _FIELD + 16
"""Where the build stands: after the number of fields, and the clinic."""
_AFTER_BUILD: Final = _BUILD + _FIELD + 16
_MAC: Final = _FIELD + 32
_DIMENSIONS: Final = Struct("!i8xi4x").unpack_from
_LENGTH: Final = Struct("!i").unpack_from


class _Kept(NamedTuple):
    """A row that was written, in PostgreSQL's binary format."""

    key: tuple[str, int]
    packed: bytes
    sealed_at: int
    mac_at: int
    row: Sealed
    line: bytes


class PartWriter(Writer):
    """Writes one part of a build, and keeps in memory what it wrote, until that was compared."""

    def __init__(self, build: Build, position: int, *, empty: bool) -> None:
        super().__init__(build, position, empty=empty)
        self._kept: list[_Kept] | None = [] if empty else None
        """None: some of the part was written before."""

    def _write(self, changes: Sequence[NewRows]) -> None:
        if self._kept is None:
            super()._write(changes)
            return
        build, others = self.build, list[NewRows]()
        rows, written = build.insertion(build.conn, build.table), list[_Kept]()
        for change in changes:
            try:
                written += [
                    self._packed(rows, str(change.stream), entry, row)
                    for entry, row in change.written.items()
                ]
            except Unsealable:
                others.append(change)
            if change.parked is not None:
                others.append(change)
        if written:
            rows.append(build.conn, [kept.packed for kept in written])
        self._kept += written
        super()._write(others)

    def _packed(self, rows: Rows, stream: str, entry: int, new: NewRow) -> _Kept:
        build = self.build
        row = build.seals.sealed(build.table.name, build.table.table, stream, entry, new)
        line = line_of(row, new.cited)
        cited = row.columns["cited"]
        assert isinstance(cited, bytes)
        # As PostgreSQL will write it: no name in there has a comma.
        spaced = cited.replace(b",", b", ")
        mine = {"clinic": build.clinic, "build": build.id, "cited": spaced}
        fields = rows.fields({**row.columns, **mine})
        before = b"".join([len(fields).to_bytes(4, "big"), *fields[:6]])
        packed = b"".join([before, *fields[6:]])
        mac_at = len(before) + len(fields[6])
        return _Kept((stream, entry), packed, len(before), mac_at, row, line)

    def compared(self, read: Build, fresh: Build, past: str, upto: str) -> list[Line] | None:
        """The part's lines, if both builds hold exactly what was written; else None."""
        kept = self._kept
        if kept is None or read.table.table != fresh.table.table:
            return None
        kept.sort()
        stored = _stored(fresh.conn, fresh, past, upto)
        if stored != [one.packed for one in kept]:
            return None
        older = _stored(read.conn, read, past, upto)
        if len(older) != len(kept) or not all(map(self._alike, older, kept)):
            return None
        return [(one.key, one.line) for one in kept]

    def _alike(self, stored: bytes, kept: _Kept) -> bool:
        """Whether the row that is read so far says the same as the one that was written."""
        packed, sealed_at, mac_at = kept.packed, kept.sealed_at, kept.mac_at
        after = mac_at + _MAC
        if (
            stored[:_BUILD] != packed[:_BUILD]
            or stored[_AFTER_BUILD:sealed_at] != packed[_AFTER_BUILD:sealed_at]
            or stored[after:] != packed[after:]
        ):
            return False
        groups = _elements(stored[sealed_at + _FIELD : mac_at])
        mac = stored[mac_at + _FIELD : after]
        return self.build.seals.holds(self.build.table.name, kept.row, groups, mac)


def _stored(conn: Connection[DictRow], build: Build, past: str, upto: str) -> list[bytes]:
    """The rows of the streams past one name, up to and with another, in key order."""
    with conn.cursor(binary=True, row_factory=scalar_row) as cursor:
        bounds = (build.clinic, build.id, past, upto)
        return cursor.execute(on(build.table.table, _STORED), bounds, prepare=True).fetchall()


def _elements(array: bytes) -> list[bytes | None]:
    """What an array of bytea holds."""
    if len(array) < 20:
        return []
    found: list[bytes | None] = []
    _, number = _DIMENSIONS(array)
    at = 20
    for _ in range(number):
        (length,) = _LENGTH(array, at)
        at += 4
        found.append(None if length < 0 else array[at : at + length])
        at += max(length, 0)
    return found


_STORED: Final = """
SELECT record_send(t) FROM {} AS t
WHERE clinic = %s AND build = %s AND stream > %s AND stream <= %s ORDER BY stream, entry
"""
