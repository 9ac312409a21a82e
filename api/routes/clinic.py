"""The clinic: what holds for all its relationships."""

from api.routes.command import accept, concept
from domain.clinic import (
    AttestInstrumentLicence,
    DeclareImport,
    FoundClinic,
    PublishConsentDocument,
)

router = concept("clinic")
accept(router, FoundClinic, PublishConsentDocument, AttestInstrumentLicence, DeclareImport)
