"""The definition of an instrument: what its file says, field by field.

Every statement is a *fact* with its source and how well it is known. Values are exact: decimals in
the instrument's own units, raw items as integers times `scale`. docs/formats/instrument.md is the
format.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StringConstraints

from domain.answers import normal_name, quoted
from domain.event import Model, Refusal


class PerspectiveUnknown(Refusal):
    rule = 28
    status = 422
    says = "{instrument} has no form for the perspective {perspective}; it has {known}."


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


InstrumentId = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9-]*$")]
Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*\.[0-9]+$")]
ItemNumber = Annotated[int, Field(ge=1)]
"""Items are numbered from 1."""

Since = date | Literal["publication"]
"""From when a rule holds; `publication`: no change is known, it holds for every date."""

Operator = Literal["<", "<=", ">", ">="]

_COMPARE: Mapping[str, Callable[[Fraction, Fraction], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)


@lru_cache(4096)
def exact(value: Decimal) -> Fraction:
    """The value as a fraction: of the few that definitions state, again and again."""
    return Fraction(value)


@lru_cache(4096)
def as_given(item: int, scale: int) -> Fraction:
    """A raw item in the instrument's own units."""
    return Fraction(item, scale)


# --- Facts ----------------------------------------------------------------------------------


class Fact(Model):
    """A statement about an instrument, with where it stands and how well it is known."""

    confidence: Confidence
    source: tuple[str, ...] = ()
    note: str | None = None


class Dated(Fact):
    """A fact that holds from a day on, perhaps for some people only."""

    effective_from: Since
    effective_until: date | None = None
    population: str | None = None

    def in_force(self, at: date | None) -> bool:
        """At that date; without one, today's rule: whatever has no end."""
        if at is None:
            return self.effective_until is None
        begun = self.effective_from == "publication" or self.effective_from <= at
        return begun and (self.effective_until is None or at < self.effective_until)


class Threshold(Dated):
    """A published value, with the operator by which it is compared and what it then means."""

    operator: Operator
    value: Decimal
    meaning: str

    def met(self, value: Fraction) -> bool:
        """Whether that value stands to the threshold as its operator says."""
        return _COMPARE[self.operator](value, exact(self.value))


class Items(Fact):
    count: ItemNumber
    optional: Annotated[int, Field(ge=0)] = 0
    """Further questions at the end of the form: they may be left out, and enter no scale."""


class Response(Fact):
    """The answers an item takes, in the instrument's own units; stored times `scale`."""

    kind: Literal["choice", "visual-analogue", "whole-number"]
    """`whole-number`: what may be answered is not known; the bounds are those of storing it."""
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

    def item(self, exact: Decimal) -> int | None:
        """The raw item of that value; None if it lies outside the scale or between two steps."""
        exponent = exact.as_tuple().exponent
        # The bound on the exponent keeps 1E-999999999 from becoming a fraction of a billion digits.
        if not self.min <= exact <= self.max or abs(int(exponent)) > 20:
            return None
        found = Fraction(exact) * self.scale
        return int(found) if found.denominator == 1 and self.takes(int(found)) else None

    def shown(self, item: int) -> str:
        """A scaled integer in the instrument's own units: 88 tenths are `8.8`."""
        if self.scale == 1:
            return str(item)
        return f"{Decimal(item).scaleb(-(len(str(self.scale)) - 1)):f}"


class OtherResponse(Response):
    """What some items take that answer on another scale than the rest."""

    items: tuple[ItemNumber, ...]


class Asked(Fact):
    """Items that are only asked where another item was answered in one way."""

    items: tuple[ItemNumber, ...]
    where: ItemNumber
    answered: Decimal


class Reverse(Fact):
    items: tuple[int, ...]
    """Numbers of the items that count as min + max − answer."""


class Metric(NamedTuple):
    """How a scale's number is made of its items: their sum or mean, times something."""

    of: Literal["sum", "mean"]
    times: int = 1

    def __str__(self) -> str:
        return self.of if self.times == 1 else f"{self.of} x {self.times}"


