"""The dossier: one relationship as of two times, told by the same folds as the tables.

*As it was known at* one time, of what *had happened by* another (rule 5): after a late entry or a
correction they differ. There is no table; every value names the entry that established it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.cycles import search_put_off
from domain.event import History, Policy, Stream
from projections.actions import Actions
from projections.alliance_course import AllianceCourse, RatingRow
from projections.break_glass import Breaks
from projections.caseload import Case, Caseload
from projections.consent_register import ConsentRegister, ConsentRow
from projections.goal_course import GoalCourse, GoalRow
from projections.ruptures import Ruptures
from projections.timeline import Line, Timeline
from projections.view import View


@dataclass(frozen=True, slots=True)
class Views:
    """Every view there is."""

    timeline: Timeline
    alliance_course: AllianceCourse
    consent_register: ConsentRegister
    goal_course: GoalCourse
    caseload: Caseload
    actions: Actions
    break_glass: Breaks
    ruptures: Ruptures
    policy: Policy

    @classmethod
    def under(cls, policy: Policy) -> "Views":
        """The views of a clinic with that policy."""
        return cls(
            Timeline(policy),
            AllianceCourse(),
            ConsentRegister(),
            GoalCourse(),
            Caseload(policy),
            Actions(),
            Breaks(),
            Ruptures(),
            policy,
        )

    def all(self) -> tuple[View[Any, Any], ...]:
        return (
            self.timeline,
            self.alliance_course,
            self.consent_register,
            self.goal_course,
            self.caseload,
            self.actions,
            self.break_glass,
            self.ruptures,
        )


VIEWS = Views.under(Policy())
"""The views under the policy that holds unless a clinic sets another."""


@dataclass(frozen=True, slots=True)
class Dossier:
    """One relationship. Rows stand by the version of the entry that opened them."""

    relationship: Stream
    known_at: datetime | None
    """None: as known now."""
    happened_by: datetime | None
    """None: whatever happened until it was known."""
    position: int
    """Of the last entry that it covers; 0: nothing was known (rule 7)."""
    view_versions: Mapping[str, int]
    """Of the code that told it (rule 7)."""
    timeline: Mapping[int, Line]
    ratings: Mapping[int, RatingRow]
    consents: Mapping[int, ConsentRow]
    goals: Mapping[int, GoalRow]
    case: Case | None
    """None: the relationship had not been opened."""


def dossier(
    relationship: Stream,
    history: History,
    *,
    known_at: datetime | None = None,
    happened_by: datetime | None = None,
    views: Views = VIEWS,
) -> Dossier:
    """The relationship, from its whole history, as of two times."""
    with search_put_off():
        seen = _apart(history, history.as_of(known_at=known_at, happened_by=happened_by))
        caseload = views.caseload
        case = replace(caseload.fold(caseload.empty(relationship), *seen), entries=seen)
        cases = caseload.rows(case)
        return Dossier(
            relationship=relationship,
            known_at=known_at,
            happened_by=happened_by,
            position=seen[-1].position if seen else 0,
            view_versions={view.name: view.version for view in views.all()},
            timeline=views.timeline.of(relationship, seen),
            ratings=views.alliance_course.of(relationship, seen),
            consents=views.consent_register.rows(seen),
            goals=views.goal_course.rows(seen),
            case=next(iter(cases.values()), None),
        )


def _apart(history: History, seen: History) -> History:
    """What was seen, for the views to fold together that tell the same of all entries as of those
    that they gather. What is folded here does not stay with the history in memory."""
    if seen is not history:
        return seen
    apart = History(history)
    apart.take_over(history)
    return apart
