"""Goals: proposed, agreed, rated, reached; and their course."""

from typing import Annotated

from fastapi import Depends, Response

from api.doors import Reads, Visit
from api.routes.command import accept, concept
from api.routes.rows import page_document_of, page_of
from domain.goal import (
    AssentToGoal,
    DissentFromGoal,
    ProposeGoal,
    ReachGoal,
    ReopenGoal,
    RetireGoal,
    ReviseGoal,
)
from domain.goal_rating import RateGoal
from projections.goal_course import GoalRow

router = concept("goals")
accept(router, ProposeGoal, ReviseGoal, AssentToGoal, DissentFromGoal)
accept(router, RateGoal, ReachGoal, RetireGoal, ReopenGoal)


@router.get("/relationships/{relationship}/goals", response_model=page_document_of(GoalRow))
def goals(visit: Annotated[Visit, Depends(Reads("goals"))]) -> Response:
    """How each goal was worded, who agreed to which wording, and how far it came."""
    return page_of(visit, visit.rows(visit.house.views.goal_course))
