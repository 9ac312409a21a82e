"""`rapport analyse`: what a named method makes of a series of numbers. It needs no record."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, TypeVar

import typer

from api.cli.terminal import Exit, Failed, Format, FormatOption, say, show
from domain import instrument as instruments
from domain.answers import exact_number, quoted
from domain.definition import CutOff, Definition, Perspective
from domain.methods.card import Choice, Choices, Method
from domain.methods.catalogue import METHODS, method
from domain.methods.congruence import CONGRUENCE
from domain.methods.report import card_text, render_card, render_method
from domain.methods.response_quality import RESPONSE_QUALITY
from domain.methods.series import UNNAMED, Axis, Better, Dyad, Forms, Point, Resolution, Series
from domain.scoring import parse_items, score
from domain.series import series_id

Item = TypeVar("Item")


class Direction(StrEnum):
    HIGHER_BETTER = "higher-better"
    LOWER_BETTER = "lower-better"

    @property
    def better(self) -> Better:
        return Better.HIGHER if self is Direction.HIGHER_BETTER else Better.LOWER


DirectionOption = Annotated[
    Direction | None, typer.Option(help="Which scores are better. Default: the higher ones.")
]

_EXAMPLE = "Give a JSON list with a place for each session, as in --values '[36, 34.5, null, 38]'."
_VALUES = (
    "A JSON list, a place for each session: a score, or the answers of a form as a list; null"
    " where there is no rating."
)
_THERAPIST = "The therapist's values beside the client's (congruence)."
_INSTRUMENT = "The instrument: its scale, its cut-offs, and its key for answers."
_TIMES = "When each session was: a JSON list of dates or times."
_RECORDED = "When each rating was recorded. Default: the same times."
_RESOLVED = "Sessions after which a person recorded a resolution: a JSON list."
_NOMINAL = datetime(2100, 1, 4, tzinfo=UTC)
"""Where no times are given, session n stands n weeks after this day: it is never shown, and lies so
far ahead that the newest rules hold."""


def add_to(app: typer.Typer) -> None:
    app.command("analyse")(analyse)


def analyse(
    name: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Its name; --list shows them all.")
    ] = None,
    values: Annotated[str | None, typer.Option(help=_VALUES)] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter, as in k=1.5; more than one may be given.")
    ] = None,
    therapist: Annotated[str | None, typer.Option(help=_THERAPIST)] = None,
    instrument: Annotated[str | None, typer.Option(help=_INSTRUMENT)] = None,
    scale: Annotated[str | None, typer.Option(help="Its scale. Default: the total.")] = None,
    low: Annotated[str | None, typer.Option(help="The least a value can be.")] = None,
    high: Annotated[str | None, typer.Option(help="The most a value can be.")] = None,
    direction: DirectionOption = None,
    times: Annotated[str | None, typer.Option(help=_TIMES)] = None,
    recorded: Annotated[str | None, typer.Option(help=_RECORDED)] = None,
    known_at: Annotated[
        str | None, typer.Option(help="Answer as known at that time, or at the end of that day.")
    ] = None,
    resolved: Annotated[str | None, typer.Option(help=_RESOLVED)] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the methods.")] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Ask a method about a series. It says what it found, from what, and by which parameters.

    Where the data cannot support an answer, the method says so: that is its answer, with exit
    status 0.

    \b
    Examples:
      rapport analyse --list
      rapport analyse control-chart --values '[36, 37, 35, 36, 38, 37, 29]' --low 0 --high 40
      rapport analyse criterion-drop --values '[36, 37, 35, 36, 31]' --param sd_ref=4 --format json
      rapport analyse absolute --instrument SRS-3 --values '[[9, 9, 9, 9], [9, 8.5, 9, 9]]'
      rapport analyse congruence --values '[5, 6, 4, 6]' --therapist '[4, 5, 5, 5]'
      rapport analyse response-quality --instrument WAI-SR --values '[[3,3,3,3,3,3,3,3,3,3,3,3]]'
    """
    if list_:
        shown = [render_method(one) for one in METHODS.values()]
        show(format_, {"methods": shown}, lambda: "\n".join(_listed()))
        return
    if name is None or values is None:
        raise Failed(
            Exit.USAGE, "Give a method and --values.", "rapport analyse --list names them."
        )
    asked = method(name)
    reader = _Reader(
        measure=_measure(instrument, scale, low, high, direction, scored=asked.of_scores),
        times=_moments("--times", times),
        recorded=_moments("--recorded", recorded),
        resolved=_whole_numbers("--resolved", resolved),
    )
    data = _data(asked, reader, values, therapist)
    if known_at is not None:
        data = data.known_at(_until(known_at))
    card = asked.card(data, _chosen(param or []))
    document = render_card(card)
    if times is None:  # those that order the series are nominal, and nobody's
        for point in document["inputs"]:
            point["occurred_at"] = point["known_at"] = None
    show(format_, document, lambda: card_text(card))


