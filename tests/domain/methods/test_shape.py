"""Shape: level, line or curve, exactly fitted; not distinguishable is a result."""

import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from domain.methods.card import Outcome, Why
from domain.methods.series import Series
from domain.methods.shape import SHAPE, fits
from tests.domain.methods.lines import line, point


@pytest.mark.parametrize("seed", range(6))
def test_fits_agree_with_numpy(seed: int) -> None:
    """Requirement: coefficients, residuals and AICc agree with polyfit."""
    rng = Random(seed)  # noqa: S311  invented numbers
    count = rng.randint(6, 25)
    places = sorted(rng.sample(range(1, 60), count))
    values = [rng.randint(0, 400) / 10 for _ in places]
    exact = [Fraction(str(value)) for value in values]
    for fit in fits([Fraction(place) for place in places], exact):
        coefficients = np.polyfit(np.array(places) - np.mean(places), values, fit.degree)
        left = values - np.polyval(coefficients, np.array(places) - np.mean(places))
        unexplained = float((left**2).sum())
        estimated = fit.degree + 2
        aicc = (
            count * math.log(unexplained / count)
            + 2 * estimated
            + 2 * estimated * (estimated + 1) / (count - estimated - 1)
        )
        assert float(fit.leading) == pytest.approx(coefficients[0], rel=1e-6, abs=1e-9)
        assert float(fit.unexplained) == pytest.approx(unexplained, rel=1e-6)
        assert fit.aicc == pytest.approx(aicc, rel=1e-6)


@pytest.mark.parametrize(
    "values, shape",
    [
        ((30, 31, 30, 31, 30, 31, 30, 31), "level"),
        ((20, "21.1", "21.9", 23, "24.2", "24.9", 26, 27), "linear"),
        ((30, 25, 22, 21, 22, "25.2", 30, 37), "quadratic"),
        ((30, 31, 33, 31, 34, 32, 33, 34), "not-distinguishable"),
        ((1, 2, 3, 4), "linear"),
        ((5, 5, 5, 5), "level"),
        ((1, 4, 9, 16, 25, 36), "quadratic"),
    ],
)
def test_a_shape_is_named_only_where_it_stands_out(
    values: tuple[int | str, ...], shape: str
) -> None:
    """Rule 38: a shape is told if every simpler one is clearly worse; else that is the result."""
    card = SHAPE.card(line(*values))
    assert card.figures["shape"] == shape
    assert card.outcome is Outcome.DESCRIBED


def test_the_slope_is_by_session_and_says_which_way_is_better() -> None:
    """Rule 38: sessions without a rating leave their place on the axis."""
    card = SHAPE.card(line(20, None, None, 26, 28, None, 32))
    assert card.figures["slope"] == "2"
    assert card.says.endswith("it rises by 2 a session, to the better.")
    arch = SHAPE.card(line(*(-((n - 4) ** 2) + 30 for n in range(1, 8))))
    assert "an arch" in arch.says


def test_between_sessions_the_order_is_the_axis() -> None:
    """Rule 38: where a session has no number the ratings stand in their order."""
    points = [point(n, v, session=None) for n, v in ((1, 20), (4, 22), (5, 24), (9, 26))]
    assert SHAPE.card(Series.of(points)).figures["slope"] == "2"


def test_too_few_ratings_have_no_shape() -> None:
    """Rule 38: a line needs four ratings, a curve six."""
    declined = SHAPE.card(line(1, 2, 3)).declined
    assert declined is not None
    assert declined.code is Why.NOT_ENOUGH_DATA
    assert "quadratic_sse" not in SHAPE.card(line(1, 3, 2, 4, 5)).figures
    assert SHAPE.card(line(1, 3, 2, 4, 5)).notes
    assert "quadratic_sse" in SHAPE.card(line(1, 3, 2, 4, 5, 5)).figures
    assert SHAPE.card(line(1, 3, 2, 5)).figures["shape"] == "not-distinguishable"
