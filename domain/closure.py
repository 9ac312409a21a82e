"""Closure: a relationship ends, goes on with somebody else, or begins again.

Whoever closes says why, who wanted it, and in words where goals and ruptures are left. Which of
them are open is not asked: the record knows, and the closing names them.
"""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

from pydantic import Field

from domain.event import Command, Given, History, New, Refusal, Text
from domain.goal import GoalStatus, goals_of
from domain.ids import new_id
from domain.relationship import (
    Constellation,
    Initiator,
    OutsideTheRelationship,
    People,
    Relationship,
    RelationshipClosed,
    RelationshipOpened,
    RelationshipReopened,
    RelationshipTransferred,
    Span,
    TurnsOutOfOrder,
    opening,
    relationship_of,
    relationship_stream,
)
from domain.rupture import open_ruptures

# --- Refusals -------------------------------------------------------------------------------


class RelationshipClosedAlready(Refusal):
    rule = 16
    says = "Relationship {relationship} is closed."


class RelationshipOpenAlready(Refusal):
    rule = 16
    says = "Relationship {relationship} is open at that time; only a closed one is reopened."


class OpenRupturesNotStated(Refusal):
    rule = 16
    status = 422
    says = "{count} ruptures are not resolved: say in `ruptures` how they are left."


# --- Commands -------------------------------------------------------------------------------


class Ending(Command):
    """What whoever ends a relationship says of it."""

    relationship: UUID
    reason: Text
    initiated_by: Initiator
    goals: Text
    """In words: which goals were reached, which were not."""
    ruptures: Text | None = None
    """In words: how open ruptures are left; needed where there are any."""

    def _closing(self, given: Given, history: History, relationship: Relationship) -> New:
        if not relationship.is_open:
            raise RelationshipClosedAlready(relationship=relationship.id)
        if given.at < relationship.last_turn:
            raise TurnsOutOfOrder(relationship=relationship.id)
        closed = replace(relationship, closures=(Span(given.at, None),))
        for entry in history.standing:
            if entry.occurred_at > given.at and closed.is_outside(entry):
                raise OutsideTheRelationship(entry=entry.version)
        by_then = history.as_of(happened_by=given.at)
        ruptures = open_ruptures(by_then)
        if ruptures and self.ruptures is None:
            raise OpenRupturesNotStated(count=len(ruptures))
        goals = (id_ for id_, goal in goals_of(by_then).items() if goal.status is GoalStatus.OPEN)
        closing = RelationshipClosed(
            reason=self.reason,
            initiated_by=self.initiated_by,
            goals=self.goals,
            open_goals=tuple(goals),
            open_ruptures=ruptures,
            ruptures=self.ruptures,
        )
        return New(relationship_stream(relationship.id), closing)


class CloseRelationship(Ending):
    """Close a relationship and say where it stands."""

    name = "close-relationship"

    def decide(self, given: Given) -> Iterator[New]:
        history = given.history(relationship_stream(self.relationship))
        yield self._closing(given, history, relationship_of(history))


class TransferRelationship(Ending):
    """Closes one relationship and opens the one that goes on, with the link, in one decision."""

    name = "transfer-relationship"

    to: UUID = Field(default_factory=new_id)
    therapists: People
    constellation: Constellation | None = None
    """Left out: as it was."""
    supervisor: UUID | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        closing = self._closing(given, history, relationship)
        before = relationship.opened
        opened = RelationshipOpened(
            clients=relationship.at(given.at).clients,
            therapists=self.therapists,
            constellation=self.constellation or before.constellation,
            activity=before.activity,
            modality=before.modality,
            setting=before.setting,
            supervisor=self.supervisor,
            transferred_from=self.relationship,
        )
        yield New(stream, RelationshipTransferred(to=self.to, reason=self.reason))
        yield closing
        yield opening(given, self.to, opened)


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
