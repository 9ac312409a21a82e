"""`rapport analyse` and `rapport change`: the guide's examples, and every way to ask wrongly."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from domain.methods.catalogue import METHODS
from tests.api.commandline import ROOT, Ran, rapport

GUIDE = (ROOT / "docs/guide/methods.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ (.+?)\n(.*?)```", GUIDE, flags=re.DOTALL)
(SCORES,) = re.findall(r"```csv\n(.*?)```", GUIDE, flags=re.DOTALL)
REST = "…\n"

PAPER = ("--sd", "7.5", "--alpha", "0.80", "--norm-mean", "60", "--norm-sd", "7.5",
         "--dysfunctional-mean", "40", "--dysfunctional-sd", "7.5")  # fmt: skip


@pytest.fixture(autouse=True)
def _beside_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which the guide's examples run; no record is near."""
    (tmp_path / "scores.csv").write_text(SCORES, encoding="utf-8")
    (tmp_path / "twice.csv").write_text("before,before,after\n1,2,3\n", encoding="utf-8")
    (tmp_path / "parted.csv").write_text("before;after\n1;2\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAPPORT_HOME", str(tmp_path / "nothing"))


def document(*arguments: str) -> Any:
    """The JSON that a command prints; there is no number in it that is not whole."""
    ran = rapport(*arguments, "--format", "json")
    assert ran.status == 0, ran.err

    def refuse(number: str) -> None:
        raise AssertionError(number)

    return json.loads(ran.out, parse_float=refuse)


# --- The guide ------------------------------------------------------------------------------


@pytest.mark.parametrize("command, output", SHOWN, ids=range(len(SHOWN)))
def test_the_guide_prints_what_it_shows(command: str, output: str) -> None:
    """Requirement: docs are executed; `…` stands for the rest."""
    ran = rapport(*shlex.split(command)[1:])
    assert ran.status == 0, ran.err
    if output.endswith(REST):
        assert ran.out.startswith(output.removesuffix(REST))
    else:
        assert ran.out == output


