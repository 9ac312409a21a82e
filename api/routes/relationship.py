"""Relationships: opened, handed on, closed, reopened; and the whole of one, as of two times."""

from api.routes.command import accept, concept
from domain.relationship import (
    CloseRelationship,
    OpenRelationship,
    ReopenRelationship,
    TransferRelationship,
)

router = concept("relationships")
accept(router, OpenRelationship, TransferRelationship, CloseRelationship, ReopenRelationship)
