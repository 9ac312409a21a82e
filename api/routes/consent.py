"""Consent: informed, given, declined, withdrawn; and the register of it."""

from typing import Annotated, Any

from fastapi import Depends, Response

from api.doors import Reads, Visit
from api.routes.command import accept, concept
from api.routes.rows import page_document_of, page_of
from domain.consent import (
    AddressQuestions,
    DeclineConsent,
    GiveConsent,
    GiveInformation,
    WithdrawConsent,
)
from projections.consent_register import ConsentRow

router = concept("consents")
accept(router, GiveInformation, AddressQuestions, GiveConsent, DeclineConsent, WithdrawConsent)


@router.get("/relationships/{relationship}/consents", response_model=page_document_of(ConsentRow))
def consents(
    visit: Annotated[Visit, Depends(Reads("consents"))], response: Response
) -> dict[str, Any]:
    """Who was informed of what, who agreed or declined, and until when."""
    return page_of(visit, visit.house.views.consent_register, response)
