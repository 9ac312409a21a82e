"""Goals rated: levels and weights fixed with the wording, and what all goals come to together."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.correction import CorrectEntry, EnteredInError, MarkEnteredInError, NotCorrectable
from domain.goal import (
    Attainment,
    GoalAssented,
    GoalProposed,
    GoalRated,
    GoalRatedByThen,
    GoalReached,
    GoalRetired,
    GoalRevised,
    GoalScale,
    Level,
    NotTheRevisionAtIssue,
)
from domain.goal_rating import (
    GoalNotAgreed,
    LevelsNotDescribed,
    RateGoal,
    attained,
)
from domain.instrument import Perspective
from domain.relationship import (
    Constellation,
    NotAParticipant,
    Part,
    ParticipantJoined,
    ParticipantLeft,
    relationship_stream,
)
from tests.kit import (
    CLIENT,
    DAY,
    FOUNDED,
    NOW,
    OPENED,
    PARTNER,
    RELATIONSHIP,
    THERAPIST,
    Fact,
    Record,
    given,
    named,
    opened,
)

WORDS = ("not at all", "once", "twice", "four times", "every day")


def goal(number: int) -> UUID:
    return named(f"goal {number}")


def agreed(
    number: int, weight: int | None = 1, parties: tuple[UUID, ...] = (CLIENT, THERAPIST)
) -> tuple[Fact, ...]:
    """A goal that everybody agrees to; with a weight it has the five levels."""
    scaled = None if weight is None else Attainment(weight=weight, levels=WORDS)
    return (
        GoalProposed(goal=goal(number), statement="To go out.", by=CLIENT, attainment=scaled),
        *(GoalAssented(goal=goal(number), revision=1, party=party) for party in parties),
    )


def rated(number: int, value: int, by: UUID = CLIENT, revision: int = 1) -> GoalRated:
    return GoalRated(
        goal=goal(number),
        revision=revision,
        by=by,
        perspective=Perspective.CLIENT if by == CLIENT else Perspective.THERAPIST,
        level=Level(scale=GoalScale.GAS, value=value),
    )


def rate(number: int, value: int = 0, **changes: Any) -> RateGoal:
    fields: dict[str, Any] = {
        "relationship": RELATIONSHIP,
        "goal": goal(number),
        "revision": 1,
        "by": CLIENT,
        "level": Level(scale=GoalScale.GAS, value=value),
    }
    return RateGoal(**fields | changes)


def t_score(record: Record, by: UUID = CLIENT) -> str | None:
    found = attained(record.relationship, by)
    return None if found is None else found.attainment.text


# --- Fixed before the first rating ----------------------------------------------------------


def test_levels_and_weight_are_part_of_what_was_agreed() -> None:
    """Rule 26: described and weighed before the first rating, never after; others are another
    revision, which everybody is asked about anew."""
    unscaled = given(*OPENED, *agreed(1, weight=None))
    unscaled.when(rate(1), by=CLIENT).refuses(LevelsNotDescribed, revision=1)
    scaled = given(*OPENED, *agreed(1, weight=3), rated(1, 0))
    reweighed = GoalRevised(
        goal=goal(1),
        revision=2,
        statement="To go out.",
        by=THERAPIST,
        attainment=Attainment(weight=9, levels=WORDS),
    )
    after = scaled.and_given(reweighed)
    after.when(rate(1, 2), by=CLIENT).refuses(NotTheRevisionAtIssue, current=2)
    after.when(rate(1, 2, revision=2), by=CLIENT).refuses(GoalNotAgreed, revision=2)
    assert t_score(scaled) == "50.00"
    assert t_score(after) is None


def test_no_amendment_changes_levels_or_weight() -> None:
    """Rules 1 and 26: neither the wording nor a rating is corrected in place."""
    record = given(*OPENED, *agreed(1, weight=3), rated(1, 0))
    history = record.relationship
    for topic in ("goal.proposed", "goal.rated"):
        version = next(entry.version for entry in history if entry.topic == topic)
        correct = CorrectEntry(
            stream=relationship_stream(RELATIONSHIP), entry=version, reason="Typo.", content={}
        )
        record.when(correct).refuses(NotCorrectable, topic=topic)


def test_what_was_rated_stays_agreed() -> None:
    """Rules 25 and 26: neither the wording nor an assent of a goal that was rated is marked away
    from under the rating, and no end of it is dated back before it."""
    stream = relationship_stream(RELATIONSHIP)
    record = given(*OPENED, *agreed(1), *agreed(2), rated(1, 0), GoalReached(goal=goal(1)))
    by_topic: dict[str, list[int]] = {}
    for entry in record.relationship:
        by_topic.setdefault(entry.topic, []).append(entry.version)
    (rating,) = by_topic["goal.rated"]
    first, other = by_topic["goal.proposed"]
    for version in (first, *by_topic["goal.assented"][:2]):
        error = MarkEnteredInError(stream=stream, entry=version, reason="Of another client.")
        record.when(error).refuses(GoalRatedByThen, goal=goal(1), entry=rating)
        gone = EnteredInError(entry=rating, reason="Of another client.", about=CLIENT)
        record.and_given(gone).when(error).recorded()
    record.when(MarkEnteredInError(stream=stream, entry=other, reason="Twice.")).recorded()
    (reached,) = by_topic["goal.reached"]
    proposed_at = record.relationship[first - 1].occurred_at
    earlier = CorrectEntry(
        stream=stream,
        entry=reached,
        reason="Reached in spring.",
        content={"goal": goal(1)},
        occurred=proposed_at,
    )
    record.when(earlier).refuses(GoalRatedByThen, entry=rating)


def test_who_takes_part_then_agrees_and_rates() -> None:
    """Rules 10, 25 and 26: whoever joined has to assent too; whoever has left rates no more."""
    couple = (*FOUNDED, opened(CLIENT, PARTNER, constellation=Constellation.COUPLE))
    record = given(*couple, *agreed(1, parties=(CLIENT, PARTNER, THERAPIST)))
    by_partner = rate(1, by=PARTNER)
    record.when(by_partner, by=PARTNER).recorded()
    family = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.FAMILY),
        *agreed(1, parties=(CLIENT, PARTNER, THERAPIST)),
        (ParticipantLeft(person=PARTNER, reason="Moved out."), NOW - DAY),
    )
    family.when(by_partner, by=PARTNER).refuses(NotAParticipant, person=PARTNER)
    child = named("child")
    grown = given(
        *FOUNDED,
        opened(CLIENT, PARTNER, constellation=Constellation.FAMILY),
        *agreed(1, parties=(CLIENT, PARTNER, THERAPIST)),
        (ParticipantJoined(person=child, part=Part.CLIENT, reason="Wants to."), NOW - DAY),
    )
    grown.when(rate(1), by=CLIENT).refuses(GoalNotAgreed, goal=goal(1))
    before = rate(1, occurred_at=NOW - 2 * DAY, late_reason="On paper.")
    grown.when(before, by=CLIENT).recorded()


# --- What the goals come to -----------------------------------------------------------------


def test_goals_at_the_expected_level_come_to_fifty() -> None:
    """Rule 26: T is 50 where every goal was met as expected, whatever the weights."""
    record = given(
        *OPENED, *agreed(1, 1), *agreed(2, 7), *agreed(3, 30), *(rated(n, 0) for n in (1, 2, 3))
    )
    assert t_score(record) == "50.00"


def test_the_published_formula() -> None:
    """Rule 26: T = 50 + 10·Σwx / √((1−ρ)·Σw² + ρ·(Σw)²), ρ = 0.3 (Kiresuk & Sherman 1968); three
    equal goals, each one level above what was expected, come to 63.69."""
    record = given(
        *OPENED, *(fact for n in (1, 2, 3) for fact in agreed(n)), *(rated(n, 1) for n in (1, 2, 3))
    )
    assert t_score(record) == "63.69"


def test_each_persons_last_rating_counts_and_nobodys_is_averaged() -> None:
    """Rules 26 and 32: by person; a goal not rated drops out, one retired counts no more."""
    record = given(
        *OPENED, *agreed(1), *agreed(2), *agreed(3, None), rated(1, -2), rated(1, 2), rated(2, 1)
    )
    found = attained(record.relationship, CLIENT)
    assert found is not None
    assert (found.goals, found.attainment.goals) == ((goal(1), goal(2)), (1, 2))
    assert t_score(record, THERAPIST) is None
    seen = record.and_given(rated(2, -1, by=THERAPIST), GoalReached(goal=goal(1)))
    by_therapist = attained(seen.relationship, THERAPIST)
    assert by_therapist is not None
    assert by_therapist.attainment.missing == (1,)
    assert by_therapist.attainment.text == "40.00"
    retired = record.and_given(GoalRetired(goal=goal(1), reason="Another job."))
    assert t_score(retired) == "60.00"


@pytest.mark.parametrize("erased", [CLIENT, None], ids=["the client's", "what is joint"])
def test_what_is_erased_or_an_error_counts_for_nothing(erased: UUID | None) -> None:
    """Rule 9: without the client's key there are no ratings of theirs; without the joint key there
    are no goals."""
    record = given(*OPENED, *agreed(1), rated(1, 2))
    assert t_score(record.erased(erased)) is None
    in_error = EnteredInError(
        entry=record.relationship.version, reason="Of another goal.", about=CLIENT
    )
    assert t_score(record.and_given(in_error)) is None


@for_all(st.lists(st.tuples(st.integers(1, 100), st.integers(-2, 2)), min_size=1, max_size=6))
def test_better_is_never_less(goals: list[tuple[int, int]]) -> None:
    """Rule 26: raising one goal by a level raises T, and turning all goals round mirrors it."""
    facts = [fact for n, (weight, _) in enumerate(goals) for fact in agreed(n, weight)]

    def t(levels: list[int]) -> float:
        said = (rated(n, level) for n, level in enumerate(levels))
        found = attained(given(*OPENED, *facts, *said).relationship, CLIENT)
        assert found is not None
        return float(found.attainment.t)

    levels = [level for _, level in goals]
    base = t(levels)
    assert t([-level for level in levels]) == pytest.approx(100 - base)
    for n, level in enumerate(levels):
        if level < 2:
            assert t([*levels[:n], level + 1, *levels[n + 1 :]]) > base
