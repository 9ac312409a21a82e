"""Legal hold: placed, lifted."""

from api.routes.command import accept, concept
from domain.hold import LiftLegalHold, PlaceLegalHold

router = concept("holds")
accept(router, PlaceLegalHold, LiftLegalHold)
