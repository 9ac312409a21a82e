"""Sessions: what it takes to hold one, and the hours a therapist can give only once."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.appointment import (
    CancelSession,
    MissSession,
    RescheduleSession,
    ScheduleSession,
    SessionExists,
    SessionLiesAhead,
)
from domain.clinic import Scope
from domain.consent import ConsentMissing, Reliance
from domain.correction import CorrectEntry, EnteredInError, IdentityChanged, MarkEnteredInError
from domain.event import Event, LateReasonMissing, New, OccursInTheFuture
from domain.person import Activity, OutOfScope
from domain.relationship import (
    Constellation,
    Initiator,
    NotAParticipant,
    RelationshipClosed,
    RelationshipNotOpen,
    RelationshipNotYetOpen,
    relationship_stream,
)
from domain.session import (
    AbandonSession,
    Emergency,
    HoldSession,
    LocationUnconfirmed,
    Medium,
    MediumNotStated,
    NobodyToMeet,
    ReviewBeforeSession,
    Session,
    SessionAbandoned,
    SessionCancelled,
    SessionMissed,
    SessionReliedOn,
    SessionRescheduled,
    SessionScheduled,
    SessionSettled,
    SessionsOverlap,
    SessionUnknown,
    Status,
    schedule_stream,
    session_numbers,
    session_of,
)
from domain.summary import SessionSummaryShared
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    COACH,
    CONSENTED,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    NOW,
    OFFICE,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    RELIANCE,
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
    practising,
    taken,
)

ELSEWHERE = named("another relationship")
_NOT_ENTERED = {"late_reason", "import_id", "reported", "relies_on"}
MINUTE = timedelta(minutes=1)
APPOINTMENT = SessionScheduled(
    session=SESSION, starts_at=NOW, ends_at=NOW + HOUR, medium=Medium.IN_PERSON
)
SCHEDULE = ScheduleSession(
    relationship=RELATIONSHIP, session=SESSION, starts_at=NOW, ends_at=NOW + HOUR
)
MISS = MissSession(relationship=RELATIONSHIP, session=SESSION, who=CLIENT, why="Overslept.")
CANCEL = CancelSession(relationship=RELATIONSHIP, session=SESSION, who=OFFICE, why="Boiler broke.")
MISSED = SessionMissed(session=SESSION, who=CLIENT, why="Overslept.")
CLOSED = RelationshipClosed(
    reason="Moved away.",
    initiated_by=Initiator.CLIENT,
    goals="One of two.",
    open_goals=(),
    open_ruptures=(),
)
CANCELLED = SessionCancelled(session=SESSION, who=OFFICE, why="Boiler broke.")


def reliance(entry: int, scope: Scope = Scope.TREATMENT, party: UUID = CLIENT) -> Reliance:
    return Reliance(entry=entry, consent=consent_id(scope, party))


def session_in(record: Record) -> Session:
    session = session_of(record.relationship, SESSION)
    assert session is not None
    return session


# --- Scheduled, held, missed, cancelled -----------------------------------------------------


def test_a_session_is_scheduled_then_held() -> None:
    """Rule 13: scheduled → held; rule 4: what is scheduled lies ahead, by its own times."""
    record = given(*CONSENTED).when(SCHEDULE, at=NOW - DAY).then(APPOINTMENT)
    assert session_in(record).status is Status.SCHEDULED
    record.when(SCHEDULE).refuses(SessionExists, session=SESSION)
    after = record.when(hold_session(start=NOW), at=NOW + HOUR).then(
        held(start=NOW, relies_on=(RELIANCE,)), taken(start=NOW)
    )
    session = session_in(after)
    assert session.is_held
    assert (session.held, session.present) == (5, (CLIENT, THERAPIST))
    assert (session.started_at, session.ended_at) == (NOW, NOW + 50 * MINUTE)
    assert session_of(after.relationship, named("no session")) is None


def test_a_session_may_be_held_without_an_appointment() -> None:
    """Rule 13: somebody who comes unannounced is seen, and it is recorded."""
    given(*CONSENTED).when(hold_session()).then(held(relies_on=(RELIANCE,)), taken())


@pytest.mark.parametrize(
    "command, fact, status",
    [(MISS, MISSED, Status.MISSED), (CANCEL, CANCELLED, Status.CANCELLED)],
    ids=["missed", "cancelled"],
)
def test_missed_and_cancelled_say_who_and_why(
    command: MissSession | CancelSession, fact: SessionMissed | SessionCancelled, status: Status
) -> None:
    """Rules 13 and 15: scheduled → missed | cancelled, each with who and why."""
    record = given(*CONSENTED, APPOINTMENT).when(command).then(fact)
    assert session_in(record).status is status
    given(*CONSENTED).when(command).refuses(SessionUnknown, session=SESSION)
    for part in ("who", "why"):
        with pytest.raises(ValidationError):
            type(command).model_validate(command.model_dump(exclude={part}))


def test_nobody_misses_what_lies_ahead() -> None:
    """Rules 4 and 13: an appointment is missed once it has begun; before that it is cancelled."""
    record = given(*CONSENTED, APPOINTMENT)
    early = MISS.model_copy(update={"occurred_at": NOW - MINUTE})
    record.when(early).refuses(SessionLiesAhead, session=SESSION)
    record.when(MISS).then(MISSED)
    early_call = CANCEL.model_copy(update={"occurred_at": NOW - MINUTE})
    record.when(early_call).then(CANCELLED)


def test_only_a_participant_misses_a_session() -> None:
    """Rule 15: who stayed away is one of those who were expected."""
    elsewhere = MISS.model_copy(update={"who": OFFICE})
    given(*CONSENTED, APPOINTMENT).when(elsewhere).refuses(NotAParticipant, person=OFFICE)


@pytest.mark.parametrize("settled", [held(start=NOW - 2 * HOUR), MISSED, CANCELLED])
@pytest.mark.parametrize("command", [hold_session(), MISS, CANCEL], ids=lambda one: str(one.name))
def test_what_is_settled_stays_so(
    command: HoldSession | MissSession | CancelSession, settled: Event
) -> None:
    """Rule 13: held never becomes missed, nor missed held; it is corrected instead."""
    record = given(*CONSENTED, APPOINTMENT, settled)
    record.when(command).refuses(SessionSettled, session=SESSION, status=session_in(record).status)


@pytest.mark.parametrize("command", [SCHEDULE, MISS, CANCEL], ids=lambda one: str(one.name))
def test_appointments_end_with_the_relationship(
    command: ScheduleSession | MissSession | CancelSession,
) -> None:
    """Rule 16: after closure no appointment is made, missed or cancelled, unless recorded late."""
    past = {"starts_at": NOW - 3 * DAY, "ends_at": NOW - 3 * DAY + HOUR}
    record = given(*CONSENTED, APPOINTMENT.model_copy(update=past), (CLOSED, NOW - DAY))
    record.when(command).refuses(RelationshipNotOpen)
    if command is not SCHEDULE:
        before = {"occurred_at": NOW - 2 * DAY, "late_reason": "Found when filing."}
        assert record.when(command.model_copy(update=before)).event.late_reason is not None


# --- Moved and abandoned --------------------------------------------------------------------

MOVED = SessionRescheduled(
    session=SESSION,
    starts_at=NOW + DAY,
    ends_at=NOW + DAY + HOUR,
    who=CLIENT,
    why="A child is ill.",
)
MOVE = RescheduleSession(
    relationship=RELATIONSHIP,
    session=SESSION,
    starts_at=MOVED.starts_at,
    ends_at=MOVED.ends_at,
    who=CLIENT,
    why=MOVED.why,
)


def test_an_appointment_is_moved_while_it_stands() -> None:
    """Rule 13: only what is still scheduled; who moved it, why, and to when."""
    record = given(*CONSENTED, APPOINTMENT).when(MOVE, at=NOW - HOUR).then(MOVED)
    assert session_in(record).started_at == NOW + DAY
    record.when(MISS).refuses(SessionLiesAhead, session=SESSION)
    given(*CONSENTED).when(MOVE).refuses(SessionUnknown, session=SESSION)
    for settled in (held(start=NOW - 2 * HOUR), MISSED, CANCELLED):
        given(*CONSENTED, APPOINTMENT, settled).when(MOVE).refuses(SessionSettled)
    given(*CONSENTED, APPOINTMENT, (CLOSED, NOW - DAY)).when(MOVE).refuses(RelationshipNotOpen)


def test_no_appointment_lies_before_the_relationship() -> None:
    """Rule 16: neither made nor moved to there."""
    long_ago = {"starts_at": NOW - 900 * DAY, "ends_at": NOW - 900 * DAY + HOUR}
    record = given(*CONSENTED)
    record.when(SCHEDULE.model_copy(update=long_ago)).refuses(RelationshipNotYetOpen)
    planned = record.and_given(APPOINTMENT)
    planned.when(MOVE.model_copy(update=long_ago)).refuses(RelationshipNotYetOpen)


def test_the_hour_of_an_appointment_is_moved_and_not_corrected() -> None:
    """Rules 1 and 13: by its hour a session was missed; corrected to later, it would lie ahead."""
    record = given(*CONSENTED, APPOINTMENT, MISSED)
    later = APPOINTMENT.model_copy(update={"starts_at": NOW + DAY, "ends_at": NOW + DAY + HOUR})
    correct = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=record.relationship.version - 1,
        reason="It was to be tomorrow.",
        content=later.model_dump(mode="json", exclude_none=True),
    )
    record.when(correct).refuses(IdentityChanged, field="starts_at")


def abandon(**changes: Any) -> AbandonSession:
    fields = hold_session(minutes=20).model_dump(exclude_unset=True)
    broken_off = {"who": CLIENT, "why": "Left after the talk about the holiday."}
    return AbandonSession.model_validate(fields | broken_off | changes)


def abandoned(**changes: Any) -> SessionAbandoned:
    return SessionAbandoned(
        **dict(held(minutes=20, relies_on=(RELIANCE,), **changes)),
        who=CLIENT,
        why="Left after the talk about the holiday.",
    )


def test_a_session_that_was_broken_off_says_by_whom_and_why() -> None:
    """Rules 13 and 15: scheduled → abandoned; it took place, is numbered, and takes its hour."""
    record = given(*CONSENTED, APPOINTMENT).when(abandon())
    broken_off = record.then(abandoned(), taken(minutes=20))
    session = session_in(broken_off)
    assert session.status is Status.ABANDONED
    assert session.is_held
    assert session_numbers(broken_off.relationship) == {SESSION: 1}
    for command in (MISS, CANCEL, MOVE, hold_session(), abandon()):
        broken_off.when(command).refuses(SessionSettled, status="abandoned")
    given(*CONSENTED).when(abandon(who=OFFICE)).refuses(NotAParticipant, person=OFFICE)


def test_what_is_broken_off_rests_on_what_a_held_session_rests_on() -> None:
    """Rules 11, 12, 14 and 15: consent, scope, the hour and the place are asked for as ever."""
    given(*OPENED).when(abandon()).refuses(ConsentMissing, party=CLIENT)
    at_a_distance = abandon(medium=Medium.VIDEO)
    given(*CONSENTED).when(at_a_distance).refuses(LocationUnconfirmed)
    given(*CONSENTED, *elsewhere(0, 50)).when(abandon()).refuses(SessionsOverlap)
    coached = given(*FOUNDED, opened(therapists=(COACH,)), consent())
    coached.when(abandon(present=(CLIENT, COACH))).refuses(OutOfScope, practitioner=COACH)
    busy = given(*CONSENTED).when(abandon()).recorded()
    busy.when(hold_session(named("in that hour"))).refuses(SessionsOverlap)


def test_an_abandoned_session_is_corrected_under_its_own_rules() -> None:
    """Rules 1 and 13: it stays one that was abandoned, in whatever words."""
    record = given(*CONSENTED).when(abandon()).recorded()

    def correct(**changes: Any) -> CorrectEntry:
        content = abandoned(**changes).model_dump(exclude=_NOT_ENTERED) | {"why": "Left early."}
        return CorrectEntry(
            stream=relationship_stream(RELATIONSHIP), entry=4, reason="Said so.", content=content
        )

    corrected = record.when(correct()).recorded()
    (told,) = [event for _, event in corrected.relationship.of(SessionAbandoned)]
    assert told == abandoned().model_copy(update={"why": "Left early."})
    at_a_distance = correct(medium=Medium.VIDEO, location_confirmed=True)
    record.when(at_a_distance).refuses(ConsentMissing, scope="telehealth")


def test_a_session_that_others_tell_of_is_not_marked_away() -> None:
    """Rules 1, 13 and 28: a rating or a note of it would belong to a session nobody held."""
    record = given(*CONSENTED).when(hold_session()).recorded()
    mark = MarkEnteredInError(
        stream=relationship_stream(RELATIONSHIP), entry=4, reason="Of another client."
    )
    record.when(mark).recorded()
    summary = SessionSummaryShared(session=SESSION, by=THERAPIST, summary="One stop a day.")
    told = record.and_given(summary)
    told.when(mark).refuses(SessionReliedOn, session=SESSION, entry=5)
    undone = told.when(mark.model_copy(update={"entry": 5})).recorded()
    undone.when(mark).recorded()


def test_a_session_does_not_end_before_it_starts() -> None:
    """Rule 13: times that cannot be are refused, in a command as in a corrected entry."""
    for kind in (hold_session, held):
        with pytest.raises(ValidationError, match="ended_at lies before started_at"):
            kind(minutes=-1)
    backwards = {"starts_at": NOW, "ends_at": NOW - HOUR}
    for planned in (SCHEDULE, APPOINTMENT):
        with pytest.raises(ValidationError, match="ends_at lies before starts_at"):
            type(planned).model_validate(planned.model_dump() | backwards)
    with pytest.raises(ValidationError, match="ended_at lies before started_at"):
        taken(minutes=-1)


def test_a_session_takes_time() -> None:
    """Rule 14: one that ends when it starts would overlap with none."""
    for kind in (hold_session, held, taken):
        with pytest.raises(ValidationError, match="ended_at is when started_at is"):
            kind(minutes=0)
    for planned in (SCHEDULE, APPOINTMENT):
        with pytest.raises(ValidationError, match="ends_at is when starts_at is"):
            type(planned).model_validate(planned.model_dump() | {"ends_at": NOW})


def test_a_session_ends_within_a_day() -> None:
    """Rule 14: a mistyped year would take a therapist's hours for ever."""
    for kind in (hold_session, held, taken):
        kind(minutes=24 * 60)
        with pytest.raises(ValidationError, match="ended_at lies more than 24 h after started_at"):
            kind(minutes=24 * 60 + 1)
    for planned in (SCHEDULE, APPOINTMENT):
        with pytest.raises(ValidationError, match="ends_at lies more than 24 h after starts_at"):
            type(planned).model_validate(
                planned.model_dump() | {"ends_at": planned.starts_at + timedelta(hours=25)}
            )


