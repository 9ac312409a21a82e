"""Scores against published keys, and what holds of every key there is."""

import json
from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.instrument import Definition, NotAQuestionnaire, catalogue, load, versions
from domain.score_report import report_text, score_report
from domain.scoring import (
    Flag,
    ItemOutOfRange,
    RawItems,
    check_items,
    parse_items,
    score,
)
from domain.scoring import _of_parts as part_by_part
from domain.scoring import _parsed_items as parsed_one_by_one

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "scoring" / "cases.json").read_text("utf-8")
)
SCORED = [definition for definition in catalogue().values() if definition.scales]
FULL = [d for d in SCORED if not d.asked]
"""Those of whose items none depends on the answer to another."""


def threshold(cut: dict[str, Any]) -> str:
    whom = f" ({cut['population']})" if cut["population"] else ""
    return f"{cut['scale']} {cut['operator']} {cut['value']}{whom}"


# --- Published cases ------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[f"{n} {c['source']}" for n, c in enumerate(CASES)])
def test_scores_are_those_of_the_published_key(case: dict[str, Any]) -> None:
    """Rule 28: totals, bands, cut-offs and risk items; each case names where it stands."""
    report = score_report(case["instrument"], case["items"])
    found = {name: report["scales"][name]["exact"] for name in case["scores"]}
    assert found == case["scores"]
    assert [band["label"] for band in report["bands"]] == case["labels"]
    met = [threshold(cut) for cut in report["cutoffs"] if cut["met"] and cut["scale"]]
    assert met == case["met"]
    assert [risk["item"] for risk in report["risk_items"]] == case.get("risk", [])
    assert set(case.get("flags", [])) <= set(report["flags"])


ALTERNATING = [4 if number % 2 else 1 for number in range(1, 35)]


def test_core_om_gives_each_domain_as_clinical_score_and_as_mean() -> None:
    """Rule 28: Evans et al. 2002: eight items reversed, four domains; a mean, and it times ten."""
    positive = {3, 4, 7, 12, 19, 21, 31, 32}
    best = [4 if number in positive else 0 for number in range(1, 35)]
    worst = [4 - answer for answer in best]
    om = load("CORE-OM")
    lowest, highest = score(om, best), score(om, worst)
    assert {part.value for part in lowest.scales.values()} == {0}
    assert {part.value for part in lowest.restated.values()} == {0}
    assert {part.value for part in highest.scales.values()} == {40}
    assert {part.value for part in highest.restated.values()} == {4}
    sizes = {name: len(om.items_of(name)) for name in highest.scales}
    assert set(highest.restated) == {f"{name}_mean" for name in sizes}
    assert sizes == {
        "total": 34,
        "non_risk": 28,
        "wellbeing": 4,
        "problems": 12,
        "functioning": 12,
        "risk": 6,
    }
    found = score(om, ALTERNATING)
    scored = {**found.scales, **found.restated}
    # Wellbeing: items 4, 31 reversed, 14 and 17: 4-1, 4-4, 1, 4 = 8; 8/4 x 10
    assert scored["wellbeing"].value == 20
    assert scored["wellbeing_mean"].value == 2
    # Risk: items 6, 16, 22, 24, 34 got 1 and item 9 got 4: nine sixths, times ten
    assert scored["risk"].value == 15
    parts = [scored[f"{name}_mean"].value for name in ("wellbeing", "problems", "functioning")]
    weighed = sum((part or 0) * size for part, size in zip(parts, (4, 12, 12), strict=True))
    assert scored["non_risk_mean"].value == Fraction(weighed, 28)


