"""Goals: proposed, agreed, rated, reached; and their course."""

from api.routes.command import accept, concept
from domain.goal import (
    AssentToGoal,
    DissentFromGoal,
    ProposeGoal,
    RateGoal,
    ReachGoal,
    ReopenGoal,
    RetireGoal,
    ReviseGoal,
)

router = concept("goals")
accept(router, ProposeGoal, ReviseGoal, AssentToGoal, DissentFromGoal)
accept(router, RateGoal, ReachGoal, RetireGoal, ReopenGoal)
