"""Process notes: kept apart, the author's alone, shared by the author in supervision."""

from typing import Any
from uuid import UUID

import pytest

from domain.clinic import Scope
from domain.consent import ConsentMissing, ConsentWithdrawn
from domain.correction import CorrectEntry, EnteredInError, MarkEnteredInError
from domain.event import EntryUnknown
from domain.person import OutOfScope
from domain.phase import NotItsTherapist
from domain.process_note import (
    NotTheirProcessNote,
    ProcessNoteExists,
    ProcessNoteShared,
    ProcessNoteWritten,
    SharedAlready,
    ShareProcessNote,
    WriteProcessNote,
    process_notes_of,
    process_stream,
)
from domain.relationship import (
    Constellation,
    Initiator,
    RelationshipClosed,
    RelationshipNotYetOpen,
    relationship_stream,
)
from tests.kit import (
    BEGINNING,
    CLIENT,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    given,
    informed,
    named,
    on,
    opened,
)

NOTE = named("process note")
STREAM = process_stream(RELATIONSHIP)
TEXT = "I was impatient when she fell silent."
WRITTEN = ProcessNoteWritten(note=NOTE, text=TEXT, author=THERAPIST)
DISCLOSURE = consent(Scope.SUPERVISION_DISCLOSURE)
SHARE = ShareProcessNote(relationship=RELATIONSHIP, note=NOTE, supervisor=SUPERVISOR)


def write(**changes: Any) -> WriteProcessNote:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "note": NOTE, "text": TEXT}
    return WriteProcessNote(**fields | changes)


def private(record: Record) -> Any:
    return process_notes_of(record.history(STREAM))


NOTED = given(*OPENED, informed(), DISCLOSURE).when(write(), by=THERAPIST).then(WRITTEN)


def test_a_process_note_stands_apart_from_the_record() -> None:
    """R11, R12: in a stream of its own, which no view of the relationship reads."""
    assert len(NOTED.history(STREAM)) == 1
    of_the_relationship = NOTED.history(relationship_stream(RELATIONSHIP))
    assert TEXT not in repr(list(of_the_relationship))
    (note,) = private(NOTED).values()
    assert note.is_readable_by(THERAPIST)
    for somebody in (CLIENT, SUPERVISOR, COTHERAPIST, OFFICE):
        assert not note.is_readable_by(somebody)


def test_only_whoever_treats_writes_and_only_for_oneself() -> None:
    """R12: neither another person nor a file writes in an author's name."""
    record = given(*OPENED)
    for somebody in (CLIENT, SUPERVISOR, COTHERAPIST, OFFICE):
        record.when(write(), by=somebody).refuses(NotItsTherapist, person=somebody)
    record.when(write(), by=OFFICE, on_behalf_of=THERAPIST).refuses(NotTheirProcessNote)
    record.when(write(), by=THERAPIST, imported=True).refuses(NotTheirProcessNote)


def test_a_process_note_names_what_there_is() -> None:
    """Rule 8: a session of this relationship, an id that is new, a time when it was open."""
    NOTED.when(write(), by=THERAPIST).refuses(ProcessNoteExists, note=NOTE)
    record = given(*OPENED)
    record.when(write(session=named("none")), by=THERAPIST).refuses(EntryUnknown, what="session")
    early = write(occurred_at=BEGINNING - DAY, late_reason="From my diary.")
    record.when(early, by=THERAPIST).refuses(RelationshipNotYetOpen)
    struck = NOTED.and_given(on(STREAM, EnteredInError(entry=1, reason="Of another client.")))
    struck.when(write(), by=THERAPIST).refuses(ProcessNoteExists, note=NOTE)


