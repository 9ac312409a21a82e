"""The clinic: what holds for all its relationships.

The consent documents it publishes, the instruments it is licensed to use, and the imports it
answers for. Stream: `clinic-<clinic>`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from domain.event import (
    Command,
    Event,
    Fold,
    Given,
    History,
    Line,
    Model,
    New,
    Refusal,
    Source,
    Stream,
    Text,
)
from domain.ids import new_id

# --- Values that several concepts use -------------------------------------------------------

T = TypeVar("T")


def _each_once(items: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(items)) < len(items):
        raise PydanticCustomError("named_twice", "Name each only once.")
    return items


EachOnce = AfterValidator(_each_once)
"""For a tuple: nothing in it is named twice."""

Day = Annotated[date, Field(ge=date(1850, 1, 1), le=date(2200, 1, 1))]
"""A calendar day, where the time of day does not matter."""

DocumentVersion = Annotated[int, Field(ge=1, le=10_000)]
"""Which wording of a consent document, counted from 1."""

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
"""The SHA-256 of a document's bytes, in lower-case hex."""

Language = Annotated[
    str, StringConstraints(pattern="^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)
]
"""A BCP 47 language tag: `de`, `pt-BR`."""


def in_order(start: str, end: str, *, within: timedelta | None = None) -> Any:
    """A validator for a class: its field `end`, where given, does not lie before `start`; where
    they are `within` a time of each other, neither at the same moment nor further apart."""

    def check(self: Model) -> Model:
        first, last = getattr(self, start), getattr(self, end)
        if first is not None and last is not None:
            if last < first:
                raise PydanticCustomError(
                    "out_of_order", "{end} lies before {start}.", {"start": start, "end": end}
                )
            if within is not None and last == first:
                raise PydanticCustomError(
                    "no_length", "{end} is when {start} is.", {"start": start, "end": end}
                )
            if within is not None and last - first > within:
                raise PydanticCustomError(
                    "too_long",
                    "{end} lies more than {hours} h after {start}.",
                    {"start": start, "end": end, "hours": int(within.total_seconds() // 3600)},
                )
        return self

    return model_validator(mode="after")(check)


class Scope(StrEnum):
    """What a consent may allow (rule 19). Each is asked for, given and withdrawn by itself."""

    TREATMENT = "treatment"
    INFORMATION_SHARING = "information_sharing"
    RECORDING = "recording"
    SUPERVISION_DISCLOSURE = "supervision_disclosure"
    TELEHEALTH = "telehealth"
    OUTCOME_MEASURES = "outcome_measures"
    RESEARCH_PARTICIPATION = "research_participation"
    DATA_REUSE = "data_reuse"
    QUOTATION = "quotation"
    RECONTACT = "recontact"
    INTERPRETER_OR_OBSERVER = "interpreter_or_observer"
    PROCESS_NOTES = "process_notes"
    """Disclosing notes that are kept apart: no other consent covers them (45 CFR 164.508(a)(2),
    42 CFR 2.31(b))."""


# --- What happened --------------------------------------------------------------------------


class ClinicFounded(Event):
    """The clinic, and what it is called."""

    topic = "clinic.founded"

    name: Line


class ConsentDocumentPublished(Event):
    """A wording that people may be asked to consent to, and the scopes it asks for."""

    topic = "consent_document.published"
    # People consented to exactly these bytes: another wording is another version.
    correctable = False

    document: UUID
    version: DocumentVersion
    title: Line
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1), EachOnce]
    sha256: Sha256
    language: Language


class InstrumentLicenceAttested(Event):
    """Somebody answers for the clinic's right to use an instrument."""

    topic = "instrument_licence.attested"

    instrument: Line
    holder: Line
    basis: Text
    valid_from: Day
    expires: Day | None = None
    """The last day of the licence; None: it has none."""

    _period = in_order("valid_from", "expires")


class ImportDeclared(Event):
    """The basis an import stands on; each imported entry has `declaration` as its import_id."""

    topic = "import.declared"
    correctable = False

    declaration: UUID
    origin: Text
    licence: Line
    declared_by_name: Line
    legal_basis: Text
    time_rule: Text
    """The rule by which what came without a time was given one."""


# --- Questions ------------------------------------------------------------------------------


@lru_cache(64)
def clinic_stream(clinic: UUID) -> Stream:
    return Stream("clinic", clinic)


def consent_document(
    history: History, document: UUID, version: int
) -> ConsentDocumentPublished | None:
    """That version of a consent document, if the clinic has published it."""
    for _, published in history.of(ConsentDocumentPublished):
        if (published.document, published.version) == (document, version):
            return published
    return None


def licence_in_force(history: History, on: date, *names: str) -> bool:
    """Rule 34: whether the clinic has attested a licence on that day for an instrument that has
    these names."""
    licences = history.folded(_LICENCES)
    if not licences:
        return False
    return any(
        attested.valid_from <= on and (attested.expires is None or on <= attested.expires)
        for name in names
        for attested in licences.get(name.casefold(), ())
    )


def _licences(history: History) -> Mapping[str, Sequence[InstrumentLicenceAttested]]:
    """By what the instrument is called in it, in small letters."""
    licences: dict[str, list[InstrumentLicenceAttested]] = {}
    for _, attested in history.of(InstrumentLicenceAttested):
        licences.setdefault(attested.instrument.casefold(), []).append(attested)
    return licences


_LICENCES = Fold(_licences, InstrumentLicenceAttested, lasts=True)


def import_declared(history: History, import_id: UUID | None) -> bool:
    """Rule 45: whether the basis of that import is on record."""
    return import_id in history.folded(_DECLARED)


_DECLARED = Fold(
    lambda history: frozenset(one.declaration for _, one in history.of(ImportDeclared)),
    ImportDeclared,
    lasts=True,
)


def require_declared(given: Given) -> None:
    """Rule 45: nothing is imported before the basis of the import is on record."""
    if given.source is not Source.IMPORT:
        return
    if not import_declared(given.history(clinic_stream(given.clinic)), given.import_id):
        raise ImportUndeclared


# --- Refusals -------------------------------------------------------------------------------


class ClinicFoundedAlready(Refusal):
    says = "The clinic was founded before."


class DocumentVersionPublished(Refusal):
    rule = 17
    says = "Version {version} of document {document} is published; publish the next version."


class ImportDeclaredAlready(Refusal):
    rule = 45
    says = "Import {declaration} was declared before; use a new id."


class ImportUndeclared(Refusal):
    rule = 45
    says = "An import first states its basis: declare it, and give its id as import_id."


# --- Commands -------------------------------------------------------------------------------


class FoundClinic(Command):
    """Begin a clinic's record."""

    name = "found-clinic"

    clinic_name: Line

    def decide(self, given: Given) -> Iterator[New]:
        stream = clinic_stream(given.clinic)
        if any(entry.topic == ClinicFounded.topic for entry in given.history(stream)):
            raise ClinicFoundedAlready
        yield New(stream, ClinicFounded(name=self.clinic_name))


class PublishConsentDocument(Command):
    """Publish a consent document, or its next version."""

    name = "publish-consent-document"

    document: UUID = Field(default_factory=new_id)
    version: DocumentVersion = 1
    title: Line
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1), EachOnce]
    sha256: Sha256
    language: Language

    def decide(self, given: Given) -> Iterator[New]:
        stream = clinic_stream(given.clinic)
        if consent_document(given.history(stream), self.document, self.version):
            raise DocumentVersionPublished(document=self.document, version=self.version)
        yield New(
            stream,
            ConsentDocumentPublished(
                document=self.document,
                version=self.version,
                title=self.title,
                scopes=self.scopes,
                sha256=self.sha256,
                language=self.language,
            ),
        )


