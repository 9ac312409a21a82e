"""Charts: what there is to draw, as a Vega-Lite specification, drawn offline as one SVG.

One column of panels shares one axis of time. A panel holds one scale of one instrument and nothing
else; below stand strips of what happened and of what was in force. Everything is told apart by
shape as well as by colour, and reads in greyscale. Why so: docs/decisions/0009-pages-and-charts.md.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import vl_convert

# --- What there is to draw ------------------------------------------------------------------


class Manner(StrEnum):
    """How a line is drawn: whose view it shows."""

    CLIENT = "client"
    THERAPIST = "therapist"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Point:
    """One score of one rating."""

    at: datetime
    value: Fraction | None
    """None: rated, but too little was answered for a score."""
    text: str
    """The value as people read it."""
    said: str
    """All of it in one sentence."""
    superseded: bool = False
    """Another rating stands in its place; it belongs to no line any more."""
    flagged: bool = False
    """It carries a flag that a reader must be told of (rule 36)."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one person rated, in order of time."""

    name: str
    manner: Manner
    further: bool
    """Whether it is not the first that is drawn in that manner."""
    points: tuple[Point, ...]

    @property
    def colour(self) -> str:
        return _COLOURS[self.manner][self.further]


@dataclass(frozen=True, slots=True)
class Panel:
    """One scale over its full possible range."""

    name: str
    low: Fraction
    high: Fraction
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The scales of one instrument, metric and key major (rule 32)."""

    name: str
    panels: tuple[Panel, ...]


class Shape(StrEnum):
    """What happened at a moment, as a mark of its own."""

    DONE = "done"
    MISSED = "missed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    PLANNED = "planned"
    REFUSED = "refused"
    REACHED = "reached"
    ENDED = "ended"
    NOTED = "noted"
    DEPARTED = "departed"
    RUPTURE = "rupture"
    REPAIR = "repair"
    POSSIBLE = "possible"
    DISMISSED = "dismissed"
    RISK = "risk"
    REVIEWED = "reviewed"


class Tone(StrEnum):
    """What a span shows, and with that how it looks."""

    FIRM = "firm"
    ASKED = "asked"
    RUPTURE = "rupture"
    POSSIBLE = "possible"
    CONTEXT = "context"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment."""

    row: str
    at: datetime
    shape: Shape
    said: str
    word: str = ""
    """Written beside it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that was so from one moment to another."""

    row: str
    begins: datetime
    ends: datetime
    said: str
    tone: Tone = Tone.FIRM


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of what happened and of what was so."""

    name: str
    rows: tuple[str, ...]
    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time that is shaded behind every line: what people said was so then."""

    begins: datetime
    ends: datetime
    tone: Tone


@dataclass(frozen=True, slots=True)
class Chart:
    """Groups and strips on one axis of time."""

    title: str
    description: str
    begins: datetime
    ends: datetime
    groups: tuple[Group, ...] = ()
    strips: tuple[Strip, ...] = ()
    above: tuple[Strip, ...] = ()
    """Drawn before the groups."""
    bands: tuple[Band, ...] = ()


# --- How it looks ---------------------------------------------------------------------------

