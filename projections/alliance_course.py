"""The alliance and the outcome as they were rated: raw items, and the scores their keys give.

A score is computed from the raw items by the key that the rating names (rule 28), and carries
that key's flags (rule 36). Scores of different instruments, forms, metrics or key majors never
share a series, and perspectives are never averaged (rule 32).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BeforeValidator, PlainSerializer

from domain.alliance import AllianceRated, RatingSuperseded
from domain.event import (
    Entries,
    Erased,
    Fold,
    History,
    Model,
    Moment,
    RecordedEvent,
    Source,
    Stream,
)
from domain.instrument import Perspective, UnknownKey, load_key
from domain.outcome import OutcomeRated, OutcomeSuperseded
from domain.rating import Rating, Superseding, definition_of, ratings_of, series_of
from domain.scoring import (
    Flag,
    RawItems,
    ScaleScore,
    score,
    score_scales,
)
from domain.series import SeriesId, series_id
from domain.session import SessionHeld, session_numbers
from domain.told import ids
from projections.view import (
    Cell,
    Instant,
    Ref,
    Together,
    Told,
    View,
    Writing,
    cell,
    known,
    occurred,
)

Exact = Annotated[Fraction, BeforeValidator(Fraction), PlainSerializer(str)]
"""A score without rounding; `1436/7` in text."""


class Scored(Model):
    """The score of one scale; without a value where the missing rule allows none."""

    value: Exact | None
    text: str | None
    """The value in decimals, as a person reads it."""
    low: Exact
    high: Exact
    flags: tuple[Flag, ...]

    def __hash__(self) -> int:
        """Cheap, so that what follows from a score can be kept at hand."""
        return hash(self.text)


class Family(StrEnum):
    """What was rated."""

    ALLIANCE = "alliance"
    OUTCOME = "outcome"


@dataclass(slots=True, unsafe_hash=True)
class RatingRow(Told):
    """One rating."""

    family: Cell[Family]
    rated_at: Cell[Instant]
    rating: Cell[UUID]
    session: Cell[UUID | None]
    """None: between sessions."""
    perspective: Cell[Perspective]
    rater: Cell[UUID]
    own_submission: Cell[bool]
    """Rule 33: whether the rater recorded it, and not somebody else on the rater's behalf."""
    follow_up: Cell[bool]
    instrument: Cell[str]
    instrument_version: Cell[str | None]
    key_hash: Cell[str | None]
    series: Cell[tuple[str, str, str, int] | None]
    """Instrument, form, metric and key major; None: its key is unknown, only raw items stand."""
    items: Cell[RawItems]
    scales: Cell[dict[str, Scored]]
    """By name of the scale; empty where the key is unknown."""
    source: Cell[Source]
    reported: Cell[tuple[str, ...]]
    session_at: Cell[Moment] | None = None
    """When the session started, by the entry that says it was held."""
    session_number: Cell[int] | None = None
    superseded_by: Cell[UUID] | None = None
    supersedes: Cell[UUID] | None = None
    rescored: Cell[str] | None = None
    """The key by which scales and series are read, where the clinic has adopted another one than
    the rating names (rule 31). Told at reading: no table holds it."""

    @property
    def at(self) -> datetime | None:
        """Where it stands on the axis of time: its session's start, else when it was rated."""
        return known(self.session_at) or known(self.rated_at)


_Scales = Mapping[str, Scored]


_SAID = Together(
    "family",
    "rated_at",
    "source",
    "rating",
    "session",
    "perspective",
    "rater",
    "own_submission",
    "follow_up",
    "instrument",
    "instrument_version",
    "key_hash",
    "series",
    "items",
    "scales",
    "reported",
)


@dataclass(frozen=True, slots=True)
class State:
    """The entries about ratings and held sessions, and the scores of what was rated."""

    entries: History = field(default_factory=History)
    scales: Mapping[int, _Scales] = field(default_factory=dict)
    """By version of the rating, as it was first recorded: the one thing here that takes long."""
    made: dict[int, tuple[object, RatingRow]] = field(default_factory=dict, compare=False)
    """By version, a row that was told before, and all that it was told from: only a memory."""
    rows: list[Mapping[int, RatingRow]] = field(default_factory=list, compare=False)
    """What the entries come to, once it was asked: only a memory, too."""