def test_the_guide_names_every_method() -> None:
    """Requirement: every method is documented, and nothing that is none."""
    table = GUIDE.partition("## The methods")[2].partition("## Asking")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE)) == set(METHODS)


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("analyse", "shape", "--values", '[1, 2, "x"]'), 2, "--values: place 3: 'x' is no number."),
    (("analyse", "shape", "--values", "[1, 2"), 2, "--values is no JSON."),
    (("analyse", "shape", "--values", '{"a": 1}'), 2, "--values is no list."),
    (("analyse", "shape", "--values", "[1, NaN]"), 2, "--values: place 2: 'NaN' is no number."),
    (("analyse", "shape", "--values", "[1, 1e999999999]"), 2, "--values: place 2: 1e+999999999 is"),
    (("analyse", "shape", "--values", "[1, 1e-999999999]"), 2, "--values: place 2: 1e-999999999"),
    (("analyse", "shape", "--values", "[1e15, 1]"), 2, "--values: place 1: 1e+15 is no number."),
    (("analyse", "shape", "--values", "[1, true]"), 2, "--values: place 2: true is no number."),
    (
        ("analyse", "shape", "--values", "[50, 2]", "--instrument", "SRS-3"),
        1,
        "--values: place 1: 50 is outside 0 to 40, the range of its scale "
        "(value-off-scale; rule 30)",
    ),
    (
        ("analyse", "shape", "--values", "[5, 2]", "--low", "3"),
        1,
        "--values: place 2: 2 is outside 3 to any value, the range of its scale "
        "(value-off-scale; rule 30)",
    ),
    (
        ("analyse", "shape", "--values", "[[1, 2, 3, 4]]"),
        2,
        "--values: place 1 is a list of answers, and no key scores them.",
    ),
    (
        ("analyse", "shape", "--values", "[[1, 2, 3]]", "--instrument", "SRS-3"),
        1,
        "SRS-3 has 4 items, not 3: give one each, null where not answered. "
        "(item-count-wrong; rule 30)",
    ),
    (
        ("analyse", "shape", "--values", "[[1, 2, 3, 11]]", "--instrument", "SRS-3"),
        1,
        "item 4: 11 is outside 0.0 to 10.0 in steps of 0.1",
    ),
    (("analyse", "foo", "--values", "[1]"), 1, "There is no method 'foo'; there are absolute, "),
    (
        ("analyse", "shape", "--values", "[1]", "--param", "k=1"),
        1,
        "shape has no parameter 'k'; it has margin. (parameter-unknown)",
    ),
    (
        ("analyse", "shape", "--values", "[1]", "--param", "margin=-1"),
        1,
        "shape: margin must be a number at least 0. (parameter-unfit)",
    ),
    (("analyse", "shape", "--values", "[1]", "--param", "margin"), 2, "--param 'margin' sets"),
    (
        ("analyse", "shape", "--values", "[1]", "--param", "margin=1", "--param", "margin=2"),
        2,
        "--param margin is given twice.",
    ),
    (("analyse", "shape"), 2, "Give a method and --values."),
    (("analyse", "shape", "--values", "[1]", "--therapist", "[1]"), 2, "shape takes no --ther"),
    (("analyse", "congruence", "--values", "[1]"), 2, "congruence compares two series."),
    (("analyse", "shape", "--values", "[1]", "--scale", "bond"), 2, "--scale belongs to an"),
    (
        ("analyse", "shape", "--values", "[1]", "--scale", "love", "--instrument", "WAI-SR"),
        2,
        "--scale: WAI-SR has no scale 'love'.",
    ),
    (("analyse", "shape", "--values", "[1]", "--low", "x"), 2, "--low: 'x' is no number."),
    (("analyse", "shape", "--values", "[1]", "--times", '["soon"]'), 2, "--times: place 1: 'soon'"),
    (
        ("analyse", "shape", "--values", "[1, 2]", "--times", '["2026-01-01"]'),
        2,
        "--times has 1 places and --values 2.",
    ),
    (("analyse", "episode", "--values", "[1]", "--resolved", "[2]"), 2, "--resolved names a ses"),
    (("analyse", "episode", "--values", "[1]", "--resolved", "[0]"), 2, "--resolved: '0' is no"),
    (
        ("analyse", "response-quality", "--values", '[[1, "x"]]'),
        2,
        "--values: place 1, item 2: 'x' is no number.",
    ),
    (("analyse", "response-quality", "--values", "[[1], 2]"), 2, "--values: place 2 is no list"),
    (("change", "--pre", "x", "--post", "1", *PAPER), 2, "--pre: 'x' is no number."),
    (("change", "--pre", "1", "--post", "2", "--alpha", "0.8"), 2, "Give --sd, "),
    (
        ("change", "--pre", "1", "--post", "2", "--alpha", "1", "--sd", "5"),
        2,
        "--alpha must be at least 0 and below 1.",
    ),
    (("change", "--pre", "1", "--post", "2", "--alpha", "0.8", "--sd", "0"), 2, "--sd must be ab"),
    (
        ("change", "--pre", "1", "--post", "2", "--alpha", "0.8", "--sd", "5", "--z", "0"),
        2,
        "--z must be above 0.",
    ),
    (
        ("change", "--pre", "1", "--post", "2", "--alpha", "0.8", "--sd", "5", "--norm-sd", "2"),
        2,
        "--norm-mean and --norm-sd belong together.",
    ),
    (
        ("change", "--pre", "1", "--post", "2", "--alpha", "0.8", "--sd", "5", "--criterion", "a"),
        2,
        "--criterion a needs a cut-off that is not known.",
    ),
    (
        ("change", "--pre", "1", "--post", "2", *PAPER, "--direction", "lower-better"),
        1,
        "With lower scores better, the functional population's mean must lie below",
    ),
    (("change", "--pre", "1", "--post", "2", "--sd", "5"), 2, "Give --alpha, the reliability"),
    (
        ("change", "--pre", "30", "--post", "40", "--instrument", "WAI-SR"),
        2,
        "No reliable change of WAI-SR",
    ),
    (
        ("change", "--pre", "30", "--post", "9", "--instrument", "PHQ-9"),
        1,
        "pre: 30 is outside 0 to 27, the range of PHQ-9 1.0 (value-off-scale; rule 30)",
    ),
    (
        ("change", "--pre", "1", "--post", "2", "--instrument", "ORS", "--population", "cats"),
        2,
        "ORS has no cut-off for 'cats'.",
    ),
    (
        ("change", "--csv", "scores.csv", "--pre", "x", "--post", "after", "--alpha", "0.8"),
        2,
        "scores.csv has no column 'x'.",
    ),
    (
        ("change", "--csv", "scores.csv", "--pre", "after", "--post", "after", "--alpha", "0.8"),
        2,
        "--pre and --post name the same column.",
    ),
    (
        ("change", "--pre", "40", "--post", "50", "--instrument", "WHO-5"),
        2,
        "No reliable change of WHO-5 1.0 is known here.\n  Give --sd and --alpha.\n",
    ),
    (
        ("change", "--csv", "twice.csv", "--pre", "before", "--post", "after", "--alpha", "0.8"),
        2,
        "twice.csv has 2 columns 'before'.",
    ),
    (
        ("change", "--csv", "parted.csv", "--pre", "before", "--post", "after", "--alpha", "0.8"),
        2,
        "parted.csv has no column 'before'.\n  Its columns: 'before;after'; a comma parts them.",
    ),
    (
        ("analyse", "congruence", "--values", "[5, 6, 3]", "--therapist", "[4, 5]"),
        2,
        "--therapist has 2 places and --values 3.",
    ),
    (
        ("change", "--csv", "none.csv", "--pre", "a", "--post", "b", "--alpha", "0.8"),
        3,
        "none.csv: No such file or directory.",
    ),
]


