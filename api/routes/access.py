"""Access: who read a relationship's record, who was turned away, and what an emergency opened."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import Depends

from api.doors import Reads, Visit
from api.routes.command import accept, concept
from api.routes.entries import RecordEntryDocument
from domain.access import Basis, BreakGlass, RecordRead, ReviewAccess, Role
from domain.event import Model, RecordedEvent

router = concept("access")
accept(router, BreakGlass, ReviewAccess)


class ReadDocument(Model):
    """Somebody was given a part of the record."""

    position: int
    at: datetime
    reader: UUID
    role: Role
    purpose: str
    what: str
    """The door: dossier, timeline …"""
    known_at: datetime | None
    happened_by: datetime | None
    basis: Basis | None
    """What entitled to it."""
    break_glass: UUID | None
    """The emergency under which it was read."""

    @classmethod
    def of(cls, entry: RecordedEvent, read: RecordRead) -> Self:
        return cls(
            position=entry.position,
            at=entry.recorded_at,
            reader=read.reader,
            role=read.role,
            purpose=read.purpose,
            what=read.what,
            known_at=read.known_at,
            happened_by=read.happened_by,
            basis=read.basis,
            break_glass=read.break_glass,
        )


class ReadersDocument(Model):
    items: list[ReadDocument]
    next: str | None


@router.get("/relationships/{relationship}/access")
def readers(visit: Annotated[Visit, Depends(Reads("readers"))]) -> ReadersDocument:
    """Every reading of this record, this one included."""
    page = visit.page(visit.readers())
    return ReadersDocument(
        items=[ReadDocument.of(entry, read) for entry, read in page.items], next=page.next
    )


class IncidentsDocument(Model):
    """A page of emergencies, denials and reviews, in order."""

    items: list[RecordEntryDocument]
    next: str | None


@router.get("/relationships/{relationship}/access/incidents")
def incidents(visit: Annotated[Visit, Depends(Reads("incidents"))]) -> IncidentsDocument:
    """Who broke the glass, who was turned away, and what a review came to."""
    page = visit.page(visit.incidents())
    return IncidentsDocument(
        items=[RecordEntryDocument.of(entry) for entry in page.items], next=page.next
    )
