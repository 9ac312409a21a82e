"""Recordings: what they rest on, where they end, what they may be used for."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.appointment import CancelSession, ScheduleSession
from domain.assent import AssentDissented, AssentGiven
from domain.clinic import Scope
from domain.consent import Capacity, ConsentWithdrawn, Reliance
from domain.correction import CorrectEntry, MarkEnteredInError, NotCorrectable, StaysAsRecorded
from domain.event import New, OccursInTheFuture
from domain.hold import LegalHoldPlaced, hold_stream
from domain.person import NotInTheirName
from domain.recording import (
    DestroyRecording,
    EndRecording,
    Recording,
    RecordingDestroyed,
    RecordingEnd,
    RecordingEnded,
    RecordingEndedAlready,
    RecordingEndsFirst,
    RecordingExists,
    RecordingGone,
    RecordingHeld,
    RecordingKind,
    RecordingNotAgreed,
    RecordingNotConsented,
    RecordingOutlastsConsent,
    RecordingOutsideSession,
    RecordingPurpose,
    RecordingReliedOn,
    RecordingStarted,
    RecordingStillRuns,
    RecordingUnknown,
    RecordingUsed,
    StartRecording,
    UseNotConsented,
    UseRecording,
    recording_of,
)
from domain.relationship import (
    Constellation,
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
    relationship_stream,
)
from domain.session import SessionReliedOn, SessionSettled, SessionUnknown
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    DAY,
    DOCUMENT,
    FOUNDED,
    GUARDIAN,
    HOUR,
    NOW,
    OFFICE,
    OPENED_FOR_A_MINOR,
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
    hold_session,
    named,
    on,
    opened,
)

HERE = relationship_stream(RELATIONSHIP)
TAPE = named("tape")
MINUTE = timedelta(minutes=1)
OVER = AN_HOUR_AGO + 50 * MINUTE
CLOSED = RelationshipClosed(
    reason="Done.", initiated_by=Initiator.BOTH, goals="None.", open_goals=(), open_ruptures=()
)


def start(at: datetime = AN_HOUR_AGO, **changes: Any) -> StartRecording:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "recording": TAPE,
        "session": SESSION,
        "kind": RecordingKind.VIDEO,
        "started_at": at,
        "agreed_by": (THERAPIST,),
    }
    return StartRecording.model_validate(fields | changes)


def end(at: datetime = OVER, **changes: Any) -> EndRecording:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "recording": TAPE,
        "ended_at": at,
        "why": RecordingEnd.SESSION_OVER,
    }
    return EndRecording.model_validate(fields | changes)


def use(
    purpose: RecordingPurpose = RecordingPurpose.RECALL, by: UUID = THERAPIST, **changes: Any
) -> UseRecording:
    return UseRecording(
        relationship=RELATIONSHIP, recording=TAPE, purpose=purpose, by=by, **changes
    )


def destroy(**changes: Any) -> DestroyRecording:
    return DestroyRecording(
        relationship=RELATIONSHIP, recording=TAPE, by=THERAPIST, reason="As agreed.", **changes
    )


def started(at: datetime = AN_HOUR_AGO, entry: int = 4) -> RecordingStarted:
    return RecordingStarted(
        recording=TAPE,
        session=SESSION,
        kind=RecordingKind.VIDEO,
        started_at=at,
        clients=(CLIENT,),
        agreed_by=(THERAPIST,),
        relies_on=(cited(entry),),
    )


def ended(at: datetime = OVER) -> RecordingEnded:
    return RecordingEnded(recording=TAPE, ended_at=at, why=RecordingEnd.SESSION_OVER)


def cited(entry: int, scope: Scope = Scope.RECORDING) -> Reliance:
    return Reliance(entry=entry, consent=consent_id(scope, CLIENT))


def withdrawn(at: datetime, scope: Scope = Scope.RECORDING, *also: Scope) -> Any:
    """Taken back while the session went on: recorded then and there."""
    others = tuple(consent_id(one, CLIENT) for one in also)
    event = ConsentWithdrawn(consent=consent_id(scope, CLIENT), party=CLIENT, also_ends=others)
    return (event, at)


def tape(record: Record) -> Recording:
    recording = recording_of(record.relationship, TAPE)
    assert recording is not None
    return recording


AGREED = given(*CONSENTED, consent(Scope.RECORDING))
HELD = AGREED.when(hold_session()).recorded()
TAPED = HELD.when(start()).recorded().when(end()).recorded()


# --- Starting and ending --------------------------------------------------------------------


def test_a_session_is_recorded_with_consent_and_cites_it() -> None:
    """Rules 22 and 24: told afterwards as it was, from when to when, on whose consent."""
    record = HELD.when(start()).then(started())
    assert tape(record).ended_at is None
    record = record.when(end()).then(ended())
    recording = tape(record)
    assert (recording.started_at, recording.ended_at) == (AN_HOUR_AGO, OVER)
    assert recording.seconds == 50 * 60
    assert recording.lapse is None
    record.when(end()).refuses(RecordingEndedAlready, recording=TAPE)
    record.when(start()).refuses(RecordingExists, recording=TAPE)


def test_no_recording_without_the_consent_of_every_client() -> None:
    """Rule 22: neither of a client alone nor of one of two; an import is refused as well."""
    record = given(*CONSENTED).when(hold_session()).recorded()
    for imported in (False, True):
        record.when(start(), imported=imported).refuses(RecordingNotConsented, party=CLIENT)
    couple = opened(CLIENT, PARTNER, constellation=Constellation.COUPLE)
    two = given(*FOUNDED, couple, consent(), consent(party=PARTNER), consent(Scope.RECORDING))
    together = two.when(hold_session(SESSION, CLIENT, PARTNER, THERAPIST)).recorded()
    together.when(start()).refuses(RecordingNotConsented, party=PARTNER)
    alone = two.when(hold_session()).recorded()
    alone.when(start()).recorded()


@for_all(st.integers(-60, 60))
def test_consent_counts_from_the_start_of_the_recording(minutes: int) -> None:
    """Rule 22: what is consented to during the session is recorded from then on at the earliest."""
    since = AN_HOUR_AGO + minutes * MINUTE
    record = given(*CONSENTED, consent(Scope.RECORDING, valid_from=since))
    outcome = record.when(hold_session()).recorded().when(start())
    if minutes <= 0:
        outcome.recorded()
    else:
        outcome.refuses(RecordingNotConsented, party=CLIENT)


def test_whoever_else_is_in_the_room_agrees() -> None:
    """Rule 22: the therapists, an interpreter or an observer say yes, each of them."""
    HELD.when(start(agreed_by=())).refuses(RecordingNotAgreed, person=THERAPIST)
    observed = AGREED.and_given(consent(Scope.INTERPRETER_OR_OBSERVER))
    met = observed.when(hold_session(SESSION, CLIENT, THERAPIST, OFFICE)).recorded()
    met.when(start()).refuses(RecordingNotAgreed, person=OFFICE)
    met.when(start(agreed_by=(THERAPIST, OFFICE))).recorded()


def test_a_recording_lies_inside_its_session() -> None:
    """Rule 22: from its start to its end, and not of a session that was called off."""
    for outside in (AN_HOUR_AGO - MINUTE, OVER, OVER + MINUTE):
        HELD.when(start(outside)).refuses(RecordingOutsideSession, session=SESSION)
    record = HELD.when(start()).recorded()
    record.when(end(OVER + MINUTE)).refuses(RecordingOutsideSession, recording=TAPE)
    record.when(end(AN_HOUR_AGO)).refuses(RecordingEndsFirst, recording=TAPE)
    record.when(end(NOW + HOUR)).refuses(OccursInTheFuture)
    HELD.when(start(session=named("none"))).refuses(SessionUnknown)
    HELD.when(end()).refuses(RecordingUnknown, recording=TAPE)
    plan = ScheduleSession(
        relationship=RELATIONSHIP, session=SESSION, starts_at=NOW, ends_at=NOW + HOUR
    )
    cancel = CancelSession(relationship=RELATIONSHIP, session=SESSION, who=CLIENT, why="Ill.")
    cancelled = AGREED.and_given(plan, cancel)
    cancelled.when(start()).refuses(SessionSettled, status="cancelled")
    HELD.and_given((CLOSED, AN_HOUR_AGO)).when(start()).refuses(RelationshipNotOpen)


def test_it_may_be_told_while_it_runs() -> None:
    """Rule 22: before the session is recorded as held, all who may come have said yes; its end is
    told once it is known who was there."""
    plan = ScheduleSession(
        relationship=RELATIONSHIP, session=SESSION, starts_at=NOW, ends_at=NOW + HOUR
    )
    running = AGREED.and_given(plan).when(start(), at=AN_HOUR_AGO).recorded()
    running.when(end()).refuses(RecordingOutsideSession, session=SESSION)
    over = running.when(hold_session()).recorded()
    over.when(end()).then(ended())
    shorter = running.when(hold_session(start=AN_HOUR_AGO + MINUTE)).recorded()
    shorter.when(end()).refuses(RecordingOutsideSession)
    observed = running.and_given(consent(Scope.INTERPRETER_OR_OBSERVER, valid_from=AN_HOUR_AGO))
    met = observed.when(hold_session(SESSION, CLIENT, THERAPIST, OFFICE)).recorded()
    met.when(end()).refuses(RecordingNotAgreed, person=OFFICE)


def test_who_came_later_is_not_recorded_unasked() -> None:
    """Rule 22: told while it ran of one family member, it cannot end as one of two."""
    family = opened(CLIENT, PARTNER, constellation=Constellation.FAMILY)
    record = given(*FOUNDED, family, consent(), consent(party=PARTNER), consent(Scope.RECORDING))
    alone = record.when(hold_session()).recorded().when(start()).recorded()
    alone.when(end()).recorded()
    mark = MarkEnteredInError(stream=HERE, entry=alone.relationship.version, reason="No tape.")
    gone = alone.when(mark).recorded()
    assert recording_of(gone.relationship, TAPE) is None
    gone.when(start()).refuses(RecordingExists)
    with_both = record.when(hold_session(SESSION, CLIENT, PARTNER, THERAPIST)).recorded()
    sneaked = with_both.and_given((started(entry=4), AN_HOUR_AGO))
    sneaked.when(end()).refuses(RecordingNotConsented, party=PARTNER)


# --- Withdrawal -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "withdrawal", [(Scope.RECORDING,), (Scope.TREATMENT, Scope.RECORDING)], ids=lambda one: one[0]
)
def test_a_withdrawal_in_mid_session_ends_the_recording(withdrawal: tuple[Scope, ...]) -> None:
    """Rules 21 and 22: at that moment, told or not; longer is refused, with the moment named."""
    moment = AN_HOUR_AGO + 20 * MINUTE
    record = HELD.and_given(withdrawn(moment, *withdrawal))
    running = record.when(start()).recorded()
    assert tape(running).ended_at == moment
    assert tape(running).lapse is not None
    for too_late in (moment + MINUTE, OVER):
        running.when(end(too_late)).refuses(
            RecordingOutlastsConsent, party=CLIENT, ended_at=moment.isoformat()
        )
    told = running.when(end(moment)).then(ended(moment))
    assert tape(told).lapse is None
    record.when(start(moment)).refuses(RecordingNotConsented, party=CLIENT)
    running.when(use()).refuses(UseNotConsented, party=CLIENT, scope="recording")


def test_consent_given_anew_does_not_bridge_the_gap() -> None:
    """Rule 22: withdrawn and given again ten minutes later, it was not in force for the whole
    span."""
    moment = AN_HOUR_AGO + 20 * MINUTE
    again = consent(Scope.RECORDING, valid_from=moment + 10 * MINUTE)
    again = again.model_copy(update={"consent": named("again")})
    record = HELD.and_given(withdrawn(moment), (again, moment + 10 * MINUTE))
    running = record.when(start()).recorded()
    running.when(end()).refuses(RecordingOutlastsConsent, ended_at=moment.isoformat())
    second = record.when(start(moment + 10 * MINUTE, recording=named("second"))).recorded()
    second.when(end(recording=named("second"))).recorded()


def test_a_term_that_ends_in_mid_session_ends_the_recording() -> None:
    """Rule 22: consent until half past is none for the whole hour."""
    until = AN_HOUR_AGO + 30 * MINUTE
    record = given(*CONSENTED, consent(Scope.RECORDING, valid_to=until))
    running = record.when(hold_session()).recorded().when(start()).recorded()
    assert tape(running).ended_at == until
    running.when(end()).refuses(RecordingOutlastsConsent, ended_at=until.isoformat())
    running.when(end(until)).recorded()


def test_a_minors_dissent_in_mid_session_ends_the_recording() -> None:
    """Rules 22 and 23: the guardian's consent stands, and is not enough from then on."""
    moment = AN_HOUR_AGO + 20 * MINUTE
    agreed = (
        consent(scope).model_copy(update={"signer": GUARDIAN, "capacity": Capacity.GUARDIAN})
        for scope in (Scope.TREATMENT, Scope.RECORDING)
    )
    assented = (
        AssentGiven(scope=scope, party=CLIENT, document=DOCUMENT, version=1)
        for scope in (Scope.TREATMENT, Scope.RECORDING)
    )
    met = given(*OPENED_FOR_A_MINOR, *agreed, *assented).when(hold_session()).recorded()
    dissented = AssentDissented(scope=Scope.RECORDING, party=CLIENT)
    running = met.when(start()).recorded().and_given((dissented, moment))
    assert tape(running).ended_at == moment
    running.when(end()).refuses(RecordingOutlastsConsent, ended_at=moment.isoformat())
    running.when(end(moment)).recorded()


