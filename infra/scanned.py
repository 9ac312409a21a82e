"""Entries as views read them: a content is opened when it is asked for, or says that it cannot be.

A view opens what it needs and passes over the rest; what cannot be read parks one stream in the
views that need it, and stops nothing. Whoever decides over a record reads it whole instead.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from domain.event import ERASED, Erased, Event, RecordedEvent, Source, Stream
from infra.mapper import SealedEntry, stream_named

_NOWHERE = Stream("", UUID(int=0))


class _Scanned(RecordedEvent):
    """An entry whose content is opened when it is first asked for, and kept from then on."""

    __slots__ = ("_opening",)

    def __getattr__(self, name: str) -> Any:
        # Python asks here for what has no value: the content, until it was opened once.
        if name != "event":
            raise AttributeError(name)
        event = self._opening()
        object.__setattr__(self, "event", event)
        object.__delattr__(self, "_opening")  # nor is the ciphertext kept
        return event


def scanned(entry: SealedEntry, content: Callable[[SealedEntry], Event | Erased]) -> RecordedEvent:
    """The entry, its content to be opened by `content`, which may raise Unreadable.

    Columns that were changed into what no entry holds read as something harmless: a seal is bound
    to what is stored, so that such an entry does not open.
    """
    envelope = entry.envelope
    assert envelope.position is not None, "it was stored"
    assert envelope.recorded_at is not None
    found = _Scanned(
        clinic=envelope.clinic,
        position=envelope.position,
        stream=_stream(envelope.stream),
        version=envelope.stream_version,
        topic=envelope.topic,
        schema_version=envelope.schema_version,
        occurred_at=envelope.occurred_at,
        recorded_at=envelope.recorded_at,
        actor=envelope.actor,
        on_behalf_of=envelope.on_behalf_of,
        source=_SOURCES.get(envelope.source, Source.SYSTEM),
        command_id=envelope.command_id,
        command_index=envelope.command_index,
        key_id=envelope.key_id,
        event=ERASED,
        commitment=entry.commitment.hex(),
    )
    object.__delattr__(found, "event")
    object.__setattr__(found, "_opening", partial(content, entry))
    return found


_SOURCES = {source.value: source for source in Source}


def _stream(name: str) -> Stream:
    """The stream of that name; where it names none, one that no view folds."""
    try:
        return stream_named(name)
    except ValueError:
        return _NOWHERE
