"""Consent: informed, given for one scope, relied on by what follows, withdrawn at any time.

All of it stands in the relationship's stream, each entry sealed under the key of the person who
consents: withdrawal and erasure are that person's alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID, uuid4

from pydantic import Field

from domain.clinic import (
    DocumentVersion,
    EachOnce,
    Scope,
    Sha256,
    clinic_stream,
    consent_document,
    in_order,
)
from domain.event import Command, Event, Given, History, Model, Moment, New, Refusal, Text
from domain.person import require_person
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)


class Capacity(StrEnum):
    """On what basis the signer may consent (rule 19)."""

    OWN = "own"
    GUARDIAN = "guardian"
    LEGAL_REPRESENTATIVE = "legal_representative"


class Reliance(Model):
    """The consent that an entry rests on (rule 24): its id, and its version in the stream."""

    entry: Annotated[int, Field(ge=1, lt=2**53)]
    consent: UUID


# --- What happened --------------------------------------------------------------------------


class InformationGiven(Event):
    """Somebody was shown and told what exactly that version of a document says."""

    topic = "consent.information_given"
    # Consent rests on it: what was really shown is recorded anew, under the rules of showing it.
    correctable = False

    document: UUID
    version: DocumentVersion
    sha256: Sha256
    to: UUID
    by: UUID

    def subject(self) -> UUID:
        return self.to


class QuestionsAddressed(Event):
    """There was time for the person's questions, and they were answered."""

    topic = "consent.questions_addressed"
    correctable = False

    document: UUID
    version: DocumentVersion
    party: UUID
    by: UUID

    def subject(self) -> UUID:
        return self.party


class ConsentGiven(Event):
    """A party agrees to one scope, in the wording of exactly that version."""

    topic = "consent.given"
    # What was agreed to is never reworded: mark it as entered in error, or withdraw it.
    correctable = False

    consent: UUID
    scope: Scope
    party: UUID
    document: UUID
    version: DocumentVersion
    sha256: Sha256
    signer: UUID
    capacity: Capacity
    valid_from: Moment
    valid_to: Moment | None = None
    """The first moment at which it no longer holds; None: until it is withdrawn."""

    _period = in_order("valid_from", "valid_to")

    def subject(self) -> UUID:
        return self.party


class ConsentDeclined(Event):
    """A party was asked and said no."""

    topic = "consent.declined"
    correctable = False

    scope: Scope
    party: UUID
    document: UUID
    version: DocumentVersion

    def subject(self) -> UUID:
        return self.party


