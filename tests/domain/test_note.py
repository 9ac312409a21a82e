"""Progress notes: written once, added to, signed by their authors, co-signed after that."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.correction import (
    CorrectEntry,
    MarkEnteredInError,
    NotCorrectable,
    StaysAsRecorded,
)
from domain.event import EntryUnknown
from domain.note import (
    AddToNote,
    CosignNote,
    Meaning,
    NoteAddended,
    NoteBeforeSession,
    NoteCosigned,
    NoteExists,
    NoteKind,
    NoteNotYetWritten,
    NoteSigned,
    NoteStruck,
    NotSignedYet,
    NotTheirSignature,
    OwnCosignature,
    ProgressNoteWritten,
    Section,
    SignatureDoesNotFit,
    SignedAlready,
    SignNote,
    WriteNote,
    notes_awaiting_cosign,
    notes_of,
    signatures_of,
    unsigned_notes,
)
from domain.person import (
    Activity,
    NotInTheirName,
    OutOfScope,
    PractitionerUnknown,
    Profession,
    RegisterPractitioner,
)
from domain.phase import NotItsTherapist
from domain.relationship import (
    Constellation,
    Initiator,
    RelationshipClosed,
    RelationshipNotOpen,
    relationship_stream,
)
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    Record,
    given,
    held,
    named,
    opened,
    practising,
)

NOTE, OTHER, ADDENDUM = named("note"), named("other note"), named("addendum")
SECTIONS = (
    Section(heading="Subjective", text="Slept badly."),
    Section(text="Four minutes on the tram."),
)
HERE = relationship_stream(RELATIONSHIP)
REASON = "Written into the wrong record."


def write(note: UUID = NOTE, **changes: Any) -> WriteNote:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "note": note,
        "kind": NoteKind.SESSION,
        "session": SESSION,
        "sections": SECTIONS,
        "author": THERAPIST,
    }
    return WriteNote(**fields | changes)


def add(addendum: UUID = ADDENDUM, author: UUID = THERAPIST, **changes: Any) -> AddToNote:
    fields = {"relationship": RELATIONSHIP, "note": NOTE, "addendum": addendum, "author": author}
    return AddToNote(**fields | {"text": "It was line 14."} | changes)


def written(by_trainee: bool = False) -> ProgressNoteWritten:
    return ProgressNoteWritten(
        note=NOTE,
        kind=NoteKind.SESSION,
        session=SESSION,
        sections=SECTIONS,
        author=THERAPIST,
        by_trainee=by_trainee,
    )


def commitment(record: Record, version: int | None = None) -> str:
    """That of an entry of the relationship; of the last, unless told another version."""
    entry = record.relationship.entry(version or record.relationship.version)
    assert entry is not None
    return entry.commitment


def _named(record: Record, version: int | None) -> dict[str, Any]:
    """What a signature names: the note, and the commitment of the entry."""
    return {"relationship": RELATIONSHIP, "note": NOTE, "commitment": commitment(record, version)}


def sign(record: Record, version: int | None = None, **changes: Any) -> SignNote:
    return SignNote(**_named(record, version) | changes)


def cosign(record: Record, version: int | None = None, **changes: Any) -> CosignNote:
    return CosignNote(**_named(record, version) | changes)


WRITINGS = {"note.written", "note.addended"}
CLOSED = RelationshipClosed(
    reason="Done.",
    initiated_by=Initiator.BOTH,
    goals="Reached.",
    open_goals=(),
    open_ruptures=(),
)
MET = given(*OPENED, (held(), AN_HOUR_AGO))
TRAINEE = practising(THERAPIST).model_copy(update={"profession": Profession.TRAINEE})
NOTED = MET.when(write(), by=THERAPIST).then(written())
AT = NOTED.relationship.version
SIGNED = NOTED.when(sign(NOTED), by=THERAPIST).recorded()


def in_training(*facts: Any) -> Record:
    """A relationship whose therapist is in training."""
    return given(
        *(TRAINEE if fact == practising(THERAPIST) else fact for fact in OPENED),
        (held(), AN_HOUR_AGO),
        *facts,
    )


# --- Writing --------------------------------------------------------------------------------


def test_a_note_is_its_authors_and_of_one_session() -> None:
    """R12: a progress note stands in the record of the treatment, by whoever treats."""
    (note,) = notes_of(NOTED.relationship).values()
    assert (note.id, note.body.written, note.addenda) == (NOTE, written(), ())
    MET.when(write(author=COTHERAPIST), by=COTHERAPIST).refuses(NotItsTherapist, person=COTHERAPIST)
    MET.when(write(author=CLIENT), by=CLIENT).refuses(NotItsTherapist, person=CLIENT)
    MET.when(write(), by=OFFICE).refuses(NotInTheirName, person=THERAPIST)
    MET.when(write(), by=OFFICE, on_behalf_of=THERAPIST).recorded()
    MET.when(write(session=named("none"))).refuses(EntryUnknown, what="session")


def test_a_note_of_a_session_names_it() -> None:
    """R12: only what is not about a session stands without one."""
    with pytest.raises(ValidationError):
        write(session=None)
    MET.when(write(session=None, kind=NoteKind.CONTACT)).recorded()


def test_a_note_of_a_session_is_written_after_it_began() -> None:
    """Rule 4: nobody notes what a session brought before there was one."""
    early = write(occurred_at=AN_HOUR_AGO - HOUR)
    MET.when(early).refuses(NoteBeforeSession, session=SESSION)


def test_an_id_is_used_once_for_notes_and_addenda() -> None:
    """Rule 8: also where what had it first was entered in error."""
    NOTED.when(write()).refuses(NoteExists, note=NOTE)
    NOTED.when(add(addendum=NOTE)).refuses(NoteExists, note=NOTE)
    struck = NOTED.when(MarkEnteredInError(stream=HERE, entry=AT, reason=REASON)).recorded()
    struck.when(write()).refuses(NoteExists, note=NOTE)


def test_a_note_is_never_reworded() -> None:
    """Rule 1, R17: signed or not; what it says stays, and an addendum says the rest."""
    content = written().model_dump(mode="json", exclude_none=True)
    content["sections"][0]["text"] = "Slept well."
    for record in (NOTED, SIGNED):
        correction = CorrectEntry(stream=HERE, entry=AT, reason=REASON, content=content)
        record.when(correction).refuses(NotCorrectable, topic="note.written")
    record = SIGNED.when(add()).then(
        NoteAddended(note=NOTE, addendum=ADDENDUM, text="It was line 14.", author=THERAPIST)
    )
    note = notes_of(record.relationship)[NOTE]
    assert note.body.written == written()
    assert [writing.entry.version for writing in note.addenda] == [record.relationship.version]
    assert note.body.is_signed
    assert not note.addenda[0].is_signed


def test_an_addendum_belongs_to_a_note_that_stands() -> None:
    """Rule 1: not to one that is not there, is struck, or was written later."""
    MET.when(add()).refuses(EntryUnknown, what="note")
    early = add(occurred_at=AN_HOUR_AGO)
    NOTED.when(early).refuses(NoteNotYetWritten, note=NOTE)
    struck = NOTED.when(MarkEnteredInError(stream=HERE, entry=AT, reason=REASON)).recorded()
    struck.when(add()).refuses(NoteStruck, note=NOTE)
    NOTED.when(add(author=CLIENT), by=CLIENT).refuses(NotItsTherapist, person=CLIENT)


# --- Signing --------------------------------------------------------------------------------


def test_a_signature_names_its_entry_signer_and_meaning() -> None:
    """R20: over the salted commitment of exactly that entry, with name, time and meaning."""
    outcome = NOTED.when(sign(NOTED), by=THERAPIST)
    record = outcome.then(
        NoteSigned(
            note=NOTE,
            entry=AT,
            commitment=commitment(NOTED),
            signer=THERAPIST,
            name="Dr. Jan Muster",
            meaning=Meaning.AUTHORSHIP,
        )
    )
    (signature,) = signatures_of(record.relationship)
    assert signature.fits
    assert signature.entry.occurred_at == NOW + timedelta(minutes=1)
    assert notes_of(record.relationship)[NOTE].body.is_signed


def test_a_signature_bears_the_name_of_its_time() -> None:
    """R20: whoever is called otherwise later has signed under the name of that day."""
    renamed = RegisterPractitioner(
        practitioner=THERAPIST,
        full_name="Dr. Jan Muster-Beispiel",
        profession=Profession.THERAPIST,
        scope=(Activity.THERAPY,),
        valid_from=NOW.date(),
    )
    record = NOTED.when(renamed, by=OFFICE).recorded()
    event = record.when(sign(record, AT), by=THERAPIST).event
    assert isinstance(event, NoteSigned)
    assert event.name == "Dr. Jan Muster-Beispiel"
    (signature,) = signatures_of(SIGNED.when(renamed, by=OFFICE).recorded().relationship)
    assert signature.signed.name == "Dr. Jan Muster"


def test_nobody_signs_for_another() -> None:
    """R20, rule 33: only the author signs, in person, and under an own registration."""
    for somebody in (COTHERAPIST, SUPERVISOR, CLIENT, OFFICE):
        NOTED.when(sign(NOTED), by=somebody).refuses(NotTheirSignature, author=THERAPIST)
    for somebody in (OFFICE, THERAPIST):
        NOTED.when(sign(NOTED), by=somebody, on_behalf_of=THERAPIST).refuses(NotTheirSignature)
    NOTED.when(sign(NOTED), by=OFFICE, imported=True).refuses(NotTheirSignature)
    unknown = NOTED.erased(THERAPIST)
    unknown.when(sign(NOTED), by=THERAPIST).refuses(PractitionerUnknown, practitioner=THERAPIST)


def test_a_signature_fits_one_entry_and_no_other() -> None:
    """R20: the commitment of a twin with the same words, or of an addendum, signs nothing else."""
    twin = NOTED.when(write(OTHER)).recorded()
    twin.when(sign(twin), by=THERAPIST).refuses(SignatureDoesNotFit, entry=AT)
    twin.when(sign(twin, AT, note=OTHER), by=THERAPIST).refuses(SignatureDoesNotFit)
    added = NOTED.when(add()).recorded()
    added.when(sign(added, AT, addendum=ADDENDUM), by=THERAPIST).refuses(SignatureDoesNotFit)
    added.when(sign(added), by=THERAPIST).refuses(SignatureDoesNotFit, entry=AT)
    record = added.when(sign(added, addendum=ADDENDUM), by=THERAPIST).recorded()
    note = notes_of(record.relationship)[NOTE]
    assert [note.body.is_signed, note.addenda[0].is_signed] == [False, True]
    added.when(sign(added, addendum=OTHER), by=THERAPIST).refuses(EntryUnknown, what="addendum")
    added.when(sign(added, note=OTHER), by=THERAPIST).refuses(EntryUnknown, what="note")


@for_all(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_no_other_commitment_signs(guess: str) -> None:
    """R20: whatever is not the entry's own commitment is refused."""
    NOTED.when(sign(NOTED, commitment=guess), by=THERAPIST).refuses(SignatureDoesNotFit, entry=AT)


