"""The caseload: one row per relationship, and what is missing in it.

A supervisor triages by missing information: no rating, goals not agreed, consent missing, withdrawn
or about to lapse, a rupture open, a risk item that nobody has reviewed. Nothing here ranks
therapists or predicts anything of a person.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import takewhile
from operator import attrgetter
from typing import Any
from uuid import UUID

from domain.amendment import amendments_of
from domain.clinic import Scope
from domain.consent import ConsentWithdrawn, consents_of
from domain.emergency import emergencies_unreviewed
from domain.event import (
    Entries,
    Erased,
    Event,
    Fold,
    History,
    Line,
    Model,
    Moment,
    Policy,
    RecordedEvent,
    Source,
    Stream,
)
from domain.goal import Goal, GoalRated, GoalStatus, goals_worded
from domain.instrument import Definition, Perspective
from domain.note import notes_awaiting_cosign, unsigned_notes
from domain.rating import Rating, Superseding, definition_of, ratings_of
from domain.relationship import (
    Constellation,
    ParticipantJoined,
    ParticipantLeft,
    RelationshipClosed,
    RelationshipOpened,
    RelationshipReopened,
    relationship_of,
)
from domain.risk import risks_unreviewed
from domain.rupture import ruptures_of
from domain.scoring import Flag, score_scales
from domain.session import Session, SessionHeld, sessions_of
from domain.told import Growing, ids
from domain.topics import EVENTS
from projections.view import Cell, Cells, Number, Row, View, cell, known


class CaseState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Missing(StrEnum):
    """What a supervisor should see is not there; what weighs most comes first."""

    CONTENT = "content_erased"
    TREATMENT_CONSENT = "treatment_consent"
    RISK_REVIEW = "risk_review"
    EMERGENCY_REVIEW = "emergency_review"
    ACCESS_REVIEW = "access_review"
    ACTION_OVERDUE = "action_overdue"
    AMENDMENT = "amendment"
    NOTE_UNSIGNED = "note_unsigned"
    COSIGNATURE = "cosignature"
    RUPTURE_OPEN = "rupture_open"
    ASSENT = "assent"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CONSENT_LAPSING = "consent_lapsing"
    RATING = "rating"
    GOALS = "goals"
    AGREEMENT = "agreement_on_goals"


PRESSING = frozenset({Missing.RISK_REVIEW, Missing.EMERGENCY_REVIEW, Missing.ACCESS_REVIEW})
"""What somebody should see today."""


class OpenEnd(Model):
    """Something that waits for somebody."""

    what: Missing
    since: Moment
    due: Moment | None = None


class LastRating(Model):
    """The newest rating from one perspective, and what its reader must be told."""

    perspective: Perspective
    at: Moment
    flags: tuple[Flag, ...]
    key_known: bool


class Consented(Model):
    """The newest consent of one party to one scope."""

    scope: Scope
    party: UUID
    valid_from: Moment
    valid_to: Moment | None
    withdrawn_at: Moment | None
    lacks_assent: bool = False
    """A guardian gave it, and the minor was not asked or does not agree (rule 23)."""

    def holds(self, at: datetime) -> bool:
        return (
            not self.lacks_assent
            and self.valid_from <= at
            and (self.valid_to is None or at < self.valid_to)
            and (self.withdrawn_at is None or at < self.withdrawn_at)
        )


@dataclass(slots=True, unsafe_hash=True)
class Case(Row):
    """One relationship."""

    clients: Cell[tuple[UUID, ...]]
    therapists: Cell[tuple[UUID, ...]]
    supervisor: Cell[UUID | None]
    state: Cell[CaseState]
    constellation: Cell[Constellation]
    modality: Cell[Line]
    opened_at: Cell[Moment]
    sessions_held: Cell[int] | None = None
    last_session_at: Cell[Moment] | None = None
    unrated_sessions: Cell[int] | None = None
    """Held sessions since the last one that a client rated."""
    unrated_since: Cell[Moment] | None = None
    """Start of the first of them."""
    last_ratings: tuple[Cell[LastRating], ...] = ()
    goals_pursued: Cell[int] | None = None
    goals_not_agreed: Cell[int] | None = None
    consents: tuple[Cell[Consented], ...] = ()
    open_ends: tuple[Cell[OpenEnd], ...] = ()
    """What somebody has begun and nobody has brought to an end."""
    late_entries: Cell[Number] | None = None
    imported_entries: Cell[Number] | None = None
    erased_entries: Cell[Number] | None = None
    reported: tuple[Cell[str], ...] = ()
    """The codes of refusals that imports reported (rule 45)."""


@dataclass(frozen=True, slots=True)
class State:
    """The entries that a case is told from, and counts over all entries."""

    entries: History = field(default_factory=History)
    late: Cell[int] | None = None
    imported: Cell[int] | None = None
    erased: Cell[int] | None = None
    reported: tuple[Cell[str], ...] = ()


_FAMILIES = frozenset(
    {
        "relationship",
        "session",
        "alliance",
        "outcome",
        "goal",
        "consent",
        "assent",
        "rupture",
        "risk",
        "note",
        "amendment",
    }
)
"""The families of entries that a case is told from; of most others it is only counted that they
came late, by an import, or were erased."""


class Caseload(View[State, Case]):
    name = "caseload"
    version = 2
    row = Case
    clear = (
        "clients",
        "therapists",
        "supervisor",
        "state",
        "late_entries",
        "imported_entries",
        "erased_entries",
    )
    indexed = ("clients", "therapists", "supervisor")

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()

    def empty(self, stream: Stream) -> State:
        return State()

    def fold(self, state: State, *entries: RecordedEvent) -> State:
        reported = state.reported
        for entry in entries:
            if not isinstance(entry.event, Erased) and entry.event.reported:
                known_codes = {known(code) for code in reported}
                news = (cell(entry, c) for c in entry.event.reported if c not in known_codes)
                reported = (*reported, *news)
        told_from = [e for e in entries if _tells_of_a_case(e.topic) or e.amends() is not None]
        return State(
            entries=state.entries.then(*told_from),
            late=_counted(state.late, [e for e in entries if e.is_late(self._policy)]),
            imported=_counted(state.imported, [e for e in entries if e.source is Source.IMPORT]),
            erased=_counted(state.erased, [e for e in entries if isinstance(e.event, Erased)]),
            reported=reported,
        )

    def rows(self, state: State) -> Mapping[int, Case]:
        history = state.entries
        opening = history.folded(_OPENING)
        if opening is None:
            return {}
        counted: dict[str, Any] = {
            "late_entries": state.late,
            "imported_entries": state.imported,
            "erased_entries": state.erased,
            "reported": state.reported,
        }
        if isinstance(opening.event, Erased):
            return {opening.version: Case.erased(opening, **counted)}
        case = Case(
            **history.folded(_WHO),
            **_of_sessions(history),
            **history.folded(_GOALS),
            **counted,
            last_ratings=history.folded(_RATINGS).in_order(),
            consents=history.folded(_CONSENTS),
            open_ends=history.folded(self._open_ends),
        )
        return {opening.version: case}

    @cached_property
    def _open_ends(self) -> Fold[tuple[Cell[OpenEnd], ...]]:
        return Fold(
            lambda history: tuple(_open_ends(history, self._policy)),
            *_kinds("session", "rupture", "risk", "note", "amendment"),
        )


@lru_cache(1024)
def _family(topic: str) -> str:
    return topic.partition(".")[0]


@lru_cache(1024)
def _tells_of_a_case(topic: str) -> bool:
    return _family(topic) in _FAMILIES


def _counted(count: Cell[int] | None, more: Sequence[RecordedEvent]) -> Cell[int] | None:
    """The count with these, as of the last of them."""
    return cell(more[-1], (known(count) or 0) + len(more)) if more else count


# Each part of a case is told again only where there is an entry of a kind that it is told from.


def _kinds(*families: str) -> tuple[type, ...]:
    """The kinds of events of these families of topics, and what is left of one that is erased."""
    return (Erased, *(kind for topic, kind in EVENTS.items() if _family(topic) in families))


_OPENING = Fold(
    lambda history: next(
        (entry for entry in history.standing if entry.topic == RelationshipOpened.topic), None
    ),
    *_kinds("relationship"),
)


def _who(history: History) -> Mapping[str, Any]:
    """Of whom and how the relationship is, and whether it goes on."""
    opening = history.folded(_OPENING)
    assert opening is not None, "it was asked"
    relationship = relationship_of(history)
    turn = _last(history, RelationshipClosed, RelationshipReopened) or opening
    opened, here = relationship.opened, Cells(opening)
    who = Cells(_last(history, ParticipantJoined, ParticipantLeft) or opening)
    return {
        "clients": who(relationship.clients),
        "therapists": who(relationship.therapists),
        "supervisor": who(relationship.supervisor),
        "state": cell(turn, CaseState.OPEN if relationship.is_open else CaseState.CLOSED),
        "constellation": here(opened.constellation),
        "modality": here(opened.modality),
        "opened_at": here(opening.occurred_at),
    }


_WHO = Fold(_who, *_kinds("relationship"))


def _last(history: History, *kinds: type[Event]) -> RecordedEvent | None:
    """The last of the standing entries of these kinds."""
    found = (entry for kind in kinds for entry, _ in history.of(kind))
    return max(found, key=attrgetter("version"), default=None)


def _held(history: History) -> Sequence[tuple[Session, RecordedEvent]]:
    """The held sessions in order of their start, each with the entry that says that it was held."""
    entries = {event.session: entry for entry, event in history.of(SessionHeld)}
    held = (session for session in sessions_of(history).values() if session.is_held)
    by_start = sorted(held, key=lambda session: (session.started_at, session.id))
    return [(session, entries[session.id]) for session in by_start]


_HELD = Fold(_held, *_kinds("session"))


def _of_sessions(history: History) -> Mapping[str, Any]:
    """How many sessions were held, and those since the last one that a client rated."""
    held = history.folded(_HELD)
    if not held:
        return {}
    rated = history.folded(_RATINGS).sessions
    unrated = list(takewhile(lambda pair: pair[0].id not in rated, reversed(held)))
    last, says_so = held[-1]
    told = {
        "sessions_held": cell(says_so, len(held)),
        "last_session_at": cell(says_so, last.started_at),
    }
    if unrated:
        first, its_entry = unrated[-1]
        told["unrated_sessions"] = cell(says_so, len(unrated))
        told["unrated_since"] = cell(its_entry, first.started_at)
    return told


def _goals(history: History) -> Mapping[str, Any]:
    """How many goals are pursued, and how many of them not everybody has agreed to."""
    who = history.folded(_WHO)
    required = (*(known(who["clients"]) or ()), *(known(who["therapists"]) or ()))
    pursued = [goal for goal in goals_worded(history).values() if goal.status is GoalStatus.OPEN]
    vague = [goal for goal in pursued if not goal.current.agreed_by(required)]
    counts = {"goals_pursued": pursued, "goals_not_agreed": vague}
    return {name: cell(_last_worded(goals), len(goals)) for name, goals in counts.items() if goals}


_GOALS = Fold(_goals, *(kind for kind in _kinds("relationship", "goal") if kind is not GoalRated))


def _last_worded(goals: Iterable[Goal]) -> RecordedEvent:
    return max((goal.current.entry for goal in goals), key=lambda entry: entry.version)


@dataclass(frozen=True, slots=True)
class _Rated:
    """What ratings come to."""

    named: Growing[UUID, None]
    """Every id that a rating ever had, or one in whose place another was said to stand."""
    last: Mapping[Perspective, Cell[LastRating]]
    """The newest of each perspective."""
    sessions: Growing[UUID | None, None]
    """Those whose alliance a client rated."""

    def in_order(self) -> tuple[Cell[LastRating], ...]:
        return tuple(last for _, last in sorted(self.last.items()))


def _rated(history: History) -> _Rated:
    named, replaced = history.folded(_NAMED), history.folded(_REPLACED)
    current = [current.entry for current in ratings_of(history).values()]
    return _with(_Rated(named.having(replaced), {}, Growing()), current)


def _further(rated: _Rated, news: Entries) -> _Rated | None:
    """With ratings that stand in nobody's place; None where they may."""
    named = rated.named
    for entry in news:
        rating = entry.event
        if not isinstance(rating, Rating) or isinstance(rating, Superseding):
            return None
        if rating.rating in named:
            return None
        named = named.having({rating.rating: None})
    return _with(replace(rated, named=named), news)


