"""Persons and practitioners."""

from api.routes.command import accept, concept
from domain.person import AttestRaterTraining, RegisterPerson, RegisterPractitioner

router = concept("persons")
accept(router, RegisterPerson, RegisterPractitioner, AttestRaterTraining)