def test_a_scale_is_restated_beside_itself_and_prorated_alike() -> None:
    """Rule 32: a sum and a mean of the same items share no axis; one is told beside the other."""
    items = [5, 4, 4, 5, 3, 4, 5, 5, 4, 4, None, 4]
    old, new = (score(key, items) for key in versions("WAI-SR"))
    assert old.scales == new.scales
    assert (old.restated, set(new.restated)) == (
        {},
        {"total_mean", "task_mean", "bond_mean", "goal_mean"},
    )
    goal, goal_mean = new.scales["goal"], new.restated["goal_mean"]
    assert (goal.value, goal_mean.value) == (Fraction(56, 3), Fraction(14, 3))
    assert goal.flags == goal_mean.flags == (Flag.PRORATED, Flag.MISSING_RULE_PRODUCT_DEFAULT)
    assert (goal_mean.restates, goal_mean.metric, goal.restates) == ("goal", "mean", None)
    total, total_mean = new.scales["total"].value, new.restated["total_mean"].value
    assert total is not None
    assert total_mean == total / 12
    none = score(load("HAQ-II"), [None] * 19)
    assert none.restated["total_mean"].value is None
    assert Flag.INCOMPLETE in none.restated["total_mean"].flags


@pytest.mark.parametrize("day,score_without_risk", [("2023-04-16", None), ("2023-04-17", 20)])
def test_a_corrected_missing_rule_holds_from_its_day(
    day: str, score_without_risk: int | None
) -> None:
    """Rule 30: coresystemtrust: without risk two items could be missing, three since 2023-04-17."""
    gone = {1, 2, 14}
    items = [None if number in gone else 2 for number in range(1, 35)]
    scales = score(load("CORE-OM"), items, at=date.fromisoformat(day)).scales
    assert scales["non_risk"].value == score_without_risk
    assert scales["total"].value == 20
    assert scales["wellbeing"].value is None
    assert scales["problems"].value == scales["functioning"].value == 20


@pytest.mark.parametrize("item", [6, 9, 16, 22, 24, 34])
def test_each_risk_item_of_the_core_om_is_raised_by_itself(item: int) -> None:
    """Rule 35: one answer above the lowest is enough, whatever the total is."""
    positive = {3, 4, 7, 12, 19, 21, 31, 32}
    best: list[int | None] = [4 if number in positive else 0 for number in range(1, 35)]
    om = load("CORE-OM")
    assert om.risk_items_raised(best, None) == ()
    best[item - 1] = 1
    (raised,) = om.risk_items_raised(best, date(2024, 1, 1))
    assert raised.item == item
    best[item - 1] = None
    assert om.risk_items_raised(best, None) == ()


def test_a_risk_item_that_nobody_answered_is_named() -> None:
    """Rules 30 and 35: an unanswered risk item raises nothing, and is not passed over either."""
    report = score_report("PHQ-9", [0] * 8 + [None])
    assert (report["risk_items"], report["risk_items_unanswered"]) == ([], [9])
    assert "RISK item 9 was not answered" in report_text(report)
    answered = score_report("PHQ-9", [None] + [0] * 8)
    assert answered["risk_items_unanswered"] == []
    assert "RISK" not in report_text(answered)


def test_a_risk_item_is_raised_only_while_its_threshold_holds() -> None:
    """Rule 35: thresholds have a day from which they hold."""
    (risk,) = load("PHQ-9").risk_items
    later = risk.model_copy(update={"effective_from": date(2024, 1, 1)})
    phq = load("PHQ-9").model_copy(update={"risk_items": (later,)})
    items = [0] * 8 + [3]
    assert phq.risk_items_raised(items, date(2023, 12, 31)) == ()
    assert phq.risk_items_raised(items, date(2024, 1, 1)) == (later,)
    assert phq.risk_items_raised(items, None) == (later,)


# --- What holds of every key ----------------------------------------------------------------


def answers(definition: Definition, data: st.DataObject) -> list[int | None]:
    """Any answers to all items of its form."""
    scales = [definition.response_to(n) for n in range(1, definition.items.count + 1)]
    return [data.draw(st.integers(scale.low, scale.high)) for scale in scales]


