"""Method cards: what each method makes of each line of ratings, or why it declines to answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.doors import Visit
from api.pages import words
from api.pages.as_of import OpensAsOf
from api.pages.people import People
from api.pages.ruptures import line_of
from api.pages.site import page
from api.pages.timeline import Links
from domain.instrument import load
from domain.methods.card import Finding, MethodCard, Outcome
from domain.methods.catalogue import METHODS
from domain.methods.series import Axis, Point
from projections.possible_ruptures import WHOLE, lines
from projections.trajectory import Trajectories

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """One finding, and the entry of the rating it is of."""

    place: str
    says: str
    flagged: bool
    entry: int | None


@dataclass(frozen=True, slots=True)
class Card:
    """One card in words."""

    card: MethodCard
    outcome: str
    tone: str
    findings: tuple[Shown, ...]
    inputs: tuple[int, ...]
    """Versions of the ratings that went in."""


@dataclass(frozen=True, slots=True)
class Line:
    """The cards of one line of ratings, or of two beside each other."""

    anchor: str
    name: str
    cards: tuple[Card, ...]


@router.get("/relationships/{relationship}/methods", name="methods-page")
def methods(
    request: Request,
    visit: Annotated[Visit, Depends(OpensAsOf("analyses"))],
    every: Annotated[bool, Query(alias="all")] = False,
) -> Response:
    """Cards line by line, as of now or as of the two times in the address: of whole scales, or of
    all."""
    dossier, whole = visit.dossier(), visit.history()
    people = People(visit, dossier.case)
    history = whole.as_of(known_at=visit.known_at, happened_by=visit.happened_by)
    told: dict[tuple[Axis, ...], list[Card]] = {}
    found = lines(history)
    for name, method in METHODS.items():
        for data in found.asked_about(name):
            if not (every or _is_whole(data.points, found)):
                continue
            at = visit.known_at
            card = method.card(data if at is None else data.known_at(at))
            told.setdefault(card.axes, []).append(_card(card))
    shown = [
        Line(f"line-{number}", " and ".join(line_of(axis, people) for axis in axes), tuple(cards))
        for number, (axes, cards) in enumerate(sorted(told.items(), key=_order), start=1)
    ]
    return page(
        request,
        "methods.html",
        visit.who,
        id=visit.relationship,
        title=people.title,
        lines=shown,
        every=every,
        known_at=visit.known_at,
        happened_by=visit.happened_by,
        link=Links(visit.relationship, len(whole)),
        position=dossier.position,
    )


def _is_whole(points: Sequence[Point], found: Trajectories) -> bool:
    """Whether it is about whole scales; where an instrument has none, each counts as one."""
    wholes = {axis.instrument for axis in found.series if axis.scale == WHOLE}
    return all(p.axis.scale == WHOLE or p.axis.instrument not in wholes for p in points)


def _order(told: tuple[tuple[Axis, ...], list[Card]]) -> tuple[object, ...]:
    """Whole scales first, lines before pairs of lines."""
    axes = told[0]
    elsewhere = any(load(axis.instrument).measures != "alliance" for axis in axes)
    whole = bool(axes) and axes[0].scale == WHOLE
    return elsewhere, not whole, len(axes), [tuple(map(str, axis)) for axis in axes]


_OUTCOMES = {
    Outcome.FLAGGED: ("to be looked at", "alarm"),
    Outcome.NOT_FLAGGED: ("nothing found", ""),
    Outcome.DESCRIBED: ("described", ""),
    Outcome.REFUSED: ("declines to answer", "derived"),
}


def _card(card: MethodCard) -> Card:
    outcome, tone = _OUTCOMES[card.outcome]
    return Card(
        card=card,
        outcome=outcome,
        tone=tone,
        findings=tuple(_findings(card)),
        inputs=tuple(point.entry for point in card.points if point.entry is not None),
    )


def _findings(card: MethodCard) -> Iterator[Shown]:
    for finding in card.findings:
        point = card.points[finding.at]
        session = "between sessions" if point.session is None else f"session {point.session}"
        yield Shown(
            place=f"{words.day(point.occurred_at)}, {session}",
            says=_says(finding),
            flagged=finding.flagged,
            entry=point.entry,
        )


def _says(finding: Finding) -> str:
    return finding.says if finding.declined is None else finding.declined.says
