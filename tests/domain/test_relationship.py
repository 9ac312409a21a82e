"""The relationship: its people, its closing, its transfer, its reopening."""

from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.appointment import ScheduleSession
from domain.clinic import Scope
from domain.closure import (
    CloseRelationship,
    RelationshipClosedAlready,
    RelationshipOpenAlready,
    ReopenRelationship,
    TransferRelationship,
)
from domain.consent import ConsentGiven, ConsentWithdrawn
from domain.correction import EnteredInError
from domain.event import Command, Given, LateReasonMissing
from domain.person import OutOfScope
from domain.records import StaleVersion
from domain.relationship import (
    Constellation,
    ConstellationDiffers,
    Initiator,
    NotAParticipant,
    OpenRelationship,
    OutsideTheRelationship,
    RelationshipClosed,
    RelationshipErased,
    RelationshipExists,
    RelationshipNotOpen,
    RelationshipNotYetOpen,
    RelationshipReopened,
    RelationshipTransferred,
    RelationshipUnknown,
    TurnsOutOfOrder,
    TwoPartsAtOnce,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.session import session_numbers
from tests.kit import (
    BEGINNING,
    CLIENT,
    CLINIC,
    COACH,
    CONSENTED,
    COTHERAPIST,
    DAY,
    FOUNDED,
    HOUR,
    NOW,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    RELIANCE,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    consent_id,
    give_consent,
    given,
    held,
    hold_session,
    informed,
    named,
    on,
    opened,
    taken,
)

CLOSED = RelationshipClosed(
    reason="The goals are reached.",
    initiated_by=Initiator.BOTH,
    goals="Sleeps through; rides the train again.",
    open_goals=(),
    open_ruptures=(),
)
REOPENED = RelationshipReopened(reason="Panic came back after a move.")
CLOSE = CloseRelationship(
    relationship=RELATIONSHIP,
    reason=CLOSED.reason,
    initiated_by=CLOSED.initiated_by,
    goals=CLOSED.goals,
)
REOPEN = ReopenRelationship(relationship=RELATIONSHIP, reason=REOPENED.reason)
ELSEWHERE = named("the relationship that goes on")
CLOSED_AT = NOW - 7 * DAY


def open_relationship(
    *clients: UUID,
    therapists: tuple[UUID, ...] = (THERAPIST,),
    constellation: Constellation = Constellation.INDIVIDUAL,
    supervisor: UUID | None = None,
) -> OpenRelationship:
    return OpenRelationship(
        relationship=RELATIONSHIP,
        clients=clients or (CLIENT,),
        therapists=therapists,
        constellation=constellation,
        modality="cognitive behavioural therapy",
        setting="outpatient",
        supervisor=supervisor,
    )


def transfer(therapist: UUID = COTHERAPIST) -> TransferRelationship:
    return TransferRelationship(
        relationship=RELATIONSHIP,
        to=ELSEWHERE,
        therapists=(therapist,),
        reason=CLOSED.reason,
        initiated_by=CLOSED.initiated_by,
        goals=CLOSED.goals,
    )


def schedule(**changes: object) -> ScheduleSession:
    fields: dict[str, object] = {
        "relationship": RELATIONSHIP,
        "starts_at": NOW + DAY,
        "ends_at": NOW + DAY + HOUR,
    }
    return ScheduleSession.model_validate(fields | changes)


def now_in(record: Record) -> Given:
    return Given(clinic=CLINIC, now=NOW, at=NOW, actor=CLIENT, history=record.history)


# --- Opening --------------------------------------------------------------------------------


def test_a_relationship_is_opened_between_one_client_and_one_therapist() -> None:
    """Rule 10: participants are explicit."""
    record = (
        given(*FOUNDED)
        .when(open_relationship(supervisor=SUPERVISOR))
        .then(opened(supervisor=SUPERVISOR))
    )
    relationship = relationship_of(record.relationship)
    assert relationship.participants == (CLIENT, THERAPIST)
    assert relationship.supervisor == SUPERVISOR
    assert relationship.is_open
    record.when(open_relationship()).refuses(RelationshipExists, relationship=RELATIONSHIP)


@for_all(st.sampled_from(Constellation), st.integers(1, 4), st.integers(1, 3))
def test_more_people_need_a_constellation_that_says_so(
    constellation: Constellation, clients: int, therapists: int
) -> None:
    """Rule 10: one client and one therapist, unless something else is stated."""
    meant = {
        Constellation.INDIVIDUAL: clients == 1 and therapists == 1,
        Constellation.CO_THERAPY: clients == 1 and therapists > 1,
        Constellation.COUPLE: clients == 2,
        Constellation.FAMILY: clients > 1,
        Constellation.GROUP: clients > 1,
    }
    assert constellation.fits(clients, therapists) == meant[constellation]


def test_a_couple_is_stated() -> None:
    """Rule 10: two clients are no individual therapy."""
    record = given(*FOUNDED)
    record.when(open_relationship(CLIENT, PARTNER)).refuses(
        ConstellationDiffers, clients=2, therapists=1, constellation="individual"
    )
    record.when(open_relationship(CLIENT, PARTNER, constellation=Constellation.COUPLE)).then(
        opened(CLIENT, PARTNER, constellation=Constellation.COUPLE)
    )


def test_nobody_is_on_two_sides() -> None:
    """Rule 10: client, therapist and supervisor are different people, each named once."""
    record = given(*FOUNDED)
    record.when(open_relationship(THERAPIST)).refuses(TwoPartsAtOnce, person=THERAPIST)
    record.when(open_relationship(supervisor=THERAPIST)).refuses(TwoPartsAtOnce)
    record.when(open_relationship(supervisor=CLIENT)).refuses(TwoPartsAtOnce, person=CLIENT)
    with pytest.raises(ValidationError, match="only once"):
        open_relationship(CLIENT, CLIENT, constellation=Constellation.COUPLE)
    with pytest.raises(ValidationError):
        open_relationship(therapists=())


def test_only_those_named_take_part() -> None:
    """Rule 10: who is not named in the opening is no participant."""
    relationship = relationship_of(given(*OPENED).relationship)
    require_participant(relationship, CLIENT)
    require_participant(relationship, THERAPIST)
    for outsider in (PARTNER, SUPERVISOR):
        with pytest.raises(NotAParticipant):
            require_participant(relationship, outsider)


# --- Closing and reopening ------------------------------------------------------------------


def test_a_closing_says_why_who_and_what_is_left() -> None:
    """Rule 16: closure needs a reason, who initiated it, the state of goals and open ruptures."""
    record = given(*OPENED).when(CLOSE).then(CLOSED)
    assert not relationship_of(record.relationship).is_open
    record.when(CLOSE).refuses(RelationshipClosedAlready, relationship=RELATIONSHIP)
    for part in ("reason", "initiated_by", "goals"):
        with pytest.raises(ValidationError):
            CloseRelationship.model_validate(CLOSE.model_dump(exclude={part}))


def test_nothing_is_planned_in_a_closed_relationship() -> None:
    """Rule 16: after closure nothing but late entries, corrections, access and follow-up."""
    record = given(*CONSENTED, (CLOSED, CLOSED_AT))
    record.when(schedule()).refuses(RelationshipNotOpen, relationship=RELATIONSHIP)
    record.when(hold_session()).refuses(RelationshipNotOpen)
    record.when(give_consent(Scope.RECORDING)).refuses(RelationshipNotOpen)


def test_what_happened_before_the_closing_may_still_be_recorded() -> None:
    """Rule 16: a late entry belongs to the time when the relationship was open; rule 3 holds."""
    record = given(*CONSENTED, (CLOSED, CLOSED_AT))
    start = CLOSED_AT - HOUR
    record.when(hold_session(start=start)).refuses(LateReasonMissing, hours=24)
    late = hold_session(start=start, late_reason="The note lay in the car.")
    outcome = record.when(late)
    outcome.then(held(start=start, relies_on=(RELIANCE,)), taken(start=start))
    assert {new.event.late_reason for new in outcome.news} == {"The note lay in the car."}


def test_a_follow_up_measure_is_taken_after_the_closing() -> None:
    """Rule 16: what is marked as follow-up is taken from a closed relationship."""
    record = given(*OPENED, (CLOSED, CLOSED_AT))
    relationship = relationship_of(record.relationship)
    now = now_in(record)
    require_open(relationship, now, follow_up=True)
    with pytest.raises(RelationshipNotOpen):
        require_open(relationship, now)


def test_a_reopening_says_why_and_sessions_number_on() -> None:
    """Rule 16: reopening says why; session numbers continue."""
    sessions = [named(f"session {number}") for number in range(3)]
    first, second, third = (
        (held(session, start=start), start)
        for session, start in zip(
            sessions, (CLOSED_AT - 2 * DAY, CLOSED_AT - DAY, CLOSED_AT + 3 * DAY), strict=True
        )
    )
    record = given(*OPENED, first, second, (CLOSED, CLOSED_AT))
    again = record.when(REOPEN, at=CLOSED_AT + 2 * DAY).then(REOPENED)
    assert relationship_of(again.relationship).is_open
    assert session_numbers(again.and_given(third).relationship) == {
        session: number for number, session in enumerate(sessions, start=1)
    }
    with pytest.raises(ValidationError):
        ReopenRelationship.model_validate({"relationship": RELATIONSHIP})


def test_only_a_closed_relationship_is_reopened() -> None:
    """Rule 16: a reopening follows a closing."""
    given(*OPENED).when(REOPEN).refuses(RelationshipOpenAlready, relationship=RELATIONSHIP)


def test_turns_keep_their_order() -> None:
    """Rule 16: nothing is closed before it was opened, or reopened before it was closed."""
    early = {"occurred_at": BEGINNING - DAY, "late_reason": "Found in the old books."}
    record = given(*OPENED)
    record.when(CLOSE.model_copy(update=early)).refuses(TurnsOutOfOrder, relationship=RELATIONSHIP)
    closed = record.and_given((CLOSED, CLOSED_AT))
    closed.when(REOPEN.model_copy(update=early)).refuses(TurnsOutOfOrder)
    closed.when(REOPEN, at=CLOSED_AT).then(REOPENED)
    given(*FOUNDED, (opened(), NOW)).when(CLOSE, at=NOW).then(CLOSED)


def test_nothing_happens_in_a_relationship_before_it_is_opened() -> None:
    """Rules 10 and 16: also after a transfer, the therapist who goes on has held nothing yet."""
    record = given(*FOUNDED, (opened(), NOW - DAY), informed(), consent(valid_from=NOW - 9 * DAY))
    before = hold_session(start=NOW - 2 * DAY, late_reason="Written up on the train.")
    record.when(before).refuses(RelationshipNotYetOpen, relationship=RELATIONSHIP)
    record.when(before, imported=True).refuses(RelationshipNotYetOpen)
    record.when(hold_session(start=NOW - DAY)).recorded()


def test_a_relationship_is_not_closed_before_what_happened_in_it() -> None:
    """Rule 16: a session after the closing it would have had is none that is recorded late."""
    record = given(*CONSENTED, (held(), NOW - 2 * DAY))
    friday = {"occurred_at": NOW - 3 * DAY, "late_reason": "Closed in the office."}
    version = record.relationship.version
    for command in (CLOSE, transfer()):
        early = command.model_copy(update=friday)
        record.when(early).refuses(OutsideTheRelationship, entry=version)
        record.when(early.model_copy(update={"occurred_at": NOW - 2 * DAY})).recorded()


def test_a_withdrawal_does_not_keep_a_relationship_open() -> None:
    """Rules 16 and 20: it may follow a closing, whichever of the two is recorded first."""
    withdrawn = ConsentWithdrawn(consent=consent_id(Scope.TREATMENT, CLIENT), party=CLIENT)
    record = given(*CONSENTED, (withdrawn, NOW - DAY))
    friday = {"occurred_at": NOW - 3 * DAY, "late_reason": "Closed in the office."}
    record.when(CLOSE.model_copy(update=friday)).then(CLOSED)


@for_all(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.integers(-10, 500))
def test_it_is_closed_from_each_closing_to_the_next_reopening(gaps: list[int], day: int) -> None:
    """Rule 16: closed at the moment of closing, open again at the moment of reopening."""
    turns = [BEGINNING + DAY * sum(gaps[: number + 1]) for number in range(len(gaps))]
    facts = [(REOPENED if number % 2 else CLOSED, turn) for number, turn in enumerate(turns)]
    relationship = relationship_of(given(*OPENED, *facts).relationship)
    at = BEGINNING + DAY * day
    assert relationship.was_closed(at) == (sum(turn <= at for turn in turns) % 2 == 1)
    assert relationship.is_open == (len(turns) % 2 == 0)
    assert relationship.last_turn == turns[-1]


# --- Transfer -------------------------------------------------------------------------------


def test_a_transfer_closes_one_relationship_and_opens_another_with_the_link() -> None:
    """Rule 10: both in one decision, each naming the other; the clients stay, consent does not."""
    record = given(*CONSENTED)
    transferred = record.when(transfer()).then(
        RelationshipTransferred(to=ELSEWHERE, reason=CLOSED.reason),
        CLOSED,
        on(
            relationship_stream(ELSEWHERE),
            opened(therapists=(COTHERAPIST,), transferred_from=RELATIONSHIP),
        ),
    )
    assert not relationship_of(transferred.relationship).is_open
    assert relationship_of(transferred.history(relationship_stream(ELSEWHERE))).is_open
    assert not any(
        isinstance(entry.event, ConsentGiven)
        for entry in transferred.history(relationship_stream(ELSEWHERE))
    )


def test_a_transfer_keeps_the_rules_of_closing_and_opening() -> None:
    """Rules 10, 11 and 16: a transfer is refused where its closing or its opening would be."""
    record = given(*OPENED)
    record.when(transfer(COACH)).refuses(OutOfScope, practitioner=COACH)
    record.when(transfer(CLIENT)).refuses(TwoPartsAtOnce)
    record.and_given((CLOSED, CLOSED_AT)).when(transfer()).refuses(RelationshipClosedAlready)
    record.and_given(on(relationship_stream(ELSEWHERE), opened())).when(transfer()).refuses(
        RelationshipExists, relationship=ELSEWHERE
    )
    given(*FOUNDED).when(transfer()).refuses(RelationshipUnknown)


# --- Unknown, erased, stale -----------------------------------------------------------------

EVERY_COMMAND = [CLOSE, REOPEN, transfer(), schedule(), hold_session(), give_consent()]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: command.name)
def test_nothing_is_recorded_of_a_relationship_nobody_opened(command: Command) -> None:
    """Rule 10: a relationship begins with its opening."""
    given(*FOUNDED).when(command).refuses(RelationshipUnknown)


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: command.name)
def test_an_erased_relationship_takes_no_entry(command: Command) -> None:
    """Rule 9: after the joint key is destroyed nothing is added, and nothing breaks."""
    given(*CONSENTED).erased(None).and_given(*FOUNDED).when(command).refuses(RelationshipErased)


def test_an_opening_made_in_error_is_no_opening() -> None:
    """Rule 1: marked as entered in error, the relationship reads as if it had not been opened."""
    mistaken = given(*OPENED, EnteredInError(entry=1, reason="Wrong person."))
    mistaken.when(schedule()).refuses(RelationshipUnknown)
    mistaken.when(open_relationship()).refuses(RelationshipExists)


def test_a_closing_made_in_error_closes_nothing() -> None:
    """Rule 1: marked as entered in error, the closing is gone and a reopening reads as none."""
    error = EnteredInError(entry=2, reason="Meant for another relationship.")
    reopened = given(*OPENED, (CLOSED, CLOSED_AT), REOPENED, error)
    assert relationship_of(reopened.relationship).closures == ()
    given(*OPENED, (CLOSED, CLOSED_AT), error).when(CLOSE).then(CLOSED)


def test_a_stale_version_is_refused() -> None:
    """Rule 8: a decision on what has moved since is refused, never merged."""
    stream = relationship_stream(RELATIONSHIP)
    record = given(*CONSENTED)
    record.when(CLOSE, expected={stream: 2}).refuses(StaleVersion, actual=3, expected=2)
    record.when(CLOSE, expected={stream: 3}).then(CLOSED)