@for_all(st.integers(1, 49), st.integers(1, 50))
def test_no_recording_reads_longer_than_its_consent(withdrawn_at: int, ended_at: int) -> None:
    """Rule 22: whichever is told first, its end is never after the withdrawal."""
    moment, stop = AN_HOUR_AGO + withdrawn_at * MINUTE, AN_HOUR_AGO + ended_at * MINUTE
    running = HELD.when(start()).recorded()
    first = running.and_given((ended(stop), stop), withdrawn(moment))
    assert tape(first).ended_at == min(stop, moment)
    outcome = running.and_given(withdrawn(moment)).when(end(stop))
    assert (outcome.refusal is None) == (stop <= moment)


def test_a_recording_without_withdrawal_keeps_its_end() -> None:
    """Rules 20 and 22: consent that is withdrawn weeks later leaves what was recorded lawful."""
    record = TAPED.and_given(withdrawn(NOW + 9 * DAY))
    assert tape(record).ended_at == OVER
    assert tape(TAPED.erased(CLIENT)).ended_at == OVER
    assert recording_of(TAPED.erased(None).relationship, TAPE) is None


# --- Use ------------------------------------------------------------------------------------

NEEDED = [
    (RecordingPurpose.SUPERVISION, Scope.SUPERVISION_DISCLOSURE),
    (RecordingPurpose.RESEARCH, Scope.RESEARCH_PARTICIPATION),
    (RecordingPurpose.TEACHING, Scope.DATA_REUSE),
]


