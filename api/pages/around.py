"""What stands around the work: frame, phases, pauses, context, recordings, and risk items.

None of it explains a rating. It is there so that whoever reads a course later sees what else went
on, and who has looked at what.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import zip_longest
from uuid import UUID

from api.access import Reach
from api.doors import Visit
from api.pages import words
from api.pages.charts import Band, Mark, Shape, Span, Strip, Tone
from api.pages.people import People
from api.pages.said import Said
from domain.context import context_events
from domain.event import History, Refusal
from domain.frame import FrameAgreed, FrameDepartureRecorded, FrameItemChanged, frame_of
from domain.phase import phases_of
from domain.recall import recalls_of
from domain.recording import Recording, RecordingUsed, recordings_of
from domain.relationship import Relationship, relationship_of
from domain.risk import Risk, RiskReviewed, risks_of
from domain.session import session_numbers
from domain.summary import SessionSummaryShared


@dataclass(frozen=True, slots=True)
class RiskShown:
    """One answer that a person has to look at."""

    rating: UUID
    item: int
    instrument: str
    about: str
    raised: Said
    reviews: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """What stands agreed on one item of the frame."""

    item: str
    terms: str


@dataclass(frozen=True, slots=True)
class FrameShown:
    version: int
    terms: tuple[Term, ...]
    agreed: Said


@dataclass(frozen=True, slots=True)
class RecordingShown:
    """A recording, and what became of it."""

    session: str
    kind: str
    started: datetime
    length: str
    state: str
    tone: str
    version: int
    uses: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class RecallShown:
    """What one party said when watching a session again; nobody's moments are mixed."""

    session: str
    party: str
    manner: str
    inquirer: str
    held: Said
    moments: tuple[tuple[str, Said], ...]
    """By the minute and second of the recording."""


@dataclass(frozen=True, slots=True)
class Around:
    risks: tuple[RiskShown, ...] = ()
    frame: FrameShown | None = None
    turns: tuple[Said, ...] = ()
    """Changes of the frame, departures from it, phases, pauses and context, in order of time."""
    recordings: tuple[RecordingShown, ...] = ()
    recalls: tuple[RecallShown, ...] = ()
    summaries: tuple[Said, ...] = ()


def around(history: History, people: People, visit: Visit) -> Around:
    """All of it, in words."""
    numbers = session_numbers(history)
    return Around(
        risks=tuple(_risk(risk, people) for risk in risks_of(history).values()),
        frame=_frame(history, people),
        turns=tuple(said for _, said in sorted(_turns(history, people), key=lambda one: one[0])),
        recordings=tuple(
            _recording(one, numbers, people) for one in recordings_of(history).values()
        ),
        recalls=tuple(_recalls(history, people, visit)),
        summaries=tuple(
            Said(f"Session {numbers.get(shared.session, '–')}: {shared.summary}", entry.version)
            for entry, shared in history.of(SessionSummaryShared)
        ),
    )


# --- In words -------------------------------------------------------------------------------


def _risk(risk: Risk, people: People) -> RiskShown:
    raised = risk.raised
    return RiskShown(
        rating=raised.rating,
        item=raised.item,
        instrument=raised.instrument,
        about="" if raised.about is None else people.who(raised.about),
        raised=Said(f"raised {words.day(risk.entry.occurred_at)}", risk.entry.version),
        reviews=tuple(
            Said(
                f"{words.day(entry.occurred_at)}, {people.who(review.by)}: {review.finding}"
                f" Done: {review.action}",
                entry.version,
            )
            for entry in risk.reviews
            if isinstance(review := entry.event, RiskReviewed)
        ),
    )


def _frame(history: History, people: People) -> FrameShown | None:
    frame = frame_of(history)
    if frame is None:
        return None
    return FrameShown(
        version=frame.version,
        terms=tuple(Term(words.plain(item), terms) for item, terms in frame.items.items()),
        agreed=Said(f"as of {words.day(frame.entry.occurred_at)}", frame.entry.version),
    )


def _turns(history: History, people: People) -> Iterator[tuple[datetime, Said]]:
    for entry in history.standing:
        at, day = entry.occurred_at, words.day(entry.occurred_at)
        match entry.event:
            case FrameItemChanged() as changed:
                told = f"frame, {words.plain(changed.item)}: now “{changed.new}”. {changed.reason}"
                yield at, Said(f"{day}: {told}", entry.version)
            case FrameDepartureRecorded() as departure:
                told = f"otherwise than agreed, {words.plain(departure.item)}: {departure.reason}"
                yield at, Said(f"{day}: {told}", entry.version)
    for phase in phases_of(history):
        at = phase.entry.occurred_at
        told = f"phase “{phase.declared.phase}” begins. {phase.declared.rationale}"
        yield at, Said(f"{words.day(at)}: {told}", phase.entry.version)
    for entry, event in context_events(history):
        at = datetime.combine(event.began, time(), UTC)
        whom = "" if event.about is None else f", {people.who(event.about)}"
        told = f"{words.plain(event.kind)} ({words.plain(event.scope)}{whom}): {event.note}"
        yield at, Said(f"{_period(event.began, event.ended)}: {told}", entry.version)


def _period(began: date, ended: date | None) -> str:
    return (
        f"from {words.day(began)} on"
        if ended is None
        else f"{words.day(began)} to {words.day(ended)}"
    )


