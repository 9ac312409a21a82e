"""Legal hold: while a matter is open, nothing of a relationship is erased.

Stream: `hold-<relationship>`, under a key of the clinic's: that something was held, and for whom,
outlives every erasure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import Field

from domain.event import Event, Given, History, Immediate, Line, New, Refusal, Stream, Text
from domain.ids import new_id
from domain.relationship import relationship_of, relationship_stream

# --- What happened --------------------------------------------------------------------------


class LegalHoldPlaced(Event):
    """Somebody with authority wants the record kept until a matter is settled."""

    topic = "legal_hold.placed"
    # Never reworded, and never undone but by lifting it: an erasure would have gone through.
    correctable = False

    hold: UUID
    matter: Line
    """Which matter, by its file number; not what it is about."""
    authority: Line
    """Whose demand it is: a court, a regulator, the clinic's counsel."""
    by: UUID


class LegalHoldLifted(Event):
    """The matter no longer needs the record to be held."""

    topic = "legal_hold.lifted"
    correctable = False

    hold: UUID
    reason: Text
    by: UUID


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that was placed, and since when it is lifted, if it is."""

    placed: LegalHoldPlaced
    since: datetime
    lifted_at: datetime | None = None

    def stands(self, at: datetime) -> bool:
        return self.since <= at and (self.lifted_at is None or at < self.lifted_at)


def hold_stream(relationship: UUID) -> Stream:
    return Stream("hold", relationship)


def holds_of(history: History) -> dict[UUID, Hold]:
    """Every hold of a relationship by its id, in the order of recording."""
    lifted = {lift.hold: entry.occurred_at for entry, lift in history.of(LegalHoldLifted)}
    return {
        placed.hold: Hold(placed, entry.occurred_at, lifted.get(placed.hold))
        for entry, placed in history.of(LegalHoldPlaced)
    }


# --- Questions ------------------------------------------------------------------------------


def held(history: History, at: datetime) -> tuple[UUID, ...]:
    """The holds that stand at that time; while there is one, nothing is erased (rule 9)."""
    return tuple(id_ for id_, hold in holds_of(history).items() if hold.stands(at))


# --- Refusals -------------------------------------------------------------------------------


class HoldExists(Refusal):
    says = "Hold {hold} exists; use a new id."


class HoldUnknown(Refusal):
    status = 404
    says = "There is no hold {hold} on this relationship."


class HoldLiftedAlready(Refusal):
    says = "Hold {hold} was lifted before."


# --- Commands -------------------------------------------------------------------------------


class PlaceLegalHold(Immediate):
    """Hold the record of a relationship for a matter. A closed one can be held too."""

    name = "place-legal-hold"

    relationship: UUID
    hold: UUID = Field(default_factory=new_id)
    matter: Line
    authority: Line

    def decide(self, given: Given) -> Iterator[New]:
        relationship_of(given.history(relationship_stream(self.relationship)))
        stream = hold_stream(self.relationship)
        if self.hold in holds_of(given.history(stream)):
            raise HoldExists(hold=self.hold)
        yield New(
            stream,
            LegalHoldPlaced(
                hold=self.hold, matter=self.matter, authority=self.authority, by=given.actor
            ),
        )


class LiftLegalHold(Immediate):
    """Say that a hold is no longer needed, and why."""

    name = "lift-legal-hold"

    relationship: UUID
    hold: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = hold_stream(self.relationship)
        hold = holds_of(given.history(stream)).get(self.hold)
        if hold is None:
            raise HoldUnknown(hold=self.hold)
        if hold.lifted_at is not None:
            raise HoldLiftedAlready(hold=self.hold)
        yield New(stream, LegalHoldLifted(hold=self.hold, reason=self.reason, by=given.actor))