# --- Time -----------------------------------------------------------------------------------


def test_a_session_occurred_when_it_started() -> None:
    """Rules 3 and 4: its start is its time; it is over when it is recorded; late says why."""
    record = given(*CONSENTED)
    outcome = record.when(hold_session())
    assert {new.occurred_at for new in outcome.news} == {AN_HOUR_AGO}
    record.when(hold_session(start=NOW + HOUR)).refuses(OccursInTheFuture)
    record.when(hold_session(start=NOW - 10 * MINUTE, minutes=50)).refuses(OccursInTheFuture)
    record.when(hold_session(start=NOW - 2 * DAY)).refuses(LateReasonMissing, hours=24)
    with pytest.raises(ValidationError):
        HoldSession.model_validate(hold_session().model_dump() | {"occurred_at": NOW})


# --- People ---------------------------------------------------------------------------------


def test_a_session_needs_a_client_and_a_therapist() -> None:
    """Rule 10: a session is a meeting of the relationship's own people."""
    record = given(*CONSENTED)
    for present in [(CLIENT,), (THERAPIST,), (CLIENT, COTHERAPIST), (PARTNER, THERAPIST)]:
        record.when(hold_session(SESSION, *present)).refuses(NobodyToMeet)


def test_a_coach_cannot_hold_a_therapy_session() -> None:
    """Rule 11: the scope is in force when the session starts; an import reports."""
    record = given(*FOUNDED, opened(therapists=(COACH,)), consent())
    session = hold_session(SESSION, CLIENT, COACH)
    record.when(session).refuses(OutOfScope, practitioner=COACH, activity="therapy")
    record.when(session, imported=True).reports(OutOfScope)