_INK, _SOFT, _FAINT, _PALE, _ALARM, _GOOD = (
    "#1c2430", "#566072", "#dddad2", "#d5e2e6", "#9b1c31", "#2c6e49",
)  # fmt: skip
_COLOURS = {
    Manner.CLIENT: ("#0a6885", "#3f8fa8"),
    Manner.THERAPIST: ("#a9501f", "#c0713f"),
    Manner.OTHER: ("#5b5b5b", "#7d7d7d"),
}
_SYMBOLS = {
    Manner.CLIENT: ("circle", "diamond"),
    Manner.THERAPIST: ("square", "triangle-down"),
    Manner.OTHER: ("triangle-up", "triangle-right"),
}
_DASHES = {
    Manner.CLIENT: ([1, 0], [2, 3]),
    Manner.THERAPIST: ([7, 4], [10, 3, 2, 3]),
    Manner.OTHER: ([4, 4], [2, 5]),
}
"""How the first of each manner is drawn, and how all further ones."""
_CROSS = "M-0.7,-0.7L0.7,0.7M-0.7,0.7L0.7,-0.7"
_BAR = "M0,-1L0,1"
_DASH = "M-0.8,0L0.8,0"
_NONE, _WHITE = "none", "#ffffff"
_LOOKS: Mapping[Shape, tuple[str, int, str, str]] = {
    Shape.DONE: ("circle", 42, _INK, _INK),
    Shape.PLANNED: ("circle", 42, _WHITE, _INK),
    Shape.CANCELLED: ("square", 48, _WHITE, _INK),
    Shape.ABANDONED: ("square", 48, _INK, _INK),
    Shape.MISSED: (_CROSS, 110, _NONE, _ALARM),
    Shape.REFUSED: (_CROSS, 110, _NONE, _ALARM),
    Shape.REACHED: ("diamond", 100, _GOOD, _GOOD),
    Shape.ENDED: (_BAR, 200, _NONE, _INK),
    Shape.NOTED: ("triangle-right", 60, _SOFT, _SOFT),
    Shape.DEPARTED: ("diamond", 70, _WHITE, _INK),
    Shape.RUPTURE: ("triangle-down", 110, _ALARM, _ALARM),
    Shape.REPAIR: ("triangle-up", 110, _GOOD, _GOOD),
    Shape.POSSIBLE: ("triangle-down", 110, _WHITE, _SOFT),
    Shape.DISMISSED: (_DASH, 60, _NONE, _SOFT),
    Shape.RISK: ("square", 90, _ALARM, _ALARM),
    Shape.REVIEWED: ("square", 90, _WHITE, _ALARM),
}
"""Symbol, size in square pixels, fill and stroke. What a method found is hollow; what people said
is full."""

_TONES: Mapping[Tone, tuple[str, str, str]] = {
    Tone.FIRM: (_PALE, _COLOURS[Manner.CLIENT][0], ""),
    Tone.ASKED: (_WHITE, _COLOURS[Manner.CLIENT][0], "3 2"),
    Tone.RUPTURE: ("#f2d9dd", _ALARM, ""),
    Tone.POSSIBLE: (_WHITE, _SOFT, "1 2"),
    Tone.CONTEXT: ("#e9e5d8", _SOFT, ""),
    Tone.PAUSE: ("#efefef", _SOFT, "6 3"),
}
"""Fill, stroke and dashes of a span."""

_LEFT, _WIDTH, _RIGHT = 176, 720, 128
_TALL, _LOW, _ROW = 110, 70, 21
_LETTERS = 30
"""As many fit beside a row."""

_CONFIG: Mapping[str, Any] = {
    # Measuring a named font takes three times as long; pages bring their own.
    "font": "sans-serif",
    "background": "transparent",
    "padding": 0,
    "view": {"stroke": None},
    "concat": {"spacing": 14},
    "axis": {
        "aria": False,
        "labelColor": _SOFT,
        "labelFontSize": 12,
        "labelPadding": 6,
        "titleColor": _INK,
        "titleFontSize": 12.5,
        "titleFontWeight": "normal",
        "gridColor": _FAINT,
        "gridWidth": 0.8,
        "domain": False,
    },
    "title": {
        "aria": False,
        "anchor": "start",
        "frame": "group",
        "color": _INK,
        "fontSize": 13,
        "fontWeight": 600,
        "dx": -_LEFT,
        "offset": 8,
    },
}

# What is told by position, Vega-Lite scales; looks are given as they are, without a scale.
_AS_GIVEN: Mapping[str, Any] = {"scale": None, "legend": None}


