"""Instruments: which there are, and what a key makes of raw items. Nobody's record is read."""

from datetime import date
from typing import Any

from fastapi import Depends

from api.doors import Admits
from api.routes.command import accept, concept
from domain.answers import Answers
from domain.event import Line, Model
from domain.instrument import Definition, Perspective, Procedure, catalogue, procedures
from domain.rescoring import AdoptScoringKey
from domain.score_report import score_report
from domain.text_pack import AdoptTextPack

router = concept("instruments")
accept(router, AdoptTextPack, AdoptScoringKey)


class InstrumentDocument(Model):
    """The newest version of one instrument."""

    id: str
    version: str
    kind: str
    """`questionnaire`, or what it is instead: such a one is not scored."""
    name: str
    measures: str
    citation: str
    forms: dict[Perspective, str]
    items: int | None
    scales: list[str]
    """Empty where the key is not known: then raw items are kept."""
    metric: str | None
    verified: bool
    """Whether every fact that a score rests on was read or recomputed."""
    licence: str
    attestation_required: bool
    key_hash: str

    @classmethod
    def of(cls, one: Definition | Procedure) -> "InstrumentDocument":
        return cls(
            id=one.id,
            version=one.version,
            kind="questionnaire" if isinstance(one, Definition) else one.kind,
            name=one.name,
            measures=one.measures,
            citation=one.citation,
            forms=one.forms,
            items=one.items.count if isinstance(one, Definition) else None,
            scales=list(one.scales) if isinstance(one, Definition) else [],
            metric=one.metric if isinstance(one, Definition) else None,
            verified=isinstance(one, Definition) and one.verified,
            licence=one.licence.state,
            attestation_required=one.licence.attestation_required,
            key_hash=one.key_hash,
        )


class Instruments(Model):
    items: list[InstrumentDocument]


class ScoreRequest(Model):
    """Answers to be scored; nothing of it is kept."""

    instrument: Line
    answers: Answers
    perspective: Perspective | None = None
    as_of: date | None = None
    """By the rules that were in force on that day; left out: today's."""


class ScaleDocument(Model):
    value: str | None
    exact: str | None
    """The score as a fraction, unrounded."""
    metric: str
    """`sum`, `mean`, `mean x 10`."""
    restates: str | None
    """The scale that this is in another metric."""
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


class ThresholdDocument(DatedFact):
    operator: str
    value: str
    meaning: str


class CutOffDocument(ThresholdDocument):
    scale: str | None
    item: int | None
    met: bool


class RiskItemDocument(ThresholdDocument):
    """A risk item above its threshold: somebody has to look at it."""

    item: int


class ChangeDocument(ThresholdDocument):
    """How far the scale must move for its change to count."""

    scale: str
    kind: str


class QualityDocument(Model):
    """A sign in the answers that the form may not have been read: a reason to ask."""

    kind: str
    flagged: bool
    says: str
    method: str


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
    as_of: date | None
    flags: list[str]
    missing: list[int]
    missing_rule: str | None
    scales: dict[str, ScaleDocument]
    cutoffs: list[CutOffDocument]
    bands: list[BandDocument]
    risk_items: list[RiskItemDocument]
    risk_items_unanswered: list[int]
    """Of risk items that nobody answered: that says neither yes nor no."""
    quality: list[QualityDocument]
    changes: list[ChangeDocument]
    note: str | None
    licence: LicenceDocument
    sources: dict[str, str]


@router.get("/instruments", dependencies=[Depends(Admits("instruments"))])
def instruments() -> Instruments:
    """Every instrument, in its newest version: questionnaires first."""
    every: list[Definition | Procedure] = [*catalogue().values(), *procedures().values()]
    return Instruments(items=[InstrumentDocument.of(one) for one in every])


@router.post("/score", dependencies=[Depends(Admits("score"))])
def score(asked: ScoreRequest) -> ScoreDocument:
    """The score of answers, by the newest key, without a record."""
    report: dict[str, Any] = score_report(
        asked.instrument, asked.answers, perspective=asked.perspective, at=asked.as_of
    )
    return ScoreDocument.model_validate(report)
