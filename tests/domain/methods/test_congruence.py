"""Congruence: two views side by side, truth and bias within one dyad."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from scipy import stats

from domain.methods.card import Outcome, Why
from domain.methods.congruence import CONGRUENCE, truth_and_bias
from tests.domain.methods.lines import dyad

CLIENT = (5, 6, 4, 6, 7, 5, 4, 3, 6)
THERAPIST = (4, 5, 5, 5, 6, 5, 4, 4, 5)


@pytest.mark.parametrize("seed", range(5))
def test_the_model_agrees_with_scipy(seed: int) -> None:
    """Requirement: bias, tracking, r and their intervals agree with linregress and pearsonr."""
    rng = Random(seed)  # noqa: S311  invented numbers
    client = [rng.randint(10, 60) for _ in range(rng.randint(8, 20))]
    therapist = [round(0.6 * one) + rng.randint(5, 15) for one in client]
    figures = CONGRUENCE.card(dyad(client, therapist)).figures
    centred = np.array(client) - np.mean(client)
    fit = stats.linregress(centred, np.array(therapist) - np.mean(client))
    reach = stats.t.ppf(0.975, len(client) - 2)
    pearson = stats.pearsonr(client, therapist)
    expected = {
        "bias": (fit.intercept, fit.intercept_stderr * reach),
        "tracking": (fit.slope, fit.stderr * reach),
    }
    for name, (centre, margin) in expected.items():
        assert float(figures[name]) == pytest.approx(centre, abs=1e-6)
        low, high = map(float, figures[f"{name}_95"].split(" to "))
        assert (low, high) == pytest.approx((centre - margin, centre + margin), abs=2e-6)
    assert float(figures["r"]) == pytest.approx(pearson.statistic, abs=1e-6)
    low, high = map(float, figures["r_95"].split(" to "))
    assert (low, high) == pytest.approx(tuple(pearson.confidence_interval()), abs=2e-6)


def test_a_planted_bias_and_tracking_are_given_back() -> None:
    """Rule 38: what is planted without noise comes back exactly."""
    client = [Fraction(one) for one in CLIENT]
    centre = sum(client, Fraction(0)) / len(client)
    therapist = [centre + Fraction("-0.4") + Fraction("0.5") * (one - centre) for one in client]
    model = truth_and_bias(client, therapist)
    assert model is not None
    assert (model.bias, model.tracking) == (Fraction("-0.4"), Fraction("0.5"))
    assert model.unexplained == 0


def test_differences_are_therapist_minus_client() -> None:
    """Rule 32: T − C for each session that both rated, and never an average of the two."""
    card = CONGRUENCE.card(dyad([5, None, 6, 4], [4, 5, 8, 4]))
    assert [one.figures["difference"] for one in card.findings] == ["-1", "2", "0"]
    assert card.figures["mean_difference"] == "0.333333"
    assert card.figures["mean_absolute_difference"] == "1"
    assert [card.points[one.at].session for one in card.findings] == [1, 3, 4]
    for one in card.findings:
        (other,) = one.rests_on
        assert card.points[other].session == card.points[one.at].session
        assert card.points[other].axis != card.points[one.at].axis


def test_fewer_than_eight_pairs_are_described_only() -> None:
    """Rule 38: no correlation and no model of fewer than eight."""
    card = CONGRUENCE.card(dyad(CLIENT[:7], THERAPIST[:7]))
    assert card.figures.keys() == {"pairs", "mean_difference", "mean_absolute_difference"}
    assert card.notes
    assert CONGRUENCE.card(dyad(CLIENT[:8], THERAPIST[:8])).figures.keys() >= {"bias", "r"}


def test_fewer_than_three_pairs_are_hidden() -> None:
    """Rule 38: nothing of them is shown, not even the differences."""
    card = CONGRUENCE.card(dyad([5, 6, None], [4, 5, 6]))
    assert card.outcome is Outcome.REFUSED
    assert card.declined is not None
    assert card.declined.code is Why.NOT_ENOUGH_DATA
    assert (card.findings, card.figures) == ((), {})


def test_without_spread_there_is_nothing_to_track() -> None:
    """Rule 38: what cannot be told is said, and the rest is told."""
    flat = [5] * 9
    tracked = CONGRUENCE.card(dyad(flat, THERAPIST))
    assert "tracking" not in tracked.figures
    assert "do not differ" in tracked.notes[0]
    follows = CONGRUENCE.card(dyad(CLIENT, flat))
    assert follows.figures["tracking"] == "0"
    assert "r" not in follows.figures
    same = CONGRUENCE.card(dyad(CLIENT, CLIENT))
    assert (same.figures["r"], "r_95" in same.figures) == ("1", False)
    assert "as high on average" in same.says
