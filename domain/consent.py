"""Consent: informed, given for one scope, relied on by what follows, withdrawn at any time.

All of it stands in the relationship's stream, each entry sealed under the key of the person who
consents: withdrawal and erasure are that person's alone. What somebody was told before stands in
`domain/information.py`, what a minor says to it in `domain/assent.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from functools import cache, cached_property
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import Field

from domain.assent import (
    AssentDissented,
    AssentGiven,
    AssentWaived,
    MajorityReached,
    OwnSay,
    own_say,
)
from domain.clinic import DocumentVersion, EachOnce, Scope, Sha256, in_order
from domain.event import (
    Entries,
    Event,
    Fold,
    Given,
    History,
    Line,
    Model,
    Moment,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.information import informed
from domain.relationship import Part, relationship_in


class Capacity(StrEnum):
    """On what basis the signer may consent (rule 19)."""

    OWN = "own"
    MATURE_MINOR = "mature_minor"
    """A minor who understands what is at stake, as a practitioner has found; the basis says how."""
    GUARDIAN = "guardian"
    """For a minor, who gives assent beside it (rule 23)."""
    LEGAL_REPRESENTATIVE = "legal_representative"
    """For an adult."""


EntryVersion = Annotated[int, Field(ge=1, lt=2**53)]


class Reliance(Model):
    """The consent that an entry rests on (rule 24): its id, and its version in the stream."""

    entry: EntryVersion
    consent: UUID
    assent: EntryVersion | None = None
    """Where a guardian consented: the entry in which the minor said what counts beside it."""


class Sharing(Model):
    """What a consent to share information must say (42 CFR 2.31(a)).

    The remaining elements stand in the consent itself: whose it is, who signed and when.
    """

    discloser: Line
    """Who may share."""
    recipients: Annotated[tuple[Line, ...], Field(min_length=1, max_length=50), EachOnce]
    description: Text
    """How much of the record and what kind of information."""
    purpose: Text
    revocation: Text
    """That it can be withdrawn, and how."""
    expires: Text
    """The date, event or condition upon which it ends, as the document words it."""

    def names(self) -> frozenset[str]:
        """The recipients, however they are spelled in capitals."""
        return frozenset(map(str.casefold, self.recipients))


REST_ON_TREATMENT = frozenset({Scope.RECORDING, Scope.RESEARCH_PARTICIPATION})
"""The scopes whose consent ends with that to treatment, unless stated otherwise (rule 21)."""


# --- What happened --------------------------------------------------------------------------


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
    capacity_basis: Text | None = None
    """On what the capacity rests: how maturity was found, which court appointed somebody."""
    sharing: Sharing | None = None
    valid_from: Moment
    valid_to: Moment | None = None
    """The first moment at which it no longer holds; None: until it is withdrawn."""

    _period = in_order("valid_from", "valid_to")

    def subject(self) -> UUID:
        return self.party


class ConsentRenewed(ConsentGiven):
    """A consent given again for another period, in the same wording or a newer one."""

    topic = "consent.renewed"

    renews: UUID
    excludes: tuple[Text, ...] = ()
    """What the renewed consent had come to leave out: a renewal widens nothing."""


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


class ConsentScopeNarrowed(Event):
    """A party takes a part of a consent back, from that moment on."""

    topic = "consent.scope_narrowed"
    # A correction could widen what was narrowed, or move it in time (rule 20).
    correctable = False

    consent: UUID
    party: UUID
    also_narrows: tuple[UUID, ...] = ()
    """Consents to the same that would else be fallen back on."""
    excludes: Text
    """What it no longer covers."""
    valid_to: Moment | None = None
    """Where it also ends earlier: the first moment at which it no longer holds."""

    def subject(self) -> UUID:
        return self.party

    def outlives_closure(self) -> bool:
        return True


class ConsentWithdrawn(Event):
    """A party takes a consent back, from that moment on."""

    topic = "consent.withdrawn"
    # A correction could move it back in time (rule 20). Withdrawn by mistake: give it anew.
    correctable = False

    consent: UUID
    party: UUID
    by: UUID | None = None
    """Who withdrew it, where that was somebody who signs for the party."""
    also_ends: tuple[UUID, ...] = ()
    """The consents that end with it (rules 20 and 21)."""
    reason: Text | None = None

    def subject(self) -> UUID:
        return self.party

    def outlives_closure(self) -> bool:
        return True


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Consent:
    """A consent that was given, and what has become of it."""

    entry: int
    """Version of the entry that gave it."""
    given: ConsentGiven
    withdrawn_at: datetime | None = None
    narrowed: tuple[tuple[RecordedEvent, ConsentScopeNarrowed], ...] = ()
    of_age: tuple[RecordedEvent, datetime] | None = None
    """Since when the minor for whom a guardian gave it is of age, where that is on record."""
    own_say: OwnSay | None = None
    """What that minor says to it; None where nobody consents for a minor."""

    @cached_property
    def ends_at(self) -> datetime | None:
        """The first moment at which it no longer holds; None: none is known."""
        ends = (
            self.given.valid_to,
            self.withdrawn_at,
            self.of_age and self.of_age[1],
            *(narrowed.valid_to for _, narrowed in self.narrowed),
        )
        return min((end for end in ends if end is not None), default=None)

    @property
    def excludes(self) -> tuple[str, ...]:
        """What it has come to leave out, in the party's words."""
        before = self.given.excludes if isinstance(self.given, ConsentRenewed) else ()
        return (*before, *(narrowed.excludes for _, narrowed in self.narrowed))

    def holds(self, at: datetime) -> bool:
        """Rule 20: until its withdrawal it holds, and what relied on it until then is lawful.

        Rule 23: a guardian's holds where the minor was asked as well, and does not object.
        """
        end = self.ends_at
        return (
            self.given.valid_from <= at
            and (end is None or at < end)
            and (self.own_say is None or self.own_say.allows(at))
        )

    def names(self, recipient: str | None) -> bool:
        """Whether it says that this one receives what is shared; None: nobody is asked about."""
        if recipient is None:
            return True
        sharing = self.given.sharing
        return sharing is not None and recipient.casefold() in sharing.names()

    def reliance(self, at: datetime) -> Reliance:
        """What an entry of that time cites, which relies on it."""
        said = None if self.own_say is None else self.own_say.last(at)
        if said is None:
            return self._by_itself
        return Reliance(entry=self.entry, consent=self.given.consent, assent=said.version)

    @cached_property
    def _by_itself(self) -> Reliance:
        return Reliance(entry=self.entry, consent=self.given.consent, assent=None)


