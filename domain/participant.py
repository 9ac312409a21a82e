"""Participants: people join a relationship that is under way, and leave it.

Another supervisor, a second therapist, one more in a group. Somebody who joins as a client gives
consents of their own. Where one therapist takes over from the other, that is a transfer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.event import Command, Entries, Erased, Given, New, RecordedEvent, Refusal, Text
from domain.relationship import (
    NotAParticipant,
    Part,
    ParticipantJoined,
    ParticipantLeft,
    Participation,
    Relationship,
    Span,
    relationship_in,
    relationship_of,
    relationship_stream,
    require_open,
    require_part,
    require_sound,
)

# --- Questions ------------------------------------------------------------------------------


def require_participation(before: Entries, after: Entries) -> None:
    """Rule 10, where an amendment changes how the standing entries of a relationship read.

    Who takes part still fits the constellation at any time, and nobody is taken out of a time in
    which the record tells of them.
    """
    was, reads = relationship_in(before), relationship_in(after)
    if was and reads and was.participations != reads.participations:
        require_sound(reads)
        _require_untold(was, reads, after)


def _require_untold(
    before: Relationship, after: Relationship, entries: Iterable[RecordedEvent]
) -> None:
    for entry in entries:
        event = entry.event
        if isinstance(event, Erased | ParticipantJoined | ParticipantLeft):
            continue
        if event.outlives_closure():  # it may tell of people who are gone
            continue
        for person in _people(before, entry.occurred_at) - _people(after, entry.occurred_at):
            if str(person) in event.model_dump_json():
                raise StillTakesPart(person=person, entry=entry.version)


def _people(relationship: Relationship, at: datetime) -> frozenset[UUID]:
    return relationship.at(at).ever(*Part)


# --- Refusals -------------------------------------------------------------------------------


class StillTakesPart(Refusal):
    rule = 10
    says = "Entry {entry} tells of {person} taking part at that time: amend that one first."


# --- Commands -------------------------------------------------------------------------------


class JoinRelationship(Command):
    """Somebody takes part from then on, where the constellation has room for them."""

    name = "join-relationship"

    relationship: UUID
    person: UUID
    part: Part
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        relationship = relationship_of(given.history(stream))
        require_open(relationship, given)
        joining = Participation(self.person, self.part, Span(given.at, None))
        require_sound(replace(relationship, participations=(*relationship.participations, joining)))
        require_part(given, self.part, self.person, relationship.opened.activity)
        yield New(stream, ParticipantJoined(person=self.person, part=self.part, reason=self.reason))


class LeaveRelationship(Command):
    """Somebody takes part no more, where the constellation goes on without them."""

    name = "leave-relationship"

    relationship: UUID
    person: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        if self.person not in _people(relationship, given.at):
            raise NotAParticipant(person=self.person)
        left = replace(
            relationship,
            participations=tuple(
                one._replace(span=Span(one.span.since, given.at))
                if one.person == self.person and one.span.covers(given.at)
                else one
                for one in relationship.participations
            ),
        )
        require_sound(left)
        _require_untold(relationship, left, history.standing)
        yield New(stream, ParticipantLeft(person=self.person, reason=self.reason))
