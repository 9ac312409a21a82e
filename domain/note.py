"""Progress notes, their addenda, and the signatures under them.

A note is never reworded: what was left out is added in an addendum, and what should never have been
written is marked as entered in error and stays, struck through. A signature names the salted
commitment under which exactly one entry stands in the log. Nothing is unlocked or locked by it.

Stream: the relationship's. Process notes are kept apart (`process_note.py`).
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from domain.event import (
    Command,
    Entries,
    EntryUnknown,
    Event,
    Fold,
    Given,
    History,
    Immediate,
    Line,
    Model,
    New,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.person import (
    Activity,
    PractitionerUnknown,
    Profession,
    practitioner_stream,
    registration_at,
    require_scope,
    require_voice,
)
from domain.phase import NotItsTherapist
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
)
from domain.session import session_of
from domain.told import Growing, ids

Commitment = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
"""The salted commitment of an entry, in hex, as its envelope shows it."""


class NoteKind(StrEnum):
    INTAKE = "intake"
    ASSESSMENT = "assessment"
    TREATMENT_PLAN = "treatment_plan"
    SESSION = "session"
    CONTACT = "contact"
    """Between sessions: a call, a letter."""
    REVIEW = "review"
    CLOSING = "closing"


class Meaning(StrEnum):
    """What somebody means by signing."""

    AUTHORSHIP = "authorship"
    RESPONSIBILITY = "responsibility"
    REVIEW = "review"
    APPROVAL = "approval"


class Section(Model):
    """A part of a note, under a heading where the clinic's form has headings."""

    heading: Line | None = None
    text: Text


Sections = Annotated[tuple[Section, ...], Field(min_length=1, max_length=50)]


# --- What happened --------------------------------------------------------------------------


class ProgressNoteWritten(Event):
    """What a therapist notes for the record of the treatment."""

    topic = "note.written"
    # Signed or not, it is never reworded: an addendum says what has to be added.
    correctable = False

    note: UUID
    kind: NoteKind
    session: UUID | None = None
    sections: Sections
    author: UUID
    by_trainee: bool = False
    """The author was in training then: the note needs a co-signature."""


class NoteAddended(Event):
    """Something is added to a note, under the name of whoever adds it."""

    topic = "note.addended"
    correctable = False

    note: UUID
    addendum: UUID
    text: Text
    author: UUID
    by_trainee: bool = False

    def outlives_closure(self) -> bool:
        """What was left out of a note can come to mind after the end."""
        return True


class _Signed(Event):
    """Somebody attests to one entry: who, when, and with which meaning."""

    # What was attested to stays attested: a struck note keeps its signature, and is shown struck.
    correctable = False

    note: UUID
    entry: Annotated[int, Field(ge=1, lt=2**53)]
    """Version of the entry attested to, of the note or of an addendum."""
    commitment: Commitment
    """The salted commitment of that entry."""
    signer: UUID
    name: Line
    """Of the signer, as it stood at the time."""
    meaning: Meaning

    def outlives_closure(self) -> bool:
        """The record is put in order after the end too."""
        return True


class NoteSigned(_Signed):
    """The author signs."""

    topic = "note.signed"


class NoteCosigned(_Signed):
    """Somebody who supervises signs what its author has signed before."""

    topic = "note.cosigned"


# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it reads today."""

    entry: RecordedEvent
    """The entry that is the signature; it occurred when it was given."""
    signed: _Signed
    fits: bool
    """Whether the entry it names stands in the log under the commitment it names."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A note or an addendum, and the signatures under it."""

    entry: RecordedEvent
    written: ProgressNoteWritten | NoteAddended
    signatures: tuple[Signature, ...]
    struck: bool
    """It was marked as entered in error; it stays, and so do its signatures."""

    @property
    def is_signed(self) -> bool:
        """By its author; a signature that does not fit counts for nothing."""
        return any(
            signature.fits
            and isinstance(signature.signed, NoteSigned)
            and signature.signed.signer == self.written.author
            for signature in self.signatures
        )

    @property
    def is_cosigned(self) -> bool:
        return any(
            signature.fits and isinstance(signature.signed, NoteCosigned)
            for signature in self.signatures
        )

    @property
    def awaits_cosignature(self) -> bool:
        return self.written.by_trainee and self.is_signed and not self.is_cosigned


