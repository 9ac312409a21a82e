"""Amendment: a client asks that an entry be set right, and is answered in time.

Accepted, it leads to a correction or an addendum; denied, the client's disagreement and the
clinic's rebuttal stand beside the entry. All of them travel with the entry wherever it is shown
later (45 CFR 164.526). They stand in the relationship's stream, under the asking client's key.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.event import (
    Command,
    EntryUnknown,
    Erased,
    Event,
    Given,
    History,
    Immediate,
    Line,
    New,
    Policy,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.person import require_voice
from domain.relationship import relationship_of, relationship_stream, require_open
from domain.restriction import require_client

Version = Annotated[int, Field(ge=1, lt=2**53)]
"""The version of an entry in the relationship's stream."""

Informed = Annotated[tuple[Line, ...], Field(max_length=100)]
"""Whom the client wants told of an amendment, by what they are called."""


class DenialGround(StrEnum):
    """Why an amendment may be denied, and for nothing else (45 CFR 164.526(a)(2))."""

    NOT_OURS = "not_ours"
    """Somebody else made it, and they can still be asked."""
    NOT_OF_THE_RECORD = "not_of_the_record"
    NOT_OPEN_TO_ACCESS = "not_open_to_access"
    """The client has no right to see it, so none to amend it."""
    ACCURATE_AND_COMPLETE = "accurate_and_complete"


# --- What happened --------------------------------------------------------------------------


class AmendmentEntry(Event):
    """One step of an amendment: never reworded, for what follows answers exactly these words."""

    correctable = False

    amendment: UUID
    party: UUID
    """The client whose amendment it is."""

    def subject(self) -> UUID:
        return self.party

    def outlives_closure(self) -> bool:
        return True


class AmendmentRequested(AmendmentEntry):
    """A client says what an entry should say instead, and why."""

    topic = "amendment.requested"

    entry: Version
    wants: Text
    reason: Text


class AmendmentExtended(AmendmentEntry):
    """The clinic needs longer, once, and told the client why."""

    topic = "amendment.extended"

    reason: Text


class AmendmentAccepted(AmendmentEntry):
    """The entry was set right by a correction, or completed by an addendum."""

    topic = "amendment.accepted"

    correction: Version | None = None
    addendum: Version | None = None
    informs: Informed = ()


class AmendmentDenied(AmendmentEntry):
    """The clinic does not amend the entry, on one of the grounds there are."""

    topic = "amendment.denied"

    ground: DenialGround
    reason: Text


class DisagreementStated(AmendmentEntry):
    """The client's own words on the denial; they stay with the entry."""

    topic = "amendment.disagreement_stated"

    text: Text


class DisagreementRebutted(AmendmentEntry):
    """The clinic's answer to the client's disagreement."""

    topic = "amendment.disagreement_rebutted"

    text: Text
    by: UUID


# --- State ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Amending:
    """Where one amendment stands, with the entries that say so."""

    requested: AmendmentRequested
    at: datetime
    entry: int
    """The version of the request."""
    extended: int | None = None
    accepted: AmendmentAccepted | None = None
    denied: AmendmentDenied | None = None
    disagreement: int | None = None
    rebuttal: int | None = None
    steps: list[int] = field(default_factory=list)
    """The versions of all its entries, in order."""

    @property
    def is_open(self) -> bool:
        return self.accepted is None and self.denied is None

    def due(self, policy: Policy) -> datetime:
        """By when it is answered (R7)."""
        longer = policy.amend_extension if self.extended else policy.amend_within * 0
        return self.at + policy.amend_within + longer

    def take(self, version: int, step: AmendmentEntry) -> None:
        """Goes on by one step."""
        self.steps.append(version)
        match step:
            case AmendmentExtended():
                self.extended = version
            case AmendmentAccepted():
                self.accepted = step
                self.steps += filter(None, (step.correction, step.addendum))
            case AmendmentDenied():
                self.denied = step
            case DisagreementStated():
                self.disagreement = version
            case DisagreementRebutted():
                self.rebuttal = version


