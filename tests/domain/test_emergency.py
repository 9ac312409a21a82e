"""Emergencies: what was done without consent is looked at afterwards."""

from datetime import timedelta
from typing import Any

import pytest

from domain.correction import CorrectEntry
from domain.emergency import (
    EmergencyReviewed,
    EmergencyReviewedAlready,
    NoEmergency,
    ReviewedTooEarly,
    ReviewEmergency,
    UnreviewedEmergency,
    emergencies_unreviewed,
)
from domain.person import NotInTheirName, OutOfScope
from domain.relationship import Initiator, RelationshipClosed, relationship_stream
from domain.session import Emergency, ReviewPostponed, ReviewTooFarOff, SessionHeld, SessionUnknown
from tests.kit import (
    CLIENT,
    CONSENTED,
    COTHERAPIST,
    DAY,
    HOUR,
    NOW,
    OPENED,
    RELATIONSHIP,
    SESSION,
    SUPERVISOR,
    THERAPIST,
    given,
    held,
    hold_session,
)

EMERGENCY = Emergency(reason="Acute danger.", review_by=NOW.date() + 3 * DAY)
OUTCOME = "Right to meet; consent was asked for on the next day."
HELD = given(*OPENED).when(hold_session(emergency=EMERGENCY)).recorded()
AT = next(entry.version for entry in HELD.relationship if entry.topic == "session.held")


def review(**changes: Any) -> ReviewEmergency:
    fields = {
        "relationship": RELATIONSHIP,
        "session": SESSION,
        "by": SUPERVISOR,
        "outcome": OUTCOME,
    }
    return ReviewEmergency.model_validate(fields | changes)


def test_a_review_is_owed_until_it_is_made() -> None:
    """Rule 12: what is overdue is visible, as of any time."""
    owed = UnreviewedEmergency(
        session=SESSION, entry=AT, review_by=EMERGENCY.review_by, is_overdue=False
    )
    history = HELD.relationship
    assert emergencies_unreviewed(history, NOW - 2 * HOUR) == ()
    assert emergencies_unreviewed(history, NOW + 3 * DAY) == (owed,)
    (late,) = emergencies_unreviewed(history, NOW + 4 * DAY)
    assert late.is_overdue
    record = HELD.when(review(), by=SUPERVISOR, at=NOW + DAY).then(
        EmergencyReviewed(session=SESSION, by=SUPERVISOR, outcome=OUTCOME)
    )
    assert emergencies_unreviewed(record.relationship, NOW + 4 * DAY) == ()
    assert emergencies_unreviewed(record.relationship, NOW + HOUR) == (owed,)
    record.when(review(), by=SUPERVISOR).refuses(EmergencyReviewedAlready, session=SESSION)


def test_only_an_emergency_is_reviewed_and_only_afterwards() -> None:
    """Rule 12: of a session that was held without consent, once it is over."""
    HELD.when(review(session=CLIENT), by=SUPERVISOR).refuses(SessionUnknown)
    ordinary = given(*CONSENTED).when(hold_session()).recorded()
    ordinary.when(review(), by=SUPERVISOR).refuses(NoEmergency, session=SESSION)
    during = review(occurred_at=NOW - timedelta(minutes=40))
    HELD.when(during, by=SUPERVISOR).refuses(ReviewedTooEarly, session=SESSION)


def test_a_practitioner_reviews_it_in_their_own_name() -> None:
    """Rules 11 and 12: a therapist of theirs or somebody who supervises; never the client."""
    HELD.when(review(by=THERAPIST)).recorded()
    for person in (CLIENT, COTHERAPIST):
        HELD.when(review(by=person), by=person).refuses(OutOfScope, practitioner=person)
    HELD.when(review()).refuses(NotInTheirName, person=SUPERVISOR)


def test_the_review_is_not_put_off_for_ever() -> None:
    """Rule 12: it is due within the time that the clinic sets, and the day itself is in time."""
    last = NOW.date() + 30 * DAY
    in_time = Emergency(reason="Acute danger.", review_by=last)
    given(*OPENED).when(hold_session(emergency=in_time)).recorded()
    never = Emergency(reason="Acute danger.", review_by=last + DAY)
    given(*OPENED).when(hold_session(emergency=never)).refuses(ReviewTooFarOff, days=30)


def test_the_review_is_owed_after_the_end_too() -> None:
    """Rule 16: closing does not close it."""
    closed = RelationshipClosed(
        reason="Done.", initiated_by=Initiator.BOTH, goals="None.", open_goals=(), open_ruptures=()
    )
    HELD.and_given(closed).when(review(), by=SUPERVISOR).recorded()


@pytest.mark.parametrize("days", [1, -1])
def test_a_correction_does_not_put_off_the_review(days: int) -> None:
    """Rules 1 and 12: the day may be set earlier, and not later."""
    emergency = EMERGENCY.model_copy(update={"review_by": EMERGENCY.review_by + days * DAY})
    correct = CorrectEntry(
        stream=relationship_stream(RELATIONSHIP),
        entry=AT,
        reason="Typed wrong.",
        content=held(emergency=emergency).model_dump(mode="json", exclude_none=True),
    )
    outcome = HELD.when(correct)
    if days > 0:
        outcome.refuses(ReviewPostponed)
    else:
        (owed,) = emergencies_unreviewed(outcome.recorded().relationship, NOW)
        assert owed.review_by == emergency.review_by


def test_a_session_whose_content_is_gone_owes_nothing() -> None:
    """Rule 9: nobody can review what nobody can read."""
    erased = HELD.erased(None).relationship
    assert emergencies_unreviewed(erased, NOW + 9 * DAY) == ()
    assert not [*erased.of(SessionHeld)]