@cache
def _marks() -> Mapping[str, dict[str, Any]]:
    """Each kind of mark, declared once; without data and without axes."""
    stroke = alt.Stroke("stroke:N", **_AS_GIVEN)
    fill = alt.Fill("fill:N", **_AS_GIVEN)
    said = alt.Description("said:N")
    kinds = {
        "line": alt.Chart()
        .mark_line(strokeWidth=1.8, aria=False)
        .encode(detail="line:N", stroke=stroke, strokeDash=alt.StrokeDash("dash:N", **_AS_GIVEN)),
        "symbol": alt.Chart()
        .mark_point(opacity=1, strokeWidth=1.6)
        .encode(
            shape=alt.Shape("shape:N", **_AS_GIVEN),
            size=alt.Size("size:Q", **_AS_GIVEN),
            fill=fill,
            stroke=stroke,
            description=said,
        ),
        "span": alt.Chart()
        .mark_bar(height=10, strokeWidth=1)
        .encode(
            x2="until:T",
            fill=fill,
            stroke=stroke,
            strokeDash=alt.StrokeDash("dash:N", **_AS_GIVEN),
            description=said,
        ),
        "band": alt.Chart()
        .mark_rect(opacity=0.55, aria=False)
        .encode(x2="until:T", y=alt.value(0), y2=alt.value("height"), fill=fill),
        "last": alt.Chart()
        .mark_text(align="left", baseline="middle", fontSize=12, aria=False)
        .encode(x=alt.value(_WIDTH + 10), text="text:N", fill=fill),
        "word": alt.Chart()
        .mark_text(align="left", baseline="middle", dx=9, fontSize=11.5, fill=_SOFT, aria=False)
        .encode(text="text:N"),
    }
    declared = {name: unit.to_dict() for name, unit in kinds.items()}
    return {
        name: {part: unit[part] for part in ("mark", "encoding")} for name, unit in declared.items()
    }


# --- The specification ----------------------------------------------------------------------


def specification(chart: Chart) -> dict[str, Any]:
    """The chart as Vega-Lite."""
    rows = [
        *(_strip(strip) for strip in chart.above if strip.rows),
        *(row for group in chart.groups for row in _group(group, chart.bands)),
        *(_strip(strip) for strip in chart.strips if strip.rows),
    ]
    between = _time(chart, labels=False)
    for row in rows:
        row["encoding"]["x"] = between
    if rows:
        rows[0]["encoding"]["x"] = _time(chart, orient="top")
        rows[-1]["encoding"]["x"] = _time(chart)
    return {"$schema": alt.SCHEMA_URL, "config": _CONFIG, "vconcat": rows}


