"""Emergencies: what was done without consent is looked at afterwards, by a date (rule 12)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from domain.event import Command, Event, Given, History, New, Refusal, Text
from domain.person import Activity, require_scope, require_voice
from domain.relationship import relationship_of, relationship_stream, require_open
from domain.session import SessionHeld, SessionUnknown

# --- What happened --------------------------------------------------------------------------


class EmergencyReviewed(Event):
    """Somebody looked at whether it was right to meet without consent, and what follows."""

    topic = "session.emergency_reviewed"

    session: UUID
    by: UUID
    outcome: Text

    def outlives_closure(self) -> bool:
        return True  # the review is owed also where the relationship has ended since


# --- Questions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnreviewedEmergency:
    """A session that was held in an emergency and has not been reviewed."""

    session: UUID
    entry: int
    """Version of the entry that says it was held."""
    review_by: date
    is_overdue: bool


def emergencies_unreviewed(history: History, at: datetime) -> tuple[UnreviewedEmergency, ...]:
    """The emergencies up to that time whose review was still owed then."""
    reviewed = {
        review.session for entry, review in history.of(EmergencyReviewed) if entry.occurred_at <= at
    }
    return tuple(
        UnreviewedEmergency(
            session=held.session,
            entry=entry.version,
            review_by=held.emergency.review_by,
            is_overdue=held.emergency.review_by < at.date(),
        )
        for entry, held in history.of(SessionHeld)
        if held.emergency and entry.occurred_at <= at and held.session not in reviewed
    )


# --- Refusals -------------------------------------------------------------------------------


class NoEmergency(Refusal):
    rule = 12
    says = "Session {session} was not held in an emergency; there is nothing to review."


class EmergencyReviewedAlready(Refusal):
    rule = 12
    says = "The emergency of session {session} was reviewed; correct that entry instead."


class ReviewedTooEarly(Refusal):
    rule = 12
    status = 422
    says = "Session {session} was not over at that time: an emergency is reviewed afterwards."


# --- Commands -------------------------------------------------------------------------------


class ReviewEmergency(Command):
    """Say what the review of an emergency found; by a therapist of theirs, or who supervises."""

    name = "review-emergency"

    relationship: UUID
    session: UUID
    by: UUID
    outcome: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given, follow_up=True)
        held = next(
            (one for _, one in history.of(SessionHeld) if one.session == self.session), None
        )
        if held is None:
            raise SessionUnknown(session=self.session)
        if held.emergency is None:
            raise NoEmergency(session=self.session)
        if any(review.session == self.session for _, review in history.of(EmergencyReviewed)):
            raise EmergencyReviewedAlready(session=self.session)
        if given.at < held.ended_at:
            raise ReviewedTooEarly(session=self.session)
        if self.by not in relationship.at(given.at).therapists:
            require_scope(given, self.by, Activity.SUPERVISION)
        require_voice(self.by, given)
        yield New(stream, EmergencyReviewed(session=self.session, by=self.by, outcome=self.outcome))
