"""Supervision: held, with its actions and what came of them; countertransference."""

from api.routes.command import accept, concept
from domain.supervision import (
    AgreeSupervisionAction,
    HoldSupervision,
    NoteCountertransference,
    ReviewSupervisionAction,
)

router = concept("supervision")
accept(
    router,
    HoldSupervision,
    AgreeSupervisionAction,
    ReviewSupervisionAction,
    NoteCountertransference,
)