class _Since(NamedTuple):
    """What has become of consents, by their ids or by whose they are."""

    withdrawn: Mapping[UUID, datetime]
    narrowed: Mapping[UUID, Sequence[tuple[RecordedEvent, ConsentScopeNarrowed]]]
    of_age: Mapping[UUID, tuple[RecordedEvent, datetime]]
    said: Sequence[RecordedEvent]
    """What minors say to them."""


class _Register(NamedTuple):
    """Every consent, and what else was said that may change one."""

    consents: Mapping[UUID, Consent]
    since: _Since
    to: Mapping[Scope, Sequence[Consent]]
    """The same by what they allow."""


def consents_of(history: History) -> Mapping[UUID, Consent]:
    """Every consent of a relationship by its id, in the order of recording."""
    return history.folded(_REGISTER).consents


def _register(history: History) -> _Register:
    withdrawn: dict[UUID, datetime] = {}
    narrowed: dict[UUID, list[tuple[RecordedEvent, ConsentScopeNarrowed]]] = {}
    of_age: dict[UUID, tuple[RecordedEvent, datetime]] = {}
    said: list[RecordedEvent] = []
    for entry in history.among(*_CHANGING):
        match entry.event:
            case ConsentWithdrawn(consent=id_, also_ends=others):
                withdrawn |= dict.fromkeys((id_, *others), entry.occurred_at)
            case ConsentScopeNarrowed(consent=id_, also_narrows=others) as narrowing:
                for one in (id_, *others):
                    narrowed.setdefault(one, []).append((entry, narrowing))
            case MajorityReached(party=party, on=day):
                begins = datetime.combine(day, time(), entry.occurred_at.tzinfo)
                of_age[party] = (entry, begins)
            case AssentGiven() | AssentDissented() | AssentWaived():
                said.append(entry)
    since = _Since(withdrawn, narrowed, of_age, said)
    return _registered(dict(_consents(history.among(ConsentGiven), since)), since)


def _registered(consents: Mapping[UUID, Consent], since: _Since) -> _Register:
    to: dict[Scope, list[Consent]] = {}
    for consent in consents.values():
        to.setdefault(consent.given.scope, []).append(consent)
    return _Register(consents, since, to)


