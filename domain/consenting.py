"""Consenting: who says yes or no to what, after which information, on what basis and for how long.

A consent that is given, or given again, is checked here; what it is and when it holds stands in
`domain/consent.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time
from uuid import UUID

from pydantic import Field

from domain.assent import BirthDateUnknown, majority_day
from domain.clinic import DocumentVersion, Scope, Sha256
from domain.consent import (
    REST_ON_TREATMENT,
    Capacity,
    ConsentDeclined,
    ConsentGiven,
    ConsentRenewed,
    ConsentScopeNarrowed,
    ConsentUnknown,
    ConsentWithdrawn,
    ConsentWithdrawnAlready,
    Sharing,
    consents_of,
)
from domain.event import (
    Command,
    Entries,
    Fold,
    Given,
    History,
    Moment,
    New,
    RecordedEvent,
    Refusal,
    Source,
    Text,
)
from domain.ids import new_id
from domain.information import require_informed, require_published, require_therapists_informed
from domain.person import require_person
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)

# --- Refusals -------------------------------------------------------------------------------


class TherapistCannotConsent(Refusal):
    rule = 18
    says = "{signer} treats or supervises here and cannot consent for somebody else."


class CapacityUnclear(Refusal):
    rule = 19
    status = 422
    says = "{party} signs as own; a client's guardian or legal representative, as such."


class CapacityUnfitForAge(Refusal):
    rule = 23
    says = (
        "At the age of {party} nobody signs as {capacity}: for a minor a guardian does, or the"
        " minor as mature; an adult, or a legal representative, from majority on."
    )


class CapacityBasisMissing(Refusal):
    rule = 23
    status = 422
    says = "Say on what it rests that {party} is mature enough, or represented: capacity_basis."


class CapacityNotAttested(Refusal):
    rule = 19
    says = "That {signer} may sign like this is recorded by a therapist of the relationship."


class SharingTermsUnfit(Refusal):
    rule = 19
    status = 422
    says = (
        "Consent to share information says who shares what with whom, for what and until when:"
        " give sharing; consent to anything else has none."
    )


class NotAskedForAlone(Refusal):
    rule = 19
    says = "Consent to {scope} is asked for by itself, in a document that asks for nothing else."


class ConsentPeriodUnsound(Refusal):
    rule = 19
    status = 422
    says = "A consent holds from when it is given or later, and ends after that."


class ConsentExists(Refusal):
    says = "Consent {consent} exists; use a new id."


class RenewedInOlderWords(Refusal):
    rule = 17
    says = "Consent {consent} was given to a newer version: renew it in that one, or a newer."


class WithdrawnSince(Refusal):
    rule = 20
    says = "{party} has withdrawn consent to {scope} since then; it can only be given anew."


# --- Commands -------------------------------------------------------------------------------


class _Agree(Command):
    """What somebody says who consents, for the first time or again."""

    relationship: UUID
    consent: UUID = Field(default_factory=new_id)
    version: DocumentVersion
    sha256: Sha256
    signer: UUID
    capacity: Capacity = Capacity.OWN
    capacity_basis: Text | None = None
    valid_from: Moment | None = None
    """Left out: from when it is given."""
    valid_to: Moment | None = None
    """Left out: until it is withdrawn; a guardian's consent ends at majority in any case."""

    def _agreed(
        self,
        given: Given,
        history: History,
        *,
        scope: Scope,
        party: UUID,
        document: UUID,
        sharing: Sharing | None,
    ) -> ConsentGiven:
        """The consent, if it may be given like this."""
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        # Also where the first was entered in error: what is cited by its id means one consent.
        if self.consent in history.folded(_RECORDED):
            raise ConsentExists(consent=self.consent)
        self._require_signer(given, relationship, party)
        of_age = self._require_age(given, party)
        self._require_informed(given, history, relationship, document, scope)
        _require_not_withdrawn(given, history, party, scope)
        if (sharing is not None) != (scope is Scope.INFORMATION_SHARING):
            raise SharingTermsUnfit
        valid_from, valid_to = self.valid_from or given.at, self.valid_to
        if self.capacity is Capacity.GUARDIAN and of_age is not None:
            valid_to = min(valid_to or of_age, of_age)
        if valid_from < given.at or (valid_to and valid_to <= valid_from):
            raise ConsentPeriodUnsound
        return ConsentGiven(
            consent=self.consent,
            scope=scope,
            party=party,
            document=document,
            version=self.version,
            sha256=self.sha256,
            signer=self.signer,
            capacity=self.capacity,
            capacity_basis=self.capacity_basis,
            sharing=sharing,
            valid_from=valid_from,
            valid_to=valid_to,
        )

    def _require_signer(self, given: Given, relationship: Relationship, party: UUID) -> None:
        require_participant(relationship, party)
        signs_for_other = self.signer != party
        if signs_for_other and self.signer in (*relationship.therapists, relationship.supervisor):
            raise TherapistCannotConsent(signer=self.signer)
        is_represented = signs_for_other and party in relationship.clients
        if signs_for_other != is_represented or is_represented == (self.capacity in _FOR_ONESELF):
            raise CapacityUnclear(party=party)
        if signs_for_other:
            require_person(given, self.signer)
        # Whoever claims to speak for somebody, or to be mature enough, does not attest it too.
        is_attested = given.actor in relationship.therapists or given.source is Source.IMPORT
        if self.capacity is not Capacity.OWN and not is_attested:
            raise CapacityNotAttested(signer=self.signer)

    def _require_age(self, given: Given, party: UUID) -> datetime | None:
        """Rule 23: who may sign for a party of that age; gives when the party comes of age."""
        if self.capacity in _ON_A_BASIS and self.capacity_basis is None:
            raise CapacityBasisMissing(party=party)
        day = majority_day(given, party)
        if day is None:
            if self.capacity in _FOR_A_MINOR:
                raise BirthDateUnknown(person=party)
            return None
        if (given.at.date() < day) != (self.capacity in _FOR_A_MINOR):
            raise CapacityUnfitForAge(party=party, capacity=self.capacity)
        return datetime.combine(day, time(), given.at.tzinfo)

    def _require_informed(
        self,
        given: Given,
        history: History,
        relationship: Relationship,
        document: UUID,
        scope: Scope,
    ) -> None:
        version = self.version
        asked_for = require_published(given, document, version, sha256=self.sha256, scope=scope)
        if scope is Scope.PROCESS_NOTES and len(asked_for) > 1:
            raise NotAskedForAlone(scope=scope)
        require_informed(given, history, self.signer, document, version)
        if scope is Scope.RESEARCH_PARTICIPATION and self.signer not in relationship.therapists:
            require_therapists_informed(given, history, relationship, document, version)