@pytest.mark.parametrize("what", ["", "0" * 63, "G" * 64, "AB" * 32])
def test_a_commitment_is_written_in_one_way(what: str) -> None:
    """R20: 64 lower-case hex digits, as the envelope shows it."""
    with pytest.raises(ValidationError):
        sign(NOTED, commitment=what)


def test_a_signature_that_was_moved_fails() -> None:
    """R20: stored under another entry's version, a signature does not fit, and counts for none."""
    twin = SIGNED.when(write(OTHER)).recorded()
    target = twin.relationship.version
    (signature,) = signatures_of(twin.relationship)
    moved = replace(
        signature.entry,
        event=signature.signed.model_copy(update={"note": OTHER, "entry": target}),
    )
    forged = replace(
        twin, entries=tuple(moved if e == signature.entry else e for e in twin.entries)
    )
    (signature,) = signatures_of(forged.relationship)
    assert not signature.fits
    assert not notes_of(forged.relationship)[OTHER].body.is_signed
    missing = replace(moved, event=signature.signed.model_copy(update={"entry": 10_000}))
    lost = replace(twin, entries=tuple(missing if e == moved else e for e in forged.entries))
    assert [found.fits for found in signatures_of(lost.relationship)] == [False]


def test_an_entry_of_another_kind_is_not_signed() -> None:
    """R20: a signature over the commitment of what is no note attests to no note."""
    forged = NOTED.and_given(
        NoteSigned(
            note=NOTE,
            entry=1,
            commitment=commitment(NOTED, 1),
            signer=THERAPIST,
            name="Dr. Jan Muster",
            meaning=Meaning.AUTHORSHIP,
        )
    )
    assert [found.fits for found in signatures_of(forged.relationship)] == [False]


