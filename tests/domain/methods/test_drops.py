"""Drops: absolute rules, criterion drop, reliable drop; thresholds are met exactly."""

import math
from fractions import Fraction

import pytest

from domain.instrument import load
from domain.methods.absolute import ABSOLUTE
from domain.methods.card import Basis, Choices, Kind, MethodCard, Outcome, Why
from domain.methods.criterion_drop import CRITERION_DROP
from domain.methods.reliable_drop import RELIABLE_DROP
from domain.methods.series import Better, Series
from tests.domain.methods.lines import AXIS, line, point, unnamed

SRS = load("SRS-3")
ITEMS = AXIS._replace(instrument="SRS-3", form="SRS-3")


def flagged(card: MethodCard, kind: Kind | None = None) -> list[int]:
    """The places, from 1, that are flagged."""
    return [one.at + 1 for one in card.flagged if kind in (None, one.kind)]


def srs(*answers: tuple[str, ...]) -> Series:
    """A series of the SRS's total, with its answers."""
    points = [
        point(n, sum(map(Fraction, items)), axis=ITEMS, items=tuple(map(Fraction, items)))
        for n, items in enumerate(answers, 1)
    ]
    return Series.of(points, low=Fraction(0), high=Fraction(40), cutoffs=SRS.cutoffs)


# --- Absolute rules -------------------------------------------------------------------------


def test_where_sources_disagree_both_conventions_are_told() -> None:
    """Rule 38: 36 on the SRS is at the one cut-off and not below the other."""
    card = ABSOLUTE.card(srs(("9", "9", "9", "9"), ("9", "9", "9", "9.1"), ("9", "9", "9", "8.9")))
    assert flagged(card, Kind.CUT_OFF) == [1, 3]
    first = next(one for one in card.findings if one.kind is Kind.CUT_OFF)
    assert first.says == "36 is <= 36, but not < 36."
    assert first.figures == {"value": "36", "< 36": "no", "<= 36": "yes"}
    thresholds = [one for one in card.parameters if one.name == "threshold"]
    assert {one.operator for one in thresholds} == {"<", "<="}
    assert {one.basis for one in thresholds} == {Basis.INSTRUMENT}
    assert all(one.source and one.effective_from == "publication" for one in thresholds)


@pytest.mark.parametrize("operator, places", [("<", [2]), ("<=", [1, 2])])
def test_a_convention_can_be_chosen(operator: str, places: list[int]) -> None:
    """Rule 38: the operator is a parameter, explicit on the card."""
    card = ABSOLUTE.card(srs(("9",) * 4, ("8", "9", "9", "9")), {"operator": operator})
    assert flagged(card, Kind.CUT_OFF) == places


def test_an_item_below_nine_is_named() -> None:
    """Rule 38: the SRS's items have a cut-off of their own, compared by the answers as given."""
    card = ABSOLUTE.card(srs(("9", "8.9", "10", "10")))
    (item,) = [one for one in card.flagged if one.kind is Kind.ITEM_CUT_OFF]
    assert item.says == "Item 2, 8.9, is < 9."
    without = ABSOLUTE.card(unnamed(38, 39))
    assert any("not at hand" in note for note in without.notes)


def test_a_drop_of_one_counts_from_the_last_available_rating() -> None:
    """Rule 38: a session without a rating is passed over, not taken as zero."""
    card = ABSOLUTE.card(unnamed(38, None, 37, "36.1", 39))
    assert flagged(card, Kind.DROP) == [2]
    step = next(one for one in card.flagged if one.kind is Kind.DROP)
    assert step.rests_on == (0,)
    assert any("SRS-3" in note for note in card.notes)


def test_no_cut_off_is_invented() -> None:
    """Rule 38: for a measure without a published cut-off the method declines."""
    card = ABSOLUTE.card(line(30, 20))
    assert card.outcome is Outcome.REFUSED
    assert card.declined is not None
    assert card.declined.code is Why.NO_CUT_OFF
    assert ABSOLUTE.card(unnamed()).declined is not None


