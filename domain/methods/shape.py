"""Shape: level, a line or a curve, by least squares and the corrected information criterion.

Polynomials of degree 0, 1 and 2 over the centred session number are fitted exactly and weighed by
AICc = n · ln(SSE / n) + 2K + 2K(K + 1) / (n − K − 1), K counting the coefficients and the error
variance. A line needs four ratings and a parabola six. A shape is named only if every simpler one
lies more than `margin` above it; otherwise it is *not distinguishable*, and that is the result.

Retrospective: every rating is weighed together with those after it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from domain.methods.card import Judgement, Method, Parameters, Spec, Why, decline
from domain.methods.numbers import mean, ratings, text
from domain.methods.series import Better, Series

NEEDED = {1: 4, 2: 6}
"""Ratings that a degree needs."""


class Form(StrEnum):
    LEVEL = "level"
    LINEAR = "linear"
    QUADRATIC = "quadratic"
    NOT_DISTINGUISHABLE = "not-distinguishable"


_NAMED = (Form.LEVEL, Form.LINEAR, Form.QUADRATIC)


@dataclass(frozen=True, slots=True)
class Fit:
    """A polynomial by least squares over centred x."""

    degree: int
    leading: Fraction
    """The coefficient of the highest power: the mean, the slope per session, the bend."""
    unexplained: Fraction
    """The sum of squared residuals."""
    aicc: float | None
    """None: there are too few ratings for it, or none are left unexplained."""


def fits(places: Sequence[Fraction], values: Sequence[Fraction]) -> tuple[Fit, ...]:
    """The fits that so many ratings allow, of rising degree, each exact.

    Each power is made orthogonal to those below it, so that a fit is the one before and a term.
    """
    centre = mean(places)
    centred = [place - centre for place in places]
    powers: list[list[Fraction]] = []
    unexplained = _dot(values, values)
    found = []
    for degree in range(3):
        if len(values) < NEEDED.get(degree, 1) or len(set(centred)) <= degree:
            break
        power = [place**degree for place in centred]
        for lower in powers:
            share = _dot(power, lower) / _dot(lower, lower)
            power = [one - share * other for one, other in zip(power, lower, strict=True)]
        powers.append(power)
        leading = _dot(values, power) / _dot(power, power)
        unexplained -= leading * _dot(values, power)
        found.append(Fit(degree, leading, unexplained, _aicc(len(values), unexplained, degree + 2)))
    return tuple(found)


def _dot(one: Sequence[Fraction], other: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(one, other, strict=True)), Fraction(0))


def _aicc(count: int, unexplained: Fraction, estimated: int) -> float | None:
    if unexplained == 0 or count - estimated - 1 <= 0:
        return None
    spread = unexplained / count
    logarithm = math.log(spread.numerator) - math.log(spread.denominator)
    penalty = 2 * estimated + 2 * estimated * (estimated + 1) / (count - estimated - 1)
    return count * logarithm + penalty


def best(found: Sequence[Fit], margin: Fraction) -> Fit | None:
    """The fit that stands out; None: it cannot be told from a simpler one."""
    for fit in found:
        if fit.unexplained == 0:
            return fit  # it goes through every point; a higher power adds nothing
    weighed = [(fit.aicc, fit) for fit in found if fit.aicc is not None]
    if len(weighed) < 2:
        return None  # there is nothing to tell it from
    lowest, chosen = min(weighed, key=lambda one: one[0])
    simpler = [aicc for aicc, fit in weighed if fit.degree < chosen.degree]
    return chosen if all(aicc > lowest + margin for aicc in simpler) else None


def _judge(series: Series, parameters: Parameters) -> Judgement:
    count = len(series.points)
    if count < NEEDED[1]:
        return decline(Why.NOT_ENOUGH_DATA, f"{ratings(count)}: a shape needs {NEEDED[1]} or more.")
    found = fits(places_of(series), series.values)
    chosen = best(found, parameters.number("margin"))
    form = Form.NOT_DISTINGUISHABLE if chosen is None else _NAMED[chosen.degree]
    figures = {"shape": str(form)}
    for fit in found:
        name = _NAMED[fit.degree]
        figures[f"{name}_sse"] = text(fit.unexplained)
        if fit.aicc is not None:
            figures[f"{name}_aicc"] = text(fit.aicc)
    if chosen is not None and chosen.degree:
        figures["slope" if chosen.degree == 1 else "bend"] = text(chosen.leading)
    notes: tuple[str, ...] = ()
    if count < NEEDED[2]:
        notes = (f"{ratings(count)}: a curve needs at least {NEEDED[2]} and was not tried.",)
    return Judgement(says=_sentence(series, chosen), figures=figures, notes=notes)


def places_of(series: Series) -> tuple[Fraction, ...]:
    """Where the ratings stand: session numbers, or their order where a number is missing."""
    numbers = [point.session for point in series.points]
    if any(number is None for number in numbers):
        return tuple(map(Fraction, range(1, len(numbers) + 1)))
    return tuple(Fraction(number or 0) for number in numbers)


def _sentence(series: Series, chosen: Fit | None) -> str:
    if chosen is None:
        return "The ratings do not tell one shape from another."
    if chosen.degree == 0:
        return "A level line describes the ratings best; no trend stands out from their scatter."
    if chosen.degree == 1:
        rising = chosen.leading > 0
        better = rising == (series.better is Better.HIGHER)
        way, slope = "rises" if rising else "falls", text(abs(chosen.leading), 3)
        return (
            f"A straight line describes the ratings best: it {way} by {slope} a session, "
            f"to the {'better' if better else 'worse'}."
        )
    bend = "high, low, high (a U)" if chosen.leading > 0 else "low, high, low (an arch)"
    return f"A curve describes the ratings best: {bend}."


SHAPE = Method[Series](
    name="shape",
    version="1.0",
    title="Shape of the course",
    asks="Looking back: is the course level, a line or a curve?",
    sources=(
        "Burnham & Anderson 2002, Model Selection and Multimodel Inference: AICc, the error "
        "variance counted; models within 2 of the lowest have substantial support",
    ),
    judge=_judge,
    specs=(
        Spec(
            "margin",
            Fraction(2),
            "by how much the AICc of every simpler shape must lie above",
            "Burnham & Anderson 2002",
            operator=">",
            least=Fraction(0),
        ),
    ),
    retrospective=True,
    detects=False,
)
