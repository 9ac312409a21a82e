"""Instruments: questionnaires as data, each a file that is hashed and never edited once used.

A definition is one TOML file of `instruments/` (docs/formats/instrument.md). Its *key hash* is the
sha256 of the file's bytes; a rating names that hash, so its score is the same for ever. Raw items
are the fact: integers in the instrument's scaled unit (tenths where `scale` is 10), None where a
question was not answered. Scores are exact fractions; nothing here is a float.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from domain.answers import normal_name, quoted
from domain.definition import Definition, Perspective, PerspectiveUnknown
from domain.event import Model, Refusal
from domain.procedure import Procedure
from domain.soundness import faults

__all__ = [
    "BrokenDefinition",
    "Definition",
    "KeyOfAnother",
    "NotAQuestionnaire",
    "Perspective",
    "PerspectiveUnknown",
    "Procedure",
    "UnknownInstrument",
    "UnknownKey",
    "catalogue",
    "find_key",
    "load",
    "load_key",
    "markers",
    "procedures",
    "read_definition",
    "read_procedure",
    "strategies",
    "versions",
]

# --- Refusals -------------------------------------------------------------------------------


class UnknownInstrument(Refusal):
    status = 404
    says = "There is no instrument {instrument}; there are {known}."


class NotAQuestionnaire(Refusal):
    """It has no items to be answered and scored; `instead` says what is done with it."""

    rule = 28
    status = 422
    says = "{instrument} is a {kind}, not a questionnaire. {instead}"


class UnknownKey(Refusal):
    """Rule 36: of a rating by such a key only the raw items can be shown."""

    rule = 36
    status = 404
    says = "No scoring key {key_hash} is known here: the raw items stand, without a score."


class KeyOfAnother(Refusal):
    rule = 31
    status = 422
    says = "{instrument} has no key {key}; it has the versions {known}."


class BrokenDefinition(ValueError):
    """A definition file that cannot be used: which file, which field, what mends it."""

    def __init__(self, file: str, field: str, mend: str) -> None:
        super().__init__(f"{file}: {field}: {mend}")
        self.file, self.field, self.mend = file, field, mend


# --- Reading a file -------------------------------------------------------------------------

M = TypeVar("M", bound=Model)


def read_definition(file: str, data: bytes) -> Definition:
    """The definition in those bytes; BrokenDefinition names file, field and what mends it."""
    definition = _read(Definition, file, _content(file, data), data)
    for field, mend in faults(definition):
        raise BrokenDefinition(file, field, mend)
    _require_name(file, definition.id, definition.version)
    return definition


def read_procedure(file: str, data: bytes) -> Procedure:
    """The procedure in those bytes; BrokenDefinition names file, field and what mends it."""
    procedure = _read(Procedure, file, _content(file, data), data)
    for field, mend in procedure.faults():
        raise BrokenDefinition(file, field, mend)
    _require_name(file, procedure.id, procedure.version)
    return procedure


def _content(file: str, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except ValueError as error:  # not UTF-8, or not TOML
        raise BrokenDefinition(file, "the file", f"not TOML in UTF-8: {error}") from error


def _read(kind: type[M], file: str, content: dict[str, Any], data: bytes) -> M:
    if "key_hash" in content:
        raise BrokenDefinition(file, "key_hash", "remove it: it is the sha256 of the file")
    try:
        return kind.model_validate(content | {"key_hash": hashlib.sha256(data).hexdigest()})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BrokenDefinition(file, field, first["msg"]) from error


def _require_name(file: str, id_: str, version: str) -> None:
    if file != f"{id_}-{version}.toml":
        raise BrokenDefinition(file, "id", "the file is called <id>-<version>.toml")


# --- What there is --------------------------------------------------------------------------


@cache
def _names() -> tuple[str, ...]:
    """Of every file that is shipped."""
    entries = (files("domain") / "instruments").iterdir()
    return tuple(sorted(entry.name for entry in entries if entry.name.endswith(".toml")))


@cache
def _read_file(name: str) -> Definition | Procedure:
    data = (files("domain") / "instruments" / name).read_bytes()
    if b'format = "rapport-procedure/1"' in data:
        return read_procedure(name, data)
    return read_definition(name, data)


def _among(names: Iterable[str]) -> tuple[list[Definition], list[Procedure]]:
    """The definitions in those files, by id and rising version; and the procedures, by id."""
    found = [_read_file(name) for name in names]
    definitions = [one for one in found if isinstance(one, Definition)]
    definitions.sort(key=lambda definition: (definition.id, definition.release))
    return definitions, [one for one in found if isinstance(one, Procedure)]


@cache
def _shipped() -> tuple[tuple[Definition, ...], Mapping[str, Procedure]]:
    """Every definition in the package, by id and rising version; and every procedure by id."""
    definitions, found = _among(_names())
    return tuple(definitions), MappingProxyType({one.id: one for one in found})


@cache
def _by_key() -> Mapping[str, Definition]:
    return MappingProxyType({definition.key_hash: definition for definition in _shipped()[0]})


@cache
def catalogue() -> Mapping[str, Definition]:
    """The newest version of every questionnaire, by id."""
    return MappingProxyType({definition.id: definition for definition in _shipped()[0]})


@lru_cache(1024)
def _called(name: str) -> tuple[tuple[Definition, ...], tuple[Procedure, ...]]:
    """What has that name as its id or alias: definitions, the newest first; procedures."""
    wanted = normal_name(name)
    own = [name for name in _names() if normal_name(name.rpartition("-")[0]) == wanted]
    definitions, found = _among(own or _names())  # an id is its files' name: no other is read
    return (
        tuple(one for one in reversed(definitions) if one.is_called(wanted)),
        tuple(one for one in found if one.is_called(wanted)),
    )


def procedures() -> Mapping[str, Procedure]:
    """What is an instrument without being a questionnaire, by id."""
    return _shipped()[1]


def versions(instrument: str) -> tuple[Definition, ...]:
    """Every version of a questionnaire, rising; UnknownInstrument, NotAQuestionnaire."""
    id_ = load(instrument).id
    return tuple(definition for definition in _shipped()[0] if definition.id == id_)


def load(instrument: str, version: str | None = None) -> Definition:
    """A questionnaire by id or alias, in any case; the newest version unless one is named.

    UnknownInstrument; NotAQuestionnaire says what is done with an instrument that is none.
    """
    definitions, found = _called(instrument)
    for definition in definitions:
        if version in (None, definition.version):
            return definition
    for procedure in found:
        raise NotAQuestionnaire(
            instrument=procedure.id, kind=procedure.said, instead=procedure.instead
        )
    asked = instrument if version is None else f"{instrument} {version}"
    known = sorted([*catalogue(), *procedures()])
    raise UnknownInstrument(instrument=quoted(asked), known=", ".join(known))


def load_key(key_hash: str) -> Definition:
    """The definition with that key hash; UnknownKey if none is known (rule 36)."""
    definition = _by_key().get(key_hash)
    if definition is None:
        raise UnknownKey(key_hash=quoted(key_hash, 64))
    return definition


_SHORTEST_PREFIX = 8


def find_key(instrument: str, key: str) -> Definition:
    """A questionnaire's key by its version, its hash, or the first 8 or more digits of the hash.

    UnknownInstrument, NotAQuestionnaire; KeyOfAnother if that instrument has no such key.
    """
    keys = versions(instrument)
    for definition in keys:
        begins = len(key) >= _SHORTEST_PREFIX and definition.key_hash.startswith(key.lower())
        if begins or key == definition.version:
            return definition
    known = ", ".join(definition.version for definition in keys)
    raise KeyOfAnother(instrument=keys[0].id, key=quoted(key, 64), known=known)


# --- The vocabulary of ruptures -------------------------------------------------------------


def markers(kind: Literal["withdrawal", "confrontation"]) -> tuple[str, ...]:
    """Codes of the rupture markers of that kind in the 3RS, in the order of its manual.

    Names only: what each means is in the manual, and a rater is trained with it (rule 39).
    """
    return procedures()["3RS"].terms[kind].codes


def strategies() -> tuple[str, ...]:
    """Codes of the 3RS's strategies for resolving a rupture, in the order of its manual."""
    return procedures()["3RS"].terms["resolution"].codes
