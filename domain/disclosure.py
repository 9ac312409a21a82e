"""Disclosure: what left the record, for whom, for what, and on what lawful basis.

Every disclosure and every export is an entry before it happens, so that a client can be told who
received what (45 CFR 164.528, 42 CFR 2.25). Stream: `disclosure-<relationship>`, under a key of
the clinic's: the account outlives what was disclosed.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.amendment import amendments_of, linked
from domain.clinic import Scope, Sha256
from domain.consent import Reliance, require_consent
from domain.event import (
    Command,
    EntryUnknown,
    Erased,
    Event,
    Given,
    History,
    Immediate,
    Line,
    Model,
    Moment,
    New,
    RecordedEvent,
    Refusal,
    Stream,
    Text,
)
from domain.ids import new_id
from domain.relationship import (
    Part,
    Relationship,
    relationship_of,
    relationship_stream,
)
from domain.restriction import Entries, Purpose, RecipientKind, Use, binding, covered

REDISCLOSURE_NOTICE = "42 CFR part 2 prohibits unauthorized use or disclosure of these records."
"""The short notice that goes along with what is disclosed by consent (42 CFR 2.32(a)(2))."""

_ORAL_SUSPENSION = timedelta(days=30)


class LegalBasis(StrEnum):
    """What makes a disclosure lawful."""

    CONSENT = "consent"
    CARE = "care"
    """Treatment, payment and operations, where the law needs no consent to them."""
    OWN_ACCESS = "own_access"
    REQUIRED_BY_LAW = "required_by_law"
    COURT_ORDER = "court_order"
    OVERSIGHT = "oversight"
    PUBLIC_INTEREST = "public_interest"
    EMERGENCY = "emergency"
    """Vital interests; overrides a restriction, and asks not to pass it on."""
    NONE = "none"
    """There was none: it happened all the same, and so it is accounted for."""


_PAST_RESTRICTIONS = frozenset(
    {
        LegalBasis.REQUIRED_BY_LAW,
        LegalBasis.COURT_ORDER,
        LegalBasis.OVERSIGHT,
        LegalBasis.EMERGENCY,
        LegalBasis.NONE,
    }
)
"""What an agreed restriction does not prevent (45 CFR 164.522(a)(1)(iii) and (v)), or did not."""


class Recipient(Model):
    """Who received it."""

    kind: RecipientKind
    name: Line
    address: Line | None = None
    person: UUID | None = None
    """Where it is somebody whom the record knows."""


# --- What happened --------------------------------------------------------------------------


class RecordDisclosed(Event):
    """A part of the record was given to somebody outside, or not treating."""

    topic = "record.disclosed"
    # The account of what left is nobody's to mend; a mistake in it is told by another entry.
    correctable = False

    disclosure: UUID
    recipient: Recipient
    purpose: Purpose
    legal_basis: LegalBasis
    basis: Text
    """The basis in words: which law, which order, what the emergency was."""
    what: Text
    """In words, which parts; not what they say: the account outlives every erasure."""
    entries: Entries = ()
    """The same by version; empty: the whole record."""
    relies_on: tuple[Reliance, ...] = ()
    notice: Line | None = None
    """What the recipient was told on passing it on."""
    overridden: tuple[UUID, ...] = ()
    """The restrictions that would have prevented it."""
    accompanied_by: Entries = ()
    """Amendments, denials and statements that went along with what they contest."""


class ViewVersion(Model):
    """Which code told a view (rule 7)."""

    view: Line
    version: Annotated[int, Field(ge=1, le=10_000)]


class ExportMade(Event):
    """A copy of a relationship's record was made (rule 43)."""

    topic = "export.made"
    correctable = False

    export: UUID
    what: Line
    to: UUID
    """Who was handed it; `recipient`: for whom, where it was not for themself."""
    purpose: Line
    recipient: RecipientKind | None = None
    known_at: Moment
    happened_by: Moment
    position: Annotated[int, Field(ge=0, lt=2**53)]
    """Of the last entry that it covers."""
    views: tuple[ViewVersion, ...]
    filters: tuple[Line, ...]
    """What was left out or withheld."""
    commitment: Sha256
    """The salted commitment to its content, in hex; the salt stands in the copy alone."""


class RecipientInformed(Event):
    """Somebody who had received an entry was told that it was amended, or is contested."""

    topic = "disclosure.recipient_informed"
    correctable = False

    disclosure: UUID
    amendment: UUID
    by: UUID


class AccountingSuspended(Event):
    """For a time, the client is not told of disclosures to an authority that asked for that."""

    topic = "disclosure.accounting_suspended"
    correctable = False

    suspension: UUID
    recipient: RecipientKind
    agency: Line
    in_writing: bool
    until: Moment


