"""The relationship: who takes part in it and when, when it is open, and when it pauses.

All between its participants is one stream, `relationship-<relationship>`, so that every rule holds
at the moment of writing. Who joins and leaves, pauses and ends: `participant`, `pause`, `closure`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

from pydantic import Field

from domain.clinic import Day, EachOnce
from domain.event import (
    Command,
    Entries,
    Erased,
    Event,
    Fold,
    Given,
    History,
    Line,
    New,
    RecordedEvent,
    Refusal,
    Stream,
    Text,
)
from domain.ids import new_id
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
                return clients == 2 and therapists >= 1
            case Constellation.FAMILY | Constellation.GROUP:
                return clients >= 2 and therapists >= 1


class Part(StrEnum):
    """What somebody is in a relationship."""

    CLIENT = "client"
    THERAPIST = "therapist"
    SUPERVISOR = "supervisor"


class Initiator(StrEnum):
    """Who wanted a relationship to end, or to pause."""

    CLIENT = "client"
    THERAPIST = "therapist"
    BOTH = "both"
    CLINIC = "clinic"


# --- What happened --------------------------------------------------------------------------


class Turn(Event):
    """An opening, a pause, its end, a transfer, a closing or a reopening."""

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


class ParticipantJoined(Event):
    """From then on somebody takes part who did not."""

    topic = "relationship.participant_joined"
    fixed = frozenset({"part"})

    person: UUID
    part: Part
    reason: Text


class ParticipantLeft(Event):
    """From then on somebody takes part no more."""

    topic = "relationship.participant_left"

    person: UUID
    reason: Text


class RelationshipPaused(Turn):
    """No session is held until it is resumed; everything else goes on."""

    topic = "relationship.paused"

    reason: Text
    initiated_by: Initiator
    until: Day | None = None
    """When they mean to go on; None: left open. Nothing follows from it by itself."""


class RelationshipResumed(Turn):
    """They go on after a pause."""

    topic = "relationship.resumed"

    remark: Text | None = None


class Meeting(Event):
    """People meet, as they do not while the relationship pauses."""


class RelationshipTransferred(Turn):
    """The link to the relationship that goes on from here; the closure stands beside it."""

    topic = "relationship.transferred"

    to: UUID
    reason: Text


class RelationshipClosed(Turn):
    """How it ended, and what was left open."""

    topic = "relationship.closed"
    schema_version = 2
    fixed = frozenset({"ruptures_counted"})

    reason: Text
    initiated_by: Initiator
    goals: Text
    """In words: which goals were reached, which were not."""
    open_goals: tuple[UUID, ...]
    """Goals that were neither reached nor retired by then."""
    open_ruptures: tuple[UUID, ...]
    """Ruptures that were not resolved by then."""
    ruptures: Text | None = None
    """In words: how the open ruptures are left."""
    ruptures_counted: Annotated[int, Field(ge=0, le=1000)] | None = None
    """In the first schema version open ruptures were counted by hand, and not named."""

    @classmethod
    def upcast(cls, content: dict[str, Any], schema_version: int) -> dict[str, Any]:
        """Version 1 held the number of open ruptures, and nothing of open goals."""
        if "open_ruptures" not in content:
            return content
        named = {"open_goals": (), "open_ruptures": ()}
        return {**content, **named, "ruptures_counted": content["open_ruptures"]}


class RelationshipReopened(Turn):
    """A closed relationship goes on, under the same id; its sessions are numbered on."""

    topic = "relationship.reopened"

    reason: Text


# --- State ----------------------------------------------------------------------------------


class Span(NamedTuple):
    """From one time to another; `until` None: it goes on."""

    since: datetime
    until: datetime | None

    @property
    def goes_on(self) -> bool:
        return self.until is None

    def covers(self, at: datetime) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


class Participation(NamedTuple):
    """Somebody takes part, as what and when."""

    person: UUID
    part: Part
    span: Span


@dataclass(frozen=True)
class Relationship:
    """What its entries come to; who takes part, as of the last of them (`at`: another time)."""

    id: UUID
    opened: RelationshipOpened
    opened_at: datetime
    participations: tuple[Participation, ...]
    closures: tuple[Span, ...]
    pauses: tuple[Span, ...]
    last_turn: datetime
    """When it was last opened, paused, resumed, closed or reopened."""

    def at(self, moment: datetime) -> Self:
        """The same relationship with those who took part in it then."""
        if self._complete_since is not None and self._complete_since <= moment:
            return self
        there = [one for one in self.participations if one.span.covers(moment)]
        then = tuple(one._replace(span=Span(one.span.since, None)) for one in there)
        return replace(self, participations=then)

    def ever(self, *parts: Part) -> frozenset[UUID]:
        """Everybody who took part as one of these at any time, however short."""
        return frozenset(one.person for one in self.participations if one.part in parts)

    @cached_property
    def _complete_since(self) -> datetime | None:
        """Since when everybody takes part who ever did; None: somebody left."""
        spans = [one.span for one in self.participations]
        since = max((span.since for span in spans), default=self.opened_at)
        return since if all(span.goes_on for span in spans) else None

    def _now(self, part: Part) -> tuple[UUID, ...]:
        return tuple([p.person for p in self.participations if p.part is part and p.span.goes_on])

    @cached_property
    def clients(self) -> tuple[UUID, ...]:
        return self._now(Part.CLIENT)

    @cached_property
    def therapists(self) -> tuple[UUID, ...]:
        return self._now(Part.THERAPIST)

    @cached_property
    def supervisor(self) -> UUID | None:
        return next(iter(self._now(Part.SUPERVISOR)), None)

    @cached_property
    def participants(self) -> tuple[UUID, ...]:
        """Clients and therapists: whose assent counts, whose rating is a perspective."""
        return (*self.clients, *self.therapists)

    @property
    def is_open(self) -> bool:
        return not (self.closures and self.closures[-1].goes_on)

    @property
    def is_paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1].goes_on

    def was_closed(self, at: datetime) -> bool:
        return bool(self.closures) and any(closure.covers(at) for closure in self.closures)

    def was_paused(self, at: datetime) -> bool:
        return bool(self.pauses) and any(pause.covers(at) for pause in self.pauses)

    def is_outside(self, entry: RecordedEvent) -> bool:
        """Rule 16: whether it tells of a time when this was not open, as it may not; for a
        meeting, also of a time when it paused."""
        at, event = entry.occurred_at, entry.event
        if isinstance(event, Erased) or event.outlives_closure():
            return False
        is_in_pause = isinstance(event, Meeting) and self.was_paused(at)
        return at < self.opened_at or self.was_closed(at) or is_in_pause


def relationship_stream(relationship: UUID) -> Stream:
    return Stream("relationship", relationship)


def relationship_of(history: History) -> Relationship:
    """The state of a relationship from its stream; RelationshipUnknown, RelationshipErased."""
    relationship = history.folded(_RELATIONSHIP)
    if isinstance(relationship, Relationship):
        return relationship
    raise RelationshipUnknown if relationship is None else RelationshipErased


def relationship_in(entries: Entries) -> Relationship | None:
    """The state that these standing entries come to; None: none of them opens it."""
    for entry in entries:
        if isinstance(entry.event, RelationshipOpened):
            people = _participations(entry.event, entry.occurred_at, entries)
            turns = _turns(entry, entries)
            return Relationship(entry.stream.id, entry.event, entry.occurred_at, people, *turns)
    return None


def _relationship(history: History) -> Relationship | Erased | None:
    first = next((entry.event for entry in history), None)
    return first if isinstance(first, Erased) else relationship_in(history.standing)


_RELATIONSHIP = Fold(_relationship, Turn, ParticipantJoined, ParticipantLeft, Erased, lasts=True)


def _turns(
    opening: RecordedEvent, entries: Entries
) -> tuple[tuple[Span, ...], tuple[Span, ...], datetime]:
    """When it was closed, when it paused, and the last time that this changed."""
    closures: list[Span] = []
    pauses: list[Span] = []
    last = opening.occurred_at

    def goes_on(spans: list[Span]) -> bool:
        return bool(spans) and spans[-1].goes_on

    for entry in entries:
        at = entry.occurred_at
        match entry.event:
            case RelationshipPaused() if not goes_on(closures) and not goes_on(pauses):
                pauses.append(Span(at, None))
            case RelationshipResumed() if goes_on(pauses):
                pauses[-1] = Span(pauses[-1].since, at)
            case RelationshipClosed() if not goes_on(closures):
                if goes_on(pauses):
                    pauses[-1] = Span(pauses[-1].since, at)
                closures.append(Span(at, None))
            case RelationshipReopened() if goes_on(closures):
                closures[-1] = Span(closures[-1].since, at)
            case _:
                continue
        last = at
    return tuple(closures), tuple(pauses), last


def _participations(
    opened: RelationshipOpened, at: datetime, entries: Entries
) -> tuple[Participation, ...]:
    """Who took part and when: those named in the opening, then as people joined and left."""
    always = Span(at, None)
    found = [
        *(Participation(person, Part.CLIENT, always) for person in opened.clients),
        *(Participation(person, Part.THERAPIST, always) for person in opened.therapists),
    ]
    if opened.supervisor is not None:
        found.append(Participation(opened.supervisor, Part.SUPERVISOR, always))
    turns = (e for e in entries if isinstance(e.event, ParticipantJoined | ParticipantLeft))
    for entry in sorted(turns, key=lambda entry: entry.occurred_at):
        match entry.event:
            case ParticipantJoined(person=person, part=part):
                found.append(Participation(person, part, Span(entry.occurred_at, None)))
            case ParticipantLeft(person=person):
                for index, one in enumerate(found):
                    if one.person == person and one.span.goes_on:
                        found[index] = one._replace(span=Span(one.span.since, entry.occurred_at))
    return tuple(found)


def require_sound(relationship: Relationship) -> None:
    """Rule 10: at any time the people in it fit its constellation, each in one part."""
    times = {time for one in relationship.participations for time in one.span}
    for time in sorted(time for time in times if time is not None):
        then = relationship.at(time)
        clients, therapists = len(then.clients), len(then.therapists)
        if not (constellation := then.opened.constellation).fits(clients, therapists):
            raise ConstellationDiffers(
                constellation=constellation, clients=clients, therapists=therapists
            )
        people = [one.person for one in then.participations]
        for person in people:
            if people.count(person) > 1:
                raise TwoPartsAtOnce(person=person)
        if len(people) - clients - therapists > 1:
            raise SupervisedAlready


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
    relationship = relationship_in(entries)
    if relationship is None:
        return {entry.version for entry in entries if not isinstance(entry.event, Turn)}
    return {entry.version for entry in entries if relationship.is_outside(entry)}


def require_participant(relationship: Relationship, person: UUID) -> None:
    """Rule 10: only those take part who were named in the opening, or joined."""
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


class SupervisedAlready(Refusal):
    rule = 10
    says = "There is a supervisor at that time, who leaves before another joins."


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


class TurnsOutOfOrder(Refusal):
    rule = 16
    says = "Relationship {relationship} was opened, paused, resumed or closed after that time."


# --- Commands -------------------------------------------------------------------------------


class OpenRelationship(Command):
    """Open a relationship between registered people who may work together."""

    name = "open-relationship"

    relationship: UUID = Field(default_factory=new_id)
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
        yield opening(given, self.relationship, opened)


def opening(given: Given, id_: UUID, opened: RelationshipOpened) -> New:
    """The opening of a relationship between these people, if they may meet in it."""
    stream = relationship_stream(id_)
    if given.history(stream).version:
        raise RelationshipExists(relationship=id_)
    people = _participations(opened, given.at, ())
    require_sound(Relationship(id_, opened, given.at, people, (), (), given.at))
    for one in people:
        require_part(given, one.part, one.person, opened.activity)
    return New(stream, opened)


def require_part(given: Given, part: Part, person: UUID, activity: Activity) -> None:
    """Whether somebody may be that in a relationship for this: PersonUnknown, OutOfScope."""
    match part:
        case Part.CLIENT:
            require_person(given, person)
        case Part.THERAPIST:
            require_scope(given, person, activity)
        case Part.SUPERVISOR:
            require_scope(given, person, Activity.SUPERVISION)
