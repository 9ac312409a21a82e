"""Goals: proposed, agreed by everyone in the room on the same wording, rated, reached.

A goal has *revisions*. Assent and dissent belong to one of them: a new wording starts without any,
and what was agreed before stays where it was said (rule 25). Its entries count in the order in
which they happened, late ones too. How far it is attained is said by `domain/goal_rating.py`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from domain.event import (
    Command,
    Entries,
    EntryUnknown,
    Event,
    Fold,
    Given,
    History,
    Line,
    Model,
    New,
    RecordedEvent,
    Refusal,
    Text,
)
from domain.ids import new_id
from domain.instrument import Perspective
from domain.person import require_voice
from domain.relationship import (
    Relationship,
    relationship_of,
    relationship_stream,
    require_open,
    require_participant,
)
from domain.told import Growing, Telling, ids

RevisionNumber = Annotated[int, Field(ge=1, lt=2**53)]


# --- Values ---------------------------------------------------------------------------------


class Attainment(Model):
    """How a goal is scaled for Goal Attainment Scaling; part of the revision, so fixed with it.

    Source: Kiresuk & Sherman 1968.
    """

    weight: Annotated[int, Field(ge=1, le=100)]
    levels: Annotated[tuple[Line, ...], Field(min_length=5, max_length=5)]
    """What the client's life looks like at −2, −1, 0 (expected), +1 and +2, in that order."""


class GoalScale(StrEnum):
    """By what a goal is rated."""

    GAS = "gas"
    """Goal Attainment Scaling: −2 … +2 around the expected level."""
    GBO = "gbo"
    """Goal-Based Outcomes: 0 (no progress) … 10 (reached fully)."""

    @property
    def levels(self) -> range:
        return range(-2, 3) if self is GoalScale.GAS else range(11)


class Level(Model):
    """How far a goal was attained; a number means nothing without its scale."""

    scale: GoalScale
    value: int

    @model_validator(mode="after")
    def _on_its_scale(self) -> "Level":
        if self.value not in self.scale.levels:
            raise PydanticCustomError(
                "level_out_of_range", "GAS runs from -2 to 2, GBO from 0 to 10."
            )
        return self


_LEVELS: dict[tuple[GoalScale, int], Level] = {}


def shared_level(level: Level) -> Level:
    """One of each: there are sixteen, and most entries of a goal hold one."""
    return _LEVELS.setdefault((level.scale, level.value), level)


# --- What happened --------------------------------------------------------------------------


class GoalProposed(Event):
    """A goal in its first wording: revision 1."""

    topic = "goal.proposed"
    revision: ClassVar[int] = 1
    # Another wording is a revision: reworded in place it would keep assents nobody gave.
    correctable = False

    goal: UUID
    statement: Text
    by: UUID
    attainment: Attainment | None = None


class GoalRevised(Event):
    """Another wording; it starts without assents."""

    topic = "goal.revised"
    correctable = False

    goal: UUID
    revision: RevisionNumber
    statement: Text
    by: UUID
    attainment: Attainment | None = None


class GoalAssented(Event):
    """A party agrees to one revision."""

    topic = "goal.assented"
    correctable = False

    goal: UUID
    revision: RevisionNumber
    party: UUID


class GoalDissented(Event):
    """A party does not, or no longer, agree to one revision."""

    topic = "goal.dissented"
    correctable = False

    goal: UUID
    revision: RevisionNumber
    party: UUID
    reason: Text

    def subject(self) -> UUID:
        # A reason in somebody's own words is theirs; the bare assents are everybody's.
        return self.party


class GoalRated(Event):
    """How far somebody sees an agreed revision attained."""

    topic = "goal.rated"
    correctable = False

    goal: UUID
    revision: RevisionNumber
    by: UUID
    perspective: Perspective
    level: Annotated[Level, AfterValidator(shared_level)]

    def subject(self) -> UUID | None:
        return self.by if self.perspective is Perspective.CLIENT else None


class GoalReached(Event):
    """The goal is reached; it takes no more ratings."""

    topic = "goal.reached"

    goal: UUID


class GoalRetired(Event):
    """The goal is no longer pursued; it takes no more ratings."""

    topic = "goal.retired"

    goal: UUID
    reason: Text


class GoalReopened(Event):
    """A goal that was reached or retired is pursued again."""

    topic = "goal.reopened"

    goal: UUID
    reason: Text


# --- State ----------------------------------------------------------------------------------


