"""Participants: people join and leave, and who took part when."""

from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.correction import CorrectEntry, IdentityChanged, MarkEnteredInError
from domain.event import LateReasonMissing, New
from domain.participant import JoinRelationship, LeaveRelationship, StillTakesPart
from domain.person import OutOfScope, PersonUnknown
from domain.relationship import (
    Constellation,
    ConstellationDiffers,
    Initiator,
    NotAParticipant,
    Part,
    ParticipantJoined,
    ParticipantLeft,
    Relationship,
    RelationshipClosed,
    RelationshipNotOpen,
    RelationshipNotYetOpen,
    SupervisedAlready,
    TwoPartsAtOnce,
    relationship_of,
    relationship_stream,
)
from domain.session import NobodyToMeet
from tests.kit import (
    AN_HOUR_AGO,
    CLIENT,
    COACH,
    COTHERAPIST,
    DAY,
    FOUNDED,
    GUARDIAN,
    HOUR,
    NOW,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    consent,
    given,
    held,
    hold_session,
    informed,
    named,
    opened,
    practising,
)

HERE = relationship_stream(RELATIONSHIP)
REASON = "The group has room for one more."
FAMILY = (
    *FOUNDED,
    (opened(CLIENT, PARTNER, constellation=Constellation.FAMILY), NOW - 60 * DAY),
)


def join(person: UUID = GUARDIAN, part: Part = Part.CLIENT, **changes: object) -> JoinRelationship:
    fields = {"relationship": RELATIONSHIP, "person": person, "part": part, "reason": REASON}
    return JoinRelationship.model_validate(fields | changes)


def leave(person: UUID = GUARDIAN, **changes: object) -> LeaveRelationship:
    fields = {"relationship": RELATIONSHIP, "person": person, "reason": "Moved away."}
    return LeaveRelationship.model_validate(fields | changes)


def joined(person: UUID = GUARDIAN, part: Part = Part.CLIENT) -> ParticipantJoined:
    return ParticipantJoined(person=person, part=part, reason=REASON)


def left(person: UUID = GUARDIAN) -> ParticipantLeft:
    return ParticipantLeft(person=person, reason="Moved away.")


def dated(command: JoinRelationship | LeaveRelationship, at: datetime) -> New | object:
    return command.model_copy(update={"occurred_at": at, "late_reason": "Found when filing."})


def state(record: Record) -> Relationship:
    return relationship_of(record.relationship)


# --- Joining --------------------------------------------------------------------------------


def test_somebody_joins_a_family_and_takes_part_from_then_on() -> None:
    """Rule 10: participants are explicit, also those who come later; before, they were not."""
    record = given(*FAMILY).when(join()).then(joined())
    assert state(record).clients == (CLIENT, PARTNER, GUARDIAN)
    assert state(record).at(NOW - HOUR).clients == (CLIENT, PARTNER)
    assert state(record).at(NOW - 90 * DAY).participants == ()
    assert state(record).ever(Part.CLIENT) == {CLIENT, PARTNER, GUARDIAN}


@pytest.mark.parametrize(
    "person, part, clients, therapists",
    [(GUARDIAN, Part.CLIENT, 2, 1), (COTHERAPIST, Part.THERAPIST, 1, 2)],
)
def test_nobody_joins_two_who_meet_alone(
    person: UUID, part: Part, clients: int, therapists: int
) -> None:
    """Rule 10: a second client or therapist makes it another constellation, and another
    relationship."""
    given(*OPENED).when(join(person, part)).refuses(
        ConstellationDiffers, constellation="individual", clients=clients, therapists=therapists
    )


def test_a_therapist_joins_within_the_scope_of_practice() -> None:
    """Rule 11: who joins as therapist or supervisor may do that, on that day; a client is
    known."""
    record = given(*FAMILY)
    record.when(join(COACH, Part.THERAPIST)).refuses(OutOfScope, practitioner=COACH)
    record.when(join(COTHERAPIST, Part.SUPERVISOR)).refuses(OutOfScope, activity="supervision")
    record.when(join(named("nobody"))).refuses(PersonUnknown)
    record.when(join(COTHERAPIST, Part.THERAPIST)).then(joined(COTHERAPIST, Part.THERAPIST))


