"""Summaries: what a session came to, in words that its therapist shares with the client."""

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.clinic import EachOnce
from domain.event import Command, Event, Given, New, Refusal, Text
from domain.person import require_voice
from domain.phase import NotItsTherapist
from domain.relationship import (
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.session import SessionUnknown, session_of

Agreeing = Annotated[tuple[UUID, ...], Field(max_length=100), EachOnce]


# --- What happened --------------------------------------------------------------------------


class SessionSummaryShared(Event):
    """What was worked on, as therapist and client both may read it; the last one counts."""

    topic = "session.summary_shared"
    # These words were agreed to: others are another summary.
    correctable = False

    session: UUID
    by: UUID
    agreed_by: Agreeing = ()
    """Who said that it was like this; empty: it was shared, and not talked over yet."""
    summary: Text


# --- Refusals -------------------------------------------------------------------------------


class NothingToSumUp(Refusal):
    rule = 13
    says = "Session {session} was not held by then: it is {status}."


# --- Commands -------------------------------------------------------------------------------


class ShareSessionSummary(Command):
    """Share what a session came to."""

    name = "share-session-summary"

    relationship: UUID
    session: UUID
    by: UUID
    agreed_by: Agreeing = ()
    summary: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        session = session_of(history, self.session)
        if session is None:
            raise SessionUnknown(session=self.session)
        if not session.is_held or given.at < session.started_at:
            raise NothingToSumUp(session=self.session, status=session.status)
        then = relationship.at(given.at)
        if self.by not in then.therapists:
            raise NotItsTherapist(person=self.by)
        require_voice(self.by, given)
        for person in self.agreed_by:
            require_participant(then, person)
        yield New(
            stream,
            SessionSummaryShared(
                session=self.session,
                by=self.by,
                agreed_by=self.agreed_by,
                summary=self.summary,
            ),
        )
