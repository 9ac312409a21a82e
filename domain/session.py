"""Sessions: scheduled, then held, missed or cancelled.

A held session rests on consent, is held by people who may hold it, and takes time that its
therapists can give only once. Streams: the relationship's, and `schedule-<practitioner>`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from pydantic import Field

from domain.clinic import Day, Scope, in_order
from domain.consent import Reliance, consenting, require_consent
from domain.event import (
    Command,
    Erased,
    Event,
    Given,
    History,
    Model,
    Moment,
    New,
    OccursInTheFuture,
    Refusal,
    Stream,
    Text,
)
from domain.person import require_scope
from domain.relationship import (
    Constellation,
    People,
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)

LONGEST = timedelta(hours=24)
"""No session goes on for longer, a marathon group included."""


class Medium(StrEnum):
    IN_PERSON = "in_person"
    VIDEO = "video"
    TELEPHONE = "telephone"
    CHAT = "chat"
    NOT_STATED = "not_stated"
    """Only from an import whose source does not say."""

    @property
    def is_telehealth(self) -> bool:
        return self not in (Medium.IN_PERSON, Medium.NOT_STATED)


class Emergency(Model):
    """Why a session had to be held without consent, and by when that is reviewed (rule 12)."""

    reason: Text
    review_by: Day


# --- What happened --------------------------------------------------------------------------


class SessionScheduled(Event):
    """An appointment."""

    topic = "session.scheduled"

    session: UUID
    starts_at: Moment
    ends_at: Moment
    medium: Medium

    _times = in_order("starts_at", "ends_at", within=LONGEST)


class SessionHeld(Event):
    """They met. It occurred when it started."""

    topic = "session.held"

    session: UUID
    medium: Medium
    present: People
    started_at: Moment
    ended_at: Moment
    relies_on: tuple[Reliance, ...] = ()
    emergency: Emergency | None = None
    location_confirmed: bool = False
    joint: bool = False
    """One hour that counts in more than one relationship, or that a group shares (rule 14)."""

    _times = in_order("started_at", "ended_at", within=LONGEST)


class SessionMissed(Event):
    """Somebody did not come."""

    topic = "session.missed"

    session: UUID
    who: UUID
    why: Text


class SessionCancelled(Event):
    """The appointment was called off."""

    topic = "session.cancelled"

    session: UUID
    who: UUID
    why: Text


class SessionTimeTaken(Event):
    """In the therapist's schedule: so the times of all the therapist's sessions are in one place.

    The session itself, in its relationship, stays the fact; this finds it.
    """

    topic = "schedule.session_time_taken"
    correctable = False

    session: UUID
    relationship: UUID
    started_at: Moment
    ended_at: Moment
    joint: bool

    _times = in_order("started_at", "ended_at", within=LONGEST)


# --- State ----------------------------------------------------------------------------------


class Status(StrEnum):
    SCHEDULED = "scheduled"
    HELD = "held"
    MISSED = "missed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Session:
    """What its entries come to. The times are those planned until it is held."""

    id: UUID
    status: Status
    started_at: datetime
    ended_at: datetime
    present: tuple[UUID, ...] = ()
    held: int | None = None
    """Version of the entry that says it was held."""
    joint: bool = False

    @property
    def is_held(self) -> bool:
        return self.status is Status.HELD


def schedule_stream(practitioner: UUID) -> Stream:
    return Stream("schedule", practitioner)


def sessions_of(history: History) -> dict[UUID, Session]:
    """All sessions of a relationship, by id."""
    sessions: dict[UUID, Session] = {}
    for entry in history.standing:
        match entry.event:
            case SessionScheduled(session=id_, starts_at=start, ends_at=end):
                sessions[id_] = Session(id_, Status.SCHEDULED, start, end)
            case SessionHeld(session=id_, started_at=start, ended_at=end) as held:
                sessions[id_] = Session(
                    id_, Status.HELD, start, end, held.present, entry.version, held.joint
                )
            case SessionMissed(session=id_) if id_ in sessions:
                sessions[id_] = replace(sessions[id_], status=Status.MISSED)
            case SessionCancelled(session=id_) if id_ in sessions:
                sessions[id_] = replace(sessions[id_], status=Status.CANCELLED)
    return sessions


def session_of(history: History, session: UUID) -> Session | None:
    """One session of a relationship, as its entries read today."""
    return sessions_of(history).get(session)


def session_numbers(history: History) -> dict[UUID, int]:
    """Held sessions numbered from 1 in order of their start; a reopening numbers on (rule 16)."""
    held = (session for session in sessions_of(history).values() if session.is_held)
    by_start = sorted(held, key=lambda session: (session.started_at, session.id))
    return {session.id: number for number, session in enumerate(by_start, start=1)}


# --- Refusals -------------------------------------------------------------------------------


class SessionUnknown(Refusal):
    rule = 13
    status = 404
    says = "There is no session {session} in this relationship; schedule it first."


class SessionExists(Refusal):
    rule = 13
    says = "Session {session} exists; use a new id."


class SessionSettled(Refusal):
    rule = 13
    says = "Session {session} is already {status}; that is corrected, not changed."


class SessionLiesAhead(Refusal):
    rule = 13
    status = 422
    says = "Session {session} begins only after that: nobody has missed it; it can be cancelled."


class NobodyToMeet(Refusal):
    rule = 10
    status = 422
    says = "A session is held with at least one client and one therapist of the relationship."


class SessionsOverlap(Refusal):
    rule = 14
    says = "{therapist} held another session at that time; only joint or group sessions share it."


class LocationUnconfirmed(Refusal):
    rule = 15
    status = 422
    says = "Before a session at a distance, confirm where the client is: location_confirmed."


class MediumNotStated(Refusal):
    rule = 45
    status = 422
    says = "Say by which medium the session was held; only an import may leave that open."


class ReviewBeforeSession(Refusal):
    rule = 12
    status = 422
    says = "What was done in an emergency is reviewed afterwards: give a later review_by."


# --- Commands -------------------------------------------------------------------------------


class ScheduleSession(Command):
    """Make an appointment."""

    name = "schedule-session"

    relationship: UUID
    session: UUID = Field(default_factory=uuid4)
    starts_at: Moment
    ends_at: Moment
    medium: Medium = Medium.IN_PERSON

    _times = in_order("starts_at", "ends_at", within=LONGEST)

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        require_open(relationship_of(history), given)
        if self.medium is Medium.NOT_STATED:
            given.unless_imported(MediumNotStated())
        if session_of(history, self.session):
            raise SessionExists(session=self.session)
        yield New(
            stream,
            SessionScheduled(
                session=self.session,
                starts_at=self.starts_at,
                ends_at=self.ends_at,
                medium=self.medium,
            ),
        )


class HoldSession(Command):
    """Records that a session was held, whether it had been scheduled or not."""

    name = "hold-session"

    occurred_at: None = None
    """Stays out: a session occurred when it started."""

    relationship: UUID
    session: UUID = Field(default_factory=uuid4)
    medium: Medium = Medium.IN_PERSON
    present: People
    started_at: Moment
    ended_at: Moment
    emergency: Emergency | None = None
    location_confirmed: bool = False
    joint: bool = False

    _times = in_order("started_at", "ended_at", within=LONGEST)

    def effective_at(self) -> datetime:
        return self.started_at

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        if self.ended_at > given.now + given.policy.clock_tolerance:
            raise OccursInTheFuture
        session = session_of(history, self.session)
        if session and session.status is not Status.SCHEDULED:
            raise SessionSettled(session=self.session, status=session.status)
        if self.medium is Medium.NOT_STATED:
            given.unless_imported(MediumNotStated())
        if self.medium.is_telehealth and not self.location_confirmed:
            raise LocationUnconfirmed
        if self.emergency and self.emergency.review_by < self.started_at.date():
            raise ReviewBeforeSession
        clients = [client for client in relationship.clients if client in self.present]
        therapists = [one for one in relationship.therapists if one in self.present]
        if not clients or not therapists:
            raise NobodyToMeet
        for therapist in therapists:
            require_scope(given, therapist, relationship.opened.activity)
        held = SessionHeld(
            session=self.session,
            medium=self.medium,
            present=self.present,
            started_at=self.started_at,
            ended_at=self.ended_at,
            relies_on=tuple(self._relies_on(given, history, relationship, clients)),
            emergency=self.emergency,
            location_confirmed=self.location_confirmed,
            joint=self.joint or relationship.opened.constellation is Constellation.GROUP,
        )
        yield New(stream, held)
        for therapist in therapists:
            yield _time_taken(given, self.relationship, therapist, held)

    def _relies_on(
        self, given: Given, history: History, relationship: Relationship, clients: list[UUID]
    ) -> Iterator[Reliance]:
        """Rules 12, 15 and 24: the consents that every client present has given to this."""
        for scope in self._scopes(relationship):
            if self.emergency:
                found = consenting(history, scope, given.at)
                yield from (found[client] for client in clients if client in found)
            else:
                yield from require_consent(given, history, scope, *clients)

    def _scopes(self, relationship: Relationship) -> Iterator[Scope]:
        yield Scope.TREATMENT
        if self.medium.is_telehealth:
            yield Scope.TELEHEALTH
        if not set(self.present) <= set(relationship.participants):
            yield Scope.INTERPRETER_OR_OBSERVER


class MissSession(Command):
    """Record that an appointment was missed, by whom and why."""

    name = "miss-session"

    relationship: UUID
    session: UUID
    who: UUID
    why: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        require_participant(relationship, self.who)
        session = _require_scheduled(history, self.session)
        if given.at < session.started_at:
            raise SessionLiesAhead(session=self.session)
        yield New(stream, SessionMissed(session=self.session, who=self.who, why=self.why))


class CancelSession(Command):
    """Call an appointment off; `who` is a participant or one of the clinic's staff."""

    name = "cancel-session"

    relationship: UUID
    session: UUID
    who: UUID
    why: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        require_open(relationship_of(history), given)
        _require_scheduled(history, self.session)
        yield New(stream, SessionCancelled(session=self.session, who=self.who, why=self.why))