def test_a_coach_holds_a_coaching_session() -> None:
    """Rule 11: what the relationship is for decides which scope it takes."""
    coaching = opened(therapists=(COACH,), activity=Activity.COACHING)
    record = given(*FOUNDED, coaching, consent())
    coached = record.when(hold_session(SESSION, CLIENT, COACH)).recorded()
    assert session_in(coached).is_held


def test_the_scope_counts_at_the_start_of_the_session() -> None:
    """Rule 11: a therapist whose scope has lapsed since may still record what was held before."""
    lapsed = practising(named("lapsed"), valid_to=NOW.date() - 2 * DAY)
    record = given(*FOUNDED, lapsed, opened(therapists=(named("lapsed"),)), consent())
    session = hold_session(SESSION, CLIENT, named("lapsed"))
    record.when(session).refuses(OutOfScope, practitioner=named("lapsed"))
    late = {"started_at": NOW - 3 * DAY, "ended_at": NOW - 3 * DAY + HOUR, "late_reason": "Ill."}
    recorded = record.when(session.model_copy(update=late)).recorded()
    assert session_in(recorded).started_at == NOW - 3 * DAY


# --- Consent --------------------------------------------------------------------------------


def test_no_session_without_consent_to_treatment() -> None:
    """Rules 12 and 24: treatment consent is in force at the start, and cited; imports report."""
    record = given(*OPENED)
    record.when(hold_session()).refuses(ConsentMissing, scope="treatment", party=CLIENT)
    record.when(hold_session(), imported=True).reports(ConsentMissing)
    given(*OPENED, consent()).when(hold_session()).then(held(relies_on=(reliance(2),)), taken())


