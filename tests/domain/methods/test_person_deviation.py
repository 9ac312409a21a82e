"""Deviation from the own past: earlier sessions alone."""

from fractions import Fraction

import numpy as np
import pytest

from domain.methods.card import Outcome, Why
from domain.methods.person_deviation import PERSON_DEVIATION
from domain.methods.series import Better
from tests.domain.methods.lines import line


def test_each_rating_is_measured_by_those_before_it() -> None:
    """Rule 38: z by the mean and sample SD of the past, as numpy finds them."""
    values = [31, 33, 30, 34, 32, 20]
    card = PERSON_DEVIATION.card(line(*values))
    for finding in card.findings:
        past = values[: finding.at]
        expected = (values[finding.at] - np.mean(past)) / np.std(past, ddof=1)
        assert float(finding.figures["z"]) == pytest.approx(expected, abs=1e-6)
        assert finding.rests_on == tuple(range(finding.at))
    assert [one.at for one in card.findings] == [3, 4, 5]
    assert [one.at for one in card.flagged] == [5]


def test_the_threshold_is_met_exactly() -> None:
    """Rule 38: three own SDs are reached to the last digit."""
    chosen = {"z": Fraction(3)}
    assert PERSON_DEVIATION.card(line(29, 30, 31, 27), chosen).flagged
    assert not PERSON_DEVIATION.card(line(29, 30, 31, "27.000001"), chosen).flagged
    assert not PERSON_DEVIATION.card(line(29, 30, 31, 40), chosen).flagged
    assert PERSON_DEVIATION.card(line(29, 30, 31, 33, better=Better.LOWER), chosen).flagged


def test_a_past_without_spread_declines_for_that_rating() -> None:
    """Rule 38: an SD of zero is no measure; later ratings may have one."""
    card = PERSON_DEVIATION.card(line(30, 30, 30, 10, 30))
    first, second = card.findings
    assert first.declined is not None
    assert first.declined.code is Why.NO_VARIANCE
    assert second.declined is None
    assert PERSON_DEVIATION.card(line(30, 30, 30, 30)).outcome is Outcome.REFUSED


def test_three_past_ratings_are_needed() -> None:
    """Rule 38: fewer support no answer."""
    card = PERSON_DEVIATION.card(line(30, 31, 10))
    assert card.declined is not None
    assert card.declined.code is Why.NOT_ENOUGH_DATA
