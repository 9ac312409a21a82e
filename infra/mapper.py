"""Entries on their way to the table and back: sealed by the mapper, whole in the domain.

`eventsourcing` hands its mapper one event at a time. Each comes with the place that it was decided
for; where another process was faster, that place is gone and it is decided and sealed anew.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from eventsourcing.persistence import JSONTranscoder, Mapper, Notification, StoredEvent

from domain import topics
from domain.event import ERASED, Erased, Event, Model, RecordedEvent, Source, Stream
from domain.making import maker
from infra import canonical
from infra.bundle import Disclosed, Withheld
from infra.keyring import Keyring
from infra.sealing import FRESH_BYTES, Envelope, Sealed, Sealer, entry_aad, leaf_around

# Streams that are the clinic's and no one person's: sealed by clinic-wide keys, so that the trail
# of who read what, could do what and received what outlives the erasure of whom it was about.
_CLINIC_KEYS: Mapping[str, str] = {
    purpose: purpose for purpose in ("clinic", "access", "role", "hold", "disclosure", "erasure")
}

# By their spelling, which finds them sooner than asking the enumeration.
SOURCES: Mapping[str, Source] = {source.value: source for source in Source}

# A clinic-wide key is replaced after 2^30 positions of the log, long before 2^32 seals.
_POSITIONS_PER_KEY_BITS = 30


class Unsealed(NamedTuple):
    """An event in its envelope, not yet sealed."""

    envelope: Envelope
    event: Event


class Written(NamedTuple):
    """What is stored of an event beside its envelope."""

    ciphertext: bytes
    commitment: bytes
    leaf_input: bytes


@dataclass(frozen=True)
class SealedEntry(Notification):
    """An entry as the table holds it: `state` is the ciphertext, `id` the position."""

    envelope: Envelope
    commitment: bytes
    leaf_input: bytes

    @property
    def sealed(self) -> Sealed:
        return Sealed(self.state, self.commitment)


class EntryMapper(Mapper[str]):
    """Seals events into stored entries and opens stored entries into recorded events."""

    def __init__(self, clinic: UUID, keyring: Keyring) -> None:
        super().__init__(transcoder=JSONTranscoder())
        self._clinic = clinic
        self._keyring = keyring
        self._sealer = Sealer()

    def forget(self) -> None:
        """Drops every cipher kept ready; called when a key was destroyed."""
        self._sealer.forget()

    def make_clinic_keys(self, size: int) -> None:
        """Makes the clinic-wide keys for a log of `size` durable before they are needed.

        Each is then in every copy of the keyring: one from before the first erasure could not
        read, after a restore, what has to be destroyed again.
        """
        for purpose in _CLINIC_KEYS.values():
            self._keyring.key_for(self._clinic, *_clinic_owner(self._clinic, purpose, size))

    def to_stored_event(self, domain_event: Any) -> SealedEntry:
        envelope = domain_event.envelope
        ciphertext, commitment, leaf = self.written([domain_event])[0]
        return SealedEntry(
            originator_id=envelope.stream,
            originator_version=envelope.stream_version,
            topic=envelope.topic,
            state=ciphertext,
            id=envelope.position,
            envelope=envelope,
            commitment=commitment,
            leaf_input=leaf,
        )

    def written(self, batch: Sequence[Unsealed]) -> list[Written]:
        """The events of a batch, each key and the randomness for all asked for once; KeyGone."""
        fresh = os.urandom(FRESH_BYTES * len(batch))
        keys: dict[UUID, bytes] = {}
        entries, at = [], 0
        for envelope, event in batch:
            key_id = envelope.key_id
            key = keys.get(key_id)
            if key is None:
                key = self._keyring.get(self._clinic, key_id)
                if key is None:
                    raise KeyGone(key_id)
                keys[key_id] = key
            aad, its_own = entry_aad(envelope), fresh[at : at + FRESH_BYTES]
            sealed = self._sealer.seal_entry(key, aad, content_bytes(event), its_own)
            leaf = leaf_around(aad, envelope.position, envelope.recorded_at, sealed)
            entries.append(Written(*sealed, leaf))
            at += FRESH_BYTES
        return entries

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        assert isinstance(stored_event, SealedEntry)
        commitment = stored_event.commitment.hex()
        return recorded(stored_event.envelope, self._open(stored_event), commitment)

    def disclosed(self, stored_event: StoredEvent) -> Disclosed:
        """The entry with what proves it to others; without content where its key was destroyed."""
        assert isinstance(stored_event, SealedEntry)
        opened = self._salted(stored_event)
        if opened is None:
            return Disclosed(stored_event.leaf_input, None, None, Withheld.ERASED)
        salt, content = opened
        return Disclosed(stored_event.leaf_input, content, salt)

    def _open(self, entry: SealedEntry) -> Any:
        opened = self._salted(entry)
        if opened is None:
            return ERASED
        return event_of(entry.envelope.topic, entry.envelope.schema_version, opened[1])

    def _salted(self, entry: SealedEntry) -> tuple[bytes, bytes] | None:
        """Salt and content; None where the key was destroyed."""
        key = self._keyring.get(self._clinic, entry.envelope.key_id)
        if key is None:
            return None
        return self._sealer.open_salted(key, entry_aad(entry.envelope), entry.sealed)


def owner_of(clinic: UUID, stream: Stream, event: Event, size: int) -> tuple[str, str]:
    """Whose key seals `event` in `stream` of a log of `size`: the stream and subject of a key."""
    purpose = _CLINIC_KEYS.get(stream.category)
    if purpose is not None:
        return _clinic_owner(clinic, purpose, size)
    return stream_name(stream), str(event.subject() or "joint")


def _clinic_owner(clinic: UUID, purpose: str, size: int) -> tuple[str, str]:
    return _clinic_owner_since(clinic, purpose, size >> _POSITIONS_PER_KEY_BITS)


@lru_cache(1_024)
def _clinic_owner_since(clinic: UUID, purpose: str, keys_before: int) -> tuple[str, str]:
    return f"clinic-{clinic}", f"{purpose}/{keys_before}"


class KeyGone(Exception):
    """A key was destroyed between the decision and the seal; its text is the key's id."""

    def __init__(self, key_id: UUID) -> None:
        super().__init__(str(key_id))


