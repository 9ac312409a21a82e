"""What a method is asked about: a series of scores, a dyad's two series, or answered forms.

A series is one line on one axis: one instrument, form, metric, key major, perspective, scale and
rater (rule 32). Everything is ordered by when the session was, and knows when it was recorded, so
that the same question can be asked as of any moment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, Self
from uuid import UUID

from domain.definition import CutOff, Perspective
from domain.event import Refusal

# --- Refusals -------------------------------------------------------------------------------


class SeriesMixed(Refusal):
    rule = 32
    status = 422
    says = "Points of {one} and of {other} share no series: look at each on its own."


class SessionRatedTwice(Refusal):
    rule = 29
    status = 422
    says = "Session {session} stands twice in the series: only its current rating belongs there."


class ValueOffScale(Refusal):
    """Says where, not what: a value may be clinical."""

    rule = 30
    status = 422
    says = "The value at place {place} is outside {low} to {high}, the range of its scale."


class PerspectivesAlike(Refusal):
    rule = 32
    status = 422
    says = "Congruence compares two perspectives on one measure; both series are the {one}'s."


# --- Points ---------------------------------------------------------------------------------


class Better(StrEnum):
    """Which way is better."""

    HIGHER = "higher"
    LOWER = "lower"

    def on_the_worse_side(self, operator: str) -> str:
        """The operator by which the same bound is met by what is worse.

        Where lower is better `< 11` becomes `>= 11`; `>= 11` stays as it is.
        """
        worse = "<" if self is Better.HIGHER else ">"
        return operator if operator[0] == worse else _OPPOSITE[operator]


_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class Axis(NamedTuple):
    """Points share a line only where all of this agrees (rule 32)."""

    instrument: str
    form: str
    metric: str
    key_major: int
    perspective: Perspective | None
    scale: str
    rater: UUID | None = None

    def __str__(self) -> str:
        who = "" if self.perspective is None else f" by the {self.perspective}"
        return f"{self.instrument}/{self.form}/{self.metric}/{self.key_major} {self.scale}{who}"


UNNAMED = Axis("unnamed", "unnamed", "as given", 0, None, "values")
"""The axis of plain numbers whose instrument nobody named."""


@dataclass(frozen=True, slots=True)
class Point:
    """One score: where it stands, when it happened, when it was known, and what established it."""

    axis: Axis
    value: Fraction
    occurred_at: datetime
    """When the session was; the order of the series."""
    known_at: datetime
    """When the rating was recorded."""
    session: int | None = None
    """The session's number in the relationship, from 1; None: rated between sessions."""
    session_id: UUID | None = None
    entry: int | None = None
    """The version of the rating's entry in its stream."""
    items: tuple[Fraction | None, ...] = ()
    """The answers in the instrument's own units, where they are at hand."""
    flags: tuple[str, ...] = ()
    """What a reader of the score must be told (rule 36)."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person recorded: that a rupture was resolved."""

    occurred_at: datetime
    known_at: datetime
    entry: int | None = None


# --- A series -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one axis in order of their sessions."""

    points: tuple[Point, ...]
    low: Fraction | None = None
    high: Fraction | None = None
    """The bounds of the scale; None: not known."""
    better: Better = Better.HIGHER
    cutoffs: tuple[CutOff, ...] = ()
    """The instrument's published thresholds, for this scale and for items."""
    resolutions: tuple[Resolution, ...] = ()
    as_known_at: datetime | None = None
    """As of when it is what was known; None: all there is."""

    @classmethod
    def of(
        cls,
        points: Iterable[Point],
        *,
        low: Fraction | None = None,
        high: Fraction | None = None,
        better: Better = Better.HIGHER,
        cutoffs: Iterable[CutOff] = (),
        resolutions: Iterable[Resolution] = (),
    ) -> Self:
        """The series of those points, put in order.

        Raises SeriesMixed, SessionRatedTwice or ValueOffScale. For what was known at an earlier
        time build the points from the history as known then: a superseded rating still had its
        first value. `known_at` leaves out what came later.
        """
        ordered = tuple(sorted(points, key=_place))
        for point in ordered:
            if point.axis != ordered[0].axis:
                raise SeriesMixed(one=str(ordered[0].axis), other=str(point.axis))
        _refuse_twins(ordered)
        for place, point in enumerate(ordered, 1):
            below = low is not None and point.value < low
            above = high is not None and point.value > high
            if below or above:
                raise ValueOffScale(place=place, low=_bound(low), high=_bound(high))
        marks = sorted(resolutions, key=lambda mark: (mark.occurred_at, mark.known_at))
        return cls(ordered, low, high, better, tuple(cutoffs), tuple(marks))

    @property
    def axis(self) -> Axis:
        """The axis of its points; that of plain numbers where there are none."""
        return self.points[0].axis if self.points else UNNAMED

    @property
    def values(self) -> tuple[Fraction, ...]:
        return tuple(point.value for point in self.points)

    def known_at(self, at: datetime) -> Self:
        """What of it was recorded by then."""
        return replace(
            self,
            points=tuple(point for point in self.points if point.known_at <= at),
            resolutions=tuple(mark for mark in self.resolutions if mark.known_at <= at),
            as_known_at=at,
        )

    def worsening(self, earlier: Fraction, later: Fraction) -> Fraction:
        """By how much the later value is worse; negative: better."""
        return earlier - later if self.better is Better.HIGHER else later - earlier

    def place(self, at: int) -> str:
        """What the point at that index is called: `session 7`, or `rating 5` without a number."""
        return place_of(self.points[at], at)

    @property
    def worse_word(self) -> str:
        """What a step to the worse is called on this scale."""
        return "drop" if self.better is Better.HIGHER else "rise"