class AllianceCourse(View[State, RatingRow]):
    name = "alliance_course"
    version = 2
    row = RatingRow
    clear = ("family", "rated_at", "source")
    together = (_SAID,)

    _families: ClassVar = {
        AllianceRated.topic: Family.ALLIANCE,
        RatingSuperseded.topic: Family.ALLIANCE,
        OutcomeRated.topic: Family.OUTCOME,
        OutcomeSuperseded.topic: Family.OUTCOME,
    }
    topics = frozenset(_families.keys() | {SessionHeld.topic})

    def _writing(self, name: str, value: Any) -> Writing | None:
        return _plain if name == "scales" else super()._writing(name, value)

    def empty(self, stream: Stream) -> State:
        return State()

    def fold(self, state: State, *entries: RecordedEvent) -> State:
        news = tuple(self.gathered(entries))
        scales = {
            entry.version: scales_of(entry, entry.event)
            for entry in news
            if isinstance(entry.event, Rating)
        }
        # Asked before the history grows: what it was folded to goes on with it.
        sessions = state.entries.folded(_SESSIONS) if self._stand_alone(state, news) else None
        grown = State(state.entries.then(*news), {**state.scales, **scales}, state.made)
        if sessions is not None:
            rows = {**state.rows[0]}
            for entry in news:
                assert isinstance(entry.event, Rating), "it stands alone"
                session = sessions.get(entry.event.session)
                rows[entry.version] = self._made(grown, entry, session, None)
            grown.rows.append(rows)
        return grown

    def _stand_alone(self, state: State, news: Entries) -> bool:
        """Whether rows were told, and nothing came but ratings that change no other row."""
        if not state.rows:
            return False
        named, replaced = state.entries.folded(_NAMED), state.entries.folded(_REPLACED)
        its: set[UUID] = set()
        for entry in news:
            rating = entry.event
            if not isinstance(rating, Rating) or isinstance(rating, Superseding):
                return False
            if rating.rating in named or rating.rating in replaced or rating.rating in its:
                return False
            its.add(rating.rating)
        return True

    def rows(self, state: State) -> Mapping[int, RatingRow]:
        if not state.rows:
            state.rows.append(self._all(state))
        return state.rows[0]

    def _all(self, state: State) -> Mapping[int, RatingRow]:
        history = state.entries
        sessions, successors = history.folded(_SESSIONS), _successors(history)
        rows: dict[int, RatingRow] = {}
        for entry in history.standing:
            rating = entry.event
            if isinstance(rating, Rating):
                session = sessions.get(rating.session)
                rows[entry.version] = self._made(
                    state, entry, session, successors.get(entry.version)
                )
            elif isinstance(rating, Erased) and entry.topic in self._families:
                rows[entry.version] = RatingRow.erased(
                    entry,
                    family=cell(entry, self._families[entry.topic]),
                    rated_at=occurred(entry),
                    source=cell(entry, entry.source),
                )
        return rows

    def _made(
        self,
        state: State,
        entry: RecordedEvent,
        session: "_Session | None",
        superseded_by: Cell[UUID] | None,
    ) -> RatingRow:
        """The row of a rating, told again where something of it is not what it was."""
        told_from = entry, session, superseded_by
        made = state.made.get(entry.version)
        if made is None or made[0] != told_from:
            made = state.made[entry.version] = told_from, self._told(state, *told_from)
        return made[1]

    def _told(
        self,
        state: State,
        entry: RecordedEvent,
        session: "_Session | None",
        superseded_by: Cell[UUID] | None,
    ) -> RatingRow:
        rating = entry.event
        assert isinstance(rating, Rating), "it was asked"
        scales = state.scales.get(entry.version) if entry.amended_at is None else None
        starts, number = session or (None, None)
        return _row(
            entry,
            rating,
            self._families[entry.topic],
            scales_of(entry, rating) if scales is None else scales,
            session_at=starts,
            session_number=number,
            superseded_by=superseded_by,
        )


_Session = tuple[Cell[Moment], Cell[int]]
"""A held session's start and its number."""


def _sessions(history: History) -> dict[UUID | None, _Session]:
    numbers = session_numbers(history)
    return {
        held.session: (cell(entry, held.started_at), cell(entry, numbers[held.session]))
        for entry, held in history.of(SessionHeld)
    }


_SESSIONS = Fold(_sessions, SessionHeld)
_NAMED = ids("rating", Rating, ever=True)
_REPLACED = ids("superseded", Superseding, ever=True)


def _successors(history: History) -> dict[int, Cell[UUID]]:
    """By version of a rating that no longer is the current one: the rating that is."""
    return {
        earlier.version: cell(current.entry, current.rating.rating)
        for current in ratings_of(history).values()
        for earlier in current.earlier
    }


