"""Disclosure: what left a record, and the copy of it that somebody takes along."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query

from api.doors import Copies, Reads, Visit
from api.doors.entries import entries_of
from api.routes.amendment import AmendmentDocument
from api.routes.command import accept, concept
from api.routes.entries import RecordEntryDocument
from api.routes.relationship import dossier_shown
from api.routes.rows import plain
from domain.amendment import amendments_of
from domain.disclosure import (
    REDISCLOSURE_NOTICE,
    DiscloseRecord,
    InformRecipient,
    SuspendAccounting,
)
from domain.event import Model, Moment
from domain.restriction import Purpose, RecipientKind

router = concept("disclosures")
accept(router, DiscloseRecord, InformRecipient, SuspendAccounting)


# --- The account ----------------------------------------------------------------------------


class DisclosuresDocument(Model):
    """A page of the account, and every copy that was made."""

    items: list[RecordEntryDocument]
    copies: list[RecordEntryDocument]
    next: str | None


Begin = Annotated[Moment | None, Query(description="Only what happened at that time or later.")]
End = Annotated[Moment | None, Query(description="Only what happened by that time.")]
To = Annotated[list[RecipientKind] | None, Query(description="Only to these recipients.")]
For = Annotated[list[Purpose] | None, Query(description="Only for these purposes.")]


@router.get("/relationships/{relationship}/disclosures")
def disclosures(
    visit: Annotated[Visit, Depends(Reads("disclosures"))],
    begin: Begin = None,
    end: End = None,
    recipients: To = None,
    purposes: For = None,
) -> DisclosuresDocument:
    """Every disclosure: to whom, for what, on what basis, of what ; and the copies."""
    found = visit.disclosures(begin, end, recipients or [*RecipientKind], purposes or [*Purpose])
    page = visit.page(found)
    return DisclosuresDocument(
        items=[RecordEntryDocument.of(entry) for entry in page.items],
        copies=[RecordEntryDocument.of(entry) for entry in visit.copies().values()],
        next=page.next,
    )


# --- A copy ---------------------------------------------------------------------------------


class ExportedView(Model):
    """Which version of the code told a view."""

    view: str
    version: int


class ExportDocument(Model):
    """A copy of one relationship's record as of two times (rule 43).

    `commitment` is HMAC-SHA-256 under `salt` of `rapport-commitment/1` and the canonical form of
    `content` (docs/formats/entry.md). The record holds the commitment, and so proves what was
    handed out without holding it.
    """

    export: UUID
    relationship: UUID
    to: UUID
    purpose: str
    known_at: datetime
    happened_by: datetime
    position: int
    views: list[ExportedView]
    filters: list[str]
    notice: str
    """On passing it on."""
    salt: str
    commitment: str
    content: dict[str, Any]


_KEPT_APART = "process notes and what belongs to supervision are kept apart and left out"


@router.get("/relationships/{relationship}/export")
def export(visit: Annotated[Visit, Depends(Copies("export"))]) -> ExportDocument:
    """The whole record as far as the reader may see it, with what was amended and contested."""
    told = plain(dossier_shown(visit.dossier()))
    entries = [RecordEntryDocument.of(each) for each in entries_of(visit, standing=False).values()]
    known = visit.history().as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    content = {
        "dossier": told,
        "entries": [entry.model_dump(mode="json") for entry in entries],
        "amendments": [
            AmendmentDocument.of(amending).model_dump(mode="json")
            for amending in amendments_of(known).values()
        ],
    }
    withheld = sum(entry.withheld for entry in entries)
    filters = (_KEPT_APART, f"{withheld} entries withheld")
    made, sealed = visit.copied(content, told["position"], told["view_versions"], filters)
    return ExportDocument(
        export=made.export,
        relationship=visit.stream.id,
        to=made.to,
        purpose=made.purpose,
        known_at=made.known_at,
        happened_by=made.happened_by,
        position=made.position,
        views=[ExportedView(view=each.view, version=each.version) for each in made.views],
        filters=list(made.filters),
        notice=REDISCLOSURE_NOTICE,
        salt=sealed.salt,
        commitment=sealed.commitment,
        content=content,
    )
