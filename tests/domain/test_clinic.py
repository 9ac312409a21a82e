"""The clinic's own stream: documents, licences, imports."""

from datetime import date, timedelta
from uuid import UUID

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.clinic import (
    AttestInstrumentLicence,
    ClinicFounded,
    ClinicFoundedAlready,
    ConsentDocumentPublished,
    DeclareImport,
    DocumentVersionPublished,
    FoundClinic,
    ImportDeclaredAlready,
    ImportUndeclared,
    InstrumentLicenceAttested,
    PublishConsentDocument,
    Scope,
    clinic_stream,
    consent_document,
    import_declared,
    licence_in_force,
)
from domain.event import Source
from tests.kit import (
    CLINIC,
    DOCUMENT,
    FOUNDED,
    IMPORT,
    IMPORT_DECLARED,
    SHA256,
    given,
    named,
    published,
)

FIRST_DAY, LAST_DAY = date(2026, 1, 1), date(2026, 12, 31)


def publish(version: int = 1, *scopes: Scope, sha256: str = SHA256) -> PublishConsentDocument:
    return PublishConsentDocument(
        document=DOCUMENT,
        version=version,
        title="What we agree on",
        scopes=scopes or published().scopes,
        sha256=sha256,
        language="en",
    )


def attest(
    expires: date | None = LAST_DAY, valid_from: date = FIRST_DAY
) -> AttestInstrumentLicence:
    return AttestInstrumentLicence(
        instrument="wai-sr",
        holder="Practice at the Park",
        basis="Permission of the authors, on file.",
        valid_from=valid_from,
        expires=expires,
    )


def declare(declaration: UUID = IMPORT) -> DeclareImport:
    return DeclareImport(
        declaration=declaration,
        origin=IMPORT_DECLARED.origin,
        licence=IMPORT_DECLARED.licence,
        declared_by_name=IMPORT_DECLARED.declared_by_name,
        legal_basis=IMPORT_DECLARED.legal_basis,
        time_rule=IMPORT_DECLARED.time_rule,
    )


def test_a_clinic_is_founded_once() -> None:
    """A clinic's record has one beginning."""
    founding = FoundClinic(clinic_name="Practice at the Park")
    record = given().when(founding).then(ClinicFounded(name="Practice at the Park"))
    record.when(founding).refuses(ClinicFoundedAlready)


def test_a_published_version_is_never_published_again() -> None:
    """Rule 17: an exact document version has one wording for ever."""
    record = given().when(publish()).then(published())
    record.when(publish(sha256="0f" * 32)).refuses(
        DocumentVersionPublished, document=DOCUMENT, version=1
    )
    record.when(publish(version=2, sha256="0f" * 32)).then(published(version=2, sha256="0f" * 32))


def test_a_document_is_found_by_its_exact_version() -> None:
    """Rule 17: consent refers to an exact document version."""
    history = given(published(), published(Scope.TREATMENT, version=2)).history(
        clinic_stream(CLINIC)
    )
    second = consent_document(history, DOCUMENT, 2)
    assert second is not None
    assert second.scopes == (Scope.TREATMENT,)
    assert consent_document(history, DOCUMENT, 3) is None
    assert consent_document(history, named("another document"), 1) is None


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "5E" * 32},
        {"sha256": "5e" * 31},
        {"scopes": []},
        {"scopes": ["treatment", "treatment"]},
        {"language": "the usual one"},
        {"version": 0},
        {"version": 2**70},
    ],
)
def test_a_document_is_named_exactly(change: dict[str, object]) -> None:
    """Rule 17: a sha256, a version and a scope that cannot be are refused where they are sent."""
    with pytest.raises(ValidationError):
        PublishConsentDocument.model_validate(publish().model_dump() | change)


def test_a_licence_is_attested_with_holder_and_basis() -> None:
    """Rule 34: instrument, holder, basis and period are all on record."""
    given().when(attest()).then(
        InstrumentLicenceAttested(
            instrument="wai-sr",
            holder="Practice at the Park",
            basis="Permission of the authors, on file.",
            valid_from=FIRST_DAY,
            expires=LAST_DAY,
        )
    )


def test_a_licence_does_not_end_before_it_begins() -> None:
    """Rule 34: a period that cannot be is refused, in a command as in a corrected entry."""
    with pytest.raises(ValidationError, match="expires lies before valid_from"):
        attest(expires=FIRST_DAY - timedelta(days=1))
    with pytest.raises(ValidationError, match="expires lies before valid_from"):
        InstrumentLicenceAttested(
            instrument="wai-sr", holder="x", basis="y", valid_from=LAST_DAY, expires=FIRST_DAY
        )


@for_all(st.dates(date(2025, 1, 1), date(2027, 12, 31)))
@example(FIRST_DAY)
@example(LAST_DAY)
def test_a_licence_holds_from_its_first_to_its_last_day(day: date) -> None:
    """Rule 34: the licence is valid on the day of use, its first and last day included."""
    history = given(attest()).history(clinic_stream(CLINIC))
    assert licence_in_force(history, day, "wai-sr") == (FIRST_DAY <= day <= LAST_DAY)
    assert not licence_in_force(history, day, "wai-36")


def test_a_licence_without_an_end_holds_on() -> None:
    """Rule 34: a perpetual licence is one without `expires`; a lapsed one may be followed by it."""
    record = given(attest(), attest(expires=None, valid_from=date(2027, 3, 1)))
    history = record.history(clinic_stream(CLINIC))
    assert not licence_in_force(history, date(2027, 2, 28), "wai-sr")
    assert licence_in_force(history, date(2099, 1, 1), "wai-sr")


def test_an_import_states_its_basis_once() -> None:
    """Rule 45: source, licence, who, legal basis and time rule, under an id of its own."""
    record = given().when(declare(), imported=True).recorded()
    assert import_declared(record.history(clinic_stream(CLINIC)), IMPORT)
    record.when(declare()).refuses(ImportDeclaredAlready, declaration=IMPORT)
    given().when(declare()).then(IMPORT_DECLARED)
    assert not import_declared(record.history(clinic_stream(CLINIC)), named("another import"))


def test_nothing_is_imported_before_its_basis_is_declared() -> None:
    """Rule 45: every imported entry refers to an import that was declared."""
    given().when(attest(), imported=True).refuses(ImportUndeclared)
    imported = given(IMPORT_DECLARED).when(attest(), imported=True)
    assert imported.event.import_id == IMPORT
    assert imported.recorded().entries[-1].source is Source.IMPORT


def test_a_clinic_may_be_named_after_its_documents() -> None:
    """What was published first does not keep a clinic from being founded."""
    given(published()).when(FoundClinic(clinic_name="Practice at the Park")).then(
        ClinicFounded(name="Practice at the Park")
    )


def test_the_clinic_outlives_the_erasure_of_its_content() -> None:
    """Rule 9: whatever of the clinic's stream is erased, its questions still have answers."""
    record = given(*FOUNDED, attest(), IMPORT_DECLARED).erased(None)
    history = record.history(clinic_stream(CLINIC))
    assert consent_document(history, DOCUMENT, 1) is None
    assert not licence_in_force(history, FIRST_DAY, "wai-sr")
    assert not import_declared(history, IMPORT)
    record.when(FoundClinic(clinic_name="Again")).refuses(ClinicFoundedAlready)
    record.when(publish()).then(published())


def test_what_people_consented_to_is_not_reworded() -> None:
    """Rule 17: a published document is followed by a version, never corrected."""
    assert not ConsentDocumentPublished.correctable
