"""Rows that were packed in one go are read by PostgreSQL as what they were made of."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.types.string import BytesBinaryDumper

from infra.batch import ENTRY_COLUMNS
from infra.canonical import offset_text
from infra.log_rows import packed_command, packed_entry
from infra.mapper import Written
from infra.packed import ArrayType
from infra.postgres import Database
from infra.sealing import Envelope

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
MOMENTS = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001  of what they are in their offset
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)
NUMBERS, SMALL = st.integers(0, 2**53 - 1), st.integers(0, 2**31 - 1)
ENVELOPES = st.builds(
    Envelope,
    clinic=st.uuids(), stream=TEXTS, stream_version=NUMBERS, topic=TEXTS, schema_version=SMALL,
    occurred_at=MOMENTS | st.just(datetime(2026, 3, 2, tzinfo=UTC)), actor=st.uuids(),
    on_behalf_of=st.none() | st.uuids(), source=TEXTS, command_id=st.uuids(), command_index=SMALL,
    key_id=st.uuids(), position=NUMBERS, recorded_at=MOMENTS,
)  # fmt: skip
DIGESTS = st.binary(min_size=32, max_size=32)
WRITTEN = st.builds(Written, st.binary(max_size=2_000), DIGESTS, st.binary(max_size=2_000))


ENTRIES = st.lists(st.tuples(ENVELOPES, WRITTEN), max_size=4)
COMMANDS = st.lists(st.tuples(st.uuids(), st.uuids(), DIGESTS, NUMBERS, SMALL, NUMBERS), max_size=4)


class Packed(bytes):
    """A parameter as it is sent, of the type that it is cast to."""


class PackedDumper(BytesBinaryDumper):
    oid = 0


@pytest.fixture
def connection(database: Database) -> Iterator[Connection[Any]]:
    with psycopg.connect(database.dsn("app"), autocommit=True, row_factory=tuple_row) as connection:
        connection.adapters.register_dumper(Packed, PackedDumper)
        yield connection


def read(connection: Connection[Any], table: str, rows: list[bytes]) -> list[tuple[Any, ...]]:
    """The rows as PostgreSQL makes them of the parameter that they are sent in."""
    parameter = Packed(ArrayType(connection, table).array(rows))
    query = f"SELECT r.* FROM unnest(%b::{table}[]) AS r"  # noqa: S608  a constant
    return connection.execute(query.encode(), (parameter,)).fetchall()


@given(ENTRIES)
def test_a_packed_entry_is_read_as_what_it_is(
    connection: Connection[Any], entries: list[tuple[Envelope, Written]]
) -> None:
    """R3: what is stored of an entry is what was sealed, in each of its columns."""
    rows = read(connection, "rapport.entries", [packed_entry(*entry) for entry in entries])
    assert [dict(zip(ENTRY_COLUMNS, row, strict=True)) for row in rows] == [
        {
            "clinic": envelope.clinic,
            "position": envelope.position,
            "stream": envelope.stream,
            "version": envelope.stream_version,
            "topic": envelope.topic,
            "schema_version": envelope.schema_version,
            "occurred_at": envelope.occurred_at,
            "occurred_offset": offset_text(envelope.occurred_at),
            "recorded_at": envelope.recorded_at,
            "actor": envelope.actor,
            "on_behalf_of": envelope.on_behalf_of,
            "source": envelope.source,
            "command_id": envelope.command_id,
            "command_index": envelope.command_index,
            "key_id": envelope.key_id,
            "commitment": written.commitment,
            "ciphertext": written.ciphertext,
            "leaf_input": written.leaf_input,
        }
        for envelope, written in entries
    ]


@given(COMMANDS)
def test_a_packed_command_is_read_as_what_it_is(
    connection: Connection[Any], commands: list[tuple[UUID, UUID, bytes, int, int, int]]
) -> None:
    """Rule 8: what answers a command that comes again is stored as it was told."""
    packed = [packed_command(*command) for command in commands]
    assert read(connection, "rapport.commands", packed) == commands