def test_nobody_joins_twice_or_on_two_sides() -> None:
    """Rule 10: client, therapist and supervisor are different people, at any time."""
    record = given(*FAMILY, joined())
    for part in Part:
        record.when(join(GUARDIAN, part)).refuses(TwoPartsAtOnce, person=GUARDIAN)
    early = dated(join(), NOW - 30 * DAY)
    assert isinstance(early, JoinRelationship)
    record.when(early).refuses(TwoPartsAtOnce, person=GUARDIAN)


def test_there_is_one_supervisor_at_a_time() -> None:
    """Rule 10: the supervisor before leaves first; who supervised then is still told."""
    other = practising(named("other"), *practising().scope, valid_from=NOW.date())
    second = other.model_copy(update={"scope": (*other.scope, "supervision")})
    record = given(*OPENED, second)
    change = join(named("other"), Part.SUPERVISOR)
    record.when(change).refuses(SupervisedAlready)
    changed = record.when(leave(SUPERVISOR), at=NOW).recorded().when(change, at=NOW).recorded()
    assert state(changed).supervisor == named("other")
    assert state(changed).at(NOW - HOUR).supervisor == SUPERVISOR


def test_nobody_joins_what_is_closed_or_not_yet_open() -> None:
    """Rule 16: joining and leaving belong to the time when the relationship is open."""
    closed = RelationshipClosed(
        reason="Done.", initiated_by=Initiator.BOTH, goals="None.", open_goals=(), open_ruptures=()
    )
    record = given(*FAMILY, (closed, NOW - DAY))
    record.when(join()).refuses(RelationshipNotOpen)
    record.when(leave(PARTNER)).refuses(RelationshipNotOpen)
    early = dated(join(), NOW - 90 * DAY)
    assert isinstance(early, JoinRelationship)
    record.when(early).refuses(RelationshipNotYetOpen)


# --- Leaving --------------------------------------------------------------------------------


def test_who_leaves_takes_part_no_more() -> None:
    """Rule 10: from then on; what they took part in until then stays as it was."""
    record = given(*FAMILY, (joined(), NOW - 9 * DAY)).when(leave(PARTNER)).then(left(PARTNER))
    assert state(record).clients == (CLIENT, GUARDIAN)
    assert PARTNER in state(record).at(NOW - HOUR).clients
    assert PARTNER in state(record).ever(Part.CLIENT)
    record.when(leave(PARTNER)).refuses(NotAParticipant, person=PARTNER)
    again = record.when(join(PARTNER)).then(joined(PARTNER))
    assert state(again).clients == (CLIENT, GUARDIAN, PARTNER)


def test_the_last_ones_do_not_leave() -> None:
    """Rule 10: a family of one, or one without a therapist, is none; that is a closure."""
    record = given(*FAMILY)
    record.when(leave(PARTNER)).refuses(ConstellationDiffers, clients=1, therapists=1)
    record.when(leave(THERAPIST)).refuses(ConstellationDiffers, clients=2, therapists=0)
    record.when(leave(GUARDIAN)).refuses(NotAParticipant)


def test_nobody_is_taken_out_of_a_session_that_was_held() -> None:
    """Rule 10: a leaving dated back to before what the record tells of them is refused."""
    record = given(*FAMILY, (joined(), NOW - 9 * DAY))
    met = record.and_given((held(named("met"), GUARDIAN, THERAPIST), NOW - 2 * DAY))
    early = dated(leave(), NOW - 3 * DAY)
    assert isinstance(early, LeaveRelationship)
    met.when(early).refuses(StillTakesPart, person=GUARDIAN, entry=met.relationship.version)
    met.when(leave(occurred_at=NOW - 3 * DAY)).refuses(LateReasonMissing)
    met.when(leave(occurred_at=NOW - HOUR)).recorded()


