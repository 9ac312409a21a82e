"""Who read a relationship's record: for those whom it is about, and those who answer for it."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.doors import Reads, Visit
from api.pages import words
from api.pages.people import People
from api.pages.site import page

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
        roles=words.ROLES,
        doors=words.DOORS,
        number=number,
        pages=pages,
    )
