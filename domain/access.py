"""Reading is an entry too: who read what of whom, why, and as of which two times.

Reads stand in a stream of their own, so that they never move the relationship's own version.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.event import Command, Event, Given, Line, Moment, New, Stream


class Role(StrEnum):
    """In what capacity somebody reads."""

    THERAPIST = "therapist"
    CLIENT = "client"
    SUPERVISOR = "supervisor"
    COMPLIANCE_OFFICER = "compliance_officer"
    ADMINISTRATOR = "administrator"
    SYSTEM = "system"


def access_stream(about: UUID) -> Stream:
    """Where reads of a relationship are kept; of the clinic as a whole: by the clinic's id."""
    return Stream("access", about)


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


class ReadRecord(Command):
    """Note a read, before anything is shown."""

    name = "read-record"

    role: Role
    purpose: Line
    what: Line
    relationship: UUID | None = None
    known_at: Moment | None = None
    happened_by: Moment | None = None

    def effective_at(self) -> datetime | None:
        """Always now: nobody is shown anything in the past."""
        return None

    def decide(self, given: Given) -> Iterator[New]:
        read = RecordRead(
            reader=given.actor,
            role=self.role,
            purpose=self.purpose,
            what=self.what,
            relationship=self.relationship,
            known_at=self.known_at,
            happened_by=self.happened_by,
        )
        yield New(access_stream(self.relationship or given.clinic), read)