@for_all(st.integers(-90, 30))
@example(0)
def test_consent_counts_from_the_start_of_the_session(minutes: int) -> None:
    """Rule 12: consent given during the session comes too late for it."""
    record = given(*OPENED, consent(valid_from=AN_HOUR_AGO + minutes * MINUTE))
    outcome = record.when(hold_session())
    if minutes <= 0:
        outcome.recorded()
    else:
        outcome.refuses(ConsentMissing, party=CLIENT)


def test_every_client_present_has_consented() -> None:
    """Rule 12: in a couple each consents; who is not there need not have."""
    couple = opened(CLIENT, PARTNER, constellation=Constellation.COUPLE)
    record = given(*FOUNDED, couple, consent())
    together = hold_session(SESSION, CLIENT, PARTNER, THERAPIST)
    record.when(together).refuses(ConsentMissing, party=PARTNER)
    record.when(hold_session()).then(held(relies_on=(reliance(2),)), taken())
    record.and_given(consent(party=PARTNER)).when(together).then(
        held(
            SESSION,
            CLIENT,
            PARTNER,
            THERAPIST,
            relies_on=(reliance(2), reliance(3, party=PARTNER)),
        ),
        taken(),
    )


def test_an_emergency_has_a_reason_and_a_review_by_a_date() -> None:
    """Rule 12: the emergency exception, and what it must say; what consent there is, is cited."""
    emergency = Emergency(reason="Acute danger.", review_by=NOW.date())
    given(*OPENED).when(hold_session(emergency=emergency)).then(held(emergency=emergency), taken())
    given(*CONSENTED).when(hold_session(emergency=emergency)).then(
        held(emergency=emergency, relies_on=(RELIANCE,)), taken()
    )
    for said in ({"reason": "Acute danger."}, {"review_by": "2026-03-03"}):
        with pytest.raises(ValidationError):
            Emergency.model_validate(said)
    overdue = Emergency(reason="Acute danger.", review_by=date(2026, 3, 1))
    given(*OPENED).when(hold_session(emergency=overdue)).refuses(ReviewBeforeSession)