def _recording(one: Recording, numbers: dict[UUID, int], people: People) -> RecordingShown:
    if one.destroyed_at is not None:
        state, tone = f"destroyed {words.day(one.destroyed_at)}", ""
    elif one.lapse is not None:
        state, tone = f"ended by withdrawal of {people.who(one.lapse.party)}", "alarm"
    else:
        state, tone = ("kept", "") if one.ended_at else ("running", "")
    seconds = one.seconds
    return RecordingShown(
        session=f"session {numbers.get(one.session, '–')}",
        kind=words.plain(one.kind),
        started=one.started_at,
        length="" if seconds is None else f"{seconds // 60} min {seconds % 60:02} s",
        state=state,
        tone=tone,
        version=one.entry.version,
        uses=tuple(
            Said(
                f"{words.day(entry.occurred_at)}, {words.plain(used.purpose)}, "
                f"{people.who(used.by)}",
                entry.version,
            )
            for entry in one.uses
            if isinstance(used := entry.event, RecordingUsed)
        ),
    )


def _recalls(history: History, people: People, visit: Visit) -> Iterator[RecallShown]:
    """What each said; to a client only what that client said."""
    numbers = session_numbers(history)
    for recall in recalls_of(history).values():
        held = recall.held
        if visit.reach is Reach.OWN and held.party != visit.who.person:
            continue
        part = people.part(held.party)
        yield RecallShown(
            session=f"session {numbers.get(held.session, '–')}",
            party=people.who(held.party),
            manner=part.split(" ")[0],
            inquirer=people.who(held.inquirer),
            held=Said(words.day(held.held_at), recall.entry.version),
            moments=tuple(
                (f"{moment.t_s // 60}:{moment.t_s % 60:02}", Said(moment.what, entry.version))
                for entry, moment in recall.moments
            ),
        )


# --- On the chart ---------------------------------------------------------------------------


def strips(history: History, ends: datetime) -> Iterator[Strip]:
    """What can be shown on the axis of time."""
    yield _risks(history)
    yield _work(history, ends)
    yield _outside(history, ends)


def pauses(history: History, ends: datetime) -> tuple[Band, ...]:
    """When nobody met, shaded behind the lines."""
    relationship = _relationship(history)
    if relationship is None:
        return ()
    return tuple(
        Band(pause.since, pause.until or ends, Tone.PAUSE) for pause in relationship.pauses
    )


def _relationship(history: History) -> Relationship | None:
    try:
        return relationship_of(history)
    except Refusal:  # erased, or not there yet
        return None


def _risks(history: History) -> Strip:
    marks = []
    for risk in risks_of(history).values():
        said = f"{words.day(risk.entry.occurred_at)}, {risk.raised.instrument} item "
        said += f"{risk.raised.item}: {'reviewed' if risk.is_reviewed else 'not reviewed'}"
        shape = Shape.REVIEWED if risk.is_reviewed else Shape.RISK
        marks.append(Mark("risk items", risk.entry.occurred_at, shape, said))
    return Strip("", ("risk items",) if marks else (), tuple(marks))


def _work(history: History, ends: datetime) -> Strip:
    """Frame, phases and pauses."""
    marks: list[Mark] = []
    spans: list[Span] = []
    for entry in history.standing:
        at, day = entry.occurred_at, words.day(entry.occurred_at)
        match entry.event:
            case FrameAgreed():
                marks.append(Mark("frame", at, Shape.NOTED, f"{day}, frame agreed", "agreed"))
            case FrameItemChanged(item=item):
                said = f"{day}, frame changed: {words.plain(item)}"
                marks.append(Mark("frame", at, Shape.NOTED, said, words.plain(item)))
            case FrameDepartureRecorded(item=item):
                said = f"{day}, otherwise than agreed: {words.plain(item)}"
                marks.append(Mark("frame", at, Shape.DEPARTED, said))
    phases = phases_of(history)
    for phase, following in zip_longest(phases, phases[1:]):
        begins = phase.entry.occurred_at
        until = ends if following is None else following.entry.occurred_at
        name = f"phase: {words.shortened(phase.declared.phase, 22)}"
        said = f"{words.day(begins)}, phase “{phase.declared.phase}”"
        spans.append(Span(name, begins, max(begins, min(until, ends)), said, Tone.CONTEXT))
    relationship = _relationship(history)
    for pause in relationship.pauses if relationship else ():
        said = f"paused from {words.day(pause.since)}"
        spans.append(Span("pause", pause.since, pause.until or ends, said, Tone.PAUSE))
    rows = dict.fromkeys([*(m.row for m in marks), *(s.row for s in spans)])
    return Strip("The frame of the work", tuple(rows), tuple(marks), tuple(spans))


def _outside(history: History, ends: datetime) -> Strip:
    spans = []
    for _, event in context_events(history):
        begins = datetime.combine(event.began, time(), UTC)
        until = ends if event.ended is None else datetime.combine(event.ended, time(23, 59), UTC)
        name = f"{words.plain(event.kind)} ({words.plain(event.scope)})"
        said = f"{name}, {_period(event.began, event.ended)}"
        spans.append(Span(name, begins, max(begins, min(until, ends)), said, Tone.CONTEXT))
    return Strip(
        "What reached into the room", tuple(dict.fromkeys(s.row for s in spans)), (), tuple(spans)
    )
