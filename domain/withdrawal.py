"""Taking a consent back, in part or as a whole: at any time, without a reason, from now on.

It is as easy as giving and is never dated back, and no other consent to the same is fallen back on
(rules 20 and 21). What relied on the consent until then stays lawful.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated
from uuid import UUID

from domain.clinic import EachOnce, Scope
from domain.consent import (
    REST_ON_TREATMENT,
    Capacity,
    Consent,
    ConsentGiven,
    ConsentScopeNarrowed,
    ConsentUnknown,
    ConsentWithdrawn,
    ConsentWithdrawnAlready,
    consents_of,
)
from domain.event import Command, Given, Immediate, Moment, New, Refusal, Text
from domain.relationship import relationship_of, relationship_stream

# --- Refusals -------------------------------------------------------------------------------


class WithdrawalBackdated(Refusal):
    rule = 20
    status = 422
    says = "A withdrawal takes effect when it is made: leave out occurred_at."


class NotTheirsToWithdraw(Refusal):
    rule = 20
    says = (
        "{by} neither gave consent {consent} nor signs for who did. A minor dissents from what"
        " a guardian has consented to."
    )


class NothingNarrowed(Refusal):
    rule = 20
    status = 422
    says = "Consent {consent} ends before that anyway: narrowing it gives an earlier end, or none."


# --- Commands -------------------------------------------------------------------------------


class _TakeBack(Command):
    relationship: UUID
    consent: UUID
    by: UUID | None = None
    """Who takes it back; left out: whoever gave it."""

    def _found(self, given: Given) -> tuple[Mapping[UUID, Consent], Consent]:
        """All consents of the relationship, and the one to take back, if that is theirs to do.

        A closed relationship takes it too: closing cannot take away the right to withdraw.
        """
        history = given.history(relationship_stream(self.relationship))
        relationship_of(history)
        consents = consents_of(history)
        consent = consents.get(self.consent)
        if consent is None:
            raise ConsentUnknown(consent=self.consent)
        if consent.withdrawn_at:
            raise ConsentWithdrawnAlready(consent=self.consent)
        if self.by is not None and self.by not in _may_take_back(consents, consent.given):
            raise NotTheirsToWithdraw(by=self.by, consent=self.consent)
        return consents, consent


def _may_take_back(consents: Mapping[UUID, Consent], consent: ConsentGiven) -> set[UUID]:
    """The party, and whoever signs for that person in this relationship.

    A minor says no by a dissent, which leaves treatment to the guardian (rule 23).
    """
    for_minor = consent.capacity is Capacity.GUARDIAN
    signs = Capacity.GUARDIAN if for_minor else Capacity.LEGAL_REPRESENTATIVE
    given = (consent.given for consent in consents.values())
    signers = {one.signer for one in given if (one.party, one.capacity) == (consent.party, signs)}
    return signers if for_minor else signers | {consent.party}


class WithdrawConsent(_TakeBack):
    """Withdraw a consent: it needs its id and no reason."""

    name = "withdraw-consent"

    keep: Annotated[tuple[Scope, ...], EachOnce] = ()
    """Scopes that stay although treatment consent ends (rule 21)."""
    reason: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        consents, consent = self._found(given)
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
            relationship_stream(self.relationship),
            ConsentWithdrawn(
                consent=self.consent,
                party=consent.given.party,
                by=self.by,
                also_ends=also_ends,
                reason=self.reason,
            ),
            # Not a second before it is made, however far the sender's clock is behind.
            given.now,
        )

    def _ends(self, consent: ConsentGiven, other: ConsentGiven) -> bool:
        """What else the withdrawal of a consent ends.

        Rule 20: an older or later consent to the same would be one to fall back on. Rule 21:
        without treatment there is no recording of it, and no research on it.
        """
        if _is_same(consent, other):
            return True
        ended = REST_ON_TREATMENT - set(self.keep)
        treated = consent.scope is Scope.TREATMENT
        return treated and other.party == consent.party and other.scope in ended


class NarrowConsent(Immediate, _TakeBack):
    """Take a part of a consent back: what it no longer covers, and where it ends earlier."""

    name = "narrow-consent"

    excludes: Text
    valid_to: Moment | None = None

    def decide(self, given: Given) -> Iterator[New]:
        consents, consent = self._found(given)
        if self.valid_to is not None:
            latest = consent.ends_at
            if self.valid_to <= given.at or (latest is not None and self.valid_to >= latest):
                raise NothingNarrowed(consent=self.consent)
        also_narrows = tuple(
            id_
            for id_, other in consents.items()
            if id_ != self.consent
            and other.withdrawn_at is None
            and _is_same(consent.given, other.given)
        )
        yield New(
            relationship_stream(self.relationship),
            ConsentScopeNarrowed(
                consent=self.consent,
                party=consent.given.party,
                also_narrows=also_narrows,
                excludes=self.excludes,
                valid_to=self.valid_to,
            ),
        )


_BY_DOCUMENT = frozenset(
    {
        Scope.RESEARCH_PARTICIPATION,
        Scope.DATA_REUSE,
        Scope.QUOTATION,
        Scope.RECONTACT,
        Scope.PROCESS_NOTES,
    }
)
"""Scopes in which the document says to which study, text or disclosure somebody consents."""


def _is_same(consent: ConsentGiven, other: ConsentGiven) -> bool:
    """Whether one would do in the other's place.

    Consent to another study would not, nor consent to share with somebody else.
    """
    if (other.party, other.scope) != (consent.party, consent.scope):
        return False
    if consent.sharing is not None and other.sharing is not None:
        return bool(consent.sharing.names() & other.sharing.names())
    return consent.scope not in _BY_DOCUMENT or other.document == consent.document
