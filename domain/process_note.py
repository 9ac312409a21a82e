"""Process notes: a therapist's own notes on a session, kept apart from the record of treatment.

In US law psychotherapy notes. Whoever writes them is the only one who reads them, unless the
author shares one in supervision. They are no part of what a client is given to read, so they hold
nothing that belongs into the record: times, medium, goals, risks stand elsewhere.

Stream: `process-<relationship>`, under keys of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from pydantic import Field

from domain.clinic import Scope
from domain.consent import Reliance, require_consent
from domain.event import (
    Command,
    EntryUnknown,
    Event,
    Given,
    History,
    New,
    RecordedEvent,
    Refusal,
    Source,
    Stream,
    Text,
)
from domain.ids import new_id
from domain.person import Activity, require_scope
from domain.phase import NotItsTherapist
from domain.relationship import relationship_of, relationship_stream, require_open
from domain.session import session_of

# --- What happened --------------------------------------------------------------------------


class ProcessNoteWritten(Event):
    """What a therapist notes for nobody else."""

    topic = "process_note.written"

    note: UUID
    session: UUID | None = None
    text: Text
    author: UUID

    def outlives_closure(self) -> bool:
        """One goes on thinking about it."""
        return True


class ProcessNoteShared(Event):
    """The author lets one supervisor read one process note."""

    topic = "process_note.shared"
    correctable = False

    note: UUID
    supervisor: UUID
    relies_on: tuple[Reliance, ...] = ()

    def outlives_closure(self) -> bool:
        return True


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProcessNote:
    """A process note, and who may read it."""

    written: ProcessNoteWritten
    entry: RecordedEvent
    shared_with: frozenset[UUID]

    def is_readable_by(self, person: UUID) -> bool:
        """A door also asks whether the consent to supervision still holds (rule 20)."""
        return person == self.written.author or person in self.shared_with


def process_stream(relationship: UUID) -> Stream:
    return Stream("process", relationship)


def process_notes_of(history: History) -> dict[UUID, ProcessNote]:
    """Every process note by its id, as it reads today; what is erased is passed over."""
    shared: dict[UUID, set[UUID]] = {}
    for _, sharing in history.of(ProcessNoteShared):
        shared.setdefault(sharing.note, set()).add(sharing.supervisor)
    return {
        written.note: ProcessNote(written, entry, frozenset(shared.get(written.note, ())))
        for entry, written in history.of(ProcessNoteWritten)
    }


# --- Refusals -------------------------------------------------------------------------------


class NotTheirProcessNote(Refusal):
    says = "A process note is its author's alone: {person} neither writes nor shares another's."


class ProcessNoteExists(Refusal):
    says = "There is a process note {note} already; choose another id."


class SharedAlready(Refusal):
    says = "{supervisor} may read process note {note} already."


# --- Commands -------------------------------------------------------------------------------


class WriteProcessNote(Command):
    """Write a note for nobody but oneself. Nobody writes one for another."""

    name = "write-process-note"

    relationship: UUID
    note: UUID = Field(default_factory=new_id)
    session: UUID | None = None
    text: Text

    def decide(self, given: Given) -> Iterator[New]:
        told = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(told)
        require_open(relationship, given, follow_up=True)
        _require_alone(given)
        if given.actor not in relationship.at(given.at).therapists:
            raise NotItsTherapist(person=given.actor)
        if self.session is not None and session_of(told, self.session) is None:
            raise EntryUnknown(what="session")
        stream = process_stream(self.relationship)
        # Also where the first was entered in error: an id is used once.
        recorded = (entry.event for entry in given.history(stream))
        if any(isinstance(e, ProcessNoteWritten) and e.note == self.note for e in recorded):
            raise ProcessNoteExists(note=self.note)
        yield New(
            stream,
            ProcessNoteWritten(
                note=self.note, session=self.session, text=self.text, author=given.actor
            ),
        )


class ShareProcessNote(Command):
    """Let a supervisor read one of one's own process notes, as every client consents to."""

    name = "share-process-note"

    relationship: UUID
    note: UUID
    supervisor: UUID

    def decide(self, given: Given) -> Iterator[New]:
        told = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(told)
        require_open(relationship, given, follow_up=True)
        _require_alone(given)
        stream = process_stream(self.relationship)
        note = process_notes_of(given.history(stream)).get(self.note)
        # To anybody else it is as if there were none.
        if note is None or note.written.author != given.actor:
            raise EntryUnknown(what="process note")
        if note.is_readable_by(self.supervisor):
            raise SharedAlready(note=self.note, supervisor=self.supervisor)
        require_scope(given, self.supervisor, Activity.SUPERVISION)
        clients = relationship.at(given.at).clients
        yield New(
            stream,
            ProcessNoteShared(
                note=self.note,
                supervisor=self.supervisor,
                relies_on=require_consent(given, told, Scope.SUPERVISION_DISCLOSURE, *clients),
            ),
        )


def _require_alone(given: Given) -> None:
    """Neither on somebody's behalf nor from a file: nobody else has had it in their hands."""
    if given.on_behalf_of is not None or given.source is not Source.ENTERED:
        raise NotTheirProcessNote(person=given.actor)
