"""Columns of a batch as PostgreSQL's binary arrays.

A batch goes to the server column by column. psycopg would look at each element's type and pack it
by itself; here a column is packed in one go, because its type is known. Each function gives the
bytes that `array_send` would give: one dimension, its lower bound 1, elements with their lengths.
Source: src/backend/utils/adt/arrayfuncs.c, `array_recv`.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final
from uuid import UUID

from psycopg import Connection
from psycopg.types.string import BytesBinaryDumper

_HEADER: Final = Struct("!5i")
_LENGTH: Final = Struct("!i").pack
_INT4: Final = Struct("!ii").pack
_INT8: Final = Struct("!iq").pack
_UUID_LENGTH: Final = _LENGTH(16)
_NULL: Final = _LENGTH(-1)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# Types of elements, by their fixed ids in pg_type.dat.
_BYTEA, _INT8_TYPE, _INT4_TYPE, _TEXT, _TIMESTAMPTZ, _UUID = 17, 20, 23, 25, 1184, 2950


class Packed(bytes):
    """An array that is packed already; a cast in the statement says of what type it is."""


class _PackedDumper(BytesBinaryDumper):
    oid = 0  # of no type: the cast decides


def take_packed(connection: Connection[object]) -> None:
    """Lets the connection take packed arrays as they are."""
    connection.adapters.register_dumper(Packed, _PackedDumper)


def byteas(items: Sequence[bytes]) -> Packed:
    return _packed(_BYTEA, len(items), [_LENGTH(len(item)) + item for item in items])


def texts(items: Sequence[str]) -> Packed:
    return _packed(_TEXT, len(items), [_LENGTH(len(b)) + b for b in map(str.encode, items)])


def uuids(items: Sequence[UUID | None]) -> Packed:
    packed = [_NULL if item is None else _UUID_LENGTH + item.bytes for item in items]
    return _packed(_UUID, len(items), packed, has_null=None in items)


def integers(items: Sequence[int]) -> Packed:
    return _packed(_INT4_TYPE, len(items), [_INT4(4, item) for item in items])


def bigints(items: Sequence[int]) -> Packed:
    return _packed(_INT8_TYPE, len(items), [_INT8(8, item) for item in items])


def moments(items: Sequence[datetime]) -> Packed:
    counted = [_INT8(8, (item - _EPOCH) // _MICROSECOND) for item in items]
    return _packed(_TIMESTAMPTZ, len(items), counted)


def _packed(kind: int, count: int, elements: Iterable[bytes], *, has_null: bool = False) -> Packed:
    return Packed(_HEADER.pack(1, has_null, kind, count, 1) + b"".join(elements))
