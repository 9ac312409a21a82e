"""Roles: granted, revoked."""

from api.routes.command import accept, concept
from domain.role import GrantRole, RevokeRole

router = concept("roles")
accept(router, GrantRole, RevokeRole)
