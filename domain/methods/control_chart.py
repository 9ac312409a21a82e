"""Control chart for individuals (Shewhart): is a rating outside what the first ones lead to expect?

    CL = mean of the baseline     limits = CL ± 2.66 · MR̄

MR̄ is the mean of the moving ranges |x(i) − x(i−1)| within the baseline, the first five or more
ratings; 2.66 is 3 / 1.128, three estimated standard deviations. Only ratings after the baseline are
judged, and only the worse side is flagged.
"""

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from domain.methods.card import Finding, Judgement, Kind, Method, Parameters, Spec, Why, decline
from domain.methods.numbers import mean, plain, ratings, text
from domain.methods.series import Better, Series


class Limits(NamedTuple):
    """The chart's three lines and the mean moving range."""

    lower: Fraction
    centre: Fraction
    upper: Fraction
    moving_range: Fraction


def limits_of(baseline: tuple[Fraction, ...], factor: Fraction) -> Limits:
    """The limits by a baseline of at least two values."""
    centre = mean(baseline)
    moving_range = mean([abs(later - earlier) for earlier, later in pairwise(baseline)])
    return Limits(
        centre - factor * moving_range, centre, centre + factor * moving_range, moving_range
    )


def _judge(series: Series, parameters: Parameters) -> Judgement:
    size = parameters.whole("baseline")
    count = len(series.points)
    if count <= size:
        return decline(
            Why.NOT_ENOUGH_DATA,
            f"{ratings(count)}: the baseline takes {size}, and at least one after it is judged.",
        )
    limits = limits_of(series.values[:size], parameters.number("factor"))
    figures = {
        "lower": text(limits.lower),
        "centre": text(limits.centre),
        "upper": text(limits.upper),
        "mean_moving_range": text(limits.moving_range),
    }
    baseline = tuple(
        Finding(at, Kind.BASELINE, False, "Part of the baseline.") for at in range(size)
    )
    if limits.moving_range == 0:
        return decline(
            Why.NO_VARIANCE,
            "The ratings of the baseline do not differ, so there are no limits.",
            figures=figures,
            findings=baseline,
        )
    beyond = _off_the_scale(series, limits)
    if beyond:
        return decline(Why.LIMITS_UNINFORMATIVE, beyond, figures=figures, findings=baseline)
    judged = tuple(_finding(series, at, limits, size) for at in range(size, count))
    flagged = sum(finding.flagged for finding in judged)
    side = "below" if series.better is Better.HIGHER else "above"
    known = series.low if series.better is Better.HIGHER else series.high
    return Judgement(
        says=f"{flagged} of {ratings(len(judged))} after the baseline "
        f"{'lies' if flagged == 1 else 'lie'} {side} the limits.",
        findings=baseline + judged,
        figures=figures,
        notes=()
        if known is not None
        else ("The scale's end is not known, so it was not checked whether a limit lies off it.",),
    )


def _off_the_scale(series: Series, limits: Limits) -> str:
    """Why no rating could ever lie outside on the worse side; empty: one could."""
    if series.better is Better.HIGHER and series.low is not None and limits.lower < series.low:
        return (
            f"The lower limit, {plain(limits.lower)}, lies below the scale's minimum, "
            f"{plain(series.low)}: no rating could lie outside it."
        )
    if series.better is Better.LOWER and series.high is not None and limits.upper > series.high:
        return (
            f"The upper limit, {plain(limits.upper)}, lies above the scale's maximum, "
            f"{plain(series.high)}: no rating could lie outside it."
        )
    return ""


def _finding(series: Series, at: int, limits: Limits, size: int) -> Finding:
    value = series.values[at]
    below, above = value < limits.lower, value > limits.upper
    flagged = below if series.better is Better.HIGHER else above
    where = "below the lower limit" if below else "above the upper limit" if above else "within"
    return Finding(
        at,
        Kind.OUTSIDE_LIMITS,
        flagged,
        f"{plain(value)} lies {where}" + (" the limits." if where == "within" else "."),
        {"value": text(value)},
        rests_on=tuple(range(size)),
    )


CONTROL_CHART = Method[Series](
    name="control-chart",
    version="1.0",
    title="Control chart for individuals",
    asks="Does a rating lie outside the limits that the baseline sets?",
    sources=(
        "Shewhart 1931, Economic Control of Quality of Manufactured Product; the individuals chart "
        "by moving ranges as in Montgomery, Introduction to Statistical Quality Control",
    ),
    judge=_judge,
    specs=(
        Spec(
            "baseline",
            Fraction(5),
            "how many first ratings make the baseline",
            "product: the fewest that are accepted",
            least=Fraction(5),
            whole=True,
        ),
        Spec(
            "factor",
            Fraction("2.66"),
            "mean moving ranges between the centre line and a limit",
            "3 / d2 with d2 = 1.128 for ranges of two",
            operator=">",
            above=Fraction(0),
        ),
    ),
)
