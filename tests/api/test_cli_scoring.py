"""Scores, T-scores and rescoring at the command line and over HTTP."""

import json
import re
import shlex
from typing import Any
from uuid import uuid4

import pytest

from api.cli.operator import Operator
from api.cli.rescoring import report
from api.opening import operator_id
from domain.access import RecordRead, access_stream
from domain.instrument import Perspective, versions
from domain.outcome import RateOutcome
from domain.rescoring import AdoptScoringKey, require_comparable
from domain.role import Role
from tests.api.commandline import ROOT, rapport
from tests.api.conftest import House

OLD, NEW = versions("CORE-OM")
THREE_MISSING = tuple(None if number in (1, 2, 14) else "2" for number in range(1, 35))


# --- Without a record -----------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "guide" / "scoring.md").read_text("utf-8")
SHOWN = [
    (lines[0], "\n".join(lines[1:]).strip())
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for lines in (one.splitlines() for one in block.split("$ ") if one)
]


@pytest.mark.parametrize("line,shown", SHOWN, ids=[line for line, _ in SHOWN])
def test_the_guide_shows_what_is_printed(line: str, shown: str) -> None:
    """Requirement: the guide to scores is executed, its exact messages too."""
    ran = rapport(*shlex.split(line)[1:])
    assert (ran.out + ran.err).strip() == shown


def test_a_score_is_as_of_a_day() -> None:
    """Rule 30: the missing rule in force on the day that is named."""
    items = json.dumps([None if answer is None else 2 for answer in THREE_MISSING])
    for day, expected in (("2023-04-16", None), ("2023-04-17", "20")):
        arguments = ("score", "core-om", "--items", items, "--as-of", day, "--format", "json")
        document = rapport(*arguments).document
        assert document["scales"]["non_risk"]["value"] == expected
        assert document["as_of"] == day
        assert document["key_hash"] == NEW.key_hash


