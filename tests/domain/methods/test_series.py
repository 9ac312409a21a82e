"""Series: one axis each, in the order of the sessions, as known at any time."""

from datetime import timedelta
from fractions import Fraction

import pytest

from domain.definition import Perspective
from domain.methods.series import (
    UNNAMED,
    Dyad,
    Forms,
    PerspectivesAlike,
    Resolution,
    Series,
    SeriesMixed,
    SessionRatedTwice,
    ValueOffScale,
)
from tests.domain.methods.lines import AXIS, BEGINNING, THEIRS, WEEK, dyad, line, point


@pytest.mark.parametrize(
    "other",
    [
        AXIS._replace(instrument="WAI-S"),
        AXIS._replace(form="WAI-SR-T"),
        AXIS._replace(metric="mean"),
        AXIS._replace(key_major=2),
        AXIS._replace(perspective=Perspective.THERAPIST),
        AXIS._replace(scale="bond"),
    ],
)
def test_no_two_axes_share_a_series(other: object) -> None:
    """Rule 32: another instrument, form, metric, key major, perspective or scale is refused."""
    mixed = [point(1, 30), point(2, 31, axis=other)]  # type: ignore[arg-type]
    with pytest.raises(SeriesMixed) as refused:
        Series.of(mixed)
    assert refused.value.rule == 32


def test_points_stand_in_the_order_of_their_sessions() -> None:
    """Rule 5: what was recorded late stands where it happened."""
    late = point(1, 30, known_at=BEGINNING + 9 * WEEK)
    series = Series.of([point(3, 32), late, point(2, 31)])
    assert list(map(int, series.values)) == [30, 31, 32]
    assert series.axis == AXIS
    assert series.place(0) == "session 1"
    assert Series.of(()).axis == UNNAMED


def test_as_known_at_leaves_out_what_came_later() -> None:
    """Rule 38: as known at a time there is only what was recorded by then."""
    late = point(1, 30, known_at=BEGINNING + 9 * WEEK)
    told = Resolution(BEGINNING + 2 * WEEK, BEGINNING + 8 * WEEK)
    series = Series.of([late, point(2, 31), point(3, 32)], resolutions=[told])
    then = series.known_at(BEGINNING + 3 * WEEK)
    assert [int(value) for value in then.values] == [31, 32]
    assert then.resolutions == ()
    assert then.as_known_at == BEGINNING + 3 * WEEK
    assert series.known_at(BEGINNING + 9 * WEEK).points == series.points


def test_a_session_has_one_current_rating() -> None:
    """Rule 29: a superseded rating does not stand beside the one in its place."""
    with pytest.raises(SessionRatedTwice):
        Series.of([point(1, 30), point(1, 31)])
    between = [point(1, 30, session=None), point(2, 31, session=None)]
    assert Series.of(between).place(1) == "rating 2"


@pytest.mark.parametrize("value", [-1, 41, Fraction(401, 10)])
def test_a_value_lies_on_its_scale(value: Fraction) -> None:
    """Rule 30: a value off its scale is refused, by its place and without being repeated."""
    with pytest.raises(ValueOffScale) as refused:
        line(40, value, 0, low=Fraction(0), high=Fraction(40))
    assert refused.value.ids == {"place": 2, "low": "0", "high": "40"}
    assert str(value) not in str(refused.value).replace("place 2", "")


def test_a_dyad_is_paired_by_session() -> None:
    """Rule 32: two views of the same session stand side by side; the rest has no pair."""
    both = dyad([5, 6, None, 7], [4, None, 5, 6])
    assert [(c.session, int(c.value), int(t.value)) for c, t in both.pairs] == [
        (1, 5, 4),
        (4, 7, 6),
    ]
    assert len(both.points) == 6
    assert both.known_at(BEGINNING + WEEK).pairs == both.pairs[:1]


def test_a_dyad_is_on_one_measure_from_two_perspectives() -> None:
    """Rule 32: neither two measures nor one perspective twice make a dyad."""
    with pytest.raises(SeriesMixed):
        Dyad.of(line(5), line(5, axis=THEIRS._replace(metric="mean")))
    with pytest.raises(PerspectivesAlike):
        Dyad.of(line(5), line(6))


def test_forms_are_of_one_instrument_and_as_known() -> None:
    """Rules 32, 38: forms are one axis too, and know when they were recorded."""
    late = point(2, 0, known_at=BEGINNING + 5 * WEEK)
    made = Forms.of([late, point(1, 0)], lowest=None, highest=None)
    assert [one.session for one in made.points] == [1, 2]
    assert [one.session for one in made.known_at(BEGINNING + 4 * WEEK).points] == [1]
    with pytest.raises(SeriesMixed):
        Forms.of([point(1, 0), point(2, 0, axis=THEIRS)], lowest=None, highest=None)


def test_what_was_known_at_a_moment_includes_that_moment() -> None:
    """Rule 5: as known at the time of a recording includes it."""
    series = line(30, 31)
    moment = series.points[1].known_at
    assert len(series.known_at(moment).points) == 2
    assert len(series.known_at(moment - timedelta(microseconds=1)).points) == 1
