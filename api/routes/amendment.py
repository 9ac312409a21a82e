"""Amendments: asked for by a client, answered in time, and what is said of a denial."""

from api.routes.command import accept, concept
from domain.amendment import (
    AcceptAmendment,
    DenyAmendment,
    ExtendAmendment,
    RebutDisagreement,
    RequestAmendment,
    StateDisagreement,
)

router = concept("amendments")
accept(
    router,
    RequestAmendment,
    ExtendAmendment,
    AcceptAmendment,
    DenyAmendment,
    StateDisagreement,
    RebutDisagreement,
)