class Scoring(Fact):
    metric: Literal["sum", "mean"]
    multiplier: Annotated[int, Field(ge=1)] = 1
    direction: Literal["higher-better", "lower-better"] | None = None


class Scale(Fact):
    """A total or subscale: over items, or the sum of other scales.

    Where sources report it both as a sum and as a mean, a second scale `restates` it in the other
    metric: given beside it, on no axis. Otherwise its metric is that of the instrument.
    """

    items: tuple[int, ...] = ()
    sum_of: tuple[str, ...] = ()
    metric: Literal["sum", "mean"] | None = None
    multiplier: Annotated[int, Field(ge=1)] = 1
    restates: str | None = None
    range: tuple[Decimal, Decimal]


class MissingRule(Fact):
    """Up to how many unanswered items a scale is prorated by its mean; beyond that, no score."""

    effective_from: Since
    prorate_up_to: dict[str, Annotated[int, Field(ge=0)]]


class CutOff(Threshold):
    """A published threshold on one scale, or on each of some items."""

    scale: str | None = None
    items: tuple[int, ...] = ()


class RiskItem(Threshold):
    """Rule 35: an item whose answer, as given, somebody has to look at."""

    item: ItemNumber


class Change(Threshold):
    """How far a score must move for its change to count as what `kind` says."""

    scale: str
    kind: Literal["reliable", "minimal", "drop", "margin"]
    """Beyond measurement error; worth something to people; a fall that is to be discussed; the
    margin within which a trial called two treatments alike."""


class Norm(Fact):
    """What was found in some sample: level, spread and reliability of one scale."""

    scale: str
    population: str
    n: Annotated[int, Field(ge=1)] | None = None
    mean: Decimal | None = None
    sd: Decimal | None = None
    alpha: Decimal | None = None
    omega: Decimal | None = None
    retest: Decimal | None = None


class AttentionItem(Fact):
    """An item that asks for one answer, to show that it was read."""

    item: ItemNumber
    answer: Decimal


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


# --- The definition -------------------------------------------------------------------------