def test_a_signature_under_another_name_is_not_the_authors() -> None:
    """R20: stored as the author's though somebody else gave it, it leaves the note unsigned."""
    forged = NOTED.and_given(
        NoteSigned(
            note=NOTE,
            entry=AT,
            commitment=commitment(NOTED),
            signer=SUPERVISOR,
            name="Dr. Jan Muster",
            meaning=Meaning.AUTHORSHIP,
        )
    )
    assert [found.fits for found in signatures_of(forged.relationship)] == [True]
    assert [w.entry.version for w in unsigned_notes(forged.relationship)] == [AT]


def test_a_signature_is_given_once_and_now() -> None:
    """R20: neither twice by the same person, nor dated back."""
    SIGNED.when(sign(SIGNED, AT), by=THERAPIST).refuses(SignedAlready, signer=THERAPIST, entry=AT)
    with pytest.raises(ValidationError):
        sign(NOTED, occurred_at=NOW - DAY)


# --- Co-signing -----------------------------------------------------------------------------


def test_a_note_is_cosigned_after_it_is_signed() -> None:
    """R19: no co-signature before the author's; another meaning, another name."""
    NOTED.when(cosign(NOTED), by=SUPERVISOR).refuses(NotSignedYet, entry=AT)
    SIGNED.when(cosign(SIGNED, AT), by=SUPERVISOR).then(
        NoteCosigned(
            note=NOTE,
            entry=AT,
            commitment=commitment(NOTED),
            signer=SUPERVISOR,
            name="Dr. Jan Muster",
            meaning=Meaning.APPROVAL,
        )
    )
    added = SIGNED.when(add()).recorded()
    early = cosign(added, addendum=ADDENDUM)
    added.when(early, by=SUPERVISOR).refuses(NotSignedYet, entry=added.relationship.version)


