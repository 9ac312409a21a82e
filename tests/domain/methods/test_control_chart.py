"""Control chart: limits from a baseline, or the reason why there are none."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from domain.methods.card import Kind, Outcome, Why
from domain.methods.control_chart import CONTROL_CHART, limits_of
from domain.methods.series import Better
from tests.domain.methods.lines import line

FLOW = ("49.6", "47.6", "49.9", "51.3", "47.8", "51.2", "52.6", "52.4", "53.6", "52.1")
"""The flow rate of the NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.2."""


def test_the_worked_example_of_the_handbook() -> None:
    """Requirement: the handbook's x̄ 50.81, MR̄ 1.8778, limits 55.8041 and 45.8159."""
    limits = limits_of(tuple(map(Fraction, FLOW)), Fraction(3) / Fraction("1.128"))
    assert [round(float(one), 4) for one in limits] == [45.8159, 50.81, 55.8041, 1.8778]


def test_limits_agree_with_numpy() -> None:
    """Requirement: centre and limits agree with an independent computation."""
    values = [36.0, 37.5, 35.0, 36.5, 38.0, 30.0, 37.0]
    card = CONTROL_CHART.card(line(*map(Fraction, map(str, values))))
    moving = np.mean(np.abs(np.diff(values[:5])))
    expected = np.mean(values[:5]) + np.array([-1, 0, 1]) * 2.66 * moving
    found = [float(card.figures[name]) for name in ("lower", "centre", "upper")]
    assert found == pytest.approx(list(expected))
    assert [one.at for one in card.flagged] == [5]


def test_the_baseline_is_named_and_not_judged() -> None:
    """Rule 38: the card says which points are baseline; only later ones are judged."""
    card = CONTROL_CHART.card(line(36, 37, 20, 36, 38, 37), {"baseline": 5})
    assert [one.at for one in card.findings if one.kind is Kind.BASELINE] == [0, 1, 2, 3, 4]
    (judged,) = [one for one in card.findings if one.kind is Kind.OUTSIDE_LIMITS]
    assert judged.rests_on == (0, 1, 2, 3, 4)


def test_a_rating_on_the_limit_is_within_it() -> None:
    """Rule 38: beyond the limit, not on it."""
    baseline = (30, 32, 30, 32, 30)  # MR̄ 2, centre 30.8, lower 25.48
    assert sum(abs(b - a) for a, b in pairwise(baseline)) == 8
    assert not CONTROL_CHART.card(line(*baseline, "25.48")).flagged
    assert CONTROL_CHART.card(line(*baseline, "25.479999")).flagged


def test_the_better_side_is_told_and_not_flagged() -> None:
    """Rule 44: a rise is no possible rupture."""
    card = CONTROL_CHART.card(line(30, 31, 30, 31, 30, 39))
    assert card.outcome is Outcome.NOT_FLAGGED
    assert card.findings[-1].says == "39 lies above the upper limit."
    symptoms = CONTROL_CHART.card(line(10, 11, 10, 11, 10, 19, better=Better.LOWER))
    assert [one.at for one in symptoms.flagged] == [5]


@pytest.mark.parametrize(
    "values, bounds, why",
    [
        ((30, 31, 30, 31, 30), {}, Why.NOT_ENOUGH_DATA),
        ((30, 30, 30, 30, 30, 10), {}, Why.NO_VARIANCE),
        ((2, 6, 1, 7, 2, 1), {"low": Fraction(0)}, Why.LIMITS_UNINFORMATIVE),
        (
            (9, 4, 8, 3, 9, 1),
            {"high": Fraction(10), "better": Better.LOWER},
            Why.LIMITS_UNINFORMATIVE,
        ),
    ],
)
def test_a_chart_without_use_is_declined(
    values: tuple[int, ...], bounds: dict[str, Any], why: Why
) -> None:
    """Rule 38: too few ratings, no spread, or a limit off the scale: the card says so."""
    card = CONTROL_CHART.card(line(*values, **bounds))
    assert card.outcome is Outcome.REFUSED
    assert card.declined is not None
    assert card.declined.code is why


def test_unknown_bounds_are_said_to_be_unchecked() -> None:
    """Rule 38: what could not be checked is said."""
    assert CONTROL_CHART.card(line(30, 31, 30, 31, 30, 31)).notes
    assert not CONTROL_CHART.card(line(30, 31, 30, 31, 30, 31, low=Fraction(0))).notes
