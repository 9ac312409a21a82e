"""Response quality: reasons to ask, from the raw items."""

from fractions import Fraction

import pytest

from domain.methods.card import Kind, MethodCard, Outcome, ParameterUnfit, Why
from domain.methods.response_quality import RESPONSE_QUALITY, longest_run
from tests.domain.methods.lines import forms


def flagged(card: MethodCard, kind: Kind) -> list[int]:
    return [one.at + 1 for one in card.flagged if one.kind is kind]


def test_a_long_run_of_one_answer_is_flagged() -> None:
    """Rule 36: a failed quality check is told, with the figures it rests on."""
    straight, mixed = (3,) * 12, (3, 4, 2, 5, 3, 4, 2, 1, 3, 4, 2, 5)
    card = RESPONSE_QUALITY.card(forms(straight, mixed))
    assert flagged(card, Kind.STRAIGHT_LINE) == [1]
    assert card.findings[0].figures == {"longest_run": "12", "answered": "12"}


def test_the_share_is_a_parameter_and_met_exactly() -> None:
    """Rule 38: at least the share, of the answered items."""
    half = (3, 3, 3, 3, 1, 2, 1, 2)
    assert flagged(
        RESPONSE_QUALITY.card(forms(half), {"share": Fraction(1, 2)}), Kind.STRAIGHT_LINE
    )
    assert not flagged(
        RESPONSE_QUALITY.card(forms(half), {"share": Fraction("0.51")}), Kind.STRAIGHT_LINE
    )


def test_items_left_out_are_passed_over() -> None:
    """Rule 30: not answered is never an answer."""
    assert longest_run((Fraction(3), None, Fraction(3), Fraction(1))) == 2
    assert longest_run((None, None)) == 0


def test_a_short_form_is_not_judged_by_a_straight_line() -> None:
    """Rule 38: four equal answers on four lines mean nothing."""
    card = RESPONSE_QUALITY.card(forms((9, 9, 9, 9)))
    assert card.outcome is Outcome.REFUSED
    assert card.declined is not None
    assert card.declined.code is Why.NOT_ENOUGH_DATA
    assert RESPONSE_QUALITY.card(forms()).declined is not None


def test_form_after_form_at_the_best_end_is_flagged() -> None:
    """Rule 36: a series at the ceiling has no room left; reversed items have theirs below."""
    best = (5, 5, 1, 5)
    card = RESPONSE_QUALITY.card(forms((5, 4, 1, 5), best, best, best, best, reversed_items=(3,)))
    assert flagged(card, Kind.RUN_OF_MAXIMA) == [4, 5]
    assert card.flagged[0].rests_on == (1, 2)
    broken = RESPONSE_QUALITY.card(forms(best, best, (5, 5, 5, 5), best, reversed_items=(3,)))
    assert flagged(broken, Kind.RUN_OF_MAXIMA) == []


def test_where_the_ends_are_not_known_no_maxima_are_counted() -> None:
    """Rule 38: what could not be checked is said."""
    card = RESPONSE_QUALITY.card(forms(*[(5,) * 6] * 3, lowest=None, highest=None))
    assert flagged(card, Kind.RUN_OF_MAXIMA) == []
    assert card.notes


def test_an_attention_item_asks_for_one_answer() -> None:
    """Rule 36: another answer than the one it asks for is told."""
    chosen = {"attention": "2=4, 6=1"}
    card = RESPONSE_QUALITY.card(forms((3, 4, 1), (3, 2, 1), (3, None, 1)), chosen)
    assert flagged(card, Kind.ATTENTION_ITEM) == [2]
    assert card.flagged[0].says == "Item 2 asks for 4 and got 2."


@pytest.mark.parametrize("attention", ["2", "2=", "x=3", "2=three", "-1=3"])
def test_attention_items_are_written_as_pairs(attention: str) -> None:
    """Rule 38: a parameter that is none is refused, with what it must be."""
    with pytest.raises(ParameterUnfit, match="pairs such as"):
        RESPONSE_QUALITY.card(forms((3, 4)), {"attention": attention})
