"""Ruptures as a page shows them: what people marked, what methods found, and where they differ.

The two are never mixed. A rupture is a person's word; what a method found is called possible,
stands apart, and can be dismissed with a reason (rules 37, 39, 44).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.pages import words
from api.pages.charts import Band, Mark, Shape, Span, Strip, Tone
from api.pages.people import People
from api.pages.said import Said
from domain.event import History, RecordedEvent
from domain.instrument import Perspective
from domain.methods.card import Kind as FindingKind
from domain.methods.card import MethodCard
from domain.methods.series import Axis
from domain.possible_rupture import PossibleRupture
from domain.rupture import (
    RepairAttempted,
    Rupture,
    RuptureLeftOpen,
    RuptureResolved,
    ruptures_of,
)
from domain.session import session_numbers, sessions_of
from projections.possible_ruptures import Possible

METHODS = "by methods"
"""The row and the column of what no person said."""


@dataclass(frozen=True, slots=True)
class Marked:
    """One rupture that somebody marked."""

    id: UUID
    number: int
    session: str
    by: str
    perspective: Perspective
    how: str
    kind: str
    markers: tuple[str, ...]
    concerns: str
    significance: int | None
    remark: str
    prompted: str
    """The method whose finding prompted it; empty: none did."""
    is_open: bool
    state: str
    marked: Said
    steps: tuple[Said, ...]
    """What was done, and how each sees it now, in order of time."""
    takes_view: bool
    """Whether the reader may say how they see it now."""


@dataclass(frozen=True, slots=True)
class Found:
    """One possible rupture."""

    at: datetime
    session: str
    line: str
    method: str
    says: str
    ends: str
    open: bool
    entry: int | None
    """Of the rating at which it opens."""
    cited: PossibleRupture
    dismissed: tuple[Said, ...]
    by_reader: bool
    """The reader has dismissed it already."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One session as the sources saw it: by source, what it says; empty: nothing."""

    session: str
    at: datetime
    by: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ruptures:
    """All of it."""

    marked: tuple[Marked, ...] = ()
    found: tuple[Found, ...] | None = None
    """None: not shown to this reader."""
    declined: tuple[str, ...] = ()
    """Lines of ratings on which the method could not answer, and why."""
    sources: tuple[str, ...] = ()
    seen: tuple[Seen, ...] = ()
    perspective: str = ""
    """From which the reader sees them, who takes part."""

    def __bool__(self) -> bool:
        return bool(self.marked or self.found or self.declined)


def ruptures(
    history: History,
    cards: Sequence[MethodCard] | None,
    found: Sequence[Possible] | None,
    people: People,
    reader: UUID,
) -> Ruptures:
    """What there is, told in order of time; cards and findings only for whom they are."""
    numbers = session_numbers(history)
    marked = tuple(
        _marked(number, rupture, numbers, people, reader)
        for number, rupture in enumerate(ruptures_of(history).values(), start=1)
    )
    shown = None if found is None else tuple(_found(each, people, reader) for each in found)
    seen = tuple(_seen(history, found or (), people))
    order = ["client", "therapist", "supervisor", "observer", METHODS]
    told = {source for each in seen for source in each.by}
    present = {*_raters(people), *told} if found is not None else told
    sources = sorted(present, key=lambda one: (_rank(one, order), one))
    declined = tuple(
        f"{line_of(card.axes[0], people)}: {card.declined.says}"
        for card in cards or ()
        if card.declined is not None
    )
    part = people.part(reader).partition(" ")[0]
    return Ruptures(marked, shown, declined, tuple(sources), seen, part)


def _raters(people: People) -> Iterator[str]:
    yield from map(people.part, (*people.clients, *people.therapists))
    yield METHODS


def _rank(source: str, order: Sequence[str]) -> int:
    return next((n for n, name in enumerate(order) if source.startswith(name)), len(order))


# --- What people said -----------------------------------------------------------------------


def _marked(
    number: int, rupture: Rupture, numbers: Mapping[UUID, int], people: People, reader: UUID
) -> Marked:
    mark = rupture.marked
    views = sorted(rupture.views.values(), key=lambda entry: entry.occurred_at)
    steps = sorted((*rupture.repairs, *views), key=lambda entry: entry.occurred_at)
    return Marked(
        id=rupture.id,
        number=number,
        session=_session(mark.session, numbers),
        by=people.who(mark.raised_by),
        perspective=mark.perspective,
        how=words.plain(mark.method),
        kind=words.plain(mark.kind),
        markers=tuple(map(words.plain, mark.markers)),
        concerns="" if mark.concerns is None else words.plain(mark.concerns),
        significance=mark.significance,
        remark=mark.remark or "",
        prompted="" if mark.prompted_by is None else mark.prompted_by.method,
        is_open=rupture.is_open,
        state=_state(rupture, people),
        marked=Said(f"marked {words.day(rupture.entry.occurred_at)}", rupture.entry.version),
        steps=tuple(_step(entry, numbers, people) for entry in steps),
        takes_view=reader in (*people.clients, *people.therapists)
        and not rupture.is_resolved_for(reader),
    )


def _state(rupture: Rupture, people: People) -> str:
    """Each person's own view of how it stands; nobody's changes another's (rule 39)."""
    told = [
        f"{people.part(person) or 'somebody'}: "
        + ("resolved" if rupture.is_resolved_for(person) else "left as it is")
        for person in rupture.views
    ]
    return "; ".join(told) or "nobody has said how it stands"