@pytest.mark.parametrize("arguments, status, said", REFUSED)
def test_what_is_asked_wrongly_is_told(arguments: tuple[str, ...], status: int, said: str) -> None:
    """Rule 30: a message says what is wrong and where, and what mends it; nothing is printed."""
    ran = rapport(*arguments)
    assert ran.err.startswith(f"rapport: {said}"), ran.err
    assert (ran.status, ran.out) == (status, "")


# --- Analyse --------------------------------------------------------------------------------


def test_the_list_names_every_method() -> None:
    """Requirement: what there is can be asked for, with parameters and their sources."""
    told = document("analyse", "--list")["methods"]
    assert [one["method"] for one in told] == list(METHODS)
    assert all(name in rapport("analyse", "--list").out for name in METHODS)


def test_a_refusal_is_an_answer_with_status_zero() -> None:
    """Rule 38: a method that declines has answered."""
    card = document("analyse", "change-point", "--values", "[30, 20]")
    assert card["outcome"] == "refused"
    assert card["refusal"]["code"] == "not-enough-data"


def test_times_that_nobody_gave_are_not_shown() -> None:
    """House rule: nothing is made up; the order of the list is all there is."""
    card = document("analyse", "shape", "--values", "[1, null, 3, 4, 5]")
    assert {one["occurred_at"] for one in card["inputs"]} == {None}
    assert [one["session"] for one in card["inputs"]] == [1, 3, 4, 5]


def test_answers_are_scored_by_the_instruments_key() -> None:
    """Rule 28: a score is computed by the key; a form with too few answers is not rated."""
    ran = rapport(
        "analyse", "shape", "--instrument", "WAI-SR", "--scale", "bond", "--format", "json",
        "--values", "[[5,5,5,5,5,5,5,5,5,5,5,5], [1,1,1,1,1,1,1,1,1,1,1,1], "
        "[null,null,null,null,null,null,null,null,null,null,null,null], 12]",
    )  # fmt: skip
    assert "place 3: too few answers for a score" in ran.err
    card = json.loads(ran.out)
    assert [(one["session"], one["value"]) for one in card["inputs"]] == [
        (1, "20"),
        (2, "4"),
        (4, "12"),
    ]
    assert card["series"][0]["scale"] == "bond"


def test_as_known_at_leaves_out_what_was_recorded_later() -> None:
    """Rule 38: no look-ahead at the command line either."""
    asked = (
        "analyse", "criterion-drop", "--param", "sd_ref=4", "--values", "[36, 30, 29]",
        "--times", '["2026-01-01", "2026-01-08", "2026-01-15T10:00:00+01:00"]',
        "--recorded", '["2026-01-01", "2026-03-01", "2026-01-15T10:00:00+01:00"]',
        "--known-at",
    )  # fmt: skip
    then = document(*asked, "2026-02-01")
    assert [one["value"] for one in then["inputs"]] == ["36", "29"]
    assert then["as_known_at"] == "2026-02-01T23:59:59.999999+00:00"
    assert len(document(*asked, "2026-03-01")["inputs"]) == 3, "a date is the end of that day"
    assert len(document(*asked, "2026-02-28T23:00:00-01:00")["inputs"]) == 3
    assert len(document(*asked, "2026-02-28T23:59:59")["inputs"]) == 2


