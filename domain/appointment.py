"""Appointments: a session is scheduled, moved, missed or called off.

Missed and cancelled say who and why. Once a session was held, it is corrected and not changed.
"""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from pydantic import Field

from domain.clinic import in_order
from domain.event import Command, Given, History, Moment, New, Refusal, Text
from domain.ids import new_id
from domain.relationship import (
    Relationship,
    RelationshipNotYetOpen,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.session import (
    LONGEST,
    Medium,
    MediumNotStated,
    Session,
    SessionCancelled,
    SessionMissed,
    SessionRescheduled,
    SessionScheduled,
    SessionSettled,
    SessionUnknown,
    Status,
    session_of,
)

# --- Refusals -------------------------------------------------------------------------------


class SessionExists(Refusal):
    rule = 13
    says = "Session {session} exists; use a new id."


class SessionLiesAhead(Refusal):
    rule = 13
    status = 422
    says = "Session {session} begins only after that: nobody has missed it; it can be cancelled."


# --- Commands -------------------------------------------------------------------------------


class ScheduleSession(Command):
    """Make an appointment."""

    name = "schedule-session"

    relationship: UUID
    session: UUID = Field(default_factory=new_id)
    starts_at: Moment
    ends_at: Moment
    medium: Medium = Medium.IN_PERSON

    _times = in_order("starts_at", "ends_at", within=LONGEST)

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        _require_time(relationship, self.starts_at)
        if self.medium is Medium.NOT_STATED:
            given.unless_imported(MediumNotStated)
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


class RescheduleSession(Command):
    """Move an appointment; `who` is a participant or one of the clinic's staff."""

    name = "reschedule-session"

    relationship: UUID
    session: UUID
    starts_at: Moment
    ends_at: Moment
    who: UUID
    why: Text

    _times = in_order("starts_at", "ends_at", within=LONGEST)

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        _require_time(relationship, self.starts_at)
        _require_scheduled(history, self.session)
        yield New(
            stream,
            SessionRescheduled(
                session=self.session,
                starts_at=self.starts_at,
                ends_at=self.ends_at,
                who=self.who,
                why=self.why,
            ),
        )


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
        require_participant(relationship.at(given.at), self.who)
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


def _require_time(relationship: Relationship, starts_at: datetime) -> None:
    """Rule 16: no appointment lies before the relationship."""
    if starts_at < relationship.opened_at:
        raise RelationshipNotYetOpen(relationship=relationship.id)


def _require_scheduled(history: History, id_: UUID) -> Session:
    """Rule 13: only what is still scheduled becomes missed or cancelled."""
    session = session_of(history, id_)
    if session is None:
        raise SessionUnknown(session=id_)
    if session.status is not Status.SCHEDULED:
        raise SessionSettled(session=id_, status=session.status)
    return session
