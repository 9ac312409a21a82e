"""The timeline of one relationship, and the receipt of each of its entries."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import PlainTextResponse, Response

from api.access import OutOfReach
from api.doors import Reads, Visit
from api.pages import words
from api.pages.people import People
from api.pages.site import page
from domain.event import Erased, Event, RecordedEvent
from projections.alliance_course import RatingRow
from projections.timeline import Line
from projections.view import known

router = APIRouter(include_in_schema=False)

PER_PAGE: Final = 250

_CODE: Final = re.compile("[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Version = Annotated[int, Path(ge=1, lt=2**53)]
PageNumber = Annotated[int, Query(alias="page", ge=1, le=100_000)]


@dataclass(frozen=True, slots=True)
class Links:
    """Where the entries of a relationship are to be found."""

    relationship: UUID | None
    entries: int

    def line(self, version: int) -> str:
        """Its line in the timeline."""
        number = -(-version // PER_PAGE)
        on_page = f"?page={number}" if self.entries > PER_PAGE else ""
        return f"/relationships/{self.relationship}/timeline{on_page}#entry-{version}"

    def receipt(self, version: int) -> str:
        return f"/relationships/{self.relationship}/entries/{version}"


@dataclass(frozen=True, slots=True)
class Mark:
    """What is to be said about an entry, and the entry that says so."""

    text: str
    tone: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry as it stands in the list."""

    version: int
    position: int | None
    what: str
    gist: str
    """What it is about, in a few words of its own; empty where that is withheld."""
    occurred_at: datetime | None
    recorded_at: datetime | None
    who: str
    part: str
    on_behalf_of: str
    marks: tuple[Mark, ...]
    reason: str
    """Why it was recorded late."""
    quiet: bool
    """It does not count any more as it stands here."""


@router.get("/relationships/{relationship}/timeline", name="timeline-page")
def timeline(
    request: Request,
    visit: Annotated[Visit, Depends(Reads("timeline"))],
    number: PageNumber = 1,
) -> Response:
    """Every entry in the order in which it was recorded."""
    dossier = visit.dossier()
    people = People(visit, dossier.case)
    lines = sorted(dossier.timeline.items())
    pages = max(1, -(-len(lines) // PER_PAGE))
    number = min(number, pages)
    recorded = {entry.version: entry for entry in visit.history()}
    return page(
        request,
        "timeline.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        lines=[
            _shown(line, people, recorded[version])
            for version, line in lines[(number - 1) * PER_PAGE : number * PER_PAGE]
        ],
        entries=len(lines),
        number=number,
        pages=pages,
        link=Links(visit.relationship, len(lines)),
        position=dossier.position,
        withholds=visit.withholds,
    )


def _shown(line: Line, people: People, recorded: RecordedEvent) -> Shown:
    actor, on_behalf_of = line.actor.known, line.on_behalf_of.known
    return Shown(
        version=recorded.version,
        position=known(line.position),
        what=words.topic(known(line.topic) or ""),
        gist=words.gist(recorded.event),
        occurred_at=_where_it_was(line),
        recorded_at=known(line.recorded_at),
        who="" if actor is None else people.name(actor),
        part="" if actor is None else people.part(actor),
        on_behalf_of="" if on_behalf_of is None else people.who(on_behalf_of),
        marks=(*_marks(line), *_gone(recorded)),
        reason=line.late_reason.known or "",
        quiet=line.in_error is not None or line.superseded is not None,
    )


def _where_it_was(line: Line) -> datetime | None:
    """When it happened, by the clock on the wall there."""
    at, offset = known(line.occurred_at), known(line.occurred_offset)
    if at is None or offset is None:
        return at
    return at.astimezone(timezone(timedelta(minutes=offset)))


def _marks(line: Line) -> Iterator[Mark]:
    if known(line.late):
        yield Mark("recorded late", "alarm")
    if known(line.source) == "import":
        yield Mark("imported")
    for code in known(line.reported) or ():
        yield Mark(f"import reported: {words.reported(code)}", "alarm")
    amends = known(line.amends)
    if amends is not None:
        yield Mark(f"about entry {amends}", version=amends)
    for version in filter(None, map(known, line.corrected)):
        yield Mark(f"corrected by entry {version}", "alarm", version)
    in_error, superseded = known(line.in_error), known(line.superseded)
    if in_error is not None:
        yield Mark(f"entered in error, says entry {in_error}", "alarm", in_error)
    unsupported = known(line.unsupported)
    if unsupported is not None:
        yield Mark(f"rests on a consent in error, says entry {unsupported}", "alarm", unsupported)
    if superseded is not None:
        yield Mark(f"superseded by entry {superseded}", "alarm", superseded)


def _gone(recorded: RecordedEvent) -> Iterator[Mark]:
    unseen = words.unseen(recorded.event)
    if unseen:
        yield Mark(f"content {unseen}", "alarm" if unseen == "erased" else "")


# --- One entry, and its receipt -------------------------------------------------------------


@router.get("/relationships/{relationship}/entries/{version}.tlog-proof", name="entry-proof")
def proof(visit: Annotated[Visit, Depends(Reads("timeline"))], version: Version) -> Response:
    """That the log contains an entry, as a file to be kept out of reach of who keeps the log."""
    recorded = visit.history().entry(version)
    receipt = visit.house.log.receipt(recorded.command_id) if recorded else None
    if recorded is None or receipt is None:
        raise OutOfReach
    (text,) = (each.proof for each in receipt.entries if each.position == recorded.position)
    name = f"entry-{recorded.position}.tlog-proof"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, headers=headers)