@dataclass(frozen=True, slots=True)
class Note:
    """A note with its addenda."""

    id: UUID
    body: Writing
    addenda: tuple[Writing, ...]

    def part(self, addendum: UUID | None) -> Writing | None:
        """The note itself, or that addendum to it."""
        if addendum is None:
            return self.body
        return next((w for w in self.addenda if _id_of(w.written) == addendum), None)


def _id_of(written: ProgressNoteWritten | NoteAddended) -> UUID:
    return written.note if isinstance(written, ProgressNoteWritten) else written.addendum


_PARTS = (ProgressNoteWritten, NoteAddended)
_SIGNABLE = frozenset(kind.topic for kind in _PARTS)


def signatures_of(history: History) -> tuple[Signature, ...]:
    """Every signature, each compared again with the entry that it names."""
    if not (signed := [*history.of(_Signed)]):
        return ()
    signable = {entry.version: entry for entry in history if entry.topic in _SIGNABLE}
    return tuple(_signature(entry, said, signable.get(said.entry)) for entry, said in signed)


def _signature(entry: RecordedEvent, signed: _Signed, named: RecordedEvent | None) -> Signature:
    fits = named is not None and hmac.compare_digest(named.commitment, signed.commitment)
    return Signature(entry, signed, fits)


class _Notes(NamedTuple):
    by_id: Growing[UUID, Note]
    loose: bool
    """Whether an addendum or a signature names what is not there; it may come yet."""


def notes_of(history: History) -> Mapping[UUID, Note]:
    """Every note by its id, also one that is struck; what is erased is passed over."""
    return history.folded(_NOTES).by_id


def _notes(history: History) -> _Notes:
    under: dict[int, list[Signature]] = {}
    for signature in signatures_of(history):
        under.setdefault(signature.signed.entry, []).append(signature)
    standing = {entry.version for entry in history.among(*_PARTS)}
    bodies: dict[UUID, Writing] = {}
    addenda: dict[UUID, list[Writing]] = {}
    for entry in history.among(*_PARTS, ever=True):
        written = entry.event
        assert isinstance(written, _PARTS), "it was asked"
        signatures = tuple(under.pop(entry.version, ()))
        writing = Writing(entry, written, signatures, entry.version not in standing)
        if isinstance(written, ProgressNoteWritten):
            bodies.setdefault(written.note, writing)
        else:
            addenda.setdefault(written.note, []).append(writing)
    notes = {id_: Note(id_, body, tuple(addenda.pop(id_, ()))) for id_, body in bodies.items()}
    return _Notes(Growing(notes), loose=bool(under or addenda))


def _further(notes: _Notes, news: Entries) -> _Notes | None:
    """Further notes, addenda to those there are, and signatures under them."""
    further: dict[UUID, Note] = {}
    for entry in news:
        id_ = entry.event.note  # type: ignore[union-attr]  # it is of _NOTES' kinds
        note = further.get(id_) or notes.by_id.get(id_)
        match entry.event:
            case ProgressNoteWritten() as written if note is None and not notes.loose:
                further[id_] = Note(id_, Writing(entry, written, (), struck=False), ())
            case NoteAddended() as written if note is not None and not notes.loose:
                addenda = (*note.addenda, Writing(entry, written, (), struck=False))
                further[note.id] = replace(note, addenda=addenda)
            case _Signed() as signed if note is not None and _is_part(signed.entry, note):
                further[note.id] = _with_signature(note, entry, signed)
            case _:
                return None
    return _Notes(notes.by_id.having(further), notes.loose)


def _is_part(version: int, note: Note) -> bool:
    return any(writing.entry.version == version for writing in (note.body, *note.addenda))


