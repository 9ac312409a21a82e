"""The clinic's log: how far it goes, and the envelopes of its entries."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import Depends

from api.doors import ReadsClinic, ReadsEntries, Visit
from api.routes.command import concept
from domain.event import Erased, Model, RecordedEvent, Source

router = concept("log")


class HeadDocument(Model):
    size: int
    root: str


class LogDocument(Model):
    """How far the log goes, and what of it was acknowledged outside the database."""

    size: int
    root: str
    """RFC 6962 root in hex."""
    recorded_at: datetime
    acknowledged: HeadDocument | None


class EnvelopeDocument(Model):
    """An entry without its content."""

    position: int
    stream: str
    version: int
    topic: str
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: UUID
    on_behalf_of: UUID | None
    source: Source
    command_id: UUID
    command_index: int
    key_id: UUID
    erased: bool

    @classmethod
    def of(cls, entry: RecordedEvent) -> Self:
        return cls(
            position=entry.position,
            stream=str(entry.stream),
            version=entry.version,
            topic=entry.topic,
            schema_version=entry.schema_version,
            occurred_at=entry.occurred_at,
            recorded_at=entry.recorded_at,
            actor=entry.actor,
            on_behalf_of=entry.on_behalf_of,
            source=entry.source,
            command_id=entry.command_id,
            command_index=entry.command_index,
            key_id=entry.key_id,
            erased=isinstance(entry.event, Erased),
        )


class EnvelopesDocument(Model):
    items: list[EnvelopeDocument]
    next: str | None


@router.get("/log")
def log(visit: Annotated[Visit, Depends(ReadsClinic("log"))]) -> LogDocument:
    """The head of the log. The entry that notes this very reading is part of it."""
    status = visit.house.log_status()
    return LogDocument(
        size=status.size,
        root=status.root,
        recorded_at=status.recorded_at,
        acknowledged=status.acknowledged
        and HeadDocument(size=status.acknowledged[0], root=status.acknowledged[1]),
    )


@router.get("/log/entries")
def log_entries(visit: Annotated[Visit, Depends(ReadsEntries("log-entries"))]) -> EnvelopesDocument:
    """Envelopes by position, past position `after`."""
    page = visit.page(visit.log_entries())
    return EnvelopesDocument(
        items=[EnvelopeDocument.of(entry) for entry in page.items], next=page.next
    )
