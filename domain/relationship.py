"""The relationship: who is in it, when it is open, how it ends and begins again.

Everything between its participants is one stream, `relationship-<relationship>`, so that every
rule between its entries holds at the moment of writing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, NamedTuple
from uuid import UUID, uuid4

from pydantic import Field

from domain.clinic import EachOnce
from domain.event import (
    Command,
    Erased,
    Event,
    Given,
    History,
    Line,
    New,
    RecordedEvent,
    Refusal,
    Stream,
    Text,
)
from domain.person import Activity, require_person, require_scope

People = Annotated[tuple[UUID, ...], Field(min_length=1, max_length=100), EachOnce]


class Constellation(StrEnum):
    INDIVIDUAL = "individual"
    COUPLE = "couple"
    FAMILY = "family"
    GROUP = "group"
    CO_THERAPY = "co_therapy"

    def fits(self, clients: int, therapists: int) -> bool:
        """Rule 10: one client and one therapist, unless something else is stated."""
        match self:
            case Constellation.INDIVIDUAL:
                return clients == 1 and therapists == 1
            case Constellation.CO_THERAPY:
                return clients == 1 and therapists >= 2
            case Constellation.COUPLE:
                return clients == 2
            case Constellation.FAMILY | Constellation.GROUP:
                return clients >= 2


class Initiator(StrEnum):
    """Who wanted a relationship to end."""

    CLIENT = "client"
    THERAPIST = "therapist"
    BOTH = "both"
    CLINIC = "clinic"


# --- What happened --------------------------------------------------------------------------


class Turn(Event):
    """An opening, a closing, a transfer or a reopening."""

    def outlives_closure(self) -> bool:
        return True


class RelationshipOpened(Turn):
    """Who meets whom, for what and in which setting."""

    topic = "relationship.opened"
    fixed = frozenset({"constellation", "activity"})

    clients: People
    therapists: People
    constellation: Constellation
    activity: Activity
    modality: Line
    setting: Line
    supervisor: UUID | None = None
    transferred_from: UUID | None = None


class RelationshipTransferred(Turn):
    """The link to the relationship that goes on from here; the closure stands beside it."""

    topic = "relationship.transferred"

    to: UUID
    reason: Text


class RelationshipClosed(Turn):
    """How it ended, and what was left open."""

    topic = "relationship.closed"

    reason: Text
    initiated_by: Initiator
    goals: Text
    """In words: which goals were reached, which were not."""
    open_ruptures: Annotated[int, Field(ge=0, le=1000)]


class RelationshipReopened(Turn):
    """A closed relationship goes on, under the same id; its sessions are numbered on."""

    topic = "relationship.reopened"

    reason: Text


# --- State ----------------------------------------------------------------------------------


class Closure(NamedTuple):
    """A time in which the relationship was closed; `until` None: it still is."""

    since: datetime
    until: datetime | None

    def covers(self, at: datetime) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Relationship:
    """What its entries come to."""

    id: UUID
    opened: RelationshipOpened
    opened_at: datetime
    closures: tuple[Closure, ...]

    @property
    def clients(self) -> tuple[UUID, ...]:
        return self.opened.clients

    @property
    def therapists(self) -> tuple[UUID, ...]:
        return self.opened.therapists

    @property
    def supervisor(self) -> UUID | None:
        return self.opened.supervisor

    @property
    def participants(self) -> tuple[UUID, ...]:
        """Clients and therapists: whose assent counts, whose rating is a perspective."""
        return (*self.clients, *self.therapists)

    @property
    def is_open(self) -> bool:
        return not self.closures or self.closures[-1].until is not None

    @property
    def last_turn(self) -> datetime:
        """When it was last opened, closed or reopened."""
        if not self.closures:
            return self.opened_at
        return self.closures[-1].until or self.closures[-1].since

    def was_closed(self, at: datetime) -> bool:
        return any(closure.covers(at) for closure in self.closures)

    def is_outside(self, entry: RecordedEvent) -> bool:
        """Rule 16: whether it tells of a time when this was not open, as it may not."""
        at, event = entry.occurred_at, entry.event
        if isinstance(event, Erased) or event.outlives_closure():
            return False
        return at < self.opened_at or self.was_closed(at)


def relationship_stream(relationship: UUID) -> Stream:
    return Stream("relationship", relationship)


def relationship_of(history: History) -> Relationship:
    """The state of a relationship from its stream; RelationshipUnknown, RelationshipErased."""
    if history and isinstance(history[0].event, Erased):
        raise RelationshipErased
    relationship = _relationship(history.standing)
    if relationship is None:
        raise RelationshipUnknown
    return relationship


Entries = tuple[RecordedEvent, ...]


def _relationship(entries: Entries) -> Relationship | None:
    for entry in entries:
        if isinstance(entry.event, RelationshipOpened):
            closures = closures_of(entries)
            return Relationship(entry.stream.id, entry.event, entry.occurred_at, closures)
    return None


def closures_of(entries: Entries) -> tuple[Closure, ...]:
    """The times in which a relationship with these standing entries was closed."""
    closures: list[Closure] = []
    for entry in entries:
        is_closed = bool(closures) and closures[-1].until is None
        match entry.event:
            case RelationshipClosed() if not is_closed:
                closures.append(Closure(entry.occurred_at, until=None))
            case RelationshipReopened() if is_closed:
                closures[-1] = closures[-1]._replace(until=entry.occurred_at)
    return tuple(closures)


def require_open(relationship: Relationship, given: Given, *, follow_up: bool = False) -> None:
    """Rule 16: nothing happens in a closed relationship but what is marked as follow-up.

    What happened before the closing may still be recorded: that is a late entry.
    """
    if given.at < relationship.opened_at:
        raise RelationshipNotYetOpen(relationship=relationship.id)
    if relationship.was_closed(given.at) and not follow_up:
        raise RelationshipNotOpen(relationship=relationship.id)


def require_order(before: Entries, after: Entries) -> None:
    """Rule 16, where an amendment changes how the standing entries of a relationship read.

    Turns keep their order, and no entry comes to lie outside the times they leave open.
    """
    turns = [entry for entry in after if isinstance(entry.event, Turn)]
    for earlier, later in pairwise(turns):
        if later.occurred_at < earlier.occurred_at:
            raise TurnsOutOfOrder(relationship=later.stream.id)
    for version in sorted(_outside(after) - _outside(before)):
        raise OutsideTheRelationship(entry=version)


def _outside(entries: Entries) -> set[int]:
    """The versions of those that tell of a time when the relationship was not open."""
    relationship = _relationship(entries)
    if relationship is None:
        return {entry.version for entry in entries if not isinstance(entry.event, Turn)}
    return {entry.version for entry in entries if relationship.is_outside(entry)}


def require_participant(relationship: Relationship, person: UUID) -> None:
    """Rule 10: only those who are named in the opening take part."""
    if person not in relationship.participants:
        raise NotAParticipant(person=person)


# --- Refusals -------------------------------------------------------------------------------


class RelationshipUnknown(Refusal):
    status = 404
    says = "There is no such relationship in this clinic."


class RelationshipErased(Refusal):
    rule = 9
    says = "This relationship was erased: what is left proves that it was, and takes no entry."


class RelationshipExists(Refusal):
    says = "Relationship {relationship} exists; use a new id."


class ConstellationDiffers(Refusal):
    rule = 10
    status = 422
    says = (
        "There is one client and one therapist, unless a couple, family, group or co-therapy is"
        " stated; {clients} and {therapists} do not make: {constellation}."
    )


class TwoPartsAtOnce(Refusal):
    rule = 10
    status = 422
    says = "{person} is named in two parts; client, therapist and supervisor are different people."


class NotAParticipant(Refusal):
    rule = 10
    says = "{person} does not take part in this relationship."


class RelationshipNotOpen(Refusal):
    rule = 16
    says = (
        "Relationship {relationship} was closed at that time. After closure it takes late"
        " entries, corrections and follow-up measures; reopen it for more."
    )


class RelationshipNotYetOpen(Refusal):
    rule = 16
    says = (
        "Relationship {relationship} was opened after that time: look at occurred_at, or correct"
        " the time of the opening."
    )


class OutsideTheRelationship(Refusal):
    rule = 16
    says = "Entry {entry} would then tell of a time when the relationship was not open."


class RelationshipClosedAlready(Refusal):
    rule = 16
    says = "Relationship {relationship} is closed."


class RelationshipOpenAlready(Refusal):
    rule = 16
    says = "Relationship {relationship} is open at that time; only a closed one is reopened."


class TurnsOutOfOrder(Refusal):
    rule = 16
    says = "Relationship {relationship} was opened, closed or reopened after that time."


# --- Commands -------------------------------------------------------------------------------


class OpenRelationship(Command):
    """Open a relationship between registered people who may work together."""

    name = "open-relationship"

    relationship: UUID = Field(default_factory=uuid4)
    clients: People
    therapists: People
    constellation: Constellation = Constellation.INDIVIDUAL
    activity: Activity = Activity.THERAPY
    modality: Line
    setting: Line
    supervisor: UUID | None = None

    def decide(self, given: Given) -> Iterator[New]:
        opened = RelationshipOpened(
            clients=self.clients,
            therapists=self.therapists,
            constellation=self.constellation,
            activity=self.activity,
            modality=self.modality,
            setting=self.setting,
            supervisor=self.supervisor,
        )
        yield _opening(given, self.relationship, opened)


class TransferRelationship(Command):
    """Closes one relationship and opens the one that goes on, with the link, in one decision."""

    name = "transfer-relationship"

    relationship: UUID
    to: UUID = Field(default_factory=uuid4)
    therapists: People
    constellation: Constellation | None = None
    """Left out: as it was."""
    supervisor: UUID | None = None
    reason: Text
    initiated_by: Initiator
    goals: Text
    open_ruptures: Annotated[int, Field(ge=0, le=1000)]

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        closing = RelationshipClosed(
            reason=self.reason,
            initiated_by=self.initiated_by,
            goals=self.goals,
            open_ruptures=self.open_ruptures,
        )
        opening = RelationshipOpened(
            clients=relationship.clients,
            therapists=self.therapists,
            constellation=self.constellation or relationship.opened.constellation,
            activity=relationship.opened.activity,
            modality=relationship.opened.modality,
            setting=relationship.opened.setting,
            supervisor=self.supervisor,
            transferred_from=self.relationship,
        )
        yield New(stream, RelationshipTransferred(to=self.to, reason=self.reason))
        yield _closing(given, history, closing)
        yield _opening(given, self.to, opening)


class CloseRelationship(Command):
    """Close a relationship and say where it stands."""

    name = "close-relationship"

    relationship: UUID
    reason: Text
    initiated_by: Initiator
    goals: Text
    open_ruptures: Annotated[int, Field(ge=0, le=1000)]

    def decide(self, given: Given) -> Iterator[New]:
        closing = RelationshipClosed(
            reason=self.reason,
            initiated_by=self.initiated_by,
            goals=self.goals,
            open_ruptures=self.open_ruptures,
        )
        yield _closing(given, given.history(relationship_stream(self.relationship)), closing)


class ReopenRelationship(Command):
    """Open a closed relationship again and say why."""

    name = "reopen-relationship"

    relationship: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        relationship = relationship_of(given.history(stream))
        if relationship.is_open:
            raise RelationshipOpenAlready(relationship=self.relationship)
        if given.at < relationship.last_turn:
            raise TurnsOutOfOrder(relationship=self.relationship)
        yield New(stream, RelationshipReopened(reason=self.reason))


def _opening(given: Given, relationship: UUID, opened: RelationshipOpened) -> New:
    stream = relationship_stream(relationship)
    if given.history(stream).version:
        raise RelationshipExists(relationship=relationship)
    clients, therapists = len(opened.clients), len(opened.therapists)
    if not opened.constellation.fits(clients, therapists):
        raise ConstellationDiffers(
            constellation=opened.constellation, clients=clients, therapists=therapists
        )
    participants = (*opened.clients, *opened.therapists)
    for person in participants:
        if (*participants, opened.supervisor).count(person) > 1:
            raise TwoPartsAtOnce(person=person)
    for client in opened.clients:
        require_person(given, client)
    for therapist in opened.therapists:
        require_scope(given, therapist, opened.activity)
    if opened.supervisor:
        require_scope(given, opened.supervisor, Activity.SUPERVISION)
    return New(stream, opened)


def _closing(given: Given, history: History, closing: RelationshipClosed) -> New:
    relationship = relationship_of(history)
    if not relationship.is_open:
        raise RelationshipClosedAlready(relationship=relationship.id)
    if given.at < relationship.last_turn:
        raise TurnsOutOfOrder(relationship=relationship.id)
    closed = replace(relationship, closures=(Closure(given.at, until=None),))
    for entry in history.standing:
        if entry.occurred_at > given.at and closed.is_outside(entry):
            raise OutsideTheRelationship(entry=entry.version)
    return New(relationship_stream(relationship.id), closing)