# --- Questions ------------------------------------------------------------------------------


def disclosure_stream(relationship: UUID) -> Stream:
    return Stream("disclosure", relationship)


def accounting(
    history: History,
    begin: datetime | None = None,
    end: datetime | None = None,
    *,
    recipients: Collection[RecipientKind] = frozenset(RecipientKind),
    purposes: Collection[Purpose] = frozenset(Purpose),
) -> tuple[RecordedEvent, ...]:
    """Every disclosure in that time to these recipients for these purposes, by when it happened
    (R9, R10). What `suspended` tells of is left out of an account for the client."""
    found = (
        entry
        for entry, disclosed in history.of(RecordDisclosed)
        if (begin is None or begin <= entry.occurred_at)
        and (end is None or entry.occurred_at <= end)
        and disclosed.recipient.kind in recipients
        and disclosed.purpose in purposes
    )
    return tuple(sorted(found, key=lambda entry: entry.occurred_at))


def suspended(history: History, at: datetime) -> frozenset[RecipientKind]:
    """The recipients of whom the client is not told at that time (45 CFR 164.528(a)(2))."""
    return frozenset(
        suspension.recipient
        for entry, suspension in history.of(AccountingSuspended)
        if entry.occurred_at <= at < suspension.until
    )


@dataclass(frozen=True, slots=True)
class ToInform:
    """Somebody who received an entry before it was amended, and was not told yet."""

    amendment: UUID
    disclosure: UUID
    recipient: Recipient


def to_inform(history: History, disclosures: History) -> tuple[ToInform, ...]:
    """Every earlier recipient of an amended entry who was not told of it (R24)."""
    told = {(each.disclosure, each.amendment) for _, each in disclosures.of(RecipientInformed)}
    return tuple(
        ToInform(id_, disclosed.disclosure, disclosed.recipient)
        for id_, amending in amendments_of(history).items()
        if amending.accepted is not None
        for _, disclosed in disclosures.of(RecordDisclosed)
        if amending.requested.entry in (disclosed.entries or (amending.requested.entry,))
        and (disclosed.disclosure, id_) not in told
    )


def _disclosed(history: History, disclosure: UUID) -> RecordDisclosed | None:
    found = (each for _, each in history.of(RecordDisclosed))
    return next((each for each in found if each.disclosure == disclosure), None)


# --- Refusals -------------------------------------------------------------------------------


class DisclosureExists(Refusal):
    says = "Disclosure {disclosure} exists; use a new id."


class DisclosureUnknown(Refusal):
    status = 404
    says = "There is no disclosure {disclosure} of this relationship."


class DisclosureRestricted(Refusal):
    says = (
        "Restriction {restriction} is against showing this to that recipient or for that purpose."
    )


class NoticeMissing(Refusal):
    status = 422
    says = "What is disclosed by consent or in an emergency goes with the notice on passing it on."


class NothingToInform(Refusal):
    says = "Disclosure {disclosure} holds nothing that amendment {amendment} changed."


class SuspensionUnsound(Refusal):
    status = 422
    says = (
        "Accounting is suspended for health oversight and law enforcement alone, until a time that"
        " lies ahead; where they did not ask in writing, for 30 days at most."
    )


# --- Commands -------------------------------------------------------------------------------


