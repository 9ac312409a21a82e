"""Proof that the log is what was acknowledged: everything read again, hashed again, compared.

PostgreSQL is the suspect, so it only hands over rows; every comparison is made here. Of each entry
the leaf input is written anew from its columns and compared byte by byte with the one that stands
in the tree; each ciphertext is compared with its digest, each commit's root with the roots computed
from the leaves, and those with the roots that are trusted: known from outside the database. A
verification answers by what it has proven, or raises `LogBroken`.

Columns are taken as PostgreSQL sends them and never become dates or UUIDs, no hash is computed
twice, and PostgreSQL sends while entries are compared: that makes it about twelve times as fast.
Only an entry that does not fit is read again, to say what is wrong with it.
"""

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import psycopg
from psycopg import Connection, DataError
from psycopg.abc import Buffer
from psycopg.rows import DictRow, TupleRow, dict_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

from infra.canonical import CanonicalError, parse_time
from infra.clinics import NoSuchClinic, pinned
from infra.merkle import EMPTY_ROOT, Frontier, FrontierBroken, node_hash
from infra.packed import EPOCH
from infra.sealing import FORMAT, LeafRefused, leaf_input

if TYPE_CHECKING:
    from infra.mapper import SealedEntry

Progress = Callable[[int, int], None]
"""Called with (entries verified, entries in all)."""

_ROWS: Final = 100
"""Few enough to wait in the socket: PostgreSQL gets the next ones while these are compared."""
_STEP: Final = 500
"""How many entries are verified between two calls of `Progress`."""
_HIGHEST: Final = 48
"""No log has as many entries as a tree of that height."""
_WIDTH: Final = 256
"""How many hashes one row of `rapport.subtrees` is over."""
_ENTRY: Final = (
    "position, stream, version, topic, schema_version, occurred_at, occurred_offset, recorded_at, "
    "actor, on_behalf_of, source, command_id, command_index, key_id, commitment, ciphertext, "
    "leaf_input"
)
"""All columns but the clinic, which rows are asked for by."""
_COMMAND: Final = "first_position, entries, command_id, tree_size"

_SAYS: Final = {
    "missing": "Entry {first} is missing.",
    "surplus": "Entry {first} lies beyond the log's head.",
    "unreadable": "Entry {first} holds values that no entry can hold.",
    "column": "Entry {first}: its column {column} differs from what was logged.",
    "leaf": "Entry {first}: its logged bytes are no longer what an entry's are.",
    "version": "Entry {first}: its stream's versions have a gap or a double.",
    "time": "Entry {first} claims to be recorded before the entry ahead of it.",
    "root": "Entries {first} to {last}: each fits itself, together they do not fit the root "
    "that their commit left.",
    "batch": "Entries {first} to {last}: their commit's row is missing, differs, or is not the one "
    "that their command names.",
    "head": "The head does not fit the {last} entries below it.",
    "cut": "Entries {first} to {last} are not in this log: {source} is for {last} entries.",
    "subtree": "Entries {first} to {last}: the hash that is kept over them is not theirs.",
    "rewritten": "Entries {first} to {last}: they fit the roots that the database holds, and are "
    "not those that {source} is for.",
    "truncated": "Entry {first} does not open: its ciphertext is cut short.",
    "not_authentic": "Entry {first} does not open: its ciphertext, its envelope or its key is "
    "another.",
    "commitment": "Entry {first} opens to other content than was committed to.",
    "content": "Entry {first} opens to content that its topic cannot have.",
    "owner": "Entry {first} is sealed with a key that is not its own: an erasure would miss it.",
    "key_unknown": "Entry {first} names a key that this keyring never held.",
    "key_damaged": "Entry {first} cannot be opened: its key in the keyring is damaged.",
    "unsaid": "Entry {first} cannot be opened: its key is destroyed, and no entry says so.",
    "undone": "Entry {first} says that keys were destroyed, and the keyring holds one of them.",
    "command": "Entries {first} to {last}: their command's row is missing or differs.",
}


@dataclass(frozen=True, slots=True)
class Trusted:
    """The root of the first `size` entries, as somebody outside the database knows it.

    `source` names it in a sentence: "the last acknowledged head", "receipt a.tlog-proof".
    """

    size: int
    root: bytes
    source: str