class ConsentWithdrawn(Event):
    """A party takes a consent back, from that moment on."""

    topic = "consent.withdrawn"
    # A correction could move it back in time (rule 20). Withdrawn by mistake: give it anew.
    correctable = False

    consent: UUID
    party: UUID
    also_ends: tuple[UUID, ...] = ()
    """The consents that end with it (rules 20 and 21)."""
    reason: Text | None = None

    def subject(self) -> UUID:
        return self.party

    def outlives_closure(self) -> bool:
        return True


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent that was given, and since when it is withdrawn, if it is."""

    entry: int
    """Version of the entry that gave it."""
    given: ConsentGiven
    withdrawn_at: datetime | None

    def holds(self, at: datetime) -> bool:
        """Rule 20: until its withdrawal it holds, and what relied on it until then is lawful."""
        end = self.given.valid_to
        return (
            self.given.valid_from <= at
            and (end is None or at < end)
            and (self.withdrawn_at is None or at < self.withdrawn_at)
        )


def consents_of(history: History) -> dict[UUID, Consent]:
    """Every consent of a relationship by its id, in the order of recording."""
    withdrawn = {
        ended: entry.occurred_at
        for entry, withdrawal in history.of(ConsentWithdrawn)
        for ended in (withdrawal.consent, *withdrawal.also_ends)
    }
    return {
        given.consent: Consent(entry.version, given, withdrawn.get(given.consent))
        for entry, given in history.of(ConsentGiven)
    }


# --- Questions ------------------------------------------------------------------------------


def consent_of(history: History, consent: UUID) -> ConsentGiven | None:
    return next((given for _, given in history.of(ConsentGiven) if given.consent == consent), None)


def relied_on(event: Event) -> tuple[int, ...]:
    """Rule 24: the versions of the entries whose consent an entry of this event relies on."""
    relies_on: tuple[Reliance, ...] = getattr(event, "relies_on", ())
    return tuple(reliance.entry for reliance in relies_on)


def consenting(history: History, scope: Scope, at: datetime) -> dict[UUID, Reliance]:
    """By party, the newest consent to that scope which holds at that time."""
    newest = {
        consent.given.party: consent
        for consent in consents_of(history).values()
        if consent.given.scope is scope and consent.holds(at)
    }
    return {
        party: Reliance(entry=consent.entry, consent=consent.given.consent)
        for party, consent in newest.items()
    }


def in_force(history: History, scope: Scope, party: UUID, at: datetime) -> Reliance | None:
    """The newest consent of that party to that scope which holds at that time."""
    return consenting(history, scope, at).get(party)


def require_consent(
    given: Given, history: History, scope: Scope, *parties: UUID
) -> tuple[Reliance, ...]:
    """The consents of all these parties to the scope at `given.at`, for the entry to cite.

    ConsentMissing where one is not in force (rule 12); an import reports that and cites the rest.
    """
    found = consenting(history, scope, given.at)
    for party in parties:
        if party not in found:
            given.unless_imported(ConsentMissing(scope=scope, party=party))
    return tuple(found[party] for party in parties if party in found)


def informed(history: History, person: UUID, document: UUID, version: int, at: datetime) -> bool:
    """Whether the person had been informed with exactly that version by then."""
    return any(
        (info.to, info.document, info.version) == (person, document, version)
        and entry.occurred_at <= at
        for entry, info in history.of(InformationGiven)
    )


# --- Refusals -------------------------------------------------------------------------------


class ConsentMissing(Refusal):
    rule = 12
    says = "No consent of {party} to {scope} is in force at that time."


class DocumentUnknown(Refusal):
    rule = 17
    status = 404
    says = "The clinic had published no version {version} of document {document} by then."


class DocumentDiffers(Refusal):
    rule = 17
    says = "The sha256 is not that of the published version {version} of document {document}."


class ScopeNotInDocument(Refusal):
    rule = 17
    says = "Version {version} of document {document} does not ask for consent to {scope}."


class NotInformed(Refusal):
    rule = 17
    says = "{person} was not informed with version {version} of document {document} before."


class TherapistNotInformedFirst(Refusal):
    rule = 18
    says = "In research the therapists are informed before the clients; {therapist} was not."


class TherapistCannotConsent(Refusal):
    rule = 18
    says = "{signer} treats or supervises here and cannot consent for somebody else."


class CapacityUnclear(Refusal):
    rule = 19
    status = 422
    says = "{party} signs as own; a client's guardian or legal representative, as such."


class ConsentPeriodUnsound(Refusal):
    rule = 19
    status = 422
    says = "A consent holds from when it is given or later, and ends after that."


class ConsentExists(Refusal):
    says = "Consent {consent} exists; use a new id."


class ConsentUnknown(Refusal):
    status = 404
    says = "There is no consent {consent} in this relationship."


class ConsentWithdrawnAlready(Refusal):
    rule = 20
    says = "Consent {consent} was withdrawn before."


class WithdrawnSince(Refusal):
    rule = 20
    says = "{party} has withdrawn consent to {scope} since then; it can only be given anew."


class WithdrawalBackdated(Refusal):
    rule = 20
    status = 422
    says = "A withdrawal takes effect when it is made: leave out occurred_at."


# --- Commands -------------------------------------------------------------------------------


class GiveInformation(Command):
    """Record that somebody was informed before being asked to consent."""

    name = "give-information"

    relationship: UUID
    document: UUID
    version: DocumentVersion
    sha256: Sha256
    to: UUID
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        scopes = _published(given, self.document, self.version, self.sha256)
        therapists = relationship.therapists
        if Scope.RESEARCH_PARTICIPATION in scopes and self.to not in therapists:
            for therapist in therapists:
                if not informed(history, therapist, self.document, self.version, given.at):
                    raise TherapistNotInformedFirst(therapist=therapist)
        yield New(
            stream,
            InformationGiven(
                document=self.document,
                version=self.version,
                sha256=self.sha256,
                to=self.to,
                by=self.by,
            ),
        )


class AddressQuestions(Command):
    """Record that somebody's questions about a document were answered."""

    name = "address-questions"

    relationship: UUID
    document: UUID
    version: DocumentVersion
    party: UUID
    by: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        require_open(relationship_of(given.history(stream)), given)
        _published(given, self.document, self.version)
        yield New(
            stream,
            QuestionsAddressed(
                document=self.document, version=self.version, party=self.party, by=self.by
            ),
        )


