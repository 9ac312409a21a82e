"""T-scores of Goal Attainment Scaling, and the change of goal-based outcomes."""

from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.attainment import (
    CorrelationOutOfRange,
    GoalCountWrong,
    GoalRatingOutOfRange,
    NoGoals,
    WeightNotPositive,
    attainment,
    goal_change,
)

LEVELS = st.lists(st.integers(-2, 2), min_size=1, max_size=8)


@pytest.mark.parametrize(
    "scores,weights,t",
    [
        # Σwx = 1, Σw² = 6, (Σw)² = 16: 50 + 10/√(0.7·6 + 0.3·16) = 50 + 10/3
        ([1, 0, -1], [2, 1, 1], "53.33"),
        ([0, 0, 0, 0], None, "50.00"),
        ([1], None, "60.00"),
        ([-2], [5], "30.00"),
        # three equal weights: √(0.7·3 + 0.3·9) = √4.8
        ([2, 2, 2], None, "77.39"),
        ([1, 1, 1], [1, 1, 1], "63.69"),
        ([-1, -1], None, "37.60"),
        ([2, -2], [1, 1], "50.00"),
        # weights as shares of a hundred: 300/√(0.7·3800 + 0.3·10000); their size cancels out
        ([1, 2, -1], [20, 30, 50], "53.99"),
        ([1, 2, -1], [2, 3, 5], "53.99"),
        ([1, 1, 1, 1], None, "64.51"),
        ([-2, -2, -2], None, "22.61"),
        # decimals as people write them: 1.5/√(0.7·2.5 + 0.3·4)
        (["1", 0], ["1.5", "0.5"], "58.73"),
    ],
)
def test_t_is_that_of_kiresuk_and_sherman(
    scores: list[Any], weights: list[Any] | None, t: str
) -> None:
    """Rule 26: T = 50 + 10 Σwx / √((1−ρ)Σw² + ρ(Σw)²), with ρ 0.3 (Kiresuk & Sherman 1968)."""
    reached = attainment(scores, weights)
    assert reached.text == t
    assert reached.rho == Decimal("0.3")
    assert reached.is_expected == (t == "50.00")


@pytest.mark.parametrize(
    "rho,t", [("0", "64.14"), ("1", "60.00"), (0.5, "61.55"), ("0.3", "62.40")]
)
def test_rho_is_what_goals_are_assumed_to_have_in_common(rho: Any, t: str) -> None:
    """Rule 26: two goals at +1: 50 + 20/√(2(1−ρ) + 4ρ)."""
    assert attainment([1, 1], rho=rho).text == t


def test_a_goal_that_is_not_rated_is_in_no_sum() -> None:
    """Rule 30: not rated is not zero, neither above the line nor below it (gasr, na.rm)."""
    reached = attainment([1, None, -1, ""], [2, 7, 1, 3])
    assert reached.t == attainment([1, -1], [2, 1]).t
    assert reached.t != attainment([1, 0, -1, 0], [2, 7, 1, 3]).t
    assert (reached.goals, reached.missing) == ((1, 3), (2, 4))


@given(levels=LEVELS, weights=st.lists(st.integers(1, 9), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_t_mirrors_around_fifty(levels: list[int], weights: list[int]) -> None:
    """Rule 26: opposite attainment lies as far on the other side; weights are relative."""
    weights = weights[: len(levels)]
    t = attainment(levels, weights).t
    mirrored = attainment([-level for level in levels], weights).t
    assert abs(t + mirrored - 100) < Decimal("1e-20")
    doubled = attainment(levels, [2 * weight for weight in weights]).t
    assert abs(t - doubled) < Decimal("1e-20")
    gained = sum(w * x for w, x in zip(weights, levels, strict=True))
    squares = 0.7 * sum(w * w for w in weights) + 0.3 * sum(weights) ** 2
    assert abs(float(t) - (50 + 10 * gained / sqrt(squares))) < 1e-9


@pytest.mark.parametrize("level", [3, -3, 0.5, "x", True, "1e2", 10**30, Decimal("1E+999999999")])
def test_levels_run_from_minus_two_to_two(level: Any) -> None:
    """Rule 26: what is off the scale is refused by its place, and not repeated."""
    with pytest.raises(GoalRatingOutOfRange) as error:
        attainment([0, level])
    assert error.value.detail == "GAS: score of goal 2: a whole number from -2 to 2, or null."


@pytest.mark.parametrize("weight", [0, -1, None, "x", True, Decimal("1E-999999999"), "1e9"])
def test_weights_lie_above_zero(weight: Any) -> None:
    """Rule 26: a goal without weight would be no goal."""
    with pytest.raises(WeightNotPositive, match="weight of goal 2: a number above 0"):
        attainment([1, 1], [1, weight])


def test_lists_must_fit_each_other() -> None:
    """Rule 30: one weight and one rating for each goal, and at least one goal rated."""
    with pytest.raises(GoalCountWrong, match="2 goals and 1 weights"):
        attainment([1, 1], [1])
    with pytest.raises(GoalCountWrong, match="2 goals and 3 last ratings"):
        goal_change([1, 1], [1, 1, 1])
    for nothing in ([], [None, " "]):
        with pytest.raises(NoGoals):
            attainment(nothing)
    with pytest.raises(NoGoals, match="first rating"):
        goal_change([], [])


@pytest.mark.parametrize("rho", [-0.1, 1.1, "x", "nan", None.__class__])
def test_rho_is_a_correlation(rho: Any) -> None:
    """Rule 26: from 0 to 1."""
    with pytest.raises(CorrelationOutOfRange):
        attainment([1], rho=rho)


def test_goals_move_each_by_itself_and_on_the_mean() -> None:
    """Rule 26: Law 2011: last less first, over the goals rated both times."""
    moved = goal_change([2, 3, None, 1], [6, 5, 9, None])
    assert moved.changes == (4, 2, None, None)
    assert (moved.mean, moved.text, moved.missing) == (Fraction(3), "3.00", (3, 4))
    ((threshold, met),) = moved.reliable
    assert (str(threshold.value), threshold.operator, met) == ("2.45", ">=", True)
    assert not goal_change([2, 2, 2], [4, 4, 5]).reliable[0][1]
    nothing = goal_change([None], [3])
    assert (nothing.mean, nothing.text, nothing.reliable) == (None, None, ())


@pytest.mark.parametrize("rating", [11, -1, 2.5, "ten"])
def test_goal_ratings_run_from_zero_to_ten(rating: Any) -> None:
    """Rule 26: what is off the scale is refused by its list and place."""
    with pytest.raises(GoalRatingOutOfRange, match=r"last rating of goal 1: .* from 0 to 10"):
        goal_change([1], [rating])