def test_a_resolution_that_a_person_recorded_is_given_by_session() -> None:
    """Rule 37: what people said counts beside the score."""
    asked = ("analyse", "episode", "--param", "sd_ref=4", "--values", "[36, 30, 30, 30]")
    assert document(*asked)["figures"]["open"] == "1"
    assert document(*asked, "--resolved", "[3]")["figures"]["repaired"] == "1"


def test_the_direction_is_the_instruments_or_a_choice() -> None:
    """Rule 32: a rise is worse where lower is better."""
    asked = ("analyse", "criterion-drop", "--param", "sd_ref=4", "--values", "[10, 16]")
    assert document(*asked)["outcome"] == "not-flagged"
    assert document(*asked, "--direction", "lower-better")["outcome"] == "flagged"


def test_forms_are_looked_at_item_by_item() -> None:
    """Rule 36: response quality reads raw items; one form may stand alone."""
    alone = document("analyse", "response-quality", "--values", "[3, 3, 3, 3, 3, 3]")
    assert alone["outcome"] == "flagged"
    assert alone["inputs"][0]["value"] is None
    words = document(
        "analyse", "response-quality", "--instrument", "WAI-SR", "--values",
        json.dumps([["Always"] * 12] * 3),
    )  # fmt: skip
    kinds = {one["kind"] for one in words["findings"] if one["flagged"]}
    assert kinds == {"straight-line", "run-of-maxima"}


# --- Change ---------------------------------------------------------------------------------


def test_a_pair_is_judged_exactly() -> None:
    """Requirement: the paper's example, as a document with decimal text."""
    told = document("change", "--pre", "32.5", "--post", "47.5", *PAPER)
    (judged,) = told["changes"]
    assert judged.pop("says").startswith("From 32.5 to 47.5 (RC 3.16)")
    assert judged == {
        "pre": "32.5",
        "post": "47.5",
        "change": "15",
        "rc": "3.162278",
        "reliable": True,
        "crossed_cutoff": False,
        "category": "improved",
    }
    yardstick = told["yardstick"]
    assert yardstick["standard_error_of_measurement"] == "3.354102"
    assert yardstick["standard_error_of_difference"] == "4.743416"
    cutoffs = [yardstick[f"cutoff_{name}"] for name in "abc"]
    assert (cutoffs, yardstick["criterion"]) == (["55", "45", "50"], "c")
    assert told["counts"]["improved"] == 1


@pytest.mark.parametrize("alpha", [".80", "0.8", "+.8"])
@pytest.mark.parametrize("pre", ["\N{MINUS SIGN}1.5", "-1.5", "-1.50"])
def test_numbers_are_read_as_papers_print_them(alpha: str, pre: str) -> None:
    """Requirement: `.80` and a true minus sign are numbers too."""
    told = document("change", f"--pre={pre}", "--post=13.5", "--sd=7.5", f"--alpha={alpha}")
    assert told["changes"][0]["change"] == "15"


def test_the_direction_follows_the_means_where_nobody_says_it() -> None:
    """Rule 32: the functional population's side is the better one."""
    norms = ("--norm-mean", "4", "--norm-sd", "3", "--dysfunctional-mean", "16",
             "--dysfunctional-sd", "6")  # fmt: skip
    told = document("change", "--pre", "20", "--post", "5", "--sd", "6", "--alpha", "0.9", *norms)
    assert told["yardstick"]["direction"] == "lower-better"
    assert told["yardstick"]["cutoff"] == "8"
    assert told["changes"][0]["category"] == "recovered"
    plain = document("change", "--pre", "20", "--post", "5", "--sd", "6", "--alpha", "0.9")
    assert plain["yardstick"]["direction"] == "higher-better"
    assert plain["changes"][0]["category"] == "deteriorated"