def _with_signature(note: Note, entry: RecordedEvent, signed: _Signed) -> Note:
    def read(writing: Writing) -> Writing:
        if writing.entry.version == signed.entry:
            signature = _signature(entry, signed, writing.entry)
            writing = replace(writing, signatures=(*writing.signatures, signature))
        return writing

    return Note(note.id, read(note.body), tuple(map(read, note.addenda)))


_NOTES = Fold(_notes, *_PARTS, _Signed, then=_further)
_WRITTEN = ids("note", ProgressNoteWritten, ever=True)
_ADDED = ids("addendum", NoteAddended, ever=True)


# --- Questions ------------------------------------------------------------------------------


def _writings(history: History) -> Iterator[Writing]:
    for note in notes_of(history).values():
        for writing in (note.body, *note.addenda):
            if not writing.struck and not note.body.struck:
                yield writing


def unsigned_notes(history: History) -> tuple[Writing, ...]:
    """Notes and addenda that their authors have not signed yet."""
    return tuple(writing for writing in _writings(history) if not writing.is_signed)


def notes_awaiting_cosign(history: History) -> tuple[Writing, ...]:
    """Notes and addenda of trainees, signed by them, that nobody has co-signed yet."""
    return tuple(writing for writing in _writings(history) if writing.awaits_cosignature)


# --- Refusals -------------------------------------------------------------------------------


class NoteExists(Refusal):
    says = "There is a note or an addendum {note} already; choose another id."


class NoteNotYetWritten(Refusal):
    status = 422
    says = "Note {note} was written after that: look at occurred_at."


class NoteStruck(Refusal):
    rule = 1
    says = "Note {note} was marked as entered in error: it takes no addendum and no signature."


class NoteBeforeSession(Refusal):
    status = 422
    says = "Session {session} began after that: a note of it is written afterwards."


class SignatureDoesNotFit(Refusal):
    rule = 1
    says = (
        "The commitment is not that of entry {entry}: read what you sign again, and sign that"
        " entry's commitment."
    )


class NotTheirSignature(Refusal):
    rule = 33
    says = "{author} wrote this: nobody else signs it as author, and nobody signs for another."


class SignedAlready(Refusal):
    says = "{signer} has signed entry {entry} already."


class NotSignedYet(Refusal):
    says = "Entry {entry} is not signed by its author: it is co-signed after that."


class OwnCosignature(Refusal):
    says = "{signer} wrote entry {entry}: a co-signature is somebody else's."


# --- Commands -------------------------------------------------------------------------------


class _NoteCommand(Command):
    relationship: UUID
    note: UUID

    def _history(self, given: Given) -> History:
        return given.history(relationship_stream(self.relationship))

    def _require_new(self, history: History, id_: UUID) -> None:
        """Also where the first was entered in error: an id is used once."""
        if id_ in history.folded(_WRITTEN) or id_ in history.folded(_ADDED):
            raise NoteExists(note=id_)

    def _found(self, history: History, given: Given) -> Note:
        note = notes_of(history).get(self.note)
        if note is None:
            raise EntryUnknown(what="note")
        if note.body.struck:
            raise NoteStruck(note=self.note)
        if given.at < note.body.entry.occurred_at:
            raise NoteNotYetWritten(note=self.note)
        return note

    def _new(self, event: Event) -> New:
        return New(relationship_stream(self.relationship), event)


def _require_author(given: Given, relationship: Relationship, author: UUID) -> bool:
    """Rule 10: whoever treats here writes; gives whether that is somebody in training."""
    if author not in relationship.at(given.at).therapists:
        raise NotItsTherapist(person=author)
    require_voice(author, given)
    registered = registration_at(given.history(practitioner_stream(author)), given.at)
    return registered is not None and registered.profession is Profession.TRAINEE


