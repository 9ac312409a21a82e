"""Notes: written, added to, signed and co-signed; process notes apart."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from api.doors import Visit
from api.doors.entries import ReadsStream
from api.routes.command import accept, concept
from api.routes.entries import RecordEntryDocument
from domain.event import Model
from domain.note import (
    AddToNote,
    CosignNote,
    Note,
    SignNote,
    WriteNote,
    Writing,
    notes_of,
)
from domain.process_note import ShareProcessNote, WriteProcessNote

router = concept("notes")
accept(router, WriteNote, AddToNote, SignNote, CosignNote, WriteProcessNote, ShareProcessNote)


class WritingDocument(Model):
    """A note or an addendum, with the signatures under it; struck, where it was an error."""

    written: RecordEntryDocument
    signatures: list[RecordEntryDocument]
    struck: bool
    signed: bool
    awaits_cosignature: bool

    @classmethod
    def of(cls, writing: Writing) -> "WritingDocument":
        return cls(
            written=RecordEntryDocument.of(writing.entry),
            signatures=[
                RecordEntryDocument.of(signature.entry, signature)
                for signature in writing.signatures
            ],
            struck=writing.struck,
            signed=writing.is_signed,
            awaits_cosignature=writing.awaits_cosignature,
        )


class NoteDocument(Model):
    note: UUID
    body: WritingDocument
    addenda: list[WritingDocument]

    @classmethod
    def of(cls, note: Note) -> "NoteDocument":
        return cls(
            note=note.id,
            body=WritingDocument.of(note.body),
            addenda=[WritingDocument.of(addendum) for addendum in note.addenda],
        )


class NotesDocument(Model):
    items: list[NoteDocument]
    next: str | None


@router.get("/relationships/{relationship}/notes")
def notes(visit: Annotated[Visit, Depends(ReadsStream("notes"))]) -> NotesDocument:
    """The progress notes in order, each with its addenda and what was signed of them (R20)."""
    visit.wait_for_log()
    told = visit.history().as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    page = visit.page({note.body.entry.version: note for note in notes_of(told).values()})
    return NotesDocument(items=[NoteDocument.of(note) for note in page.items], next=page.next)
