"""The method card: what a method found or not, why, from what, and with which parameters.

A result is derived, never a fact about a person (rule 37): it names its inputs, its parameters with
their sources, and its own version, so that anybody can work it out again. Where the data cannot
support an answer, saying so *is* the answer (`Declined`), not an error (rule 38).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, Generic, Protocol, TypeVar

from domain.answers import exact_number, quoted
from domain.definition import Since
from domain.event import Refusal
from domain.methods.numbers import text
from domain.methods.series import Axis, Point

# --- Refusals: a question that cannot be asked ----------------------------------------------


class ParameterUnknown(Refusal):
    status = 422
    says = "{method} has no parameter {parameter}; it has {known}."


class ParameterUnfit(Refusal):
    status = 422
    says = "{method}: {parameter} must be {expected}."


# --- Parameters -----------------------------------------------------------------------------


class Basis(StrEnum):
    """Where the value of a parameter comes from."""

    DEFAULT = "default"
    CHOSEN = "chosen"
    INSTRUMENT = "instrument"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as it was used."""

    name: str
    value: Fraction | str | None
    """None: not given; the method says what it does without."""
    about: str
    operator: str | None
    source: str
    effective_from: Since
    basis: Basis

    @property
    def text(self) -> str | None:
        return text(self.value) if isinstance(self.value, Fraction) else self.value


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value that somebody chose, and why they may: where it stands and from when it holds."""

    value: Fraction | Decimal | int | str
    source: str = "chosen by whoever asked"
    effective_from: Since = "publication"
    basis: Basis = Basis.CHOSEN


Choice = Fraction | Decimal | int | str | Chosen
Choices = Mapping[str, Choice]
"""Parameters by name, as whoever asks gives them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a parameter may be, and what it is unless somebody chooses."""

    name: str
    default: Fraction | str | None
    about: str
    source: str
    operator: str | None = None
    """How the value is compared, where it is a threshold."""
    least: Fraction | None = None
    above: Fraction | None = None
    """At least this; above this."""
    most: Fraction | None = None
    whole: bool = False
    words: tuple[str, ...] = ()
    """The values it may have, where it is no number; empty and no number: any text."""
    free: bool = False
    """Whether it is text."""
    effective_from: Since = "publication"

    def resolved(self, method: str, choice: Choice | None) -> Parameter:
        """The parameter with the value chosen, or the default; raises ParameterUnfit."""
        if choice is None:
            used, basis = Chosen("", self.source, self.effective_from), Basis.DEFAULT
            value = self.default
        else:
            used = choice if isinstance(choice, Chosen) else Chosen(choice)
            basis, value = used.basis, self._checked(method, used.value)
        return Parameter(
            name=self.name,
            value=value,
            about=self.about,
            operator=self.operator,
            source=used.source,
            effective_from=used.effective_from,
            basis=basis,
        )

    def _checked(self, method: str, value: object) -> Fraction | str:
        if self.free or self.words:
            if isinstance(value, str) and (self.free or value in self.words):
                return value
        else:
            number = value if isinstance(value, Fraction) else exact_number(value)
            if number is not None and self._allows(Fraction(number)):
                return Fraction(number)
        raise ParameterUnfit(method=method, parameter=self.name, expected=self.expected)

    def _allows(self, value: Fraction) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (not self.whole or value.denominator == 1)
        )

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        if self.words:
            return "one of " + ", ".join(self.words)
        if self.free:
            return "text"
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most))
        limits = " and ".join(
            f"{word} {text(bound)}" for word, bound in bounds if bound is not None
        )
        return f"a {'whole ' * self.whole}number {limits}".strip()


class Parameters:
    """The parameters of one question, resolved."""

    def __init__(self, resolved: Sequence[Parameter]) -> None:
        self._by_name = {parameter.name: parameter for parameter in resolved}

    def __getitem__(self, name: str) -> Parameter:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._by_name.values())

    def number(self, name: str) -> Fraction:
        """A number that is given or has a default."""
        value = self._by_name[name].value
        assert isinstance(value, Fraction), f"{name} has a number"
        return value

    def given(self, name: str) -> Fraction | None:
        """A number that may be left out."""
        value = self._by_name[name].value
        assert not isinstance(value, str), f"{name} is a number"
        return value

    def whole(self, name: str) -> int:
        return int(self.number(name))

    def word(self, name: str) -> str:
        value = self._by_name[name].value
        return value if isinstance(value, str) else ""


# --- Answers --------------------------------------------------------------------------------


class Why(StrEnum):
    """Why a method declines to answer."""

    NOT_ENOUGH_DATA = "not-enough-data"
    NO_VARIANCE = "no-variance"
    LIMITS_UNINFORMATIVE = "limits-uninformative"
    PARAMETER_NEEDED = "parameter-needed"
    NO_CUT_OFF = "no-cut-off"


@dataclass(frozen=True, slots=True)
class Declined:
    """The data cannot support an answer: why, in a code and in a sentence."""

    code: Why
    says: str


class Kind(StrEnum):
    """What a finding is about. None of them is a rupture: that is for people to say (rule 44)."""

    CUT_OFF = "cut-off"
    ITEM_CUT_OFF = "item-cut-off"
    DROP = "drop"
    BASELINE = "baseline"
    OUTSIDE_LIMITS = "outside-limits"
    DEVIATION = "deviation"
    CHANGE_POINT = "change-point"
    POSSIBLE_RUPTURE = "possible-rupture"
    POSSIBLE_REPAIR = "possible-repair"
    UNRESOLVED = "unresolved"
    DIFFERENCE = "difference"
    CHANGE = "change"
    STRAIGHT_LINE = "straight-line"
    RUN_OF_MAXIMA = "run-of-maxima"
    ATTENTION_ITEM = "attention-item"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the method says of one point, from that point and those it rests on."""

    at: int
    """Index into the card's points."""
    kind: Kind
    flagged: bool
    """Whether somebody should look; only what is worse is flagged."""
    says: str
    figures: Mapping[str, str] = field(default_factory=dict)
    """Decimal text by name."""
    rests_on: tuple[int, ...] = ()
    """Indices of the other points that it was worked out from."""
    declined: Declined | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a method makes of its data, before the card is put around it."""

    says: str
    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    declined: Declined | None = None
    notes: tuple[str, ...] = ()
    """What a reader must know of this very answer."""
    used: tuple[Parameter, ...] = ()
    """Parameters that the data brought along, such as an instrument's cut-offs."""