class Definition(Model):
    """One version of one questionnaire, as its file says.

    Without `scoring` its key is not known: of its answers only the raw items can be kept.
    """

    format: Literal["rapport-instrument/1"]
    id: InstrumentId
    version: Version
    aliases: tuple[str, ...] = ()
    name: str
    citation: str
    measures: str
    """The construct: alliance, wellbeing, outcome, rupture, goal …"""
    note: str | None = None
    forms: dict[Perspective, str]
    items: Items
    response: Response
    responses: tuple[OtherResponse, ...] = ()
    asked: tuple[Asked, ...] = ()
    reverse: Reverse
    scoring: Scoring | None = None
    scales: dict[str, Scale] = Field(default_factory=dict)
    missing: tuple[MissingRule, ...] = ()
    cutoffs: tuple[CutOff, ...] = ()
    bands: tuple[BandSet, ...] = ()
    risk_items: tuple[RiskItem, ...] = ()
    changes: tuple[Change, ...] = ()
    norms: tuple[Norm, ...] = ()
    attention: tuple[AttentionItem, ...] = ()
    text: ItemText | None = None
    licence: Licence
    sources: dict[str, str]
    key_hash: str
    """sha256 of the file's bytes in hex: a published definition is not personal data."""

    def __hash__(self) -> int:
        """By the file that says all of it, so that what follows from it can be kept at hand."""
        return hash(self.key_hash)

    def is_called(self, name: str) -> bool:
        """Whether that is its id or an alias; `name` is normal."""
        return name in map(normal_name, (self.id, *self.aliases))

    @property
    def verified(self) -> bool:
        """Whether every fact that a score rests on was read or recomputed."""
        return bool(self.scales) and all(map(self.scale_verified, self.scales))

    def scale_verified(self, name: str) -> bool:
        """Whether every fact that the score of that scale rests on was read or recomputed."""
        scale, numbers = self.scales[name], set(self.items_of(name))
        parts = [self.scales[part] for part in (*scale.sum_of, scale.restates) if part is not None]
        facts = [self.items, self.reverse, scale, *parts, *map(self.response_to, sorted(numbers))]
        facts += [asked for asked in self.asked if numbers & set(asked.items)]
        return all(fact.confidence.verified for fact in (*facts, self.scoring) if fact is not None)

    def items_of(self, name: str) -> tuple[int, ...]:
        """Numbers of all items that the scale rests on, by its parts or what it restates."""
        scale = self.scales[name]
        if scale.restates is not None:
            return self.items_of(scale.restates)
        parts = [self.scales[part].items for part in scale.sum_of] or [scale.items]
        return tuple(number for items in parts for number in items)

    @property
    def metric(self) -> str:
        """`sum`, `mean`, or as `mean x 10`; `raw` where no score is known."""
        if self.scoring is None:
            return "raw"
        return str(Metric(self.scoring.metric, self.scoring.multiplier))

    def metric_of(self, name: str) -> Metric:
        """How the number of that scale is made; only where there is a scoring."""
        scale = self.scales[name]
        if scale.metric is not None:
            return Metric(scale.metric, scale.multiplier)
        assert self.scoring is not None, "what has scales has a scoring"
        return Metric(self.scoring.metric, self.scoring.multiplier)

    def factor(self, name: str) -> int:
        """By how much the number of that scale is larger than the mean of its items."""
        metric = self.metric_of(name)
        return metric.times * (len(self.items_of(name)) if metric.of == "sum" else 1)

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version; scores of different majors are not comparable (rule 32)."""
        major, minor = self.version.split(".")
        return int(major), int(minor)

    @property
    def counts(self) -> range:
        """How many answers a filled form may have."""
        return range(self.items.count, self.items.count + self.items.optional + 1)

    @property
    def counted(self) -> str:
        """The same in words: `9`, `9 or 10`, `1 to 36`."""
        between = " or " if len(self.counts) == 2 else " to "
        return between.join(dict.fromkeys((str(self.counts[0]), str(self.counts[-1]))))

    def response_to(self, number: int) -> Response:
        """What the item of that number takes."""
        for other in self.responses:
            if number in other.items:
                return other
        return self.response

    def was_asked(self, number: int, items: Sequence[int | None]) -> bool:
        """Whether the item of that number was asked at all, given the raw items."""
        return all(
            items[asked.where - 1] == self.response_to(asked.where).item(asked.answered)
            for asked in self.asked
            if number in asked.items
        )

    def risk_items_raised(
        self, items: Sequence[int | None], at: date | None
    ) -> tuple[RiskItem, ...]:
        """Rule 35: the risk items above their threshold, by what was in force at that date.

        Not answered is not below: it raises nothing, and is shown as missing.
        """
        return tuple(
            [
                risk
                for risk in self.risk_items
                if risk.in_force(at)
                and (answer := items[risk.item - 1]) is not None
                and risk.met(as_given(answer, self.response_to(risk.item).scale))
            ]
        )

    def risk_items_unanswered(
        self, items: Sequence[int | None], at: date | None
    ) -> tuple[int, ...]:
        """Numbers of the risk items that nobody answered: no sign that there is nothing to ask."""
        asked = {risk.item for risk in self.risk_items if risk.in_force(at)}
        return tuple(sorted(number for number in asked if items[number - 1] is None))

    def perspective(self, name: str) -> Perspective:
        """That perspective, if there is a form for it; PerspectiveUnknown otherwise."""
        for perspective in self.forms:
            if perspective == name:
                return perspective
        raise PerspectiveUnknown(
            instrument=self.id, perspective=quoted(name), known=", ".join(self.forms)
        )

    def missing_rule(self, at: date | None) -> MissingRule:
        """The rule in force at that date; without one, the newest. Only where there are scales."""
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
        for table in _TABLES:
            for index, fact in enumerate(getattr(self, table)):
                yield f"{table}[{index}]", fact


_TABLES = (
    "responses",
    "asked",
    "missing",
    "cutoffs",
    "bands",
    "risk_items",
    "changes",
    "norms",
    "attention",
)
