"""Persons and practitioners."""

from api.routes.command import accept, concept
from domain.person import RegisterPerson, RegisterPractitioner

router = concept("persons")
accept(router, RegisterPerson, RegisterPractitioner)