class GoalStatus(StrEnum):
    OPEN = "open"
    REACHED = "reached"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Revision:
    """One wording and where everybody stands on it."""

    number: int
    statement: str
    by: UUID
    attainment: Attainment | None
    entry: RecordedEvent
    """The entry that brought it."""
    stances: Mapping[UUID, RecordedEvent]
    """By party: the entry of the last assent or dissent."""

    def agreed_by(self, required: Collection[UUID]) -> bool:
        """Rule 25: whether every required party assents to this very wording."""
        stances = [self.stances.get(party) for party in required]
        return bool(stances) and all(
            stance is not None and isinstance(stance.event, GoalAssented) for stance in stances
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal as its entries leave it."""

    id: UUID
    revisions: tuple[Revision, ...]
    """In the order in which they were worded; the last is current."""
    ratings: tuple[RecordedEvent, ...] = ()
    turn: RecordedEvent | None = None
    """The entry that last reached, retired or reopened it."""

    @property
    def status(self) -> GoalStatus:
        match self.turn and self.turn.event:
            case GoalReached():
                return GoalStatus.REACHED
            case GoalRetired():
                return GoalStatus.RETIRED
        return GoalStatus.OPEN

    @property
    def current(self) -> Revision:
        return self.revisions[-1]

    def revision(self, number: int) -> Revision | None:
        return next((r for r in self.revisions if r.number == number), None)


def goals_of(history: History) -> Mapping[UUID, Goal]:
    """Every goal of a relationship by its id, in the order of proposal.

    What refers to a goal or revision that is erased or was entered in error is passed over.
    """
    return _GOALS.of(history)


_goal_in: Callable[[RecordedEvent], UUID] = attrgetter("event.goal")


def _goal(entries: Entries, before: Goal | None) -> Goal:
    """One goal from its own entries, in the order in which they happened."""
    before = before or Goal(_goal_in(entries[0]), ())
    if len(entries) == 1 and isinstance(entries[0].event, GoalRated):
        return Goal(before.id, before.revisions, before.ratings + entries, before.turn)
    revisions = {one.number: one for one in before.revisions}
    ratings, turn = [*before.ratings], before.turn
    for entry in entries:
        match entry.event:
            case GoalRated():
                ratings.append(entry)
            case GoalProposed() | GoalRevised() as said:
                earlier = revisions.get(said.revision)
                revisions[said.revision] = Revision(
                    number=said.revision,
                    statement=said.statement,
                    by=said.by,
                    attainment=said.attainment,
                    entry=entry,
                    stances=earlier.stances if earlier else {},
                )
            case GoalAssented() | GoalDissented() as said if said.revision in revisions:
                stances = {**revisions[said.revision].stances, said.party: entry}
                revisions[said.revision] = replace(revisions[said.revision], stances=stances)
            case GoalReached() | GoalRetired() | GoalReopened():
                turn = entry
    return Goal(before.id, tuple(revisions.values()), tuple(ratings), turn)


_TURNS = (GoalRevised, GoalAssented, GoalDissented, GoalReached, GoalRetired, GoalReopened)
_GOALS = Telling("goal", GoalProposed, GoalRated, *_TURNS, come_to=_goal)
_WORDED = Telling("goal", GoalProposed, *_TURNS, come_to=_goal, lasts=True)
goals_worded = _WORDED.of
"""The same without ratings, which are most of what is told of a goal."""
_PROPOSED = ids("goal", GoalProposed, ever=True)


def _highest(before: Mapping[UUID, int], entries: Iterable[RecordedEvent]) -> Mapping[UUID, int]:
    """By goal, the highest number of a wording ever recorded, also one entered in error."""
    highest = {**before}
    for entry in entries:
        if isinstance(revised := entry.event, GoalRevised):
            highest[revised.goal] = max(revised.revision, highest.get(revised.goal, 1))
    return highest


_HIGHEST = Fold(lambda history: _highest({}, history), GoalRevised, then=_highest, lasts=True)


def _last_rated(before: Growing[UUID, datetime], entries: Entries) -> Growing[UUID, datetime]:
    """By goal, when the last of its ratings was made."""
    last: dict[UUID, datetime] = {}
    for entry in entries:
        if isinstance(rated := entry.event, GoalRated):
            known = last.get(rated.goal) or before.get(rated.goal) or entry.occurred_at
            last[rated.goal] = max(known, entry.occurred_at)
    return before.having(last)


_LAST_RATED = Fold(
    lambda all_: _last_rated(Growing(), all_.standing), GoalRated, then=_last_rated, lasts=True
)


# --- Refusals -------------------------------------------------------------------------------


class GoalExists(Refusal):
    says = "There is a goal {goal} already; choose another id."


class GoalNotYetProposed(Refusal):
    status = 422
    says = "Goal {goal} was proposed after that: look at occurred_at."


class NotTheRevisionAtIssue(Refusal):
    rule = 25
    says = "Revision {revision} of goal {goal} was not the wording in force; {current} was."


class StanceUnchanged(Refusal):
    rule = 25
    says = "{party} stands like this on revision {revision} of goal {goal} already."


class GoalIsClosed(Refusal):
    rule = 26
    says = "Goal {goal} is {status}: reopen it first."


class GoalRatedByThen(Refusal):
    rule = 26
    says = "Entry {entry} rates goal {goal} as it was agreed by then: amend that one first."


class GoalSpokenOf(Refusal):
    rule = 25
    says = "Entry {entry} speaks of goal {goal} as it was worded by then: look at occurred_at."


class GoalIsOpen(Refusal):
    rule = 26
    says = "Goal {goal} is open; there is nothing to reopen."


# --- Commands -------------------------------------------------------------------------------


class GoalCommand(Command):
    """What every command about a goal has."""

    relationship: UUID
    goal: UUID

    def _found(self, given: Given) -> tuple[Relationship, Goal]:
        """The relationship and the goal without its ratings, as they stood when this occurred."""
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        goal = _WORDED.by(history, self.goal, given.at)
        if goal is not None:
            return relationship, goal
        if self.goal in _WORDED.of(history):
            raise GoalNotYetProposed(goal=self.goal)
        raise EntryUnknown(what="goal")

    def _found_open(self, given: Given) -> tuple[Relationship, Goal]:
        relationship, goal = self._found(given)
        if goal.status is not GoalStatus.OPEN:
            raise GoalIsClosed(goal=goal.id, status=goal.status)
        return relationship, goal

    def _require_unrated(self, given: Given) -> None:
        """Rule 26: what ends an agreement, or the goal, is not told of a time before a rating."""
        history = given.history(relationship_stream(self.relationship))
        if history.folded(_LAST_RATED).get(self.goal, given.at) <= given.at:
            return
        later = [e.version for e in _GOALS.after(history, self.goal, given.at, GoalRated)]
        if later:
            raise GoalRatedByThen(goal=self.goal, entry=min(later))

    def _new(self, event: Event) -> New:
        return New(relationship_stream(self.relationship), event)


class ProposeGoal(GoalCommand):
    """Put a goal into words. It is not agreed before every party has assented."""

    name = "propose-goal"

    goal: UUID = Field(default_factory=new_id)
    statement: Text
    by: UUID
    attainment: Attainment | None = None

    def decide(self, given: Given) -> Iterator[New]:
        history = given.history(relationship_stream(self.relationship))
        relationship = relationship_of(history).at(given.at)
        require_open(relationship, given)
        require_participant(relationship, self.by)
        # Also where the first proposal was entered in error: an id is used once.
        if self.goal in history.folded(_PROPOSED):
            raise GoalExists(goal=self.goal)
        yield self._new(
            GoalProposed(
                goal=self.goal,
                statement=self.statement,
                by=self.by,
                attainment=self.attainment,
            )
        )


class ReviseGoal(GoalCommand):
    """Put an open goal into other words; everybody is asked again."""

    name = "revise-goal"

    statement: Text
    by: UUID
    attainment: Attainment | None = None

    def decide(self, given: Given) -> Iterator[New]:
        relationship, _ = self._found_open(given)
        require_participant(relationship, self.by)
        self._require_unrated(given)
        history = given.history(relationship_stream(self.relationship))
        stands = (GoalAssented, GoalDissented, GoalRevised)
        later = [e.version for e in _GOALS.after(history, self.goal, given.at, *stands)]
        if later:
            raise GoalSpokenOf(goal=self.goal, entry=min(later))
        yield self._new(
            GoalRevised(
                goal=self.goal,
                revision=history.folded(_HIGHEST).get(self.goal, 1) + 1,
                statement=self.statement,
                by=self.by,
                attainment=self.attainment,
            )
        )


class _StanceCommand(GoalCommand):
    revision: RevisionNumber
    party: UUID

    def _require_change(self, given: Given, kind: type[GoalAssented | GoalDissented]) -> None:
        relationship, goal = self._found_open(given)
        require_participant(relationship, self.party)
        require_voice(self.party, given)
        current = goal.current
        if self.revision != current.number:
            raise NotTheRevisionAtIssue(
                goal=goal.id, revision=self.revision, current=current.number
            )
        stance = current.stances.get(self.party)
        if stance is not None and isinstance(stance.event, kind):
            raise StanceUnchanged(goal=goal.id, revision=self.revision, party=self.party)


class AssentToGoal(_StanceCommand):
    """Agree to a goal as it is worded in one revision."""

    name = "assent-to-goal"

    def decide(self, given: Given) -> Iterator[New]:
        self._require_change(given, GoalAssented)
        yield self._new(GoalAssented(goal=self.goal, revision=self.revision, party=self.party))


class DissentFromGoal(_StanceCommand):
    """Disagree with a goal as it is worded, or take an assent back."""

    name = "dissent-from-goal"

    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        self._require_change(given, GoalDissented)
        self._require_unrated(given)
        yield self._new(
            GoalDissented(
                goal=self.goal, revision=self.revision, party=self.party, reason=self.reason
            )
        )


class ReachGoal(GoalCommand):
    """Say that a goal is reached."""

    name = "reach-goal"

    def decide(self, given: Given) -> Iterator[New]:
        self._found_open(given)
        self._require_unrated(given)
        yield self._new(GoalReached(goal=self.goal))


class RetireGoal(GoalCommand):
    """Say that a goal is no longer pursued, and why."""

    name = "retire-goal"

    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        self._found_open(given)
        self._require_unrated(given)
        yield self._new(GoalRetired(goal=self.goal, reason=self.reason))


class ReopenGoal(GoalCommand):
    """Take a goal up again that was reached or retired."""

    name = "reopen-goal"

    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        _, goal = self._found(given)
        if goal.status is GoalStatus.OPEN:
            raise GoalIsOpen(goal=goal.id)
        yield self._new(GoalReopened(goal=self.goal, reason=self.reason))