def test_an_instrument_brings_what_is_published_of_it() -> None:
    """Rules 36, 38: with operator, direction, cut-off for whom, and whether it is verified."""
    adults = ("--instrument", "ORS", "--population", "18 years and older")
    told = document("change", "--pre", "20", "--post", "25", *adults)
    assert told["changes"][0]["category"] == "recovered"
    yardstick = told["yardstick"]
    assert (yardstick["cutoff"], yardstick["cutoff_operator"]) == ("25", "<")
    assert (yardstick["reliable_change"], yardstick["reliable_change_operator"]) == ("5", ">=")
    assert yardstick["verified"] is False
    several = rapport("change", "--pre", "12", "--post", "7", "--instrument", "GAD-7")
    assert "has no single cut-off here: >= 10" in several.err
    assert several.out.startswith("improved: ")
    chosen = document(
        "change", "--pre", "12", "--post", "7", "--instrument", "GAD-7", "--cutoff", ">=8"
    )
    assert chosen["changes"][0]["category"] == "recovered"
    by_rc = document(
        "change", "--pre", "30", "--post", "45", "--instrument", "WAI-SR", "--sd", "8",
        "--alpha", ".9",
    )  # fmt: skip
    assert by_rc["changes"][0]["category"] == "improved"


def test_only_cut_offs_of_the_same_scale_are_named() -> None:
    """Rule 32: a cut-off of the raw sum says nothing of the percentage."""
    ran = rapport(
        *("change", "--pre", "40", "--post", "50", "--instrument", "WHO-5"),
        *("--sd", "20", "--alpha", "0.8"),
    )
    assert ran.status == 0
    assert ran.err == (
        "WHO-5 1.0 has no single cut-off here: <= 50 (screen for depression); "
        "<= 28 (depression likely).\n"
    )


def test_a_file_is_judged_row_by_row() -> None:
    """Rule 30: a missing score is missing, not zero; lines count as editors count them."""
    asked = ("change", "--csv", "scores.csv", "--pre", "before", "--post", "after")
    told = document(*asked, *PAPER)
    assert [(one["line"], one["category"]) for one in told["changes"]] == [
        (2, "improved"),
        (3, "unchanged"),
        (4, "deteriorated"),
        (5, "missing"),
        (6, "recovered"),
    ]
    assert told["changes"][3] == {"line": 5, "pre": None, "post": "20", "category": "missing"}
    assert told["counts"] == {
        "recovered": 1,
        "improved": 1,
        "unchanged": 1,
        "deteriorated": 1,
        "missing": 1,
    }
    own = document(*asked, "--alpha", "0.8")["yardstick"]
    assert (own["sd"], own["sd_source"]) == ("10.873324", "the sample SD of the pre column")


def judged(text: str, tmp_path: Path) -> Ran:
    (tmp_path / "file.csv").write_text(text, encoding="utf-8")
    return rapport("change", "--csv", "file.csv", "--pre", "a", "--post", "b", "--alpha", "0.8")


def test_every_cell_that_is_no_number_is_told(tmp_path: Path) -> None:
    """Rule 30: line, column, value and mend; nothing is judged until all rows fit."""
    ran = judged("a,b\n1,x\n2,3\ny,4\n5\n", tmp_path)
    assert ran.err.splitlines() == [
        "rapport: file.csv line 2, column b: 'x' is no number",
        "file.csv line 4, column a: 'y' is no number",
        "file.csv line 5: The row has not 2 columns. (columns-wrong)",
        "  Write numbers as in 7.5, leave a cell empty where there is no score,"
        " and give every row as many cells as the header has.",
    ]
    assert (ran.status, ran.out) == (1, "")
    many = judged("a,b\n" + "x,1\n" * 30, tmp_path)
    assert "… and 10 more" in many.err


def test_a_file_without_spread_needs_an_sd(tmp_path: Path) -> None:
    """Rule 38: one score has no standard deviation."""
    assert "does not hold two different scores" in judged("a,b\n1,2\n1,3\n", tmp_path).err
    assert "does not hold two different scores" in judged("a,b\n", tmp_path).err


def test_a_file_that_is_no_csv_is_told(tmp_path: Path) -> None:
    """Requirement: every input that is not understood is told, without a traceback."""
    (tmp_path / "file.csv").write_bytes(b"a,b\n1,\xff\n")
    ran = rapport("change", "--csv", "file.csv", "--pre", "a", "--post", "b", "--alpha", "0.8")
    assert ran.status in (1, 2)
    assert "UTF-8" in ran.err
