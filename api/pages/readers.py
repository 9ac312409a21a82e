"""Who read a relationship's record, who was turned away, and what left it: for those whom it is
about, and those who answer for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.access import DOORS
from api.doors import Reads, Visit
from api.pages import forms, words
from api.pages.people import People
from api.pages.site import page
from domain.access import AccessDenied, AccessReviewed, BreakGlassUsed, Finding
from domain.disclosure import ExportMade, RecordDisclosed
from domain.event import RecordedEvent

router = APIRouter(include_in_schema=False)

PER_PAGE: Final = 100


@router.get("/relationships/{relationship}/readers", name="readers-page")
def readers(
    request: Request,
    visit: Annotated[Visit, Depends(Reads("readers"))],
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """Every reading, the newest first; this one is among them."""
    people = People(visit, visit.dossier().case)
    incidents = visit.incidents()
    reviews = {
        review.entry: review
        for entry in incidents.values()
        if isinstance(review := entry.event, AccessReviewed)
    }
    found = [read for _, read in sorted(visit.readers().items(), reverse=True)]
    pages = max(1, -(-len(found) // PER_PAGE))
    number = min(number, pages)
    return page(
        request,
        "readers.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        people=people,
        reads=found[(number - 1) * PER_PAGE : number * PER_PAGE],
        count=len(found),
        emergencies=[
            (version, entry, used, reviews.get(version))
            for version, entry in sorted(incidents.items(), reverse=True)
            if isinstance(used := entry.event, BreakGlassUsed)
        ],
        denied=sum(isinstance(entry.event, AccessDenied) for entry in incidents.values()),
        verdicts=tuple(Finding),
        offers=forms.offered(visit),
        roles=words.ROLES,
        doors=words.DOORS,
        bases=words.BASES,
        incidents=[_incident(people, entry) for entry in _newest(visit.incidents())],
        left=[_left(people, entry) for entry in _newest(_left_record(visit))],
        number=number,
        pages=pages,
    )


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that happened to the record, in a line."""

    at: datetime
    who: str
    says: str


def _newest(entries: Mapping[int, RecordedEvent]) -> list[RecordedEvent]:
    return [entry for _, entry in sorted(entries.items(), reverse=True)]


def _incident(people: People, entry: RecordedEvent) -> Happened:
    says = ""
    match entry.event:
        case BreakGlassUsed(reason=reason, until=until):
            says = f"broke the glass until {words.second(until)}: {reason}"
        case AccessDenied(door=door, code=code):
            says = f"was turned away at {words.door(door)}: {words.plain(code)}"
        case AccessReviewed(finding=finding):
            says = f"reviewed an access: {words.plain(finding)}"
    return Happened(entry.recorded_at, people.name(entry.actor), says)


def _left_record(visit: Visit) -> Mapping[int, RecordedEvent]:
    """What left the record, for whom that door is open too."""
    if visit.who.role not in DOORS["disclosures"].who:
        return {}
    return {**visit.disclosures(), **visit.copies()}


def _left(people: People, entry: RecordedEvent) -> Happened:
    says = ""
    match entry.event:
        case RecordDisclosed(recipient=recipient, purpose=purpose, what=what):
            says = f"disclosed to {recipient.name}, for {words.plain(purpose)}: {what}"
        case ExportMade(purpose=purpose):
            says = f"made a copy, for {purpose}"
    return Happened(entry.occurred_at, people.name(entry.actor), says)
