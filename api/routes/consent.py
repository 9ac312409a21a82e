"""Consent and assent: informed, given, renewed, declined, narrowed, withdrawn; the register."""

from typing import Annotated

from fastapi import Depends, Response

from api.doors import Reads, Visit
from api.routes.command import accept, concept
from api.routes.rows import page_document_of, page_of
from domain.assent import DissentAsMinor, GiveAssent, RecordMajority, WaiveAssent
from domain.consenting import DeclineConsent, GiveConsent, RenewConsent
from domain.information import AddressQuestions, GiveInformation
from domain.withdrawal import NarrowConsent, WithdrawConsent
from projections.consent_register import ConsentRow

router = concept("consents")
accept(router, GiveInformation, AddressQuestions)
accept(router, GiveConsent, RenewConsent, DeclineConsent, NarrowConsent, WithdrawConsent)
accept(router, GiveAssent, DissentAsMinor, WaiveAssent, RecordMajority)


@router.get("/relationships/{relationship}/consents", response_model=page_document_of(ConsentRow))
def consents(visit: Annotated[Visit, Depends(Reads("consents"))]) -> Response:
    """Who was informed of what, who agreed or declined, and until when."""
    return page_of(visit, visit.rows(visit.house.views.consent_register))