def test_only_those_who_take_part_then_meet() -> None:
    """Rules 10 and 12: at the start of the session; who joins needs consent of their own."""
    record = given(*FAMILY, (joined(COTHERAPIST, Part.THERAPIST), NOW - 9 * DAY), informed())
    record = record.and_given(consent(), (left(THERAPIST), NOW - 2 * DAY))
    record.when(hold_session()).refuses(NobodyToMeet)
    record.when(hold_session(named("x"), CLIENT, COTHERAPIST)).recorded()
    before = hold_session(start=NOW - 3 * DAY, late_reason="Written up on the train.")
    assert record.when(before).news


# --- Amendments -----------------------------------------------------------------------------

JOINED = given(*FAMILY, (joined(), NOW - 9 * DAY))
AT = JOINED.relationship.version


def mark(entry: int) -> MarkEnteredInError:
    return MarkEnteredInError(stream=HERE, entry=entry, reason="Another person was meant.")


def move(entry: int, to: datetime, part: Part = Part.CLIENT) -> CorrectEntry:
    return CorrectEntry(
        stream=HERE,
        entry=entry,
        reason="The date was wrong.",
        content={"person": str(GUARDIAN), "part": part.value, "reason": REASON},
        occurred=to,
    )


def test_nobody_is_marked_away_from_what_they_took_part_in() -> None:
    """Rules 1 and 10: the joining stays while the record tells of somebody who joined."""
    JOINED.when(mark(AT)).recorded()
    JOINED.when(move(AT, NOW - 4 * DAY)).recorded()
    met = JOINED.and_given((held(named("met"), GUARDIAN, THERAPIST), NOW - 5 * DAY))
    for undoing in (mark(AT), move(AT, NOW - 4 * DAY)):
        met.when(undoing).refuses(StillTakesPart, person=GUARDIAN, entry=met.relationship.version)
    met.when(move(AT, NOW - 7 * DAY)).recorded()
    met.when(move(AT, NOW - 7 * DAY, Part.THERAPIST)).refuses(IdentityChanged, field="part")


def test_an_amendment_leaves_the_constellation_sound() -> None:
    """Rules 1 and 10: with one joining gone, the family would be one client for a while."""
    record = JOINED.and_given((left(PARTNER), NOW - 8 * DAY))
    record.when(mark(AT)).refuses(ConstellationDiffers, clients=1, therapists=1)
    record.when(move(AT, NOW - 7 * DAY)).refuses(ConstellationDiffers, clients=1)
    record.when(mark(AT + 1)).recorded()


def test_with_the_relationship_erased_nobody_is_known() -> None:
    """Rule 9: joint content that is gone breaks nothing."""
    assert JOINED.erased(None).relationship.version == AT


@for_all(st.lists(st.tuples(st.sampled_from(["join", "leave"]), st.integers(1, 50)), max_size=8))
def test_at_any_time_it_is_a_family(tries: list[tuple[str, int]]) -> None:
    """Rule 10: whatever order people join and leave in, dated back or not, each is in it once,
    and there are always two clients and a therapist."""
    record = given(*FAMILY)
    for what, days_ago in tries:
        command = join() if what == "join" else leave(PARTNER if days_ago % 2 else GUARDIAN)
        early = dated(command, NOW - days_ago * DAY)
        assert isinstance(early, JoinRelationship | LeaveRelationship)
        outcome = record.when(early)
        record = record if outcome.refusal else outcome.recorded()
    for days_ago in range(60):
        then = state(record).at(NOW - days_ago * DAY)
        assert len(set(then.participants)) == len(then.participants)
        assert len(then.clients) >= 2
        assert then.therapists == (THERAPIST,)
    assert state(record).at(AN_HOUR_AGO).participants