def _with(rated: _Rated, current: Iterable[RecordedEvent]) -> _Rated:
    """With current ratings, in their order."""
    newest: dict[Perspective, RecordedEvent] = {}
    sessions: dict[UUID | None, None] = {}
    for entry in current:
        rating = entry.event
        assert isinstance(rating, Rating), "it is current"
        before = newest.get(rating.perspective)
        if before is None or before.occurred_at <= entry.occurred_at:
            newest[rating.perspective] = entry
        if rating.perspective is Perspective.CLIENT and entry.topic.startswith("alliance."):
            sessions[rating.session] = None
    last = {**rated.last}
    for perspective, entry in newest.items():
        earlier = known(last.get(perspective))
        if earlier is None or earlier.at <= entry.occurred_at:
            last[perspective] = _last_rating(entry, perspective)
    return _Rated(rated.named, last, rated.sessions.having(sessions))


def _last_rating(entry: RecordedEvent, perspective: Perspective) -> Cell[LastRating]:
    flags = flags_of_score(entry)
    rating = LastRating(
        perspective=perspective,
        at=entry.occurred_at,
        flags=flags or (),
        key_known=flags is not None,
    )
    return cell(entry, rating)


def flags_of_score(entry: RecordedEvent) -> tuple[Flag, ...] | None:
    """The flags of `score_of` alone, by its scales; None if the rating's key is unknown."""
    rating = entry.event
    if not isinstance(rating, Rating) or (definition := definition_of(rating)) is None:
        return None
    scales = score_scales(definition, rating.items, entry.occurred_at.date())
    definition.perspective(rating.perspective)  # refuses one that it has no form for
    if not scales:
        return Flag.UNVERIFIED, Flag.RAW_ITEMS_ONLY
    flags = {flag for part in scales.values() for flag in part.flags}
    if not _verified(definition):
        flags.add(Flag.UNVERIFIED)  # also where only a restated scale is not
    return tuple(flag for flag in Flag if flag in flags)


