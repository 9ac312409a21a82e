"""Restriction: what a client and the clinic agree not to show, to whom, or for what.

It binds every door from the moment it is agreed: a reading or a disclosure that it is meant
against is refused, or shown without the entries it covers. An emergency overrides it, with a
reason. It stands in the relationship's stream, sealed under the client's key.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.clinic import EachOnce
from domain.event import (
    EntryUnknown,
    Event,
    Given,
    History,
    Immediate,
    Model,
    New,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.relationship import Part, relationship_of, relationship_stream

Entries = Annotated[
    tuple[Annotated[int, Field(ge=1, lt=2**53)], ...], Field(max_length=1000), EachOnce
]
"""Entries of a relationship by their versions."""


class RecipientKind(StrEnum):
    """Who receives what is shown."""

    CLIENT = "client"
    FAMILY = "family"
    PROVIDER = "provider"
    HEALTH_PLAN = "health_plan"
    EMPLOYER = "employer"
    RESEARCHER = "researcher"
    COURT = "court"
    HEALTH_OVERSIGHT = "health_oversight"
    LAW_ENFORCEMENT = "law_enforcement"
    PUBLIC_AUTHORITY = "public_authority"
    OTHER = "other"


class Purpose(StrEnum):
    """For what something is shown."""

    TREATMENT = "treatment"
    PAYMENT = "payment"
    OPERATIONS = "operations"
    SUPERVISION = "supervision"
    RESEARCH = "research"
    OWN_ACCESS = "own_access"
    LEGAL_PROCEEDING = "legal_proceeding"
    OVERSIGHT = "oversight"
    LAW_ENFORCEMENT = "law_enforcement"
    PUBLIC_HEALTH = "public_health"
    SAFETY = "safety"
    OTHER = "other"


class RestrictionBasis(StrEnum):
    """On what ground it was agreed."""

    AGREED = "agreed"
    """The client asked and the clinic agreed (45 CFR 164.522(a)(1)(iii))."""
    PAID_IN_FULL = "paid_in_full"
    """Paid out of pocket: the clinic has to agree (45 CFR 164.522(a)(1)(vi))."""
    CONTESTED = "contested"
    """The client contests that it is accurate (GDPR 18(1)(a))."""
    UNLAWFUL = "unlawful"
    """The processing is unlawful, the client wants it kept (GDPR 18(1)(b))."""
    NEEDED_FOR_CLAIM = "needed_for_claim"
    """The clinic no longer needs it, the client does (GDPR 18(1)(c))."""
    OBJECTED = "objected"
    """The client objected, and it is being examined (GDPR 18(1)(d))."""


class Against(Model):
    """Whom and what a restriction is meant against: all that is named must be so. Where nothing
    is named, everybody but the client, for anything."""

    recipient: RecipientKind | None = None
    person: UUID | None = None
    purpose: Purpose | None = None


# --- What happened --------------------------------------------------------------------------


class RestrictionAgreed(Event):
    """From now on this is not shown to these, or not for that."""

    topic = "restriction.agreed"
    # Doors have refused by it, and opened by it: it is lifted, never reworded.
    correctable = False

    restriction: UUID
    client: UUID
    against: Against
    entries: Entries = ()
    """What it covers; empty: the whole record."""
    what: Text
    """The same in words, as the client was told."""
    basis: RestrictionBasis
    by: UUID

    def subject(self) -> UUID:
        return self.client

    def outlives_closure(self) -> bool:
        return True


class RestrictionLifted(Event):
    """A restriction no longer binds."""

    topic = "restriction.lifted"
    correctable = False

    restriction: UUID
    client: UUID
    client_agreed: bool
    reason: Text
    by: UUID

    def subject(self) -> UUID:
        return self.client

    def outlives_closure(self) -> bool:
        return True


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """Somebody who is to be shown something, and for what."""

    purpose: str
    person: UUID | None = None
    recipient: RecipientKind | None = None


@dataclass(frozen=True, slots=True)
class Restriction:
    """A restriction, and since when it is lifted, if it is."""

    agreed: RestrictionAgreed
    since: datetime
    lifted_at: datetime | None = None

    def binds(self, use: Use, at: datetime) -> bool:
        """Whether it is in force at that time and meant against this use."""
        if at < self.since or (self.lifted_at is not None and self.lifted_at <= at):
            return False
        if use.person == self.agreed.client:
            return False
        against = self.agreed.against
        return (
            against.person in (None, use.person)
            and against.recipient in (None, use.recipient)
            and (against.purpose is None or against.purpose == use.purpose.strip().casefold())
        )


def restrictions_of(history: History) -> dict[UUID, Restriction]:
    """Every restriction of a relationship by its id, in the order of recording."""
    lifted = {lift.restriction: entry.occurred_at for entry, lift in history.of(RestrictionLifted)}
    return {
        agreed.restriction: Restriction(agreed, entry.occurred_at, lifted.get(agreed.restriction))
        for entry, agreed in history.of(RestrictionAgreed)
    }


# --- Questions ------------------------------------------------------------------------------


def binding(history: History, use: Use, at: datetime) -> tuple[RestrictionAgreed, ...]:
    """The restrictions that bind this use at that time."""
    return tuple(
        restriction.agreed
        for restriction in restrictions_of(history).values()
        if restriction.binds(use, at)
    )


def covered(restrictions: Iterable[RestrictionAgreed]) -> frozenset[int] | None:
    """The entries that these restrictions cover, by version; None: the whole record."""
    covers: set[int] = set()
    for restriction in restrictions:
        if not restriction.entries:
            return None
        covers |= {*restriction.entries}
    return frozenset(covers)


# --- Refusals -------------------------------------------------------------------------------


class NotTheirRecord(Refusal):
    says = "{person} was never a client in this relationship; this is for clients alone."


class RestrictionExists(Refusal):
    says = "Restriction {restriction} exists; use a new id."


class RestrictionUnknown(Refusal):
    status = 404
    says = "There is no restriction {restriction} in this relationship."


class RestrictionLiftedAlready(Refusal):
    says = "Restriction {restriction} was lifted before."


class RestrictionBinds(Refusal):
    says = "Restriction {restriction} is the client's by law: only the client can agree to lift it."


class ClientNotInformed(Refusal):
    status = 422
    says = "Before restriction {restriction} is lifted, its client is informed or agrees."


# --- Commands -------------------------------------------------------------------------------


def require_client(history: History, person: UUID) -> None:
    """NotTheirRecord unless the person is or was a client of the relationship."""
    if person not in relationship_of(history).ever(Part.CLIENT):
        raise NotTheirRecord(person=person)


class AgreeRestriction(Immediate):
    """Agree with a client on what is not shown, to whom, or for what."""

    name = "agree-restriction"

    relationship: UUID
    restriction: UUID = Field(default_factory=new_id)
    client: UUID
    against: Against = Against()
    entries: Entries = ()
    what: Text
    basis: RestrictionBasis = RestrictionBasis.AGREED

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        require_client(history, self.client)
        if self.restriction in restrictions_of(history):
            raise RestrictionExists(restriction=self.restriction)
        if any(history.entry(version) is None for version in self.entries):
            raise EntryUnknown(what="entry")
        yield New(
            stream,
            RestrictionAgreed(
                restriction=self.restriction,
                client=self.client,
                against=self.against,
                entries=self.entries,
                what=self.what,
                basis=self.basis,
                by=given.actor,
            ),
        )


class LiftRestriction(Immediate):
    """Lift a restriction, after its client agreed or was at least informed."""

    name = "lift-restriction"

    relationship: UUID
    restriction: UUID
    client_agreed: bool = False
    client_informed: bool = False
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        restriction = restrictions_of(given.history(stream)).get(self.restriction)
        if restriction is None:
            raise RestrictionUnknown(restriction=self.restriction)
        if restriction.lifted_at is not None:
            raise RestrictionLiftedAlready(restriction=self.restriction)
        agreed = restriction.agreed
        if agreed.basis is RestrictionBasis.PAID_IN_FULL and not self.client_agreed:
            raise RestrictionBinds(restriction=self.restriction)
        if not (self.client_agreed or self.client_informed):
            raise ClientNotInformed(restriction=self.restriction)
        yield New(
            stream,
            RestrictionLifted(
                restriction=self.restriction,
                client=agreed.client,
                client_agreed=self.client_agreed,
                reason=self.reason,
                by=given.actor,
            ),
        )
