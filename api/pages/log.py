"""The clinic's log: how far it goes, whether it is still the one that was acknowledged, and how far
others vouch for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.doors import LogStatus, ReadsClinic, Visit
from api.doors.vouching import Voucher, Vouching
from api.pages.site import page

router = APIRouter(include_in_schema=False)

FAILURES: Final = {
    "unreachable": "could not be reached",
    "too-slow": "did not answer in time",
    "too-long": "answered without end",
    "tls": "could not show who it is",
    "not-http": "answered what is no HTTP",
    "not-cosigned": "answered without a cosignature",
    "clock-ahead": "has a clock that is ahead",
    "moved": "was elsewhere each time it was asked",
    "status-404": "does not know this log",
    "status-403": "does not know this log's key",
    "no-folder": "is not there",
    "not-written": "could not be written to",
    "another": "holds another receipt of that name",
    "not-accepted": "did not take the message",
    "no-tls": "offers no TLS for the password",
    "kept-broken": "what is kept of it is not what it sent",
}
"""What the codes mean that are seen most."""


@router.get("/log", name="log-page")
def log(request: Request, visit: Annotated[Visit, Depends(ReadsClinic("log"))]) -> Response:
    """Size, root, last entry, and the head that is remembered outside the database."""
    head, vouching = visit.house.log_status(), visit.house.vouching()
    return page(
        request,
        "log.html",
        visit.who,
        head=head,
        clinic=visit.house.clinic,
        held=_held(head),
        vouching=vouching,
        reaches=list(_reaches(head, vouching)),
        failures=FAILURES,
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """How far of the log something reaches."""

    what: str
    size: int
    at: datetime | None
    by: Voucher | None = None
    """Who vouches for it, if that is somebody outside."""


def _reaches(head: LogStatus, vouching: Vouching) -> Iterator[Reach]:
    """From what is in the log to what others say of it: each can only be behind the one before."""
    yield Reach("Recorded", head.size, head.recorded_at)
    yield Reach("Acknowledged", head.acknowledged[0] if head.acknowledged else 0, None)
    yield Reach("Signed", vouching.size, vouching.signed_at)
    for witness in vouching.witnesses:
        yield Reach(f"Cosigned by {witness.name}", witness.size, witness.at, witness)
    if vouching.authority is not None:
        yield Reach(
            "Timestamped", vouching.authority.size, vouching.authority.at, vouching.authority
        )
    for sink in vouching.sinks:
        yield Reach(f"Receipt handed to {sink.name}", sink.size, None, sink)


def _held(head: LogStatus) -> str:
    """How the log compares with what was last acknowledged: a word for the page."""
    if head.acknowledged is None:
        return "none"
    size, root = head.acknowledged
    if size < head.size:
        return "grown"
    return "same" if (size, root) == (head.size, head.root) else "differs"