@lru_cache(1024)
def _verified(definition: Definition) -> bool:
    return all(map(definition.scale_verified, definition.scales))


_NAMED = ids("rating", Rating, ever=True)
_REPLACED = ids("superseded", Superseding, ever=True)
_RATINGS = Fold(_rated, Erased, Rating, then=_further)


def _consents(history: History) -> Iterator[Cell[Consented]]:
    """The newest consent of each party to each scope, from the entry that decides about it."""
    ended_by = {
        ended: entry
        for entry, withdrawn in history.of(ConsentWithdrawn)
        for ended in (withdrawn.consent, *withdrawn.also_ends)
    }
    newest = {(c.given.party, c.given.scope): c for c in consents_of(history).values()}
    for consent in newest.values():
        given, own_say = consent.given, consent.own_say
        entry = ended_by.get(given.consent) or history.entry(consent.entry)
        assert entry is not None, "it is told from this history"
        yield cell(
            entry,
            Consented(
                scope=given.scope,
                party=given.party,
                valid_from=given.valid_from,
                valid_to=consent.ends_at,
                withdrawn_at=consent.withdrawn_at,
                lacks_assent=own_say is not None and not own_say.allows(_ALWAYS),
            ),
        )


_CONSENTS = Fold(
    lambda history: tuple(_consents(history)), *_kinds("relationship", "consent", "assent")
)


