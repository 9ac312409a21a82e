"""Access: who read a relationship's record, for whom it is about to see."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import Depends

from api.doors import Reads, Visit
from api.routes.command import concept
from domain.access import RecordRead, Role
from domain.event import Model, RecordedEvent

router = concept("access")


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