@pytest.mark.parametrize("medium", [Medium.VIDEO, Medium.TELEPHONE, Medium.CHAT])
def test_a_session_at_a_distance_is_agreed_and_located(medium: Medium) -> None:
    """Rule 15: the telehealth agreement and the location confirmed, the latter by imports too."""
    remote = hold_session(medium=medium, location_confirmed=True)
    record = given(*CONSENTED)
    record.when(remote).refuses(ConsentMissing, scope="telehealth", party=CLIENT)
    record.when(remote, imported=True).reports(ConsentMissing)
    agreed = record.and_given(consent(Scope.TELEHEALTH))
    for imported in (False, True):
        agreed.when(hold_session(medium=medium), imported=imported).refuses(LocationUnconfirmed)
    agreed.when(remote).then(
        held(
            medium=medium,
            location_confirmed=True,
            relies_on=(RELIANCE, reliance(4, Scope.TELEHEALTH)),
        ),
        taken(),
    )


def test_only_an_import_leaves_the_medium_open() -> None:
    """Rule 45: what a source does not say is not invented; who enters a session knows it."""
    open_ = hold_session(medium=Medium.NOT_STATED)
    record = given(*CONSENTED)
    record.when(open_).refuses(MediumNotStated)
    record.when(open_, imported=True).reports(MediumNotStated)
    planned = SCHEDULE.model_copy(update={"medium": Medium.NOT_STATED})
    record.when(planned).refuses(MediumNotStated)


