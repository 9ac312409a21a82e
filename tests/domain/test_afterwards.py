"""What holds when it is recorded holds afterwards: against late entries and amendments alike."""

from datetime import date, timedelta
from typing import Any

import pytest

from domain.alliance import RateAlliance
from domain.clinic import InstrumentLicenceAttested, Scope
from domain.consent import ConsentWithdrawn, in_force
from domain.correction import CorrectEntry, MarkEnteredInError
from domain.goal import (
    DissentFromGoal,
    GoalAssented,
    GoalProposed,
    GoalRated,
    GoalRatedByThen,
    GoalScale,
    GoalSpokenOf,
    Level,
    ReachGoal,
    RetireGoal,
    ReviseGoal,
)
from domain.instrument import Perspective
from domain.outcome import RateOutcome
from domain.rating import RatedBeforeSession
from domain.recording import (
    EndRecording,
    RecordingEnd,
    RecordingKind,
    RecordingPurpose,
    RecordingReliedOn,
    StartRecording,
    UseRecording,
)
from domain.relationship import relationship_stream
from domain.withdrawal import WithdrawConsent
from tests.kit import (
    CLIENT,
    CONSENTED,
    DAY,
    HOUR,
    NOW,
    RELATIONSHIP,
    SESSION,
    SHA256,
    THERAPIST,
    Record,
    consent,
    give_consent,
    given,
    hold_session,
    informed,
    named,
    published,
)

GOAL = named("goal")
LATE = {"late_reason": "Found when filing."}
AGREED: Record = given(
    *CONSENTED,
    (GoalProposed(goal=GOAL, statement="To ride the tram.", by=CLIENT), NOW - 9 * DAY),
    (GoalAssented(goal=GOAL, revision=1, party=CLIENT), NOW - 8 * DAY),
    (GoalAssented(goal=GOAL, revision=1, party=THERAPIST), NOW - 8 * DAY),
)
RATED: Record = AGREED.and_given(
    (
        GoalRated(
            goal=GOAL,
            revision=1,
            by=CLIENT,
            perspective=Perspective.CLIENT,
            level=Level(scale=GoalScale.GBO, value=4),
        ),
        NOW - 3 * DAY,
    )
)
LICENSED = InstrumentLicenceAttested(
    instrument="WAI-SR", holder="Praxis", basis="Asked and granted.", valid_from=date(2020, 1, 1)
)
HELD: Record = (
    given(*CONSENTED, consent(Scope.OUTCOME_MEASURES), LICENSED)
    .when(hold_session(start=NOW - 2 * HOUR), at=NOW)
    .recorded()
)


def about_the_goal(kind: type[Any], days_ago: int, **body: Any) -> Any:
    when = {"occurred_at": NOW - days_ago * DAY, **LATE}
    return kind(relationship=RELATIONSHIP, goal=GOAL, **body, **when)


ENDINGS: tuple[tuple[type[Any], dict[str, Any]], ...] = (
    (ReachGoal, {}),
    (RetireGoal, {"reason": "Another job."}),
    (ReviseGoal, {"statement": "To ride it daily.", "by": CLIENT}),
    (DissentFromGoal, {"revision": 1, "party": CLIENT, "reason": "Not like this."}),
)


@pytest.mark.parametrize("kind, body", ENDINGS)
def test_no_goal_ends_before_it_was_rated(kind: type[Any], body: dict[str, Any]) -> None:
    """Rules 25 and 26: told late, an end, a new wording or a dissent would leave a rating of what
    was not agreed, or no longer pursued. From the rating on, each is told."""
    rating = RATED.relationship.version
    RATED.when(about_the_goal(kind, 5, **body), by=CLIENT).refuses(
        GoalRatedByThen, goal=GOAL, entry=rating
    )
    RATED.when(about_the_goal(kind, 3, **body), by=CLIENT).recorded()


def test_no_wording_slips_in_under_an_assent() -> None:
    """Rule 25: a late wording would turn what somebody assented to into one of before."""
    worded = {"statement": "To ride it daily.", "by": CLIENT}
    assent = AGREED.relationship.version - 1
    AGREED.when(about_the_goal(ReviseGoal, 9, **worded), by=CLIENT).refuses(
        GoalSpokenOf, goal=GOAL, entry=assent
    )
    AGREED.when(about_the_goal(ReviseGoal, 8, **worded), by=CLIENT).recorded()


def rated(kind: type[RateAlliance | RateOutcome], instrument: str, items: int, **when: Any) -> Any:
    return kind(
        relationship=RELATIONSHIP,
        instrument=instrument,
        perspective=Perspective.CLIENT,
        rater=CLIENT,
        session=SESSION,
        answers=("3",) * items,
        **when,
    )


