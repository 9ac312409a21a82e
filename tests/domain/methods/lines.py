"""Series as the tests of the methods write them down."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from domain.definition import Perspective
from domain.methods.series import UNNAMED, Axis, Dyad, Forms, Point, Series

BEGINNING = datetime(2026, 1, 5, 10, tzinfo=UTC)
WEEK = timedelta(days=7)
AXIS = Axis("WAI-SR", "WAI-SR", "sum", 1, Perspective.CLIENT, "total")
THEIRS = AXIS._replace(perspective=Perspective.THERAPIST, form="WAI-SR-T")

Number = int | str | Fraction


def exactly(number: Number) -> Fraction:
    return Fraction(number)


def point(number: int, value: Number, axis: Axis = AXIS, **more: Any) -> Point:
    """A rating of that session, which was in that week; known at once unless said otherwise."""
    at = BEGINNING + number * WEEK
    return Point(
        **{
            "axis": axis,
            "value": exactly(value),
            "occurred_at": at,
            "known_at": at,
            "session": number,
            **more,
        }
    )


def line(*values: Number | None, axis: Axis = AXIS, **more: Any) -> Series:
    """A series with a value for each session; None where there is no rating."""
    points = [point(n, value, axis) for n, value in enumerate(values, 1) if value is not None]
    return Series.of(points, **more)


def unnamed(*values: Number | None, **more: Any) -> Series:
    return line(*values, axis=UNNAMED, **more)


def dyad(client: Sequence[Number | None], therapist: Sequence[Number | None]) -> Dyad:
    return Dyad.of(line(*client), line(*therapist, axis=THEIRS))


def forms(*answers: Sequence[Number | None], **more: Any) -> Forms:
    """Answered forms, one for each session."""
    points = [
        point(n, 0, items=tuple(None if one is None else exactly(one) for one in items))
        for n, items in enumerate(answers, 1)
    ]
    bounds = {"lowest": Fraction(1), "highest": Fraction(5)}
    return Forms.of(points, **{**bounds, **more})
