"""Text packs: a clinic's own licensed wording of an instrument's items, referred to by hash.

Where a licence does not let item texts be shipped (rule 34), the clinic brings a file of its own,
in the format `rapport-text/1` (docs/formats/instrument.md). The record keeps only which bytes they
were: the wording itself stays with the clinic. Stream: the clinic's.
"""

import hashlib
import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from domain.clinic import Language, Sha256, clinic_stream, licence_in_force
from domain.event import Command, Event, Given, History, Line, Model, New, Refusal, Text
from domain.instrument import Definition, find_key

# --- The file -------------------------------------------------------------------------------


class BrokenTextPack(ValueError):
    """A text pack that cannot be used: which file, which field, what mends it."""

    def __init__(self, file: str, field: str, mend: str) -> None:
        super().__init__(f"{file}: {field}: {mend}")
        self.file, self.field, self.mend = file, field, mend


class TextPack(Model):
    """The wording of one instrument's items in one language."""

    format: Literal["rapport-text/1"]
    instrument: Line
    key_hash: Sha256
    """The key whose items these are, in their order."""
    language: Language
    credit: Text
    """Under what licence, and whose: shown wherever the items are."""
    items: Annotated[tuple[Text, ...], Field(min_length=1, max_length=500)]
    sha256: Sha256
    """Of the file's bytes: what `TextPackAdopted` names."""


def read_text_pack(file: str, data: bytes) -> TextPack:
    """The pack in those bytes; BrokenTextPack names file, field and what mends it."""
    try:
        content: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:  # not UTF-8, or not TOML
        raise BrokenTextPack(file, "the file", f"not TOML in UTF-8: {error}") from error
    if "sha256" in content:
        raise BrokenTextPack(file, "sha256", "remove it: it is that of the file")
    try:
        pack = TextPack.model_validate(content | {"sha256": hashlib.sha256(data).hexdigest()})
    except ValidationError as error:
        first = error.errors()[0]
        raise BrokenTextPack(file, ".".join(map(str, first["loc"])), first["msg"]) from error
    try:
        counts = find_key(pack.instrument, pack.key_hash).counts
    except Refusal as refusal:
        raise BrokenTextPack(file, "key_hash", refusal.detail) from refusal
    if len(pack.items) not in counts:
        raise BrokenTextPack(file, "items", f"give {counts[0]} texts, one for each item")
    return pack


# --- What happened --------------------------------------------------------------------------


class TextPackAdopted(Event):
    """From now on the clinic asks an instrument's items in exactly these words."""

    topic = "text_pack.adopted"
    # People answered exactly these bytes: other words are another pack.
    correctable = False

    instrument: Line
    key_hash: Sha256
    language: Language
    sha256: Sha256
    holder: Line
    """Who holds the rights to the wording."""


def text_pack_in_force(
    history: History, key_hash: str, language: str, at: datetime
) -> TextPackAdopted | None:
    """The pack for that key and language at that time, from the clinic's history: the last one."""
    adopted = [
        pack
        for entry, pack in history.of(TextPackAdopted)
        if (pack.key_hash, pack.language) == (key_hash, language) and entry.occurred_at <= at
    ]
    return adopted[-1] if adopted else None


def is_licensed(history: History, definition: Definition, on: date) -> bool:
    """Rule 34: whether the clinic may use the instrument on that day: by its own terms, or by an
    attestation in the clinic's history, under whichever of its names."""
    if not definition.licence.attestation_required:
        return True
    return licence_in_force(history, on, definition.id, *definition.aliases)


# --- Refusals and the command ---------------------------------------------------------------


class TextPackNotLicensed(Refusal):
    rule = 34
    says = "The clinic has attested no licence for {instrument} that holds on that day."


class TextPackAdoptedAlready(Refusal):
    rule = 34
    says = "These texts of {instrument} are in force already."


class AdoptTextPack(Command):
    """Ask an instrument's items in the clinic's own licensed words."""

    name = "adopt-text-pack"

    instrument: Line
    key_hash: Line
    """The key's hash, the beginning of it, or its version."""
    language: Language
    sha256: Sha256
    holder: Line

    def decide(self, given: Given) -> Iterator[New]:
        stream = clinic_stream(given.clinic)
        history = given.history(stream)
        definition = find_key(self.instrument, self.key_hash)
        if not is_licensed(history, definition, given.at.date()):
            raise TextPackNotLicensed(instrument=definition.id)
        standing = text_pack_in_force(history, definition.key_hash, self.language, given.at)
        if standing is not None and standing.sha256 == self.sha256:
            raise TextPackAdoptedAlready(instrument=definition.id)
        yield New(
            stream,
            TextPackAdopted(
                instrument=definition.id,
                key_hash=definition.key_hash,
                language=self.language,
                sha256=self.sha256,
                holder=self.holder,
            ),
        )
