"""Numbers: exact as far as a formula is rational, and held to scipy where it is not."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from domain.methods import numbers

WHOLE = st.integers(-1000, 1000)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 7, 8, 10, 19, 40, 97, 200])
@pytest.mark.parametrize("share", [0.6, 0.9, 0.95, 0.975, 0.995, 0.9995])
def test_students_t_is_that_of_scipy(freedom: int, share: float) -> None:
    """Requirement: what we compute ourselves agrees with an independent computation."""
    found = numbers.students_t(share, freedom)
    assert found == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9)


@settings(max_examples=60)
@given(st.lists(WHOLE, min_size=2, max_size=30), st.data())
def test_sums_are_those_of_numpy(values: list[int], data: st.DataObject) -> None:
    """Requirement: mean, variance and covariance agree with an independent computation."""
    other = data.draw(st.lists(WHOLE, min_size=len(values), max_size=len(values)))
    exact, beside = [Fraction(one) for one in values], [Fraction(one) for one in other]
    assert float(numbers.mean(exact)) == pytest.approx(np.mean(values))
    assert float(numbers.variance(exact)) == pytest.approx(np.var(values, ddof=1))
    covariance = np.cov(values, other)[0, 1] * (len(values) - 1)
    assert float(numbers.products(exact, beside)) == pytest.approx(covariance, abs=1e-6)


def test_a_root_is_exact_to_forty_digits() -> None:
    """House rule: no floats; a root is decimal text of as many digits as anybody needs."""
    assert numbers.root(Fraction(9, 4)) == Decimal("1.5")
    assert str(numbers.root(Fraction(2))).startswith("1.41421356237309504880168872420969807857")
    assert numbers.over_root(Fraction(-3), Fraction(4)) == Decimal("-1.5")


def test_a_comparison_with_a_root_is_exact() -> None:
    """Rule 38: must exceed, not equal: by squares, where floats would have to guess."""
    root_of_two = Fraction("1.4142135623730950488")
    assert not numbers.exceeds(root_of_two, Fraction(2))
    assert numbers.exceeds(root_of_two + Fraction(1, 10**19), Fraction(2))
    assert not numbers.exceeds(Fraction(3), Fraction(9))
    assert numbers.reaches(Fraction(3), Fraction(9))
    assert not numbers.exceeds(Fraction(-3), Fraction(1))
    assert not numbers.reaches(Fraction(-3), Fraction(1))
    assert numbers.reaches(Fraction(0), Fraction(0))


@pytest.mark.parametrize(
    "value, shown",
    [
        (Fraction(1, 3), "0.333333"),
        (Fraction(36), "36"),
        (Fraction(100), "100"),
        (Fraction("34.50"), "34.5"),
        (Fraction(-1, 10**9), "0"),
        (Fraction("0.0000005"), "0"),
        (Fraction("0.0000015"), "0.000002"),
        (Fraction(10**30), "1" + "0" * 30),
        (0.1, "0.1"),
        (Decimal("2.50"), "2.5"),
    ],
)
def test_numbers_leave_as_plain_decimal_text(value: Fraction | Decimal, shown: str) -> None:
    """House rule: figures are decimal text, rounded half to even, never in powers of ten."""
    assert numbers.text(value) == shown


def test_ratings_are_counted_in_english() -> None:
    """Rule 44: what is shown to people reads as a sentence."""
    assert [numbers.ratings(n) for n in (0, 1, 2)] == ["0 ratings", "1 rating", "2 ratings"]
