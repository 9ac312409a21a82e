"""Context: what happened outside and reached into the room.

A war, a bereavement, a birth: whoever reads a course of ratings later should see what else went
on. It explains nothing by itself.
"""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.clinic import Day, in_order
from domain.event import (
    Command,
    Event,
    Given,
    History,
    Model,
    New,
    OccursInTheFuture,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.relationship import (
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.told import ids

_AHEAD = timedelta(hours=14)
"""Somewhere the next day has begun this much earlier than in UTC."""


class ContextKind(StrEnum):
    WAR = "war"
    PANDEMIC = "pandemic"
    DISASTER = "disaster"
    BEREAVEMENT = "bereavement"
    ILLNESS = "illness"
    BIRTH = "birth"
    MIGRATION = "migration"
    LEGAL = "legal"
    """A trial, a custody case, a claim for asylum."""
    OTHER = "other"


class Reaches(StrEnum):
    """Whose life it reaches into."""

    PERSON = "person"
    """One of those who take part."""
    RELATIONSHIP = "relationship"
    """All who take part."""
    COMMUNITY = "community"
    WORLD = "world"


class _Told(Model):
    """What is said of it, in the command as in the entry."""

    context: UUID = Field(default_factory=new_id)
    kind: ContextKind
    scope: Reaches
    began: Day
    ended: Day | None = None
    """None: it goes on, or nobody can say."""
    about: UUID | None = None
    note: Text

    _period = in_order("began", "ended")

    @model_validator(mode="after")
    def _about_a_person(self) -> "_Told":
        if (self.scope is Reaches.PERSON) != (self.about is not None):
            raise PydanticCustomError(
                "about_whom", "A context event of one person says whom it is about; others do not."
            )
        return self


# --- What happened --------------------------------------------------------------------------


class ContextEventRecorded(_Told, Event):
    """Something happened outside that reached into the room."""

    topic = "context.event_recorded"

    context: UUID

    def subject(self) -> UUID | None:
        return self.about


# --- Questions ------------------------------------------------------------------------------


_TOLD = ids("context", ContextEventRecorded)


def context_events(history: History) -> tuple[tuple[RecordedEvent, ContextEventRecorded], ...]:
    """What reached into a relationship, with its entries, in the order in which it began."""
    return tuple(sorted(history.of(ContextEventRecorded), key=lambda told: told[1].began))


# --- Refusals -------------------------------------------------------------------------------


class ContextEventExists(Refusal):
    says = "Context event {context} exists: correct that entry, or use a new id."


# --- Commands -------------------------------------------------------------------------------


class RecordContextEvent(_Told, Command):
    """Record what reached into the room, whenever it began."""

    name = "record-context-event"

    relationship: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        if self.context in history.folded(_TOLD):
            raise ContextEventExists(context=self.context)
        if max(self.began, self.ended or self.began) > (given.now + _AHEAD).date():
            raise OccursInTheFuture
        if self.about is not None:
            require_participant(relationship.at(given.at), self.about)
        told = self.model_dump(include={*_Told.model_fields})
        yield New(stream, ContextEventRecorded.model_validate(told))
