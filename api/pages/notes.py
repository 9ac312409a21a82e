"""Progress notes with their signatures; process notes, kept apart, for whoever may read them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.doors import Reads, Visit
from api.doors.entries import entries_of
from api.pages import forms, words
from api.pages.people import People
from api.pages.site import page
from api.pages.timeline import Links
from domain.event import Erased, History
from domain.note import (
    Meaning,
    Note,
    NoteKind,
    ProgressNoteWritten,
    Section,
    Signature,
    Writing,
    notes_of,
)
from domain.process_note import process_notes_of
from domain.session import session_numbers

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as it is always told: by whom, when, and what it means."""

    name: str
    at: datetime
    meaning: str
    fits: bool
    version: int


@dataclass(frozen=True, slots=True)
class Written:
    """A note or an addendum."""

    entry: int
    author: str
    at: datetime
    sections: tuple[Section, ...]
    signatures: tuple[Signed, ...]
    state: str
    tone: str
    struck: bool
    commitment: str
    addendum: UUID | None
    to_sign: bool
    """The reader wrote it and has not signed it."""
    to_cosign: bool
    """It waits for a co-signature, and the reader is somebody else."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One note with its addenda."""

    id: UUID
    number: int
    title: str
    body: Written
    addenda: tuple[Written, ...]


@router.get("/relationships/{relationship}/notes", name="notes-page")
def notes(request: Request, visit: Annotated[Visit, Depends(Reads("notes"))]) -> Response:
    """Every progress note, the newest first, each with who signed it."""
    history = visit.history()
    people = People(visit, visit.dossier().case)
    numbers = session_numbers(history)
    shown = [
        _note(number, note, people, numbers, visit.who.person)
        for number, note in enumerate(notes_of(history).values(), start=1)
    ]
    gone = sum(
        isinstance(entry.event, Erased) and entry.topic == ProgressNoteWritten.topic
        for entry in history
    )
    return page(
        request,
        "notes.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        notes=sorted(shown, key=lambda note: note.body.at, reverse=True),
        gone=gone,
        offers=forms.offered(visit),
        meanings={
            "sign-note": (Meaning.AUTHORSHIP, Meaning.RESPONSIBILITY),
            "cosign-note": (Meaning.APPROVAL, Meaning.REVIEW, Meaning.RESPONSIBILITY),
        },
        link=Links(visit.relationship, len(history)),
    )


def _note(number: int, note: Note, people: People, numbers: dict[UUID, int], reader: UUID) -> Shown:
    written = note.body.written
    assert isinstance(written, ProgressNoteWritten), "a note begins with its own words"
    session = numbers.get(written.session) if written.session else None
    return Shown(
        id=note.id,
        number=number,
        title=_title(written.kind, session),
        body=_written(note.body, people, reader),
        addenda=tuple(_written(addendum, people, reader) for addendum in note.addenda),
    )


def _title(kind: NoteKind, session: int | None) -> str:
    """`Note of session 7`, `Intake, session 1`, `Contact`."""
    if kind is NoteKind.SESSION:
        return "Note of a session" if session is None else f"Note of session {session}"
    name = words.plain(kind).capitalize()
    return name if session is None else f"{name}, session {session}"


def _written(writing: Writing, people: People, reader: UUID) -> Written:
    told, state = writing.written, _state(writing)
    body = told.sections if isinstance(told, ProgressNoteWritten) else (Section(text=told.text),)
    own = told.author == reader
    signed = any(signature.signed.signer == reader for signature in writing.signatures)
    return Written(
        entry=writing.entry.version,
        author=people.who(told.author),
        at=writing.entry.occurred_at,
        sections=body,
        signatures=tuple(map(_signed, writing.signatures)),
        state=state[0],
        tone=state[1],
        struck=writing.struck,
        commitment=writing.entry.commitment,
        addendum=None if isinstance(told, ProgressNoteWritten) else told.addendum,
        to_sign=own and not signed and not writing.struck,
        to_cosign=not own and not signed and not writing.struck and writing.is_signed,
    )


def _signed(signature: Signature) -> Signed:
    return Signed(
        name=signature.signed.name,
        at=signature.entry.occurred_at,
        meaning=words.plain(signature.signed.meaning),
        fits=signature.fits,
        version=signature.entry.version,
    )


def _state(writing: Writing) -> tuple[str, str]:
    """Where a writing stands, and the tone of its badge."""
    if writing.struck:
        return "entered in error", "alarm"
    if not writing.is_signed:
        return "not signed", "alarm"
    if writing.awaits_cosignature:
        return "awaits its co-signature", "alarm"
    return ("signed and co-signed" if writing.is_cosigned else "signed"), "good"


# --- Process notes --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """One process note that the reader wrote, or that its author shares with the reader."""

    author: str
    at: datetime
    session: str
    text: str


@router.get("/relationships/{relationship}/process-notes", name="process-notes-page")
def process_notes(
    request: Request, visit: Annotated[Visit, Depends(Reads("process-notes"))]
) -> Response:
    """The process notes that this reader may read; of others nothing is told, not even that."""
    people = People(visit, visit.dossier().case)
    return page(
        request,
        "process_notes.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        notes=sorted(_kept(visit, people), key=lambda note: note.at, reverse=True),
    )


def _kept(visit: Visit, people: People) -> Iterator[Kept]:
    numbers = session_numbers(visit.history())
    readable = History(entries_of(visit, "process").values())
    for note in process_notes_of(readable).values():
        session = numbers.get(note.written.session) if note.written.session else None
        yield Kept(
            author=people.who(note.written.author),
            at=note.entry.occurred_at,
            session="" if session is None else f"session {session}",
            text=note.written.text,
        )
