"""Restrictions: agreed with a client, lifted."""

from api.routes.command import accept, concept
from domain.restriction import AgreeRestriction, LiftRestriction

router = concept("restrictions")
accept(router, AgreeRestriction, LiftRestriction)