def amendments_of(history: History) -> dict[UUID, Amending]:
    """Every amendment of a relationship by its id, in the order of the requests."""
    found: dict[UUID, Amending] = {}
    for entry, step in history.of(AmendmentEntry):
        match step:
            case AmendmentRequested():
                found[step.amendment] = Amending(
                    step, entry.occurred_at, entry.version, steps=[entry.version]
                )
            case _ if step.amendment in found:
                found[step.amendment].take(entry.version, step)
    return found


# --- Questions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AmendmentDue:
    """An amendment that waits for its answer."""

    amendment: UUID
    entry: int
    """The version of the contested entry."""
    due: datetime
    overdue: bool


def amendments_due(
    history: History,
    now: datetime,
    policy: Policy = Policy(),  # noqa: B008  a frozen value
) -> tuple[AmendmentDue, ...]:
    """The amendments without an answer, the most urgent first (R7)."""
    waiting = [
        AmendmentDue(id_, amending.requested.entry, due, due < now)
        for id_, amending in amendments_of(history).items()
        if amending.is_open
        for due in [amending.due(policy)]
    ]
    return tuple(sorted(waiting, key=lambda each: each.due))


def linked(history: History) -> dict[int, tuple[int, ...]]:
    """By contested entry, the versions of all that travels with it from now on (R8)."""
    links: dict[int, tuple[int, ...]] = {}
    for amending in amendments_of(history).values():
        contested = amending.requested.entry
        links[contested] = (*links.get(contested, ()), *amending.steps)
    return links


# --- Refusals -------------------------------------------------------------------------------


class AmendmentExists(Refusal):
    says = "Amendment {amendment} exists; use a new id."


class AmendmentUnknown(Refusal):
    status = 404
    says = "There is no amendment {amendment} in this relationship."


class AmendmentAnswered(Refusal):
    says = "Amendment {amendment} was accepted or denied before."


class AmendmentNotDenied(Refusal):
    says = "Amendment {amendment} was not denied: there is nothing to disagree with."


class ExtendedAlready(Refusal):
    says = "Amendment {amendment} was extended before, or its time has run out: answer it."


class NotSetRight(Refusal):
    status = 422
    says = (
        "An accepted amendment names what set the entry right since it was asked for: the"
        " correction of entry {entry}, or an addendum."
    )


class DisagreementMissing(Refusal):
    says = "There is no statement of disagreement with amendment {amendment} to rebut."


class StatedAlready(Refusal):
    says = "That was said before in amendment {amendment}; each side speaks once."


# --- Commands -------------------------------------------------------------------------------


class RequestAmendment(Command):
    """Ask that an entry be set right. It may have been asked on paper, some days ago."""

    name = "request-amendment"

    relationship: UUID
    amendment: UUID = Field(default_factory=new_id)
    entry: Version
    party: UUID
    wants: Text
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = relationship_stream(self.relationship)
        history = given.history(stream)
        require_client(history, self.party)
        require_voice(self.party, given)
        require_open(relationship_of(history), given, follow_up=True)
        if self.amendment in amendments_of(history):
            raise AmendmentExists(amendment=self.amendment)
        if not _is_theirs(history.entry(self.entry), self.party):
            raise EntryUnknown(what="entry")
        yield New(
            stream,
            AmendmentRequested(
                amendment=self.amendment,
                party=self.party,
                entry=self.entry,
                wants=self.wants,
                reason=self.reason,
            ),
        )


def _is_theirs(entry: RecordedEvent | None, party: UUID) -> bool:
    """Whether it is joint or that client's own: of another's, nobody is told that it is there."""
    if entry is None or isinstance(entry.event, Erased):
        return False
    return entry.event.subject() in (None, party) and not isinstance(entry.event, AmendmentEntry)


