"""What the columns of an import's files mean: a mapping, as it stands in a TOML file.

Its format is written down in docs/formats/import-mapping.md.
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from domain import instrument as instruments
from domain.event import Line, Model, Moment, Text
from domain.instrument import Perspective
from domain.session import Medium

Column = Annotated[str, Field(min_length=1, max_length=200)]

_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


class Declaration(Model):
    """What the import stands on (rule 45)."""

    origin: Text
    licence: Line
    declared_by_name: Line
    legal_basis: Text


class TimeRule(Model):
    """The rule by which what has no time is given one.

    Session n of the k-th relationship of its file starts at
    `first` + (k − 1) · `stagger_minutes` + (n − 1) · `every_days`.
    """

    says: Text
    first: Moment
    every_days: Annotated[int, Field(ge=1, le=365)] = 7
    stagger_minutes: Annotated[int, Field(ge=0, le=10_080)] = 0
    length_minutes: Annotated[int, Field(ge=1, le=600)] = 50

    def session(self, relationship: int, number: int) -> tuple[datetime, datetime]:
        """(start, end) of a session; both arguments count from 1."""
        start = (
            self.first
            + self.stagger_minutes * (relationship - 1) * _MINUTE
            + self.every_days * (number - 1) * _DAY
        )
        return start, start + self.length_minutes * _MINUTE


class Relationships(Model):
    """The file that names relationships, a row each."""

    file: Column
    key: Column
    therapist: Column
    client: Column
    modality: Line
    setting: Line


class Sessions(Model):
    """The file that names held sessions, a row each; `number` counts from 1 in a relationship."""

    file: Column
    relationship: Column
    number: Column
    medium: Medium = Medium.NOT_STATED


class Ratings(Model):
    """A file of ratings, a row each, one instrument and perspective."""

    file: Column
    instrument: Line
    perspective: Perspective
    relationship: Column
    session: Column
    items: Annotated[tuple[Column, ...], Field(min_length=1)]
    labels: Mapping[str, int | str] = Field(default_factory=dict)
    """Words of the file → answers of the instrument, where its own labels differ."""
    claims: Mapping[str, Column] = Field(default_factory=dict)
    """Scale of the instrument → the column in which the file gives a score for it."""


class ImportMapping(Model):
    """A whole mapping file."""

    format: Literal["rapport-import/1"]
    declaration: Declaration
    time: TimeRule
    relationships: Relationships
    sessions: Sessions
    ratings: tuple[Ratings, ...] = ()


class MappingBroken(Exception):
    """The mapping cannot be used: the text names the file, the field and the mend."""


def read_mapping(path: Path) -> ImportMapping:
    """The mapping in a TOML file; raises MappingBroken."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        for ratings in raw.get("ratings", ()):
            ratings["items"] = _expanded(ratings.get("items", ()))
        mapping = ImportMapping.model_validate(raw)
    except OSError as error:
        raise MappingBroken(f"{path.name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingBroken(f"{path.name} is not TOML in UTF-8: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MappingBroken(f"{path.name}: {where}: {first['msg']}") from None
    for number, ratings in enumerate(mapping.ratings):
        if problem := _unfit(ratings):
            raise MappingBroken(f"{path.name}: ratings.{number}: {problem}")
    return mapping


def _unfit(ratings: Ratings) -> str | None:
    """What does not fit the instrument; one that is unknown takes whole numbers as they are."""
    try:
        definition = instruments.load(ratings.instrument)
    except instruments.NotAQuestionnaire as refusal:
        return f"instrument: {refusal.detail}"
    except instruments.UnknownInstrument:
        return f"claims: {ratings.instrument} is unknown, so it has no scales." * bool(
            ratings.claims
        )
    if len(ratings.items) not in definition.counts:
        return f"items: {definition.id} has {definition.counted}, not {len(ratings.items)}."
    unknown = sorted(ratings.claims.keys() - definition.scales.keys())
    if unknown:
        known = ", ".join(definition.scales)
        return f"claims: {definition.id} has no scale {unknown[0]}; it has {known}."
    return None


def _expanded(items: object) -> object:
    """`"question{1..36}"` names thirty-six columns."""
    if isinstance(items, str) and (span := re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", items)):
        before, first, last, after = span.groups()
        return [f"{before}{number}{after}" for number in range(int(first), int(last) + 1)]
    return items
