"""Change point: one place at which the level of a series changed, looked for afterwards.

Every split into two segments of at least three ratings is weighed by the sum of squares between the
segments, n₁·n₂/n · (difference of their means)²; the largest names the split. Whether it is more
than chance finds among so many splits is asked by permutation: how often the same ratings in random
order reach it (Besag & Clifford 1991 let the count stop early where the answer is plain). A change
of level is not claimed where a straight line fits the series as well.

Retrospective: the split is found with later ratings in view.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from random import Random

from domain.methods.card import Finding, Judgement, Kind, Method, Parameters, Spec, Why, decline
from domain.methods.numbers import mean, plain, products, ratings, squares, text
from domain.methods.series import Series

_SEED = 20260101


@dataclass(frozen=True, slots=True)
class Split:
    """The best split of a series."""

    at: int
    """Index of the first rating of the second segment."""
    before: Fraction
    after: Fraction
    """Means of the segments."""
    chance: Fraction
    """The permutation p: the share of random orders that split as far, this order included."""
    beats_a_line: bool
    """Whether two levels leave less unexplained than a straight line."""


def best_split(
    values: Sequence[Fraction], segment: int, orders: int, stop_above: Fraction
) -> Split | None:
    """The best split; None where all values are equal.

    `values`: at least twice `segment`. At most `orders` random orders are drawn, fewer where so
    many split as far that the share will lie above `stop_above`.
    """
    whole = math.lcm(*(value.denominator for value in values))
    numbers = [int(value * whole) for value in values]
    if len(set(numbers)) == 1:
        return None
    weight, at = max(_weights(numbers, segment), key=lambda one: one[0])
    between = squares(values) - squares(values[:at]) - squares(values[at:])
    places = [Fraction(place) for place in range(len(values))]
    by_a_line = products(places, values) ** 2 / squares(places)
    return Split(
        at=at,
        before=mean(values[:at]),
        after=mean(values[at:]),
        chance=_chance(numbers, segment, weight, orders, stop_above),
        beats_a_line=between > by_a_line,
    )


def _weights(numbers: Sequence[int], segment: int) -> Iterator[tuple[Fraction, int]]:
    count, total = len(numbers), sum(numbers)
    for first, below in enumerate(accumulate(numbers), 1):
        if segment <= first <= count - segment:
            yield Fraction((count * below - first * total) ** 2, first * (count - first)), first


def _chance(
    numbers: Sequence[int], segment: int, weight: Fraction, orders: int, stop_above: Fraction
) -> Fraction:
    """Random orders come from the one generator function that Python keeps as it is for ever."""
    draw = Random(_SEED).random  # noqa: S311  nothing secret is drawn
    count, total = len(numbers), sum(numbers)
    bar = [
        weight.numerator * first * (count - first) if segment <= first <= count - segment else None
        for first in range(count + 1)
    ]
    enough = math.ceil(stop_above * (orders + 1))
    reached = 0
    for done in range(1, orders + 1):
        shuffled = sorted(numbers, key=lambda _: draw())
        reached += _reaches(shuffled, total, bar, weight.denominator)
        if reached > enough:
            return Fraction(reached, done)
    return Fraction(reached + 1, orders + 1)


def _reaches(
    numbers: Sequence[int], total: int, bar: Sequence[int | None], denominator: int
) -> bool:
    """Whether some split weighs as much: `_weights` in whole numbers, up to the first."""
    count = len(numbers)
    for first, below in enumerate(accumulate(numbers), 1):
        least = bar[first]
        if least is not None and (count * below - first * total) ** 2 * denominator >= least:
            return True
    return False


def _judge(series: Series, parameters: Parameters) -> Judgement:
    least, segment = parameters.whole("least"), parameters.whole("segment")
    count = len(series.points)
    if count < max(least, 2 * segment):
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{ratings(count)}: a change point needs at least {max(least, 2 * segment)}.",
        )
    level = parameters.number("p")
    found = best_split(series.values, segment, parameters.whole("orders"), level)
    if found is None:
        return decline(Why.NO_VARIANCE, "The ratings do not differ.")
    figures = {
        "mean_before": text(found.before),
        "mean_after": text(found.after),
        "p": text(found.chance, 4),
    }
    if found.chance > level:
        says = "No change of level stands out from what chance finds in random order."
        return Judgement(says=says, figures=figures)
    if not found.beats_a_line:
        says = "A straight line fits as well as two levels: no change point is told from a trend."
        return Judgement(says=says, figures=figures)
    worse = series.worsening(found.before, found.after) > 0
    says = (
        f"From {series.place(found.at)} on the level is {plain(found.after)}, "
        f"before it was {plain(found.before)}."
    )
    finding = Finding(
        found.at,
        Kind.CHANGE_POINT,
        worse,
        says,
        figures,
        rests_on=tuple(at for at in range(count) if at != found.at),
    )
    return Judgement(says=says, findings=(finding,), figures=figures)


CHANGE_POINT = Method[Series](
    name="change-point",
    version="1.0",
    title="Change point",
    asks="Looking back: did the level change once, and where?",
    sources=(
        "Hawkins 1977, Journal of the American Statistical Association 72, 180-186: the largest "
        "split of a series in two levels",
        "Besag & Clifford 1991, Biometrika 78(2), 301-304: permutation tests that stop early",
    ),
    judge=_judge,
    specs=(
        Spec(
            "p",
            Fraction("0.05"),
            "the largest share of random orders that may split as far",
            "convention",
            operator="<=",
            above=Fraction(0),
            most=Fraction(1, 2),
        ),
        Spec(
            "least",
            Fraction(8),
            "how many ratings are needed",
            "product",
            least=Fraction(8),
            whole=True,
        ),
        Spec(
            "segment",
            Fraction(3),
            "how many ratings a segment needs",
            "product",
            least=Fraction(3),
            whole=True,
        ),
        Spec(
            "orders",
            Fraction(1999),
            "how many random orders are drawn at most",
            "product",
            least=Fraction(99),
            most=Fraction(99_999),
            whole=True,
        ),
    ),
    retrospective=True,
)
