"""Reliable and clinically significant change, held to the paper's own numbers."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.methods.card import Outcome, Why
from domain.methods.reliable_change import (
    RELIABLE_CHANGE,
    Bound,
    Category,
    Criterion,
    NormsContradictDirection,
    Population,
    Yardstick,
    change,
    yardstick_figures,
)
from domain.methods.series import Better
from tests.domain.methods.lines import line

FUNCTIONAL = Population(Fraction(60), Fraction("7.5"))
DYSFUNCTIONAL = Population(Fraction(40), Fraction("7.5"))


def yardstick(**more: Any) -> Yardstick:
    return Yardstick.of(**{"sd_squared": Fraction("7.5") ** 2, "alpha": Fraction("0.80"), **more})


PAPER = yardstick(functional=FUNCTIONAL, dysfunctional=DYSFUNCTIONAL)


def test_the_worked_example_of_the_paper() -> None:
    """Requirement: Jacobson & Truax 1991: S_E 3.35, S_diff 4.74, RC 3.16, a 55, b 45, c 50."""
    judged = change(Fraction("32.5"), Fraction("47.5"), PAPER)
    assert PAPER.difference_squared is not None
    assert judged.index is not None
    error = float(PAPER.difference_squared)
    assert round((error / 2) ** 0.5, 2) == 3.35
    assert round(error**0.5, 2) == 4.74
    assert round(float(judged.index), 2) == 3.16
    assert judged.reliable
    assert {one: bound.value for one, bound in PAPER.cutoffs} == {
        Criterion.A: 55,
        Criterion.B: 45,
        Criterion.C: 50,
    }
    assert PAPER.criterion is Criterion.C
    # 47.5 is short of c, and beyond b: which cut-off decides makes the difference.
    assert judged.category is Category.IMPROVED
    by_b = yardstick(functional=FUNCTIONAL, dysfunctional=DYSFUNCTIONAL, criterion=Criterion.B)
    assert change(Fraction("32.5"), Fraction("47.5"), by_b).category is Category.RECOVERED


def test_the_norms_of_the_core_om() -> None:
    """Requirement: means and SDs of Evans et al. 2002, alpha .94: c 1.24, reliable from 0.51 on."""
    evans = Yardstick.of(
        sd_squared=Fraction("0.75") ** 2,
        alpha=Fraction("0.94"),
        better=Better.LOWER,
        functional=Population(Fraction("0.76"), Fraction("0.59")),
        dysfunctional=Population(Fraction("1.86"), Fraction("0.75")),
    )
    # (0.59 · 1.86 + 0.75 · 0.76) / (0.59 + 0.75)
    assert dict(evans.cutoffs)[Criterion.C].value == Fraction("1.6674") / Fraction("1.34")
    # 1.96 · 0.75 · √(2 · 0.06) = 0.5092…
    for post, category in (
        ("1.36", Category.UNCHANGED),
        ("1.35", Category.IMPROVED),
        ("1.25", Category.IMPROVED),
        ("1.24", Category.RECOVERED),
        ("2.37", Category.DETERIORATED),
    ):
        assert change(Fraction("1.86"), Fraction(post), evans).category is category, post


@pytest.mark.parametrize(
    "better, functional, dysfunctional, expected",
    [
        (Better.HIGHER, (60, 6), (40, 10), {"a": "60", "b": "48", "c": "52.5"}),
        (Better.LOWER, (10, 5), (30, 10), {"a": "10", "b": "20", "c": "16.666667"}),
    ],
)
def test_cut_offs_follow_the_direction_and_the_spreads(
    better: Better, functional: Any, dysfunctional: Any, expected: dict[str, str]
) -> None:
    """Requirement: c = (SD_f·M_d + SD_d·M_f) / (SD_f + SD_d), nearer to the narrower group."""
    found = yardstick(
        better=better,
        functional=Population(*map(Fraction, functional)),
        dysfunctional=Population(*map(Fraction, dysfunctional)),
    )
    assert {
        one.value: f"{float(cut.value):.6f}".rstrip("0").rstrip(".") for one, cut in found.cutoffs
    } == (expected)


@settings(max_examples=80)
@given(
    pre=st.integers(0, 630),
    post=st.integers(0, 630),
    sd=st.integers(1, 300),
    alpha=st.integers(0, 99),
)
def test_the_index_agrees_with_numpy(pre: int, post: int, sd: int, alpha: int) -> None:
    """Requirement: RC agrees with the formula worked out in floats."""
    made = Yardstick.of(sd_squared=Fraction(sd, 10) ** 2, alpha=Fraction(alpha, 100))
    judged = change(Fraction(pre, 10), Fraction(post, 10), made)
    expected = (post - pre) / 10 / (sd / 10 * np.sqrt(2) * np.sqrt(1 - alpha / 100))
    assert judged.index is not None
    assert float(judged.index) == pytest.approx(expected)
    if abs(abs(expected) - 1.96) > 1e-9:
        assert judged.reliable == (abs(expected) > 1.96)


@pytest.mark.parametrize(
    "pre, post, category",
    [
        ("32.5", "51", Category.RECOVERED),
        ("32.5", "50", Category.IMPROVED),  # on the cut-off is not across it
        ("51", "62", Category.IMPROVED),  # it was on the functional side before
        ("50", "60", Category.RECOVERED),
        ("45", "52", Category.UNCHANGED),  # across, and no more than error
        ("45", "54.3", Category.RECOVERED),
        ("45", "54.29", Category.UNCHANGED),
        ("50", "40", Category.DETERIORATED),
        ("50", "50", Category.UNCHANGED),
    ],
)
def test_a_change_has_one_of_four_categories(pre: str, post: str, category: Category) -> None:
    """Rule 38: reliable first, then which side of the cut-off; 1.96 · S_diff is 9.2971."""
    assert change(Fraction(pre), Fraction(post), PAPER).category is category


def test_where_lower_is_better_everything_turns_round() -> None:
    """Rule 32: improvement is a fall, recovery ends below the cut-off."""
    lower = yardstick(better=Better.LOWER, cutoff=Bound(">=", Fraction(10)))
    judged = change(Fraction(21), Fraction(9), lower)
    assert judged.category is Category.RECOVERED
    assert judged.index is not None
    assert judged.index < 0
    assert change(Fraction(21), Fraction(10), lower).category is Category.IMPROVED
    assert change(Fraction(10), Fraction(0), lower).category is Category.RECOVERED
    assert change(Fraction(9), Fraction(21), lower).category is Category.DETERIORATED


def test_rc_must_exceed_z_not_equal_it() -> None:
    """Rule 38: exact at the edge: SD 2 and reliability 1/2 make S_diff 2."""
    made = Yardstick.of(sd_squared=Fraction(4), alpha=Fraction(1, 2), z=Fraction(2))
    assert made.difference_squared == 4
    assert not change(Fraction(10), Fraction(14), made).reliable
    assert change(Fraction(10), Fraction("14.000001"), made).reliable


@pytest.mark.parametrize(
    "better, given_, meant, on_it",
    [
        (Better.HIGHER, "<", "<", True),  # ORS: below 25 is clinical, so 25 is across
        (Better.HIGHER, "<=", "<=", False),
        (Better.LOWER, ">=", ">=", False),  # PHQ-9: from 10 on
        (Better.LOWER, "<", ">=", False),  # CORE-10: below 11 is *not* clinical
        (Better.LOWER, ">", ">", True),
    ],
)
def test_a_published_cut_off_keeps_its_operator(
    better: Better, given_: str, meant: str, on_it: bool
) -> None:
    """Rule 38: which side a score on the cut-off lies on is what its operator says."""
    made = yardstick(better=better, cutoff=Bound(given_, Fraction(50)))
    assert made.cutoff == Bound(meant, Fraction(50))
    start = 20 if better is Better.HIGHER else 80
    assert change(Fraction(start), Fraction(50), made).crossed is on_it


@pytest.mark.parametrize(
    "operator, size, reliable", [(">=", 6, True), (">=", "5.9", False), (">", 6, False)]
)
def test_a_published_reliable_change_keeps_its_operator(
    operator: str, size: Any, reliable: bool
) -> None:
    """Rule 38: published as 6 or more it is met by 6; there is no RC then."""
    made = Yardstick.of(published=Bound(operator, Fraction(6)), better=Better.LOWER)
    judged = change(Fraction(18), 18 - Fraction(size), made)
    assert (judged.reliable, judged.index) == (reliable, None)
    assert judged.category is (Category.IMPROVED if reliable else Category.UNCHANGED)
    assert made.bar == ("6 or more" if operator == ">=" else "more than 6")
    assert yardstick_figures(made)["reliable_change_operator"] == operator


def test_without_a_cut_off_nobody_is_called_recovered() -> None:
    """Rule 44: no more is claimed than is known."""
    judged = change(Fraction(20), Fraction(60), yardstick())
    assert (judged.category, judged.crossed) == (Category.IMPROVED, None)


@pytest.mark.parametrize("better", list(Better))
def test_norms_that_contradict_the_direction_are_refused(better: Better) -> None:
    """Rule 32: the functional mean lies on the better side, or something was mixed up."""
    wrong = (DYSFUNCTIONAL, FUNCTIONAL) if better is Better.HIGHER else (FUNCTIONAL, DYSFUNCTIONAL)
    with pytest.raises(NormsContradictDirection):
        yardstick(better=better, functional=wrong[0], dysfunctional=wrong[1])


# --- As a method ----------------------------------------------------------------------------

SD: dict[str, Any] = {"sd": Fraction("7.5"), "alpha": Fraction("0.8")}


def test_the_card_follows_every_rating_from_the_first() -> None:
    """Rule 38: each finding rests on the first rating and its own."""
    card = RELIABLE_CHANGE.card(line("32.5", 40, "47.5", 20), SD)
    assert [one.figures["category"] for one in card.findings] == [
        "unchanged",
        "improved",
        "deteriorated",
    ]
    assert [one.at for one in card.flagged] == [3]
    assert card.figures["standard_error_of_difference"] == "4.743416"
    assert card.says == card.findings[-1].says


def test_the_card_takes_norms_and_a_published_cut_off() -> None:
    """Rule 38: parameters are data, with the cut-off that decided."""
    norms: dict[str, Any] = {"functional_mean": 60, "functional_sd": Fraction("7.5")}
    card = RELIABLE_CHANGE.card(line("32.5", "47.5"), {**SD, **norms})
    assert (card.figures["criterion"], card.figures["cutoff"]) == ("b", "45")
    assert card.findings[0].figures["category"] == "recovered"
    both: dict[str, Any] = {**norms, "dysfunctional_mean": 40, "dysfunctional_sd": Fraction("7.5")}
    assert RELIABLE_CHANGE.card(line(32, 52), {**SD, **both}).figures["criterion"] == "c"
    given_ = RELIABLE_CHANGE.card(line(32, 52), {**SD, **both, "cutoff": 53})
    assert given_.figures["criterion"] == "given"
    assert given_.findings[0].figures["category"] == "improved"


@pytest.mark.parametrize(
    "values, chosen, why",
    [
        ((30, 20), {}, Why.PARAMETER_NEEDED),
        ((30,), SD, Why.NOT_ENOUGH_DATA),
        ((30, 20), {"sd": 5, "alpha": 1}, Why.LIMITS_UNINFORMATIVE),
        ((30, 20), {**SD, "criterion": "a"}, Why.PARAMETER_NEEDED),
    ],
)
def test_it_declines(values: tuple[int, ...], chosen: dict[str, Any], why: Why) -> None:
    """Rule 38: what is needed and not there is named."""
    card = RELIABLE_CHANGE.card(line(*values), chosen)
    assert card.outcome is Outcome.REFUSED
    assert card.declined is not None
    assert card.declined.code is why