class ExtendAmendment(Immediate):
    """Take longer, once, before the time is over, and say why."""

    name = "extend-amendment"

    relationship: UUID
    amendment: UUID
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        amending = _open(given, self.relationship, self.amendment)
        if amending.extended or amending.due(given.policy) < given.now:
            raise ExtendedAlready(amendment=self.amendment)
        yield _step(
            self.relationship,
            AmendmentExtended(
                amendment=self.amendment, party=amending.requested.party, reason=self.reason
            ),
        )


class AcceptAmendment(Immediate):
    """Accept an amendment, after the correction or the addendum that it led to."""

    name = "accept-amendment"

    relationship: UUID
    amendment: UUID
    correction: Version | None = None
    addendum: Version | None = None
    informs: Informed = ()

    def decide(self, given: Given) -> Iterator[New]:
        amending = _open(given, self.relationship, self.amendment)
        history = given.history(relationship_stream(self.relationship))
        if not self._sets_right(history, amending):
            raise NotSetRight(entry=amending.requested.entry)
        yield _step(
            self.relationship,
            AmendmentAccepted(
                amendment=self.amendment,
                party=amending.requested.party,
                correction=self.correction,
                addendum=self.addendum,
                informs=self.informs,
            ),
        )

    def _sets_right(self, history: History, amending: Amending) -> bool:
        version = self.correction or self.addendum
        if version is None or (self.correction and self.addendum) or version <= amending.entry:
            return False
        entry = history.entry(version)
        if entry is None or isinstance(entry.event, Erased | AmendmentEntry):
            return False
        amends = entry.event.amends()
        if self.correction:
            return amends is not None and amends.version == amending.requested.entry
        return amends is None


class DenyAmendment(Immediate):
    """Deny an amendment on one of the grounds there are, and say why."""

    name = "deny-amendment"

    relationship: UUID
    amendment: UUID
    ground: DenialGround
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        amending = _open(given, self.relationship, self.amendment)
        yield _step(
            self.relationship,
            AmendmentDenied(
                amendment=self.amendment,
                party=amending.requested.party,
                ground=self.ground,
                reason=self.reason,
            ),
        )


class StateDisagreement(Immediate):
    """Say, as the client, why the denial is wrong. It stays with the entry."""

    name = "state-disagreement"

    relationship: UUID
    amendment: UUID
    text: Text

    def decide(self, given: Given) -> Iterator[New]:
        amending = _amending(given, self.relationship, self.amendment)
        require_voice(amending.requested.party, given)
        if amending.denied is None:
            raise AmendmentNotDenied(amendment=self.amendment)
        if amending.disagreement:
            raise StatedAlready(amendment=self.amendment)
        yield _step(
            self.relationship,
            DisagreementStated(
                amendment=self.amendment, party=amending.requested.party, text=self.text
            ),
        )


class RebutDisagreement(Immediate):
    """Answer a client's disagreement on the clinic's behalf."""

    name = "rebut-disagreement"

    relationship: UUID
    amendment: UUID
    text: Text

    def decide(self, given: Given) -> Iterator[New]:
        amending = _amending(given, self.relationship, self.amendment)
        if not amending.disagreement:
            raise DisagreementMissing(amendment=self.amendment)
        if amending.rebuttal:
            raise StatedAlready(amendment=self.amendment)
        yield _step(
            self.relationship,
            DisagreementRebutted(
                amendment=self.amendment,
                party=amending.requested.party,
                text=self.text,
                by=given.actor,
            ),
        )


def _amending(given: Given, relationship: UUID, amendment: UUID) -> Amending:
    history = given.history(relationship_stream(relationship))
    relationship_of(history)
    amending = amendments_of(history).get(amendment)
    if amending is None:
        raise AmendmentUnknown(amendment=amendment)
    return amending


def _open(given: Given, relationship: UUID, amendment: UUID) -> Amending:
    amending = _amending(given, relationship, amendment)
    if not amending.is_open:
        raise AmendmentAnswered(amendment=amendment)
    return amending


def _step(relationship: UUID, event: Event) -> New:
    return New(relationship_stream(relationship), event)
