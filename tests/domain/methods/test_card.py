"""Method cards: what every answer carries, and what cannot be asked."""

import json
import re
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from domain.methods.card import Basis, Chosen, MethodCard, Outcome, ParameterUnfit, ParameterUnknown
from domain.methods.catalogue import METHODS, MethodUnknown, method
from domain.methods.report import card_text, render_card, render_method
from domain.methods.series import Series
from tests.domain.methods.lines import BEGINNING, WEEK, dyad, forms, line, point

VALUES = (30, 32, 30, 33, 31, 18, 20, 31, 30, 32, 12, 11)
ANSWERS = [(3, 3, 3, 3, 3, 3), (5, 5, 5, 5, 5, 5), (5, 5, 5, 5, 5, 5), (5, 5, 5, 5, 5, 5)]
NEEDED: dict[str, dict[str, Any]] = {
    "absolute": {"threshold": 20},
    "reliable-drop": {"sd": 4, "alpha": Fraction("0.8")},
    "reliable-change": {"sd": 4, "alpha": Fraction("0.8")},
}


def card_of(name: str) -> MethodCard:
    """A card of that method with something on it."""
    data: Any = line(*VALUES)
    if name == "congruence":
        data = dyad(VALUES, [value // 2 + 8 for value in VALUES])
    if name == "response-quality":
        data = forms(*ANSWERS)
    return METHODS[name].card(data, NEEDED.get(name, {}))


CARDS = pytest.mark.parametrize("card", [card_of(name) for name in METHODS], ids=list(METHODS))


@CARDS
def test_a_card_names_all_that_it_rests_on(card: MethodCard) -> None:
    """Rule 37: method, version, parameters with their sources, and input entries are listed."""
    document = render_card(card)
    assert document["derived"] is True
    assert re.fullmatch(r"\d+\.\d+", document["version"])
    assert document["outcome"] in ("flagged", "not-flagged", "described")
    assert document["sources"]
    for parameter in document["parameters"]:
        assert parameter["source"], parameter
        assert parameter["basis"] in ("default", "chosen", "instrument")
        assert parameter["effective_from"]
    assert len(document["inputs"]) == len(card.points)
    places = {one["place"] for one in document["inputs"]}
    for finding in document["findings"]:
        assert {finding["place"], *finding["rests_on"]} <= places
        assert finding["says"].endswith(".")


@CARDS
def test_a_card_holds_no_float(card: MethodCard) -> None:
    """House rule: figures are decimal text; nothing that might be stored is a float."""

    def refuse(number: str) -> None:
        raise AssertionError(number)

    json.loads(json.dumps(render_card(card)), parse_float=refuse)
    for name, value in card.figures.items():
        assert isinstance(value, str), name


CLAIMS = re.compile(
    r"\b(because|caused?|due to|predict\w*|will|risk of|dropout|therap\w+ fail\w*|score of \d+ is"
    r" a rupture)\b",
    re.IGNORECASE,
)


@CARDS
def test_a_card_claims_no_cause_and_no_future(card: MethodCard) -> None:
    """Rule 44: no causal wording, no prediction for a person, no rupture as a fact from a score."""
    said = [card.asks, card.says, *card.notes, *(one.says for one in card.findings)]
    for sentence in said:
        assert not CLAIMS.search(sentence), sentence
        bare = sentence.lower().replace("possible rupture", "").replace("is no rupture", "")
        assert "rupture" not in bare, sentence


@CARDS
def test_a_card_is_text_for_people_too(card: MethodCard) -> None:
    """Requirement: the same answer, the refusal included, for a person at a terminal."""
    text = card_text(card)
    assert card.says in text
    assert card.title in text
    assert all(one.says in text for one in card.flagged)
    assert all(parameter.name in text for parameter in card.parameters)


def test_declining_is_an_answer() -> None:
    """Rule 38: a refusal is a result with a code and a sentence, on the card and in the text."""
    card = METHODS["control-chart"].card(line(30, 31))
    assert card.outcome is Outcome.REFUSED
    document = render_card(card)
    assert document["refusal"] == {"code": "not-enough-data", "says": card.says}
    assert "no answer (not-enough-data)" in card_text(card)


def test_every_method_declines_on_nothing() -> None:
    """Rule 38: without any rating no method answers, and none fails."""
    for name, one in METHODS.items():
        empty: Any = {"congruence": dyad([], []), "response-quality": forms()}.get(name, line())
        assert one.card(empty).outcome is Outcome.REFUSED, name


def test_inputs_name_their_entries_and_both_times() -> None:
    """Rule 37: each input says which entry established it, when it happened and was known."""
    late = point(2, 31, entry=17, known_at=BEGINNING + 5 * WEEK, flags=("prorated",))
    document = render_card(METHODS["shape"].card(Series.of([point(1, 30, entry=12), late])))
    first, second = document["inputs"]
    assert (first["entry"], second["entry"], second["session"]) == (12, 17, 2)
    assert second["flags"] == ["prorated"]
    assert second["known_at"] > second["occurred_at"]
    assert document["series"] == [
        {
            "instrument": "WAI-SR",
            "form": "WAI-SR",
            "metric": "sum",
            "key_major": 1,
            "perspective": "client",
            "scale": "total",
            "rater": None,
        }
    ]


# --- Parameters -----------------------------------------------------------------------------


def test_a_chosen_parameter_carries_its_source_and_date() -> None:
    """Rule 38: parameters are data: value, operator, source, effective date, default or chosen."""
    norm = Chosen(Fraction("4.2"), "a published norm", date(2025, 1, 1))
    card = METHODS["criterion-drop"].card(line(30, 25), {"sd_ref": norm, "k": 1})
    used = {one.name: one for one in card.parameters}
    assert used["sd_ref"].source == "a published norm"
    assert used["sd_ref"].effective_from == date(2025, 1, 1)
    assert (used["k"].basis, used["k"].operator) == (Basis.CHOSEN, ">=")
    told = {one["name"]: one for one in render_card(card)["parameters"]}
    assert told["sd_ref"]["effective_from"] == "2025-01-01"
    default = METHODS["criterion-drop"].card(line(30, 25))
    assert {one.basis for one in default.parameters} == {Basis.DEFAULT}


def test_an_unknown_parameter_is_refused_with_those_there_are() -> None:
    """Rule 38: nothing that was asked for is silently left out."""
    with pytest.raises(ParameterUnknown, match=r"'kk'; it has k, sd_ref"):
        METHODS["criterion-drop"].card(line(30, 25), {"kk": 1})


@pytest.mark.parametrize(
    "name, chosen, expected",
    [
        ("criterion-drop", {"k": 0}, "a number above 0"),
        ("criterion-drop", {"k": "much"}, "a number above 0"),
        ("criterion-drop", {"k": True}, "a number above 0"),
        ("control-chart", {"baseline": 4}, "a whole number at least 5"),
        ("control-chart", {"baseline": Fraction("5.5")}, "a whole number at least 5"),
        ("person-deviation", {"past": 2}, "a whole number at least 3"),
        ("change-point", {"segment": 2}, "a whole number at least 3"),
        ("change-point", {"p": Fraction("0.6")}, "a number above 0 and at most 0.5"),
        ("reliable-drop", {"alpha": Fraction("1.1")}, "a number at least 0 and at most 1"),
        ("episode", {"repaired_by": "time"}, "one of either, score, person, both"),
        ("early-alliance", {"last": 2}, "a whole number at least 3"),
        ("absolute", {"operator": "="}, "one of both, <, <=, >, >="),
        ("absolute", {"population": 5}, "text"),
    ],
)
def test_an_unfit_parameter_is_refused_with_what_it_must_be(
    name: str, chosen: dict[str, Any], expected: str
) -> None:
    """Rule 38: the message names method, parameter and what mends it, never what was sent."""
    with pytest.raises(ParameterUnfit) as refused:
        METHODS[name].card(line(30, 25), chosen)
    (parameter,) = chosen
    assert refused.value.detail == f"{name}: {parameter} must be {expected}."


def test_the_list_of_methods_is_closed_and_complete() -> None:
    """Requirement: every method of the domain is in the catalogue, by its name."""
    assert list(METHODS) == [
        "absolute", "criterion-drop", "reliable-drop", "control-chart", "person-deviation",
        "change-point", "episode", "shape", "early-alliance", "reliable-change", "congruence",
        "response-quality",
    ]  # fmt: skip
    assert all(method(name) is one for name, one in METHODS.items())
    for one in METHODS.values():
        told = render_method(one)
        assert told["asks"].endswith("?")
        assert all(parameter["must_be"] for parameter in told["parameters"])
    with pytest.raises(MethodUnknown, match="absolute, criterion-drop"):
        method("horoscope")