@pytest.mark.parametrize(
    "arguments,status,said",
    [
        (("score", "3RS", "--items", "[1]"), 1, "3RS is a coding system, not a questionnaire."),
        (("score", "PHQ-9", "--items", "[1]"), 1, "PHQ-9 has 9 or 10 items, not 1"),
        (("score", "GAD-7", "--items", "[4,0,0,0,0,0,-1]"), 1, "item 7: -1 is outside 0 to 3"),
        (
            ("score", "GAD-7", "--items", '[{"a":1},1,1,1,1,1,1]'),
            1,
            "item 1: an object is no number",
        ),
        (("score", "GAD-7", "--items", "[NaN,1,1,1,1,1,1]"), 1, "item 1: 'NaN' is no number"),
        (("score", "GAD-7", "--items", "[true,1,1,1,1,1,1]"), 1, "item 1: true is no number"),
        (("score", "GAD-7", "--items", "[1e999999999,1,1,1,1,1,1]"), 1, "item 1: 1E+999999999 is"),
        (
            ("score", "GAD-7", "--items", '["\u0663",1,1,1,1,1,1]'),
            1,
            "item 1: '\\u0663' is no number",
        ),
        (("score", "GAD-7", "--items", "[]"), 1, "GAD-7 has 7 items, not 0"),
        (("score", "WAIS-R", "--items", "[1]"), 1, "There is no instrument 'WAIS-R'"),
        (("score", "SWLS", "--items", "[1,1,1,1,1]", "--as-of", "soon"), 2, "soon"),
        (("gas", "--scores", "[3]"), 1, "score of goal 1: a whole number from -2 to 2, or null."),
        (("gas", "--scores", "[1, 1]", "--weights", "[1]"), 1, "2 goals and 1 weights"),
        (("gas", "--scores", "[1]", "--weights", "[0]"), 1, "a number above 0"),
        (("gas", "--scores", "[1, 2]", "--baseline", "[-1]"), 1, "2 goals and 1 baseline scores"),
        (("gas", "--scores", "[1]", "--rho", "2"), 1, "from 0 to 1"),
        (("gas", "--scores", "1"), 2, "--scores '[1, 0, -1]'"),
        (("gbo", "--first", "[1]", "--last", "[12]"), 1, "a whole number from 0 to 10, or null."),
        (("rescore", "CORE-OM", "--from", "1.0", "--to", "3.0"), 1, "it has the versions 1.0, 1.1"),
        (("rescore", "GAS", "--from", "1.0", "--to", "1.0"), 1, "not a questionnaire"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(
    arguments: tuple[str, ...], status: int, said: str
) -> None:
    """Rule 30: the sentence names the place and what mends it."""
    ran = rapport(*arguments)
    assert ran.status == status
    assert said in ran.err
    assert ran.out == ""


def test_a_t_score_stands_beside_its_baseline() -> None:
    """Rule 26: the same goals, before and after."""
    arguments = ("gas", "--scores", "[1, 2, 0]", "--baseline", "[-1, -2, -1]", "--format", "json")
    document = rapport(*arguments).document
    assert (document["t_score"], document["baseline"]["t_score"]) == ("63.69", "31.74")
    assert document["change"] == "31.95"
    assert document["rho"] == "0.3"
    words = rapport("gas", "--scores", "[1, null]", "--baseline", "[0, 0]").out
    assert "T 60.00 over goals 1" in words
    assert "not rated, and in no sum: 2" in words
    assert "none: they are not of the same goals" in words


def test_goals_that_moved_are_told_one_by_one() -> None:
    """Rule 26: each goal, the mean, and whether it is reliable by whom."""
    words = rapport("gbo", "--first", "[2, 3, 1]", "--last", "[6, 5, null]").out
    assert "goal 1: +4\ngoal 2: +2\ngoal 3: not rated both times\nmean change 3.00" in words
    assert "mean change >= 2.45: yes (reliable change; own-knowledge-medium)" in words


# --- On a record ----------------------------------------------------------------------------


def rescored(house: House) -> dict[str, Any]:
    service = house.practice.service
    who = Operator(operator_id(service.log), Role.SYSTEM, "rescore CORE-OM")
    return report(service, who, OLD, NEW, lambda *_: None)


def readings(house: House) -> list[RecordRead]:
    """Who read what of the first relationship, so far."""
    trail = house.practice.clinic.log.history(access_stream(house.relationship))
    return [read for _, read in trail.of(RecordRead)]


def test_a_rescore_reports_old_new_and_entry_and_changes_nothing(house: House) -> None:
    """Rules 31, 41: nothing is written but that it was read; views switch by an entry."""
    practice = house.practice
    rating = RateOutcome(
        relationship=house.relationship,
        rating=uuid4(),
        instrument="CORE-OM",
        instrument_version="1.0",
        perspective=Perspective.CLIENT,
        rater=house.client.person,
        answers=THREE_MISSING,
    )
    receipt = practice.recorded(house.client, rating)
    size, before = practice.clinic.log.head_size(), len(readings(house))
    document = rescored(house)
    assert (document["ratings"], document["affected"], document["adopted"]) == (1, 1, False)
    (entry,) = document["entries"]
    assert entry["relationship"] == str(house.relationship)
    assert entry["position"] == receipt["entries"][0]["position"]
    assert entry["rating"] == str(rating.rating)
    changed = {each["what"]: (each["old"], each["new"]) for each in entry["differences"]}
    assert changed == {"non_risk": (None, "20"), "non_risk_mean": (None, "2")}
    assert practice.clinic.log.head_size() == size + 1
    assert readings(house)[before].purpose == "rescore CORE-OM"
    adopt = AdoptScoringKey(
        instrument="CORE-OM", from_key="1.0", to_key="1.1", reason="Corrected on 2023-04-17."
    )
    practice.recorded(house.administrator, adopt)
    assert rescored(house)["adopted"] is True


def test_nobody_is_noted_where_nothing_differs(house: House) -> None:
    """Rule 41: a relationship of which nothing is shown was not read."""
    before = len(readings(house))
    document = rescored(house)
    assert (document["ratings"], document["entries"]) == (0, [])
    assert len(readings(house)) == before
    require_comparable(OLD, NEW)


# --- Over HTTP ------------------------------------------------------------------------------


def test_the_api_scores_as_the_command_line_does(house: House) -> None:
    """Rule 28: the same report, without a record."""
    body = {"instrument": "PHQ-9", "answers": [1, 1, 1, 1, 1, 1, 1, 1, 2], "as_of": "2025-01-01"}
    answer = house.practice.client.post("/api/v1/score", json=body, headers=house.client.headers)
    assert answer.status_code == 200, answer.text
    items = json.dumps(body["answers"])
    arguments = ("score", "PHQ-9", "--items", items, "--as-of", "2025-01-01", "--format", "json")
    assert answer.json() == rapport(*arguments).document
    assert [risk["item"] for risk in answer.json()["risk_items"]] == [9]


def test_the_api_refuses_with_the_items_and_never_the_answers(house: House) -> None:
    """R27: a problem names each item that does not fit; what was answered stays with its sender."""
    body = {"instrument": "GAD-7", "answers": [7777777, 1, 1, 1, 1, 1, 8888888]}
    answer = house.practice.client.post("/api/v1/score", json=body, headers=house.client.headers)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert "item 1" in detail
    assert "item 7" in detail
    assert "7777777" not in answer.text
    assert "8888888" not in answer.text


@pytest.mark.parametrize(
    "answers, said",
    [
        ({"a": 1}, "Input should be a JSON list"),
        ([], "The list should have at least 1 item after validation, not 0"),
    ],
)
def test_the_api_says_what_json_it_wants(house: House, answers: Any, said: str) -> None:
    """R27: whoever sends JSON is told of JSON, not of the language that reads it."""
    body = {"instrument": "GAD-7", "answers": answers}
    answer = house.practice.client.post("/api/v1/score", json=body, headers=house.client.headers)
    assert answer.status_code == 422
    assert [(each["pointer"], each["message"]) for each in answer.json()["errors"]] == [
        ("/answers", said)
    ]


def test_every_instrument_is_listed_with_what_it_is(house: House) -> None:
    """Rule 28: questionnaires, and what is none of them."""
    listed = house.practice.shown(house.client, "/instruments")["items"]
    kinds = {each["id"]: (each["kind"], each["metric"]) for each in listed}
    assert len(kinds) == 28
    assert kinds["CORE-OM"] == ("questionnaire", "mean x 10")
    assert kinds["CALPAS-P"] == ("questionnaire", "raw")
    assert kinds["3RS"] == ("coding-system", None)