@router.get("/relationships/{relationship}/entries/{version}", name="entry-page")
def entry(
    request: Request, visit: Annotated[Visit, Depends(Reads("timeline"))], version: Version
) -> Response:
    """What an entry says, where it stands in the log, and how that is proven."""
    history = visit.history()
    recorded = history.entry(version)
    if recorded is None:
        raise OutOfReach
    dossier = visit.dossier()
    people = People(visit, dossier.case)
    receipt = visit.house.log.receipt(recorded.command_id)
    places = receipt.entries if receipt else ()
    leaf = next((p.leaf_hash for p in places if p.position == recorded.position), "")
    return page(
        request,
        "entry.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        entry=recorded,
        line=_shown(dossier.timeline[version], people, recorded),
        receipt=receipt,
        leaf=leaf,
        together=[place for place in places if place.position != recorded.position],
        content=_content(recorded.event, people),
        scores=_scores(dossier.ratings.get(version)),
        unseen=words.unseen(recorded.event),
        link=Links(visit.relationship, len(history)),
        last=len(history),
    )


def _scores(row: RatingRow | None) -> list[str]:
    """What the key makes of a rating's items, scale by scale."""
    scales = {} if row is None else known(row.scales) or {}
    return [
        f"{words.plain(name)} {scored.text or 'none'} of {scored.low} to {scored.high}"
        + "".join(f", {words.flag(flag)}" for flag in scored.flags)
        for name, scored in scales.items()
    ]


@dataclass(frozen=True, slots=True)
class Content:
    """One field of a fact."""

    name: str
    value: str
    is_code: bool
    """An id or a digest, for machines to compare."""


def _content(event: Event | Erased, people: People) -> list[Content]:
    """The fields of the fact, in words; nothing where it is erased or withheld."""
    if isinstance(event, Erased):
        return []
    told = event.model_dump(exclude_none=True)
    return [
        Content(words.plain(name).capitalize(), said, bool(_CODE.fullmatch(said)))
        for name, value in told.items()
        if value not in ((), {}, None) and (said := _said(value, people))
    ]


def _said(value: Any, people: People) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case UUID() if value in (*people.clients, *people.therapists, people.supervisor):
            return people.who(value)
        case datetime():
            return words.minute(value)
        case Mapping():
            return "; ".join(f"{words.plain(k)}: {_said(v, people)}" for k, v in value.items())
        case list() | tuple():
            return ", ".join("not answered" if v is None else _said(v, people) for v in value)
    return str(value)