def place_of(point: Point, at: int) -> str:
    """What a point at that index is called."""
    return f"rating {at + 1}" if point.session is None else f"session {point.session}"


def _place(point: Point) -> tuple[datetime, int, datetime, int]:
    return point.occurred_at, point.session or 0, point.known_at, point.entry or 0


def _refuse_twins(points: Sequence[Point]) -> None:
    seen: set[int] = set()
    for point in points:
        if point.session is not None and point.session in seen:
            raise SessionRatedTwice(session=point.session)
        if point.session is not None:
            seen.add(point.session)


def _bound(bound: Fraction | None) -> str:
    return "any value" if bound is None else str(bound)


# --- A dyad ---------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Two views of the same session, side by side; they are never averaged."""

    client: Point
    therapist: Point


@dataclass(frozen=True, slots=True)
class Dyad:
    """The client's and the therapist's series on the same measure."""

    client: Series
    therapist: Series

    @classmethod
    def of(cls, client: Series, therapist: Series) -> Self:
        """Raises SeriesMixed where the measure differs, PerspectivesAlike where the raters do not.

        The forms may differ: the same measure has one for each perspective.
        """
        one, other = client.axis, therapist.axis
        measure = (one.instrument, one.metric, one.key_major, one.scale)
        if client.points and therapist.points:
            if measure != (other.instrument, other.metric, other.key_major, other.scale):
                raise SeriesMixed(one=str(one), other=str(other))
            if one.perspective is not None and one.perspective is other.perspective:
                raise PerspectivesAlike(one=one.perspective)
        return cls(client, therapist)

    def known_at(self, at: datetime) -> Self:
        """What of both was recorded by then."""
        return replace(self, client=self.client.known_at(at), therapist=self.therapist.known_at(at))

    @property
    def as_known_at(self) -> datetime | None:
        return self.client.as_known_at

    @property
    def points(self) -> tuple[Point, ...]:
        """Every point of either, the client's first."""
        return self.client.points + self.therapist.points

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The sessions that both rated, in order."""
        seen = {point.session: point for point in self.therapist.points}
        return tuple(
            Pair(point, seen[point.session])
            for point in self.client.points
            if point.session is not None and point.session in seen
        )


# --- Answered forms -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forms:
    """Answered forms of one instrument by one rater; the items of each point are what counts."""

    points: tuple[Point, ...]
    lowest: Fraction | None
    highest: Fraction | None
    """The scale of one answer; None: not known."""
    reversed_items: frozenset[int] = frozenset()
    as_known_at: datetime | None = None

    @classmethod
    def of(
        cls,
        points: Iterable[Point],
        *,
        lowest: Fraction | None,
        highest: Fraction | None,
        reversed_items: Iterable[int] = (),
    ) -> Self:
        """The forms in order of their sessions. Raises SeriesMixed or SessionRatedTwice."""
        ordered = Series.of(points).points
        return cls(ordered, lowest, highest, frozenset(reversed_items))

    def known_at(self, at: datetime) -> Self:
        """What of them was recorded by then."""
        return replace(
            self, points=tuple(p for p in self.points if p.known_at <= at), as_known_at=at
        )