def scales_of(entry: RecordedEvent, rating: Rating) -> _Scales:
    """The scores of a rating by its own key, scale by scale; none where the key is unknown."""
    definition = definition_of(rating)
    if definition is None:
        return {}
    definition.perspective(rating.perspective)  # refuses one that it has no form for
    return _told(score_scales(definition, rating.items, entry.occurred_at.date()))


def _told(scales: Mapping[str, ScaleScore]) -> _Scales:
    return {name: _shown(part) for name, part in scales.items()}


@lru_cache(16_384)
def _shown(part: ScaleScore) -> Scored:
    return _one(part.value, part.text, part.low, part.high, part.flags)


@lru_cache(16_384)
def _one(
    value: Fraction | None, text: str | None, low: Fraction, high: Fraction, flags: tuple[Flag, ...]
) -> Scored:
    """One object for what is equal, whichever scale it is of: it is found again by its identity.

    Nothing is validated that the score has just made.
    """
    return Scored.model_construct(value=value, text=text, low=low, high=high, flags=flags)


def _plain(scales: _Scales) -> Mapping[str, object]:
    """Scores as they are stored: there are not many different ones."""
    return {name: _plain_score(scored) for name, scored in scales.items()}


@lru_cache(16_384)
def _plain_score(scored: Scored) -> Mapping[str, object]:
    return scored.model_dump()


def _row(
    entry: RecordedEvent, rating: Rating, family: Family, scales: _Scales, **beside: Any
) -> RatingRow:
    """The row of a rating; `beside`: what other entries say of it."""
    ref, identity = Ref.to(entry), series_of(rating)
    said = (
        family,
        entry.occurred_at.astimezone(UTC),
        entry.source,
        rating.rating,
        rating.session,
        rating.perspective,
        rating.rater,
        entry.source is Source.ENTERED and entry.actor == rating.rater,
        rating.follow_up,
        rating.instrument,
        rating.instrument_version,
        rating.key_hash,
        None if identity is None else (*identity,),
        rating.items,
        dict(scales),
        rating.reported,
    )
    if isinstance(rating, RatingSuperseded):
        beside["supersedes"] = Cell(rating.superseded, ref)
    return RatingRow.told_by(ref, _SAID, said, **beside)


def read_by(
    rows: Mapping[int, RatingRow], adopted: Callable[[str, str], str]
) -> dict[int, RatingRow]:
    """The rows as the keys score them that the clinic has adopted (rule 31).

    `adopted`: the key for an instrument and the key that a rating names; mostly the same one.
    """
    return {version: _read_by(row, adopted) for version, row in rows.items()}


def _read_by(row: RatingRow, adopted: Callable[[str, str], str]) -> RatingRow:
    instrument, named, items = known(row.instrument), row.key_hash.known, known(row.items)
    perspective, at = known(row.perspective), known(row.rated_at)
    if instrument is None or named is None or items is None or perspective is None or at is None:
        return row
    key = adopted(instrument, named)
    if key == named:
        return row
    try:
        definition = load_key(key)
    except UnknownKey:  # adopted by a newer version of the code: this one cannot read by it
        return row
    scored = score(definition, items, perspective=perspective, at=at.date())
    here, identity = row.items.ref, series_id(definition, perspective)
    return replace(
        row,
        scales=Cell(dict(_told(scored.scales)), here),
        series=Cell(identity, here),
        rescored=Cell(key, here),
    )


# --- Questions ------------------------------------------------------------------------------


def current(rows: Mapping[int, RatingRow]) -> Iterator[RatingRow]:
    """The ratings that no other has superseded, in order of their sessions (rule 29)."""
    standing = (row for row in rows.values() if row.superseded_by is None and row.at is not None)
    return iter(sorted(standing, key=lambda row: (row.at, row.rated_at.ref.version)))


def series(rows: Mapping[int, RatingRow]) -> Mapping[tuple[SeriesId, UUID], list[RatingRow]]:
    """The current ratings that may share an axis, by series and rater (rule 32).

    What has no known key belongs to no series; what was erased neither.
    """
    grouped: dict[tuple[SeriesId, UUID], list[RatingRow]] = {}
    for row in current(rows):
        identity, rater = known(row.series), known(row.rater)
        if identity is not None and rater is not None:
            grouped.setdefault((SeriesId(*identity), rater), []).append(row)
    return grouped


def rated_sessions(rows: Mapping[int, RatingRow], perspective: Perspective) -> frozenset[UUID]:
    """The sessions whose alliance was rated from that perspective."""
    return frozenset(
        session
        for row in current(rows)
        if known(row.family) is Family.ALLIANCE
        and known(row.perspective) is perspective
        and (session := known(row.session)) is not None
    )
