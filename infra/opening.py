"""Proof with the keys: every entry opened, its content read, the keyring held against the log.

`verify` shows without any key that entries are what was logged. This shows, with the keys, that
what was logged can be read as what its envelope says, by the key of whom it is about, and that
exactly those keys are destroyed of which the log says so. Whoever can write to the database but
holds no keys can add an entry that fits the log; it is found here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from pydantic import ValidationError

from domain import topics
from domain.erasure import KeyDestroyed
from domain.event import Event
from infra import canonical
from infra.canonical import CanonicalError
from infra.clinics import NoSuchClinic, pinned
from infra.keyring import Keyring, KeyringError, KeyUnknown
from infra.mapper import SealedEntry, owner_of, stream_named
from infra.recorder import COLUMNS, entry_of
from infra.sealing import SealBroken, Sealer, entry_aad
from infra.verify import AnyTime, LogBroken, Progress

_ROWS: Final = 500
_LATE_NAMED: Final = 20
_WRITERS_LAG: Final = 65_536
"""For how many entries a writer may go by the size that the log had before them."""


class OwnedKeys(Keyring, Protocol):
    """A keyring that also tells whose the keys are."""

    def live(self, clinic: UUID) -> tuple[tuple[UUID, str, str], ...]: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """What was shown: `opened` entries read as what they say they are, `erased` ones cannot be."""

    clinic: UUID
    opened: int
    erased: int
    keys_destroyed: int
    """Keys that the log says are destroyed, each of which is."""
    late: tuple[int, ...]
    """The first of the entries that name a key destroyed before them: written in the moment
    between the entry that says so and the deed, or made up by somebody who had no key."""


def open_entries(
    conninfo: str, clinic: UUID, keyring: OwnedKeys, *, progress: Progress | None = None
) -> Opened:
    """Opens one clinic's whole log as of one moment, in constant memory but for the keys' ids.

    Raises LogBroken with one entry. It takes the log as `verify` found it: run that first.
    """
    with psycopg.connect(pinned(conninfo, clinic), row_factory=dict_row) as conn:
        conn.adapters.register_loader("timestamptz", AnyTime)
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        with conn.transaction():
            return _Opening(conn, clinic, keyring).run(progress)


class _Opening:
    """One pass over one clinic's entries."""

    def __init__(self, conn: Connection[DictRow], clinic: UUID, keyring: OwnedKeys) -> None:
        self._conn = conn
        self._clinic = clinic
        self._keyring = keyring
        self._sealer = Sealer()
        self._owners = _owners(keyring, clinic)
        self._destroyed: dict[UUID, int] = {}
        """Where the log says of a key that it is destroyed."""

    def run(self, progress: Progress | None) -> Opened:
        size = self._size()
        self._read_destroyed()
        opened, erased, late = 0, 0, list[int]()
        for position, entry in self._entries():
            event = self._event(position, entry)
            if event is not None:
                opened += 1
                self._require_owner(position, entry, event)
            else:
                erased += 1
                after = position > self._said(position, entry.envelope.key_id)
                if after and len(late) < _LATE_NAMED:
                    late.append(position)
            if progress is not None and (opened + erased) % _ROWS == 0:
                progress(opened + erased, size)
        if progress is not None:
            progress(size, size)
        destroyed = len(self._destroyed)
        return Opened(self._clinic, opened, erased, destroyed, tuple(late))

    def _read_destroyed(self) -> None:
        """Notes what the log says of destroyed keys, each of which has to be."""
        for position, entry in self._entries("AND topic = 'key.destroyed'"):
            event = self._event(position, entry)
            if not isinstance(event, KeyDestroyed):
                continue
            for key_id in event.keys:
                self._destroyed.setdefault(key_id, position)
                if self._holds(position, key_id):
                    raise LogBroken("undone", position)

    def _entries(self, where: str = "") -> Iterator[tuple[int, SealedEntry]]:
        """The entries with their positions, a page at a time."""
        query = f"SELECT {COLUMNS} FROM rapport.entries WHERE clinic = %s {where} ORDER BY position"  # noqa: S608
        with self._conn.cursor(f"open_{bool(where)}") as cursor:
            cursor.itersize = _ROWS
            for row in cursor.execute(query.encode(), (self._clinic,)):
                try:
                    yield row["position"], entry_of(row)
                except CanonicalError:
                    raise LogBroken("unreadable", row["position"]) from None

    def _size(self) -> int:
        query = "SELECT size FROM rapport.heads WHERE clinic = %s"
        row = self._conn.execute(query, (self._clinic,)).fetchone()
        if row is None:
            raise NoSuchClinic(str(self._clinic))
        return int(row["size"])

    def _event(self, position: int, entry: SealedEntry) -> Event | None:
        """What the entry says; None: its key was destroyed."""
        envelope = entry.envelope
        key = self._key(position, envelope.key_id)
        if key is None:
            return None
        try:
            content = self._sealer.open_entry(key, entry_aad(envelope), entry.sealed)
            fields = canonical.decode(content)
            return topics.read(envelope.topic, envelope.schema_version, fields)
        except SealBroken as broken:
            raise LogBroken(broken.code, position) from None
        except (CanonicalError, ValidationError, topics.UnknownTopic):
            raise LogBroken("content", position) from None

    def _key(self, position: int, key_id: UUID) -> bytes | None:
        try:
            return self._keyring.get(self._clinic, key_id)
        except KeyUnknown:
            raise LogBroken("key_unknown", position) from None
        except KeyringError as error:
            if error.key_id is None:
                raise
            raise LogBroken("key_damaged", position) from None

    def _holds(self, position: int, key_id: UUID) -> bool:
        """Whether the ring holds that key; one that it never had is not there either."""
        try:
            return self._keyring.get(self._clinic, key_id) is not None
        except KeyUnknown:
            return False

    def _require_owner(self, position: int, entry: SealedEntry, event: Event) -> None:
        """The key is that of whom the entry is about, and erasing takes it and nothing else."""
        key_id = entry.envelope.key_id
        if key_id not in self._owners:  # made since the pass began
            self._owners |= _owners(self._keyring, self._clinic)
        stream = stream_named(entry.envelope.stream)
        before = position - 1
        for size in {before, max(0, before - _WRITERS_LAG)}:
            if self._owners.get(key_id) == owner_of(self._clinic, stream, event, size):
                return
        raise LogBroken("owner", position)

    def _said(self, position: int, key_id: UUID) -> int:
        """Where the log says that the key is destroyed, which it is."""
        if key_id not in self._destroyed:
            raise LogBroken("unsaid", position)
        return self._destroyed[key_id]


def _owners(keyring: OwnedKeys, clinic: UUID) -> dict[UUID, tuple[str, str]]:
    return {key_id: (stream, subject) for key_id, stream, subject in keyring.live(clinic)}
