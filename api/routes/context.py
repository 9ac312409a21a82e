"""Context: what reached into the room from outside."""

from api.routes.command import accept, concept
from domain.context import RecordContextEvent

router = concept("context")
accept(router, RecordContextEvent)
