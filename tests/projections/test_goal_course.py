"""The course of the goals: wordings, who stands where, ratings on scales that do not mix."""

from collections.abc import Mapping
from typing import Any

from domain.event import ERASED, Event, Stream
from domain.goal import (
    GoalAssented,
    GoalDissented,
    GoalProposed,
    GoalRated,
    GoalReached,
    GoalReopened,
    GoalRevised,
    GoalScale,
    GoalStatus,
    Level,
)
from domain.instrument import Perspective
from domain.relationship import Constellation, Part, ParticipantJoined
from projections.dossier import VIEWS
from projections.goal_course import GoalRow, Kind, current, not_agreed, series
from projections.view import known
from tests.kit import (
    CLIENT,
    CONSENTED,
    FOUNDED,
    GUARDIAN,
    PARTNER,
    RELATIONSHIP,
    THERAPIST,
    Record,
    given,
    named,
    opened,
)

STREAM = Stream("relationship", RELATIONSHIP)
GOAL = named("goal")
PROPOSED = GoalProposed(goal=GOAL, statement="To take the tram again.", by=CLIENT)
REVISED = GoalRevised(goal=GOAL, revision=2, statement="One stop on the tram.", by=THERAPIST)


def assented(party: Any, revision: int = 1) -> GoalAssented:
    return GoalAssented(goal=GOAL, revision=revision, party=party)


def rated(value: int, by: Any = CLIENT, scale: GoalScale = GoalScale.GBO) -> GoalRated:
    perspective = Perspective.CLIENT if by == CLIENT else Perspective.THERAPIST
    level = Level(scale=scale, value=value)
    return GoalRated(goal=GOAL, revision=1, by=by, perspective=perspective, level=level)


AGREED: tuple[Event, ...] = (PROPOSED, assented(CLIENT), assented(THERAPIST))


def told(*facts: Event) -> Record:
    return given(*CONSENTED, *facts)


def rows_of(record: Record) -> Mapping[int, GoalRow]:
    return VIEWS.goal_course.of(STREAM, record.relationship)


def test_a_wording_is_agreed_by_the_last_assent() -> None:
    """Rule 25: agreed only when all assent to that wording, and the entry that made it so."""
    half = told(PROPOSED, assented(CLIENT))
    (row,) = not_agreed(rows_of(half))
    assert [party.value for party in row.assents] == [CLIENT]
    whole = told(*AGREED)
    (row,) = rows_of(whole).values()
    assert row.agreed_at is not None
    assert row.agreed_at.ref.version == whole.relationship.version
    assert list(not_agreed(rows_of(whole))) == []


def test_who_joins_is_asked_too() -> None:
    """Rules 10 and 25: what was agreed by all is agreed again once the new client assents."""
    family = opened(CLIENT, PARTNER, constellation=Constellation.FAMILY)
    joined = ParticipantJoined(person=GUARDIAN, part=Part.CLIENT, reason="Now he wants to.")
    record = given(*FOUNDED, family, *AGREED, assented(PARTNER))
    assert not [*not_agreed(rows_of(record))]
    record = record.and_given(joined)
    (row,) = not_agreed(rows_of(record))
    assert row.agreed_at is None
    assert not [*not_agreed(rows_of(record.and_given(assented(GUARDIAN))))]


def test_another_wording_starts_without_assents() -> None:
    """Rule 25: the earlier agreement stays where it was said; the new wording has none."""
    rows = rows_of(told(*AGREED, REVISED))
    first, second = rows.values()
    assert first.agreed_at is not None
    assert known(first.replaced_by) == 2
    assert (second.assents, second.agreed_at) == ((), None)
    assert list(current(rows).values()) == [second]
    assert list(not_agreed(rows)) == [second]


def test_dissent_names_its_reason() -> None:
    """Rule 25: an assent taken back is no agreement, and the reason is that person's own."""
    dissent = GoalDissented(goal=GOAL, revision=1, party=CLIENT, reason="Not mine after all.")
    record = told(*AGREED, dissent)
    (row,) = rows_of(record).values()
    assert row.agreed_at is None
    (said,) = row.dissents
    assert said.known is not None
    assert said.known.reason == "Not mine after all."
    assert row.statement is not None
    assert said.ref.key_id != row.statement.ref.key_id


def test_a_goal_that_was_reached_is_not_asked_for_agreement() -> None:
    """Rule 26: reached, it is not pursued; reopened, it is again."""
    reached = told(PROPOSED, GoalReached(goal=GOAL))
    assert list(not_agreed(rows_of(reached))) == []
    (row,) = current(rows_of(reached)).values()
    assert known(row.status) is GoalStatus.REACHED
    reopened = reached.and_given(GoalReopened(goal=GOAL, reason="It came back."))
    (row,) = not_agreed(rows_of(reopened))
    assert known(row.status) is GoalStatus.OPEN


def test_scales_and_perspectives_do_not_mix() -> None:
    """Rule 32: one series per goal, scale, perspective and rater, in the order of rating."""
    ratings = (rated(2), rated(-1, THERAPIST, GoalScale.GAS), rated(3, THERAPIST), rated(5))
    found = series(rows_of(told(*AGREED, *ratings)))
    levels = {key[1:3]: [known(row.level) for row in rows] for key, rows in found.items()}
    assert {key[3] for key in found} == {CLIENT, THERAPIST}
    assert levels == {
        (GoalScale.GBO, Perspective.CLIENT): [2, 5],
        (GoalScale.GAS, Perspective.THERAPIST): [-1],
        (GoalScale.GBO, Perspective.THERAPIST): [3],
    }


def test_of_an_erased_rating_its_kind_is_left() -> None:
    """Rule 9: the client's ratings are gaps, the wording that all share stays."""
    rows = rows_of(told(*AGREED, rated(2)).erased(CLIENT))
    wording, rating = rows.values()
    assert (known(wording.kind), known(rating.kind)) == (Kind.WORDING, Kind.RATING)
    assert rating.goal.value == ERASED
    assert rating.level is None
    assert series(rows) == {}
