"""Change point: the best split, what chance would find, and what a trend explains as well."""

from fractions import Fraction
from itertools import permutations
from random import Random

import numpy as np
import pytest
from scipy import stats

from domain.methods.card import Outcome, Why
from domain.methods.change_point import CHANGE_POINT, Split, best_split
from tests.domain.methods.lines import line

STEP = (36, 37, 35, 36, 30, 29, 31, 30)


def split(values: tuple[int, ...], orders: int = 1999) -> Split:
    found = best_split(tuple(map(Fraction, values)), 3, orders, Fraction(1, 20))
    assert found is not None
    return found


def between(values: list[int] | tuple[int, ...], segment: int = 3) -> tuple[float, int]:
    """The largest two-sample t² over all splits, and where: scipy's, not ours."""
    tests = [
        (stats.ttest_ind(values[:at], values[at:]).statistic ** 2, at)
        for at in range(segment, len(values) - segment + 1)
    ]
    return max(tests)


@pytest.mark.parametrize("seed", range(8))
def test_the_split_is_where_students_t_is_largest(seed: int) -> None:
    """Requirement: the split agrees with a search by scipy's t test."""
    rng = Random(seed)  # noqa: S311  invented numbers
    values = tuple(rng.randint(20, 40) - (8 if n > 7 else 0) for n in range(14))
    assert split(values, 99).at == between(values)[1]


def test_the_share_of_random_orders_is_that_of_all_orders() -> None:
    """Requirement: the permutation p agrees with going through all 40,320 orders."""
    values = np.array(STEP)
    orders = np.array(list(permutations(range(8))))
    sums = values[orders].cumsum(axis=1)
    sizes = np.array([3, 4, 5])
    weights = (8 * sums[:, sizes - 1] - sizes * values.sum()) ** 2 / (sizes * (8 - sizes))
    observed = weights[0].max()
    exact = float((weights.max(axis=1) >= observed - 1e-9).mean())
    assert float(split(STEP, 9999).chance) == pytest.approx(exact, abs=0.006)


def test_a_change_of_level_is_found_where_it_was() -> None:
    """Rule 38: the first rating of the new level is named; the card says it looks back."""
    card = CHANGE_POINT.card(line(*STEP))
    assert card.retrospective
    (finding,) = card.findings
    assert (finding.at, finding.flagged) == (4, True)
    assert finding.says == "From session 5 on the level is 30, before it was 36."


def test_a_change_to_the_better_is_told_and_not_flagged() -> None:
    """Rule 44: what got better is no concern."""
    card = CHANGE_POINT.card(line(*reversed(STEP)))
    assert card.outcome is Outcome.NOT_FLAGGED
    assert len(card.findings) == 1


def test_a_steady_trend_is_no_change_point() -> None:
    """Rule 38: where a straight line leaves less unexplained, no change of level is claimed."""
    card = CHANGE_POINT.card(line(*range(36, 20, -1)))
    assert not card.findings
    assert "straight line" in card.says


def test_scatter_is_rarely_called_a_change() -> None:
    """Rule 38: of random series about one in twenty is called a change at the 5 % level."""
    rng = Random(20260105)  # noqa: S311  invented numbers
    called = sum(
        split(tuple(rng.randint(20, 40) for _ in range(12)), 399).chance <= Fraction(1, 20)
        for _ in range(200)
    )
    assert 2 <= called <= 20


def test_the_same_series_always_gets_the_same_answer() -> None:
    """Rule 37: a derived result is reproducible, to the digit."""
    assert CHANGE_POINT.card(line(*STEP)) == CHANGE_POINT.card(line(*STEP))
    assert split((36, 31, 35, 29, 34, 33, 30, 32)).chance > Fraction(1, 20)


@pytest.mark.parametrize(
    "values, why", [(STEP[:7], Why.NOT_ENOUGH_DATA), ((30,) * 9, Why.NO_VARIANCE)]
)
def test_it_declines(values: tuple[int, ...], why: Why) -> None:
    """Rule 38: fewer than eight ratings, or ratings that never differ, support no answer."""
    declined = CHANGE_POINT.card(line(*values)).declined
    assert declined is not None
    assert declined.code is why
