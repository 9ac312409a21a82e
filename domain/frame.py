"""The frame: what client and therapist agreed on for their meetings, and what departed from it.

It has versions: agreed as a whole, then changed item by item. What departs from it is recorded
whether or not the item was ever put into words; nothing follows from that but that it is seen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from domain.event import Command, Event, Given, History, Model, New, RecordedEvent, Refusal, Text
from domain.person import require_voice
from domain.relationship import (
    People,
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.session import SessionUnknown, session_of


class FrameItem(StrEnum):
    """What a frame may settle."""

    PLACE = "place"
    TIME = "time"
    LENGTH = "length"
    FREQUENCY = "frequency"
    MEDIUM = "medium"
    FEE = "fee"
    CANCELLATION = "cancellation"
    HOLIDAYS = "holidays"
    CONTACT_BETWEEN_SESSIONS = "contact_between_sessions"
    EMERGENCIES = "emergencies"
    CONFIDENTIALITY_LIMITS = "confidentiality_limits"
    RECORDING = "recording"
    NOTE_KEEPING = "note_keeping"
    SUPERVISION = "supervision"
    REVIEW_DATES = "review_dates"
    ENDING = "ending"


class Term(Model):
    """What is agreed on one item."""

    item: FrameItem
    terms: Text


def _each_item_once(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    if len({term.item for term in terms}) < len(terms):
        raise PydanticCustomError("item_named_twice", "Settle each item only once.")
    return terms


Terms = Annotated[
    tuple[Term, ...],
    Field(min_length=1, max_length=len(FrameItem)),
    AfterValidator(_each_item_once),
]
FrameVersion = Annotated[int, Field(ge=1, lt=2**53)]
"""Counted from 1; another wording of any item is another version."""


# --- What happened --------------------------------------------------------------------------


class FrameAgreed(Event):
    """All clients and a therapist agree on this; items that are not named stay open."""

    topic = "frame.agreed"
    # What was agreed is never reworded: it is changed, or agreed anew.
    correctable = False

    version: FrameVersion
    items: Terms
    agreed_by: People


class FrameItemChanged(Event):
    """They agree on something else for one item, or on one that had been open."""

    topic = "frame.item_changed"
    correctable = False

    version: FrameVersion
    item: FrameItem
    old: Text | None = None
    """None: nothing had been agreed on it."""
    new: Text
    reason: Text
    by: UUID
    """Who asked for it."""
    agreed_by: People


class FrameDepartureRecorded(Event):
    """For once it was otherwise than agreed, or than is usual."""

    topic = "frame.departure_recorded"

    item: FrameItem
    session: UUID | None = None
    reason: Text
    by: UUID
    """Who tells of it."""


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands agreed."""

    version: int
    items: Mapping[FrameItem, str]
    entry: RecordedEvent
    """The last entry that brought it about."""


def frame_of(history: History) -> Frame | None:
    """The frame as its entries leave it; None: none was agreed."""
    frame: Frame | None = None
    told = [*history.of(FrameAgreed), *history.of(FrameItemChanged)]
    for entry, event in sorted(told, key=lambda one: (one[0].occurred_at, one[0].version)):
        match event:
            case FrameAgreed(version=version, items=terms):
                items = {term.item: term.terms for term in terms}
            case FrameItemChanged(version=version, item=item, new=new):
                items = {**(frame.items if frame else {}), item: new}
        frame = Frame(version, MappingProxyType(items), entry)
    return frame


def _next_version(history: History) -> int:
    """Counted over everything recorded, so that no two wordings ever share a number."""
    events = (entry.event for entry in history)
    versions = (e.version for e in events if isinstance(e, FrameAgreed | FrameItemChanged))
    return max(versions, default=0) + 1


# --- Refusals -------------------------------------------------------------------------------


class FrameNotAgreed(Refusal):
    says = "No frame was agreed yet: agree on one before it is changed."


class FrameNotAgreedByAll(Refusal):
    status = 422
    says = "All clients and a therapist agree on a frame; {person} is not among them."


class FrameStandsOtherwise(Refusal):
    says = "Something else stands agreed on {item}: look at version {version}, and say what is old."


class FrameChangedSince(Refusal):
    says = "Version {version} of the frame was agreed after that: look at occurred_at."


class FrameItemUnchanged(Refusal):
    status = 422
    says = "This is what stands agreed on {item} already."


# --- Commands -------------------------------------------------------------------------------


class AgreeFrame(Command):
    """Agree on a frame as a whole: the first, or one that takes the place of what stood."""

    name = "agree-frame"

    relationship: UUID
    items: Terms
    agreed_by: People

    def decide(self, given: Given) -> Iterator[New]:
        history, _ = _agreeing(given, self.relationship, self.agreed_by)
        yield New(
            relationship_stream(self.relationship),
            FrameAgreed(version=_next_version(history), items=self.items, agreed_by=self.agreed_by),
        )


class ChangeFrameItem(Command):
    """Agree on something else for one item; `old` is what stood until then."""

    name = "change-frame-item"

    relationship: UUID
    item: FrameItem
    old: Text | None = None
    new: Text
    reason: Text
    by: UUID
    agreed_by: People

    def decide(self, given: Given) -> Iterator[New]:
        history, relationship = _agreeing(given, self.relationship, self.agreed_by)
        frame = frame_of(history)
        if frame is None:
            raise FrameNotAgreed
        if frame.items.get(self.item) != self.old:
            raise FrameStandsOtherwise(item=self.item, version=frame.version)
        if self.new == self.old:
            raise FrameItemUnchanged(item=self.item)
        require_participant(relationship, self.by)
        yield New(
            relationship_stream(self.relationship),
            FrameItemChanged(
                version=_next_version(history),
                item=self.item,
                old=self.old,
                new=self.new,
                reason=self.reason,
                by=self.by,
                agreed_by=self.agreed_by,
            ),
        )


class RecordFrameDeparture(Command):
    """Record that it was otherwise than agreed, or than is usual."""

    name = "record-frame-departure"

    relationship: UUID
    item: FrameItem
    session: UUID | None = None
    reason: Text
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        require_participant(relationship.at(given.at), self.by)
        require_voice(self.by, given)
        if self.session is not None and session_of(history, self.session) is None:
            raise SessionUnknown(session=self.session)
        yield New(
            stream,
            FrameDepartureRecorded(
                item=self.item, session=self.session, reason=self.reason, by=self.by
            ),
        )


def _agreeing(given: Given, relationship: UUID, agreed_by: People) -> tuple[History, Relationship]:
    """The history and those who take part then, if these may agree on a frame at that time."""
    history = given.history(relationship_stream(relationship))
    found = relationship_of(history)
    require_open(found, given)
    then = found.at(given.at)
    for person in agreed_by:
        require_participant(then, person)
    therapist = next((one for one in then.therapists if one in agreed_by), then.therapists[0])
    for person in (*then.clients, therapist):
        if person not in agreed_by:
            raise FrameNotAgreedByAll(person=person)
    frame = frame_of(history)
    if frame is not None and given.at < frame.entry.occurred_at:
        raise FrameChangedSince(version=frame.version)
    return history, then
