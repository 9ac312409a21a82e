"""Entries of one relationship, word for word: of its own stream and of those kept apart."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import Depends, Response

from api.doors import Visit, Withheld
from api.doors.entries import Family, ReadsStream, Standing, entries_of
from api.routes.command import concept
from api.routes.rows import tag
from domain.event import Event, History, Model, RecordedEvent, Source
from domain.note import Meaning, NoteCosigned, NoteSigned, Signature, signatures_of

router = concept("entries")


class SignatureDocument(Model):
    """Who attested to which entry, when, with which meaning, and whether it is that entry still."""

    name: str
    at: datetime
    meaning: Meaning
    entry: int
    fits: bool
    """Whether that entry stands in the log under the commitment that was signed."""

    @classmethod
    def of(cls, signature: Signature) -> Self:
        return cls(
            name=signature.signed.name,
            at=signature.entry.occurred_at,
            meaning=signature.signed.meaning,
            entry=signature.signed.entry,
            fits=signature.fits,
        )


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
    signature: SignatureDocument | None = None

    @classmethod
    def of(cls, entry: RecordedEvent, signature: Signature | None = None) -> Self:
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
            signature=None if signature is None else SignatureDocument.of(signature),
        )


class RecordEntriesDocument(Model):
    """A page of entries of one stream, in order of version."""

    stream: str
    known_at: datetime | None
    happened_by: datetime | None
    standing: bool
    items: list[RecordEntryDocument]
    next: str | None


def _page(
    visit: Visit,
    category: str,
    *,
    family: str | None = None,
    standing: bool = True,
) -> RecordEntriesDocument:
    page = visit.page(entries_of(visit, category, family=family, standing=standing))
    return RecordEntriesDocument(
        stream=f"{category}-{visit.relationship}",
        known_at=visit.known_at,
        happened_by=visit.happened_by,
        standing=standing,
        items=_documents(visit, page.items),
        next=page.next,
    )


def _documents(visit: Visit, entries: Sequence[RecordedEvent]) -> list[RecordEntryDocument]:
    """Each entry; of a signature also its name, time, meaning, and whether it fits (R20)."""
    signed = any(entry.topic in _SIGNATURES for entry in entries)
    whole = visit.history() if signed else History()
    signatures = {signature.entry.version: signature for signature in signatures_of(whole)}
    return [RecordEntryDocument.of(entry, signatures.get(entry.version)) for entry in entries]


_SIGNATURES = frozenset({NoteSigned.topic, NoteCosigned.topic})


@router.get("/relationships/{relationship}/entries")
def entries(
    visit: Annotated[Visit, Depends(ReadsStream("entries"))],
    response: Response,
    family: Family = None,
    standing: Standing = True,
) -> RecordEntriesDocument:
    """The entries of the relationship, as far as one may see them."""
    tag(response, visit.etag(visit.house.log.head_size()))
    return _page(visit, "relationship", family=family, standing=standing)


@router.get("/relationships/{relationship}/process-notes")
def process_notes(
    visit: Annotated[Visit, Depends(ReadsStream("process-notes"))], standing: Standing = True
) -> RecordEntriesDocument:
    """The process notes that one wrote oneself, or that their author shares with one."""
    return _page(visit, "process", standing=standing)


@router.get("/relationships/{relationship}/supervision")
def supervision(
    visit: Annotated[Visit, Depends(ReadsStream("supervision"))],
    family: Family = None,
    standing: Standing = True,
) -> RecordEntriesDocument:
    """Supervision of the case, what was agreed in it, and countertransference notes."""
    return _page(visit, "supervision", family=family, standing=standing)


@router.get("/relationships/{relationship}/holds")
def holds(
    visit: Annotated[Visit, Depends(ReadsStream("holds"))], standing: Standing = True
) -> RecordEntriesDocument:
    """The legal holds on the record, placed and lifted."""
    return _page(visit, "hold", standing=standing)