def _data(
    asked: Method[Any], reader: "_Reader", values: str, therapist: str | None
) -> Series | Dyad | Forms:
    if asked is not CONGRUENCE and therapist is not None:
        raise Failed(Exit.USAGE, f"{asked.name} takes no --therapist.", "congruence does.")
    if asked is CONGRUENCE:
        if therapist is None:
            raise Failed(
                Exit.USAGE,
                "congruence compares two series.",
                "Give the client's as --values and the therapist's as --therapist.",
            )
        rated, beside = len(_list("--values", values)), len(_list("--therapist", therapist))
        if beside != rated:
            raise Failed(
                Exit.USAGE,
                f"--therapist has {beside} places and --values {rated}.",
                "Give one for each session, null where there is no rating.",
            )
        return Dyad.of(
            reader.series("--values", values, Perspective.CLIENT),
            reader.series("--therapist", therapist, Perspective.THERAPIST),
        )
    return reader.forms(values) if asked is RESPONSE_QUALITY else reader.series("--values", values)


def _listed() -> Iterator[str]:
    for one in METHODS.values():
        looking_back = " (looking back)" if one.retrospective else ""
        yield f"{one.name:<18}{one.asks}{looking_back}"
        for spec in one.specs:
            parameter = spec.resolved(one.name, None)
            operator = f"{spec.operator} " if spec.operator else ""
            value = f"{operator}{parameter.text}" if parameter.text else spec.source
            yield f"    {spec.name:<20}{value:<10}  {spec.about}"


# --- Reading what was given -----------------------------------------------------------------


def _list(option: str, given: str) -> list[object]:
    try:
        # A number stays the decimal it was written as: nothing here is ever a float.
        found = json.loads(given, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError):
        raise Failed(Exit.USAGE, f"{option} is no JSON.", _EXAMPLE) from None
    if not isinstance(found, list):
        raise Failed(Exit.USAGE, f"{option} is no list.", _EXAMPLE)
    return found


def _exact(value: object) -> Decimal | None:
    """A number of a list, within 15 digits before and after the point; None for anything else."""
    exact = exact_number(value)
    if exact is None or exact.is_zero():
        return exact
    fits = exact.adjusted() < 15 and int(exact.as_tuple().exponent) >= -15
    return exact if fits else None


def number(option: str, given: str) -> Fraction:
    """The number given to an option, exactly as it was written."""
    exact = as_number(given)
    if exact is None:
        raise Failed(Exit.USAGE, f"{option}: {quoted(given)} is no number.", "Write it as in 7.5.")
    return exact


def as_number(written: str) -> Fraction | None:
    """The number, exactly; also as papers print it: `.80`, and a minus sign that is no hyphen."""
    exact = exact_number(_as_typed(written))
    return None if exact is None else Fraction(exact)


def _as_typed(written: str) -> str:
    return re.sub(r"^([+-]?)\.", r"\g<1>0.", written.strip().replace("\N{MINUS SIGN}", "-"))


def _whole_numbers(option: str, given: str | None) -> tuple[int, ...]:
    found = [] if given is None else _list(option, given)
    for one in found:
        if isinstance(one, bool) or not isinstance(one, int) or one < 1:
            raise Failed(
                Exit.USAGE, f"{option}: {quoted(str(one))} is no session.", "Sessions count from 1."
            )
    return tuple(one for one in found if isinstance(one, int))


def _moments(option: str, given: str | None) -> tuple[datetime, ...]:
    found = [] if given is None else _list(option, given)
    return tuple(_moment(f"{option}: place {place}", one) for place, one in enumerate(found, 1))


def _until(given: str) -> datetime:
    """A moment; a date is the end of that day."""
    at = _moment("--known-at", given)
    return at if len(given.strip()) > len("2026-03-01") else at + timedelta(days=1, microseconds=-1)


