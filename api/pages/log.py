"""The clinic's log: how far it goes, and whether it is still the one that was acknowledged."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.doors import LogStatus, ReadsClinic, Visit
from api.pages.site import page

router = APIRouter(include_in_schema=False)


@router.get("/log", name="log-page")
def log(request: Request, visit: Annotated[Visit, Depends(ReadsClinic("log"))]) -> Response:
    """Size, root, last entry, and the head that is remembered outside the database."""
    head = visit.house.log_status()
    return page(
        request, "log.html", visit.who, head=head, clinic=visit.house.clinic, held=_held(head)
    )


def _held(head: LogStatus) -> str:
    """How the log compares with what was last acknowledged: a word for the page."""
    if head.acknowledged is None:
        return "none"
    size, root = head.acknowledged
    if size < head.size:
        return "grown"
    return "same" if (size, root) == (head.size, head.root) else "differs"
