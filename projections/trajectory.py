"""Trajectories: a relationship's current ratings as the series, dyads and forms that methods take.

A pure function of a history: give it the history as it was known at a time, and it holds nothing
that came later (rule 38). Each instrument form, metric, key major, perspective, scale and rater is
a line of its own (rule 32); no key, no erased content and no scale without a score gives a point.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from domain.event import History
from domain.instrument import Definition, Perspective, UnknownKey, load_key
from domain.methods.catalogue import OF_A_SERIES
from domain.methods.congruence import CONGRUENCE
from domain.methods.series import Axis, Better, Dyad, Forms, Point, Resolution, Series
from domain.rating import CurrentRating, ratings_of, score_of, series_of
from domain.scoring import ScaleScore
from domain.session import Session, session_numbers, sessions_of


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Every line of one relationship, by its axis."""

    series: Mapping[Axis, Series]
    forms: Mapping[Axis, Forms]
    """The answered forms themselves, by the axis of their first scale."""

    def of(
        self, *, instrument: str | None = None, perspective: Perspective | None = None
    ) -> Iterator[Series]:
        """The series of that instrument and perspective; of all where none is named."""
        for axis, series in self.series.items():
            if instrument in (None, axis.instrument) and perspective in (None, axis.perspective):
                yield series

    def asked_about(self, method: str) -> Iterator[Series | Dyad | Forms]:
        """What that method is asked about, in the same order at every reading."""
        if method in OF_A_SERIES:
            yield from (self.series[axis] for axis in sorted(self.series, key=_order))
        elif method == CONGRUENCE.name:
            yield from self.dyads()
        else:
            yield from (self.forms[axis] for axis in sorted(self.forms, key=_order))

    def dyads(self) -> Iterator[Dyad]:
        """Each client's line beside each therapist's on the same measure; never averaged."""
        for client in self.of(perspective=Perspective.CLIENT):
            for therapist in self.of(perspective=Perspective.THERAPIST):
                if _measure(client.axis) == _measure(therapist.axis):
                    yield Dyad.of(client, therapist)


def trajectories(history: History, resolutions: Iterable[Resolution] = ()) -> Trajectories:
    """The lines of a relationship, from its history as known at whatever time it is of."""
    marks = tuple(resolutions)
    placed = [*_placed(history)]
    lines: dict[Axis, list[Point]] = {}
    bounds: dict[Axis, tuple[Definition, ScaleScore]] = {}
    forms: dict[Axis, tuple[Definition, list[Point]]] = {}
    for rated in placed:
        for number, (name, scored) in enumerate(rated.scales.items()):
            axis = rated.axis(name)
            point = rated.point(axis, scored)
            if number == 0:
                forms.setdefault(axis, (rated.definition, []))[1].append(point or rated.form(axis))
            if point is not None:
                lines.setdefault(axis, []).append(point)
                bounds[axis] = rated.definition, scored
    return Trajectories(
        {axis: _series(points, *bounds[axis], marks) for axis, points in lines.items()},
        {axis: _forms(definition, points) for axis, (definition, points) in forms.items()},
    )


# --- Inside ---------------------------------------------------------------------------------


def _order(axis: Axis) -> tuple[str, ...]:
    return tuple(map(str, axis))


def _measure(axis: Axis) -> tuple[str, str, int, str]:
    return axis.instrument, axis.metric, axis.key_major, axis.scale


@dataclass(frozen=True, slots=True)
class _Rated:
    """A current rating with its key, and the session it is of."""

    current: CurrentRating
    definition: Definition
    scales: Mapping[str, ScaleScore]
    session: Session | None
    number: int | None

    def axis(self, scale: str) -> Axis:
        rating = self.current.rating
        line = series_of(rating)
        assert line is not None, "a rating with a key has a series"
        return Axis(
            instrument=line.instrument,
            form=line.form,
            metric=line.metric,
            key_major=line.key_major,
            perspective=rating.perspective,
            scale=scale,
            rater=rating.rater,
        )

    def point(self, axis: Axis, scored: ScaleScore) -> Point | None:
        """Its point on that axis; None where the missing rule allows no score."""
        return None if scored.value is None else self._at(axis, scored.value, scored.flags)

    def form(self, axis: Axis) -> Point:
        """Its answers, where there is no score of them."""
        return self._at(axis, Fraction(0), ())

    def _at(self, axis: Axis, value: Fraction, flags: Iterable[str]) -> Point:
        entry, rating = self.current.entry, self.current.rating
        return Point(
            axis=axis,
            value=value,
            occurred_at=entry.occurred_at if self.session is None else self.session.started_at,
            known_at=entry.recorded_at,
            session=self.number,
            session_id=rating.session,
            entry=entry.version,
            items=tuple(
                None if item is None else Fraction(item, self.definition.response.scale)
                for item in rating.items
            ),
            flags=tuple(flags),
        )


def _placed(history: History) -> Iterator[_Rated]:
    sessions, numbers = sessions_of(history), session_numbers(history)
    for current in ratings_of(history).values():
        rating, scored = current.rating, score_of(current.entry)
        if scored is None:
            continue
        session = sessions.get(rating.session) if rating.session else None
        number = numbers.get(rating.session) if rating.session else None
        try:
            definition = load_key(scored.key_hash)
        except UnknownKey:
            continue
        yield _Rated(current, definition, scored.scales, session, number)


def _series(
    points: Iterable[Point],
    definition: Definition,
    scored: ScaleScore,
    resolutions: tuple[Resolution, ...],
) -> Series:
    scoring = definition.scoring
    lower = scoring is not None and scoring.direction == "lower-better"
    return Series.of(
        points,
        low=scored.low,
        high=scored.high,
        better=Better.LOWER if lower else Better.HIGHER,
        cutoffs=[each for each in definition.cutoffs if each.scale in (None, scored.scale)],
        resolutions=resolutions,
    )


def _forms(definition: Definition, points: Iterable[Point]) -> Forms:
    response = definition.response
    return Forms.of(
        points,
        lowest=Fraction(response.min),
        highest=Fraction(response.max),
        reversed_items=definition.reverse.items,
    )
