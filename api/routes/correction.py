"""Corrections: nothing is changed in place."""

from api.routes.command import accept, concept
from domain.correction import CorrectEntry, MarkEnteredInError

router = concept("corrections")
accept(router, CorrectEntry, MarkEnteredInError)