def _require_scheduled(history: History, id_: UUID) -> Session:
    """Rule 13: only what is still scheduled becomes missed or cancelled."""
    session = session_of(history, id_)
    if session is None:
        raise SessionUnknown(session=id_)
    if session.status is not Status.SCHEDULED:
        raise SessionSettled(session=id_, status=session.status)
    return session


def _time_taken(given: Given, relationship: UUID, therapist: UUID, held: SessionHeld) -> New:
    """Rule 14: the session's hour in the therapist's schedule, if nothing else is there."""
    stream = schedule_stream(therapist)
    taken = SessionTimeTaken(
        session=held.session,
        relationship=relationship,
        started_at=held.started_at,
        ended_at=held.ended_at,
        joint=held.joint,
    )
    clashing = [
        other
        for _, other in given.history(stream).of(SessionTimeTaken)
        if (other.relationship, other.session) != (relationship, held.session)
        and _clash(taken, other)
    ]
    # The schedule is only a way to find them: what counts is how the other sessions read today.
    held_in = {
        id_: _held_sessions(given.history(relationship_stream(id_)))
        for id_ in {other.relationship for other in clashing}
    }
    for other in clashing:
        sessions = held_in[other.relationship]
        reads = other if sessions is None else sessions.get(other.session)
        if reads is not None and _clash(taken, reads):
            given.unless_imported(SessionsOverlap(therapist=therapist))
    return New(stream, taken)


def _clash(one: SessionTimeTaken, other: SessionTimeTaken | Session) -> bool:
    return (
        one.started_at < other.ended_at
        and other.started_at < one.ended_at
        and not (one.joint and other.joint)
    )


def _held_sessions(history: History) -> dict[UUID, Session] | None:
    """The held sessions of a relationship by id; None if they were erased: nobody knows them."""
    if any(isinstance(e.event, Erased) and e.topic == SessionHeld.topic for e in history):
        return None
    return {id_: session for id_, session in sessions_of(history).items() if session.is_held}
