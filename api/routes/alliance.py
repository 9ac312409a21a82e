"""Ratings of the alliance; and their course, perspective by perspective."""

from api.routes.command import accept, concept
from domain.alliance import RateAlliance, SupersedeRating

router = concept("alliance")
accept(router, RateAlliance, SupersedeRating)
