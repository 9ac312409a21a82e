"""One relationship: how the alliance went, what was agreed, and as of which two times."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.access import Reach
from api.doors import Visit
from api.pages import charts, course, forms, words
from api.pages.as_of import OpensAsOf, as_of
from api.pages.people import People
from api.pages.site import drawn, page
from api.pages.timeline import Links
from api.pages.told import Told, told
from projections.caseload import Case
from projections.possible_ruptures import cards as episode_cards
from projections.possible_ruptures import lines, possible_ruptures
from projections.view import known

router = APIRouter(include_in_schema=False)


@router.get("/relationships/{relationship}", name="relationship-page")
def relationship(
    request: Request, visit: Annotated[Visit, Depends(OpensAsOf("dossier"))]
) -> Response:
    """The dossier as a page; as of now, or as of the two times in the address."""
    dossier, times = visit.dossier(), as_of(visit)
    people = People(visit, dossier.case)
    now = visit.known_at or visit.house.clock()
    whole = visit.history()
    history = whole.as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    if visit.withholds:
        drawing, below = course.structure(dossier, now), Told()
    else:
        derived = visit.reach in (Reach.TREATED, Reach.SUPERVISED)
        cards = episode_cards(lines(history)) if derived else None
        found = None if cards is None else possible_ruptures(history, cards)
        drawing = course.chart(dossier, history, people, now, found)
        below = told(visit, dossier, history, people, cards, found)
    return page(
        request,
        "relationship.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        times=times,
        people=people,
        opened=dossier.case is not None,
        facts=_facts(dossier.case, people, visit.withholds),
        notes=tuple(_notes(dossier.case)),
        withholds=visit.withholds,
        chart=drawing,
        legend=charts.legend(drawing),
        svg=drawn(charts.draw(drawing)) if dossier.timeline else "",
        told=below,
        offers=forms.offered(visit),
        link=Links(visit.relationship, len(whole)),
        position=dossier.position,
        versions=dossier.view_versions,
    )


# --- At its head ----------------------------------------------------------------------------


def _facts(case: Case | None, people: People, withholds: bool) -> list[tuple[str, str]]:
    """Who and what it is about, as far as it is known and may be."""
    if case is None:
        return []
    opened, constellation = known(case.opened_at), known(case.constellation)
    held, last = known(case.sessions_held), known(case.last_session_at)
    facts = [
        ("Therapist", ", ".join(map(people.name, people.therapists))),
        ("Supervisor", "" if people.supervisor is None else people.name(people.supervisor)),
        ("State", known(case.state) or "erased"),
        ("Opened", "" if opened is None else words.day(opened)),
        ("Kind", "" if constellation is None else words.plain(constellation)),
        ("Modality", known(case.modality) or ""),
        ("Sessions held", "" if withholds else str(held or 0)),
        ("Last session", "" if last is None else words.day(last)),
    ]
    return [(name, fact) for name, fact in facts if fact]


def _notes(case: Case | None) -> Iterator[str]:
    """What a reader must be told of the whole record."""
    if case is None:
        return
    counted = {
        "recorded late": known(case.late_entries),
        "imported": known(case.imported_entries),
        "erased": known(case.erased_entries),
    }
    yield from (f"{count} entries {what}" for what, count in counted.items() if count)
    for code in filter(None, map(known, case.reported)):
        yield f"import reported: {words.reported(code)}"
