"""Instruments: which there are, and what a key makes of raw items. Nobody's record is read."""

from datetime import date
from typing import Any

from fastapi import Depends

from api.doors import Admits
from api.routes.command import concept
from domain.event import Line, Model
from domain.instrument import Definition, Perspective, catalogue
from domain.rating import Answers
from domain.score_report import score_report

router = concept("instruments")


class InstrumentDocument(Model):
    """The newest version of one instrument."""

    id: str
    version: str
    name: str
    measures: str
    citation: str
    forms: dict[Perspective, str]
    items: int
    scales: list[str]
    metric: str
    verified: bool
    """Whether every fact that a score rests on was read or recomputed."""
    licence: str
    attestation_required: bool
    key_hash: str

    @classmethod
    def of(cls, definition: Definition) -> "InstrumentDocument":
        return cls(
            id=definition.id,
            version=definition.version,
            name=definition.name,
            measures=definition.measures,
            citation=definition.citation,
            forms=definition.forms,
            items=definition.items.count,
            scales=list(definition.scales),
            metric=definition.metric,
            verified=definition.verified,
            licence=definition.licence.state,
            attestation_required=definition.licence.attestation_required,
            key_hash=definition.key_hash,
        )


class Instruments(Model):
    items: list[InstrumentDocument]


class ScoreRequest(Model):
    """Answers to be scored; nothing of it is kept."""

    instrument: Line
    answers: Answers
    perspective: Perspective | None = None
    at: date | None = None
    """By the rules that were in force on that day; left out: today's."""


class ScaleDocument(Model):
    value: str | None
    exact: str | None
    """The score as a fraction, unrounded."""
    range: list[str]
    missing: list[int]
    flags: list[str]


class DatedFact(Model):
    source: list[str]
    confidence: str
    effective_from: str
    effective_until: str | None
    population: str | None
    note: str | None


class CutOffDocument(DatedFact):
    scale: str | None
    item: int | None
    operator: str
    value: str
    meaning: str
    met: bool


class BandDocument(DatedFact):
    name: str
    scale: str
    label: str | None


class LicenceDocument(Model):
    state: str
    statement: str
    attestation_required: bool


class ScoreDocument(Model):
    """A score with all that a reader needs to judge it; the same that `rapport score` prints."""

    instrument: str
    version: str
    name: str
    citation: str
    key_hash: str
    perspective: Perspective | None
    form: str | None
    metric: str
    answers: list[str | None]
    flags: list[str]
    missing: list[int]
    missing_rule: str | None
    scales: dict[str, ScaleDocument]
    cutoffs: list[CutOffDocument]
    bands: list[BandDocument]
    licence: LicenceDocument
    sources: dict[str, str]


@router.get("/instruments", dependencies=[Depends(Admits("instruments"))])
def instruments() -> Instruments:
    """Every instrument, in its newest version."""
    return Instruments(items=[InstrumentDocument.of(each) for each in catalogue().values()])


@router.post("/score", dependencies=[Depends(Admits("score"))])
def score(asked: ScoreRequest) -> ScoreDocument:
    """The score of answers, by the newest key, without a record."""
    report: dict[str, Any] = score_report(
        asked.instrument, asked.answers, perspective=asked.perspective, at=asked.at
    )
    return ScoreDocument.model_validate(report)
