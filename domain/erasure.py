"""Erasure: destroying the keys of what one person gave, on a legal basis, or saying why not.

The entries stay and prove that they existed; what they said is gone. A legal hold and the time
for which a record has to be kept stand against it (rule 9; GDPR 17). Stream: `erasure-<person>`,
under a key of the clinic's: that, when and why something was erased outlives the erasure.
"""

from collections.abc import Iterator
from datetime import datetime, time
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.clinic import EachOnce, Sha256
from domain.event import (
    Event,
    Given,
    History,
    Immediate,
    Model,
    New,
    Policy,
    Refusal,
    Stream,
    Text,
)
from domain.hold import held, hold_stream
from domain.person import PersonRegistered, person_stream

Keys = Annotated[tuple[UUID, ...], Field(min_length=1, max_length=10_000), EachOnce]
Relationships = Annotated[tuple[UUID, ...], Field(max_length=10_000), EachOnce]

RECORD = ("relationship", "process", "supervision")
"""The streams of a relationship that are its record, and are kept for as long as each other."""


class ErasureBasis(StrEnum):
    """On what ground something is erased (GDPR 17(1))."""

    NO_LONGER_NEEDED = "no_longer_needed"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    OBJECTED = "objected"
    UNLAWFUL = "unlawful"
    """It should not have been recorded: there is nothing that has to be kept."""
    LEGAL_OBLIGATION = "legal_obligation"
    """A law or an order wants it erased, and goes before the duty to keep it."""


_PAST_RETENTION = frozenset({ErasureBasis.UNLAWFUL, ErasureBasis.LEGAL_OBLIGATION})


class RefusalGround(StrEnum):
    """Why something is not erased (GDPR 17(3))."""

    EXPRESSION = "expression"
    LEGAL_OBLIGATION = "legal_obligation"
    """The record has to be kept for its time."""
    PUBLIC_HEALTH = "public_health"
    RESEARCH = "research"
    LEGAL_CLAIMS = "legal_claims"
    """A matter is open, and the record is held for it."""


# --- What happened --------------------------------------------------------------------------


class ErasureEntry(Event):
    """What was asked, answered and done about an erasure: nobody's to mend."""

    correctable = False

    person: UUID
    """Whose content it is about."""


class ErasureRequested(ErasureEntry):
    """Somebody asked that what they gave be erased."""

    topic = "erasure.requested"

    reason: Text | None = None
    """Outlives the erasure, so it says nothing that is to be forgotten."""


class ErasureRefused(ErasureEntry):
    """It is not erased, on one of the grounds there are."""

    topic = "erasure.refused"

    ground: RefusalGround
    reason: Text
    by: UUID


class LogProven(Model):
    """A log that was read and hashed again, entry by entry: its size, and its root in hex."""

    size: Annotated[int, Field(ge=0, lt=2**53)]
    root: Sha256


class KeyDestroyed(ErasureEntry):
    """These keys are destroyed, and with them all that they sealed."""

    topic = "key.destroyed"

    keys: Keys
    basis: ErasureBasis
    reason: Text
    relationships: Relationships = ()
    """The relationships of which something became unreadable."""
    proven: LogProven | None = None
    """The log right before; None: it was not noted yet when this was recorded."""


# --- Questions ------------------------------------------------------------------------------


def erasure_stream(person: UUID) -> Stream:
    return Stream("erasure", person)


def destroyed_keys(history: History) -> frozenset[UUID]:
    """The keys that have to stay destroyed, whatever a restored keyring holds."""
    return frozenset(key for _, destroyed in history.of(KeyDestroyed) for key in destroyed.keys)


def is_asked(history: History) -> bool:
    """Whether a request for erasure waits for its answer."""
    answers = [entry.event for entry in history if isinstance(entry.event, ErasureEntry)]
    return bool(answers) and isinstance(answers[-1], ErasureRequested)


def kept_until(record: tuple[History, ...], person: History, policy: Policy) -> datetime | None:
    """Until when a relationship with these streams has to be kept; None: there is none.

    Counted from the last entry as recorded, so that nothing dated back shortens it; of a client
    who was a minor when it began, from majority on, if that is later.
    """
    recorded = [entry.recorded_at for history in record for entry in history]
    if not recorded:
        return None
    until = _years_after(max(recorded), policy.retention_years)
    for _, registered in person.of(PersonRegistered):
        if registered.birth_date is not None:
            born = datetime.combine(registered.birth_date, time(), tzinfo=until.tzinfo)
            majority = _years_after(born, policy.majority_age)
            if min(recorded) < majority:
                until = max(until, _years_after(majority, policy.retention_years))
    return until


def _years_after(at: datetime, years: int) -> datetime:
    """The same day so many years later; of a 29 February, the day after where there is none."""
    try:
        return at.replace(year=at.year + years)
    except ValueError:
        return at.replace(year=at.year + years, month=3, day=1)


# --- Refusals -------------------------------------------------------------------------------


class LegalHoldStands(Refusal):
    rule = 9
    says = "Relationship {relationship} is held by {hold}: nothing of it is erased."


class StillRetained(Refusal):
    rule = 9
    says = "Relationship {relationship} has to be kept until {until}."


class ErasureAskedAlready(Refusal):
    says = "An erasure was asked for by {person}, and not answered yet."


class NoErasureAsked(Refusal):
    says = "No erasure was asked for by {person} that is not answered."


# --- Commands -------------------------------------------------------------------------------


class RequestErasure(Immediate):
    """Ask that what one gave be erased. What stands against it is looked at then."""

    name = "request-erasure"

    person: UUID
    reason: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = erasure_stream(self.person)
        if is_asked(given.history(stream)):
            raise ErasureAskedAlready(person=self.person)
        yield New(stream, ErasureRequested(person=self.person, reason=self.reason))


class RefuseErasure(Immediate):
    """Refuse an erasure on one of the grounds there are, and say why."""

    name = "refuse-erasure"

    person: UUID
    ground: RefusalGround
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = erasure_stream(self.person)
        if not is_asked(given.history(stream)):
            raise NoErasureAsked(person=self.person)
        yield New(
            stream,
            ErasureRefused(
                person=self.person, ground=self.ground, reason=self.reason, by=given.actor
            ),
        )


class DestroyKeys(Immediate):
    """Note that these keys are destroyed, before they are.

    Whoever gives it holds the keyring, and names every relationship that the person takes part
    in: a decision looks at what it is told of.
    """

    name = "destroy-keys"

    person: UUID
    keys: Keys
    basis: ErasureBasis
    reason: Text
    relationships: Relationships = ()
    proven: LogProven | None = None

    def decide(self, given: Given) -> Iterator[New]:
        for relationship in self.relationships:
            for hold in held(given.history(hold_stream(relationship)), given.now):
                raise LegalHoldStands(relationship=relationship, hold=hold)
            self._require_free(given, relationship)
        yield New(
            erasure_stream(self.person),
            KeyDestroyed(
                person=self.person,
                keys=self.keys,
                basis=self.basis,
                reason=self.reason,
                relationships=self.relationships,
                proven=self.proven,
            ),
        )

    def _require_free(self, given: Given, relationship: UUID) -> None:
        """StillRetained unless its time is over, or the basis goes before that duty."""
        if self.basis in _PAST_RETENTION:
            return
        record = tuple(given.history(Stream(category, relationship)) for category in RECORD)
        until = kept_until(record, given.history(person_stream(self.person)), given.policy)
        if until is not None and given.now < until:
            raise StillRetained(relationship=relationship, until=until.date().isoformat())