def test_others_are_present_only_with_consent() -> None:
    """Rule 19: an interpreter, an observer or the supervisor in the room is consented to."""
    record = given(*CONSENTED)
    observed = hold_session(SESSION, CLIENT, THERAPIST, SUPERVISOR)
    record.when(observed).refuses(ConsentMissing, scope="interpreter_or_observer")
    record.and_given(consent(Scope.INTERPRETER_OR_OBSERVER)).when(observed).then(
        held(
            SESSION,
            CLIENT,
            THERAPIST,
            SUPERVISOR,
            relies_on=(RELIANCE, reliance(4, Scope.INTERPRETER_OR_OBSERVER)),
        ),
        taken(),
    )


# --- The therapist's hours ------------------------------------------------------------------


def elsewhere(minutes_later: int, minutes: int, *, joint: bool = False) -> tuple[New, New]:
    """A session of the same therapist in another relationship, and its hour in the schedule."""
    start = AN_HOUR_AGO + minutes_later * MINUTE
    return (
        on(
            relationship_stream(ELSEWHERE),
            held(named("elsewhere"), PARTNER, THERAPIST, start=start, minutes=minutes, joint=joint),
        ),
        on(
            schedule_stream(THERAPIST),
            taken(
                named("elsewhere"),
                relationship=ELSEWHERE,
                start=start,
                minutes=minutes,
                joint=joint,
            ),
        ),
    )


@for_all(st.integers(-120, 60), st.integers(1, 120), st.booleans(), st.booleans())
@example(later=50, minutes=10, one_joint=False, other_joint=False)
@example(later=-10, minutes=10, one_joint=False, other_joint=False)
def test_no_two_sessions_of_one_therapist_overlap(
    later: int, minutes: int, one_joint: bool, other_joint: bool
) -> None:
    """Rule 14: back to back is fine, a shared minute is not, unless both are joint."""
    record = given(*CONSENTED, *elsewhere(later, minutes, joint=other_joint))
    outcome = record.when(hold_session(joint=one_joint))
    if later < 50 and later + minutes > 0 and not (one_joint and other_joint):
        outcome.refuses(SessionsOverlap, therapist=THERAPIST)
    else:
        outcome.then(held(relies_on=(RELIANCE,), joint=one_joint), taken(joint=one_joint))


def test_sessions_of_one_relationship_overlap_as_little() -> None:
    """Rule 14: it is the therapist's hour that is taken, whoever the client is."""
    record = given(*CONSENTED).when(hold_session()).recorded()
    record.when(hold_session(named("the same hour again"))).refuses(SessionsOverlap)
    next_one, after = named("right after"), AN_HOUR_AGO + 50 * MINUTE
    record.when(hold_session(next_one, start=after, minutes=5)).then(
        held(next_one, start=after, minutes=5, relies_on=(RELIANCE,)),
        taken(next_one, start=after, minutes=5),
    )