def test_a_chosen_cut_off_says_that_it_was_chosen() -> None:
    """Rule 38: a parameter says whether it is a default or was chosen."""
    chosen: Choices = {"threshold": Fraction(25), "operator": "<=", "drop": 5, "item_threshold": 3}
    card = ABSOLUTE.card(line(30, 25), chosen)
    assert flagged(card, Kind.CUT_OFF) == flagged(card, Kind.DROP) == [2]
    used = {one.name: one for one in card.parameters}
    assert (used["threshold"].basis, used["threshold"].value) == (Basis.CHOSEN, Fraction(25))


def test_where_lower_is_better_a_rise_is_flagged() -> None:
    """Rule 32: the direction belongs to the scale."""
    chosen = {"threshold": 10, "drop": 5}
    card = ABSOLUTE.card(line(4, 10, 2, better=Better.LOWER), chosen)
    assert flagged(card, Kind.CUT_OFF) == flagged(card, Kind.DROP) == [2]
    met = next(one for one in card.flagged if one.kind is Kind.CUT_OFF)
    assert met.says == "10 is >= 10, but not > 10."


def test_a_cut_off_for_some_people_waits_for_their_name() -> None:
    """Rule 38: a cut-off that holds for some people only is not used on everybody."""
    adults = SRS.cutoffs[0].model_copy(update={"population": "adults"})
    series = line(30, cutoffs=[adults])
    declined = ABSOLUTE.card(series).declined
    assert declined is not None
    assert declined.code is Why.PARAMETER_NEEDED
    assert "adults" in declined.says
    assert flagged(ABSOLUTE.card(series, {"population": "adults"})) == [1]


def test_a_cut_off_published_from_the_better_side_is_read_from_the_worse() -> None:
    """Rule 38: below 11 the CORE-10 says *not* clinical; what is flagged is 11 and above."""
    core = load("CORE-10")
    axis = AXIS._replace(instrument="CORE-10", form="CORE-10")
    cutoffs = [cut for cut in core.cutoffs if cut.scale == "total"]
    card = ABSOLUTE.card(line(10, 11, axis=axis, better=Better.LOWER, cutoffs=cutoffs))
    assert flagged(card) == [2]
    assert card.flagged[0].says == "11 is >= 11."


def test_a_cut_off_without_a_source_says_how_well_it_is_known() -> None:
    """Rule 36: the clinical cut-off of the ORS for adults is from memory, and the card says so."""
    axis = AXIS._replace(instrument="ORS", form="ORS")
    card = ABSOLUTE.card(
        line("24.9", 25, axis=axis, cutoffs=load("ORS").cutoffs),
        {"population": "18 years and older"},
    )
    assert flagged(card) == [1]
    sources = [one.source for one in card.parameters if one.name == "threshold"]
    assert sources == ["own-knowledge-high"]


def test_a_subscale_is_judged_by_its_own_items() -> None:
    """Rule 38: an item of another subscale is no concern of this one, nor is the total's drop."""
    points = [
        point(n, value, ITEMS._replace(scale="goals_topics"), items=(10, Fraction(value), 1, 1))
        for n, value in enumerate((9, 8), 1)
    ]
    cutoffs = [cut for cut in SRS.cutoffs if cut.items]
    card = ABSOLUTE.card(Series.of(points, cutoffs=cutoffs))
    assert [one.says for one in card.flagged] == ["Item 2, 8, is < 9."]


# --- Criterion drop -------------------------------------------------------------------------


def test_a_criterion_drop_is_met_exactly() -> None:
    """Rule 38: d ≤ −k·SD, to the last digit."""
    card = CRITERION_DROP.card(line(30, "26", "21.999"), {"sd_ref": 4})
    assert flagged(card) == [2, 3]
    assert flagged(CRITERION_DROP.card(line(30, "26.001"), {"sd_ref": 4})) == []
    assert flagged(CRITERION_DROP.card(line(30, 24), {"sd_ref": 4, "k": Fraction(3, 2)})) == [2]


