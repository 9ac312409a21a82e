"""Rows of a batch as one parameter: an array of a table's rows in PostgreSQL's binary format.

psycopg would look at each value's type and pack it by itself, and a statement with a parameter for
each column would have to weave seventeen arrays into rows again. Here the types are known: a row is
packed in one go, and `unnest` of one array gives the rows as they are.

Source: src/backend/utils/adt/arrayfuncs.c, `array_recv`; rowtypes.c, `record_recv`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

_ARRAY: Final = Struct("!iiIii").pack
_COUNT: Final = Struct("!i").pack
_NO_ELEMENTS: Final = Struct("!iiI").pack
_FIELD: Final = Struct("!Ii").pack
_BIGINT: Final = Struct("!Iiq").pack
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""From when PostgreSQL counts microseconds."""

# Types by their ids in pg_type.dat, which never change.
BYTEA_OID: Final = 17
INT8_OID: Final = 20
INT4_OID: Final = 23
TEXT_OID: Final = 25
TIMESTAMPTZ_OID: Final = 1184
UUID_OID: Final = 2950

NO_UUID: Final = _FIELD(UUID_OID, -1)
_UUID: Final = _FIELD(UUID_OID, 16)

bigint = Struct("!q").pack
"""A bigint as a parameter of its own."""


def microseconds(moment: datetime) -> int:
    """Since 2000, as PostgreSQL counts them."""
    since = moment - EPOCH
    # A division by a timedelta takes three times as long.
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def timestamptz(moment: datetime) -> bytes:
    """A moment as a parameter of its own."""
    return bigint(microseconds(moment))


@lru_cache(8_192)
def text(value: str) -> bytes:
    """A field of text. Names of streams, topics and sources stand in many rows, and again in those
    of the next batch."""
    return encoded_text(value.encode())


def encoded_text(value: bytes) -> bytes:
    """A field of text that will not come again."""
    return _FIELD(TEXT_OID, len(value)) + value


def _nullable(oid: int, pack: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    null = _FIELD(oid, -1)
    return lambda value: null if value is None else pack(value)


def _array(oid: int, element: int) -> Callable[[Sequence[bytes | None]], bytes]:
    """An array of what is packed by itself; None among it is a null."""
    one_of_it = Struct("!IiiiIiii").pack

    def pack(values: Sequence[bytes | None]) -> bytes:
        if len(values) == 1 and (value := values[0]) is not None:  # as nearly all are
            size = len(value)
            return one_of_it(oid, 24 + size, 1, 0, element, 1, 1, size) + value
        parts = [_ARRAY(1, int(None in values), element, len(values), 1) if values else b""]
        for value in values:
            parts += (_COUNT(-1), b"") if value is None else (_COUNT(len(value)), value)
        packed = b"".join(parts) or _NO_ELEMENTS(0, 0, element)
        return _FIELD(oid, len(packed)) + packed

    return pack


_uuids = _array(2951, UUID_OID)

_NO_BIGINT: Final = _FIELD(INT8_OID, -1)


def _identity(value: UUID | None) -> bytes:
    return NO_UUID if value is None else _UUID + value.int.to_bytes(16, "big")


NULLABLE: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "uuid": _identity,
    "bytea": _nullable(BYTEA_OID, lambda value: _FIELD(BYTEA_OID, len(value)) + value),
    "bigint": lambda value: _NO_BIGINT if value is None else _BIGINT(INT8_OID, 8, value),
    "uuid[]": _nullable(2951, lambda ids: _uuids([each.bytes for each in ids])),
    "bytea[]": _nullable(1001, _array(1001, BYTEA_OID)),
}
"""Types as PostgreSQL calls them, of columns that may be null."""


class ArrayType:
    """How an array of a table's rows is packed, for one connection."""

    def __init__(self, connection: Connection[Any], table: str) -> None:
        with connection.cursor(row_factory=lambda cursor: tuple) as cursor:
            found = cursor.execute("SELECT %s::regtype::oid", (table,)).fetchone()
        assert found is not None, "a cast gives a type or fails"
        self._oid: int = found[0]

    def array(self, rows: Sequence[bytes]) -> bytes:
        """Rows that are packed, each after the number of its fields."""
        parts = [_ARRAY(1, 0, self._oid, len(rows), 1)]
        for row in rows:
            parts += _COUNT(len(row)), row
        return b"".join(parts)
