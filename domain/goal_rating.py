"""Rating goals: how far somebody sees an agreed goal attained, and what the goals come to together.

A rating names the revision that everybody had agreed to by then (rule 26). For Goal Attainment
Scaling the five levels and the weight are part of that revision: they are agreed with it, and are
fixed before the first rating and after it. Another weight is another revision, asked anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from domain.attainment import Attainment, attainment
from domain.event import Entries, Given, History, New, RecordedEvent, Refusal
from domain.goal import (
    GoalCommand,
    GoalRated,
    GoalRatedByThen,
    GoalScale,
    GoalStatus,
    Level,
    NotTheRevisionAtIssue,
    RevisionNumber,
    goals_of,
    shared_level,
)
from domain.instrument import Perspective
from domain.making import checked
from domain.person import require_voice
from domain.relationship import relationship_in, require_participant

# --- State ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attained:
    """What the goals that are scaled come to, as one person sees them."""

    goals: tuple[UUID, ...]
    """Those that count, in the order of proposal; `attainment` numbers them from 1."""
    attainment: Attainment


def attained(history: History, by: UUID) -> Attained | None:
    """The T-score of Goal Attainment Scaling by somebody's last rating of each goal.

    Goals with levels in their current wording count, unless they were retired; what was said of an
    earlier wording does not. None: that person has rated none of them. It is computed at every
    reading and never stored (rule 28).
    """
    goals: list[UUID] = []
    weights: list[int] = []
    levels: list[int | None] = []
    for goal in goals_of(history).values():
        wording = goal.current
        if wording.attainment is None or goal.status is GoalStatus.RETIRED:
            continue
        goals.append(goal.id)
        weights.append(wording.attainment.weight)
        said = [
            entry.event.level.value
            for entry in goal.ratings
            if isinstance(entry.event, GoalRated)
            and (entry.event.by, entry.event.revision) == (by, wording.number)
            and entry.event.level.scale is GoalScale.GAS
        ]
        levels.append(said[-1] if said else None)
    if all(level is None for level in levels):
        return None
    return Attained(tuple(goals), attainment(levels, weights))


def require_agreed_still(before: Entries, after: Entries) -> None:
    """Rule 26, where an amendment changes how the standing entries of a relationship read: what
    was rated stays agreed, and open, at the time of the rating."""
    kept = {id(entry) for entry in after}
    goals = {getattr(entry.event, "goal", None) for entry in before if id(entry) not in kept}
    for entry in after:
        event = entry.event
        if not isinstance(event, GoalRated) or event.goal not in goals:
            continue
        if _was_agreed(before, entry, event) and not _was_agreed(after, entry, event):
            raise GoalRatedByThen(goal=event.goal, entry=entry.version)


def _was_agreed(entries: Entries, entry: RecordedEvent, rated: GoalRated) -> bool:
    """Whether these entries let that rating be made when it was."""
    relationship = relationship_in(entries)
    goal = goals_of(History(entries).as_of(happened_by=entry.occurred_at)).get(rated.goal)
    return (
        relationship is not None
        and goal is not None
        and goal.status is GoalStatus.OPEN
        and goal.current.number == rated.revision
        and goal.current.agreed_by(relationship.at(entry.occurred_at).participants)
    )


# --- Refusals -------------------------------------------------------------------------------


class GoalNotAgreed(Refusal):
    rule = 26
    says = "Revision {revision} of goal {goal} is not agreed by all: it takes no rating yet."


class LevelsNotDescribed(Refusal):
    rule = 26
    says = "Revision {revision} of goal {goal} has no levels and weight: revise it with them."


_rated = checked(GoalRated)


# --- Command --------------------------------------------------------------------------------


class RateGoal(GoalCommand):
    """Say how far an agreed goal is attained."""

    name = "rate-goal"

    revision: RevisionNumber
    by: UUID
    level: Level

    def decide(self, given: Given) -> Iterator[New]:
        relationship, goal = self._found_open(given)
        require_participant(relationship, self.by)
        require_voice(self.by, given)
        current = goal.current
        if self.revision != current.number:
            raise NotTheRevisionAtIssue(
                goal=goal.id, revision=self.revision, current=current.number
            )
        if not current.agreed_by(relationship.participants):
            raise GoalNotAgreed(goal=goal.id, revision=self.revision)
        if self.level.scale is GoalScale.GAS and current.attainment is None:
            raise LevelsNotDescribed(goal=goal.id, revision=self.revision)
        client = self.by in relationship.clients
        yield self._new(
            _rated(
                goal=self.goal,
                revision=self.revision,
                by=self.by,
                perspective=Perspective.CLIENT if client else Perspective.THERAPIST,
                level=shared_level(self.level),
            )
        )