def recorded(envelope: Envelope, event: Event | Erased, commitment: str = "") -> RecordedEvent:
    """The entry with that envelope, which has its place in the log, and that content.

    Without a commitment it is one that is decided on and not yet sealed.
    """
    (
        clinic, stream, version, topic, schema_version, occurred_at, actor, on_behalf_of,
        source, command_id, command_index, key_id, position, recorded_at,
    ) = envelope  # fmt: skip
    assert position is not None
    assert recorded_at is not None
    return made_entry(
        clinic, position, stream_named(stream), version, topic, schema_version,
        occurred_at, recorded_at, actor, on_behalf_of, SOURCES.get(source) or Source(source),
        command_id, command_index, key_id, event, commitment,
    )  # fmt: skip


made_entry = maker(RecordedEvent)
"""An entry, as its class makes it."""


@lru_cache(65_536)
def stream_named(name: str) -> Stream:
    """The stream with that name, as the table spells it: hot streams come again and again."""
    return Stream.parse(name)


@lru_cache(65_536)
def stream_name(stream: Stream) -> str:
    """The name of the stream, as the table spells it."""
    return str(stream)


def event_of(topic: str, schema_version: int, content: bytes) -> Event:
    """The event that stored content tells of; raises as `canonical.decode` and `topics.read` do."""
    return topics.read(topic, schema_version, canonical.decode(content))


def content_bytes(event: Event) -> bytes:
    """The canonical bytes of the event's content. Most fields are plain, and need no other look
    than this one."""
    try:
        plain = _told(event)
    except _NotPlain:
        return canonical.encode(content_of(event))
    if not event.reported:
        del plain["reported"]
    return canonical.written(plain)


class _NotPlain(Exception):
    """A value that has to be looked at as a whole."""


def _told(model: Model) -> dict[str, object]:
    """What `content_of` has of its fields, in what `canonical.written` takes."""
    plain: dict[str, object] = {}
    for name, value in model.__dict__.items():
        if type(value) not in canonical.AS_THEY_ARE:
            plain[name] = _told_value(value)
        elif value is not None:
            plain[name] = value
    return plain


def _told_value(value: object) -> object:
    kind = type(value)
    if kind is datetime:
        return canonical.told_moment(value)  # type: ignore[arg-type]
    if kind is tuple:
        items: tuple[object, ...] = value  # type: ignore[assignment]
        if canonical.AS_THEY_ARE.issuperset(map(type, items)):
            return items
        return [
            item if type(item) in canonical.AS_THEY_ARE else _told_value(item) for item in items
        ]
    if isinstance(value, Model):
        return _told(value)
    raise _NotPlain


def content_of(event: Event) -> dict[str, Any]:
    """The event's fields as stored: what is None is left out, and `reported` where it is empty."""
    # What `model_dump` does, which asks for a dozen arguments first.
    content: dict[str, Any] = event.__pydantic_serializer__.to_python(event, exclude_none=True)
    if not event.reported:
        del content["reported"]
    return content
