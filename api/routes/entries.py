"""Entries of one relationship, word for word: of its own stream and of those kept apart."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import Depends, Response

from api.doors import Visit, Withheld
from api.doors.entries import Family, ReadsStream, Standing, entries_of
from api.routes.command import concept
from api.routes.rows import tag
from domain.event import Event, Model, RecordedEvent, Source

router = concept("entries")


class RecordEntryDocument(Model):
    """An entry: its envelope, and its content where this reader is shown it."""

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
    commitment: str
    """The salted commitment to its content, in hex: what a signature names."""
    amended_at: int | None
    """Position of the correction through which it reads so."""
    content: dict[str, Any] | None
    erased: bool
    """Its key was destroyed."""
    withheld: bool
    """It is there, and not for this reader."""

    @classmethod
    def of(cls, entry: RecordedEvent) -> Self:
        event, withheld = entry.event, isinstance(entry.event, Withheld)
        shown = isinstance(event, Event)
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
            commitment=entry.commitment,
            amended_at=entry.amended_at,
            content=event.model_dump(mode="json", exclude_none=True)
            if isinstance(event, Event)
            else None,
            erased=not shown and not withheld,
            withheld=withheld,
        )


class RecordEntriesDocument(Model):
    """A page of entries of one stream, in order of version."""

    stream: str
    known_at: datetime | None
    happened_by: datetime | None
    standing: bool
    items: list[RecordEntryDocument]
    next: str | None


Shows = Callable[..., RecordEntriesDocument]


def _page(
    category: str,
    visit: Visit,
    response: Response,
    *,
    family: str | None = None,
    standing: bool = True,
) -> RecordEntriesDocument:
    page = visit.page(entries_of(visit, category, family=family, standing=standing))
    if category == "relationship":
        tag(response, visit.etag(visit.house.log.head_size()))
    return RecordEntriesDocument(
        stream=f"{category}-{visit.relationship}",
        known_at=visit.known_at,
        happened_by=visit.happened_by,
        standing=standing,
        items=[RecordEntryDocument.of(entry) for entry in page.items],
        next=page.next,
    )


@router.get("/relationships/{relationship}/entries")
def entries(
    visit: Annotated[Visit, Depends(ReadsStream("entries"))],
    response: Response,
    family: Family = None,
    standing: Standing = True,
) -> RecordEntriesDocument:
    """The entries of the relationship, as far as one may see them."""
    return _page("relationship", visit, response, family=family, standing=standing)


SHOWN: Mapping[str, Shows] = MappingProxyType({"entries": entries})
"""What shows the entries behind each door, for the command line."""
