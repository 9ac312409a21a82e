"""A batch on its way into the tables: one statement, and one parameter for all rows of a table.

What dominates an append is not cryptography but round trips and the bookkeeping around them. So
the statement is prepared once for a connection, and its parameters go to libpq as they are packed
here; psycopg would look at the type of each again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from select import POLLIN, poll
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from infra.log_rows import packed_command
from infra.merkle import Frontier
from infra.packed import ArrayType, bigint, timestamptz


@dataclass(frozen=True)
class Head:
    """A clinic's log at one size."""

    frontier: Frontier
    recorded_at: datetime

    @property
    def size(self) -> int:
        return self.frontier.size

    @cached_property
    def root(self) -> bytes:
        """32 bytes; computed once, since each commit needs it several times."""
        return self.frontier.root()


class CommandRow(NamedTuple):
    """One command of a batch: where its entries begin within the batch, and how many they are."""

    command_id: UUID
    body_mac: bytes
    first: int
    entries: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What is appended in one statement, on top of `head`, and leads to the head `after`."""

    head: Head
    after: Head
    commands: Sequence[CommandRow]


Meanwhile = Callable[[], object]


class Writer:
    """A connection that appends batches, and what it knows of the tables it appends to."""

    def __init__(self, conninfo: str) -> None:
        self._connection = Connection[Any].connect(conninfo, autocommit=True)
        self._entries = ArrayType(self._connection, "rapport.entries")
        self._commands = ArrayType(self._connection, "rapport.commands")
        self._done(self._connection.pgconn.prepare(_NAME, _APPEND))
        self._connection.pgconn.nonblocking = 0
        self._answered = poll()
        self._answered.register(self._connection.pgconn.socket, POLLIN)

    @property
    def closed(self) -> bool:
        return self._connection.closed

    def close(self) -> None:
        self._connection.close()

    def keep_others_out(self, clinic: UUID) -> None:
        """Begins a transaction in which no other process moves the head. Waits for its turn.

        `append` commits it, `give_way` ends it without anything.
        """
        query = f"BEGIN; SELECT FROM rapport.heads WHERE clinic = '{clinic}' FOR UPDATE"
        self._done(self._connection.pgconn.exec_(query.encode()))

    def give_way(self) -> None:
        """Ends the transaction that keeps others out, if there still is one."""
        if self._connection.pgconn.transaction_status != TransactionStatus.IDLE:
            self._done(self._connection.pgconn.exec_(b"ROLLBACK"))

    def append_packed(
        self,
        batch: Batch,
        clinic: UUID,
        entries: Sequence[bytes],
        meanwhile: Meanwhile,
    ) -> bool:
        """Appends the batch; False where the head is no longer what the batch stands on.

        `entries`: packed (`infra/log_rows.py`). `meanwhile` is done while PostgreSQL works. Raises
        psycopg's errors: OperationalError where the connection was lost.
        """
        size, after = batch.head.size, batch.after
        commands = [
            packed_command(clinic, command_id, mac, size + 1 + first, count, after.size)
            for command_id, mac, first, count in batch.commands
        ]
        parameters = [
            clinic.bytes,
            bigint(size),
            batch.head.root,
            bigint(after.size),
            after.root,
            after.frontier.to_bytes(),
            timestamptz(after.recorded_at),
            self._commands.array(commands),
            self._entries.array(entries),
        ]
        self._connection.pgconn.send_query_prepared(_NAME, parameters, _ALL_BINARY, _BINARY)
        try:
            meanwhile()
        finally:
            result = self._answer()
        appended = self._done(result).ntuples == 1
        if appended and self._connection.pgconn.transaction_status != TransactionStatus.IDLE:
            self._done(self._connection.pgconn.exec_(b"COMMIT"))
        return appended

    def _answer(self) -> PGresult:
        """What PostgreSQL answers to what was sent; other threads run until it does."""
        pgconn = self._connection.pgconn
        try:
            while pgconn.is_busy():
                self._answered.poll()
                pgconn.consume_input()
            result = pgconn.get_result()
            assert result is not None, "each statement is answered"
            while pgconn.get_result() is not None:
                pass
        except BaseException:  # whatever is still to come must not be taken for another's answer
            self.close()
            raise
        return result

    def _done(self, result: PGresult) -> PGresult:
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return result
        if self._connection.pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError("the connection was lost")
        raise psycopg.errors.error_from_result(result)


ENTRY_COLUMNS: Final = (
    "clinic",
    "position",
    "stream",
    "version",
    "topic",
    "schema_version",
    "occurred_at",
    "occurred_offset",
    "recorded_at",
    "actor",
    "on_behalf_of",
    "source",
    "command_id",
    "command_index",
    "key_id",
    "commitment",
    "ciphertext",
    "leaf_input",
)
"""The columns of `rapport.entries`, in the order of the table."""

_NAME: Final = b"append"
_BINARY: Final = 1
_ALL_BINARY: Final = [_BINARY] * 9

_APPEND: Final = b"""
WITH head AS (
    UPDATE rapport.heads SET size = $4::bigint, root = $5::bytea, frontier = $6::bytea,
        recorded_at = $7::timestamptz
    WHERE clinic = $1::uuid AND size = $2::bigint AND root = $3::bytea
    RETURNING clinic
), batch AS (
    INSERT INTO rapport.batches (clinic, size, root, recorded_at)
    SELECT clinic, $4::bigint, $5::bytea, $7::timestamptz FROM head
), command AS (
    INSERT INTO rapport.commands SELECT c.* FROM head, unnest($8::rapport.commands[]) AS c
), entry AS (
    INSERT INTO rapport.entries SELECT e.* FROM head, unnest($9::rapport.entries[]) AS e
)
SELECT pg_notify('rapport_log', clinic::text) FROM head
"""
