"""Attainment of goals: T-scores of Goal Attainment Scaling, change of Goal-Based Outcomes.

GAS (Kiresuk & Sherman 1968): T = 50 + 10·Σwx / √((1−ρ)·Σw² + ρ·(Σw)²), over goals rated from −2 to
+2 with weights w; ρ is the correlation that goals are assumed to have, 0.3 by convention. GBO: what
each goal moved from its first to its last rating, 0 to 10, and the mean of it. A goal that was not
rated drops out of every sum; it is never zero. The constants come from the procedures' own files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from domain.answers import exact_number, is_blank, quoted
from domain.definition import Threshold
from domain.event import Refusal
from domain.instrument import Procedure, procedures

# The root is irrational: 30 digits are carried, and two decimals shown.
_EXACT = Context(prec=30, rounding=ROUND_HALF_EVEN)


# --- Refusals -------------------------------------------------------------------------------


class NoGoals(Refusal):
    rule = 30
    status = 422
    says = "{instrument}: no goal is rated; give at least one {what}."


class GoalCountWrong(Refusal):
    rule = 30
    status = 422
    says = (
        "{instrument}: {goals} goals and {got} {what}: give one for each goal, in the same order."
    )


class GoalRatingOutOfRange(Refusal):
    """`what` names the list, `goal` counts in it from 1; what was sent is not repeated."""

    rule = 26
    status = 422
    says = "{instrument}: {what} of goal {goal}: a whole number from {low} to {high}, or null."


class WeightNotPositive(Refusal):
    rule = 26
    status = 422
    says = "GAS: weight of goal {goal}: a number above 0."


class CorrelationOutOfRange(Refusal):
    rule = 26
    status = 422
    says = "GAS: rho is a correlation: from 0 to 1, not {rho}."


# --- Goal Attainment Scaling ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attainment:
    """A T-score and what it was made of. `t` has 30 significant digits; `text` two decimals."""

    t: Decimal
    rho: Decimal
    goals: tuple[int, ...]
    """Numbers of the goals that were rated, from 1."""
    missing: tuple[int, ...]
    """Numbers of the goals that were not; they are in no sum."""

    @property
    def count(self) -> int:
        """How many goals there are, rated or not."""
        return len(self.goals) + len(self.missing)

    @property
    def text(self) -> str:
        return f"{self.t.quantize(Decimal('0.01'), ROUND_HALF_EVEN):f}"

    @property
    def is_expected(self) -> bool:
        """Whether the goals together were met exactly as expected: T is 50."""
        return self.t == _constant("expected")


def attainment(
    scores: Sequence[object],
    weights: Sequence[object] | None = None,
    *,
    rho: object = None,
) -> Attainment:
    """The T-score of goals rated −2 … +2, or null; without weights, of equal ones.

    Refuses ratings off the scale, weights that are not above 0, a rho outside 0 … 1, lists of
    different length, and a list in which nothing is rated.
    """
    levels = _ratings("GAS", "score", scores)
    weighed = _weights([1] * len(levels) if weights is None else weights, len(levels))
    correlation = _rho(_constant("rho") if rho is None else rho)
    rated = [
        (weight, level) for weight, level in zip(weighed, levels, strict=True) if level is not None
    ]
    if not rated:
        raise NoGoals(instrument="GAS", what="score")
    gained = sum((weight * level for weight, level in rated), Fraction(0))
    squares = sum((weight**2 for weight, _ in rated), Fraction(0))
    squared = sum((weight for weight, _ in rated), Fraction(0)) ** 2
    spread = (1 - correlation) * squares + correlation * squared
    shift = _EXACT.divide(_decimal(gained), _EXACT.sqrt(_decimal(spread)))
    t = _EXACT.add(_constant("expected"), _EXACT.multiply(_constant("spread"), shift))
    return Attainment(
        t=t,
        rho=_decimal(correlation),
        goals=tuple(n for n, level in enumerate(levels, 1) if level is not None),
        missing=tuple(n for n, level in enumerate(levels, 1) if level is None),
    )


def _weights(given: Sequence[object], goals: int) -> list[Fraction]:
    if len(given) != goals:
        raise GoalCountWrong(instrument="GAS", goals=goals, got=len(given), what="weights")
    weights: list[Fraction] = []
    for number, weight in enumerate(given, 1):
        exact = exact_number(weight)
        if exact is None or not _is_plain(exact) or exact <= 0:
            raise WeightNotPositive(goal=number)
        weights.append(Fraction(exact))
    return weights


def _rho(given: object) -> Fraction:
    exact = exact_number(given)
    if exact is None or not _is_plain(exact) or not 0 <= exact <= 1:
        raise CorrelationOutOfRange(rho=quoted(given))
    return Fraction(exact)


def _is_plain(exact: Decimal) -> bool:
    """Whether it is of a size that people write: no fraction of a billion digits."""
    return abs(int(exact.as_tuple().exponent)) <= 20 and abs(exact) < 10**15


def _decimal(value: Fraction) -> Decimal:
    return _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))


def _constant(name: str) -> Decimal:
    return procedures()["GAS"].constants[name].value


# --- Goal-Based Outcomes --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far goals moved: by goal, and on the mean of those rated both times."""

    changes: tuple[int | None, ...]
    mean: Fraction | None
    """None where no goal was rated both times."""
    reliable: tuple[tuple[Threshold, bool], ...]
    """Published thresholds of change, and whether the mean reaches them."""
    missing: tuple[int, ...]
    """Numbers of the goals that were not rated both times."""

    @property
    def text(self) -> str | None:
        return None if self.mean is None else f"{Decimal(round(self.mean * 100)).scaleb(-2):f}"


def goal_change(first: Sequence[object], last: Sequence[object]) -> Outcome:
    """The change of goals rated 0 … 10, or null, at a first and a last time, in the same order."""
    began, ended = _ratings("GBO", "first rating", first), _ratings("GBO", "last rating", last)
    if len(began) != len(ended):
        raise GoalCountWrong(
            instrument="GBO", goals=len(began), got=len(ended), what="last ratings"
        )
    changes = tuple(
        None if start is None or end is None else end - start
        for start, end in zip(began, ended, strict=True)
    )
    moved = [change for change in changes if change is not None]
    mean = Fraction(sum(moved), len(moved)) if moved else None
    thresholds = procedures()["GBO"].changes
    return Outcome(
        changes=changes,
        mean=mean,
        reliable=() if mean is None else tuple((one, one.met(mean)) for one in thresholds),
        missing=tuple(n for n, change in enumerate(changes, 1) if change is None),
    )


# --- Ratings of goals -----------------------------------------------------------------------

_SCALES = {"GAS": "attainment", "GBO": "progress"}


def _ratings(instrument: str, what: str, given: Sequence[object]) -> list[int | None]:
    procedure: Procedure = procedures()[instrument]
    scale = procedure.ratings[_SCALES[instrument]]
    if not given:
        raise NoGoals(instrument=instrument, what=what)
    ratings: list[int | None] = []
    for number, rating in enumerate(given, 1):
        exact = None if is_blank(rating) else exact_number(rating)
        # The bounds come first: they keep 1E+999999999 from becoming an integer of that length.
        fits = (
            exact is not None and scale.min <= exact <= scale.max and exact == exact.to_integral()
        )
        if not (fits or is_blank(rating)):
            raise GoalRatingOutOfRange(
                instrument=instrument, what=what, goal=number, low=scale.min, high=scale.max
            )
        ratings.append(None if exact is None else int(exact))
    return ratings
