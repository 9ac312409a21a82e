"""The timeline: every entry as it was recorded, and what became of it."""

from collections.abc import Mapping

from hypothesis import given as for_all

from domain.correction import CorrectEntry, MarkEnteredInError
from domain.event import ERASED, Erased, Policy, Source, Stream
from domain.session import SessionHeld
from projections.dossier import VIEWS, dossier
from projections.timeline import Line, Timeline, as_first_said, late
from projections.view import known
from tests.domain.test_records import wild_records
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    CONSENTED,
    DAY,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    RELATIONSHIP,
    THERAPIST,
    Record,
    consent,
    given,
    hold_session,
    named,
)

STREAM = Stream("relationship", RELATIONSHIP)


def lines_of(record: Record) -> Mapping[int, Line]:
    return VIEWS.timeline.of(STREAM, record.relationship)


def test_every_entry_has_its_line() -> None:
    """R17: topic, both times with the offset, actor and source, in the order of recording."""
    record = given(*CONSENTED).when(hold_session(), at=NOW).recorded()
    lines = lines_of(record)
    assert list(lines) == [entry.version for entry in record.relationship]
    entry, line = record.relationship[-1], lines[max(lines)]
    assert line.topic.value == "session.held"
    assert (line.occurred_at.value, line.recorded_at.value) == (AN_HOUR_AGO, NOW)
    assert line.occurred_offset.value == 60
    assert (line.actor.value, line.source.value) == (THERAPIST, Source.ENTERED)
    assert line.position.value == entry.position


@for_all(record=wild_records())
def test_a_line_told_of_its_entry_alone_is_the_one_that_is_folded(record: Record) -> None:
    """Views: an entry that stands alone comes to its own line, whatever came before it, and changes
    no other."""
    view = VIEWS.timeline
    history = [e for e in record.entries if e.stream.category == "relationship"]
    state = view.empty(STREAM)
    for entry in history:
        before, state = state, view.fold(state, entry)
        if entry.topic in view.alone and not isinstance(entry.event, Erased):
            line = state.lines[entry.version]
            assert view.alone_apart([entry]) == {entry.version: view.taken_apart(line)}
            assert state.lines == {**before.lines, entry.version: line}


def test_late_entries_are_marked_with_their_reason() -> None:
    """Rule 3: later than the policy's delay, and why."""
    hold = hold_session(start=NOW - 2 * DAY).model_copy(update={"late_reason": "Was ill."})
    record = given(*CONSENTED).when(hold, at=NOW).recorded()
    (line,) = late(lines_of(record))
    assert known(line.late_reason) == "Was ill."
    lenient = Timeline(Policy(late_after=72 * HOUR))
    assert list(late(lenient.of(STREAM, record.relationship))) == []


def test_a_correction_is_an_entry_and_a_mark() -> None:
    """Rule 1: nothing changes in place; the corrected line says by which entry it was corrected."""
    record = given(*OPENED)
    content = record.relationship[0].event.model_dump(exclude_none=True)  # type: ignore[union-attr]
    correct = CorrectEntry(
        stream=STREAM, entry=1, reason="Mistyped.", content=content | {"modality": "schema therapy"}
    )
    record = record.when(correct, at=NOW).recorded()
    original, correction = lines_of(record).values()
    assert [known(mark) for mark in original.corrected] == [2]
    assert original.corrected[0].ref.version == 2
    assert known(correction.amends) == 1
    assert list(as_first_said(lines_of(record))) == [correction]
    mark = MarkEnteredInError(stream=STREAM, entry=1, reason="Another client.")
    lines = lines_of(record.when(mark, at=NOW).recorded())
    assert known(lines[1].in_error) == 3


def test_what_rests_on_a_consent_entered_in_error_says_so() -> None:
    """Rules 1 and 24: the consent was never given; what was done in reliance on it stays in the
    record, and says that nothing bears it any more. A correction finds what else does."""
    record = given(*CONSENTED).when(hold_session(), at=NOW).recorded()
    consented, session = 3, 4
    assert known(lines_of(record)[session].relies_on) == (consented,)
    assert lines_of(record)[session].unsupported is None
    mark = MarkEnteredInError(stream=STREAM, entry=consented, reason="Another client's.")
    in_error = record.when(mark, at=NOW + HOUR).recorded()
    lines = lines_of(in_error)
    assert known(lines[session].unsupported) == known(lines[consented].in_error) == 5
    assert {version for version, line in lines.items() if line.unsupported} == {session}

    found = in_error.and_given(consent().model_copy(update={"consent": named("found")}))
    entry = found.relationship.entry(session)
    assert entry is not None
    assert isinstance(entry.event, SessionHeld)
    longer = entry.event.model_copy(update={"ended_at": AN_HOUR_AGO + HOUR})
    correct = CorrectEntry(
        stream=STREAM,
        entry=session,
        reason="It took the whole hour.",
        content=longer.model_dump(exclude_none=True, exclude={"reported"}),
    )
    line = lines_of(found.when(correct, at=NOW + 2 * HOUR).recorded())[session]
    assert known(line.relies_on) == (6,)
    assert line.unsupported is None


def test_the_two_times_of_a_correction_differ() -> None:
    """Rule 5: before the correction was known the case read otherwise; the timeline shows both."""
    record = given(*OPENED)
    content = record.relationship[0].event.model_dump(exclude_none=True)  # type: ignore[union-attr]
    correct = CorrectEntry(
        stream=STREAM, entry=1, reason="Mistyped.", content=content | {"modality": "schema therapy"}
    )
    history = record.when(correct, at=NOW).recorded().relationship
    before = dossier(STREAM, history, known_at=NOW - DAY)
    today = dossier(STREAM, history)
    long_ago = dossier(STREAM, history, happened_by=NOW - DAY)
    assert before.case is not None
    assert today.case is not None
    assert long_ago.case is not None
    assert before.case.modality.value == "cognitive behavioural therapy"
    assert today.case.modality.value == long_ago.case.modality.value == "schema therapy"
    assert len(before.timeline) == 1


def test_an_import_is_marked_with_what_it_reported() -> None:
    """Rule 45: the source, the declaration it stands on, and the codes it reported."""
    record = given(*OPENED).when(hold_session(), by=OFFICE, imported=True).recorded()
    line = lines_of(record)[record.relationship.version]
    assert line.source.value is Source.IMPORT
    assert known(line.import_id) is not None
    assert line.reported.value == ("consent-missing",)


def test_of_an_erased_entry_the_envelope_is_left() -> None:
    """Rule 9: that, when and by whom is told without the key; the rest is a gap."""
    record = given(*CONSENTED).erased(CLIENT)
    lines = lines_of(record)
    assert [line.topic.value for line in lines.values()] == [
        "relationship.opened",
        "consent.information_given",
        "consent.given",
    ]
    assert lines[3].late_reason.value == ERASED
    assert known(lines[3].actor) == OFFICE