@pytest.mark.parametrize("purpose, scope", NEEDED)
def test_a_use_needs_consent_to_it_as_well(purpose: RecordingPurpose, scope: Scope) -> None:
    """Rules 22 and 24: recording and the use are two consents, both in force then and cited."""
    TAPED.when(use(purpose)).refuses(UseNotConsented, party=CLIENT, scope=scope.value)
    record = TAPED.and_given((consent(scope, valid_from=NOW), NOW))
    at = record.relationship.version
    used = RecordingUsed(
        recording=TAPE, purpose=purpose, by=THERAPIST, relies_on=(cited(4), cited(at, scope))
    )
    record.when(use(purpose), at=NOW + HOUR).then(used)
    for taken_back in (scope, Scope.RECORDING):
        gone = record.and_given(withdrawn(NOW + MINUTE, taken_back))
        gone.when(use(purpose), at=NOW + HOUR).refuses(UseNotConsented, scope=taken_back.value)


def test_recall_needs_consent_to_recording() -> None:
    """Rule 22: they look at it together; the consent to record covers that while it holds."""
    record = TAPED.when(use()).recorded()
    assert len(tape(record).uses) == 1
    running = HELD.when(start()).recorded()
    running.when(use()).refuses(RecordingStillRuns, recording=TAPE)
    TAPED.when(use(occurred_at=OVER - MINUTE)).refuses(RecordingStillRuns)
    HELD.when(use()).refuses(RecordingUnknown)


