"""Instruments that are no questionnaires: coding systems, recall procedures, scales of goals.

Each is a TOML file beside the questionnaires, in the format `rapport-procedure/1`
(docs/formats/instrument.md). It holds what the record needs of it: its vocabulary, its rating
scales, its constants. Definitions of the terms are in the manuals, and are not shipped.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from pydantic import Field

from domain.answers import normal_name
from domain.definition import Fact, InstrumentId, Licence, Perspective, Threshold, Version
from domain.event import Model


class Terms(Fact):
    """A closed list of codes, in their published order."""

    codes: tuple[str, ...]


class RatingScale(Fact):
    """Whole numbers from `min` to `max`; the words of some of them, by the number as text."""

    min: int
    max: int
    labels: dict[str, str] = Field(default_factory=dict)


class Constant(Fact):
    """A number that a formula of the procedure uses."""

    value: Decimal


class Procedure(Model):
    """One version of one instrument that is no questionnaire, as its file says."""

    format: Literal["rapport-procedure/1"]
    kind: Literal["coding-system", "recall-procedure", "goal-scale"]
    id: InstrumentId
    version: Version
    aliases: tuple[str, ...] = ()
    name: str
    citation: str
    measures: str
    note: str | None = None
    instead: str
    """What is done with it in place of scoring a form: one sentence."""
    forms: dict[Perspective, str]
    terms: dict[str, Terms] = Field(default_factory=dict)
    ratings: dict[str, RatingScale] = Field(default_factory=dict)
    constants: dict[str, Constant] = Field(default_factory=dict)
    changes: tuple[Threshold, ...] = ()
    """How far goals must have moved for the change to count as more than error of measurement."""
    licence: Licence
    sources: dict[str, str]
    key_hash: str
    """sha256 of the file's bytes in hex."""

    @property
    def said(self) -> str:
        """Its kind in words."""
        return self.kind.replace("-", " ")

    def is_called(self, name: str) -> bool:
        """Whether that is its id or an alias; `name` is normal."""
        return name in map(normal_name, (self.id, *self.aliases))

    def facts(self) -> Iterator[tuple[str, Fact]]:
        """Every fact with the name of its field."""
        for table in ("terms", "ratings", "constants"):
            for name, fact in getattr(self, table).items():
                yield f"{table}.{name}", fact
        for index, change in enumerate(self.changes):
            yield f"changes[{index}]", change
        yield "licence", self.licence

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong with it beyond its shape: the field, and what mends it."""
        if not self.forms:
            yield "forms", "name at least one perspective and its form"
        for name, terms in self.terms.items():
            if len(set(terms.codes)) < len(terms.codes) or not terms.codes:
                yield f"terms.{name}.codes", "name each code once"
        for name, scale in self.ratings.items():
            if scale.min >= scale.max:
                yield f"ratings.{name}", "min must lie below max"
        for field, fact in self.facts():
            if any(source not in self.sources for source in fact.source):
                yield f"{field}.source", "describe each source in [sources]"
            if fact.confidence.verified and not fact.source:
                yield f"{field}.source", f"say where it was {fact.confidence}"
