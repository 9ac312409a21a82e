"""Phases: where therapist and client are in the course of their work, as the therapist sees it."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from domain.event import Command, Event, Given, History, Line, New, RecordedEvent, Refusal, Text
from domain.person import require_voice
from domain.relationship import relationship_of, relationship_stream, require_open

# --- What happened --------------------------------------------------------------------------


class PhaseDeclared(Event):
    """From then on the work is in another phase."""

    topic = "phase.declared"

    phase: Line
    """In the words of the modality: assessment, stabilisation, exposure, ending."""
    by: UUID
    rationale: Text


# --- Questions ------------------------------------------------------------------------------


class Phase(NamedTuple):
    """A phase and the entry that declared it; it lasts until the next one begins."""

    declared: PhaseDeclared
    entry: RecordedEvent


def phases_of(history: History) -> tuple[Phase, ...]:
    """The phases of a relationship in the order in which they began."""
    declared = [Phase(event, entry) for entry, event in history.of(PhaseDeclared)]
    return tuple(sorted(declared, key=lambda phase: phase.entry.occurred_at))


# --- Refusals -------------------------------------------------------------------------------


class NotItsTherapist(Refusal):
    rule = 10
    says = "{person} is no therapist of this relationship at that time."


# --- Commands -------------------------------------------------------------------------------


class DeclarePhase(Command):
    """Say which phase begins, and by what it shows."""

    name = "declare-phase"

    relationship: UUID
    phase: Line
    by: UUID
    rationale: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        relationship = relationship_of(given.history(stream))
        require_open(relationship, given)
        if self.by not in relationship.at(given.at).therapists:
            raise NotItsTherapist(person=self.by)
        require_voice(self.by, given)
        yield New(stream, PhaseDeclared(phase=self.phase, by=self.by, rationale=self.rationale))