def test_in_supervision_it_is_used_by_who_treats_or_supervises() -> None:
    """Rules 22 and 41: by a therapist of theirs or the supervisor, in their own name."""
    record = TAPED.and_given((consent(Scope.SUPERVISION_DISCLOSURE, valid_from=NOW), NOW))
    supervise = RecordingPurpose.SUPERVISION
    outsider = use(supervise, COTHERAPIST)
    record.when(outsider, by=COTHERAPIST).refuses(NotAParticipant, person=COTHERAPIST)
    record.when(use(supervise, SUPERVISOR)).refuses(NotInTheirName, person=SUPERVISOR)
    record.when(use(supervise, SUPERVISOR), by=SUPERVISOR).recorded()


def test_it_is_used_after_the_end_of_therapy_too() -> None:
    """Rule 16: a use is access, and needs its consents as before."""
    TAPED.and_given((CLOSED, NOW)).when(use(), at=NOW + DAY).recorded()


# --- Destruction ----------------------------------------------------------------------------


def test_what_was_destroyed_is_not_used() -> None:
    """Rule 22: from then on; earlier uses stay told, and none is added under them."""
    record = TAPED.when(destroy(), at=NOW + HOUR).then(
        RecordingDestroyed(recording=TAPE, by=THERAPIST, reason="As agreed.")
    )
    record.when(use(), at=NOW + 2 * HOUR).refuses(RecordingGone, recording=TAPE)
    record.when(destroy(), at=NOW + 2 * HOUR).refuses(RecordingGone)
    record.when(destroy(occurred_at=NOW), at=NOW + 2 * HOUR).refuses(RecordingGone)
    record.when(use(occurred_at=NOW), at=NOW + 2 * HOUR).recorded()
    used = TAPED.when(use(), at=NOW + HOUR).recorded()
    used.when(destroy(occurred_at=NOW), at=NOW + 2 * HOUR).refuses(RecordingReliedOn)
    TAPED.when(destroy(), by=CLIENT).refuses(NotInTheirName, person=THERAPIST)
    TAPED.and_given((CLOSED, NOW)).when(destroy(), at=NOW + DAY).recorded()