def test_one_id_in_two_relationships_is_two_sessions() -> None:
    """Rule 14: a session's id does not let it pass for a session of another relationship."""
    other = on(schedule_stream(THERAPIST), taken(SESSION, relationship=ELSEWHERE))
    there = on(relationship_stream(ELSEWHERE), held(SESSION, PARTNER, THERAPIST))
    given(*CONSENTED, there, other).when(hold_session()).refuses(SessionsOverlap)


def test_an_import_reports_an_overlap() -> None:
    """Rule 45: rule 14 reports instead of refusing what comes by an import."""
    record = given(*CONSENTED, *elsewhere(0, 50))
    record.when(hold_session(), imported=True).reports(SessionsOverlap)


def test_a_group_shares_its_hour() -> None:
    """Rule 14: a group's session is joint without saying so; each therapist's hour is taken."""
    group = opened(
        CLIENT,
        PARTNER,
        therapists=(THERAPIST, COTHERAPIST),
        constellation=Constellation.GROUP,
    )
    record = given(*FOUNDED, group, consent())
    record.when(hold_session(SESSION, CLIENT, THERAPIST, COTHERAPIST)).then(
        held(SESSION, CLIENT, THERAPIST, COTHERAPIST, relies_on=(reliance(2),), joint=True),
        taken(joint=True),
        on(schedule_stream(COTHERAPIST), taken(joint=True)),
    )
    record.when(hold_session()).then(held(relies_on=(reliance(2),), joint=True), taken(joint=True))


def test_a_session_entered_in_error_takes_no_time() -> None:
    """Rules 1 and 14: what was never held leaves the therapist's hour free."""
    error = on(relationship_stream(ELSEWHERE), EnteredInError(entry=1, reason="Wrong client."))
    given(*CONSENTED, *elsewhere(0, 50), error).when(hold_session()).then(
        held(relies_on=(RELIANCE,)), taken()
    )


def test_a_corrected_session_takes_its_new_time_only() -> None:
    """Rules 1, 13 and 14: held can be corrected; the old hour is free, the new one is taken."""
    record = given(*CONSENTED).when(hold_session()).recorded()
    earlier = AN_HOUR_AGO - 3 * HOUR
    correction = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=4,
        reason="It was in the morning.",
        content=held(start=earlier).model_dump(
            exclude={"late_reason", "import_id", "reported", "relies_on"}
        ),
    )
    corrected = record.when(correction).recorded()
    assert session_in(corrected).started_at == earlier
    corrected.when(hold_session(named("in that hour"))).then(
        held(named("in that hour"), relies_on=(RELIANCE,)), taken(named("in that hour"))
    )
    corrected.when(hold_session(named("in the morning"), start=earlier)).refuses(SessionsOverlap)


# --- Erasure --------------------------------------------------------------------------------


def test_an_erased_session_keeps_its_hour() -> None:
    """Rules 9 and 14: with the other relationship erased, the schedule alone tells of the hour."""
    here = given(*CONSENTED, *elsewhere(0, 50))
    there = here.history(relationship_stream(ELSEWHERE))
    assert session_of(there, named("elsewhere")) is not None
    erased = here.erased(None, relationship_stream(ELSEWHERE))
    assert session_of(erased.history(relationship_stream(ELSEWHERE)), named("elsewhere")) is None
    erased.when(hold_session()).refuses(SessionsOverlap, therapist=THERAPIST)


def test_an_erased_client_takes_no_hour() -> None:
    """Rules 9 and 14: a session in error leaves its hour free, though its client was erased."""
    there = relationship_stream(ELSEWHERE)
    agreed = on(there, consent(party=PARTNER))
    error = on(there, EnteredInError(entry=1, reason="Wrong client."))
    record = given(*CONSENTED, *elsewhere(0, 50), agreed, error).erased(PARTNER)
    record.when(hold_session()).then(held(relies_on=(RELIANCE,)), taken())


def test_with_the_schedule_erased_sessions_go_on() -> None:
    """Rule 9: a schedule whose content is gone refuses nothing and breaks nothing."""
    record = given(*CONSENTED, *elsewhere(0, 50)).erased(None, schedule_stream(THERAPIST))
    record.when(hold_session()).then(held(relies_on=(RELIANCE,)), taken())
