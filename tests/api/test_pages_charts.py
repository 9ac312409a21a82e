"""Charts: what stands on which axis, told apart without colour, drawn offline, always the same."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.pages import charts, router, words
from api.pages.charts import (
    Chart,
    Group,
    Line,
    Manner,
    Mark,
    Panel,
    Point,
    Shape,
    Span,
    Strip,
    Tone,
    draw,
    legend,
    specification,
)
from domain.scoring import Flag
from domain.topics import EVENTS
from projections.caseload import Missing

BEGINS = datetime(2026, 1, 5, 10, tzinfo=UTC)
ENDS = BEGINS + timedelta(days=70)
SVG = "{http://www.w3.org/2000/svg}"


def point(week: int, value: int | None, **more: Any) -> Point:
    exact = None if value is None else Fraction(value)
    return Point(BEGINS + timedelta(weeks=week), exact, str(value), f"week {week}: {value}", **more)


def line(name: str, manner: Manner, *points: Point, further: bool = False) -> Line:
    return Line(name, manner, further, points)


CLIENT = line(
    "client",
    Manner.CLIENT,
    point(0, 60),
    point(1, 30, superseded=True),
    point(1, 62),
    point(2, None),
    point(3, 66, flagged=True),
)
THERAPIST = line("therapist", Manner.THERAPIST, point(0, 55), point(3, 59))
BOTH = Panel("bond", Fraction(12), Fraction(84), (CLIENT, THERAPIST))
SHORT = Panel("total", Fraction(0), Fraction(40), (line("client", Manner.CLIENT, point(1, 33)),))
STRIP = Strip(
    "Consents",
    ("treatment", "recording"),
    (Mark("recording", ENDS, Shape.REFUSED, "recording: withdrawn", "withdrawn"),),
    (
        Span("treatment", BEGINS, ENDS, "treatment: given"),
        Span("recording", BEGINS, ENDS, "recording: asked for", Tone.ASKED),
    ),
)
CHART = Chart(
    "The course of a relationship",
    "Three ratings <by> the client & two by the therapist.",
    BEGINS,
    ENDS,
    (Group("WAI-36", (BOTH,)), Group("SRS-3", (SHORT,))),
    (STRIP,),
)


def panels(chart: Chart = CHART) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = specification(chart)["vconcat"]
    return rows


def data(row: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """What one kind of mark is given in a row."""
    (layer,) = (layer for layer in row["layer"] if layer["mark"]["type"] == kind)
    values: list[dict[str, Any]] = layer["data"]["values"]
    return values


# --- The specification ----------------------------------------------------------------------


def test_the_specification_is_vega_lite() -> None:
    """R: charts are Vega-Lite; the schema that altair carries takes them as they are."""
    alt.VConcatChart.from_dict(specification(CHART))


def test_a_panel_holds_one_scale_over_its_whole_range() -> None:
    """Rule 32: each instrument and scale has an axis of its own, from the least to the most that
    it can be; both sides of one form are two lines on it."""
    bond, total, consents = panels()
    assert bond["encoding"]["y"]["scale"]["domain"] == [12, 84]
    assert total["encoding"]["y"]["scale"]["domain"] == [0, 40]
    assert {vertex["line"] for vertex in data(bond, "line")} == {"client", "therapist"}
    assert {vertex["line"] for vertex in data(total, "line")} == {"client"}
    domains = [row["encoding"]["x"]["scale"]["domain"] for row in (bond, total, consents)]
    assert domains[0] == domains[1] == domains[2], "and all share one axis of time"


def test_lines_go_through_current_scores_alone() -> None:
    """Rules 29, 30: no line goes through what was superseded, or to zero for what is missing."""
    through = [v["value"] for v in data(panels()[0], "line") if v["line"] == "client"]
    assert through == [60, 62, 66]


def test_marks_say_what_became_of_a_value() -> None:
    """Rules 29, 30, 36: superseded is hollow, flagged has a ring, unscored lies on the floor."""
    symbols = {s["said"]: s for s in data(panels()[0], "point") if s["size"] < 100}
    assert symbols["week 1: 30"]["fill"] == "#ffffff"
    assert symbols["week 1: 62"]["fill"] == symbols["week 1: 62"]["stroke"]
    assert symbols["week 2: None"]["value"] == 12
    rings = [s for s in data(panels()[0], "point") if s["size"] >= 100]
    assert [ring["said"] for ring in rings] == ["week 3: 66"]


def test_nothing_is_told_by_colour_alone() -> None:
    """Pages: in greyscale every line still differs by its dashes and its symbol."""
    lines = [
        line(f"{manner} {further}", manner, point(0, 20), point(1, 30), further=further)
        for manner in Manner
        for further in (False, True)
    ]
    group = Group("", (Panel("", Fraction(0), Fraction(84), tuple(lines)),))
    (row,) = panels(Chart("", "", BEGINS, ENDS, (group,)))
    dashes = {vertex["line"]: tuple(vertex["dash"]) for vertex in data(row, "line")}
    assert len(set(dashes.values())) == len(lines)
    assert len({symbol["shape"] for symbol in data(row, "point")}) == len(lines)
    shapes = {charts._LOOKS[shape][:3] for shape in Shape}
    assert len(shapes) >= len(Shape) - 1, "missed and refused are one sign, in different rows"


def test_the_legend_explains_what_is_there() -> None:
    """Pages: every sign of the drawing, and none that it does not hold."""
    assert [key.name for key in legend(CHART)] == [
        "client",
        "therapist",
        "superseded by another rating",
        "prorated, or by an unverified key",
        "rated, too little answered for a score",
        "withdrawn or declined",
        "in force, or agreed by all",
        "proposed, not agreed",
    ]
    assert legend(Chart("", "", BEGINS, ENDS, strips=(STRIP,))) == []


@given(hours=st.integers(0, 24 * 365 * 40), minutes=st.integers(1, 60 * 24 * 365 * 40))
def test_the_axis_of_time_is_marked_sparsely(hours: int, minutes: int) -> None:
    """Pages: from an hour to decades, at most ten moments of the calendar, all on the axis."""
    begins = BEGINS - timedelta(hours=hours)
    ends = begins + timedelta(minutes=minutes)
    ticks, pattern = charts._ticks(begins, ends)
    assert len(ticks) <= 10
    assert all(begins.timestamp() * 1000 <= t <= ends.timestamp() * 1000 for t in ticks)
    words_at = [datetime.fromtimestamp(t / 1000, UTC).strftime(pattern) for t in ticks]
    assert len(set(words_at)) == len(ticks), "no two moments read the same"


@given(st.lists(st.floats(0, 90), max_size=6).map(sorted), st.floats(1, 20))
def test_words_beside_lines_do_not_cover_each_other(places: list[float], least: float) -> None:
    """Pages: however near the last values are, their words stand apart and in their order."""
    spread = charts._spread(places, least)
    assert len(spread) == len(places)
    assert all(upper - lower >= least - 1e-6 for lower, upper in pairwise(spread))


# --- The drawing ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> ET.Element:
    return ET.fromstring(draw(CHART))  # noqa: S314  # drawn here


def elements(root: ET.Element, tag: str) -> Iterator[ET.Element]:
    return root.iter(f"{SVG}{tag}")


def test_the_drawing_is_one_image_with_words(drawn: ET.Element) -> None:
    """Pages: a reader that cannot see is given title and description, and nothing else to walk
    through."""
    assert drawn.get("role") == "img"
    names = str(drawn.get("aria-labelledby")).split()
    told = {element.get("id"): element.text for element in drawn}
    assert [told[name] for name in names] == [CHART.title, CHART.description]
    roles = [e.get("role") for e in drawn.iter() if e is not drawn]
    assert set(roles) == {None}


def test_marks_tell_what_they_show(drawn: ET.Element) -> None:
    """Pages: each value says itself when it is pointed at."""
    told = {title.text for title in elements(drawn, "title")}
    every = {
        p.said
        for group in CHART.groups
        for panel in group.panels
        for line in panel.lines
        for p in line.points
    }
    assert every <= told
    assert {span.said for span in STRIP.spans} <= told


def test_the_drawing_needs_nothing_from_elsewhere(drawn: ET.Element) -> None:
    """Requirement: drawn offline, strict policy: no reference, no style, no script."""
    text = ET.tostring(drawn, encoding="unicode")
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    for element in drawn.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg",
            "g",
            "path",
            "line",
            "rect",
            "text",
            "title",
            "desc",
        }
        assert not {name for name in element.attrib if name.startswith(("on", "style", "href"))}


def test_words_are_drawn_as_words(drawn: ET.Element) -> None:
    """Pages: headings, scales and last values are text, to be found, scaled and read."""
    written = {text.text for text in elements(drawn, "text")}
    assert {"WAI-36", "SRS-3", "bond", "total", "treatment", "withdrawn"} <= written
    assert {"client 66", "therapist 59", "client 33", "12", "48", "84"} <= written


def test_the_same_course_is_drawn_the_same() -> None:
    """Pages: the same chart gives the same bytes, so that two prints can be compared."""
    assert draw(CHART) == draw(CHART)


def test_hostile_names_stay_text() -> None:
    """Requirement: what people wrote cannot leave the text of a drawing."""
    hostile = '</text><script>alert(1)</script>" onload="x'
    strip = Strip(hostile, (hostile,), (Mark(hostile, BEGINS, Shape.DONE, hostile, hostile),))
    root = ET.fromstring(draw(Chart(hostile, hostile, BEGINS, ENDS, strips=(strip,))))  # noqa: S314
    assert list(elements(root, "script")) == []
    assert [e for e in root.iter() if "onload" in e.attrib] == []
    assert hostile in {title.text for title in elements(root, "title")}


# --- Words ----------------------------------------------------------------------------------


def test_everything_in_a_relationship_has_a_word() -> None:
    """Pages: no topic, flag or finding is shown as a code."""
    elsewhere = {
        "access", "break_glass", "clinic", "consent_document", "disclosure", "erasure", "export",
        "import", "instrument_licence", "key", "legal_hold", "person", "practitioner",
        "process_note", "record", "role", "schedule", "scoring_key", "supervision", "text_pack",
    }  # fmt: skip
    topics = {topic for topic in EVENTS if topic.partition(".")[0] not in elsewhere}
    assert set(words.TOPICS) == topics
    assert all(words.flag(flag) for flag in Flag)
    assert {missing: words._MISSING[missing] for missing in Missing}


def test_an_import_s_reports_name_their_rule() -> None:
    """Rule 45: what an import reported is told with the number of the rule."""
    assert words.reported("consent-missing") == "consent missing (rule 12)"
    assert words.reported("not-of-this-release") == "not of this release"
    codes = ("out-of-scope", "consent-missing", "out-of-scope")
    assert words.reported_rules(codes) == "import reported: rules 11, 12"
    assert words.reported_rules(()) == ""


def test_what_cannot_draw_keeps_nobody_from_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: the doors open where charts fail; a page that shows one tells of it then."""

    def broken() -> None:
        raise OSError

    monkeypatch.setattr(charts, "warm", broken)
    app = FastAPI()
    app.include_router(router)
    app.add_api_route("/ready", lambda: True)
    with TestClient(app) as client:
        assert client.get("/ready").json() is True