class LogBroken(Exception):
    """The log is not what it was. `first` to `last` is where the first thing stands that does not
    fit: one entry, or the smallest range between two roots of which only the earlier one fits.

    What fits is only consistent. What is also true, because a trusted root says so, are the
    entries up to `proven.size`; None: nothing is.
    """

    def __init__(
        self, code: str, first: int, last: int | None = None, *, column: str = "", source: str = ""
    ) -> None:
        super().__init__(code, first, last)
        self.code, self.first, self.last = code, first, first if last is None else last
        self.column, self.source = column, source
        self.proven: Trusted | None = None

    def __str__(self) -> str:
        says = _SAYS[self.code].format(
            first=self.first, last=self.last, column=self.column, source=self.source
        )
        if self.proven is not None:
            source = self.proven.source[:1].upper() + self.proven.source[1:]
            return f"{says} {source} proves the first {self.proven.size} entries."
        return says if self.first == 1 else f"{says} {_UNPROVEN}"


_UNPROVEN: Final = "No root from outside proves the entries before."


@dataclass(frozen=True, slots=True)
class Verified:
    """What was proven: `size` entries, in `batches` commits, under `root` (hex).

    Without a trusted root they are only proven to fit each other: a log that somebody rewrote as a
    whole fits itself just as well. Entries past the last trusted root stand so too.
    """

    clinic: UUID
    size: int
    root: str
    batches: int
    streams: int
    recorded_at: datetime
    trusted: tuple[Trusted, ...]
    """The roots from outside that it was held against, by size: all of them stand in it."""


