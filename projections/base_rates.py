"""Base rates over the clinic: how many clients each answer holds for, with small counts suppressed.

Told from the rows of the views as they were known at the end of the last quarter (rule 42). They
are there to see whether a method or a way of working gives plausible figures, and say nothing of
anybody; there is none by therapist.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.clinic import Scope
from domain.event import Stream
from domain.instrument import Perspective, UnknownKey, load_key
from domain.methods.card import Kind, MethodCard, Outcome
from domain.methods.episode import EPISODE
from domain.methods.series import Axis, Better, Point, Series
from projections.aggregates import Table, tabulate, united
from projections.alliance_course import Family, RatingRow
from projections.consent_register import ConsentRow, Step
from projections.goal_course import GoalRow
from projections.goal_course import Kind as GoalKind
from projections.possible_ruptures import WHOLE
from projections.ruptures import RuptureRow
from projections.view import Cell, Row, known

R = TypeVar("R", bound=Row)

RUPTURES: Final = ("left open", "resolved", "none marked")
POSSIBLE: Final = (
    "found, without a return in time",
    "found, and a return",
    "none found",
    "declined",
)
SUPERVISION: Final = ("in force", "ended", "declined", "not asked")
GOALS: Final = ("agreed by all", "not agreed by all", "none")
RATED: Final = ("within the quarter before", "earlier", "never")
_QUARTER = timedelta(days=92)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the tables hold of every relationship."""

    clients: Mapping[Stream, tuple[UUID, ...]]
    ratings: Mapping[Stream, Mapping[int, RatingRow]]
    consents: Mapping[Stream, Mapping[int, ConsentRow]]
    goals: Mapping[Stream, Mapping[int, GoalRow]]
    ruptures: Mapping[Stream, Mapping[int, RuptureRow]]


def base_rates(rows: Rows, position: int, at: datetime) -> list[Table]:
    """The tables, from what was recorded up to that position; `at`: when that was."""

    def by_client(answer: Callable[[Stream, UUID], str], order: tuple[str, ...]) -> dict[UUID, str]:
        told = (
            (client, answer(stream, client))
            for stream, clients in rows.clients.items()
            for client in clients
        )
        return united(told, order)

    ratings = {s: dict(_rated(found, position)) for s, found in rows.ratings.items()}
    found = {s: list(_episodes(each)) for s, each in ratings.items()}
    return [
        tabulate(
            "Ruptures that somebody marked",
            RUPTURES,
            by_client(lambda s, c: _marked(rows.ruptures.get(s, {}), position), RUPTURES),
        ),
        tabulate(
            f"Possible ruptures, by the method {EPISODE.name} {EPISODE.version}",
            POSSIBLE,
            by_client(lambda s, c: _possible(found.get(s, []), c), POSSIBLE),
        ),
        tabulate(
            "Consent to disclosure in supervision",
            SUPERVISION,
            by_client(
                lambda s, c: _consent(
                    known_at(rows.consents.get(s, {}), position), c, at, position
                ),
                SUPERVISION,
            ),
        ),
        tabulate(
            "Goals pursued",
            GOALS,
            by_client(
                lambda s, c: _goal(known_at(rows.goals.get(s, {}), position), position), GOALS
            ),
        ),
        tabulate(
            "Alliance rated by the client",
            RATED,
            by_client(lambda s, c: _last_rated(ratings.get(s, {}), c, at), RATED),
        ),
    ]


def known_at(rows: Mapping[int, R], position: int) -> dict[int, R]:
    """The rows that were there at that position of the log."""
    return {version: row for version, row in rows.items() if _opened(row) <= position}


def _opened(row: Row) -> int:
    """The position of the entry that opened the row: the first that established any of it."""
    return min((content.ref.position for _, content in row.cells()), default=0)


def _then(content: Cell[Any] | None, position: int) -> Any:
    """A value, if it was established by then; None otherwise."""
    return None if content is None or content.ref.position > position else content.known


