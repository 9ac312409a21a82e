"""Rows of the log made into entries: opened at once, or when their content is asked for.

Whoever decides over a record reads it whole, or not at all. A view opens what it needs and passes
over the rest; what cannot be read parks one stream in the views that need it, and stops nothing.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from domain import topics
from domain.event import ERASED, Erased, Event, RecordedEvent, Source, Stream
from domain.topics import Unreadable
from infra.canonical import CanonicalError, parse_time, time_text_once
from infra.keyring import Keyring, KeyringError, KeyUnknown
from infra.mapper import SOURCES, event_of, made_entry, stream_named
from infra.recorder import ScannedRow
from infra.sealing import FORMAT, SealBroken, opened, subkey

_CIPHERS_HELD = 16_384
_NOWHERE = Stream("", UUID(int=0))


class Scans:
    """Makes entries of rows, and opens them with ciphers that it keeps ready."""

    def __init__(self, clinic: UUID, keyring: Keyring) -> None:
        self._clinic = clinic
        self._clinic_text = str(clinic)
        self._keyring = keyring
        self._generation = keyring.generation()
        self._ciphers: dict[str, AESGCM | None] = {}
        """By the key's id; None: it is destroyed."""

    def forget(self) -> None:
        """Drops every cipher kept ready; called when a key was destroyed."""
        self._ciphers = {}

    def entries(self, rows: Iterable[ScannedRow]) -> list[RecordedEvent]:
        """The entries for views: their content is opened when it is asked for, or Unreadable.

        A column that was changed into what no entry holds reads as harmless; the seal is bound to
        what is stored, so that such an entry does not open.
        """
        return [self._scanned(row) for row in rows]

    def opened(self, rows: Iterable[ScannedRow]) -> list[RecordedEvent]:
        """The entries, read whole for whoever decides over them; raises for what cannot be read:
        SealBroken, KeyUnknown, and what `canonical.decode` or `topics.read` raise."""
        return [self._entry(row, self._required(row)) for row in rows]

    def _scanned(self, row: ScannedRow) -> RecordedEvent:
        (
            position, stream, version, topic, schema_version, occurred_at, offset, recorded_at,
            actor, on_behalf_of, source, command, command_index, key_id, commitment, _,
        ) = row  # fmt: skip
        entry = _new(_Filled)
        entry.clinic = self._clinic
        entry.position = position
        entry.stream = _stream(stream)
        entry.version = version
        entry.topic = topic
        entry.schema_version = schema_version
        entry.occurred_at = _told_in(occurred_at, _zone(offset))
        entry.recorded_at = recorded_at
        entry.actor = _id(actor)
        entry.on_behalf_of = None if on_behalf_of is None else _id(on_behalf_of)
        entry.source = SOURCES.get(source, Source.SYSTEM)
        entry.command_index = command_index
        entry.key_id = _id(key_id)
        entry.commitment = commitment.hex()
        entry.amended_at = None
        entry._command = command
        entry._sealed = self, row
        entry.__class__ = _Scanned
        made: RecordedEvent = entry
        return made

    def _entry(self, row: ScannedRow, event: Event | Erased) -> RecordedEvent:
        (
            position, stream, version, topic, schema_version, occurred_at, offset, recorded_at,
            actor, on_behalf_of, source, command, command_index, key_id, commitment, _,
        ) = row  # fmt: skip
        return made_entry(
            self._clinic,
            position,
            _stream(stream),
            version,
            topic,
            schema_version,
            _told_in(occurred_at, _zone(offset)),
            recorded_at,
            _id(actor),
            None if on_behalf_of is None else _id(on_behalf_of),
            SOURCES.get(source, Source.SYSTEM),
            UUID(command),
            command_index,
            _id(key_id),
            event,
            commitment.hex(),
        )

    def content(self, row: ScannedRow) -> Event | Erased:
        """What the entry holds; Unreadable for whatever is wrong with this one entry."""
        try:
            return self._opened(row)
        except KeyringError as error:
            if isinstance(error, KeyUnknown):
                raise Unreadable(type(error).__name__) from error
            raise  # the ring does not answer: that says nothing about the entry
        except Exception as error:
            raise Unreadable(type(error).__name__) from error

    def _required(self, row: ScannedRow) -> Event | Erased:
        """The content; of an erased entry, whose seal can tell nothing, at least sane columns."""
        event = self._opened(row)
        _, stream, _, _, _, _, offset, _, _, _, source, *_ = row
        if isinstance(event, Erased) and (
            _zone(offset) is None or source not in SOURCES or _stream(stream) is _NOWHERE
        ):
            raise SealBroken("not_authentic")
        return event

    def _opened(self, row: ScannedRow) -> Event | Erased:
        (
            _, _, _, topic, schema_version, _, offset, _, _, _, _, _, _, key_id,
            commitment, ciphertext,
        ) = row  # fmt: skip
        generation = self._keyring.generation()
        if generation != self._generation:
            self.forget()
            self._generation = generation
        try:
            cipher = self._ciphers[key_id]
        except KeyError:
            cipher = self._cipher(key_id)
        if cipher is None:
            return ERASED
        if _zone(offset) is None:
            raise SealBroken("not_authentic")
        aad = _bound_to(self._clinic_text, row)
        return read(topic, schema_version, opened(cipher, aad, ciphertext, commitment)[1])

    def _cipher(self, key_id: str) -> AESGCM | None:
        ciphers = self._ciphers  # if this one is forgotten meanwhile, so is what is put there
        key = self._keyring.get(self._clinic, _id(key_id))
        if len(ciphers) >= _CIPHERS_HELD:
            ciphers.clear()
        ciphers[key_id] = cipher = None if key is None else AESGCM(subkey(key, "log"))
        return cipher


