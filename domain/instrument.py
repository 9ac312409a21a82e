"""Instruments: questionnaires as data, each a file that is hashed and never edited once used.

A definition is one TOML file of `instruments/` (docs/formats/instrument.md). Its *key hash* is the
sha256 of the file's bytes; a rating names that hash, so its score is the same for ever. Raw items
are the fact: integers in the instrument's scaled unit (tenths where `scale` is 10), None where a
question was not answered. Scores are exact fractions; nothing here is a float.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from domain.event import Model, Refusal

# --- Refusals -------------------------------------------------------------------------------


class UnknownInstrument(Refusal):
    status = 404
    says = "There is no instrument {instrument}; there are {known}."


class UnknownKey(Refusal):
    """Rule 36: of a rating by such a key only the raw items can be shown."""

    rule = 36
    status = 404
    says = "No scoring key {key_hash} is known here: the raw items stand, without a score."


class PerspectiveUnknown(Refusal):
    rule = 28
    status = 422
    says = "{instrument} has no form for the perspective {perspective}; it has {known}."


class BrokenDefinition(ValueError):
    """A definition file that cannot be used: which file, which field, what mends it."""

    def __init__(self, file: str, field: str, mend: str) -> None:
        super().__init__(f"{file}: {field}: {mend}")
        self.file, self.field, self.mend = file, field, mend


# --- The definition, field by field as it stands in its file --------------------------------


class Perspective(StrEnum):
    """Whose view of the hour a form asks for."""

    CLIENT = "client"
    THERAPIST = "therapist"
    OBSERVER = "observer"
    SUPERVISOR = "supervisor"
    PARENT = "parent"
    COLLATERAL = "collateral"
    JOINT = "joint"


class Confidence(StrEnum):
    """How well a fact is known. What was neither read nor recomputed is unverified."""

    READ = "read"
    COMPUTED = "verified-by-computation"
    KNOWN_WELL = "own-knowledge-high"
    KNOWN_FAIRLY = "own-knowledge-medium"
    KNOWN_POORLY = "own-knowledge-low"
    UNKNOWN = "unknown"

    @property
    def verified(self) -> bool:
        return self in (Confidence.READ, Confidence.COMPUTED)


Since = date | Literal["publication"]
"""From when a rule holds; `publication`: no change is known, it holds for every date."""


class Fact(Model):
    """A statement about an instrument, with where it stands and how well it is known."""

    confidence: Confidence
    source: tuple[str, ...] = ()
    note: str | None = None


class Items(Fact):
    count: Annotated[int, Field(ge=1)]


class Response(Fact):
    """The answers an item takes, in the instrument's own units; stored times `scale`."""

    kind: Literal["choice", "visual-analogue"]
    min: Decimal
    max: Decimal
    step: Decimal = Decimal(1)
    scale: Literal[1, 10, 100] = 1
    labels: dict[str, str] = Field(default_factory=dict)
    """The words of the scale, by the number (as text) that each stands for."""

    @property
    def low(self) -> int:
        return int(self.min * self.scale)

    @property
    def high(self) -> int:
        return int(self.max * self.scale)

    @property
    def stride(self) -> int:
        return int(self.step * self.scale)

    def takes(self, item: int) -> bool:
        """Whether that scaled integer is an answer."""
        return self.low <= item <= self.high and (item - self.low) % self.stride == 0

    def shown(self, item: int) -> str:
        """A scaled integer in the instrument's own units: 88 tenths are `8.8`."""
        return f"{Decimal(item).scaleb(-(len(str(self.scale)) - 1)):f}"


class Reverse(Fact):
    items: tuple[int, ...]
    """Numbers of the items that count as min + max − answer."""


class Scoring(Fact):
    metric: Literal["sum", "mean"]
    multiplier: Annotated[int, Field(ge=1)] = 1
    direction: Literal["higher-better", "lower-better"] | None = None


class Scale(Fact):
    """A total or subscale: over items, or the sum of other scales."""

    items: tuple[int, ...] = ()
    sum_of: tuple[str, ...] = ()
    range: tuple[Decimal, Decimal]


class MissingRule(Fact):
    """Up to how many unanswered items a scale is prorated by its mean; beyond that, no score."""

    effective_from: Since
    prorate_up_to: dict[str, Annotated[int, Field(ge=0)]]