# --- Answers, client by client --------------------------------------------------------------


def _marked(rows: Mapping[int, RuptureRow], position: int) -> str:
    marked = [row for row in rows.values() if row.marked_at.ref.position <= position]
    if not marked:
        return "none marked"
    is_open = any(_then(row.resolved_at, position) is None for row in marked)
    return "left open" if is_open else "resolved"


def _rated(rows: Mapping[int, RatingRow], position: int) -> Iterator[tuple[int, RatingRow]]:
    """The ratings of the alliance that were current then."""
    for version, row in rows.items():
        alliance = known(row.family) is Family.ALLIANCE
        recorded = row.rated_at.ref.position <= position
        if alliance and recorded and _then(row.superseded_by, position) is None:
            yield version, row


def _episodes(rows: Mapping[int, RatingRow]) -> Iterator[MethodCard]:
    """The episode method's card of each whole scale by which a client rated the alliance."""
    lines: dict[Axis, list[Point]] = {}
    for version, row in rows.items():
        total, series = (known(row.scales) or {}).get(WHOLE), known(row.series)
        at, perspective = row.at, known(row.perspective)
        if total is None or total.value is None or series is None or at is None:
            continue
        if perspective is not Perspective.CLIENT:
            continue
        axis = Axis(*series, perspective, WHOLE, known(row.rater))
        point = Point(axis, total.value, at, at, known(row.session_number), entry=version)
        lines.setdefault(axis, []).append(point)
    for points in lines.values():
        yield EPISODE.card(Series.of(points, better=_better(rows[points[0].entry or 0])))


def _better(row: RatingRow) -> Better:
    try:
        scoring = load_key(row.key_hash.known or "").scoring
    except UnknownKey:
        return Better.HIGHER
    lower = scoring is not None and scoring.direction == "lower-better"
    return Better.LOWER if lower else Better.HIGHER


def _possible(cards: list[MethodCard], client: UUID) -> str:
    mine = [card for card in cards if card.axes and card.axes[0].rater == client]
    answered = [card for card in mine if card.outcome is not Outcome.REFUSED]
    if not answered:
        return "declined"
    kinds = [finding.kind for card in answered for finding in card.findings]
    if Kind.POSSIBLE_RUPTURE not in kinds:
        return "none found"
    returned = kinds.count(Kind.POSSIBLE_REPAIR) >= kinds.count(Kind.POSSIBLE_RUPTURE)
    return "found, and a return" if returned else "found, without a return in time"


def _consent(rows: Mapping[int, ConsentRow], client: UUID, at: datetime, position: int) -> str:
    mine = [
        row
        for _, row in sorted(rows.items())
        if known(row.scope) is Scope.SUPERVISION_DISCLOSURE and known(row.party) == client
    ]
    answers = [row for row in mine if known(row.step) in (Step.GIVEN, Step.DECLINED)]
    if not answers:
        return "not asked"
    last = answers[-1]
    if known(last.step) is Step.DECLINED:
        return "declined"
    ended = last.ends_at
    known_then = last.withdrawn_at is None or last.withdrawn_at.ref.position <= position
    return "ended" if ended is not None and ended <= at and known_then else "in force"


def _goal(rows: Mapping[int, GoalRow], position: int) -> str:
    worded = [
        row
        for row in rows.values()
        if known(row.kind) is GoalKind.WORDING and _then(row.replaced_by, position) is None
    ]
    if not worded:
        return "none"
    agreed = all(_then(row.agreed_at, position) is not None for row in worded)
    return "agreed by all" if agreed else "not agreed by all"


def _last_rated(rows: Mapping[int, RatingRow], client: UUID, at: datetime) -> str:
    times = [row.at for row in rows.values() if known(row.rater) == client and row.at is not None]
    if not times:
        return "never"
    return "within the quarter before" if max(times) >= at - _QUARTER else "earlier"
