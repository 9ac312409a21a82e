"""Risk items that a rating raised: reviewed by a practitioner."""

from api.routes.command import accept, concept
from domain.risk import ReviewRisk

router = concept("risk")
accept(router, ReviewRisk)