def _open_ends(history: History, policy: Policy) -> Iterator[Cell[OpenEnd]]:
    """What waits for somebody, each from the entry that began it."""
    for risk in risks_unreviewed(history):
        yield _waits(Missing.RISK_REVIEW, risk.entry)
    for held in emergencies_unreviewed(history, _ALWAYS):
        entry = history.entry(held.entry)
        assert entry is not None, "it is told from this history"
        due = datetime.combine(held.review_by, time(), UTC)
        yield _waits(Missing.EMERGENCY_REVIEW, entry, due)
    for amending in amendments_of(history).values():
        requested = history.entry(amending.entry)
        if amending.is_open and requested is not None:
            yield _waits(Missing.AMENDMENT, requested, amending.due(policy))
    for writing in unsigned_notes(history):
        yield _waits(Missing.NOTE_UNSIGNED, writing.entry)
    for writing in notes_awaiting_cosign(history):
        yield _waits(Missing.COSIGNATURE, writing.entry)
    for rupture in ruptures_of(history).values():
        if rupture.is_open:
            yield _waits(Missing.RUPTURE_OPEN, rupture.entry)


_ALWAYS = datetime.max.replace(tzinfo=UTC)
"""Rows do not depend on when they are told."""


def _waits(what: Missing, since: RecordedEvent, due: datetime | None = None) -> Cell[OpenEnd]:
    return cell(since, OpenEnd(what=what, since=since.occurred_at, due=due))