class WriteNote(_NoteCommand):
    """Write a progress note."""

    name = "write-note"

    note: UUID = Field(default_factory=new_id)
    kind: NoteKind
    session: UUID | None = None
    sections: Sections
    author: UUID

    @model_validator(mode="after")
    def _names_its_session(self) -> "WriteNote":
        if self.kind is NoteKind.SESSION and self.session is None:
            raise PydanticCustomError("session_missing", "A note of a session names the session.")
        return self

    def decide(self, given: Given) -> Iterator[New]:
        history = self._history(given)
        relationship = relationship_of(history)
        require_open(relationship, given)
        by_trainee = _require_author(given, relationship, self.author)
        self._require_new(history, self.note)
        if self.session is not None:
            session = session_of(history, self.session)
            if session is None:
                raise EntryUnknown(what="session")
            if given.at < session.started_at:
                raise NoteBeforeSession(session=self.session)
        yield self._new(
            ProgressNoteWritten(
                note=self.note,
                kind=self.kind,
                session=self.session,
                sections=self.sections,
                author=self.author,
                by_trainee=by_trainee,
            )
        )


class AddToNote(_NoteCommand):
    """Add to a note what it leaves out or has wrong; the note itself stays as it is."""

    name = "add-to-note"

    addendum: UUID = Field(default_factory=new_id)
    text: Text
    author: UUID

    def decide(self, given: Given) -> Iterator[New]:
        history = self._history(given)
        relationship = relationship_of(history)
        require_open(relationship, given, follow_up=True)
        by_trainee = _require_author(given, relationship, self.author)
        self._found(history, given)
        self._require_new(history, self.addendum)
        yield self._new(
            NoteAddended(
                note=self.note,
                addendum=self.addendum,
                text=self.text,
                author=self.author,
                by_trainee=by_trainee,
            )
        )


class _Sign(Immediate, _NoteCommand):
    addendum: UUID | None = None
    """Which addendum of the note; left out: the note itself."""
    commitment: Commitment
    """That of the entry one has read and signs."""

    def _signing(self, given: Given) -> Writing:
        """What is signed, if it may be, under exactly the commitment that the signer names."""
        history = self._history(given)
        require_open(relationship_of(history), given, follow_up=True)
        writing = self._found(history, given).part(self.addendum)
        if writing is None:
            raise EntryUnknown(what="addendum")
        if writing.struck:
            raise NoteStruck(note=self.note)
        if not hmac.compare_digest(writing.entry.commitment, self.commitment):
            raise SignatureDoesNotFit(entry=writing.entry.version)
        if any(signature.signed.signer == given.actor for signature in writing.signatures):
            raise SignedAlready(signer=given.actor, entry=writing.entry.version)
        return writing

    def _signed(self, given: Given, writing: Writing, kind: type[_Signed], means: Meaning) -> New:
        signer = registration_at(given.history(practitioner_stream(given.actor)), given.at)
        if signer is None:
            raise PractitionerUnknown(practitioner=given.actor)
        return self._new(
            kind(
                note=self.note,
                entry=writing.entry.version,
                commitment=self.commitment,
                signer=given.actor,
                name=signer.name,
                meaning=means,
            )
        )


class SignNote(_Sign):
    """Sign a note or an addendum of one's own. Nobody signs for another."""

    name = "sign-note"

    meaning: Literal[Meaning.AUTHORSHIP, Meaning.RESPONSIBILITY] = Meaning.AUTHORSHIP

    def decide(self, given: Given) -> Iterator[New]:
        writing = self._signing(given)
        author = writing.written.author
        if given.actor != author or given.on_behalf_of is not None:
            raise NotTheirSignature(author=author)
        yield self._signed(given, writing, NoteSigned, self.meaning)


class CosignNote(_Sign):
    """Sign what somebody else has written and signed, as one who supervises."""

    name = "cosign-note"

    meaning: Literal[Meaning.REVIEW, Meaning.APPROVAL, Meaning.RESPONSIBILITY] = Meaning.APPROVAL

    def decide(self, given: Given) -> Iterator[New]:
        writing = self._signing(given)
        entry = writing.entry.version
        if given.actor == writing.written.author:
            raise OwnCosignature(signer=given.actor, entry=entry)
        if not writing.is_signed:
            raise NotSignedYet(entry=entry)
        require_scope(given, given.actor, Activity.SUPERVISION)
        yield self._signed(given, writing, NoteCosigned, self.meaning)
