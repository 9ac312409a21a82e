"""Rating goals: how far somebody sees an agreed goal attained, and what the goals come to together.

A rating names the revision that everybody had agreed to by then (rule 26). For Goal Attainment
Scaling the five levels and the weight are part of that revision: they are agreed with it, and are
fixed before the first rating and after it. Another weight is another revision, asked anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from domain.attainment import Attainment, attainment
from domain.event import Given, History, New, Refusal
from domain.goal import (
    GoalCommand,
    GoalRated,
    GoalScale,
    GoalStatus,
    Level,
    NotTheRevisionAtIssue,
    RevisionNumber,
    goals_of,
)
from domain.instrument import Perspective
from domain.person import require_voice
from domain.relationship import require_participant

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


# --- Refusals -------------------------------------------------------------------------------


class GoalNotAgreed(Refusal):
    rule = 26
    says = "Revision {revision} of goal {goal} is not agreed by all: it takes no rating yet."


class LevelsNotDescribed(Refusal):
    rule = 26
    says = "Revision {revision} of goal {goal} has no levels and weight: revise it with them."


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
            GoalRated(
                goal=self.goal,
                revision=self.revision,
                by=self.by,
                perspective=Perspective.CLIENT if client else Perspective.THERAPIST,
                level=self.level,
            )
        )