def verify(
    conninfo: str,
    clinic: UUID,
    *,
    trusted: Sequence[Trusted] = (),
    acknowledged: tuple[int, bytes] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Verifies one clinic's whole log in one snapshot, beside running writers.

    `acknowledged` is the (size, root) that this host remembers, a trusted root like the others.
    Raises LogBroken, NoSuchClinic.
    """
    if acknowledged is not None:
        trusted = [*trusted, Trusted(*acknowledged, "the last acknowledged head")]
    with ExitStack() as stack:
        # Each table is one long stream, on a connection of its own.
        entries = stack.enter_context(_snapshot(conninfo, clinic))
        exported = entries.execute("SELECT pg_export_snapshot()").fetchone()
        assert exported is not None
        beside = {
            table: stack.enter_context(_snapshot(conninfo, clinic, str(exported[0])))
            for table in ("commands", "batches")
        }
        verification = _Verification({"entries": entries, **beside}, clinic, trusted)
        try:
            return verification.run(progress)
        except _Misfit as misfit:
            position, proven = misfit.position, verification.proven
    broken = _named(conninfo, clinic, position)
    broken.proven = proven
    raise broken


@contextmanager
def _snapshot(
    conninfo: str, clinic: UUID, same_as: str | None = None
) -> Iterator[Connection[TupleRow]]:
    """A connection that sees the clinic's rows as of one moment, and hands them over unread."""
    with psycopg.connect(pinned(conninfo, clinic)) as conn:
        conn.adapters.register_loader("uuid", ByteaBinaryLoader)
        conn.adapters.register_loader("timestamptz", Int8BinaryLoader)
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        with conn.transaction():
            if same_as is not None:
                conn.execute(f"SET TRANSACTION SNAPSHOT '{same_as}'".encode())
            # By the index, as rows come: a log that was not analysed yet would be sorted first,
            # all of it, on disk. What seems to cost so much is not worth a compilation.
            conn.execute("SET LOCAL enable_sort = off; SET LOCAL jit = off")
            yield conn


class _Misfit(Exception):
    """An entry whose columns and logged bytes differ; which of them is found out afterwards."""

    def __init__(self, position: int) -> None:
        self.position = position


class _Verification:
    """One pass over one clinic's rows."""

    def __init__(
        self,
        connections: Mapping[str, Connection[TupleRow]],
        clinic: UUID,
        trusted: Sequence[Trusted],
    ) -> None:
        """`connections`: by table, all of one snapshot."""
        self._connections = connections
        self._clinic = clinic
        self._trusted = sorted(trusted, key=lambda root: root.size)
        self._next_trusted = 0
        self._doubted: LogBroken | None = None
        """The first commit whose root does not fit, until a trusted root tells what is wrong."""
        self._tree = Tree()
        self._committed = 0
        """Entries before the commit that is being read."""
        self._batches = 0
        self._recorded_at = _NEVER
        self._versions: dict[str, int] = {}

    @property
    def proven(self) -> Trusted | None:
        """The last trusted root that was found to fit."""
        return self._trusted[self._next_trusted - 1] if self._next_trusted else None

    def run(self, progress: Progress | None) -> Verified:
        try:
            return self._run(progress)
        except (LogBroken, _Misfit) as found:
            broken = self._doubted or found
            if isinstance(broken, LogBroken):
                broken.proven = self.proven
            raise broken from None

    def _run(self, progress: Progress | None) -> Verified:
        size, root, frontier, recorded_at = self._head()
        self._check_trusted(0)
        subtrees = KeptSubtrees(iter(self._subtrees()))
        with (
            closing(self._rows("size, root, recorded_at", "batches", "size")) as batches,
            closing(self._rows(_COMMAND, "commands", "first_position, command_id")) as commands,
            closing(self._entries(size)) as entries,
        ):
            self._compare(entries, commands, batches, subtrees, size, progress)
        if self._doubted is not None:
            raise self._doubted
        if _read(frontier) != self._tree.frontier() or root != self._tree.root():
            raise LogBroken("head", size)
        if size and recorded_at != self._recorded_at:
            raise LogBroken("head", size)
        for beyond in self._trusted[self._next_trusted :][-1:]:
            raise LogBroken("cut", size + 1, beyond.size, source=beyond.source)
        if progress is not None:
            progress(size, size)
        return Verified(
            clinic=self._clinic,
            size=size,
            root=root.hex(),
            batches=self._batches,
            streams=len(self._versions),
            recorded_at=EPOCH + timedelta(microseconds=recorded_at),
            trusted=tuple(self._trusted),
        )

    def _compare(
        self,
        entries: Iterator[tuple[int, bytes, int]],
        commands: Iterator[TupleRow],
        batches: Iterator[TupleRow],
        subtrees: "KeptSubtrees",
        size: int,
        progress: Progress | None,
    ) -> None:
        """Every entry belongs to one command, every command to one commit, and nothing is over."""
        command, batch = next(commands, None), next(batches, None)
        position, trusted = 0, self._due()
        for position, command_id, index in entries:
            if command is None:
                raise LogBroken("command", position)
            first, count, id_, tree_size = command
            fits = command_id == id_ and position == first + index and index < count
            if not fits or not position <= tree_size <= size:
                raise LogBroken("command", position)
            if batch is None or batch[0] != tree_size:
                raise LogBroken("batch", self._committed + 1, tree_size)
            if index == count - 1:
                command = next(commands, None)
            if position == tree_size:
                self._check_root(batch)
                batch = next(batches, None)
            if position == trusted:
                trusted = self._check_trusted(position)
            if position % _WIDTH == 0:
                subtrees.check(self._tree)
            if progress is not None and position % _STEP == 0:
                progress(position, size)
        if position < size:
            raise LogBroken("missing", position + 1)
        if command is not None:
            raise LogBroken("command", command[0])
        if batch is not None:
            raise LogBroken("batch", size + 1, batch[0])
        subtrees.require_no_more()

    def _head(self) -> TupleRow:
        query = "SELECT size, root, frontier, recorded_at FROM rapport.heads WHERE clinic = %s"
        cursor = self._connections["entries"].cursor(binary=True)
        head = cursor.execute(query, (self._clinic,)).fetchone()
        if head is None:
            raise NoSuchClinic(str(self._clinic))
        return head

    def _subtrees(self) -> list[TupleRow]:
        """One row for each 256 entries, so all at once."""
        query = (
            "SELECT level, index, hash FROM rapport.subtrees WHERE clinic = %s "
            "ORDER BY (index + 1) << (8 * level), level"
        )
        cursor = self._connections["entries"].cursor(binary=True)
        return cursor.execute(query, (self._clinic,)).fetchall()

    def _rows(self, columns: str, table: str, order: str) -> Generator[TupleRow, None, None]:
        """The clinic's rows of a table in that order, as they come."""
        query = f"SELECT {columns} FROM rapport.{table} WHERE clinic = %s ORDER BY {order}"  # noqa: S608
        cursor = self._connections[table].cursor()
        sent = cursor.stream(query.encode(), (self._clinic,), binary=True, size=_ROWS)
        # A generator, though typed as less: left open, the connection would wait for its rest.
        return cast(Generator[TupleRow, None, None], sent)

    def _entries(self, size: int) -> Generator[tuple[int, bytes, int], None, None]:
        """Position, command id and index in the command of each entry, checked by itself and
        against the one ahead of it, its leaf taken up."""
        quoted, known, versions, take_up = _Quoted(), _Known(), self._versions, self._tree.add
        time_text = _Minutes().time
        clinic, last, recorded_text = str(self._clinic), self._recorded_at, ""
        happened, happened_text = _NEVER, ""
        expected = 0
        with closing(self._rows(_ENTRY, "entries", "position")) as rows:
            for (
                position, stream, version, topic, schema_version, occurred_at, offset,
                recorded_at, actor, on_behalf_of, source, command_id, index, key_id,
                commitment, ciphertext, logged,
            ) in rows:  # fmt: skip
                expected += 1
                if position != expected or position > size:
                    surplus = position > size and expected > size
                    raise LogBroken("surplus" if surplus else "missing", min(expected, position))
                try:
                    if occurred_at != happened:
                        happened, happened_text = occurred_at, time_text(occurred_at)
                    if recorded_at != last:
                        recorded_text = time_text(recorded_at)
                except OverflowError:  # no calendar has the day
                    raise _Misfit(position) from None
                # What RFC 8785 makes of the envelope: names in order, and values without escapes.
                leaf = (
                    f'{{"actor":{quoted[actor]},'
                    f'"ciphertext_sha256":"{sha256(ciphertext).hexdigest()}",'
                    f'"clinic":"{clinic}","command_id":{_quoted(command_id)},'
                    f'"command_index":{index},"commitment":"{commitment.hex()}",'
                    f'"format":"{FORMAT}","key_id":{quoted[key_id]},'
                    f'"occurred_at":"{happened_text}","occurred_offset":"{offset}",'
                    f'"on_behalf_of":{quoted[on_behalf_of]},'
                    f'"position":{position},"recorded_at":"{recorded_text}",'
                    f'"schema_version":{schema_version},"source":"{source}",'
                    f'"stream":"{stream}","stream_version":{version},"topic":"{topic}"}}'
                ).encode()
                if leaf != logged:
                    raise _Misfit(position)
                following = versions.get(stream, 0) + 1
                if not known[topic, source, offset] or (following == 1 and not _plain(stream)):
                    raise _Misfit(position)
                if version != following:
                    raise LogBroken("version", position)
                versions[stream] = following
                if recorded_at < last:
                    raise LogBroken("time", position)
                self._recorded_at = last = recorded_at
                take_up(sha256(b"\x00" + leaf).digest())
                yield position, command_id, index

    def _check_root(self, batch: TupleRow) -> None:
        size, root, recorded_at = batch
        first, self._committed = self._committed + 1, size
        if root != self._tree.root() and self._doubted is None:
            self._doubted = LogBroken("root", first, size)
        if recorded_at != self._recorded_at:
            raise LogBroken("batch", first, size)
        self._batches += 1

    def _due(self) -> int:
        """The size at which the next trusted root is to be looked at; 0: there is none left."""
        left = self._trusted[self._next_trusted :]
        return left[0].size if left else 0

    def _check_trusted(self, position: int) -> int:
        """Holds the entries so far against the trusted roots of their number; where the next is."""
        root, doubted = self._tree.root(), self._doubted
        while self._next_trusted < len(self._trusted) and self._due() == position:
            trusted = self._trusted[self._next_trusted]
            if trusted.root != root:
                first = self.proven.size + 1 if self.proven else 1
                raise LogBroken("rewritten", first, position, source=trusted.source)
            if doubted is not None:  # the entries are what they were: the commit's row is not
                self._doubted = LogBroken("batch", doubted.first, doubted.last)
                raise self._doubted
            self._next_trusted += 1
        return self._due()


class Tree:
    """The Merkle tree of RFC 6962 as it grows by one leaf at a time, each node hashed once."""

    def __init__(self) -> None:
        self.size = 0
        self.completed: list[tuple[int, bytes]] = []
        """Level and root of each subtree of `rapport.subtrees` that was completed, until taken."""
        self._waiting: list[bytes | None] = [None] * _HIGHEST
        """By height, the root of the complete subtree that waits for its right neighbour."""
        self._heights = _WIDTH.bit_length() - 1

    def add(self, node: bytes) -> None:
        """Takes up the next leaf's hash."""
        self.size += 1
        waiting, height = self._waiting, 0
        while (left := waiting[height]) is not None:
            node = node_hash(left, node)
            waiting[height] = None
            height += 1
            if height % self._heights == 0:
                self.completed.append((height // self._heights, node))
        waiting[height] = node

    def frontier(self) -> Frontier:
        """The tree as the head keeps it."""
        return Frontier(self.size, tuple(root for root in self._waiting[::-1] if root is not None))

    def root(self) -> bytes:
        """The root over all leaves so far."""
        subtrees = [root for root in self._waiting if root is not None]
        root = subtrees[0] if subtrees else EMPTY_ROOT
        for larger in subtrees[1:]:
            root = node_hash(larger, root)
        return root


class KeptSubtrees:
    """The hashes kept in `rapport.subtrees`. Any may be missing: they are derived."""

    def __init__(self, kept: Iterator[TupleRow]) -> None:
        """`kept`: level, index and hash, in the order in which they are complete."""
        self._kept = kept
        self._next = next(kept, None)

    def check(self, tree: Tree) -> None:
        """Compares what the tree completed."""
        for level, root in tree.completed:
            index = tree.size // _WIDTH**level - 1
            if self._next is not None and self._next[:2] == (level, index):
                if self._next[2] != root:
                    self._refuse(level, index)
                self._next = next(self._kept, None)
        tree.completed.clear()

    def require_no_more(self) -> None:
        """Every row was one of these entries' subtrees."""
        if self._next is not None:
            self._refuse(*self._next[:2])

    def _refuse(self, level: int, index: int) -> None:
        width = _WIDTH**level
        raise LogBroken("subtree", index * width + 1, (index + 1) * width)


# --- Columns as text, without dates or UUIDs in between ---------------------------------------

_MINUTE: Final = 60_000_000
_NEVER: Final = -(2**63) - 1
"""Ahead of every time that PostgreSQL can hold."""
_PLAIN: Final = re.compile("[A-Za-z0-9_.-]+", re.ASCII)
_KEPT: Final = 65_536
"""How many texts are kept ready: memory stays the same however long the log is."""


class _Minutes(dict[int, str]):
    """Texts of minutes, by how many after 2000."""

    def __missing__(self, minute: int) -> str:
        if len(self) >= _KEPT:
            self.clear()
        text = self[minute] = (EPOCH + timedelta(minutes=minute)).isoformat()[:17]
        return text

    def time(self, sent: int) -> str:
        """As in a leaf; OverflowError where no calendar has the day."""
        minute, rest = divmod(sent, _MINUTE)
        return f"{self[minute]}{rest // 1_000_000:02}.{rest % 1_000_000:06}Z"


class _Quoted(dict[bytes | None, str]):
    """UUIDs as in a leaf."""

    def __missing__(self, sent: bytes | None) -> str:
        if len(self) >= _KEPT:
            self.clear()
        text = self[sent] = "null" if sent is None else _quoted(sent)
        return text


class _Known(dict[tuple[str, str, str], bool]):
    """Whether topic, source and offset could ever be written so: no escapes, and an offset that
    is one."""

    def __missing__(self, said: tuple[str, str, str]) -> bool:
        topic, source, offset = said
        try:
            parse_time("2000-01-01T00:00:00.000000Z", offset)
        except CanonicalError:
            return False
        if not (_plain(topic) and _plain(source)):
            return False
        if len(self) >= _KEPT:
            self.clear()
        self[said] = True
        return True


def _plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None


def _quoted(uuid: bytes) -> str:
    digits = uuid.hex()
    return f'"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"'


def _read(frontier: bytes) -> Frontier | None:
    try:
        return Frontier.from_bytes(frontier)
    except FrontierBroken:
        return None


# --- What is wrong with an entry that does not fit --------------------------------------------


def _named(conninfo: str, clinic: UUID, position: int) -> LogBroken:
    """Reads the entry once more, as everybody does, and tells what differs."""
    # Only for a log that is broken: all that can be in an entry is slow to load.
    from infra.recorder import COLUMNS, entry_of  # noqa: PLC0415

    query = f"SELECT {COLUMNS} FROM rapport.entries WHERE clinic = %s AND position = %s"  # noqa: S608
    with psycopg.connect(pinned(conninfo, clinic), row_factory=dict_row) as conn:
        conn.adapters.register_loader("timestamptz", AnyTime)
        row: DictRow | None = conn.execute(query.encode(), (clinic, position)).fetchone()
    if row is None:
        return LogBroken("missing", position)
    try:
        entry = entry_of(row)
        leaf = leaf_input(entry.envelope, entry.sealed)
    except (CanonicalError, LeafRefused):
        return LogBroken("unreadable", position)
    return _altered(position, leaf, entry)


def _altered(position: int, leaf: bytes, entry: "SealedEntry") -> LogBroken:
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


class AnyTime(TimestamptzLoader):
    """Reads what no datetime can hold (infinity, years before 1) as a time that no entry has."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except DataError:
            return datetime.max.replace(tzinfo=UTC)