@pytest.mark.parametrize("definition", SCORED, ids=lambda d: str(d.id))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_score_lies_within_its_stated_range(
    definition: Definition, data: st.DataObject
) -> None:
    """Rule 28: whatever is answered or left out, a score is within bounds or there is none."""
    items = answers(definition, data)
    left_out = data.draw(st.sets(st.integers(0, len(items) - 1), max_size=4))
    items = [None if place in left_out else item for place, item in enumerate(items)]
    for part in score(definition, items).scales.values():
        assert part.value is None or part.low <= part.value <= part.high
        assert (part.text is None) == (part.value is None)


@pytest.mark.parametrize("definition", SCORED, ids=lambda d: str(d.id))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_score_by_the_sum_is_the_score_part_by_part(
    definition: Definition, data: st.DataObject
) -> None:
    """Rule 28: what is kept at hand of a sum is what its answers come to, looked at one by one."""
    items = answers(definition, data)
    for name, part in score(definition, items).scales.items():
        assert part == part_by_part(definition, name, items, definition.missing_rule(None))


@pytest.mark.parametrize("definition", FULL, ids=lambda d: str(d.id))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_item_left_out_is_never_zero(definition: Definition, data: st.DataObject) -> None:
    """Rule 30: it makes no score, or the score of the mean of the others in its place."""
    items = answers(definition, data)
    place = data.draw(st.integers(0, len(items) - 1))
    items[place] = None
    for name, part in score(definition, items).scales.items():
        numbers = definition.scales[name].items
        if not numbers or place + 1 not in numbers or part.value is None:
            continue
        response, metric = definition.response, definition.metric_of(name)
        reverse = set(definition.reverse.items)
        counted = [
            response.low + response.high - item if number in reverse else item
            for number in numbers
            if (item := items[number - 1]) is not None
        ]
        mean = Fraction(sum(counted), len(counted) * response.scale)
        whole = mean * (len(numbers) if metric.of == "sum" else 1) * metric.times
        assert part.value == whole
        assert Flag.PRORATED in part.flags


@pytest.mark.parametrize("definition", SCORED, ids=lambda d: str(d.id))
def test_the_flag_of_an_unverified_key_stands_where_it_belongs(definition: Definition) -> None:
    """Rule 36: on each scale that rests on something not read, and then on the whole."""
    lowest = [definition.response_to(n).low for n in range(1, definition.items.count + 1)]
    scored = score(definition, lowest)
    for name, part in scored.scales.items():
        assert (Flag.UNVERIFIED in part.flags) != definition.scale_verified(name)
    assert (Flag.UNVERIFIED in scored.flags) != definition.verified


# --- Refusals and reports -------------------------------------------------------------------


def test_every_item_off_the_scale_is_named_at_once() -> None:
    """Rule 30: whoever mends the first need not come back for the second."""
    with pytest.raises(ItemOutOfRange) as error:
        parse_items(load("GAD-7"), [0, 4, "often", None, -1, "Several days", 2.5])
    told = error.value.to_caller
    for said in (
        "item 2: 4 is outside 0 to 3 in steps of 1",
        "item 3: 'often' is no number and no word of the scale 0 to 3",
        "item 5: -1 is outside",
        "item 7: 2.5 is outside",
    ):
        assert said in told
    assert told.count("its words are Not at all, Several days") == 1
    assert "often" not in error.value.detail
    assert error.value.detail.count("item ") == 4
    with pytest.raises(ItemOutOfRange, match=r"item 1: .*; item 3: "):
        check_items(load("GAD-7"), [9, 0, 9, 0, 0, 0, 0])


def test_a_report_says_what_the_answers_look_like() -> None:
    """Rule 36: a straight line is a reason to ask, told beside the score."""
    report = score_report("GAD-7", [2] * 7)
    (sign,) = report["quality"]
    assert (sign["kind"], sign["flagged"]) == ("straight-line", True)
    assert "quality: 7 of 7 answers in a row are the same." in report_text(report)
    assert not any(
        sign["flagged"] for sign in score_report("GAD-7", [0, 1, 2, 3, 0, 1, 2])["quality"]
    )


