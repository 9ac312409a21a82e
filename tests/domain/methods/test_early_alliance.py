"""Early alliance: sessions three to five, and what is missing of them."""

import pytest

from domain.methods.card import Why
from domain.methods.early_alliance import EARLY_ALLIANCE
from tests.domain.methods.lines import line


@pytest.mark.parametrize(
    "values, mean, missing",
    [
        ((1, 2, 30, 32, 34, 90), "32", ""),
        ((1, 2, 30, None, 34, 90), "32", "session 4 is missing"),
        ((1, 2, None, None, 33), "33", "sessions 3, 4 are missing"),
        ((1, 2, 30), "30", "sessions 4, 5 are missing"),
    ],
)
def test_the_mean_says_what_it_lacks(
    values: tuple[int | None, ...], mean: str, missing: str
) -> None:
    """Rule 38: what is missing in the window is said, and nothing put in its place."""
    card = EARLY_ALLIANCE.card(line(*values))
    assert card.figures["mean"] == mean
    assert missing in card.says
    assert bool(card.notes) == bool(missing)


def test_later_ratings_never_change_it() -> None:
    """Rule 38: no look-ahead: what is early is known after session five."""
    early = EARLY_ALLIANCE.card(line(1, 2, 30, 32, 34))
    assert EARLY_ALLIANCE.card(line(1, 2, 30, 32, 34, 3, 2, 1)).figures == early.figures


def test_the_window_is_a_parameter() -> None:
    """Rule 38: parameters are data."""
    card = EARLY_ALLIANCE.card(line(10, 20, 30), {"first": 1, "last": 2})
    assert card.figures["mean"] == "15"


@pytest.mark.parametrize("values", [(), (1, 2), (1, 2, None, None, None, 6)])
def test_without_a_rating_in_the_window_it_declines(values: tuple[int | None, ...]) -> None:
    """Rule 38: no rating, no mean."""
    declined = EARLY_ALLIANCE.card(line(*values)).declined
    assert declined is not None
    assert declined.code is Why.NOT_ENOUGH_DATA