def decline(code: Why, says: str, **more: Any) -> Judgement:
    """The answer that there is no answer."""
    return Judgement(says=says, declined=Declined(code, says), **more)


class Outcome(StrEnum):
    FLAGGED = "flagged"
    NOT_FLAGGED = "not-flagged"
    DESCRIBED = "described"
    """The method describes and flags nothing."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class MethodCard:
    """A derived result, with all that is needed to work it out again."""

    method: str
    version: str
    title: str
    asks: str
    retrospective: bool
    """Whether findings use later points too; otherwise each uses earlier ones alone (rule 38)."""
    outcome: Outcome
    says: str
    declined: Declined | None
    findings: tuple[Finding, ...]
    figures: Mapping[str, str]
    notes: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    points: tuple[Point, ...]
    as_known_at: datetime | None
    sources: tuple[str, ...]
    of_scores: bool = True
    """Whether the points' values were looked at; else their raw items alone."""

    @property
    def flagged(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.flagged)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of its points, each once."""
        return tuple(dict.fromkeys(point.axis for point in self.points))


# --- Methods --------------------------------------------------------------------------------


class Data(Protocol):
    """What a method may be asked about: a Series, a Dyad or Forms."""

    @property
    def points(self) -> tuple[Point, ...]: ...
    @property
    def as_known_at(self) -> datetime | None: ...


D = TypeVar("D", bound=Data)


@dataclass(frozen=True)  # with slots, Python 3.11 cannot make a `Method[Series](…)`
class Method(Generic[D]):
    """A named method; `card` is its only door."""

    name: str
    version: str
    """Changes whenever the same question might be answered differently."""
    title: str
    asks: str
    sources: tuple[str, ...]
    judge: Callable[[D, Parameters], Judgement]
    specs: tuple[Spec, ...] = ()
    retrospective: bool = False
    detects: bool = True
    """Whether it flags; a method that does not, describes."""
    of_scores: bool = True
    """Whether it looks at scores; else at raw items."""

    def card(self, data: D, chosen: Choices | None = None) -> MethodCard:
        """The card for that data.

        Raises ParameterUnknown, ParameterUnfit, or a method's own refusal of parameters that
        contradict each other; whatever the data are, they get a card.
        """
        parameters = Parameters(self._resolved(chosen or {}))
        judged = self.judge(data, parameters)
        brought = {parameter.name for parameter in judged.used}
        kept = tuple(parameter for parameter in parameters if parameter.name not in brought)
        return MethodCard(
            method=self.name,
            version=self.version,
            title=self.title,
            asks=self.asks,
            retrospective=self.retrospective,
            outcome=self._outcome(judged),
            says=judged.says,
            declined=judged.declined,
            findings=judged.findings,
            figures=judged.figures,
            notes=judged.notes,
            parameters=judged.used + kept,
            points=data.points,
            as_known_at=data.as_known_at,
            sources=self.sources,
            of_scores=self.of_scores,
        )

    def _resolved(self, chosen: Choices) -> list[Parameter]:
        known = [spec.name for spec in self.specs]
        for name in chosen:
            if name not in known:
                has = ", ".join(known) or "none"
                raise ParameterUnknown(method=self.name, parameter=quoted(name), known=has)
        return [spec.resolved(self.name, chosen.get(spec.name)) for spec in self.specs]

    def _outcome(self, judged: Judgement) -> Outcome:
        if judged.declined is not None:
            return Outcome.REFUSED
        if not self.detects:
            return Outcome.DESCRIBED
        flagged = any(finding.flagged for finding in judged.findings)
        return Outcome.FLAGGED if flagged else Outcome.NOT_FLAGGED