class GiveConsent(Command):
    """Consent to one scope, in the words of a published document, after being informed."""

    name = "give-consent"

    relationship: UUID
    consent: UUID = Field(default_factory=uuid4)
    scope: Scope
    party: UUID
    document: UUID
    version: DocumentVersion
    sha256: Sha256
    signer: UUID
    capacity: Capacity = Capacity.OWN
    valid_from: Moment | None = None
    """Left out: from when it is given."""
    valid_to: Moment | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship = relationship_of(history)
        require_open(relationship, given)
        # Also where the first was entered in error: what is cited by its id means one consent.
        recorded = (entry.event for entry in history)
        if any(isinstance(e, ConsentGiven) and e.consent == self.consent for e in recorded):
            raise ConsentExists(consent=self.consent)
        self._require_signer(given, relationship)
        self._require_informed(given, history)
        self._require_not_withdrawn(given, history)
        valid_from = self.valid_from or given.at
        if valid_from < given.at or (self.valid_to and self.valid_to <= valid_from):
            raise ConsentPeriodUnsound
        yield New(
            stream,
            ConsentGiven(
                consent=self.consent,
                scope=self.scope,
                party=self.party,
                document=self.document,
                version=self.version,
                sha256=self.sha256,
                signer=self.signer,
                capacity=self.capacity,
                valid_from=valid_from,
                valid_to=self.valid_to,
            ),
        )

    def _require_signer(self, given: Given, relationship: Relationship) -> None:
        require_participant(relationship, self.party)
        signs_for_other = self.signer != self.party
        if signs_for_other and self.signer in (*relationship.therapists, relationship.supervisor):
            raise TherapistCannotConsent(signer=self.signer)
        is_represented = signs_for_other and self.party in relationship.clients
        if signs_for_other != is_represented or is_represented == (self.capacity is Capacity.OWN):
            raise CapacityUnclear(party=self.party)
        if signs_for_other:
            require_person(given, self.signer)

    def _require_informed(self, given: Given, history: History) -> None:
        document, version = self.document, self.version
        scopes = _published(given, document, version, self.sha256)
        if scopes and self.scope not in scopes:
            given.unless_imported(
                ScopeNotInDocument(document=document, version=version, scope=self.scope)
            )
        if not informed(history, self.signer, document, version, given.at):
            given.unless_imported(
                NotInformed(person=self.signer, document=document, version=version)
            )

    def _require_not_withdrawn(self, given: Given, history: History) -> None:
        """Rule 20: no consent dated back to before a withdrawal brings back what that ended."""
        scopes = {self.scope, Scope.TREATMENT} if self.scope in _REST_ON_TREATMENT else {self.scope}
        for consent in consents_of(history).values():
            other, ended = consent.given, consent.withdrawn_at
            if other.party == self.party and other.scope in scopes and ended and given.at < ended:
                raise WithdrawnSince(party=self.party, scope=other.scope)


class DeclineConsent(Command):
    """Say no to one scope. Nothing follows from it but that it is known."""

    name = "decline-consent"

    relationship: UUID
    scope: Scope
    party: UUID
    document: UUID
    version: DocumentVersion

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        relationship = relationship_of(given.history(stream))
        require_open(relationship, given)
        require_participant(relationship, self.party)
        _published(given, self.document, self.version)
        yield New(
            stream,
            ConsentDeclined(
                scope=self.scope, party=self.party, document=self.document, version=self.version
            ),
        )


class WithdrawConsent(Command):
    """Take a consent back. As easy as giving: it needs the consent's id, and no reason.

    A closed relationship takes it too: closing cannot take away the right to withdraw.
    """

    name = "withdraw-consent"

    relationship: UUID
    consent: UUID
    keep: Annotated[tuple[Scope, ...], EachOnce] = ()
    """Scopes that stay although treatment consent ends (rule 21)."""
    reason: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship_of(history)
        consents = consents_of(history)
        consent = consents.get(self.consent)
        if consent is None:
            raise ConsentUnknown(consent=self.consent)
        if consent.withdrawn_at:
            raise ConsentWithdrawnAlready(consent=self.consent)
        if given.at < given.now - given.policy.clock_tolerance:
            raise WithdrawalBackdated
        also_ends = tuple(
            id_
            for id_, other in consents.items()
            if id_ != self.consent
            and other.withdrawn_at is None
            and self._ends(consent.given, other.given)
        )
        yield New(
            stream,
            ConsentWithdrawn(
                consent=self.consent,
                party=consent.given.party,
                also_ends=also_ends,
                reason=self.reason,
            ),
        )

    def _ends(self, consent: ConsentGiven, other: ConsentGiven) -> bool:
        """What else the withdrawal of a consent ends.

        Rule 20: an older or later consent to the same would be one to fall back on. Rule 21:
        without treatment there is no recording of it, and no research on it.
        """
        if other.party != consent.party:
            return False
        if consent.scope is Scope.TREATMENT:
            return other.scope in {Scope.TREATMENT, *_REST_ON_TREATMENT - set(self.keep)}
        return (other.scope, other.document) == (consent.scope, consent.document)


_REST_ON_TREATMENT = frozenset({Scope.RECORDING, Scope.RESEARCH_PARTICIPATION})
"""The scopes whose consent ends with that to treatment, unless stated otherwise (rule 21)."""


def _published(
    given: Given, document: UUID, version: int, sha256: str | None = None
) -> tuple[Scope, ...]:
    """Rule 17: the scopes of exactly that document, published by then; an import reports."""
    clinic = given.history(clinic_stream(given.clinic)).as_of(happened_by=given.at)
    published = consent_document(clinic, document, version)
    if published is None:
        given.unless_imported(DocumentUnknown(document=document, version=version))
        return ()
    if sha256 not in (None, published.sha256):
        given.unless_imported(DocumentDiffers(document=document, version=version))
    return published.scopes