def _moment(where: str, given: object) -> datetime:
    try:
        at = datetime.fromisoformat(str(given).strip())
    except ValueError:
        raise Failed(
            Exit.USAGE,
            f"{where}: {quoted(given)} is no date or time.",
            "Write it as 2026-03-01 or 2026-03-01T14:00:00+01:00.",
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _chosen(param: Sequence[str]) -> Choices:
    chosen: dict[str, Choice] = {}
    for one in param:
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise Failed(Exit.USAGE, f"--param {quoted(one)} sets nothing.", "Write it as k=1.5.")
        if name.strip() in chosen:
            raise Failed(Exit.USAGE, f"--param {name.strip()} is given twice.", "Give it once.")
        chosen[name.strip()] = _as_typed(value)
    return chosen


# --- What the numbers are -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Measure:
    """What the values are scores of."""

    definition: Definition | None
    scale: str
    low: Fraction | None
    high: Fraction | None
    better: Better

    @property
    def range(self) -> str:
        low, high = ("any value" if end is None else str(end) for end in (self.low, self.high))
        return f"{low} to {high}"

    def is_off(self, value: Decimal) -> bool:
        """Whether no score can have that value."""
        below = self.low is not None and value < self.low
        return below or (self.high is not None and value > self.high)

    @property
    def cutoffs(self) -> tuple[CutOff, ...]:
        if self.definition is None:
            return ()
        return tuple(cut for cut in self.definition.cutoffs if cut.scale in (None, self.scale))

    def axis(self, perspective: Perspective | None) -> Axis:
        if self.definition is None:
            return UNNAMED._replace(perspective=perspective)
        forms = self.definition.forms
        line = series_id(
            self.definition, perspective if perspective in forms else next(iter(forms))
        )
        return Axis(
            line.instrument, line.form, line.metric, line.key_major, perspective, self.scale
        )


def _measure(
    instrument: str | None,
    scale: str | None,
    low: str | None,
    high: str | None,
    direction: Direction | None,
    *,
    scored: bool,
) -> _Measure:
    lowest = None if low is None else number("--low", low)
    highest = None if high is None else number("--high", high)
    better = (direction or Direction.HIGHER_BETTER).better
    if instrument is None:
        if scale is not None:
            raise Failed(Exit.USAGE, "--scale belongs to an instrument.", "Give --instrument too.")
        return _Measure(None, UNNAMED.scale, lowest, highest, better)
    definition = instruments.load(instrument)
    if not scored:
        return _Measure(definition, UNNAMED.scale, lowest, highest, better)
    first = next(iter(definition.scales), "")
    wanted = scale or ("total" if "total" in definition.scales else first)
    if wanted not in definition.scales:
        known = ", ".join(definition.scales) or "none: its key is not known"
        raise Failed(
            Exit.USAGE,
            f"--scale: {definition.id} has no scale {quoted(wanted)}.",
            f"Its scales: {known}.",
        )
    bounds = definition.scales[wanted].range
    if direction is None and definition.scoring is not None and definition.scoring.direction:
        better = Direction(definition.scoring.direction).better
    return _Measure(
        definition,
        wanted,
        Fraction(bounds[0]) if lowest is None else lowest,
        Fraction(bounds[1]) if highest is None else highest,
        better,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns what was typed into what a method takes."""

    measure: _Measure
    times: tuple[datetime, ...]
    recorded: tuple[datetime, ...]
    resolved: tuple[int, ...]

    def series(self, option: str, given: str, perspective: Perspective | None = None) -> Series:
        """The series of those values; a place that is null has no rating."""
        measure = self.measure
        places = _list(option, given)
        self._check(option, len(places))
        axis = measure.axis(perspective)
        points = []
        for place, value in enumerate(places, 1):
            scored = self._scored(option, place, value, perspective)
            if scored is not None:
                points.append(self._point(axis, place, *scored))
        return Series.of(
            points,
            low=measure.low,
            high=measure.high,
            better=measure.better,
            cutoffs=measure.cutoffs,
            resolutions=[
                Resolution(self._at(after), self._known(after)) for after in self.resolved
            ],
        )

    def forms(self, given: str) -> Forms:
        """The answered forms: a list of answers, or a list of such lists."""
        places = _list("--values", given)
        if places and not any(isinstance(place, list) for place in places):
            places = [places]
        self._check("--values", len(places))
        points = [
            self._point(self.measure.axis(None), place, Fraction(0), self._answers(place, answers))
            for place, answers in enumerate(places, 1)
            if answers is not None
        ]
        definition = self.measure.definition
        response = None if definition is None else definition.response
        return Forms.of(
            points,
            lowest=self.measure.low if response is None else Fraction(response.min),
            highest=self.measure.high if response is None else Fraction(response.max),
            reversed_items=() if definition is None else definition.reverse.items,
        )

    def _scored(
        self, option: str, place: int, value: object, perspective: Perspective | None
    ) -> tuple[Fraction, tuple[Fraction | None, ...]] | None:
        """The score at a place and its answers; None: there is no score."""
        if value is None:
            return None
        if isinstance(value, list):
            return self._by_key(option, place, value, perspective)
        exact = _exact(value)
        if exact is None:
            raise Failed(
                Exit.USAGE, f"{option}: place {place}: {quoted(value)} is no number.", _EXAMPLE
            )
        low, high = self.measure.low, self.measure.high
        if (low is not None and exact < low) or (high is not None and exact > high):
            bounds = (
                f"{'any value' if low is None else low} to {'any value' if high is None else high}"
            )
            raise Failed(
                Exit.FOUND,
                f"{option}: place {place}: {exact} is outside {bounds}, the range of its scale "
                "(value-off-scale; rule 30)",
            )
        return Fraction(exact), ()

    def _by_key(
        self, option: str, place: int, answers: list[object], perspective: Perspective | None
    ) -> tuple[Fraction, tuple[Fraction | None, ...]] | None:
        definition = self.measure.definition
        if definition is None:
            raise Failed(
                Exit.USAGE,
                f"{option}: place {place} is a list of answers, and no key scores them.",
                "Give --instrument, or scores instead of answers.",
            )
        items = parse_items(definition, answers)
        form = perspective if perspective in definition.forms else None
        value = score(definition, items, perspective=form).of(self.measure.scale).value
        if value is None:
            say(f"{option}: place {place}: too few answers for a score; it counts as not rated.")
            return None
        return value, _in_units(definition, items)

    def _answers(self, place: int, answers: object) -> tuple[Fraction | None, ...]:
        if not isinstance(answers, list):
            raise Failed(
                Exit.USAGE,
                f"--values: place {place} is no list of answers.",
                "Give a list of answers, or a list of such lists.",
            )
        if self.measure.definition is not None:
            definition = self.measure.definition
            return _in_units(definition, parse_items(definition, answers))
        found = [None if answer is None else _exact(answer) for answer in answers]
        for item, (answer, exact) in enumerate(zip(answers, found, strict=True), 1):
            if answer is not None and exact is None:
                raise Failed(
                    Exit.USAGE,
                    f"--values: place {place}, item {item}: {quoted(answer)} is no number.",
                    "Give numbers, or name the --instrument for the words of its scale.",
                )
        return tuple(None if exact is None else Fraction(exact) for exact in found)

    def _point(
        self, axis: Axis, place: int, value: Fraction, items: tuple[Fraction | None, ...]
    ) -> Point:
        return Point(
            axis=axis,
            value=value,
            occurred_at=self._at(place),
            known_at=self._known(place),
            session=place,
            items=items,
        )

    def _at(self, place: int) -> datetime:
        if place <= len(self.times):
            return self.times[place - 1]
        return _NOMINAL + timedelta(weeks=place)

    def _known(self, place: int) -> datetime:
        return self.recorded[place - 1] if place <= len(self.recorded) else self._at(place)

    def _check(self, option: str, places: int) -> None:
        """A time for each place, or none at all; resolutions after sessions that there are."""
        for name, given in (("--times", self.times), ("--recorded", self.recorded)):
            if given and len(given) != places:
                raise Failed(
                    Exit.USAGE,
                    f"{name} has {len(given)} places and {option} {places}.",
                    "Give one for each place.",
                )
        if any(after > places for after in self.resolved):
            raise Failed(Exit.USAGE, f"--resolved names a session after the last, {places}.")


def _in_units(definition: Definition, items: Sequence[int | None]) -> tuple[Fraction | None, ...]:
    """Raw items in the instrument's own units."""
    return tuple(
        None if item is None else Fraction(item, definition.response_to(number).scale)
        for number, item in enumerate(items, 1)
    )