class Dated(Fact):
    effective_from: Since
    effective_until: date | None = None
    population: str | None = None

    def in_force(self, at: date | None) -> bool:
        """At that date; without one, today's rule: whatever has no end."""
        if at is None:
            return self.effective_until is None
        begun = self.effective_from == "publication" or self.effective_from <= at
        return begun and (self.effective_until is None or at < self.effective_until)


class CutOff(Dated):
    """A published threshold on one scale, or on each of some items."""

    scale: str | None = None
    items: tuple[int, ...] = ()
    operator: Literal["<", "<=", ">", ">="]
    value: Decimal
    meaning: str


class Band(Model):
    low: Decimal
    high: Decimal
    label: str


class BandSet(Dated):
    """Published words for ranges of one scale, bounds included; a gap between bands stays one."""

    name: str
    scale: str
    bands: tuple[Band, ...]


class ItemText(Fact):
    language: str
    credit: str
    items: tuple[str, ...]


class Licence(Fact):
    """On what terms an instrument may be used (rule 34)."""

    state: Literal[
        "permission-required",
        "licence-required",
        "free-with-credit",
        "open-licence",
        "public-domain",
        "unknown",
    ]
    statement: str
    holder: str | None = None
    ship_item_text: bool

    @property
    def attestation_required(self) -> bool:
        """Whether a clinic must state its permission before it uses the instrument."""
        return self.state in ("permission-required", "licence-required", "unknown")