def test_the_author_shares_a_note_with_a_supervisor() -> None:
    """R12, rule 24: for supervision, resting on the consent of every client; one note at a time."""
    outcome = NOTED.when(SHARE, by=THERAPIST)
    event = outcome.event
    assert isinstance(event, ProcessNoteShared)
    assert [relied.consent for relied in event.relies_on] == [DISCLOSURE.consent]
    record = outcome.recorded()
    assert private(record)[NOTE].is_readable_by(SUPERVISOR)
    assert not private(record)[NOTE].is_readable_by(CLIENT)
    record.when(SHARE, by=THERAPIST).refuses(SharedAlready, note=NOTE, supervisor=SUPERVISOR)
    other = write(note=named("another"))
    record = record.when(other, by=THERAPIST).recorded()
    assert not private(record)[named("another")].is_readable_by(SUPERVISOR)


def test_to_anybody_else_there_is_no_such_note() -> None:
    """R12: who asks to share another's note learns nothing of it."""
    for somebody in (SUPERVISOR, CLIENT, COTHERAPIST):
        NOTED.when(SHARE, by=somebody).refuses(EntryUnknown, what="process note")
    NOTED.when(SHARE, by=OFFICE, on_behalf_of=THERAPIST).refuses(NotTheirProcessNote)


@pytest.mark.parametrize("person", [CLIENT, COTHERAPIST])
def test_a_note_is_shared_for_supervision_only(person: UUID) -> None:
    """Rule 11: with somebody whose scope is supervision on that day."""
    share = SHARE.model_copy(update={"supervisor": person})
    NOTED.when(share, by=THERAPIST).refuses(OutOfScope, practitioner=person)


def test_after_a_withdrawal_nothing_more_is_shared() -> None:
    """Rules 20, 24: what relies on a consent is refused from its withdrawal on."""
    withdrawn = ConsentWithdrawn(
        consent=consent_id(Scope.SUPERVISION_DISCLOSURE, CLIENT), party=CLIENT
    )
    NOTED.and_given((withdrawn, NOW - HOUR)).when(SHARE, by=THERAPIST).refuses(ConsentMissing)


def test_only_its_author_mends_a_process_note() -> None:
    """Rule 1, R12: to anybody else there is no such entry to correct or to strike."""
    content = WRITTEN.model_copy(update={"text": "I was tired."})
    said = content.model_dump(mode="json", exclude_none=True)
    correct = CorrectEntry(stream=STREAM, entry=1, reason="Thought again.", content=said)
    strike = MarkEnteredInError(stream=STREAM, entry=1, reason="Of another client.")
    for command in (correct, strike):
        for somebody in (SUPERVISOR, CLIENT, COTHERAPIST, OFFICE):
            NOTED.when(command, by=somebody).refuses(EntryUnknown, what="entry")
    record = NOTED.when(correct, by=THERAPIST).recorded()
    assert private(record)[NOTE].written.text == "I was tired."
    assert private(NOTED.when(strike, by=THERAPIST).recorded()) == {}


def test_sharing_is_taken_back_by_striking_it() -> None:
    """R12: from then on the supervisor does not read it any more."""
    record = NOTED.when(SHARE, by=THERAPIST).recorded()
    strike = MarkEnteredInError(stream=STREAM, entry=2, reason="Not meant for supervision.")
    record.when(strike, by=SUPERVISOR).refuses(EntryUnknown, what="entry")
    record = record.when(strike, by=THERAPIST).recorded()
    assert not private(record)[NOTE].is_readable_by(SUPERVISOR)


def test_two_therapists_do_not_read_each_others_notes() -> None:
    """R12: co-therapy shares the record, not what each notes for nobody else."""
    both = given(
        *FOUNDED,
        opened(therapists=(THERAPIST, COTHERAPIST), constellation=Constellation.CO_THERAPY),
    )
    record = both.when(write(), by=COTHERAPIST).recorded()
    (note,) = private(record).values()
    assert note.written.author == COTHERAPIST
    assert not note.is_readable_by(THERAPIST)


def test_one_goes_on_thinking_after_the_end() -> None:
    """Rule 16: a process note tells of its author, and outlives the closing."""
    closed = RelationshipClosed(
        reason="Done.",
        initiated_by=Initiator.BOTH,
        goals="Reached.",
        open_goals=(),
        open_ruptures=(),
    )
    given(*OPENED).and_given((closed, NOW - DAY)).when(write(), by=THERAPIST).then(WRITTEN)