def test_whoever_cosigns_supervises_and_did_not_write() -> None:
    """Rule 11: a co-signature is somebody else's, within scope of supervision."""
    SIGNED.when(cosign(SIGNED, AT), by=THERAPIST).refuses(SignedAlready, signer=THERAPIST)
    NOTED.when(cosign(NOTED), by=THERAPIST).refuses(OwnCosignature, signer=THERAPIST)
    SIGNED.when(cosign(SIGNED, AT), by=COTHERAPIST).refuses(OutOfScope)
    SIGNED.when(cosign(SIGNED, AT), by=CLIENT).refuses(OutOfScope)
    wrong = cosign(SIGNED)  # that of the signature itself
    SIGNED.when(wrong, by=SUPERVISOR).refuses(SignatureDoesNotFit, entry=AT)
    record = SIGNED.when(cosign(SIGNED, AT), by=SUPERVISOR).recorded()
    record.when(cosign(record, AT), by=SUPERVISOR).refuses(SignedAlready, signer=SUPERVISOR)


def test_meanings_are_of_whoever_signs() -> None:
    """R20: an author does not approve the own note, nor does a supervisor claim to have written."""
    with pytest.raises(ValidationError):
        sign(NOTED, meaning=Meaning.APPROVAL)
    with pytest.raises(ValidationError):
        cosign(NOTED, meaning=Meaning.AUTHORSHIP)


def test_what_a_trainee_signs_waits_for_a_cosignature() -> None:
    """R19: unsigned, then awaiting the co-signature, then neither."""
    record = in_training().when(write(), by=THERAPIST).then(written(by_trainee=True))
    at = record.relationship.version
    assert [w.entry.version for w in unsigned_notes(record.relationship)] == [at]
    assert notes_awaiting_cosign(record.relationship) == ()
    record = record.when(sign(record, at), by=THERAPIST).recorded()
    assert unsigned_notes(record.relationship) == ()
    assert [w.entry.version for w in notes_awaiting_cosign(record.relationship)] == [at]
    record = record.when(cosign(record, at), by=SUPERVISOR).recorded()
    assert notes_awaiting_cosign(record.relationship) == ()
    assert notes_of(record.relationship)[NOTE].body.is_cosigned
    assert notes_awaiting_cosign(SIGNED.relationship) == ()


STEPS = st.sampled_from(["write", "add", "sign", "cosign", "strike"])