def test_an_own_standard_deviation_is_of_earlier_ratings_alone() -> None:
    """Rule 38: no look-ahead; the first five ratings are only looked back on."""
    card = CRITERION_DROP.card(line(30, 32, 30, 32, 31, 27, 31))
    judged = [one for one in card.findings if one.declined is None]
    assert [one.at for one in judged] == [5, 6]
    assert judged[0].figures["sd_ref"] == "1"
    assert judged[0].rests_on == (0, 1, 2, 3, 4)
    assert flagged(card) == [6]
    assert card.notes


def test_a_criterion_drop_declines_without_ratings_or_spread() -> None:
    """Rule 38: too few ratings and ratings that never differ support no answer."""
    few, flat = CRITERION_DROP.card(line(30, 20)), CRITERION_DROP.card(line(*[30] * 8))
    assert few.declined is not None
    assert few.declined.code is Why.NOT_ENOUGH_DATA
    assert flat.declined is not None
    assert flat.declined.code is Why.NO_VARIANCE
    assert CRITERION_DROP.card(line(30), {"sd_ref": 4}).outcome is Outcome.REFUSED


def test_a_criterion_drop_on_a_scale_where_lower_is_better_is_a_rise() -> None:
    """Rule 32: worse is what the scale says."""
    card = CRITERION_DROP.card(line(10, 15, 8, better=Better.LOWER), {"sd_ref": 4})
    assert flagged(card) == [2]
    assert "rise" in card.flagged[0].says


# --- Reliable drop --------------------------------------------------------------------------


def test_a_reliable_drop_must_exceed_its_threshold() -> None:
    """Rule 38: must exceed, not equal. z·√2·SD·√(1−α) is 4 exactly for 2·√2·√2·√(1/4)·2."""
    exact: Choices = {"z": 2, "sd": 2, "alpha": Fraction("0.5")}  # 2 · √2 · 2 · √½ = 4
    assert flagged(RELIABLE_DROP.card(line(30, 26), exact)) == []
    assert flagged(RELIABLE_DROP.card(line(30, "25.999999"), exact)) == [2]
    assert RELIABLE_DROP.card(line(30, 26), exact).figures == {"threshold": "4"}


def test_a_reliable_drop_agrees_with_floats_away_from_the_edge() -> None:
    """Requirement: the exact comparison agrees with the formula worked out another way."""
    bound = 1.96 * math.sqrt(2) * 5.3 * math.sqrt(1 - 0.87)
    chosen = {"sd": Fraction("5.3"), "alpha": Fraction("0.87")}
    card = RELIABLE_DROP.card(line(40, Fraction(str(40 - bound + 1e-6))), chosen)
    assert flagged(card) == []
    card = RELIABLE_DROP.card(line(40, Fraction(str(40 - bound - 1e-6))), chosen)
    assert flagged(card) == [2]
    assert float(card.figures["threshold"]) == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize(
    "values, chosen, why",
    [
        ((30, 20), {}, Why.PARAMETER_NEEDED),
        ((30, 20), {"sd": 5}, Why.PARAMETER_NEEDED),
        ((30,), {"sd": 5, "alpha": Fraction("0.9")}, Why.NOT_ENOUGH_DATA),
        ((30, 20), {"sd": 5, "alpha": 1}, Why.LIMITS_UNINFORMATIVE),
    ],
)
def test_a_reliable_drop_declines(
    values: tuple[int, ...], chosen: dict[str, Fraction], why: Why
) -> None:
    """Rule 38: without reliability, ratings or error there is no threshold to tell."""
    declined = RELIABLE_DROP.card(line(*values), chosen).declined
    assert declined is not None
    assert declined.code is why
