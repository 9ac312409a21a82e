"""No look-ahead: what comes later, or is known later, changes nothing that was said before."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.methods.card import Choices, MethodCard
from domain.methods.catalogue import METHODS, OF_A_SERIES
from domain.methods.congruence import CONGRUENCE
from domain.methods.response_quality import RESPONSE_QUALITY
from domain.methods.series import Dyad, Forms, Point, Resolution, Series
from tests.domain.methods.lines import BEGINNING, THEIRS, WEEK, point

LOW, HIGH = Fraction(0), Fraction(40)
CHOSEN: Mapping[str, list[Choices]] = {
    "absolute": [{"threshold": 25, "drop": 4}],
    "criterion-drop": [{}, {"sd_ref": 3}],
    "reliable-drop": [{"sd": 4, "alpha": Fraction("0.8")}],
    "reliable-change": [{"sd": 4, "alpha": Fraction("0.8"), "cutoff": 25}],
    "episode": [{"sd_ref": 3}, {"k": 1}, {"sd_ref": 3, "repaired_by": "both", "within": 2}],
    "change-point": [{"orders": 99}],
}
"""Parameters that let a method find something; the others are asked by their defaults."""

QUESTIONS = [(name, chosen) for name in METHODS for chosen in CHOSEN.get(name, [{}])]
ONLINE = [(name, chosen) for name, chosen in QUESTIONS if not METHODS[name].retrospective]
FEW = settings(max_examples=25, deadline=None)


@st.composite
def points(draw: st.DrawFn, least: int = 0, axis: Any = None) -> list[Point]:
    """Ratings of some sessions in order, each recorded at once or up to six weeks late."""
    sessions = draw(st.lists(st.integers(1, 30), min_size=least, max_size=16, unique=True))
    made = []
    for session in sorted(sessions):
        late = draw(st.sampled_from((0, 0, 0, 1, 3, 6)))
        items = draw(st.lists(st.integers(1, 5), min_size=6, max_size=6))
        made.append(
            point(
                session,
                draw(st.integers(10, 40)),
                known_at=BEGINNING + (session + late) * WEEK,
                items=tuple(map(Fraction, items)),
                **({} if axis is None else {"axis": axis}),
            )
        )
    return made


RESOLUTIONS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 4)).map(
        lambda one: Resolution(
            BEGINNING + one[0] * WEEK + timedelta(hours=1),
            BEGINNING + (one[0] + one[1]) * WEEK + timedelta(hours=1),
        )
    ),
    max_size=3,
)
MOMENT = st.integers(0, 40).map(lambda week: BEGINNING + week * WEEK)

Given = tuple[list[Point], list[Point], list[Resolution]]
"""The client's ratings, the therapist's, and what people recorded beside them."""
GIVEN = st.tuples(points(), points(axis=THEIRS), RESOLUTIONS)


def asked(name: str, made: Given) -> Series | Dyad | Forms:
    """The data in the form in which the method takes them."""
    client, therapist, resolutions = made
    series = Series.of(client, low=LOW, high=HIGH, resolutions=resolutions)
    if name == CONGRUENCE.name:
        return Dyad.of(series, Series.of(therapist, low=LOW, high=HIGH))
    if name == RESPONSE_QUALITY.name:
        return Forms.of(client, lowest=Fraction(1), highest=Fraction(5))
    return series


def findings(card: MethodCard) -> list[tuple[Any, ...]]:
    """What was found, by the points themselves: their places may move where points join."""
    return [
        (
            card.points[one.at],
            one.kind,
            one.flagged,
            one.says,
            one.figures,
            [card.points[at] for at in one.rests_on],
        )
        for one in card.findings
    ]


@pytest.mark.parametrize("name, chosen", ONLINE)
@FEW
@given(made=GIVEN, last=st.integers(0, 31))
def test_appending_later_sessions_changes_no_earlier_finding(
    name: str, chosen: Choices, made: Given, last: int
) -> None:
    """Rule 38: each finding uses only that point and earlier ones."""
    client, therapist, resolutions = made

    def until(these: list[Point]) -> list[Point]:
        return [one for one in these if (one.session or 0) <= last]

    end = BEGINNING + last * WEEK + timedelta(days=1)
    before = [mark for mark in resolutions if mark.occurred_at <= end]
    part: Given = (until(client), until(therapist), before)
    early = METHODS[name].card(asked(name, part), chosen)
    whole = METHODS[name].card(asked(name, made), chosen)
    kept = [one for one in findings(whole) if one[0].session <= last]
    assert [one for one in findings(early) if one not in kept] == []
    if early.declined is None:
        assert [one for one in kept if one not in findings(early)] == []
    else:  # a course too short to be judged holds nothing to see
        assert [one for one in kept if one[2] and one not in findings(early)] == []


@pytest.mark.parametrize("name, chosen", ONLINE)
@FEW
@given(made=GIVEN)
def test_a_finding_rests_on_earlier_points_alone(name: str, chosen: Choices, made: Given) -> None:
    """Rule 38: the inputs that a finding lists lie at its point's time or before."""
    card = METHODS[name].card(asked(name, made), chosen)
    for one in card.findings:
        here = card.points[one.at].occurred_at
        assert all(card.points[at].occurred_at <= here for at in one.rests_on)


@pytest.mark.parametrize("name, chosen", QUESTIONS)
@FEW
@given(made=GIVEN, more=GIVEN, moment=MOMENT)
def test_as_known_then_is_what_was_answered_then(
    name: str, chosen: Choices, made: Given, more: Given, moment: datetime
) -> None:
    """Rule 38: what is recorded after a time changes no answer as it was known at that time."""
    enriched: Given = (
        [*made[0], *_later(more[0], made[0], moment)],
        [*made[1], *_later(more[1], made[1], moment)],
        [*made[2], *(one for one in more[2] if one.known_at > moment)],
    )
    then = METHODS[name].card(asked(name, made).known_at(moment), chosen)
    now = METHODS[name].card(asked(name, enriched).known_at(moment), chosen)
    assert now == then
    assert now.as_known_at == moment


def _later(added: list[Point], told: list[Point], moment: datetime) -> list[Point]:
    """Ratings recorded after that moment, of sessions that had none."""
    rated = {one.session for one in told}
    return [one for one in added if one.known_at > moment and one.session not in rated]


@pytest.mark.parametrize("name, chosen", QUESTIONS)
@FEW
@given(made=GIVEN)
def test_the_same_question_has_the_same_answer(name: str, chosen: Choices, made: Given) -> None:
    """Rule 37: a derived result is reproducible, in whatever order its inputs came."""
    turned: Given = (made[0][::-1], made[1][::-1], made[2][::-1])
    one, other = (METHODS[name].card(asked(name, each), chosen) for each in (made, turned))
    assert one == other


def test_what_looks_back_says_so() -> None:
    """Rule 38: change point and shape are labelled retrospective, and nothing else is."""
    assert {name for name, one in METHODS.items() if one.retrospective} == {"change-point", "shape"}
    assert set(METHODS) - set(OF_A_SERIES) == {"congruence", "response-quality"}
