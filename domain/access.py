"""Access: who was let in to read what, on what basis, in an emergency too; and who was denied.

Reads, denials and reviews stand in streams of their own, `access-<relationship>`, and of the
clinic as a whole `access-<clinic>`. So they never move the relationship's own version, and they
outlive every erasure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.consent import Reliance
from domain.event import (
    Command,
    EntryUnknown,
    Event,
    Given,
    History,
    Immediate,
    Line,
    Moment,
    New,
    Policy,
    RecordedEvent,
    Refusal,
    Stream,
    Text,
)
from domain.ids import new_id
from domain.making import checked
from domain.relationship import relationship_of, relationship_stream
from domain.role import Role as Role  # noqa: PLC0414  readers look for it here

Code = Annotated[str, Field(pattern="^[a-z]+(-[a-z]+)*$", max_length=100)]
"""A name of our own in kebab-case: a door's, a denial's. Never what somebody sent."""


class Basis(StrEnum):
    """What entitles somebody to read (rule 41)."""

    OWN = "own"
    """It is the reader's own record."""
    TREATING = "treating"
    CONSENT = "consent"
    """Every client consents to the disclosure; the read cites it."""
    BREAK_GLASS = "break_glass"
    """An emergency; the read names the entry that says so."""
    STRUCTURE = "structure"
    """No content is shown: that something was recorded, when and by whom."""
    OPERATION = "operation"
    """Whoever runs the machine holds its keys, and reads under its own law."""


class Finding(StrEnum):
    """What a review of an access came to."""

    JUSTIFIED = "justified"
    NOT_JUSTIFIED = "not_justified"
    UNCLEAR = "unclear"


def access_stream(about: UUID) -> Stream:
    """Where access to a relationship is kept; to the clinic as a whole: by the clinic's id."""
    return Stream("access", about)


# --- What happened --------------------------------------------------------------------------


class RecordRead(Event):
    """Somebody was given a part of the record."""

    topic = "record.read"
    correctable = False

    reader: UUID
    role: Role
    purpose: Line
    what: Line
    """Which door: dossier, timeline, caseload … Never what it showed."""
    relationship: UUID | None = None
    """None: something clinic-wide, such as the log's status or a caseload."""
    known_at: Moment | None = None
    happened_by: Moment | None = None
    basis: Basis | None = None
    """None: no one relationship was read, or it was before the basis was noted."""
    consents: tuple[Reliance, ...] | None = None
    """Where the basis is consent (rule 24)."""
    break_glass: UUID | None = None
    """Where the basis is an emergency."""


class BreakGlassUsed(Event):
    """In an emergency, a relationship's record was opened to somebody for a short time."""

    topic = "break_glass.used"
    correctable = False

    use: UUID
    person: UUID
    reason: Text
    """What the emergency was, without clinical detail: it outlives every erasure."""
    until: Moment


class AccessReviewed(Event):
    """Somebody looked into an access and says whether it was right."""

    topic = "access.reviewed"
    correctable = False

    entry: Annotated[int, Field(ge=1, lt=2**53)]
    """The version of the access in this stream."""
    by: UUID
    finding: Finding
    note: Text | None = None


class AccessDenied(Event):
    """Somebody who is known here asked for what is not theirs, and was turned away."""

    topic = "access.denied"
    correctable = False

    person: UUID
    role: Role
    door: Code
    code: Code
    """Of the denial."""


# --- Questions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Break:
    """A use of the emergency access that waits for its review."""

    entry: RecordedEvent
    used: BreakGlassUsed
    due: datetime
    overdue: bool


def break_in_force(history: History, person: UUID, at: datetime) -> BreakGlassUsed | None:
    """The emergency access of that person which is open at that time."""
    for entry, used in history.of(BreakGlassUsed):
        if used.person == person and entry.occurred_at <= at < used.until:
            return used
    return None


def breaks_unreviewed(
    history: History,
    now: datetime,
    policy: Policy = Policy(),  # noqa: B008  a frozen value
) -> tuple[Break, ...]:
    """Every emergency access that nobody has reviewed, the oldest first (rule 41, R2)."""
    reviewed = {review.entry for _, review in history.of(AccessReviewed)}
    return tuple(
        Break(entry, used, due, overdue=due < now)
        for entry, used in history.of(BreakGlassUsed)
        if entry.version not in reviewed
        for due in [used.until + policy.review_within]
    )