def test_an_hour_is_rated_once_it_has_begun() -> None:
    """Rule 28: a session is not rated before it begins: so no rating is told of a day on which
    consent was still in force. How somebody fares may be asked in the waiting room."""
    before = {"occurred_at": NOW - 3 * HOUR}
    HELD.when(rated(RateAlliance, "WAI-SR", 12, **before), by=CLIENT).refuses(
        RatedBeforeSession, session=SESSION
    )
    HELD.when(rated(RateOutcome, "SWLS", 5, **before), by=CLIENT).recorded()
    at_its_start = {"occurred_at": NOW - 2 * HOUR}
    HELD.when(rated(RateAlliance, "WAI-SR", 12, **at_its_start), by=CLIENT).recorded()


def test_no_correction_moves_an_hour_past_its_rating() -> None:
    """Rules 1 and 28: an hour is not corrected into one that began after it was rated."""
    at = {"occurred_at": NOW - 2 * HOUR + timedelta(minutes=40)}
    record = HELD.when(rated(RateAlliance, "WAI-SR", 12, **at), by=CLIENT).recorded()
    version, held = next(
        (entry.version, entry.event)
        for entry in record.relationship
        if entry.topic == "session.held"
    )
    content = held.model_dump(mode="json", exclude_none=True)  # type: ignore[union-attr]

    def moved(minutes: int) -> CorrectEntry:
        start = NOW - 2 * HOUR + timedelta(minutes=minutes)
        times = {"started_at": start, "ended_at": start + timedelta(minutes=50)}
        return CorrectEntry(
            stream=relationship_stream(RELATIONSHIP),
            entry=version,
            reason="Mistyped.",
            content=content | times,
        )

    record.when(moved(50), at=NOW).refuses(RatedBeforeSession, session=SESSION)
    record.when(moved(30), at=NOW).recorded()


def test_no_withdrawal_counts_from_a_second_ago() -> None:
    """Rule 20: a sender whose clock is behind withdraws from now on; what began in between was
    with consent, and stays so."""
    consented = given(*CONSENTED)
    treatment = WithdrawConsent(
        relationship=RELATIONSHIP,
        consent=next(e.consent for _, e in consented.relationship.of(type(consent()))),
        occurred_at=NOW - timedelta(seconds=50),
    )
    outcome = consented.when(treatment, by=CLIENT, at=NOW)
    (new,) = outcome.news
    assert isinstance(new.event, ConsentWithdrawn)
    assert new.occurred_at == NOW
    before = NOW - timedelta(seconds=1)
    assert in_force(outcome.recorded().relationship, Scope.TREATMENT, CLIENT, before)


def test_whoever_withdraws_has_not_consented_in_another_document() -> None:
    """Rule 20: two documents that ask for the same are one consent to withdraw; two studies are
    two."""
    again = published(document=named("house rules"))
    consents = {
        scope: (give_consent(scope), give_consent(scope, consent=named(scope), **_OTHER))
        for scope in (Scope.RECORDING, Scope.SUPERVISION_DISCLOSURE, Scope.DATA_REUSE)
    }
    record = given(
        *CONSENTED,
        again,
        informed(document=named("house rules")),
        *(each for both in consents.values() for each in both),
    )
    for scope, (first, _) in consents.items():
        withdraw = WithdrawConsent(relationship=RELATIONSHIP, consent=first.consent)
        after = record.when(withdraw, by=CLIENT, at=NOW).recorded().relationship
        still = in_force(after, scope, CLIENT, NOW + HOUR) is not None
        assert still == (scope is Scope.DATA_REUSE)


_OTHER: dict[str, Any] = {"document": named("house rules"), "sha256": SHA256}


def test_a_recording_that_was_used_stays_as_long_as_it_was() -> None:
    """Rules 22 and 39: its end is not struck and told shorter, so that what somebody heard on it
    would lie outside."""
    tape = named("tape")
    record = given(*CONSENTED, consent(Scope.RECORDING)).when(
        hold_session(start=NOW - 2 * HOUR), at=NOW
    )
    start = StartRecording(
        relationship=RELATIONSHIP,
        recording=tape,
        session=SESSION,
        kind=RecordingKind.AUDIO,
        started_at=NOW - 2 * HOUR,
        agreed_by=(THERAPIST,),
    )
    end = EndRecording(
        relationship=RELATIONSHIP,
        recording=tape,
        ended_at=NOW - 2 * HOUR + timedelta(minutes=40),
        why=RecordingEnd.SESSION_OVER,
    )
    ended = record.recorded().and_given(start, end)
    strike = MarkEnteredInError(
        stream=relationship_stream(RELATIONSHIP),
        entry=ended.relationship.version,
        reason="It was shorter.",
    )
    ended.when(strike).recorded()
    use = UseRecording(
        relationship=RELATIONSHIP, recording=tape, purpose=RecordingPurpose.RECALL, by=THERAPIST
    )
    used = ended.when(use).recorded()
    used.when(strike).refuses(RecordingReliedOn, entry=used.relationship.version)
