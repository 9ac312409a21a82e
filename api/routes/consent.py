"""Consent: informed, given, declined, withdrawn; and the register of it."""

from api.routes.command import accept, concept
from domain.consent import (
    AddressQuestions,
    DeclineConsent,
    GiveConsent,
    GiveInformation,
    WithdrawConsent,
)

router = concept("consents")
accept(router, GiveInformation, AddressQuestions, GiveConsent, DeclineConsent, WithdrawConsent)