class GiveConsent(_Agree):
    """Consent to one scope, in the words of a published document, after being informed."""

    name = "give-consent"

    scope: Scope
    party: UUID
    document: UUID
    sharing: Sharing | None = None
    """Where information is shared: what is shared, with whom, for what and until when."""

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        yield New(
            stream,
            self._agreed(
                given,
                given.history(stream),
                scope=self.scope,
                party=self.party,
                document=self.document,
                sharing=self.sharing,
            ),
        )


class RenewConsent(_Agree):
    """Consent to the same for another period, in the same wording or a newer one."""

    name = "renew-consent"

    renews: UUID

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        relationship_of(history)
        old = consents_of(history).get(self.renews)
        if old is None:
            raise ConsentUnknown(consent=self.renews)
        if old.withdrawn_at:
            raise ConsentWithdrawnAlready(consent=self.renews)
        if self.version < old.given.version:
            raise RenewedInOlderWords(consent=self.renews)
        anew = self._agreed(
            given,
            history,
            scope=old.given.scope,
            party=old.given.party,
            document=old.given.document,
            sharing=old.given.sharing,
        )
        renewal = {"renews": self.renews, "excludes": old.excludes}
        yield New(stream, ConsentRenewed.model_validate(dict(anew) | renewal))


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
        relationship = relationship_of(given.history(stream)).at(given.at)
        require_open(relationship, given)
        require_participant(relationship, self.party)
        require_published(given, self.document, self.version)
        yield New(
            stream,
            ConsentDeclined(
                scope=self.scope,
                party=self.party,
                document=self.document,
                version=self.version,
            ),
        )


_FOR_ONESELF = frozenset({Capacity.OWN, Capacity.MATURE_MINOR})
_FOR_A_MINOR = frozenset({Capacity.GUARDIAN, Capacity.MATURE_MINOR})
_ON_A_BASIS = frozenset({Capacity.MATURE_MINOR, Capacity.LEGAL_REPRESENTATIVE})


def _recorded(entries: Iterable[RecordedEvent]) -> Mapping[UUID, ConsentGiven]:
    """Every consent that was ever recorded, also one entered in error."""
    return {
        entry.event.consent: entry.event
        for entry in entries
        if isinstance(entry.event, ConsentGiven)
    }


_RECORDED = Fold(
    _recorded, ConsentGiven, then=lambda told, news: {**told, **_recorded(news)}, lasts=True
)


def _takings_back(entries: Iterable[RecordedEvent]) -> Entries:
    """Every withdrawal and narrowing that was ever recorded."""
    taken = ConsentWithdrawn | ConsentScopeNarrowed
    return tuple(entry for entry in entries if isinstance(entry.event, taken))


_TAKINGS_BACK = Fold(
    _takings_back,
    *(ConsentWithdrawn, ConsentScopeNarrowed),
    then=lambda taken, news: taken + news,
    lasts=True,
)


def _require_not_withdrawn(given: Given, history: History, party: UUID, scope: Scope) -> None:
    """Rule 20: no consent dated back to before a withdrawal brings back what that took.

    Nor does it where the consent that was withdrawn is said to have been entered in error.
    """
    scopes = {scope, Scope.TREATMENT} if scope in REST_ON_TREATMENT else {scope}
    recorded = history.folded(_RECORDED)
    for entry in history.folded(_TAKINGS_BACK):
        match entry.event:
            case ConsentWithdrawn(consent=id_, also_ends=others) if given.at < entry.occurred_at:
                taken_back = (id_, *others)
            case ConsentScopeNarrowed(consent=id_) if given.at < entry.occurred_at:
                taken_back = (id_,)
            case _:
                continue
        for consent in map(recorded.get, taken_back):
            if consent is not None and consent.party == party and consent.scope in scopes:
                raise WithdrawnSince(party=party, scope=consent.scope)
