"""Proof that the log is what was acknowledged: everything read again, hashed again, compared.

PostgreSQL is the suspect, so it only hands over rows; every comparison is made here. Each column
is compared with the leaf input that stands in the tree, each ciphertext with its digest, each
commit's root with the roots computed from the leaves, and the head with the head remembered
outside the database. A verification answers by what it has proven, or raises `LogBroken`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import Connection, DataError
from psycopg.abc import Buffer
from psycopg.rows import DictRow, dict_row
from psycopg.types.datetime import TimestamptzLoader

from infra.canonical import CanonicalError
from infra.mapper import SealedEntry
from infra.merkle import Frontier, FrontierBroken, leaf_hash
from infra.recorder import COLUMNS, NoSuchClinic, entry_of, pinned
from infra.sealing import LeafRefused, leaf_input

Progress = Callable[[int, int], None]
"""Called with (entries verified, entries in all)."""

_ROWS: Final = 500

_SAYS: Final = {
    "missing": "Entry {first} is missing.",
    "surplus": "Entry {first} lies beyond the log's head.",
    "unreadable": "Entry {first} holds values that no entry can hold.",
    "column": "Entry {first}: its column {column} differs from what was logged.",
    "leaf": "Entry {first}: its logged bytes are no longer what an entry's are.",
    "version": "Entry {first}: its stream's versions have a gap or a double.",
    "time": "Entry {first} claims to be recorded before the entry ahead of it.",
    "root": "Entries {first} to {last}: each fits itself, together they do not fit the root "
    "that was acknowledged for them.",
    "batch": "Entries {first} to {last}: their commit's row is missing, differs, or is not the one "
    "that their command names.",
    "head": "The head does not fit the {last} entries below it.",
    "acknowledged": "{last} entries were acknowledged, and this log does not contain them so.",
    "command": "Entries {first} to {last}: their command's row is missing or differs.",
}


class LogBroken(Exception):
    """The log is not what it was. `first` to `last` is the smallest range that is proven wrong."""

    def __init__(self, code: str, first: int, last: int | None = None, column: str = "") -> None:
        self.code, self.first, self.last = code, first, first if last is None else last
        self.column = column
        super().__init__(_SAYS[code].format(first=first, last=self.last, column=column))


@dataclass(frozen=True, slots=True)
class Verified:
    """What was proven: `size` entries, in `batches` commits, under `root` (hex)."""

    clinic: UUID
    size: int
    root: str
    batches: int
    streams: int
    recorded_at: datetime


def verify(
    conninfo: str,
    clinic: UUID,
    *,
    acknowledged: tuple[int, bytes] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Verifies one clinic's whole log in one snapshot, beside running writers.

    `acknowledged` is (size, root) remembered outside PostgreSQL. Raises LogBroken, NoSuchClinic.
    """
    with (
        psycopg.connect(pinned(conninfo, clinic), row_factory=dict_row) as conn,
        conn.transaction(),
    ):
        conn.adapters.register_loader("timestamptz", _AnyTime)
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        head = conn.execute("SELECT * FROM rapport.heads WHERE clinic = %s", (clinic,)).fetchone()
        if head is None:
            raise NoSuchClinic(str(clinic))
        return _Verification(conn, clinic, head, acknowledged).run(progress)


