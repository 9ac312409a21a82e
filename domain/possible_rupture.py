"""Possible ruptures: what a method finds in ratings, and who has looked and sees none.

A finding is computed, with its method, parameters and inputs, whenever it is asked for. It is
never an entry of its own and changes nothing that a person has said. A person may take it as a
prompt to mark a rupture, or dismiss it with a reason.
"""

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from domain.clinic import EachOnce
from domain.event import (
    Command,
    EntryUnknown,
    Event,
    Given,
    History,
    Line,
    Model,
    New,
    RecordedEvent,
    Refusal,
    Source,
    Text,
)
from domain.person import require_voice
from domain.relationship import relationship_of, relationship_stream, require_open


class Parameter(Model):
    """One setting of a method, as it stands on its method card."""

    name: Line
    value: Line


def _in_order(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    return tuple(sorted(parameters, key=lambda parameter: (parameter.name, parameter.value)))


class PossibleRupture(Model):
    """What a method found: enough to compute it again (rule 37)."""

    method: Line
    method_version: Line
    parameters: Annotated[
        tuple[Parameter, ...], Field(max_length=50), AfterValidator(_in_order)
    ] = ()
    entries: Annotated[
        tuple[Annotated[int, Field(ge=1, lt=2**53)], ...],
        Field(min_length=1, max_length=1000),
        EachOnce,
        AfterValidator(lambda versions: tuple(sorted(versions))),
    ]
    """Versions, in the relationship's stream, of the entries that it was computed from."""


# --- What happened --------------------------------------------------------------------------


class PossibleRuptureDismissed(Event):
    """Somebody looked at what a method found, and sees no rupture in it."""

    topic = "rupture.possible_dismissed"
    fixed = frozenset({"possible"})

    possible: PossibleRupture
    by: UUID
    reason: Text


# --- Questions ------------------------------------------------------------------------------


def dismissals_of(
    history: History, possible: PossibleRupture
) -> tuple[tuple[RecordedEvent, PossibleRuptureDismissed], ...]:
    """Who has dismissed exactly that finding, and why."""
    return tuple(
        (entry, dismissed)
        for entry, dismissed in history.of(PossibleRuptureDismissed)
        if dismissed.possible == possible
    )


def require_human(given: Given) -> None:
    """Rule 37: no program says by itself that there was a rupture, or that there was none."""
    if given.source is Source.SYSTEM:
        raise JudgedByNobody


def require_entries(history: History, possible: PossibleRupture) -> None:
    """Rule 37: what a finding was computed from is in the record."""
    for version in possible.entries:
        if history.entry(version) is None:
            raise EntryUnknown(what="entry")


# --- Refusals -------------------------------------------------------------------------------


class JudgedByNobody(Refusal):
    rule = 37
    status = 422
    says = "Whether there was a rupture is judged by a person; a method only finds a possible one."


class NeitherTreatsNorSupervises(Refusal):
    rule = 37
    says = "{person} neither treats nor supervises here."


class DismissedAlready(Refusal):
    rule = 37
    says = "{by} has dismissed this finding already."


# --- Commands -------------------------------------------------------------------------------


class DismissPossibleRupture(Command):
    """Say, having looked, that what a method found is no rupture, and why."""

    name = "dismiss-possible-rupture"

    relationship: UUID
    possible: PossibleRupture
    by: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        require_human(given)
        then = relationship.at(given.at)
        if self.by not in (*then.therapists, then.supervisor):
            raise NeitherTreatsNorSupervises(person=self.by)
        require_voice(self.by, given)
        require_entries(history, self.possible)
        if any(dismissed.by == self.by for _, dismissed in dismissals_of(history, self.possible)):
            raise DismissedAlready(by=self.by)
        yield New(
            stream,
            PossibleRuptureDismissed(possible=self.possible, by=self.by, reason=self.reason),
        )