@for_all(st.lists(st.tuples(STEPS, st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_whatever_is_tried_in_whatever_order(steps: list[tuple[str, int, int]]) -> None:
    """R19, R20: no co-signature without the author's, no second one, none that does not fit."""
    record = NOTED
    for number, (step, which, whose) in enumerate(steps):
        writings = [entry for entry in record.relationship if entry.topic in WRITINGS]
        entry, other = writings[which % len(writings)], writings[whose % len(writings)]
        written = entry.event
        assert isinstance(written, ProgressNoteWritten | NoteAddended)
        addendum = written.addendum if isinstance(written, NoteAddended) else None
        commands = {
            "write": write(named(f"note {number}")),
            "add": add(named(f"addendum {number}"), note=written.note),
            "sign": sign(record, other.version, note=written.note, addendum=addendum),
            "cosign": cosign(record, other.version, note=written.note, addendum=addendum),
            "strike": MarkEnteredInError(stream=HERE, entry=entry.version, reason=REASON),
        }
        by = SUPERVISOR if step == "cosign" else THERAPIST
        outcome = record.when(commands[step], by=by)
        if outcome.refusal is None:
            record = outcome.recorded()
    assert all(signature.fits for signature in signatures_of(record.relationship))
    for note in notes_of(record.relationship).values():
        for writing in (note.body, *note.addenda):
            assert writing.is_signed or not writing.is_cosigned
            signers = [signature.signed.signer for signature in writing.signatures]
            assert len(set(signers)) == len(signers)


# --- In error, erased, closed ---------------------------------------------------------------


def test_a_struck_note_keeps_its_signature_and_takes_no_more() -> None:
    """Rule 1: entered in error it stays, shown struck with who had signed it."""
    struck = SIGNED.when(MarkEnteredInError(stream=HERE, entry=AT, reason=REASON)).recorded()
    note = notes_of(struck.relationship)[NOTE]
    assert note.body.struck
    assert [signature.fits for signature in note.body.signatures] == [True]
    assert unsigned_notes(struck.relationship) == ()
    struck.when(cosign(struck, AT), by=SUPERVISOR).refuses(NoteStruck, note=NOTE)
    added = NOTED.when(add()).recorded()
    version = added.relationship.version
    struck = added.when(MarkEnteredInError(stream=HERE, entry=version, reason=REASON)).recorded()
    late = sign(struck, version, addendum=ADDENDUM)
    struck.when(late, by=THERAPIST).refuses(NoteStruck, note=NOTE)


def test_a_signature_is_not_taken_back() -> None:
    """R19, R20: else a co-signature would stand without the author's."""
    entry = SIGNED.relationship.version
    mark = MarkEnteredInError(stream=HERE, entry=entry, reason=REASON)
    SIGNED.when(mark).refuses(StaysAsRecorded, topic="note.signed")
    cosigned = SIGNED.when(cosign(SIGNED, AT), by=SUPERVISOR).recorded()
    mark = MarkEnteredInError(stream=HERE, entry=cosigned.relationship.version, reason=REASON)
    cosigned.when(mark).refuses(StaysAsRecorded, topic="note.cosigned")


def test_of_an_erased_note_the_signature_still_proves_what_it_signed() -> None:
    """Rule 9, R20: the commitment outlives the content that it commits to."""
    entry = NOTED.relationship.entry(AT)
    assert entry is not None
    erased = replace(
        SIGNED,
        entries=tuple(
            replace(e, event=NOTED.erased(None).relationship[AT - 1].event)
            if (e.stream, e.version) == (entry.stream, AT)
            else e
            for e in SIGNED.entries
        ),
    )
    assert notes_of(erased.relationship) == {}
    assert [signature.fits for signature in signatures_of(erased.relationship)] == [True]


def test_after_the_end_notes_are_signed_and_added_to_but_not_begun() -> None:
    """Rule 16: putting the record in order outlives the closing; a new note does not."""
    closed = SIGNED.and_given((CLOSED, NOW + HOUR))
    closed.when(write(OTHER)).refuses(RelationshipNotOpen)
    record = closed.when(add()).recorded()
    record = record.when(sign(record, addendum=ADDENDUM), by=THERAPIST).recorded()
    record.when(cosign(record, AT), by=SUPERVISOR).recorded()


def test_each_of_two_therapists_writes_and_signs_for_one_self() -> None:
    """Rule 10: a co-therapist adds to a note under the own name, and only that is theirs."""
    both = given(
        *FOUNDED,
        opened(therapists=(THERAPIST, COTHERAPIST), constellation=Constellation.CO_THERAPY),
        (held(), AN_HOUR_AGO),
    )
    record = both.when(write()).recorded()
    at = record.relationship.version
    record = record.when(add(author=COTHERAPIST), by=COTHERAPIST).recorded()
    theirs = sign(record, addendum=ADDENDUM)
    record.when(theirs, by=THERAPIST).refuses(NotTheirSignature, author=COTHERAPIST)
    record = record.when(theirs, by=COTHERAPIST).recorded()
    record.when(sign(record, at), by=COTHERAPIST).refuses(NotTheirSignature, author=THERAPIST)