def _step(entry: RecordedEvent, numbers: Mapping[UUID, int], people: People) -> Said:
    match entry.event:
        case RepairAttempted() as repair:
            done = ", ".join(map(words.plain, repair.strategies))
            where = f"session {numbers[repair.session]}" if repair.session in numbers else ""
            told = f"repair attempted by {people.who(repair.by)}, {where}: {done}"
            remark = repair.remark
        case RuptureResolved() as view:
            told, remark = f"resolved, as {people.who(view.by)} sees it", view.basis
        case RuptureLeftOpen() as view:
            told, remark = f"left as it is, as {people.who(view.by)} sees it", view.reason
        case _:
            told, remark = words.topic(entry.topic), None
    return Said(
        f"{words.day(entry.occurred_at)}: {told}" + (f". {remark}" if remark else ""),
        entry.version,
    )


def _session(session: UUID | None, numbers: Mapping[UUID, int]) -> str:
    if session is None:
        return "between sessions"
    return f"session {numbers[session]}" if session in numbers else "a session"


# --- What a method found --------------------------------------------------------------------


def _found(each: Possible, people: People, reader: UUID) -> Found:
    point = each.point
    return Found(
        at=point.occurred_at,
        session="between sessions" if point.session is None else f"session {point.session}",
        line=line_of(each.point.axis, people),
        method=f"{each.card.title}, version {each.card.version}",
        says=each.onset.says,
        ends="" if each.ends is None else each.ends.says,
        open=each.ends is None or each.ends.kind is FindingKind.UNRESOLVED,
        entry=point.entry,
        cited=each.cited,
        dismissed=tuple(
            Said(
                f"{words.day(entry.occurred_at)}, {people.who(dismissed.by)}: {dismissed.reason}",
                entry.version,
            )
            for entry, dismissed in each.dismissed
        ),
        by_reader=any(dismissed.by == reader for _, dismissed in each.dismissed),
    )


def line_of(axis: Axis, people: People) -> str:
    """A line of ratings in words: instrument, scale and whose view."""
    voice = "" if axis.rater is None else people.part(axis.rater)
    return f"{axis.instrument} {words.plain(axis.scale)}, {voice or axis.perspective or ''}"


# --- Who saw what ---------------------------------------------------------------------------


def _seen(history: History, found: Sequence[Possible], people: People) -> Iterator[Seen]:
    """Each session in which any source says something, with what each says of it."""
    numbers, sessions = session_numbers(history), sessions_of(history)
    by_session: dict[UUID, dict[str, str]] = {}
    for rupture in ruptures_of(history).values():
        mark = rupture.marked
        if mark.session in numbers:
            by_session.setdefault(mark.session, {})[_source(rupture, people)] = words.plain(
                mark.kind
            )
    for each in found:
        session = each.point.session_id
        if session in numbers:
            told = "possible, dismissed" if each.dismissed else "possible"
            known = by_session.setdefault(session, {}).get(METHODS)
            by_session[session][METHODS] = "possible" if known == "possible" else told
    for session in sorted(by_session, key=lambda id_: numbers[id_]):
        yield Seen(f"session {numbers[session]}", sessions[session].started_at, by_session[session])


def _source(rupture: Rupture, people: People) -> str:
    """Who said so: `client 2`, or from where, for whoever looks from outside."""
    mark = rupture.marked
    inside = mark.perspective in (Perspective.CLIENT, Perspective.THERAPIST)
    return (inside and people.part(mark.raised_by)) or mark.perspective.value


# --- On the chart ---------------------------------------------------------------------------


def strip(
    history: History, found: Sequence[Possible] | None, people: People, ends: datetime
) -> Strip:
    """A row for each perspective from which somebody marked a rupture, and one for methods."""
    marks: list[Mark] = []
    spans: list[Span] = []
    for rupture in ruptures_of(history).values():
        row = _source(rupture, people)
        begins = _began(rupture, history)
        said = f"{words.day(begins)}, rupture marked by the {row}: {rupture.marked.kind}"
        marks.append(Mark(row, begins, Shape.RUPTURE, said))
        spans.append(Span(row, begins, _ended(rupture) or ends, said, Tone.RUPTURE))
        marks += [
            Mark(row, entry.occurred_at, Shape.REPAIR, _step(entry, {}, people).text)
            for entry in (*rupture.repairs, *rupture.views.values())
            if not isinstance(entry.event, RuptureLeftOpen)
        ]
    for each in found or ():
        at = each.point.occurred_at
        said = f"{words.day(at)}, possible rupture by the method {each.card.method}"
        shape = Shape.DISMISSED if each.dismissed else Shape.POSSIBLE
        marks.append(Mark(METHODS, at, shape, said))
        if each.ends is not None and not each.dismissed:
            until = each.card.points[each.ends.at].occurred_at
            spans.append(Span(METHODS, at, until, said, Tone.POSSIBLE))
    rows = [row for row in dict.fromkeys(m.row for m in marks) if row != METHODS]
    if any(mark.row == METHODS for mark in marks):
        rows.append(METHODS)
    return Strip("Ruptures", tuple(rows), tuple(marks), tuple(spans))


def bands(history: History, ends: datetime) -> tuple[Band, ...]:
    """When a rupture was open, as people said: shaded behind the lines. A method shades nothing."""
    return tuple(
        Band(_began(rupture, history), _ended(rupture) or ends, Tone.RUPTURE)
        for rupture in ruptures_of(history).values()
    )


def _began(rupture: Rupture, history: History) -> datetime:
    """When its session was, where it names one; else when it was marked."""
    session = rupture.marked.session
    found = None if session is None else sessions_of(history).get(session)
    return rupture.entry.occurred_at if found is None else found.started_at


def _ended(rupture: Rupture) -> datetime | None:
    """When the last of those concerned saw it as resolved; None: it is open."""
    if rupture.is_open:
        return None
    return max(view.occurred_at for view in rupture.views.values())