class Definition(Model):
    """One version of one instrument, as its file says."""

    format: Literal["rapport-instrument/1"]
    id: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*\.[0-9]+$")]
    aliases: tuple[str, ...] = ()
    name: str
    citation: str
    measures: str
    """The construct: alliance, wellbeing, outcome, rupture, goal …"""
    note: str | None = None
    forms: dict[Perspective, str]
    items: Items
    response: Response
    reverse: Reverse
    scoring: Scoring
    scales: dict[str, Scale]
    missing: tuple[MissingRule, ...]
    cutoffs: tuple[CutOff, ...] = ()
    bands: tuple[BandSet, ...] = ()
    text: ItemText | None = None
    licence: Licence
    sources: dict[str, str]
    key_hash: str
    """sha256 of the file's bytes in hex: a published definition is not personal data."""

    @property
    def verified(self) -> bool:
        """Whether every fact that a score rests on was read or recomputed."""
        facts = (self.items, self.response, self.reverse, self.scoring, *self.scales.values())
        return all(fact.confidence.verified for fact in facts)

    @property
    def metric(self) -> str:
        """`sum`, `mean`, or as `mean x 10`."""
        times = self.scoring.multiplier
        return self.scoring.metric if times == 1 else f"{self.scoring.metric} x {times}"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version; scores of different majors are not comparable (rule 32)."""
        major, minor = self.version.split(".")
        return int(major), int(minor)

    def perspective(self, name: str) -> Perspective:
        """That perspective, if there is a form for it; PerspectiveUnknown otherwise."""
        for perspective in self.forms:
            if perspective == name:
                return perspective
        raise PerspectiveUnknown(
            instrument=self.id, perspective=quoted(name), known=", ".join(self.forms)
        )

    def missing_rule(self, at: date | None) -> MissingRule:
        """The rule in force at that date; without one, the newest."""
        begun = [
            rule
            for rule in self.missing
            if at is None or rule.effective_from == "publication" or rule.effective_from <= at
        ]
        return begun[-1]

    def facts(self) -> Iterator[tuple[str, Fact]]:
        """Every fact with the name of its field."""
        for name in ("items", "response", "reverse", "scoring", "text", "licence"):
            fact = getattr(self, name)
            if fact is not None:
                yield name, fact
        for name, scale in self.scales.items():
            yield f"scales.{name}", scale
        for table in ("missing", "cutoffs", "bands"):
            for index, fact in enumerate(getattr(self, table)):
                yield f"{table}[{index}]", fact


# --- Loading --------------------------------------------------------------------------------


def read_definition(file: str, data: bytes) -> Definition:
    """The definition in those bytes; BrokenDefinition names file, field and what mends it."""
    try:
        content = tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except ValueError as error:  # not UTF-8, or not TOML
        raise BrokenDefinition(file, "the file", f"not TOML in UTF-8: {error}") from error
    if "key_hash" in content:
        raise BrokenDefinition(file, "key_hash", "remove it: it is the sha256 of the file")
    content["key_hash"] = hashlib.sha256(data).hexdigest()
    try:
        definition = Definition.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BrokenDefinition(file, field, first["msg"]) from error
    for field, mend in _faults(definition):
        raise BrokenDefinition(file, field, mend)
    if file != f"{definition.id}-{definition.version}.toml":
        raise BrokenDefinition(file, "id", "the file is called <id>-<version>.toml")
    return definition


@cache
def _shipped() -> tuple[Definition, ...]:
    """Every definition in the package, by id and rising version."""
    folder = files("domain") / "instruments"
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
    definitions = [read_definition(entry.name, entry.read_bytes()) for entry in found]
    return tuple(sorted(definitions, key=lambda definition: (definition.id, definition.release)))


@cache
def catalogue() -> Mapping[str, Definition]:
    """The newest version of every instrument, by id."""
    return MappingProxyType({definition.id: definition for definition in _shipped()})


def load(instrument: str, version: str | None = None) -> Definition:
    """An instrument by id or alias, in any case; the newest version unless one is named."""
    wanted = instrument.casefold()
    for definition in reversed(_shipped()):
        names = (definition.id, *definition.aliases)
        if wanted in map(str.casefold, names) and version in (None, definition.version):
            return definition
    asked = instrument if version is None else f"{instrument} {version}"
    raise UnknownInstrument(instrument=quoted(asked), known=", ".join(catalogue()))


def load_key(key_hash: str) -> Definition:
    """The definition with that key hash; UnknownKey if none is known (rule 36)."""
    for definition in _shipped():
        if definition.key_hash == key_hash:
            return definition
    raise UnknownKey(key_hash=quoted(key_hash, 64))


# --- What a sound definition must also be: each fault is a field and what mends it ----------

_Faults = Iterator[tuple[str, str]]


def _faults(definition: Definition) -> _Faults:
    yield from _faults_of_response(definition.response)
    yield from _faults_of_items(definition)
    yield from _faults_of_scales(definition)
    yield from _faults_of_missing(definition)
    yield from _faults_of_readings(definition)
    yield from _faults_of_sources(definition)
    if not definition.forms:
        yield "forms", "name at least one perspective and its form"
    text = definition.text
    if text is not None and not definition.licence.ship_item_text:
        yield "text", "remove it: the licence does not let item texts be shipped"
    if text is not None and len(text.items) != definition.items.count:
        yield "text.items", f"give {definition.items.count} texts, one for each item"


def _faults_of_response(response: Response) -> _Faults:
    if response.step <= 0 or response.min >= response.max:
        yield "response", "min must lie below max, and step above 0"
        return
    for name in ("min", "max", "step"):
        if getattr(response, name) * response.scale % 1:
            yield f"response.{name}", "times scale it must be a whole number"
            return
    if (response.high - response.low) % response.stride:
        yield "response.step", "max must lie a whole number of steps above min"
    for number in response.labels:
        exact = exact_number(number)
        if exact is None or scaled(response, exact) is None:
            yield f"response.labels.{number}", "a label belongs to an answer of the scale"
    words = [normal_word(label) for label in response.labels.values()]
    if len(set(words)) < len(words) or any(exact_number(word) is not None for word in words):
        yield "response.labels", "labels must differ and must not be numbers"


def _faults_of_items(definition: Definition) -> _Faults:
    numbered: list[tuple[str, tuple[int, ...]]] = [("reverse.items", definition.reverse.items)]
    numbered += [(f"scales.{name}.items", s.items) for name, s in definition.scales.items()]
    numbered += [(f"cutoffs[{i}].items", c.items) for i, c in enumerate(definition.cutoffs)]
    for field, items in numbered:
        if len(set(items)) < len(items):
            yield field, "name each item once"
        if any(not 1 <= item <= definition.items.count for item in items):
            yield field, f"items are numbered from 1 to {definition.items.count}"


def _faults_of_scales(definition: Definition) -> _Faults:
    scales = definition.scales
    if not scales:
        yield "scales", "name at least one scale"
    for name, scale in scales.items():
        field = f"scales.{name}"
        if bool(scale.items) == bool(scale.sum_of):
            yield field, "give either items or sum_of"
            return
        if any(part not in scales or not scales[part].items for part in scale.sum_of):
            yield f"{field}.sum_of", "name scales of this file that have items of their own"
            return
        if scale.sum_of and definition.scoring.metric != "sum":
            yield f"{field}.sum_of", "only sums add up; give items"
        bounds = _bounds(definition, scale)
        if tuple(map(Fraction, scale.range)) != bounds:
            yield f"{field}.range", f"by items and answers it runs from {bounds[0]} to {bounds[1]}"


def _bounds(definition: Definition, scale: Scale) -> tuple[Fraction, Fraction]:
    parts = [definition.scales[part].items for part in scale.sum_of] or [scale.items]
    counted = sum(map(len, parts)) if definition.scoring.metric == "sum" else 1
    times = counted * definition.scoring.multiplier
    return Fraction(definition.response.min) * times, Fraction(definition.response.max) * times


def _faults_of_missing(definition: Definition) -> _Faults:
    begins = [rule.effective_from for rule in definition.missing]
    dates = [begin for begin in begins if begin != "publication"]
    if begins[:1] != ["publication"] or len(dates) != len(begins) - 1:
        yield "missing", 'the first rule, and no other, holds from "publication"'
    if any(later <= earlier for earlier, later in pairwise(dates)):
        yield "missing", "put the rules in order of effective_from"
    for index, rule in enumerate(definition.missing):
        field = f"missing[{index}].prorate_up_to"
        if rule.prorate_up_to.keys() != definition.scales.keys():
            yield field, "name every scale, and nothing else"
            return
        for name, limit in rule.prorate_up_to.items():
            items = definition.scales[name].items
            if items and limit >= len(items):
                yield f"{field}.{name}", "a mean needs at least one answer"


def _faults_of_readings(definition: Definition) -> _Faults:
    for index, cutoff in enumerate(definition.cutoffs):
        if (cutoff.scale is None) != bool(cutoff.items):
            yield f"cutoffs[{index}]", "give either scale or items"
        elif cutoff.scale is not None and cutoff.scale not in definition.scales:
            yield f"cutoffs[{index}].scale", "name a scale of this file"
    for index, bands in enumerate(definition.bands):
        if bands.scale not in definition.scales:
            yield f"bands[{index}].scale", "name a scale of this file"
        edges = [edge for band in bands.bands for edge in (band.low, band.high)]
        ordered = all(edge <= later for edge, later in pairwise(edges))
        apart = all(band.high < later.low for band, later in pairwise(bands.bands))
        if not (ordered and apart):
            yield f"bands[{index}].bands", "put the bands in rising order, without overlap"


def _faults_of_sources(definition: Definition) -> _Faults:
    for field, fact in definition.facts():
        if any(source not in definition.sources for source in fact.source):
            yield f"{field}.source", "describe each source in [sources]"
        if fact.confidence.verified and not fact.source:
            yield f"{field}.source", f"say where it was {fact.confidence}"


# --- Answers as people write them -----------------------------------------------------------

_DECIMAL = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)


def exact_number(answer: object) -> Decimal | None:
    """The exact value of a number or of plain decimal text; None for anything else."""
    if isinstance(answer, str) and _DECIMAL.fullmatch(answer.strip()):
        return Decimal(answer.strip())
    if isinstance(answer, bool) or not isinstance(answer, int | float | Decimal):
        return None
    exact = Decimal(repr(answer)) if isinstance(answer, float) else Decimal(answer)
    return exact if exact.is_finite() else None


def scaled(response: Response, exact: Decimal) -> int | None:
    """The raw item of that value; None if it lies outside the scale or between two steps."""
    exponent = exact.as_tuple().exponent
    # The bound on the exponent keeps 1E-999999999 from becoming a fraction of a billion digits.
    if not response.min <= exact <= response.max or abs(int(exponent)) > 20:
        return None
    item = Fraction(exact) * response.scale
    return int(item) if item.denominator == 1 and response.takes(int(item)) else None


def normal_word(label: str) -> str:
    return " ".join(label.casefold().split())


def quoted(sent: object, length: int = 40) -> str:
    """What was sent, short and with nothing in it that a log or a terminal would obey."""
    if isinstance(sent, str):
        return ascii(sent[:length]) + ("..." if len(sent) > length else "")
    if isinstance(sent, bool | float | Decimal) or sent is None:
        return cut_short(str(sent).lower())
    return f"a {type(sent).__name__}"


def cut_short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."