# --- Refusals -------------------------------------------------------------------------------


class GlassBroken(Refusal):
    rule = 41
    says = "This record is open to you already, until {until}."


class EmergencyExists(Refusal):
    says = "Emergency {use} exists; use a new id."


class TooLongOpen(Refusal):
    rule = 41
    status = 422
    says = "In an emergency a record is opened for 1 to {minutes} minutes."


class ReviewsOneself(Refusal):
    rule = 41
    says = "Nobody reviews their own access."


class ReviewedAlready(Refusal):
    rule = 41
    says = "Entry {entry} was reviewed before."


# --- Commands -------------------------------------------------------------------------------


_read = checked(RecordRead)


class ReadRecord(Command):
    """Note a read, before anything is shown."""

    name = "read-record"

    role: Role
    purpose: Line
    what: Line
    relationship: UUID | None = None
    known_at: Moment | None = None
    happened_by: Moment | None = None
    basis: Basis | None = None
    consents: tuple[Reliance, ...] | None = None
    break_glass: UUID | None = None

    def effective_at(self) -> datetime | None:
        """Always now: nobody is shown anything in the past."""
        return None

    def decide(self, given: Given) -> Iterator[New]:
        read = _read(
            reader=given.actor,
            role=self.role,
            purpose=self.purpose,
            what=self.what,
            relationship=self.relationship,
            known_at=self.known_at,
            happened_by=self.happened_by,
            basis=self.basis,
            consents=self.consents,
            break_glass=self.break_glass,
        )
        yield New(access_stream(self.relationship or given.clinic), read)


class BreakGlass(Immediate):
    """Open a record in an emergency, for a short time, with a reason that will be reviewed."""

    name = "break-glass"

    relationship: UUID
    use: UUID = Field(default_factory=new_id)
    reason: Text
    minutes: int | None = None
    """Left out: as long as the clinic allows."""

    def decide(self, given: Given) -> Iterator[New]:
        relationship_of(given.history(relationship_stream(self.relationship)))
        stream = access_stream(self.relationship)
        allowed = given.policy.break_glass
        most = int(allowed.total_seconds() // 60)
        minutes = most if self.minutes is None else self.minutes
        if not 1 <= minutes <= most:
            raise TooLongOpen(minutes=most)
        history = given.history(stream)
        if any(used.use == self.use for _, used in history.of(BreakGlassUsed)):
            raise EmergencyExists(use=self.use)
        open_already = break_in_force(history, given.actor, given.now)
        if open_already is not None:
            raise GlassBroken(until=open_already.until.isoformat(timespec="seconds"))
        yield New(
            stream,
            BreakGlassUsed(
                use=self.use,
                person=given.actor,
                reason=self.reason,
                until=given.now + timedelta(minutes=minutes),
            ),
        )


class ReviewAccess(Immediate):
    """Look into an access, an emergency's above all, and say whether it was right."""

    name = "review-access"

    relationship: UUID
    entry: Annotated[int, Field(ge=1, lt=2**53)]
    finding: Finding
    note: Text | None = None

    def decide(self, given: Given) -> Iterator[New]:
        stream = access_stream(self.relationship)
        history = given.history(stream)
        entry = history.entry(self.entry)
        if entry is None or not isinstance(entry.event, BreakGlassUsed | RecordRead | AccessDenied):
            raise EntryUnknown(what="access")
        if entry.actor == given.actor:
            raise ReviewsOneself
        if any(review.entry == self.entry for _, review in history.of(AccessReviewed)):
            raise ReviewedAlready(entry=self.entry)
        yield New(
            stream,
            AccessReviewed(entry=self.entry, by=given.actor, finding=self.finding, note=self.note),
        )


class NoteDenial(Immediate):
    """Note that somebody was turned away; `relationship` where there is such a one."""

    name = "note-denial"

    role: Role
    door: Code
    code: Code
    relationship: UUID | None = None

    def decide(self, given: Given) -> Iterator[New]:
        denied = AccessDenied(person=given.actor, role=self.role, door=self.door, code=self.code)
        yield New(access_stream(self.relationship or given.clinic), denied)
