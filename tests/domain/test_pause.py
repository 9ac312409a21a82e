"""Pauses: for a while no session is held."""

from datetime import datetime

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.correction import MarkEnteredInError
from domain.event import Event
from domain.pause import (
    PauseEndsFirst,
    PauseRelationship,
    RelationshipIsPaused,
    RelationshipNotPaused,
    ResumeRelationship,
)
from domain.relationship import (
    Initiator,
    OutsideTheRelationship,
    RelationshipClosed,
    RelationshipNotOpen,
    RelationshipPaused,
    RelationshipReopened,
    RelationshipResumed,
    TurnsOutOfOrder,
    relationship_of,
    relationship_stream,
)
from tests.kit import (
    BEGINNING,
    CONSENTED,
    DAY,
    HOUR,
    NOW,
    OPENED,
    RELATIONSHIP,
    RELIANCE,
    given,
    held,
    hold_session,
    taken,
)

PAUSE = PauseRelationship(
    relationship=RELATIONSHIP, reason="Away for work.", initiated_by=Initiator.CLIENT
)
PAUSED = RelationshipPaused(reason="Away for work.", initiated_by=Initiator.CLIENT)
RESUME = ResumeRelationship(relationship=RELATIONSHIP)
RESUMED = RelationshipResumed()
CLOSED = RelationshipClosed(
    reason="Done.", initiated_by=Initiator.BOTH, goals="None.", open_goals=(), open_ruptures=()
)
LATE = "Found when filing."


def test_no_session_is_held_in_a_pause() -> None:
    """Rule 16: from the pause on, until it is resumed; what was held before is still recorded."""
    record = given(*CONSENTED, (PAUSED, NOW - 2 * HOUR))
    record.when(hold_session()).refuses(RelationshipIsPaused, relationship=RELATIONSHIP)
    record.when(hold_session(), imported=True).refuses(RelationshipIsPaused)
    record.when(hold_session(start=NOW - 3 * HOUR)).recorded()
    resumed = record.when(RESUME.model_copy(update={"occurred_at": NOW - HOUR})).then(RESUMED)
    resumed.when(hold_session()).then(held(relies_on=(RELIANCE,)), taken())
    assert not relationship_of(resumed.relationship).is_paused


def test_a_pause_is_not_dated_back_over_a_session() -> None:
    """Rule 16: no session comes to lie in a pause that is recorded afterwards."""
    record = given(*CONSENTED).when(hold_session(start=NOW - 2 * DAY, late_reason=LATE)).recorded()
    early = PAUSE.model_copy(update={"occurred_at": NOW - 3 * DAY, "late_reason": LATE})
    session = next(e.version for e in record.relationship if e.topic == "session.held")
    record.when(early).refuses(OutsideTheRelationship, entry=session)
    record.when(PAUSE).then(PAUSED)


def test_what_pauses_is_open_and_not_paused() -> None:
    """Rule 16: pause and resumption take turns, each after the last turn."""
    given(*OPENED).when(RESUME).refuses(RelationshipNotPaused, relationship=RELATIONSHIP)
    record = given(*OPENED, (PAUSED, NOW - DAY))
    record.when(PAUSE).refuses(RelationshipIsPaused, relationship=RELATIONSHIP)
    early = {"occurred_at": NOW - 2 * DAY, "late_reason": LATE}
    record.when(RESUME.model_copy(update=early)).refuses(TurnsOutOfOrder)
    resumed = record.and_given((RESUMED, NOW - HOUR))
    resumed.when(PAUSE.model_copy(update=early)).refuses(TurnsOutOfOrder)
    closed = given(*OPENED, (CLOSED, NOW - DAY))
    for command in (PAUSE, RESUME):
        closed.when(command).refuses(RelationshipNotOpen)


def test_a_pause_ends_after_it_begins() -> None:
    """Rule 16: the day on which they mean to go on does not lie before the pause."""
    record = given(*OPENED)
    record.when(PAUSE.model_copy(update={"until": NOW.date() - DAY})).refuses(PauseEndsFirst)
    until = PAUSE.model_copy(update={"until": NOW.date() + 30 * DAY})
    record.when(until).then(PAUSED.model_copy(update={"until": NOW.date() + 30 * DAY}))


def test_a_closing_ends_the_pause() -> None:
    """Rule 16: what is reopened is not paused any more."""
    reopened = RelationshipReopened(reason="Back.")
    record = given(*OPENED, PAUSED, CLOSED, reopened)
    relationship = relationship_of(record.relationship)
    assert relationship.is_open
    assert not relationship.is_paused


def test_no_session_is_brought_into_a_pause_by_an_amendment() -> None:
    """Rules 1 and 16: with the resumption gone, what was held since would lie in the pause."""
    record = given(*CONSENTED, (PAUSED, NOW - 9 * DAY), (RESUMED, NOW - 5 * DAY))
    version = record.relationship.version
    mark = MarkEnteredInError(
        stream=relationship_stream(RELATIONSHIP), entry=version, reason="Not yet."
    )
    record.when(mark).recorded()
    met = record.when(hold_session()).recorded()
    met.when(mark).refuses(OutsideTheRelationship, entry=version + 1)


@for_all(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(-10, 400))
def test_it_pauses_from_each_pause_to_the_next_resumption(gaps: list[int], day: int) -> None:
    """Rule 16: at the moment of pausing it pauses, at that of resuming no more."""
    turns: list[datetime] = []
    for gap in gaps:
        turns.append((turns[-1] if turns else BEGINNING) + DAY * gap)
    facts: list[tuple[Event, datetime]] = [
        (RESUMED if number % 2 else PAUSED, turn) for number, turn in enumerate(turns)
    ]
    relationship = relationship_of(given(*OPENED, *facts).relationship)
    at = BEGINNING + DAY * day
    assert relationship.was_paused(at) == (sum(turn <= at for turn in turns) % 2 == 1)
    assert relationship.last_turn == turns[-1]


@pytest.mark.parametrize("command", [PAUSE, RESUME], ids=lambda one: str(one.name))
def test_an_erased_relationship_is_neither_paused_nor_resumed(
    command: PauseRelationship | ResumeRelationship,
) -> None:
    """Rule 9: nothing is added to what was erased."""
    assert given(*OPENED).erased(None).when(command).refusal is not None
