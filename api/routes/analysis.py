"""Analyses: what methods make of the ratings of one relationship; and its ruptures beside them.

A method's card is computed at each reading from what was known at the time that is asked about, and
never stored (rules 37 and 38). What people marked stands as their entries.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from api.access import Reach
from api.doors import Visit
from api.doors.entries import ReadsStream
from api.routes.command import concept
from api.routes.entries import RecordEntryDocument
from domain.definition import Perspective
from domain.event import History, Model
from domain.methods.card import MethodCard
from domain.methods.catalogue import METHODS, method
from domain.methods.report import render_card
from domain.possible_rupture import PossibleRupture
from domain.rupture import Rupture, ruptures_of
from projections.possible_ruptures import Possible, lines, possible_ruptures
from projections.trajectory import Trajectories

router = concept("analyses")


# --- Method cards ---------------------------------------------------------------------------


class RefusalDocument(Model):
    """Why the data cannot support an answer: that is the answer."""

    code: str
    says: str


class FindingDocument(Model):
    """What a method says of one input, by its place from 1."""

    place: int
    kind: str
    flagged: bool
    says: str
    figures: dict[str, str]
    rests_on: list[int]
    refusal: RefusalDocument | None


class ParameterDocument(Model):
    """One parameter as it was used, and where its value comes from."""

    name: str
    value: str | None
    operator: str | None
    about: str
    basis: str
    source: str
    effective_from: str


class SeriesDocument(Model):
    """A line of points that may share an axis (rule 32)."""

    instrument: str
    form: str
    metric: str
    key_major: int
    perspective: Perspective | None
    scale: str
    rater: UUID | None


class InputDocument(Model):
    """One rating that went in, and the version of its entry."""

    place: int
    perspective: Perspective | None
    session: int | None
    session_id: UUID | None
    entry: int | None
    value: str | None
    """Null where the method looks at the answers alone."""
    occurred_at: datetime
    known_at: datetime
    flags: list[str]


class CardDocument(Model):
    """A method card: derived, with all that is needed to work it out again."""

    method: str
    version: str
    title: str
    asks: str
    retrospective: bool
    derived: bool
    outcome: str
    says: str
    refusal: RefusalDocument | None
    figures: dict[str, str]
    findings: list[FindingDocument]
    notes: list[str]
    parameters: list[ParameterDocument]
    series: list[SeriesDocument]
    inputs: list[InputDocument]
    as_known_at: datetime | None
    sources: list[str]

    @classmethod
    def of(cls, card: MethodCard) -> "CardDocument":
        return cls.model_validate(render_card(card))


class AnalysesDocument(Model):
    """Cards over one relationship, as of two times (rule 5)."""

    known_at: datetime | None
    happened_by: datetime | None
    items: list[CardDocument]
    next: str | None


MethodName = Annotated[
    str | None, Query(max_length=40, description=f"One of {', '.join(METHODS)}; left out: all.")
]
Instrument = Annotated[str | None, Query(max_length=40, description="Only lines of this one.")]
Scale = Annotated[str | None, Query(max_length=40, description="Only this scale, as `total`.")]


@router.get("/relationships/{relationship}/analyses")
def analyses(
    visit: Annotated[Visit, Depends(ReadsStream("analyses"))],
    method: MethodName = None,
    instrument: Instrument = None,
    perspective: Perspective | None = None,
    scale: Scale = None,
) -> AnalysesDocument:
    """What each method makes of each line of ratings, by its default parameters."""

    def wanted(card: MethodCard) -> bool:
        return any(
            instrument in (None, axis.instrument)
            and perspective in (None, axis.perspective)
            and scale in (None, axis.scale)
            for axis in card.axes
        )

    cards = filter(wanted, _cards(lines(_history(visit)), method, visit.known_at))
    page = visit.page(dict(enumerate(cards, 1)))
    return AnalysesDocument(
        known_at=visit.known_at,
        happened_by=visit.happened_by,
        items=[CardDocument.of(card) for card in page.items],
        next=page.next,
    )


def _history(visit: Visit) -> History:
    visit.wait_for_log()
    return visit.history().as_of(known_at=visit.known_at, happened_by=visit.happened_by)


def _cards(found: Trajectories, name: str | None, at: datetime | None) -> Iterator[MethodCard]:
    """The cards of one method or of all, line by line in the same order at every reading."""
    for one in [method(name)] if name else METHODS.values():
        for data in found.asked_about(one.name):
            yield one.card(data if at is None else data.known_at(at))


# --- Ruptures -------------------------------------------------------------------------------


class RuptureDocument(Model):
    """A rupture that somebody marked, what was done about it, and how each sees it (rule 39)."""

    rupture: UUID
    open: bool
    marked: RecordEntryDocument
    repairs: list[RecordEntryDocument]
    views: list[RecordEntryDocument]

    @classmethod
    def of(cls, rupture: Rupture) -> "RuptureDocument":
        return cls(
            rupture=rupture.id,
            open=rupture.is_open,
            marked=RecordEntryDocument.of(rupture.entry),
            repairs=[RecordEntryDocument.of(entry) for entry in rupture.repairs],
            views=[RecordEntryDocument.of(entry) for entry in rupture.views.values()],
        )


class PossibleRuptureDocument(Model):
    """What a method found: no rupture before somebody says so (rule 37)."""

    possible: PossibleRupture
    """How it is named, to take it as a prompt for a mark, or to dismiss it."""
    onset: FindingDocument
    ends: FindingDocument | None
    card: CardDocument
    dismissed: list[RecordEntryDocument]

    @classmethod
    def of(cls, found: Possible) -> "PossibleRuptureDocument":
        card, findings = CardDocument.of(found.card), found.card.findings
        return cls(
            possible=found.cited,
            onset=card.findings[findings.index(found.onset)],
            ends=None if found.ends is None else card.findings[findings.index(found.ends)],
            card=card,
            dismissed=[RecordEntryDocument.of(entry) for entry, _ in found.dismissed],
        )


class RupturesDocument(Model):
    known_at: datetime | None
    happened_by: datetime | None
    items: list[RuptureDocument]
    """What people marked, in order."""
    next: str | None
    possible: list[PossibleRuptureDocument] | None
    """What methods found, dismissed or not; null for whom it is not."""


_SEES_POSSIBLE = frozenset({Reach.TREATED, Reach.SUPERVISED, Reach.ALL})


@router.get("/relationships/{relationship}/ruptures")
def ruptures(visit: Annotated[Visit, Depends(ReadsStream("ruptures"))]) -> RupturesDocument:
    """Ruptures as people marked them, each person's view apart, and what methods found beside."""
    history = _history(visit)
    page = visit.page({rupture.entry.version: rupture for rupture in ruptures_of(history).values()})
    found = possible_ruptures(history) if visit.reach in _SEES_POSSIBLE else None
    return RupturesDocument(
        known_at=visit.known_at,
        happened_by=visit.happened_by,
        items=[RuptureDocument.of(rupture) for rupture in page.items],
        next=page.next,
        possible=None
        if found is None
        else [PossibleRuptureDocument.of(possible) for possible in found],
    )
