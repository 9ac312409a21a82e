"""Ratings of outcome."""

from api.routes.command import accept, concept
from domain.outcome import RateOutcome

router = concept("outcome")
accept(router, RateOutcome)
