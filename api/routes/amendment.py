"""Amendments: asked for by a client, answered in time, and what is said of a denial."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import Depends

from api.doors import Reads, Visit
from api.routes.command import accept, concept
from domain.amendment import (
    AcceptAmendment,
    Amending,
    DenialGround,
    DenyAmendment,
    ExtendAmendment,
    RebutDisagreement,
    RequestAmendment,
    StateDisagreement,
    amendments_due,
    amendments_of,
)
from domain.event import Model

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


class AmendmentDocument(Model):
    """An amendment and the entries that belong to it, by version; they travel with the copy."""

    amendment: UUID
    entry: int
    """The contested one."""
    requested: int
    accepted: bool
    denied: DenialGround | None
    disagreement: int | None
    rebuttal: int | None
    steps: list[int]

    @classmethod
    def of(cls, amending: Amending) -> Self:
        return cls(
            amendment=amending.requested.amendment,
            entry=amending.requested.entry,
            requested=amending.entry,
            accepted=amending.accepted is not None,
            denied=amending.denied.ground if amending.denied else None,
            disagreement=amending.disagreement,
            rebuttal=amending.rebuttal,
            steps=amending.steps,
        )


class DueDocument(Model):
    """An amendment that waits for its answer, and until when (45 CFR 164.526(b)(2))."""

    amendment: UUID
    entry: int
    due: datetime
    overdue: bool


class ToInformDocument(Model):
    """Somebody who received the entry before it was amended, and was not told yet."""

    amendment: UUID
    disclosure: UUID
    recipient: str


class AmendmentsDocument(Model):
    """Where the amendments of a relationship stand, by ids and versions; their words are in the
    entries."""

    items: list[AmendmentDocument]
    due: list[DueDocument]
    to_inform: list[ToInformDocument]


@router.get("/relationships/{relationship}/amendments")
def amendments(visit: Annotated[Visit, Depends(Reads("amendments"))]) -> AmendmentsDocument:
    """What was asked for, what waits and until when, and who is still to be told."""
    history, waiting = visit.amendments()
    due = amendments_due(history, visit.house.clock(), visit.house.policy)
    return AmendmentsDocument(
        items=[AmendmentDocument.of(amending) for amending in amendments_of(history).values()],
        due=[
            DueDocument(
                amendment=each.amendment, entry=each.entry, due=each.due, overdue=each.overdue
            )
            for each in due
        ],
        to_inform=[
            ToInformDocument(
                amendment=each.amendment,
                disclosure=each.disclosure,
                recipient=each.recipient.name,
            )
            for each in waiting
        ],
    )
