"""Trajectories: from a history to the lines that methods take, as known at any time."""

from datetime import timedelta
from fractions import Fraction
from typing import Any

from domain.alliance import AllianceRated
from domain.event import History
from domain.instrument import Perspective
from domain.methods.series import Better, Series
from domain.rating import SupersedeRating
from projections.trajectory import Trajectories, trajectories
from tests.kit import AN_HOUR_AGO, CLIENT, DAY, NOW, RELATIONSHIP, SESSION, THERAPIST, Record, named
from tests.projections.test_alliance_course import LATER, MEASURED, by_therapist, rate


def lines_of(record: Record, **as_of: Any) -> Trajectories:
    return trajectories(record.relationship.as_of(**as_of))


def line(found: Trajectories, scale: str, perspective: Perspective = Perspective.CLIENT) -> Series:
    (one,) = (
        series
        for axis, series in found.series.items()
        if axis.scale == scale and axis.perspective is perspective
    )
    return one


def rated_twice() -> Record:
    """Both sessions rated by the client, the later one first on record."""
    record = MEASURED
    for name, session, first in (("late", LATER, "6"), ("early", SESSION, "9")):
        command = rate(name, session=session, answers=(first, "9", "8", "8.8"))
        record = record.when(command, by=CLIENT).recorded()
    return record


def test_points_stand_where_their_sessions_do() -> None:
    """Rule 28: a point names its session, its entry and both times, in order of the sessions."""
    record = rated_twice()
    total = line(lines_of(record), "total")
    assert [point.session for point in total.points] == [1, 2]
    assert [point.session_id for point in total.points] == [SESSION, LATER]
    assert total.values == (Fraction(348, 10), Fraction(318, 10))
    assert [point.occurred_at for point in total.points] == [AN_HOUR_AGO - 7 * DAY, AN_HOUR_AGO]
    entries = {entry.version: entry for entry in record.relationship}
    for point in total.points:
        assert point.entry is not None
        assert isinstance(entries[point.entry].event, AllianceRated)
        assert point.known_at == entries[point.entry].recorded_at
    assert total.points[0].items == (Fraction(9), Fraction(9), Fraction(8), Fraction(88, 10))
    assert (total.low, total.high) == (Fraction(0), Fraction(40))
    assert total.better is Better.HIGHER


def test_lines_are_never_mixed() -> None:
    """Rule 32: each instrument form, perspective, scale and rater is a line of its own."""
    record = rated_twice()
    for command, by in (
        (rate("3", instrument="WAI-SR", answers=["3"] * 12), CLIENT),
        (rate("4", instrument="WAI-36", answers=["Often"] * 36), CLIENT),
        (by_therapist("5"), THERAPIST),
    ):
        record = record.when(command, by=by).recorded()
    found = lines_of(record)
    assert all({point.axis for point in one.points} == {axis} for axis, one in found.series.items())
    assert {(axis.instrument, axis.perspective) for axis in found.series} == {
        ("SRS-3", Perspective.CLIENT),
        ("WAI-SR", Perspective.CLIENT),
        ("WAI-36", Perspective.CLIENT),
        ("WAI-36", Perspective.THERAPIST),
    }
    scales = {axis.scale for axis in found.series if axis.instrument == "WAI-36"}
    assert {"goal", "task", "bond", "total"} <= scales
    dyads = list(found.dyads())
    assert len(dyads) == len(scales), "WAI-36 alone was rated by both"
    for dyad in dyads:
        assert dyad.client.axis.scale == dyad.therapist.axis.scale
        ((client, therapist),) = dyad.pairs
        assert (client.axis.rater, therapist.axis.rater) == (CLIENT, THERAPIST)


def test_what_came_later_is_not_known() -> None:
    """Rule 38: as known before a better reading, a line holds the first one, and no later point."""
    record = rated_twice()
    before = record.entries[-1].recorded_at
    better = SupersedeRating(
        relationship=RELATIONSHIP,
        superseded=named("early"),
        rating=named("better"),
        reason="The first line was read wrongly.",
        answers=("2", "9", "8", "8.8"),
    )
    record = record.when(better, by=CLIENT, at=NOW + timedelta(hours=1)).recorded()
    assert line(lines_of(record, known_at=before), "total").values[0] == Fraction(348, 10)
    assert line(lines_of(record), "total").values[0] == Fraction(278, 10)
    first = record.entries[-3].recorded_at - timedelta(seconds=1)
    assert lines_of(record, known_at=first).series == {}
    for entry in record.relationship:
        then = trajectories(record.relationship.as_of(known_at=entry.recorded_at))
        for one in then.series.values():
            assert all(point.known_at <= entry.recorded_at for point in one.points)


def test_no_score_is_no_point_and_still_a_form() -> None:
    """Rule 30: what the missing rule allows no score of is no zero on the line."""
    record = MEASURED.when(rate("gap", answers=("8", None, None, "9")), by=CLIENT).recorded()
    found = lines_of(record)
    assert {axis.scale for axis in found.series} == {"relationship", "overall"}
    (forms,) = found.forms.values()
    assert forms.points[0].items == (Fraction(8), None, None, Fraction(9))
    assert (forms.lowest, forms.highest) == (Fraction(0), Fraction(10))


def test_what_was_erased_or_has_no_key_is_on_no_line() -> None:
    """Rules 9, 36: neither can be scored, and neither stops the other lines."""
    foreign = AllianceRated(
        rating=named("foreign"),
        instrument="Home-made",
        perspective=Perspective.CLIENT,
        rater=CLIENT,
        session=SESSION,
        items=(3, 1),
    )
    record = rated_twice().and_given(foreign).when(by_therapist("5"), by=THERAPIST).recorded()
    assert {axis.instrument for axis in lines_of(record).series} == {"SRS-3", "WAI-36"}
    gone = lines_of(record.erased(CLIENT))
    assert {axis.perspective for axis in gone.series} == {Perspective.THERAPIST}
    assert trajectories(History()) == Trajectories({}, {})