def _consents(entries: Entries, since: _Since) -> Iterator[tuple[UUID, Consent]]:
    for entry in entries:
        if isinstance(consent := entry.event, ConsentGiven):
            for_minor = consent.capacity is Capacity.GUARDIAN
            yield (
                consent.consent,
                Consent(
                    entry=entry.version,
                    given=consent,
                    withdrawn_at=since.withdrawn.get(consent.consent),
                    narrowed=tuple(since.narrowed.get(consent.consent, ())),
                    of_age=since.of_age.get(consent.party) if for_minor else None,
                    own_say=own_say(since.said, consent.party, consent.scope)
                    if for_minor
                    else None,
                ),
            )


def _further(register: _Register, news: Entries) -> _Register | None:
    """A further consent changes no other; whatever else is said may change any."""
    if not all(isinstance(entry.event, ConsentGiven) for entry in news):
        return None
    further = dict(_consents(news, register.since))
    return _registered({**register.consents, **further}, register.since)


_CHANGING = (
    *(ConsentWithdrawn, ConsentScopeNarrowed),
    *(MajorityReached, AssentGiven, AssentDissented, AssentWaived),
)
_REGISTER = Fold(_register, ConsentGiven, *_CHANGING, then=_further, lasts=True)


# --- Questions ------------------------------------------------------------------------------


def consent_of(history: History, consent: UUID) -> ConsentGiven | None:
    return next((given for _, given in history.of(ConsentGiven) if given.consent == consent), None)


@cache
def _may_rely(kind: type[Event]) -> bool:
    return "relies_on" in kind.model_fields


def relied_on(event: Event) -> tuple[int, ...]:
    """Rule 24: the versions of the entries whose consent an entry of this event relies on."""
    if not _may_rely(type(event)):  # a model takes long to say that it has no such field
        return ()
    relies_on: tuple[Reliance, ...] = getattr(event, "relies_on", ())
    cited = (version for each in relies_on for version in (each.entry, each.assent))
    return tuple(version for version in cited if version is not None)


def consenting(
    history: History, scope: Scope, at: datetime, *, recipient: str | None = None
) -> dict[UUID, Reliance]:
    """By party, the newest consent to that scope which holds at that time.

    `recipient`: only of those that name this one as receiving what is shared.
    """
    newest: dict[UUID, Consent] = {}
    for consent in history.folded(_REGISTER).to.get(scope, ()):
        if consent.holds(at) and consent.names(recipient):
            newest[consent.given.party] = consent
    return {party: consent.reliance(at) for party, consent in newest.items()}


def in_force(
    history: History, scope: Scope, party: UUID, at: datetime, *, recipient: str | None = None
) -> Reliance | None:
    """The one of that party among them."""
    for consent in reversed(history.folded(_REGISTER).to.get(scope, ())):
        if consent.given.party == party and consent.holds(at) and consent.names(recipient):
            return consent.reliance(at)
    return None


def require_consent(
    given: Given, history: History, scope: Scope, *parties: UUID, recipient: str | None = None
) -> tuple[Reliance, ...]:
    """The consents of all these parties to the scope at `given.at`, for the entry to cite.

    ConsentMissing where one is not in force (rule 12); an import reports that and cites the rest.
    """
    cited = []
    for party in parties:
        reliance = in_force(history, scope, party, given.at, recipient=recipient)
        if reliance is None:
            given.unless_imported(ConsentMissing, scope=scope, party=party)
        else:
            cited.append(reliance)
    return tuple(cited)


def require_informed_still(before: Entries, after: Entries) -> None:
    """Rules 17 and 18, where an amendment changes how the standing entries of a relationship read:
    no consent or assent is left without the information that it was given on."""
    were, are = History(before), History(after)
    relationship = relationship_in(before)
    therapists = relationship.ever(Part.THERAPIST) if relationship else frozenset()
    for entry in after:
        match entry.event:
            case ConsentGiven(signer=person) as said:
                in_research = said.scope is Scope.RESEARCH_PARTICIPATION
                people = therapists | {person} if in_research else {person}
            case AssentGiven(party=person) as said:
                people = {person}
            case _:
                continue
        about = (said.document, said.version, entry.occurred_at)
        if any(informed(were, one, *about) and not informed(are, one, *about) for one in people):
            raise InformationReliedOn(entry=entry.version)


# --- Refusals -------------------------------------------------------------------------------


class InformationReliedOn(Refusal):
    rule = 17
    says = "Entry {entry} was given on that information: amend that one first."


class ConsentMissing(Refusal):
    rule = 12
    says = "No consent of {party} to {scope} is in force at that time."


class ConsentUnknown(Refusal):
    status = 404
    says = "There is no consent {consent} in this relationship."


class ConsentWithdrawnAlready(Refusal):
    rule = 20
    says = "Consent {consent} was withdrawn before."
