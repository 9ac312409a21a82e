"""Tasks: proposed, agreed, reviewed, retired."""

from api.routes.command import accept, concept
from domain.task import AssentToTask, ProposeTask, RetireTask, ReviewTask

router = concept("tasks")
accept(router, ProposeTask, AssentToTask, ReviewTask, RetireTask)
