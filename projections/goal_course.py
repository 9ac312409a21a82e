"""The course of the goals: how each was worded, who agreed to which wording, how far it came.

One row per wording and one per rating. A wording is agreed when every participant assents to that
very wording; another wording starts without assents (rule 25). Ratings on different scales or from
different perspectives stay apart (rule 32).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from uuid import UUID

from domain.event import Erased, Fold, History, Model, Moment, RecordedEvent, Source, Text
from domain.goal import (
    Attainment,
    Goal,
    GoalAssented,
    GoalDissented,
    GoalProposed,
    GoalRated,
    GoalReached,
    GoalReopened,
    GoalRetired,
    GoalRevised,
    GoalScale,
    GoalStatus,
    Revision,
    goals_of,
)
from domain.instrument import Perspective
from domain.relationship import (
    ParticipantJoined,
    ParticipantLeft,
    RelationshipErased,
    RelationshipOpened,
    RelationshipUnknown,
    relationship_of,
)
from projections.view import (
    Cell,
    Cells,
    Gathering,
    Instant,
    Ref,
    Together,
    Told,
    cell,
    known,
    occurred,
)


class Kind(StrEnum):
    """What a row is about; known from the topic, whatever becomes of the content."""

    WORDING = "wording"
    RATING = "rating"


_KINDS = {
    GoalProposed.topic: Kind.WORDING,
    GoalRevised.topic: Kind.WORDING,
    GoalRated.topic: Kind.RATING,
}


class Dissent(Model):
    """Who does not agree, and why."""

    party: UUID
    reason: Text


@dataclass(slots=True, unsafe_hash=True)
class GoalRow(Told):
    """A wording of a goal, or a rating of one."""

    kind: Cell[Kind]
    at: Cell[Instant]
    goal: Cell[UUID]
    revision: Cell[int]
    by: Cell[UUID]
    source: Cell[Source]
    reported: Cell[tuple[str, ...]]
    statement: Cell[Text] | None = None
    attainment: Cell[Attainment | None] | None = None
    assents: tuple[Cell[UUID], ...] = ()
    dissents: tuple[Cell[Dissent], ...] = ()
    agreed_at: Cell[Moment] | None = None
    """When the last of all participants assented; None: it is not agreed as things stand."""
    status: Cell[GoalStatus] | None = None
    """Of the goal, on its current wording, where it was ever reached, retired or reopened."""
    replaced_by: Cell[int] | None = None
    """The revision that followed."""
    perspective: Cell[Perspective] | None = None
    scale: Cell[GoalScale] | None = None
    level: Cell[int] | None = None


_RATED = Together(
    "kind",
    "at",
    "source",
    "goal",
    "revision",
    "by",
    "reported",
    "perspective",
    "scale",
    "level",
)


class GoalCourse(Gathering[GoalRow]):
    name = "goal_course"
    version = 2
    row = GoalRow
    clear = ("kind", "at", "source")
    together = (_RATED,)
    topics = frozenset(
        {
            RelationshipOpened.topic,
            ParticipantJoined.topic,
            ParticipantLeft.topic,
            GoalAssented.topic,
            GoalDissented.topic,
            GoalReached.topic,
            GoalRetired.topic,
            GoalReopened.topic,
            *_KINDS,
        }
    )

    def rows_of(self, history: History) -> Iterator[tuple[int, GoalRow]]:
        required, rated = _participants(history), history.folded(_RATINGS)
        for goal in goals_of(history).values():
            for revision in goal.revisions:
                yield revision.entry.version, _wording(goal, revision, required)
            for entry in goal.ratings:
                yield entry.version, rated[entry.version]
        for entry in history.standing:
            if isinstance(entry.event, Erased) and entry.topic in _KINDS:
                yield (
                    entry.version,
                    GoalRow.erased(
                        entry,
                        kind=cell(entry, _KINDS[entry.topic]),
                        at=occurred(entry),
                        source=cell(entry, entry.source),
                    ),
                )


def _participants(history: History) -> Collection[UUID]:
    """Everybody whose assent counts today; nobody where the opening is erased."""
    with suppress(RelationshipUnknown, RelationshipErased):
        return relationship_of(history).participants
    return ()


def _wording(goal: Goal, revision: Revision, required: Collection[UUID]) -> GoalRow:
    entry, here = revision.entry, Cells(revision.entry)
    stances = [(stance, stance.event) for stance in revision.stances.values()]
    assents = [stance for stance, said in stances if isinstance(said, GoalAssented)]
    # The entry that made it agreed: the last of the assents, as far as all have given theirs.
    agreed = max(assents, key=_occurred) if revision.agreed_by(required) else None
    later = goal.revisions[goal.revisions.index(revision) + 1 :]
    return GoalRow(
        kind=here(Kind.WORDING),
        at=here.occurred(),
        goal=here(goal.id),
        revision=here(revision.number),
        by=here(revision.by),
        source=here(entry.source),
        reported=here.told(lambda event: event.reported),
        statement=here(revision.statement),
        attainment=here(revision.attainment),
        assents=tuple(
            cell(stance, said.party) for stance, said in stances if isinstance(said, GoalAssented)
        ),
        dissents=tuple(
            cell(stance, Dissent(party=said.party, reason=said.reason))
            for stance, said in stances
            if isinstance(said, GoalDissented)
        ),
        agreed_at=cell(agreed, agreed.occurred_at) if agreed else None,
        status=cell(goal.turn, goal.status) if goal.turn and not later else None,
        replaced_by=cell(later[0].entry, later[0].number) if later else None,
    )


def _rating(entry: RecordedEvent, rated: GoalRated) -> GoalRow:
    said = (
        Kind.RATING,
        entry.occurred_at.astimezone(UTC),
        entry.source,
        rated.goal,
        rated.revision,
        rated.by,
        rated.reported,
        rated.perspective,
        rated.level.scale,
        rated.level.value,
    )
    return GoalRow.told_by(Ref.to(entry), _RATED, said)


def _ratings(entries: Iterable[RecordedEvent]) -> dict[int, GoalRow]:
    return {
        entry.version: _rating(entry, entry.event)
        for entry in entries
        if isinstance(entry.event, GoalRated)
    }


_RATINGS: Fold[dict[int, GoalRow]] = Fold(
    lambda history: _ratings(history.standing),
    GoalRated,
    then=lambda rows, news: {**rows, **_ratings(news)},
)
"""The rows of ratings, which are many, and told by one entry each."""


def _occurred(entry: RecordedEvent) -> tuple[object, int]:
    return entry.occurred_at, entry.version


# --- Questions ------------------------------------------------------------------------------


def current(rows: Mapping[int, GoalRow]) -> Mapping[UUID, GoalRow]:
    """The wording of each goal that is in force, by goal in the order of their wording."""
    return {
        goal: row
        for _, row in sorted(rows.items())
        if known(row.kind) is Kind.WORDING
        and row.replaced_by is None
        and (goal := known(row.goal)) is not None
    }


def not_agreed(rows: Mapping[int, GoalRow]) -> Iterator[GoalRow]:
    """The goals that are pursued although their wording is not agreed by everybody."""
    return (
        row
        for row in current(rows).values()
        if row.agreed_at is None and known(row.status) in (None, GoalStatus.OPEN)
    )


GoalSeries = tuple[UUID, GoalScale, Perspective, UUID | None]
"""Goal, scale, perspective and rater; the rater is None where that is withheld."""


def series(rows: Mapping[int, GoalRow]) -> Mapping[GoalSeries, list[GoalRow]]:
    """The ratings that may share an axis, each series in the order in which they were made."""
    grouped: dict[GoalSeries, list[GoalRow]] = {}
    ratings = (row for row in rows.values() if known(row.kind) is Kind.RATING)
    for row in sorted(ratings, key=lambda row: (known(row.at), row.at.ref.version)):
        goal, scale, perspective = known(row.goal), known(row.scale), known(row.perspective)
        if goal is not None and scale is not None and perspective is not None:
            grouped.setdefault((goal, scale, perspective, known(row.by)), []).append(row)
    return grouped