def bound_to(clinic: UUID, row: ScannedRow) -> bytes:
    """What the row's seal is bound to: `entry_aad` of its envelope, of columns that are text."""
    return _bound_to(str(clinic), row)


def _bound_to(clinic: str, row: ScannedRow) -> bytes:
    # As `aad_fields` has it: ids are text that PostgreSQL wrote, numbers stand without quotes, and
    # other text is quoted as it needs to be. It takes a quarter of the time of an object each.
    (
        _, stream, version, topic, schema_version, occurred_at, offset, _,
        actor, on_behalf_of, source, command_id, command_index, key_id, _, _,
    ) = row  # fmt: skip
    behalf = "null" if on_behalf_of is None else f'"{on_behalf_of}"'
    return (
        f'{{"actor":"{actor}","clinic":"{clinic}","command_id":"{command_id}",'
        f'"command_index":{command_index},"format":"{FORMAT}","key_id":"{key_id}",'
        f'"occurred_at":"{time_text_once(occurred_at)}","occurred_offset":{_quoted(offset)},'
        f'"on_behalf_of":{behalf},"schema_version":{schema_version},'
        f'"source":{_quoted(source)},"stream":{_quoted(stream)},'
        f'"stream_version":{version},"topic":{_quoted(topic)}}}'
    ).encode()


@lru_cache(65_536)
def _quoted(text: str) -> str:
    """A text as JSON has it: names of streams, topics and sources, which come again and again."""
    return orjson.dumps(text).decode()


def read(topic: str, schema_version: int, content: bytes) -> Event:
    """`event_of`, without a mapping in between where nothing is wrong with the content."""
    if _plainly_canonical(content):
        try:
            return topics.read_json(topic, schema_version, content)
        except ValidationError:
            pass  # what is wrong is told by what makes the mapping
    return event_of(topic, schema_version, content)


def _plainly_canonical(content: bytes) -> bool:
    """Whether these are canonical bytes, but for what no event has a field for: a name that is not
    ASCII, a number past all bounds. False also where text looks like a fraction."""
    try:
        again = orjson.dumps(orjson.loads(content), option=_CANONICAL)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False
    return again == content and _WHOLE_FRACTION.search(content) is None


class _Scanned(RecordedEvent):
    """An entry whose content is opened when it is first asked for, and kept from then on.

    So is the id of its command, which no view tells.
    """

    __slots__ = ("_command", "_sealed")

    def __getattr__(self, name: str) -> Any:
        # Python asks here for what has no value: the content, until it was opened once.
        if name == "command_id":
            _SET(self, name, UUID(self._command))
            return self.command_id
        if name != "event":
            raise AttributeError(name)
        scans, row = self._sealed
        event = scans.content(row)
        _SET(self, "event", event)
        _DELETE(self, "_sealed")  # nor is the ciphertext kept
        return event


class _Filled(RecordedEvent):
    """One that is being made: like it in memory, and not frozen, which takes half the time."""

    __slots__ = _Scanned.__slots__
    __setattr__ = object.__setattr__


_new: Callable[[type[_Filled]], Any] = object.__new__


def _told_in(moment: datetime, zone: tzinfo | None) -> datetime:
    try:
        return moment.astimezone(zone or UTC)
    except OverflowError:  # where no entry is: at an end of the calendar
        return moment


_SET, _DELETE = object.__setattr__, object.__delattr__

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_WHOLE_FRACTION = re.compile(rb"\.0[],}]")
"""The only fractions that a model would take for whole numbers."""

_id = lru_cache(65_536)(UUID)
_text = lru_cache(64)(str)


@lru_cache(1024)
def _zone(offset: str) -> tzinfo | None:
    """The zone of an offset as it is stored; None where no entry has such an offset."""
    try:
        return parse_time("2000-01-01T00:00:00.000000Z", offset).tzinfo
    except CanonicalError:
        return None


@lru_cache(65_536)
def _stream(name: str) -> Stream:
    """The stream of that name; where it names none, one that no view folds."""
    try:
        return stream_named(name)
    except ValueError:
        return _NOWHERE