def test_a_legal_hold_keeps_it() -> None:
    """Rule 9: nothing that a matter may turn on is destroyed while it is held."""
    placed = LegalHoldPlaced(hold=named("hold"), matter="12 O 3/26", authority="Court", by=OFFICE)
    hold: New = on(hold_stream(RELATIONSHIP), placed)
    TAPED.and_given(hold).when(destroy()).refuses(RecordingHeld)


# --- Amendments -----------------------------------------------------------------------------


def mark(entry: int) -> MarkEnteredInError:
    return MarkEnteredInError(stream=HERE, entry=entry, reason="There was no tape.")


def test_a_recording_is_not_reworded() -> None:
    """Rules 1 and 22: its consents were looked at for that time; a use of it stays told."""
    at = TAPED.relationship.version
    longer = ended(OVER - MINUTE).model_dump(mode="json", exclude_none=True)
    correct = CorrectEntry(stream=HERE, entry=at, reason="Longer.", content=longer)
    TAPED.when(correct).refuses(NotCorrectable, topic="recording.ended")
    TAPED.when(mark(at)).recorded()
    used = TAPED.when(use()).recorded()
    used.when(mark(at + 1)).refuses(StaysAsRecorded, topic="recording.used")
    used.when(mark(at - 1)).refuses(RecordingReliedOn, recording=TAPE, entry=at + 1)


def test_its_session_stays_around_it() -> None:
    """Rules 1, 13 and 22: no correction leaves a recording outside its session, or without one."""
    session = next(e.version for e in TAPED.relationship if e.topic == "session.held")

    def correct(minutes: int) -> CorrectEntry:
        content = held(minutes=minutes).model_dump(mode="json", exclude_none=True)
        return CorrectEntry(stream=HERE, entry=session, reason="Wrong.", content=content)

    TAPED.when(correct(40)).refuses(RecordingOutsideSession, recording=TAPE)
    TAPED.when(correct(55)).recorded()
    TAPED.when(mark(session)).refuses(SessionReliedOn, session=SESSION)