# --- Questions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is missing, of whom or in which scope, and since or until when."""

    what: Missing
    at: datetime | None = None
    scope: Scope | None = None
    party: UUID | None = None


_ENDS_WITH_CLOSING = frozenset({Missing.RUPTURE_OPEN})
"""The closing itself says how these are left."""


def missing(
    case: Case, now: datetime, lapse_within: timedelta = timedelta(days=30)
) -> Iterator[Finding]:
    """What is missing in a case; of a closed one, only what outlives the closing."""
    clients = known(case.clients)
    if clients is None:
        yield Finding(Missing.CONTENT)
        return
    closed = known(case.state) is CaseState.CLOSED
    for end in filter(None, map(known, case.open_ends)):
        if not closed or end.what not in _ENDS_WITH_CLOSING:
            yield Finding(end.what, end.due or end.since)
    if closed:
        return
    consents = [consent for part in case.consents if (consent := known(part)) is not None]
    yield from _missing_consent(clients, consents, now, lapse_within)
    if case.unrated_since is not None:
        yield Finding(Missing.RATING, known(case.unrated_since))
    if case.goals_pursued is None:
        yield Finding(Missing.GOALS)
    if case.goals_not_agreed is not None:
        yield Finding(Missing.AGREEMENT)


def _missing_consent(
    clients: Iterable[UUID], consents: list[Consented], now: datetime, lapse_within: timedelta
) -> Iterator[Finding]:
    treated = {c.party for c in consents if c.scope is Scope.TREATMENT and c.holds(now)}
    for client in clients:
        if client not in treated:
            yield Finding(Missing.TREATMENT_CONSENT, scope=Scope.TREATMENT, party=client)
    for consent in consents:
        withdrawn, end = consent.withdrawn_at, consent.valid_to
        if consent.lacks_assent:
            yield Finding(Missing.ASSENT, scope=consent.scope, party=consent.party)
        if withdrawn is not None and withdrawn <= now:
            yield Finding(Missing.CONSENT_WITHDRAWN, withdrawn, consent.scope, consent.party)
        elif end is not None and now < end <= now + lapse_within:
            yield Finding(Missing.CONSENT_LAPSING, end, consent.scope, consent.party)
