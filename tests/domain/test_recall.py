"""Recall interviews: a use of the recording, by somebody else, with each party's own moments."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.clinic import Scope
from domain.consent import ConsentWithdrawn
from domain.correction import CorrectEntry, IdentityChanged, NotCorrectable
from domain.event import EntryUnknown, Event
from domain.person import NotInTheirName, PractitionerUnknown
from domain.recall import (
    HoldRecallInterview,
    InquirerConcerned,
    InquiresIntoOneself,
    MarkMoment,
    MomentBeforeInterview,
    MomentExists,
    MomentMarked,
    MomentOutsideRecording,
    NotAtTheSession,
    NotTheirRecall,
    RecallBeforeSession,
    RecallDiffers,
    RecallExists,
    RecallInterviewHeld,
    RecallScheduled,
    ScheduleRecall,
    moments_of,
    recalls_of,
    recalls_scheduled,
)
from domain.recording import (
    RecordingDestroyed,
    RecordingEnd,
    RecordingEnded,
    RecordingGone,
    RecordingKind,
    RecordingPurpose,
    RecordingStarted,
    RecordingUsed,
    UseNotConsented,
    recordings_of,
)
from domain.relationship import (
    Constellation,
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
    relationship_stream,
)
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    DAY,
    FOUNDED,
    NOW,
    OFFICE,
    PARTNER,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    given,
    held,
    informed,
    named,
    opened,
)

RECALL, MOMENT, RECORDING = named("recall"), named("moment"), named("recording")
MINUTE = timedelta(minutes=1)
START, END = AN_HOUR_AGO, AN_HOUR_AGO + 40 * MINUTE
"""Of the recording: forty minutes."""
WHAT = "Here I wanted to leave."


def taped(*clients: UUID) -> tuple[tuple[Event, datetime], ...]:
    """A session of these clients, and its recording."""
    clients = clients or (CLIENT,)
    started = RecordingStarted(
        recording=RECORDING,
        session=SESSION,
        kind=RecordingKind.VIDEO,
        started_at=START,
        clients=clients,
        agreed_by=(THERAPIST,),
        relies_on=(),
    )
    ended = RecordingEnded(recording=RECORDING, ended_at=END, why=RecordingEnd.SESSION_OVER)
    meeting = held(SESSION, *clients, THERAPIST)
    return (meeting, AN_HOUR_AGO), (started, START), (ended, END)


def schedule(party: UUID = CLIENT, **changes: Any) -> ScheduleRecall:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "recall": RECALL, "session": SESSION}
    return ScheduleRecall(**fields | {"party": party, "starts_at": NOW + DAY} | changes)


def interview(
    party: UUID = CLIENT, inquirer: UUID = SUPERVISOR, **changes: Any
) -> HoldRecallInterview:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "recall": RECALL,
        "session": SESSION,
        "party": party,
        "inquirer": inquirer,
        "recording": RECORDING,
        "held_at": NOW - 2 * MINUTE,
    }
    return HoldRecallInterview(**fields | changes)


def mark(party: UUID = CLIENT, **changes: Any) -> MarkMoment:
    fields: dict[str, Any] = {"relationship": RELATIONSHIP, "recall": RECALL, "moment": MOMENT}
    return MarkMoment(**fields | {"t_s": 1284, "party": party, "what": WHAT} | changes)


def withdrawn(at: datetime) -> tuple[ConsentWithdrawn, datetime]:
    return ConsentWithdrawn(consent=consent_id(Scope.RECORDING, CLIENT), party=CLIENT), at


TAPED = given(*CONSENTED, consent(Scope.RECORDING), *taped())
HELD = TAPED.when(interview(), by=SUPERVISOR).recorded()


# --- The interview --------------------------------------------------------------------------


def test_an_interview_is_a_use_of_the_recording() -> None:
    """Rules 22, 24: it is told as one, and cites the consent to the recording."""
    outcome = TAPED.when(interview(), by=SUPERVISOR)
    recalled, used = (new.event for new in outcome.news)
    assert isinstance(recalled, RecallInterviewHeld)
    assert isinstance(used, RecordingUsed)
    assert (used.purpose, used.by) == (RecordingPurpose.RECALL, SUPERVISOR)
    assert [relied.consent for relied in recalled.relies_on] == [
        consent_id(Scope.RECORDING, CLIENT)
    ]
    assert recalled.subject() == CLIENT
    assert [*recalls_of(HELD.relationship)] == [RECALL]
    assert len(recordings_of(HELD.relationship)[RECORDING].uses) == 1


def test_without_consent_there_is_no_recall() -> None:
    """Rules 20, 22: after a withdrawal a recording is not watched again, in recall neither."""
    TAPED.and_given(withdrawn(NOW - 5 * MINUTE)).when(interview(), by=SUPERVISOR).refuses(
        UseNotConsented, party=CLIENT, scope=Scope.RECORDING
    )
    late = TAPED.and_given(withdrawn(NOW - MINUTE))
    late.when(interview(), by=SUPERVISOR).recorded()


def test_of_a_couple_both_consent_and_each_recalls_alone() -> None:
    """Rule 22: both are on the recording; what one recalls is under the own key."""
    couple = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE, supervisor=SUPERVISOR),
        informed(),
        consent(Scope.RECORDING),
        *taped(CLIENT, PARTNER),
    )
    couple.when(interview(), by=SUPERVISOR).refuses(UseNotConsented, party=PARTNER)
    both = couple.and_given(informed(PARTNER), consent(Scope.RECORDING, PARTNER))
    record = both.when(interview(), by=SUPERVISOR).recorded()
    other = interview(PARTNER, recall=named("other"))
    record = record.when(other, by=SUPERVISOR).recorded()
    record = record.when(mark(), by=CLIENT).recorded()
    theirs = mark(PARTNER, recall=named("other"), moment=named("theirs"))
    record = record.when(theirs, by=PARTNER).recorded()
    moments = moments_of(record.relationship, SESSION)
    assert {party: [m.moment for m in found] for party, found in moments.items()} == {
        CLIENT: [MOMENT],
        PARTNER: [named("theirs")],
    }
    assert {m.subject() for found in moments.values() for m in found} == {CLIENT, PARTNER}


def test_somebody_else_inquires() -> None:
    """IPR: never the party, and for a client nobody who was at the session."""
    TAPED.when(interview(inquirer=CLIENT), by=CLIENT).refuses(InquiresIntoOneself, party=CLIENT)
    own = interview(THERAPIST, THERAPIST)
    TAPED.when(own, by=THERAPIST).refuses(InquiresIntoOneself, party=THERAPIST)
    treating = interview(inquirer=THERAPIST)
    TAPED.when(treating, by=THERAPIST).refuses(InquirerConcerned, inquirer=THERAPIST)
    TAPED.when(interview(THERAPIST), by=SUPERVISOR).recorded()
    stranger = interview(inquirer=PARTNER)
    TAPED.when(stranger, by=PARTNER).refuses(PractitionerUnknown, practitioner=PARTNER)
    TAPED.when(interview(inquirer=COTHERAPIST), by=COTHERAPIST).recorded()
    TAPED.when(interview(), by=OFFICE).refuses(NotInTheirName, person=SUPERVISOR)


def test_one_recalls_a_session_at_which_one_was() -> None:
    """IPR: held before, with the party there, and this recording of it."""
    TAPED.when(interview(COTHERAPIST), by=SUPERVISOR).refuses(NotAParticipant, person=COTHERAPIST)
    TAPED.when(interview(session=named("none")), by=SUPERVISOR).refuses(
        EntryUnknown, what="session"
    )
    early = interview(held_at=AN_HOUR_AGO + 10 * MINUTE)
    TAPED.when(early, by=SUPERVISOR).refuses(RecallBeforeSession, session=SESSION)
    missing = interview(recording=named("none"))
    TAPED.when(missing, by=SUPERVISOR).refuses(EntryUnknown, what="recording of that session")
    couple = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE),
        informed(),
        consent(Scope.RECORDING),
        *taped(),
    )
    absent = interview(PARTNER)
    couple.when(absent, by=SUPERVISOR).refuses(NotAtTheSession, party=PARTNER, session=SESSION)


def test_an_interview_has_its_id() -> None:
    """Rule 8: held once; as it was scheduled, if it was."""
    HELD.when(interview(), by=SUPERVISOR).refuses(RecallExists, recall=RECALL)
    HELD.when(schedule()).refuses(RecallExists, recall=RECALL)
    record = TAPED.when(schedule(), by=THERAPIST).then(
        RecallScheduled(recall=RECALL, session=SESSION, party=CLIENT, starts_at=NOW + DAY)
    )
    assert [*recalls_scheduled(record.relationship)] == [RECALL]
    record.when(interview(THERAPIST), by=SUPERVISOR).refuses(RecallDiffers, recall=RECALL)
    record = record.when(interview(), by=SUPERVISOR).recorded()
    assert recalls_scheduled(record.relationship) == {}


def test_a_recording_that_is_gone_is_not_watched() -> None:
    """Rule 22: destroyed is destroyed."""
    gone = RecordingDestroyed(recording=RECORDING, by=THERAPIST, reason="As promised.")
    record = TAPED.and_given((gone, NOW - 5 * MINUTE))
    record.when(interview(), by=SUPERVISOR).refuses(RecordingGone, recording=RECORDING)


def test_an_interview_is_not_moved_in_time() -> None:
    """Rules 1, 22: recording and consent were looked at for its time."""
    stream, entry = relationship_stream(RELATIONSHIP), HELD.relationship.version - 1
    event = recalls_of(HELD.relationship)[RECALL].held
    content = event.model_dump(mode="json", exclude_none=True)
    correct = CorrectEntry(stream=stream, entry=entry, reason="Earlier.", content=content)
    HELD.when(correct).refuses(NotCorrectable, topic="recall.interview_held")


# --- Moments --------------------------------------------------------------------------------


@for_all(st.integers(0, 4000))
def test_a_moment_lies_inside_the_recording(t_s: int) -> None:
    """IPR: forty minutes were recorded; nobody recalls what is not on it."""
    outcome = HELD.when(mark(t_s=t_s), by=CLIENT)
    if t_s > 40 * 60:
        outcome.refuses(MomentOutsideRecording, recording=RECORDING)
    else:
        outcome.then(MomentMarked(moment=MOMENT, recall=RECALL, t_s=t_s, party=CLIENT, what=WHAT))


def test_moments_stand_in_the_order_of_the_recording() -> None:
    """IPR: in whatever order they were recorded."""
    record: Record = HELD
    for name, t_s in (("later", 900), ("first", 60), ("last", 1500)):
        record = record.when(mark(moment=named(name), t_s=t_s), by=CLIENT).recorded()
    (found,) = moments_of(record.relationship, SESSION).values()
    assert [moment.t_s for moment in found] == [60, 900, 1500]
    assert moments_of(record.relationship, named("none")) == {}


def test_a_moment_is_the_partys_own() -> None:
    """Rule 33: nobody else's, and in nobody else's words."""
    HELD.when(mark(THERAPIST), by=THERAPIST).refuses(NotTheirRecall, party=THERAPIST, recall=RECALL)
    HELD.when(mark(), by=SUPERVISOR).refuses(NotInTheirName, person=CLIENT)
    HELD.when(mark(), by=THERAPIST, on_behalf_of=CLIENT).recorded()


def test_a_moment_has_its_interview_and_its_id() -> None:
    """Rule 8: of one that was held, by then, under an id that is new."""
    TAPED.when(mark(), by=CLIENT).refuses(EntryUnknown, what="recall interview")
    early = mark(occurred_at=NOW - 3 * MINUTE)
    HELD.when(early, by=CLIENT).refuses(MomentBeforeInterview, recall=RECALL)
    record = HELD.when(mark(), by=CLIENT).recorded()
    record.when(mark(), by=CLIENT).refuses(MomentExists, moment=MOMENT)


def test_a_moment_is_not_moved_past_the_recording_afterwards() -> None:
    """Rule 1: the words can be mended, the second cannot."""
    record = HELD.when(mark(), by=CLIENT).recorded()
    stream, entry = relationship_stream(RELATIONSHIP), record.relationship.version
    content = {"moment": str(MOMENT), "recall": str(RECALL), "party": str(CLIENT), "t_s": 1284}
    mended = CorrectEntry(
        stream=stream, entry=entry, reason="Wording.", content=content | {"what": "I was afraid."}
    )
    record = record.when(mended, by=CLIENT).recorded()
    ((_, moment),) = recalls_of(record.relationship)[RECALL].moments
    assert moment.what == "I was afraid."
    moved = mended.model_copy(update={"content": content | {"what": WHAT, "t_s": 4000}})
    record.when(moved, by=CLIENT).refuses(IdentityChanged, field="t_s")


@pytest.mark.parametrize("command", [schedule(recall=named("new")), interview(), mark()])
def test_a_closed_relationship_takes_no_recall(command: Any) -> None:
    """Rule 16: nothing new is recalled after closure."""
    closed = RelationshipClosed(
        reason="Done.",
        initiated_by=Initiator.BOTH,
        goals="Reached.",
        open_goals=(),
        open_ruptures=(),
    )
    record = TAPED.and_given((closed, NOW - 5 * MINUTE))
    record.when(command, by=SUPERVISOR).refuses(RelationshipNotOpen)