class DiscloseRecord(Command):
    """Disclose a part of the record. Refused where it is restricted, or consent is missing."""

    name = "disclose-record"

    relationship: UUID
    disclosure: UUID = Field(default_factory=new_id)
    recipient: Recipient
    purpose: Purpose
    legal_basis: LegalBasis
    basis: Text
    what: Text
    entries: Entries = ()
    notice_given: bool = False

    def decide(self, given: Given) -> Iterator[New]:
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history)
        stream = disclosure_stream(self.relationship)
        if _disclosed(given.history(stream), self.disclosure):
            raise DisclosureExists(disclosure=self.disclosure)
        if any(history.entry(version) is None for version in self.entries):
            raise EntryUnknown(what="entry")
        relies_on: tuple[Reliance, ...] = ()
        if self.legal_basis is LegalBasis.CONSENT:
            scope, told_of = Scope.INFORMATION_SHARING, self._told_of(relationship, history)
            relies_on = require_consent(
                given, history, scope, *told_of, recipient=self.recipient.name
            )
        if self.legal_basis in (LegalBasis.CONSENT, LegalBasis.EMERGENCY) and not self.notice_given:
            raise NoticeMissing
        links = linked(history)
        travelling = {
            version for contested in (self.entries or links) for version in links.get(contested, ())
        }
        yield New(
            stream,
            RecordDisclosed(
                disclosure=self.disclosure,
                recipient=self.recipient,
                purpose=self.purpose,
                legal_basis=self.legal_basis,
                basis=self.basis,
                what=self.what,
                entries=self.entries,
                relies_on=relies_on,
                notice=REDISCLOSURE_NOTICE if self.notice_given else None,
                overridden=self._overridden(history, given.at),
                accompanied_by=tuple(sorted(travelling)),
            ),
        )

    def _told_of(self, relationship: Relationship, history: History) -> tuple[UUID, ...]:
        """Whose consent it takes: of one client, where all of it is that client's own; else of
        everybody who was ever a client, for what is joint tells of them."""
        clients = relationship.ever(Part.CLIENT)
        told = (history.entry(version) for version in self.entries)
        owners = {
            None if entry is None or isinstance(entry.event, Erased) else entry.event.subject()
            for entry in told
        }
        own = {owner for owner in owners if owner in clients}
        return tuple(sorted(own if own and own == owners else clients))

    def _overridden(self, history: History, at: datetime) -> tuple[UUID, ...]:
        """The restrictions that this basis goes past; DisclosureRestricted where it does not."""
        use = Use(self.purpose.value, self.recipient.person, self.recipient.kind)
        against = [
            restriction
            for restriction in binding(history, use, at)
            if (parts := covered([restriction])) is None
            or not self.entries
            or parts & {*self.entries}
        ]
        if against and self.legal_basis not in _PAST_RESTRICTIONS:
            raise DisclosureRestricted(restriction=against[0].restriction)
        return tuple(restriction.restriction for restriction in against)


class NoteExport(Immediate):
    """Note that a copy is made, before it is handed out."""

    name = "note-export"

    relationship: UUID
    export: UUID = Field(default_factory=new_id)
    what: Line
    purpose: Line
    recipient: RecipientKind | None = None
    known_at: Moment | None = None
    happened_by: Moment | None = None
    position: Annotated[int, Field(ge=0, lt=2**53)]
    views: tuple[ViewVersion, ...]
    filters: tuple[Line, ...] = ()
    commitment: Sha256

    def decide(self, given: Given) -> Iterator[New]:
        yield New(
            disclosure_stream(self.relationship),
            ExportMade(
                export=self.export,
                what=self.what,
                to=given.actor,
                purpose=self.purpose,
                recipient=self.recipient,
                known_at=self.known_at or given.now,
                happened_by=self.happened_by or self.known_at or given.now,
                position=self.position,
                views=self.views,
                filters=self.filters,
                commitment=self.commitment,
            ),
        )


class InformRecipient(Immediate):
    """Say that somebody who had received an entry was told of its amendment."""

    name = "inform-recipient"

    relationship: UUID
    disclosure: UUID
    amendment: UUID

    def decide(self, given: Given) -> Iterator[New]:
        history = given.history(relationship_stream(self.relationship))
        stream = disclosure_stream(self.relationship)
        disclosures = given.history(stream)
        if _disclosed(disclosures, self.disclosure) is None:
            raise DisclosureUnknown(disclosure=self.disclosure)
        waiting = to_inform(history, disclosures)
        if (self.disclosure, self.amendment) not in {(w.disclosure, w.amendment) for w in waiting}:
            raise NothingToInform(disclosure=self.disclosure, amendment=self.amendment)
        yield New(
            stream,
            RecipientInformed(disclosure=self.disclosure, amendment=self.amendment, by=given.actor),
        )


class SuspendAccounting(Immediate):
    """Do not tell the client of disclosures to an authority, as long as it asked for that."""

    name = "suspend-accounting"

    relationship: UUID
    suspension: UUID = Field(default_factory=new_id)
    recipient: RecipientKind
    agency: Line
    in_writing: bool
    until: Moment

    def decide(self, given: Given) -> Iterator[New]:
        relationship_of(given.history(relationship_stream(self.relationship)))
        entitled = (RecipientKind.HEALTH_OVERSIGHT, RecipientKind.LAW_ENFORCEMENT)
        ahead = self.until - given.now
        if self.recipient not in entitled or ahead <= timedelta(0):
            raise SuspensionUnsound
        if not self.in_writing and ahead > _ORAL_SUSPENSION:
            raise SuspensionUnsound
        yield New(
            disclosure_stream(self.relationship),
            AccountingSuspended(
                suspension=self.suspension,
                recipient=self.recipient,
                agency=self.agency,
                in_writing=self.in_writing,
                until=self.until,
            ),
        )