def test_a_report_names_the_change_that_counts_and_the_day_it_was_asked_for() -> None:
    """Rule 36: operator, value and source of reliable change; the rules of which day."""
    report = score_report("PHQ-9", [1] * 9, at=date(2025, 5, 1))
    reliable = report["changes"][0]
    assert (reliable["kind"], reliable["operator"], reliable["value"]) == ("reliable", ">=", "6")
    assert reliable["source"] == ["S25"]
    assert report["as_of"] == "2025-05-01"
    table = report_text(report)
    assert "change of total >= 6: reliable change, NHS Talking Therapies (S25)" in table
    assert "RISK item 9 >= 1" in table


def test_what_is_no_questionnaire_is_not_scored() -> None:
    """Rule 28: the refusal says what is used instead."""
    with pytest.raises(NotAQuestionnaire, match="marked as moments"):
        score_report("IPR", [1])


# --- What is worked out beforehand ----------------------------------------------------------


def outcome(
    read: Callable[[Definition, Sequence[object]], RawItems],
    definition: Definition,
    answers: Sequence[object],
) -> Sequence[object]:
    """The raw items, or what their sender and the log are told of the refusal."""
    try:
        return read(definition, answers)
    except ItemOutOfRange as refused:
        return refused.to_caller, refused.detail


@given(data=st.data())
@settings(max_examples=200)
def test_usual_spellings_are_read_as_any_spelling_is(data: st.DataObject) -> None:
    """Rule 30: what an answer comes to, and what it is refused for, is the same whichever way it
    is looked up: all at once by its usual spelling, or each by itself."""
    definition = data.draw(st.sampled_from(list(catalogue().values())))
    answers: list[object] = []
    for number in range(1, data.draw(st.sampled_from(definition.counts)) + 1):
        response = definition.response_to(number)
        item = st.integers(response.low, min(response.high, response.low + 200))
        usual = st.one_of(st.none(), item.map(response.shown), item.map(str))
        if response.labels:
            usual |= st.sampled_from(list(response.labels.values()))
        answers.append(data.draw(usual))
    for _ in range(data.draw(st.integers(0, 2))):
        odd = st.one_of(st.text(max_size=4), st.booleans(), st.floats(), st.integers(-2, 101))
        answers[data.draw(st.integers(0, len(answers) - 1))] = data.draw(odd)
    found = outcome(parse_items, definition, answers)
    assert found == outcome(parsed_one_by_one, definition, answers)
    if not isinstance(found[0], str):
        assert all(item is None or type(item) is int for item in found)


@given(data=st.data())
def test_raw_items_off_the_scale_are_all_named(data: st.DataObject) -> None:
    """Rule 30: a form is refused if one of its raw items is no answer, and every such item is in
    the refusal, also where it looks like one: true is not 1."""
    definition = data.draw(st.sampled_from(list(catalogue().values())))
    items: list[Any] = [definition.response_to(n).low for n in range(1, definition.items.count + 1)]
    off = data.draw(st.sets(st.integers(1, len(items)), max_size=3))
    for number in off:
        response = definition.response_to(number)
        odd = st.sampled_from([response.low - 1, response.high + 1, True, 1.0])
        items[number - 1] = data.draw(odd)
    if not off:
        check_items(definition, items)
        return
    with pytest.raises(ItemOutOfRange) as refused:
        check_items(definition, items)
    faults = (refused.value, *refused.value.others)
    assert [fault.ids["item"] for fault in faults] == sorted(off)


def test_a_changed_copy_of_a_key_scores_by_what_it_says_itself() -> None:
    """Rule 36: what is kept at hand of one definition is never used for another."""
    orders = load("ORS")
    assert score(orders, [100] * 4).of("total").value == 40
    scoring = orders.scoring
    assert scoring is not None
    doubled = orders.model_copy(update={"scoring": scoring.model_copy(update={"multiplier": 2})})
    assert score(doubled, [100] * 4).of("total").value == 80
    assert score(orders, [100] * 4).of("total").value == 40
