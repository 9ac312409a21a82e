"""Courses with a planted truth: ruptures, repairs, shapes, bias and tracking, all invented.

The latent course is the demonstration's (`api/demo/course.py`): quality from 0 to 1, growth in a
shape, ruptures that are repaired or left open, a therapist who sees it with a bias and a weaker
tracking. On top of it every hour wobbles, and now and then a rating is missing. Answers are given
to real instruments and scored by their keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random

from api.demo.course import Course, Kind, Rupture, answers
from domain.definition import Definition, Perspective
from domain.instrument import load
from domain.methods.series import Axis, Dyad, Forms, Point, Series
from domain.scoring import parse_items, score

SRS, WAI, WAI_SR = load("SRS-3"), load("WAI-36"), load("WAI-SR")
SESSIONS = 20
MISSING = 0.07
WOBBLES: Mapping[str, float] = {"calm": 0.03, "restless": 0.06}
"""How much the quality of single hours scatters (SD), by the name of the setting."""

_BEGINNING = datetime(2026, 1, 5, 10, tzinfo=UTC)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Planted:
    """A course and what was planted in it."""

    course: Course
    rupture: Rupture | None

    @classmethod
    def none(cls, rng: Random) -> "Planted":
        return cls(Course.drawn(rng, SESSIONS, ()), None)

    @classmethod
    def with_rupture(cls, rng: Random, *, repaired: bool) -> "Planted":
        """A rupture as in the demonstration: in sessions 8 to 12, repaired within 2 to 5."""
        session = rng.randint(8, 12)
        rupture = Rupture(
            session,
            rng.choice((Kind.WITHDRAWAL, Kind.CONFRONTATION)),
            rng.uniform(0.26, 0.38),
            session + rng.randint(2, 5) if repaired else None,
        )
        return cls(Course.drawn(rng, SESSIONS, (rupture,)), rupture)


def srs(planted: Planted, rng: Random, wobble: float) -> Series:
    """The client's SRS totals, session by session."""
    points = [
        _point(SRS, Perspective.CLIENT, session, _hour(planted.course, session, rng, wobble), rng)
        for session in range(1, SESSIONS + 1)
        if rng.random() >= MISSING
    ]
    cutoffs = [cut for cut in SRS.cutoffs if cut.scale in (None, "total")]
    return Series.of(points, low=Fraction(0), high=Fraction(40), cutoffs=cutoffs)


def wai(planted: Planted, rng: Random, wobble: float) -> Dyad:
    """Both views of the WAI after every session: the therapist sees the client's hour, biased."""
    client, therapist = [], []
    course = planted.course
    for session in range(1, SESSIONS + 1):
        felt = _hour(course, session, rng, wobble)
        mean = course.start + course.growth / 2
        seen = {
            part: mean + course.bias + course.tracking * (quality - mean)
            for part, quality in felt.items()
        }
        client.append(_point(WAI, Perspective.CLIENT, session, felt, rng))
        therapist.append(_point(WAI, Perspective.THERAPIST, session, seen, rng))
    return Dyad.of(Series.of(client), Series.of(therapist))


def honest_form(rng: Random, definition: Definition) -> Forms:
    """One form, answered by what was felt."""
    course = Course.drawn(rng, SESSIONS, ())
    felt = course.felt(rng.randint(1, SESSIONS))
    return _form(definition, _point(definition, Perspective.CLIENT, 1, felt, rng))


def straight_form(rng: Random, definition: Definition) -> Forms:
    """One form with the same answer to every item."""
    response = definition.response
    answer = Fraction(rng.randint(int(response.min), int(response.max)))
    point = _point(definition, Perspective.CLIENT, 1, {"bond": 0.5}, rng)
    return _form(definition, replace(point, items=(answer,) * definition.items.count))


def _form(definition: Definition, point: Point) -> Forms:
    response = definition.response
    return Forms.of(
        [point],
        lowest=Fraction(response.min),
        highest=Fraction(response.max),
        reversed_items=definition.reverse.items,
    )


def _hour(course: Course, session: int, rng: Random, wobble: float) -> dict[str, float]:
    """What the client feels in that hour: the course, and how this hour happened to go."""
    by_chance = rng.gauss(0, wobble)
    return {part: quality + by_chance for part, quality in course.felt(session).items()}


def _point(
    definition: Definition,
    perspective: Perspective,
    session: int,
    parts: Mapping[str, float],
    rng: Random,
) -> Point:
    items = parse_items(definition, answers(definition, parts, rng))
    total = score(definition, items).scales["total"].value
    assert total is not None, "every item is answered"
    at = _BEGINNING + session * _WEEK
    return Point(
        axis=Axis(
            definition.id, definition.forms[perspective], definition.metric,
            definition.release[0], perspective, "total",
        ),
        value=total,
        occurred_at=at,
        known_at=at,
        session=session,
        items=tuple(
            None if item is None else Fraction(item, definition.response.scale) for item in items
        ),
    )  # fmt: skip
