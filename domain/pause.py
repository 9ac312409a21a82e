"""Pauses: for a while no session is held, and the relationship goes on all the same."""

from collections.abc import Iterator
from uuid import UUID

from domain.clinic import Day
from domain.event import Command, Given, New, Refusal, Text
from domain.relationship import (
    Initiator,
    Meeting,
    OutsideTheRelationship,
    Relationship,
    RelationshipPaused,
    RelationshipResumed,
    TurnsOutOfOrder,
    relationship_of,
    relationship_stream,
    require_open,
)


def require_not_paused(relationship: Relationship, given: Given) -> None:
    """Nobody meets in a pause: it is resumed first."""
    if relationship.was_paused(given.at):
        raise RelationshipIsPaused(relationship=relationship.id)


# --- Refusals -------------------------------------------------------------------------------


class RelationshipIsPaused(Refusal):
    rule = 16
    says = "Relationship {relationship} pauses at that time: resume it first."


class RelationshipNotPaused(Refusal):
    rule = 16
    says = "Relationship {relationship} does not pause; there is nothing to resume."


class PauseEndsFirst(Refusal):
    status = 422
    says = "A pause ends after it begins: give a later until, or leave it open."


# --- Commands -------------------------------------------------------------------------------


class PauseRelationship(Command):
    """Hold no session until it is resumed."""

    name = "pause-relationship"

    relationship: UUID
    reason: Text
    initiated_by: Initiator
    until: Day | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        if relationship.is_paused:
            raise RelationshipIsPaused(relationship=self.relationship)
        if given.at < relationship.last_turn:
            raise TurnsOutOfOrder(relationship=self.relationship)
        if self.until is not None and self.until < given.at.date():
            raise PauseEndsFirst
        for entry in history.standing:
            if isinstance(entry.event, Meeting) and given.at <= entry.occurred_at:
                raise OutsideTheRelationship(entry=entry.version)
        yield New(
            stream,
            RelationshipPaused(
                reason=self.reason, initiated_by=self.initiated_by, until=self.until
            ),
        )


class ResumeRelationship(Command):
    """Go on after a pause."""

    name = "resume-relationship"

    relationship: UUID
    remark: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        relationship = relationship_of(given.history(stream))
        require_open(relationship, given)
        if not relationship.is_paused:
            raise RelationshipNotPaused(relationship=self.relationship)
        if given.at < relationship.last_turn:
            raise TurnsOutOfOrder(relationship=self.relationship)
        yield New(stream, RelationshipResumed(remark=self.remark))
