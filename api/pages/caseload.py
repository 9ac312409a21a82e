"""The caseload: every relationship within reach, what is missing first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.doors import ReadsClinic, Visit
from api.pages import words
from api.pages.people import People
from api.pages.site import page
from domain.event import Stream
from projections.caseload import Case, CaseState, Finding
from projections.triage import triage
from projections.view import known

router = APIRouter(include_in_schema=False)

PER_PAGE: Final = 25

State = Literal["all", "open", "closed"]


@dataclass(frozen=True, slots=True)
class Line:
    """One relationship as it stands in the list."""

    path: str
    title: str
    with_whom: str
    state: str
    missing: tuple[str, ...] | None
    """None: withheld."""
    held: int | None
    last: datetime | None
    marks: tuple[str, ...]
    parked: str = ""


@router.get("/", name="caseload-page")
def caseload(
    request: Request,
    visit: Annotated[Visit, Depends(ReadsClinic("caseload"))],
    state: State = "all",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """The relationships that the reader may know of, a page at a time."""
    found, beside = visit.cases(), visit.beside()
    cases = {stream: case for stream, rows in found.rows.items() for case in rows.values()}
    counts = {"all": len(cases), **{kind: _count(cases, kind) for kind in ("open", "closed")}}
    chosen = [
        (triaged.relationship, triaged.case)
        for triaged in triage(cases, visit.house.clock(), beside)
        if state in ("all", known(triaged.case.state))
    ]
    pages = max(1, -(-len(chosen) // PER_PAGE))
    number = min(number, pages)
    shown = chosen[(number - 1) * PER_PAGE : number * PER_PAGE]
    return page(
        request,
        "caseload.html",
        visit.who,
        lines=[_line(visit, stream, case, beside.get(stream.id, ())) for stream, case in shown],
        parked=[(stream.id, code) for stream, (_, code) in found.parked.items()],
        withholds=visit.withholds,
        triaged=any(visit.findings(case) is not None for case in cases.values()),
        state=state,
        counts=counts,
        number=number,
        pages=pages,
        position=found.position,
    )


def _count(cases: Mapping[Stream, Case], state: str) -> int:
    return sum(known(case.state) == state for case in cases.values())


def _line(visit: Visit, stream: Stream, case: Case, beside: Sequence[Finding]) -> Line:
    people = People(visit, case)
    findings = beside if visit.withholds else visit.findings(case, beside)
    state = known(case.state)
    return Line(
        path=f"/relationships/{stream.id}",
        title=people.title,
        with_whom=", ".join(map(people.name, people.therapists)),
        state=state.value if isinstance(state, CaseState) else "not known: erased",
        missing=None if findings is None else tuple(words.finding(f) for f in findings),
        held=known(case.sessions_held),
        last=known(case.last_session_at),
        marks=tuple(_marks(case)),
    )


def _marks(case: Case) -> Sequence[str]:
    """What a reader must be told of the row."""
    flags = {
        flag
        for rated in (known(cell) for cell in case.last_ratings)
        if rated is not None
        for flag in rated.flags
    }
    counted = {
        "recorded late": known(case.late_entries),
        "imported": known(case.imported_entries),
        "erased": known(case.erased_entries),
    }
    reported = words.reported_rules(filter(None, map(known, case.reported)))
    return [
        *(f"last rating: {words.flag(flag)}" for flag in sorted(flags)),
        *(f"{count} {what}" for what, count in counted.items() if count),
        *filter(None, [reported]),
    ]
