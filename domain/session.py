"""Sessions: scheduled, then held, missed, cancelled or abandoned.

A held session rests on consent, is held by people who may hold it, and takes time that its
therapists can give only once. So does one that was abandoned: it began and was broken off, is
numbered like any other, and may be rated. Streams: the relationship's, and
`schedule-<practitioner>`. Appointments are made and changed by `domain/appointment.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from domain.clinic import Day, Scope, in_order
from domain.consent import Reliance, consenting, require_consent
from domain.event import (
    Command,
    Entries,
    Erased,
    Event,
    Fold,
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
from domain.ids import new_id
from domain.making import checked, maker
from domain.pause import require_not_paused
from domain.person import require_scope
from domain.relationship import (
    Constellation,
    Meeting,
    NotAParticipant,
    People,
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
)
from domain.told import Growing

LONGEST = timedelta(hours=24)
"""No session goes on for longer, a marathon group included."""

_HOUR = 3600


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
    # It was missed, or not, by these: another time is another appointment.
    fixed = frozenset({"starts_at", "ends_at"})

    session: UUID
    starts_at: Moment
    ends_at: Moment
    medium: Medium

    _times = in_order("starts_at", "ends_at", within=LONGEST)


class SessionRescheduled(Event):
    """The appointment was moved to another time."""

    topic = "session.rescheduled"
    fixed = frozenset({"starts_at", "ends_at"})

    session: UUID
    starts_at: Moment
    ends_at: Moment
    who: UUID
    why: Text

    _times = in_order("starts_at", "ends_at", within=LONGEST)


class SessionHeld(Meeting):
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


class SessionAbandoned(SessionHeld):
    """They met, and somebody broke it off: it ended there."""

    topic = "session.abandoned"

    who: UUID
    why: Text


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
    ABANDONED = "abandoned"


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
        """They met, to the end or not."""
        return self.status in (Status.HELD, Status.ABANDONED)


_held, _time, _session = checked(SessionHeld), checked(SessionTimeTaken), maker(Session)


def schedule_stream(practitioner: UUID) -> Stream:
    return Stream("schedule", practitioner)


def sessions_of(history: History) -> Mapping[UUID, Session]:
    """All sessions of a relationship, by id."""
    return history.folded(_SESSIONS)


def _sessions(before: Growing[UUID, Session], entries: Entries) -> Growing[UUID, Session]:
    told: dict[UUID, Session] = {}
    for entry in entries:
        match entry.event:
            case SessionHeld(session=id_, started_at=start, ended_at=end) as held:
                broken_off = isinstance(held, SessionAbandoned)
                status = Status.ABANDONED if broken_off else Status.HELD
                told[id_] = _session(
                    id_, status, start, end, held.present, entry.version, held.joint
                )
            case SessionScheduled(session=id_, starts_at=start, ends_at=end):
                told[id_] = Session(id_, Status.SCHEDULED, start, end)
            case SessionRescheduled(session=id_, starts_at=start, ends_at=end):
                session = told.get(id_) or before.get(id_)
                if session and session.status is Status.SCHEDULED:
                    told[id_] = replace(session, started_at=start, ended_at=end)
            case SessionMissed(session=id_) | SessionCancelled(session=id_) as never:
                if session := told.get(id_) or before.get(id_):
                    missed = isinstance(never, SessionMissed)
                    status = Status.MISSED if missed else Status.CANCELLED
                    told[id_] = replace(session, status=status)
    return before.having(told)


_TELLING = (SessionScheduled, SessionRescheduled, SessionHeld, SessionMissed, SessionCancelled)
_SESSIONS = Fold(
    lambda all_: _sessions(Growing(), all_.among(*_TELLING)),
    *_TELLING,
    then=_sessions,
    lasts=True,
)


def session_of(history: History, session: UUID) -> Session | None:
    """One session of a relationship, as its entries read today."""
    return sessions_of(history).get(session)


def session_numbers(history: History) -> dict[UUID, int]:
    """Held sessions numbered from 1 in order of their start; a reopening numbers on (rule 16)."""
    numbers = history.folded(_NUMBERS)
    return {**numbers}


def _numbers(history: History) -> Mapping[UUID, int]:
    held = (session for session in sessions_of(history).values() if session.is_held)
    by_start = sorted(held, key=lambda session: (session.started_at, session.id))
    return {session.id: number for number, session in enumerate(by_start, start=1)}


_NUMBERS = Fold(_numbers, *_TELLING)


def require_sessions(before: Entries, after: Entries) -> None:
    """Rule 13, where an amendment changes how the standing entries of a relationship read: no
    session of which others tell, by a rating or a note, reads as never held."""
    were, are = (sessions_of(History(entries)) for entries in (before, after))
    for id_, session in were.items():
        if not session.is_held or (id_ in are and are[id_].is_held):
            continue
        for entry in after:
            if isinstance(entry.event, Erased | SessionScheduled | SessionRescheduled):
                continue
            if str(id_) in entry.event.model_dump_json():
                raise SessionReliedOn(session=id_, entry=entry.version)


# --- Refusals -------------------------------------------------------------------------------


class SessionUnknown(Refusal):
    rule = 13
    status = 404
    says = "There is no session {session} in this relationship; schedule it first."


class SessionSettled(Refusal):
    rule = 13
    says = "Session {session} is already {status}; that is corrected, not changed."


class SessionReliedOn(Refusal):
    rule = 13
    says = "Entry {entry} tells of session {session}, which was held then: amend that one first."


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


class ReviewTooFarOff(Refusal):
    rule = 12
    status = 422
    says = (
        "What was done in an emergency is reviewed within {days} days: give an earlier review_by."
    )


class ReviewPostponed(Refusal):
    rule = 12
    says = "The day by which an emergency is reviewed is not put off by a correction."


# --- Commands -------------------------------------------------------------------------------


class HoldSession(Command):
    """Records that a session was held, whether it had been scheduled or not."""

    name = "hold-session"

    occurred_at: None = None
    """Stays out: a session occurred when it started."""

    relationship: UUID
    session: UUID = Field(default_factory=new_id)
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
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        require_not_paused(relationship, given)
        if self.ended_at > given.now + given.policy.clock_tolerance:
            raise OccursInTheFuture
        session = session_of(history, self.session)
        if session and session.status is not Status.SCHEDULED:
            raise SessionSettled(session=self.session, status=session.status)
        if self.medium is Medium.NOT_STATED:
            given.unless_imported(MediumNotStated)
        if self.medium.is_telehealth and not self.location_confirmed:
            raise LocationUnconfirmed
        if self.emergency:
            if self.emergency.review_by < self.started_at.date():
                raise ReviewBeforeSession
            if self.emergency.review_by > (self.started_at + given.policy.emergency_review).date():
                raise ReviewTooFarOff(days=given.policy.emergency_review.days)
        clients = [client for client in relationship.clients if client in self.present]
        therapists = [one for one in relationship.therapists if one in self.present]
        if not clients or not therapists:
            raise NobodyToMeet
        for therapist in therapists:
            require_scope(given, therapist, relationship.opened.activity)
        held = _held(
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
        yield New(stream, self._told(held))
        for therapist in therapists:
            yield _time_taken(given, self.relationship, therapist, held)

    def _told(self, held: SessionHeld) -> SessionHeld:
        return held

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
        if not all(person in relationship.participants for person in self.present):
            yield Scope.INTERPRETER_OR_OBSERVER


class AbandonSession(HoldSession):
    """Records a session that was broken off: by whom and why; it ended when they parted."""

    name = "abandon-session"

    who: UUID
    why: Text

    def _told(self, held: SessionHeld) -> SessionHeld:
        if self.who not in self.present:
            raise NotAParticipant(person=self.who)
        return SessionAbandoned(**dict(held), who=self.who, why=self.why)


def hold_again(before: SessionHeld, after: SessionHeld, relationship: UUID) -> HoldSession:
    """The command that records a session as its correction has it: it passes the same rules."""
    was, reads = before.emergency, after.emergency
    if was and reads and was.review_by < reads.review_by:
        raise ReviewPostponed
    kind = AbandonSession if isinstance(after, SessionAbandoned) else HoldSession
    shared = kind.model_fields.keys() & type(after).model_fields.keys()
    return kind(relationship=relationship, **{name: getattr(after, name) for name in shared})


def _time_taken(given: Given, relationship: UUID, therapist: UUID, held: SessionHeld) -> New:
    """Rule 14: the session's hour in the therapist's schedule, if nothing else is there."""
    stream = schedule_stream(therapist)
    taken = _time(
        session=held.session,
        relationship=relationship,
        started_at=held.started_at,
        ended_at=held.ended_at,
        joint=held.joint,
    )
    clashing = [
        other
        for other in taken_about(given.history(stream), taken)
        if _clash(taken, other)
        and (other.relationship, other.session) != (relationship, held.session)
    ]
    if not clashing:
        return New(stream, taken)
    # The schedule is only a way to find them: what counts is how the other sessions read today.
    held_in = {
        id_: _held_sessions(given.history(relationship_stream(id_)))
        for id_ in {other.relationship for other in clashing}
    }
    for other in clashing:
        sessions = held_in[other.relationship]
        reads = other if sessions is None else sessions.get(other.session)
        if reads is not None and _clash(taken, reads):
            given.unless_imported(SessionsOverlap, therapist=therapist)
    return New(stream, taken)


_Taken = Growing[int, tuple[SessionTimeTaken, ...]]
"""By each hour of the clock, counted from 1970: what of a schedule reaches into it."""


def _clock_hours(taken: SessionTimeTaken) -> range:
    first, last = taken.started_at.timestamp() // _HOUR, taken.ended_at.timestamp() // _HOUR
    return range(int(first), int(last) + 1)


def _taken(before: _Taken, entries: Entries) -> _Taken:
    further: dict[int, tuple[SessionTimeTaken, ...]] = {}
    for entry in entries:
        if isinstance(taken := entry.event, SessionTimeTaken):
            for hour in _clock_hours(taken):
                others = further.get(hour) or before.get(hour) or ()
                further[hour] = (*others, taken)
    return before.having(further)


_SCHEDULE = Fold(lambda history: _taken(Growing(), history.standing), SessionTimeTaken, then=_taken)


def taken_about(schedule: History, taken: SessionTimeTaken) -> Iterator[SessionTimeTaken]:
    """What of a schedule may overlap with this, once for each hour of the clock that they share."""
    among = schedule.folded(_SCHEDULE)
    for hour in _clock_hours(taken):
        yield from among.get(hour, ())


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