class AttestInstrumentLicence(Command):
    """Attest that the clinic may use an instrument, and on what basis."""

    name = "attest-instrument-licence"

    instrument: Line
    holder: Line
    basis: Text
    valid_from: Day
    expires: Day | None = None

    _period = in_order("valid_from", "expires")

    def decide(self, given: Given) -> Iterator[New]:
        yield New(
            clinic_stream(given.clinic),
            InstrumentLicenceAttested(
                instrument=self.instrument,
                holder=self.holder,
                basis=self.basis,
                valid_from=self.valid_from,
                expires=self.expires,
            ),
        )


class DeclareImport(Command):
    """State the basis of an import before its first entry."""

    name = "declare-import"

    declaration: UUID = Field(default_factory=new_id)
    origin: Text
    licence: Line
    declared_by_name: Line
    legal_basis: Text
    time_rule: Text

    def decide(self, given: Given) -> Iterator[New]:
        stream = clinic_stream(given.clinic)
        if import_declared(given.history(stream), self.declaration):
            raise ImportDeclaredAlready(declaration=self.declaration)
        yield New(
            stream,
            ImportDeclared(
                declaration=self.declaration,
                origin=self.origin,
                licence=self.licence,
                declared_by_name=self.declared_by_name,
                legal_basis=self.legal_basis,
                time_rule=self.time_rule,
            ),
        )
