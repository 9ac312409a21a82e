"""What a relationship's chart and its tables show, told from its dossier.

Both are made of the same lines, so that whoever cannot see the chart misses nothing of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from api.pages import around, ruptures, words
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
)
from api.pages.people import People
from domain.event import History
from domain.goal import GoalStatus
from domain.instrument import load
from domain.scoring import Flag
from domain.series import SeriesId
from domain.session import Session, Status, session_numbers, sessions_of
from projections.alliance_course import RatingRow, Scored
from projections.caseload import CaseState
from projections.consent_register import ConsentRow, Step
from projections.dossier import Dossier
from projections.goal_course import GoalRow, Kind
from projections.possible_ruptures import Possible
from projections.view import known

# --- Ratings, line by line ------------------------------------------------------------------


class Axis(NamedTuple):
    """What may share an axis (rule 32): the forms of one instrument in one metric and key major.

    The client's and the therapist's form are parallel: each is a line of its own, none is averaged.
    """

    instrument: str
    metric: str
    key_major: int

    @classmethod
    def of(cls, series: SeriesId) -> "Axis":
        return cls(series.instrument, series.metric, series.key_major)

    @property
    def name(self) -> str:
        return words.series(SeriesId(self.instrument, "", self.metric, self.key_major))


@dataclass(frozen=True, slots=True)
class Rated:
    """One rating with all that is to be said about it."""

    version: int
    at: datetime
    session: str
    voice: str
    manner: Manner
    further: bool
    scales: Mapping[str, Scored]
    raw: str
    """The raw items; empty where scores say it."""
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    superseded: int | None
    """Version of the entry that replaces it."""


def ratings(dossier: Dossier, people: People) -> dict[Axis | None, list[Rated]]:
    """The readable ratings by axis, in order of time; None: by an unknown key, raw items only."""
    entries = {known(row.rating): version for version, row in dossier.ratings.items()}
    grouped: dict[Axis | None, list[Rated]] = {}
    for version, row in dossier.ratings.items():
        series = known(row.series)
        if known(row.rater) is None or row.at is None:
            continue
        replaced = entries.get(known(row.superseded_by)) if row.superseded_by else None
        axis = None if series is None else Axis.of(SeriesId(*series))
        grouped.setdefault(axis, []).append(_rated(version, row, people, replaced))
    return {
        axis: sorted(grouped[axis], key=lambda each: (each.at, each.version))
        for axis in sorted(grouped, key=_rank)
    }


def _rated(version: int, row: RatingRow, people: People, replaced: int | None) -> Rated:
    perspective, rater, at = known(row.perspective), known(row.rater), row.at
    assert perspective is not None
    assert rater is not None
    assert at is not None
    scales = known(row.scales) or {}
    voice, manner, further = people.voice(perspective, rater)
    number = known(row.session_number)
    notes = [
        "" if known(row.own_submission) else "not entered by the rater",
        "after the closing" if known(row.follow_up) else "",
        "imported" if known(row.source) == "import" else "",
        *(f"import reported: {words.reported(code)}" for code in known(row.reported) or ()),
        "" if row.supersedes is None else "supersedes an earlier rating",
        "" if row.rescored is None else "rescored: read by a key that the clinic adopted later",
    ]
    found = {flag for scored in scales.values() for flag in scored.flags}
    items = known(row.items) or ()
    return Rated(
        version=version,
        at=known(row.session_at) or at,
        session="between sessions" if number is None else str(number),
        voice=voice,
        manner=manner,
        further=further,
        scales=scales,
        raw="" if scales else " ".join("–" if item is None else str(item) for item in items),
        flags=tuple(words.flag(flag) for flag in Flag if flag in found),
        notes=tuple(filter(None, notes)),
        superseded=replaced,
    )


def _group(axis: Axis, rated: Sequence[Rated]) -> Group:
    names = dict.fromkeys(name for each in rated for name in each.scales)
    return Group(axis.name, tuple(_panel(name, rated) for name in names))


def _panel(scale: str, rated: Sequence[Rated]) -> Panel:
    scored = next(each.scales[scale] for each in rated if scale in each.scales)
    voices = dict.fromkeys((each.voice, each.manner, each.further) for each in rated)
    lines = (
        Line(
            name,
            manner,
            further,
            tuple(_point(scale, each) for each in rated if each.voice == name),
        )
        for name, manner, further in sorted(
            voices, key=lambda voice: (list(Manner).index(voice[1]), voice[2])
        )
    )
    return Panel(words.plain(scale), scored.low, scored.high, tuple(lines))


def _point(scale: str, each: Rated) -> Point:
    scored = each.scales[scale]
    session = f"session {each.session}" if each.session.isdigit() else each.session
    said = f"{words.day(each.at)}, {session}, {each.voice}: {words.plain(scale)} "
    said += f"{scored.text} of {scored.low} to {scored.high}" if scored.text else "without a score"
    flags = [words.flag(flag) for flag in scored.flags]
    superseded = each.superseded is not None
    return Point(
        at=each.at,
        value=scored.value,
        text=scored.text or "",
        said="; ".join([said, *flags, *(["superseded"] if superseded else [])]),
        superseded=superseded,
        flagged=bool(scored.flags),
    )


# --- The chart ------------------------------------------------------------------------------


def chart(
    dossier: Dossier,
    history: History,
    people: People,
    now: datetime,
    found: Sequence[Possible] | None = None,
) -> Chart:
    """The relationship's course up to the moment it is looked at; what is withheld is not in it.

    `found`: what methods found, for whom that is shown.
    """
    rated = ratings(dossier, people)
    sessions = sessions_of(history)
    begins, ends = _bounds(dossier, rated, sessions.values(), now)
    groups = tuple(
        _group(axis, each)
        for axis, each in rated.items()
        if axis is not None and any(one.scales for one in each)
    )
    above = (
        _sessions(sessions, session_numbers(history)),
        ruptures.strip(history, found, people, ends),
    )
    strips = (
        *around.strips(history, ends),
        _consents(dossier.consents, people, ends),
        _goals(dossier, ends),
    )
    told = description(rated, sessions.values(), (*above, *strips))
    if found:
        told += f" Possible ruptures found by a method: {len(found)}."
    bands = (*around.pauses(history, ends), *ruptures.bands(history, ends))
    title = "The course of the relationship"
    return Chart(title, told, begins, ends, groups, strips, above, bands)


def _rank(axis: Axis | None) -> tuple[int, ...]:
    """The alliance first, and of that the instruments that ask both sides, the longest first."""
    if axis is None:
        return (1,)
    definition = load(axis.instrument)
    elsewhere = definition.measures != "alliance"
    return 0, elsewhere, -len(definition.forms), -definition.items.count


def _bounds(
    dossier: Dossier,
    rated: Mapping[Axis | None, Sequence[Rated]],
    sessions: Iterable[Session],
    now: datetime,
) -> tuple[datetime, datetime]:
    """From the first to the last thing shown; up to now, where that is not far and it is open."""
    moments = [each.at for some in rated.values() for each in some]
    moments += [session.started_at for session in sessions]
    moments += [line.occurred_at.known or now for line in dossier.timeline.values()]
    begins, ends = min(moments, default=now), max(moments, default=now)
    is_open = dossier.case is not None and known(dossier.case.state) is CaseState.OPEN
    # At most half of the axis is there to show that nothing happened.
    if is_open and ends < now <= ends + (ends - begins):
        ends = now
    margin = max((ends - begins) / 60, timedelta(hours=12))
    return begins - margin, ends + margin


_SHAPES = {
    Status.HELD: Shape.DONE,
    Status.SCHEDULED: Shape.PLANNED,
    Status.MISSED: Shape.MISSED,
    Status.CANCELLED: Shape.CANCELLED,
    Status.ABANDONED: Shape.ABANDONED,
}


def _sessions(sessions: Mapping[UUID, Session], numbers: Mapping[UUID, int]) -> Strip:
    marks = tuple(
        Mark(
            "sessions",
            session.started_at,
            _SHAPES[session.status],
            f"{words.day(session.started_at)}, "
            + (f"session {numbers[id_]} held" if id_ in numbers else f"session {session.status}"),
        )
        for id_, session in sessions.items()
    )
    return Strip("", ("sessions",) if marks else (), marks)


def _consents(rows: Mapping[int, ConsentRow], people: People, ends: datetime) -> Strip:
    spans: list[Span] = []
    marks: list[Mark] = []
    for _, row in sorted(rows.items()):
        scope, party = known(row.scope), known(row.party)
        if scope is None or party is None:
            continue
        name = words.scope(scope)
        if len(people.clients) > 1 and party in people.clients:
            name += f" ({people.clients.index(party) + 1})"
        if known(row.step) is Step.DECLINED and (at := known(row.at)):
            marks.append(
                Mark(name, at, Shape.REFUSED, f"{name}: declined, {words.day(at)}", "declined")
            )
        if known(row.valid_from) is not None:
            span, end = _consent(name, row, ends)
            spans.append(span)
            marks += end
    found = dict.fromkeys([*(span.row for span in spans), *(mark.row for mark in marks)])
    heading = "Consents, by number of client" if len(people.clients) > 1 else "Consents"
    return Strip(heading, tuple(found), tuple(marks), tuple(spans))


def _consent(name: str, row: ConsentRow, ends: datetime) -> tuple[Span, list[Mark]]:
    """From when to when one consent held, and how it ended."""
    begins, until = known(row.valid_from), known(row.valid_to)
    withdrawn = known(row.withdrawn_at)
    assert begins is not None
    end = min(at for at in (until, withdrawn, ends) if at is not None)
    said = f"{name}: given, {words.day(begins)}"
    if withdrawn is not None and withdrawn == end:
        said += f"; withdrawn, {words.day(withdrawn)}"
        return Span(name, begins, end, said), [Mark(name, end, Shape.REFUSED, said, "withdrawn")]
    if until is not None and until == end:
        said += f"; lapsed, {words.day(until)}"
        return Span(name, begins, end, said), [Mark(name, end, Shape.ENDED, said, "lapsed")]
    return Span(name, begins, end, said), []


def _goals(dossier: Dossier, ends: datetime) -> Strip:
    worded: dict[UUID, list[GoalRow]] = {}
    for _, row in sorted(dossier.goals.items()):
        goal = known(row.goal)
        if goal is not None and known(row.kind) is Kind.WORDING:
            worded.setdefault(goal, []).append(row)
    spans: list[Span] = []
    marks: list[Mark] = []
    names = []
    for number, rows in enumerate(worded.values(), start=1):
        name = words.shortened(f"{number}. {known(rows[-1].statement) or 'erased'}", 30)
        names.append(name)
        turn = _turn(rows[-1], dossier)
        last = turn[1] if turn else ends
        upto = [*(known(following.at) or last for following in rows[1:]), last]
        for row, until in zip(rows, upto, strict=True):
            spans += _wording(name, f"Goal {number}", row, until)
        if turn:
            shape, at, word = turn
            marks.append(Mark(name, at, shape, f"Goal {number}: {word}, {words.day(at)}", word))
    return Strip("Goals", tuple(names), tuple(marks), tuple(spans))


def _wording(name: str, goal: str, row: GoalRow, until: datetime) -> Iterator[Span]:
    """As long as one wording stood: first proposed, then agreed."""
    begins, agreed = known(row.at), known(row.agreed_at)
    if begins is None:
        return
    if agreed is None or agreed > begins:
        upto = until if agreed is None else min(agreed, until)
        said = f"{goal}: proposed, {words.day(begins)}, not agreed by all"
        yield Span(name, begins, upto, said, Tone.ASKED)
    if agreed is not None and agreed < until:
        yield Span(name, agreed, until, f"{goal}: agreed by all, {words.day(agreed)}")


def _turn(row: GoalRow, dossier: Dossier) -> tuple[Shape, datetime, str] | None:
    """When a goal was reached or retired, if it is."""
    status = known(row.status)
    if row.status is None or status not in (GoalStatus.REACHED, GoalStatus.RETIRED):
        return None
    line = dossier.timeline.get(row.status.ref.version)
    at = None if line is None else known(line.occurred_at)
    if at is None:
        return None
    return (Shape.REACHED if status is GoalStatus.REACHED else Shape.ENDED), at, str(status)


def description(
    rated: Mapping[Axis | None, Sequence[Rated]],
    sessions: Iterable[Session],
    strips: Iterable[Strip],
) -> str:
    """The chart in words: counts and last values, nothing concluded from them (rule 44)."""
    told = []
    for axis, each in rated.items():
        if axis is None:
            told.append(f"{len(each)} ratings by an unknown key: raw items only.")
            continue
        counts: dict[str, list[Rated]] = {}
        for one in each:
            if one.superseded is None:
                counts.setdefault(one.voice, []).append(one)
        voices = ", ".join(
            f"{len(some)} by {voice}{_last(some[-1])}" for voice, some in counts.items()
        )
        told.append(f"{axis.instrument}: {voices}.")
    statuses = [session.status for session in sessions]
    counted = ", ".join(
        f"{statuses.count(status)} {status}" for status in Status if status in statuses
    )
    told.append(f"Sessions: {counted or 'none'}.")
    told += [
        f"{mark.said}."
        for strip in strips
        for mark in strip.marks
        if mark.word or mark.shape is Shape.RUPTURE
    ]
    return " ".join(told)


def _last(one: Rated) -> str:
    total = one.scales.get("total")
    return f" (last total {total.text} of {total.high})" if total and total.text else ""


# --- Structure only -------------------------------------------------------------------------

_FAMILIES = {
    "relationship": "relationship",
    "consent": "consents",
    "session": "sessions",
    "alliance": "ratings",
    "goal": "goals",
    "task": "tasks",
    "rupture": "ruptures",
    "risk": "risk items",
    "outcome": "ratings",
    "note": "notes",
    "frame": "frame",
    "phase": "frame",
    "context": "context",
    "recording": "recordings",
    "recall": "recall",
    "assent": "consents",
    "amendment": "amendments",
    "restriction": "restrictions",
    "entry": "corrections",
}


def structure(dossier: Dossier, now: datetime) -> Chart:
    """That something was recorded, of which kind and when; for whom content is withheld."""
    marks = []
    for version, line in sorted(dossier.timeline.items()):
        topic, at = known(line.topic), known(line.occurred_at)
        if topic is not None and at is not None:
            row = _FAMILIES.get(topic.partition(".")[0], "other")
            said = f"{words.day(at)}, {words.topic(topic).lower()}, entry {version}"
            marks.append(Mark(row, at, Shape.DONE, said))
    names = dict.fromkeys((*_FAMILIES.values(), "other"))
    rows = [row for row in names if any(mark.row == row for mark in marks)]
    begins, ends = _bounds(dossier, {}, (), now)
    counts = ", ".join(f"{sum(m.row == row for m in marks)} on {row}" for row in rows)
    told = f"{len(marks)} entries by the time they tell of: {counts}. Content is withheld."
    strip = Strip("", tuple(rows), tuple(marks))
    return Chart("When something was recorded of", told, begins, ends, strips=(strip,))
