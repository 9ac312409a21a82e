"""A clinic's own licensed wording of items: the file, and the entry that names it by hash."""

import hashlib
from datetime import date, timedelta
from typing import Any

import pytest

from domain.clinic import InstrumentLicenceAttested, clinic_stream
from domain.instrument import KeyOfAnother, load
from domain.text_pack import (
    AdoptTextPack,
    BrokenTextPack,
    TextPackAdopted,
    TextPackAdoptedAlready,
    TextPackNotLicensed,
    read_text_pack,
    text_pack_in_force,
)
from tests.kit import CLINIC, FOUNDED, NOW, OFFICE, given

SRS = load("SRS-3")
PACK = f"""\
format = "rapport-text/1"
instrument = "SRS-3"
key_hash = "{SRS.key_hash}"
language = "de"
credit = "Used by licence of Performance Metrics LLC."
items = ["Erstens", "Zweitens", "Drittens", "Viertens"]
"""

LICENCE = InstrumentLicenceAttested(
    instrument="SRS",
    holder="Performance Metrics LLC",
    basis="Clinic licence 2026-114.",
    valid_from=date(2026, 1, 1),
    expires=date(2026, 12, 31),
)


def adopt(**changes: Any) -> AdoptTextPack:
    fields: dict[str, Any] = {
        "instrument": "srs",
        "key_hash": "1.0",
        "language": "de",
        "sha256": hashlib.sha256(PACK.encode()).hexdigest(),
        "holder": "Performance Metrics LLC",
    }
    return AdoptTextPack(**fields | changes)


def adopted(**changes: Any) -> TextPackAdopted:
    fields = adopt(instrument="SRS-3", key_hash=SRS.key_hash, **changes).model_dump(
        exclude={"occurred_at", "late_reason"}
    )
    return TextPackAdopted(**fields)


# --- The file -------------------------------------------------------------------------------


def test_a_text_pack_is_known_by_the_hash_of_its_bytes() -> None:
    """Rule 34: the record refers to a clinic's own wording, and does not hold it."""
    pack = read_text_pack("srs.toml", PACK.encode())
    assert pack.items == ("Erstens", "Zweitens", "Drittens", "Viertens")
    assert pack.sha256 == hashlib.sha256(PACK.encode()).hexdigest()
    assert pack.sha256 == adopt().sha256
    assert "items" not in TextPackAdopted.model_fields


@pytest.mark.parametrize(
    "sound,broken,field,mend",
    [
        ('format = "rapport-text/1"', 'format = "rapport-text/2"', "format", "rapport-text/1"),
        ('"SRS-3"', '"SRS-9"', "key_hash", "no instrument 'SRS-9'"),
        ('"SRS-3"', '"SWLS"', "key_hash", "SWLS has no key"),
        ('"SRS-3"', '"GAS"', "key_hash", "not a questionnaire"),
        ('"de"', '"German"', "language", "pattern"),
        (', "Viertens"', "", "items", "give 4 texts"),
        ('"Viertens"', '" "', "items.3", "blank"),
        ("credit", "credits", "credit", "required"),
        ('language = "de"', 'language = "de"\nsha256 = "0"', "sha256", "remove it"),
        ("items = [", "items = ", "the file", "not TOML"),
    ],
)
def test_a_broken_text_pack_names_file_field_and_mend(
    sound: str, broken: str, field: str, mend: str
) -> None:
    """Rule 34: wording that does not fit the form it is for is never shown."""
    assert sound in PACK
    with pytest.raises(BrokenTextPack) as error:
        read_text_pack("srs.toml", PACK.replace(sound, broken, 1).encode())
    assert (error.value.file, error.value.field) == ("srs.toml", field)
    assert mend in str(error.value)


def test_bytes_that_are_no_text_are_no_text_pack() -> None:
    """Rule 34: what is not UTF-8 is named as such."""
    with pytest.raises(BrokenTextPack, match=r"srs\.toml: the file: not TOML in UTF-8"):
        read_text_pack("srs.toml", b"\xff")


# --- The entry ------------------------------------------------------------------------------


def test_a_text_pack_is_adopted_under_a_licence_in_force() -> None:
    """Rule 34: by id or alias, while the attestation holds."""
    given(*FOUNDED, LICENCE).when(adopt(), by=OFFICE).then(adopted())
    given(*FOUNDED).when(adopt(), by=OFFICE).refuses(TextPackNotLicensed, instrument="SRS-3")
    expired = LICENCE.model_copy(update={"expires": date(2026, 1, 2)})
    given(*FOUNDED, expired).when(adopt(), by=OFFICE).refuses(TextPackNotLicensed)


def test_no_attestation_is_needed_where_the_licence_asks_for_none() -> None:
    """Rule 34: a translation of a questionnaire that is free with credit."""
    swls = load("SWLS")
    command = adopt(instrument="SWLS", key_hash=swls.key_hash[:10])
    record = given(*FOUNDED).when(command, by=OFFICE).recorded()
    (fact,) = (pack for _, pack in record.history(clinic_stream(CLINIC)).of(TextPackAdopted))
    assert fact.key_hash == swls.key_hash


def test_a_text_pack_of_no_key_is_refused() -> None:
    """Rules 31, 34: the items of which key it words has to be known."""
    given(*FOUNDED, LICENCE).when(adopt(key_hash="9.9"), by=OFFICE).refuses(KeyOfAnother)


def test_the_last_text_pack_of_a_language_is_in_force() -> None:
    """Rule 34: another wording takes its place from then on; the same one is not adopted twice."""
    record = given(*FOUNDED, LICENCE, (adopted(), NOW))
    record.when(adopt(), by=OFFICE).refuses(TextPackAdoptedAlready, instrument="SRS-3")
    later = NOW + timedelta(days=1)
    other = adopted(sha256="0" * 64)
    record = record.and_given((other, later), (adopted(language="en"), later))
    history = record.history(clinic_stream(CLINIC))
    assert text_pack_in_force(history, SRS.key_hash, "de", NOW) == adopted()
    assert text_pack_in_force(history, SRS.key_hash, "de", later) == other
    assert text_pack_in_force(history, SRS.key_hash, "de", NOW - timedelta(days=1)) is None
    assert text_pack_in_force(history, SRS.key_hash, "fr", later) is None
    record.when(adopt(), by=OFFICE, at=later + timedelta(hours=1)).then(adopted())
