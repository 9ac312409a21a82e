"""Triage: what waits in supervision and in access stands beside what is missing in a case."""

from datetime import date, timedelta
from uuid import UUID

from domain.access import AccessReviewed, BreakGlassUsed
from domain.access import Finding as AccessFinding
from domain.event import Policy, Stream
from domain.supervision import ActionOutcome, SupervisionActionAgreed, SupervisionActionReviewed
from projections.actions import overdue
from projections.caseload import Finding, Missing
from projections.dossier import VIEWS
from projections.triage import accesses_waiting, actions_waiting, triage
from projections.view import known
from tests.kit import (
    AN_HOUR_AGO,
    CONSENTED,
    DAY,
    NOW,
    OFFICE,
    RELATIONSHIP,
    SUPERVISOR,
    THERAPIST,
    Record,
    given,
    named,
    on,
)

RELATION = Stream("relationship", RELATIONSHIP)
SUPERVISION = Stream("supervision", RELATIONSHIP)
ACCESS = Stream("access", RELATIONSHIP)


def agreed(name: str, due: date, owner: UUID = THERAPIST) -> SupervisionActionAgreed:
    return SupervisionActionAgreed(
        action=named(name), supervision=named("hour"), owner=owner, due=due, text="Look again."
    )


def reviewed(
    name: str, outcome: ActionOutcome, due: date | None = None
) -> SupervisionActionReviewed:
    return SupervisionActionReviewed(action=named(name), by=SUPERVISOR, outcome=outcome, due=due)


def waiting(record: Record) -> list[Finding]:
    rows = VIEWS.actions.of(SUPERVISION, record.history(SUPERVISION))
    return list(actions_waiting(rows, NOW))


def test_an_action_is_overdue_after_its_day_and_until_it_is_settled() -> None:
    """Rule 40: not on the day itself; a review that lets it go on gives it another day."""
    today = NOW.date()
    on_time = given(agreed("today", today))
    assert waiting(on_time) == []
    late = given((agreed("late", today - timedelta(days=1)), AN_HOUR_AGO - 9 * DAY))
    (found,) = waiting(late)
    assert (found.what, found.party) == (Missing.ACTION_OVERDUE, THERAPIST)
    for outcome in (ActionOutcome.DONE, ActionOutcome.DROPPED):
        assert waiting(late.and_given((reviewed("late", outcome), AN_HOUR_AGO))) == []
    goes_on = late.and_given((reviewed("late", ActionOutcome.CONTINUED, today), AN_HOUR_AGO))
    assert waiting(goes_on) == []
    rows = VIEWS.actions.of(SUPERVISION, goes_on.history(SUPERVISION))
    (row,) = rows.values()
    assert row.is_open
    assert [known(one.due) for one in overdue(rows, today + timedelta(days=1))] == [today]


def test_of_an_erased_action_nothing_waits() -> None:
    """Rule 9: the row stays as a gap; nobody can say any more what was due."""
    record = given((agreed("late", NOW.date() - timedelta(days=1)), AN_HOUR_AGO - 9 * DAY))
    gone = record.erased(None, SUPERVISION)
    rows = VIEWS.actions.of(SUPERVISION, gone.history(SUPERVISION))
    assert [known(row.due) for row in rows.values()] == [None]
    assert waiting(gone) == []


def test_an_emergency_access_waits_for_its_review() -> None:
    """Rule 41: whoever opened a record without being entitled to is looked into."""
    used = BreakGlassUsed(use=named("use"), person=OFFICE, reason="A call at night.", until=NOW)
    record = given(on(ACCESS, used))
    rows = VIEWS.break_glass.of(ACCESS, record.history(ACCESS))
    policy = Policy()
    due = NOW + policy.review_within
    assert list(accesses_waiting(rows, policy)) == [Finding(Missing.ACCESS_REVIEW, due)]
    review = AccessReviewed(entry=1, by=SUPERVISOR, finding=AccessFinding.JUSTIFIED)
    record = record.and_given(on(ACCESS, review))
    rows = VIEWS.break_glass.of(ACCESS, record.history(ACCESS))
    assert list(accesses_waiting(rows, policy)) == []
    assert [known(row.finding) for row in rows.values()] == [AccessFinding.JUSTIFIED]
    erased = record.erased(None, ACCESS)
    assert VIEWS.break_glass.of(ACCESS, erased.history(ACCESS)).keys() == {1}


def test_what_waits_beside_counts_in_the_order() -> None:
    """Triage: an overdue action moves a case up; another relationship's does not."""
    (case,) = VIEWS.caseload.of(RELATION, given(*CONSENTED).relationship).values()
    other = Stream("relationship", named("other"))
    beside = {RELATIONSHIP: [Finding(Missing.ACTION_OVERDUE, NOW)]}
    first, second = triage({other: case, RELATION: case}, NOW, beside)
    assert first.relationship == RELATION
    assert len(first.findings) == len(second.findings) + 1
