"""A superuser who holds the keyring too: seals, signs, and goes on as if nothing had happened."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from domain.event import Event, Stream
from infra.canonical import encode
from infra.checkpoint import SignedNote
from infra.keyring import RING_FILE, FileKeyring, open_keyring
from infra.log_key import LogKey
from infra.mapper import content_of
from infra.recorder import COLUMNS, entry_of
from infra.sealing import Envelope, Sealed, Sealer, entry_aad, leaf_input
from tests.tamper.suspect import ENTRIES, Suspect, change

_NAMES = COLUMNS.split(", ")
_INSERT = f"INSERT INTO rapport.entries VALUES ({', '.join(f'%({name})s' for name in _NAMES)})"  # noqa: S608


@dataclass
class Forger(Suspect):
    """Opens the keyring when he needs it; each time anew, so that nothing is remembered."""

    home: Path
    older_ring: Path
    """A copy of the keyring from before the erasure."""

    @contextmanager
    def keyring(self) -> Iterator[FileKeyring]:
        with open_keyring(self.home / "keyring") as keyring:
            yield keyring

    def keep_ring(self) -> None:
        """Keeps the log's keys as they are now, as a copy of the keyring would."""
        with closing(sqlite3.connect(self.older_ring)) as copy:
            copy.execute("ATTACH ? AS ring", (str(self.home / "keyring" / RING_FILE),))
            copy.execute(
                "CREATE TABLE keys AS SELECT * FROM ring.keys WHERE clinic = ?",
                (str(self.clinic),),
            )
            copy.commit()

    def sign(self, size: int, root: bytes) -> SignedNote:
        """A checkpoint under the log's own key."""
        with self.keyring() as keyring:
            return LogKey.of(keyring, self.clinic).sign(size, root)

    def reseal(self, position: int, event: Event) -> None:
        """Puts other content into an entry, sealed by its own key and with all that fits it."""
        (row,) = self.rows(f"SELECT {COLUMNS} {ENTRIES} AND position = {position}")
        entry = entry_of(row)
        with self.keyring() as keyring:
            key = keyring.get(self.clinic, entry.envelope.key_id)
        assert key is not None
        aad = entry_aad(entry.envelope)
        sealed = Sealer().seal_entry(key, aad, encode(content_of(event)))
        self.tamper(
            change("entries", "ciphertext = %(ciphertext)s, commitment = %(commitment)s")
            + f" AND position = {position}",
            ciphertext=sealed.ciphertext,
            commitment=sealed.commitment,
        )

    def append(self, stream: Stream, event: Event, key_id: UUID, key: bytes) -> None:
        """A further entry in a commit of its own, everything stored made to fit."""
        last = entry_of(self.rows(f"SELECT {COLUMNS} {ENTRIES} ORDER BY position DESC LIMIT 1")[0])
        ((version,),) = [
            row.values()
            for row in self.rows(
                f"SELECT count(*) {ENTRIES} AND stream = %(stream)s", stream=str(stream)
            )
        ]
        assert last.envelope.position is not None
        assert last.envelope.recorded_at is not None
        position, recorded_at = last.envelope.position + 1, last.envelope.recorded_at
        envelope = Envelope(
            clinic=self.clinic,
            stream=str(stream),
            stream_version=version + 1,
            topic=event.topic,
            schema_version=event.schema_version,
            occurred_at=recorded_at,
            actor=uuid4(),
            on_behalf_of=None,
            source="entered",
            command_id=uuid4(),
            command_index=0,
            key_id=key_id,
            position=position,
            recorded_at=recorded_at + timedelta(seconds=1),
        )
        sealed = Sealer().seal_entry(key, entry_aad(envelope), encode(content_of(event)))
        self._insert(envelope, sealed)
        self.fit_tree()

    def _insert(self, envelope: Envelope, sealed: Sealed) -> None:
        fields = envelope._asdict()
        values = {name: fields.get(name) for name in _NAMES} | {
            "version": envelope.stream_version,
            "occurred_offset": "+00:00",
            "commitment": sealed.commitment,
            "ciphertext": sealed.ciphertext,
            "leaf_input": leaf_input(envelope, sealed),
        }
        size = {"size": envelope.position, "id": envelope.command_id}
        self.tamper(_INSERT, **values)
        self.tamper(
            "INSERT INTO rapport.commands "
            "VALUES (%(clinic)s, %(id)s, sha256('forged'), %(size)s, 1, %(size)s)",
            "INSERT INTO rapport.batches VALUES (%(clinic)s, %(size)s, sha256(''), now())",
            **size,
        )
