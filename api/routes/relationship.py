"""Relationships: who takes part, their turns to the last; and what there is to read of one."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response
from pydantic import create_model

from api.doors import LetsIn, Reads, ReadsList, Visit
from api.routes.command import accept, concept
from api.routes.rows import (
    Parked,
    ViewDocument,
    answered,
    document_of,
    listed,
    optional,
    page_document_of,
    page_of,
    parked,
    shown,
    written_rows,
)
from domain.clinic import Scope
from domain.closure import CloseRelationship, ReopenRelationship, TransferRelationship
from domain.cycles import search_put_off
from domain.event import Model, Stream
from domain.participant import JoinRelationship, LeaveRelationship
from domain.pause import PauseRelationship, ResumeRelationship
from domain.phase import DeclarePhase
from domain.relationship import OpenRelationship
from projections.alliance_course import RatingRow
from projections.caseload import Case, Finding, Missing
from projections.consent_register import ConsentRow
from projections.dossier import Dossier
from projections.goal_course import GoalRow
from projections.timeline import Line
from projections.view import Row

router = concept("relationships")
accept(router, OpenRelationship, JoinRelationship, LeaveRelationship)
accept(router, PauseRelationship, ResumeRelationship, DeclarePhase)
accept(router, TransferRelationship, CloseRelationship, ReopenRelationship)


# --- The caseload ---------------------------------------------------------------------------


class FindingDocument(Model):
    """One thing that is missing, of whom or in which scope, and since or until when."""

    what: Missing
    at: datetime | None
    scope: Scope | None
    party: UUID | None

    @classmethod
    def of(cls, finding: Finding) -> "FindingDocument":
        return cls(what=finding.what, at=finding.at, scope=finding.scope, party=finding.party)


class _Item(Model):
    relationship: UUID
    findings: list[FindingDocument] | None
    """What is missing in it; null where that is withheld."""


CaseloadItem = create_model("CaseloadItem", __base__=_Item, case=(document_of(Case), ...))
CaseloadDocument = create_model(
    "CaseloadDocument",
    __base__=ViewDocument,
    items=(listed(CaseloadItem), ...),
    parked=(dict[UUID, Parked], ...),
)


@router.get("/relationships", response_model=CaseloadDocument)
def caseload(visit: Annotated[Visit, Depends(ReadsList("caseload"))]) -> dict[str, Any]:
    """The relationships within reach, and what is missing in each."""
    cases, beside = visit.cases(), visit.beside()
    page = visit.page({stream.id.int: (stream, rows) for stream, rows in cases.rows.items()})
    return {
        "view": cases.view,
        "view_version": cases.version,
        "position": cases.position,
        "items": [
            _case(visit, stream, version, case, beside.get(stream.id, ()))
            for stream, rows in page.items
            for version, case in rows.items()
        ],
        "next": page.next,
        "parked": {stream.id: parked(why) for stream, why in cases.parked.items()},
    }


def _case(
    visit: Visit, stream: Stream, version: int, case: Case, beside: Sequence[Finding]
) -> dict[str, Any]:
    findings = visit.findings(case, beside)
    return {
        "relationship": stream.id,
        "case": shown(version, case),
        "findings": findings and [FindingDocument.of(finding) for finding in findings],
    }


# --- One relationship -----------------------------------------------------------------------


class _Dossier(Model):
    """One relationship as of two times (rule 5), told from the log itself."""

    relationship: UUID
    known_at: datetime | None
    happened_by: datetime | None
    position: int
    """Of the last entry that it covers; 0: nothing was known."""
    view_versions: dict[str, int]


DossierDocument = create_model(
    "DossierDocument",
    __base__=_Dossier,
    __doc__=_Dossier.__doc__,
    case=(optional(document_of(Case)), ...),
    timeline=(listed(document_of(Line)), ...),
    ratings=(listed(document_of(RatingRow)), ...),
    consents=(listed(document_of(ConsentRow)), ...),
    goals=(listed(document_of(GoalRow)), ...),
)


@router.get("/relationships/{relationship}", response_model=DossierDocument)
def dossier(let_in: Annotated[Callable[[], Visit], Depends(LetsIn("dossier"))]) -> Response:
    """One relationship: as it was known at one time, of what had happened by another."""
    visit = let_in()
    with search_put_off():
        told = visit.dossier()
        return answered(dossier_written(told), visit.etag(told.position))


def dossier_shown(told: Dossier) -> dict[str, Any]:
    """The dossier's document."""
    return _dossier(told, _in_order)


def dossier_written(told: Dossier) -> dict[str, Any]:
    """The same, its rows written already: for whoever is not to look into them."""
    return _dossier(told, written_rows)


def _dossier(told: Dossier, rows: Callable[[Mapping[int, Row]], Any]) -> dict[str, Any]:
    return {
        "relationship": told.relationship.id,
        "known_at": told.known_at,
        "happened_by": told.happened_by,
        "position": told.position,
        "view_versions": told.view_versions,
        "case": told.case and shown(1, told.case),
        "timeline": rows(told.timeline),
        "ratings": rows(told.ratings),
        "consents": rows(told.consents),
        "goals": rows(told.goals),
    }


def _in_order(rows: Mapping[int, Row]) -> list[dict[str, Any]]:
    return [shown(version, row) for version, row in sorted(rows.items())]


@router.get("/relationships/{relationship}/timeline", response_model=page_document_of(Line))
def timeline(visit: Annotated[Visit, Depends(Reads("timeline"))]) -> Response:
    """Every entry as it was recorded, and what became of it."""
    return page_of(visit, visit.rows(visit.house.views.timeline))