def _row(height: float, y: alt.Y, **layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One panel: layers of marks, each with its data, on the same axes."""
    return {
        "width": _WIDTH,
        "height": height,
        "encoding": {"y": y.to_dict()},
        "layer": [{**_marks()[kind], "data": {"values": data}} for kind, data in layers.items()],
    }


def _time(chart: Chart, **axis: Any) -> Any:
    """The axis that all panels share; its words stand above the first and below the last."""
    values, pattern = _ticks(chart.begins, chart.ends)
    x = alt.X(
        "at:T",
        scale=alt.Scale(type="utc", domain=[_ms(chart.begins), _ms(chart.ends)], nice=False),
        axis=alt.Axis(
            **{"values": values, "format": pattern, "ticks": False, "title": None, **axis}
        ),
    )
    return x.to_dict()


def _ticks(begins: datetime, ends: datetime) -> tuple[list[int], str]:
    """At most nine moments of the calendar, in milliseconds, and how their words are written."""
    days = (ends - begins).days + 1
    for step in (1, 2, 7, 14):
        if days <= 9 * step:
            midnight = begins.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            moments = (midnight + timedelta(days=1 + step * number) for number in range(9))
            return [_ms(moment) for moment in moments if moment <= ends], "%-d %b %Y"
    months = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120, 1200) if days <= 270 * step)
    first, last = begins.year * 12, ends.year * 12 + 11
    moments = (
        datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
        for number in range(first - first % months, last + 1, months)
    )
    return [_ms(m) for m in moments if begins <= m <= ends], "%b %Y" if months < 12 else "%Y"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


# Panels -------------------------------------------------------------------------------------


def _group(group: Group, bands: Sequence[Band]) -> Iterator[dict[str, Any]]:
    for number, panel in enumerate(group.panels):
        drawn = _panel(panel, _LOW if number else _TALL, bands)
        yield drawn if number else {**drawn, "title": group.name}


def _panel(panel: Panel, height: int, bands: Sequence[Band]) -> dict[str, Any]:
    bounds = [float(panel.low), float(panel.high)]
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=bounds, nice=False, zero=False),
        axis=alt.Axis(
            values=[bounds[0], sum(bounds) / 2, bounds[1]],
            title=panel.name,
            titleAngle=0,
            titleAlign="left",
            titleBaseline="middle",
            titleX=-_LEFT,
            titleY=height / 2,
            ticks=False,
            minExtent=_LEFT,
            maxExtent=_LEFT,
        ),
    )
    shaded = {"band": [_band(band) for band in bands]} if bands else {}
    return _row(
        height,
        y,
        **shaded,
        line=[_vertex(line, point) for line in panel.lines for point in _current(line)],
        symbol=[symbol for line in panel.lines for symbol in _symbols(line, panel.low)],
        last=list(_last_values(panel, height)),
    )


def _band(band: Band) -> dict[str, Any]:
    return {"at": _ms(band.begins), "until": _ms(band.ends), "fill": _TONES[band.tone][0]}


def _current(line: Line) -> list[Point]:
    """What the line goes through."""
    return [p for p in line.points if p.value is not None and not p.superseded]


def _vertex(line: Line, point: Point) -> dict[str, Any]:
    return {
        **_place(point.at, point.value),
        "line": line.name,
        "stroke": line.colour,
        "dash": _DASHES[line.manner][line.further],
    }


def _symbols(line: Line, floor: Fraction) -> Iterator[dict[str, Any]]:
    """The marks of a line's points: full, hollow where superseded, ringed where flagged."""
    colour, symbol = line.colour, _SYMBOLS[line.manner][line.further]
    for point in line.points:
        if point.value is None:
            yield _mark(point.at, floor, point.said, (_CROSS, 60, _NONE, colour))
            continue
        if point.flagged:
            yield _mark(point.at, point.value, point.said, ("circle", 170, _NONE, _SOFT))
        looks = (symbol, 46, _WHITE, colour) if point.superseded else (symbol, 34, colour, colour)
        yield _mark(point.at, point.value, point.said, looks)


def _mark(
    at: datetime, value: Fraction | str, said: str, looks: tuple[str, int, str, str]
) -> dict[str, Any]:
    shape, size, fill, stroke = looks
    return {
        **_place(at, value),
        "said": said,
        "shape": shape,
        "size": size,
        "fill": fill,
        "stroke": stroke,
    }


def _place(at: datetime, value: Fraction | str | None) -> dict[str, Any]:
    """Where something stands: in a panel by its value, in a strip by its row."""
    return {"at": _ms(at), "value": float(value) if isinstance(value, Fraction) else value}


def _last_values(panel: Panel, height: int) -> Iterator[dict[str, Any]]:
    """The last score of each line, written to the right at about its height."""
    lasts = sorted(
        (float(point.value), f"{line.name} {point.text}", line.colour)
        for line in panel.lines
        for point in _current(line)[-1:]
        if point.value is not None
    )
    apart = 14 * float(panel.high - panel.low) / height
    for place, (_, text, colour) in zip(
        _spread([last[0] for last in lasts], apart), lasts, strict=True
    ):
        yield {"value": place, "text": text, "fill": colour}


def _spread(places: Sequence[float], least: float) -> list[float]:
    """Ascending places, moved as little as it takes to have neighbours that far from each other.

    What stands too close is gathered in blocks, each around the middle of where its places were.
    """
    blocks: list[tuple[float, int]] = []
    for number, place in enumerate(places):
        middle, size = place - number * least, 1
        while blocks and blocks[-1][0] > middle:
            before, more = blocks.pop()
            middle, size = (middle * size + before * more) / (size + more), size + more
        blocks.append((middle, size))
    middles = (middle for middle, size in blocks for _ in range(size))
    return [middle + number * least for number, middle in enumerate(middles)]


# Strips -------------------------------------------------------------------------------------


def _strip(strip: Strip) -> dict[str, Any]:
    y = alt.Y(
        "value:N",
        scale=alt.Scale(domain=list(strip.rows), paddingInner=0.3, paddingOuter=0.2),
        axis=alt.Axis(
            title=None,
            ticks=False,
            labelAlign="left",
            labelPadding=_LEFT,
            labelColor=_INK,
            minExtent=_LEFT,
            maxExtent=_LEFT,
        ),
    )
    drawn = _row(
        _ROW * len(strip.rows),
        y,
        span=[_span(span) for span in strip.spans],
        symbol=[_mark(mark.at, mark.row, mark.said, _LOOKS[mark.shape]) for mark in strip.marks],
        word=[
            {**_place(mark.at, mark.row), "text": mark.word} for mark in strip.marks if mark.word
        ],
    )
    return {**drawn, "title": strip.name} if strip.name else drawn


def _span(span: Span) -> dict[str, Any]:
    fill, stroke, dash = _TONES[span.tone]
    return {
        **_place(span.begins, span.row),
        "until": _ms(span.ends),
        "said": span.said,
        "fill": fill,
        "stroke": stroke,
        "dash": [int(length) for length in dash.split()] or [1, 0],
    }


# --- The legend -----------------------------------------------------------------------------

_PATHS = {
    "circle": "M26,7a4,4 0 1 1 -8,0a4,4 0 1 1 8,0",
    "square": "M18.5,3.5h7v7h-7Z",
    "diamond": "M22,2l4,5l-4,5l-4,-5Z",
    "triangle-down": "M17.5,3.5h9l-4.5,7.5Z",
    "triangle-up": "M17.5,10.5h9l-4.5,-7.5Z",
    "triangle-right": "M18.5,2.5v9l7.5,-4.5Z",
    _CROSS: "M18.5,3.5l7,7m0,-7l-7,7",
    _BAR: "M22,1v12",
    _DASH: "M17,7h10",
}
"""The symbols again, for a key of 44 by 14."""

_SAYS = {
    Shape.DONE: "held",
    Shape.PLANNED: "scheduled",
    Shape.MISSED: "missed",
    Shape.CANCELLED: "cancelled",
    Shape.ABANDONED: "broken off",
    Shape.REFUSED: "withdrawn or declined",
    Shape.REACHED: "reached",
    Shape.ENDED: "lapsed, retired or over",
    Shape.NOTED: "agreed or recorded",
    Shape.DEPARTED: "otherwise than agreed",
    Shape.RUPTURE: "rupture marked by a person",
    Shape.REPAIR: "repair attempted, or rupture resolved",
    Shape.POSSIBLE: "possible rupture, by a method",
    Shape.DISMISSED: "possible rupture, dismissed by a person",
    Shape.RISK: "risk item, to be reviewed",
    Shape.REVIEWED: "risk item, reviewed",
}

_MEANS = {
    Tone.FIRM: "in force, or agreed by all",
    Tone.ASKED: "proposed, not agreed",
    Tone.RUPTURE: "rupture open, as people said",
    Tone.POSSIBLE: "until a possible repair, by a method",
    Tone.CONTEXT: "what reached into the room",
    Tone.PAUSE: "paused",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the legend: a line or a bar, where there is one, and a symbol on it."""

    name: str
    path: str = ""
    fill: str = _NONE
    stroke: str = _INK
    dash: str = ""
    """Of the line; empty: there is none."""
    ringed: bool = False
    bar: str = ""
    """The fill of a bar; empty: there is none."""


def legend(chart: Chart) -> list[Key]:
    """What the drawing's signs mean: those that it holds, and no others."""
    lines = {line.name: line for line in _lines(chart)}
    keys = [
        Key(
            line.name,
            path=_PATHS[_SYMBOLS[line.manner][line.further]],
            fill=line.colour,
            stroke=line.colour,
            dash=" ".join(map(str, _DASHES[line.manner][line.further])),
        )
        for line in lines.values()
    ]
    points = [p for line in _lines(chart) for p in line.points]
    circle, cross = _PATHS["circle"], _PATHS[_CROSS]
    if any(point.superseded for point in points):
        keys.append(Key("superseded by another rating", circle, _WHITE))
    if any(point.flagged and point.value is not None for point in points):
        keys.append(Key("prorated, or by an unverified key", circle, _INK, ringed=True))
    if any(point.value is None for point in points):
        keys.append(Key("rated, too little answered for a score", cross))
    if lines:
        keys += _legend_of_strips(chart)
    return keys


def _lines(chart: Chart) -> Iterator[Line]:
    return (line for group in chart.groups for panel in group.panels for line in panel.lines)


def _legend_of_strips(chart: Chart) -> Iterator[Key]:
    strips = (*chart.above, *chart.strips)
    shapes = {mark.shape for strip in strips for mark in strip.marks}
    for shape in Shape:
        if shape in shapes:
            symbol, _, fill, stroke = _LOOKS[shape]
            yield Key(_SAYS[shape], _PATHS[symbol], fill, stroke)
    tones = {span.tone for strip in strips for span in strip.spans}
    for tone in Tone:
        if tone in tones:
            fill, stroke, dash = _TONES[tone]
            yield Key(_MEANS[tone], stroke=stroke, dash=dash, bar=fill)


# --- The drawing ----------------------------------------------------------------------------

_SVG = "http://www.w3.org/2000/svg"
_KEPT = re.compile("^(?!aria-|role$|class$|version$|pointer-events$)")
_LONG = re.compile(r"(\.\d\d)\d+")


def draw(chart: Chart) -> str:
    """The chart as one SVG to be put into a page: titled, described, with nothing external."""
    drawn = vl_convert.vegalite_to_svg(specification(chart), allowed_base_urls=[])
    return _for_a_page(drawn, chart)


def _for_a_page(drawn: str, chart: Chart) -> str:
    """Vega's SVG as one image with a title and a description; its marks say what they show."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(drawn)  # noqa: S314  # drawn here, by ourselves
    for element in root.iter():
        said = element.attrib.get("aria-label")
        kept = {name: value for name, value in element.attrib.items() if _KEPT.match(name)}
        for name in kept.keys() & {"d", "transform"}:
            kept[name] = _LONG.sub(r"\1", kept[name])
        element.attrib.clear()
        element.attrib.update(kept)
        if said:
            ET.SubElement(element, f"{{{_SVG}}}title").text = said
    # What stands to the right of a panel is as wide as the page's font makes it.
    height = root.attrib["height"]
    for name in ("width", "height"):
        del root.attrib[name]
    root.attrib |= {
        "viewBox": f"0 0 {_LEFT + _WIDTH + _RIGHT} {height}",
        "role": "img",
        "aria-labelledby": "chart-title chart-desc",
    }
    for place, (name, text) in enumerate({"title": chart.title, "desc": chart.description}.items()):
        told = ET.Element(f"{{{_SVG}}}{name}", {"id": f"chart-{name}"})
        told.text = text
        root.insert(place, told)
    return ET.tostring(root, encoding="unicode")


@cache
def warm() -> None:
    """Loads what draws, once: half a second, after which a chart takes a tenth of that."""
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    draw(Chart("", "", begins, begins + timedelta(days=30), strips=(Strip("", (" ",)),)))
