"""Streams that a batch most likely begins: one look tells which of them are not there yet.

Whoever opens a relationship or registers somebody names a new id. To find nothing is a round trip
for each, with whose answer Python's threads take turns; for all of a batch it is one.
"""

from collections.abc import Iterable, Iterator

from domain.event import Command, Stream
from domain.person import RegisterPerson, RegisterPractitioner, person_stream, practitioner_stream
from domain.relationship import OpenRelationship, relationship_stream
from infra.mapper import stream_name
from infra.recorder import EntryRecorder


def begun_by(commands: Iterable[Command]) -> Iterator[Stream]:
    """The streams that these commands say to begin."""
    for command in commands:
        if isinstance(command, OpenRelationship):
            yield relationship_stream(command.relationship)
        elif isinstance(command, RegisterPerson):
            yield person_stream(command.person)
        elif isinstance(command, RegisterPractitioner):
            yield practitioner_stream(command.practitioner)


def absent(recorder: EntryRecorder, streams: Iterable[Stream]) -> list[Stream]:
    """Those of the streams that have no entry, by one statement; none where it is about one alone:
    whoever needs that reads it, with what it may hold."""
    named = {stream_name(stream): stream for stream in streams}
    if len(named) < 2:
        return []
    there = recorder.begun(list(named))
    return [stream for name, stream in named.items() if name not in there]
