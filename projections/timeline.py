"""The timeline: every entry of a relationship as it was recorded, with what became of it.

It shows corrections as entries of their own and marks what they amend; it shows no content. What
an entry says without its key (topic, times, actor) stays readable when its content is erased.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from domain.consent import relied_on
from domain.event import Amendment, Erased, Event, Policy, RecordedEvent, Source, Stream, Text
from domain.rating import Rating, Superseding
from domain.topics import EVENTS, may_amend
from projections.view import (
    Cell,
    Code,
    Instant,
    Number,
    Ref,
    Together,
    Told,
    View,
    cell,
    known,
)


@dataclass(slots=True, unsafe_hash=True)
class Line(Told):
    """One entry."""

    position: Cell[Number]
    topic: Cell[Code]
    occurred_at: Cell[Instant]
    occurred_offset: Cell[Number]
    """Minutes east of UTC that it occurred in."""
    recorded_at: Cell[Instant]
    actor: Cell[UUID]
    on_behalf_of: Cell[UUID | None]
    source: Cell[Source]
    late: Cell[bool]
    """Rule 3: recorded more than the policy's delay after it occurred."""
    late_reason: Cell[Text | None]
    import_id: Cell[UUID | None]
    """The declared import it stands on (rule 45)."""
    reported: Cell[tuple[str, ...]]
    """Codes of the refusals that its import reported (rule 45)."""
    relies_on: Cell[tuple[Number, ...]]
    """Versions of the consents that it cites (rule 24)."""
    unsupported: Cell[Number] | None = None
    """Version of the entry that says that one of these consents was entered in error."""
    amends: Cell[Number] | None = None
    """Version of the entry that this one corrects."""
    corrected: tuple[Cell[Number], ...] = ()
    """Versions of the entries that correct this one (rule 1)."""
    in_error: Cell[Number] | None = None
    """Version of the entry that says this one was entered in error."""
    superseded: Cell[Number] | None = None
    """Version of the rating that replaces this one (rule 29)."""


_CLEAR = (
    "position",
    "topic",
    "occurred_at",
    "occurred_offset",
    "recorded_at",
    "actor",
    "on_behalf_of",
    "source",
    "late",
)
_ALL = Together(*_CLEAR, "late_reason", "import_id", "reported", "relies_on")
"""What an entry says by itself: all but what others say of it."""


@dataclass(frozen=True, slots=True)
class State:
    """The lines so far, and the lines of ratings by the rating's id."""

    lines: Mapping[int, Line] = field(default_factory=dict)
    ratings: Mapping[UUID, int] = field(default_factory=dict)


class Timeline(View[State, Line]):
    name = "timeline"
    row = Line
    clear = _CLEAR
    together = (_ALL,)
    alone = frozenset(
        topic
        for topic, kind in EVENTS.items()
        if not may_amend(topic) and not issubclass(kind, Superseding)
    )

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()

    def empty(self, stream: Stream) -> State:
        return State()

    def fold(self, state: State, *entries: RecordedEvent) -> State:
        lines, ratings = {**state.lines}, {**state.ratings}
        for entry in entries:
            self._add(lines, ratings, entry)
        return State(lines, ratings)

    def _add(self, lines: dict[int, Line], ratings: dict[UUID, int], entry: RecordedEvent) -> None:
        amended = entry.amends()
        lines[entry.version] = self._line(entry, amended)
        if amended is not None and amended.version in lines:
            line = lines[amended.version]
            mark = cell(entry, entry.version)
            if amended.content is None:
                lines[amended.version] = replace(line, in_error=mark)
                lines |= _without(lines, amended.version, mark)
            else:
                lines[amended.version] = _corrected(line, entry)
        if isinstance(entry.event, Rating):
            ratings[entry.event.rating] = entry.version
        if isinstance(entry.event, Superseding):
            old = ratings.get(entry.event.superseded)
            if old is not None:
                lines[old] = replace(lines[old], superseded=cell(entry, entry.version))

    def rows(self, state: State) -> Mapping[int, Line]:
        return state.lines

    def alone_values(self, entry: RecordedEvent) -> Sequence[Any]:
        event = entry.event
        assert isinstance(event, Event), "it is not Erased"
        return *self._envelope(entry), *_content(event)

    def _line(self, entry: RecordedEvent, amended: Amendment | None) -> Line:
        event, ref, envelope = entry.event, Ref.to(entry), self._envelope(entry)
        if isinstance(event, Erased):
            known = zip(_CLEAR, envelope, strict=True)
            return Line.erased(entry, **{name: Cell(value, ref) for name, value in known})
        beside = {} if amended is None else {"amends": Cell(amended.version, ref)}
        return Line.told_by(ref, _ALL, (*envelope, *_content(event)), **beside)

    def _envelope(self, entry: RecordedEvent) -> tuple[object, ...]:
        """The clear fields: what is known of an entry without its content."""
        occurred_at = entry.occurred_at
        return (
            entry.position,
            entry.topic,
            occurred_at.astimezone(UTC),
            _minutes(occurred_at.utcoffset()),
            entry.recorded_at.astimezone(UTC),
            entry.actor,
            entry.on_behalf_of,
            entry.source,
            entry.is_late(self._policy),
        )


def _content(event: Event) -> tuple[object, ...]:
    """What an entry says by itself, of the sealed fields."""
    return event.late_reason, event.import_id, event.reported, relied_on(event)


@lru_cache(1024)
def _minutes(offset: timedelta | None) -> int:
    assert offset is not None, "every moment has its offset"
    return offset // timedelta(minutes=1)


def _corrected(line: Line, correction: RecordedEvent) -> Line:
    """A session that is set right cites the consents of its right time."""
    line = replace(line, corrected=(*line.corrected, cell(correction, correction.version)))
    amended = correction.amends()
    cited = amended and amended.content and amended.content.get("relies_on")
    if not cited:
        return line
    versions = tuple(reliance["entry"] for reliance in cited)
    return replace(line, relies_on=cell(correction, versions), unsupported=None)


def _without(lines: Mapping[int, Line], consent: int, mark: Cell[Number]) -> Mapping[int, Line]:
    """The lines that rely on the consent of that entry, which was never given."""
    return {
        version: replace(line, unsupported=mark)
        for version, line in lines.items()
        if consent in (known(line.relies_on) or ())
    }


def late(lines: Mapping[int, Line]) -> Iterator[Line]:
    """The entries that were recorded late, in order."""
    return (line for _, line in sorted(lines.items()) if known(line.late))


def as_first_said(lines: Mapping[int, Line]) -> Iterator[Line]:
    """The entries that nothing later has corrected, taken back or replaced, in order."""
    return (
        line
        for _, line in sorted(lines.items())
        if not line.corrected and line.in_error is None and line.superseded is None
    )