class _Verification:
    """One pass over one clinic's rows."""

    def __init__(
        self,
        conn: Connection[DictRow],
        clinic: UUID,
        head: DictRow,
        acknowledged: tuple[int, bytes] | None,
    ) -> None:
        self._conn = conn
        self._clinic = clinic
        self._head = head
        self._acknowledged = acknowledged
        self._frontier = Frontier()
        self._trusted = 0
        self._batches = 0
        self._versions: dict[str, int] = {}
        self._recorded_at: datetime = head["recorded_at"]

    def run(self, progress: Progress | None) -> Verified:
        size: int = self._head["size"]
        self._check_acknowledged_size(size)
        with (
            self._rows("batches", "size") as batches,
            self._rows("commands", "first_position", "command_id") as commands,
        ):
            command = next(commands, None)
            batch = next(batches, None)
            for entry in self._entries():
                position = self._check(entry, size)
                if command is None or not self._fits_command(entry, command, size):
                    raise LogBroken("command", position)
                if batch is None or batch["size"] != command["tree_size"]:
                    raise LogBroken("batch", self._trusted + 1, command["tree_size"])
                if position == command["first_position"] + command["entries"] - 1:
                    command = next(commands, None)
                if batch["size"] == position:
                    self._check_root(batch)
                    batch = next(batches, None)
                self._check_acknowledged_root(position)
                if progress is not None and position % _ROWS == 0:
                    progress(position, size)
            if self._frontier.size < size:
                raise LogBroken("missing", self._frontier.size + 1)
            if command is not None:
                raise LogBroken("command", command["first_position"])
            if batch is not None:
                raise LogBroken("batch", size + 1, batch["size"])
        self._check_head(size)
        if progress is not None:
            progress(size, size)
        return Verified(
            clinic=self._clinic,
            size=size,
            root=self._frontier.root().hex(),
            batches=self._batches,
            streams=len(self._versions),
            recorded_at=self._head["recorded_at"],
        )

    @contextmanager
    def _rows(self, table: str, *order: str) -> Iterator[Iterator[DictRow]]:
        with self._conn.cursor(f"verify_{table}") as cursor:
            cursor.itersize = _ROWS
            cursor.execute(
                f"SELECT * FROM rapport.{table} WHERE clinic = %s ORDER BY {', '.join(order)}",  # noqa: S608
                (self._clinic,),
            )
            yield iter(cursor)

    def _entries(self) -> Iterator[DictRow]:
        with self._conn.cursor("verify_entries") as cursor:
            cursor.itersize = _ROWS
            cursor.execute(
                f"SELECT {COLUMNS} FROM rapport.entries WHERE clinic = %s ORDER BY position",  # noqa: S608
                (self._clinic,),
            )
            yield from cursor

    def _check(self, row: DictRow, size: int) -> int:
        """Checks one entry by itself and against the one ahead of it; takes it into the tree."""
        expected = self._frontier.size + 1
        position: int = row["position"]
        if position > size:
            raise LogBroken("surplus" if expected > size else "missing", min(expected, position))
        if position != expected:
            raise LogBroken("missing", expected)
        try:
            entry = entry_of(row)
            leaf = leaf_input(entry.envelope, entry.sealed)
        except (CanonicalError, LeafRefused):
            raise LogBroken("unreadable", position) from None
        if leaf != entry.leaf_input:
            raise _altered(position, leaf, entry)
        version = self._versions.get(row["stream"], 0) + 1
        if row["version"] != version:
            raise LogBroken("version", position)
        self._versions[row["stream"]] = version
        if expected > 1 and row["recorded_at"] < self._recorded_at:
            raise LogBroken("time", position)
        self._recorded_at = row["recorded_at"]
        self._frontier = self._frontier.append((leaf_hash(leaf),))
        return position

    @staticmethod
    def _fits_command(entry: DictRow, command: DictRow, size: int) -> bool:
        return bool(
            entry["command_id"] == command["command_id"]
            and entry["position"] == command["first_position"] + entry["command_index"]
            and entry["command_index"] < command["entries"]
            and entry["position"] <= command["tree_size"] <= size
        )

    def _check_root(self, batch: DictRow) -> None:
        size, root = self._frontier.size, self._frontier.root()
        if bytes(batch["root"]) != root:
            raise LogBroken("root", self._trusted + 1, size)
        if batch["recorded_at"] != self._recorded_at:
            raise LogBroken("batch", self._trusted + 1, size)
        self._trusted = size
        self._batches += 1

    def _check_head(self, size: int) -> None:
        try:
            frontier = Frontier.from_bytes(self._head["frontier"])
        except FrontierBroken:
            raise LogBroken("head", size) from None
        if frontier != self._frontier or bytes(self._head["root"]) != self._frontier.root():
            raise LogBroken("head", size)
        if size and self._head["recorded_at"] != self._recorded_at:
            raise LogBroken("head", size)

    def _check_acknowledged_size(self, size: int) -> None:
        if self._acknowledged is not None and self._acknowledged[0] > size:
            raise LogBroken("acknowledged", size + 1, self._acknowledged[0])

    def _check_acknowledged_root(self, position: int) -> None:
        if self._acknowledged is None or self._acknowledged[0] != position:
            return
        if self._frontier.root() != self._acknowledged[1]:
            raise LogBroken("acknowledged", 1, position)


def _altered(position: int, leaf: bytes, entry: SealedEntry) -> LogBroken:
    """Names the first column that differs from the logged leaf input, or the leaf itself."""
    try:
        logged: dict[str, Any] = json.loads(entry.leaf_input)
        found: dict[str, Any] = json.loads(leaf)
        differing = [name for name, value in found.items() if logged.get(name, value) != value]
    except (ValueError, AttributeError, RecursionError):
        differing = []
    if not differing:
        return LogBroken("leaf", position)
    column = {"ciphertext_sha256": "ciphertext", "stream_version": "version"}
    return LogBroken("column", position, column=column.get(differing[0], differing[0]))


class _AnyTime(TimestamptzLoader):
    """Reads what no datetime can hold (infinity, years before 1) as a time that no entry has."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except DataError:
            return datetime.max.replace(tzinfo=UTC)
