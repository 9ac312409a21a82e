"""Scores: what a named, hashed key makes of raw items, exactly and always the same.

Raw items are the fact: integers in the instrument's scaled unit (tenths where `scale` is 10), None
where a question was not answered. Scores are exact fractions; nothing here is a float.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache, partial
from operator import getitem
from typing import NamedTuple

from domain.answers import cut_short, exact_number, is_blank, normal_word, quoted
from domain.definition import (
    BandSet,
    CutOff,
    Definition,
    MissingRule,
    Perspective,
    Response,
    RiskItem,
)
from domain.event import Refusal

_MOST_SPELLED = 1001
"""Steps of the finest scale whose answers are spelled out beforehand: 0 to 100 in tenths."""

RawItems = tuple[int | None, ...]
"""One answer per item in the instrument's scaled unit; None: not answered, which is never zero."""


# --- Refusals -------------------------------------------------------------------------------


class ItemCountWrong(Refusal):
    rule = 30
    status = 422
    says = "{instrument} has {expected} items, not {got}: give one each, null where not answered."


class ItemOutOfRange(Refusal):
    """An answer off its scale; `others` are further ones of the same form, which it names too.

    `detail` is fit for a log; `to_caller` repeats the answers and is for their sender alone.
    """

    rule = 30
    status = 422
    says = "item {item}: {answer} is outside {low} to {high} in steps of {step}"

    def __init__(self, *, sent: str, item: int, response: Response) -> None:
        low, high = response.shown(response.low), response.shown(response.high)
        super().__init__(item=item, low=low, high=high, step=response.shown(response.stride))
        self.sent = sent
        self.labels = ", ".join(response.labels.values())
        self.others: tuple[ItemOutOfRange, ...] = ()

    @property
    def detail(self) -> str:
        faults = (self, *self.others)
        return "; ".join(fault.says.format(answer="the answer", **fault.ids) for fault in faults)

    @property
    def to_caller(self) -> str:
        """The sentences with the answers that were sent, and the words that would be understood."""
        faults = (self, *self.others)
        said = "; ".join(fault.says.format(answer=fault.sent, **fault.ids) for fault in faults)
        words = dict.fromkeys(fault.labels for fault in faults if fault.labels)
        return said + "".join(f"; its words are {labels}" for labels in words)


class ItemNotUnderstood(ItemOutOfRange):
    says = "item {item}: {answer} is no number and no word of the scale {low} to {high}"


# --- Raw items ------------------------------------------------------------------------------


def check_items(definition: Definition, items: Sequence[int | None]) -> None:
    """Refuses raw items of the wrong count or outside the scale (rule 30). None is an answer
    not given, and always allowed."""
    _check_count(definition, items)
    for taken, item in zip(_taken(definition), items, strict=False):
        if item is not None and (type(item) is not int or item not in taken):
            _refuse_all(_off_the_scale(definition, items))


@lru_cache(256)
def _taken(definition: Definition) -> tuple[range, ...]:
    """The raw items that each item takes, in their order."""
    responses = map(definition.response_to, range(1, definition.counts[-1] + 1))
    return tuple(range(one.low, one.high + 1, one.stride) for one in responses)


def parse_items(definition: Definition, answers: Sequence[object]) -> RawItems:
    """Raw items from answers as people give them: numbers, decimal text, the scale's words.

    None and blank text mean not answered. A float is taken by its shortest decimal text, so that
    the 8.8 of a JSON body is 8.8; true and false are no answers. A refusal names every item that
    does not fit.
    """
    _check_count(definition, answers)
    try:
        return tuple(map(getitem, _spelled(definition), answers))
    except (KeyError, TypeError):  # spelled otherwise, or no answer: looked at one by one
        return _parsed_items(definition, answers)


@lru_cache(256)
def _spelled(definition: Definition) -> tuple[Mapping[object, int | None], ...]:
    """For each item in their order: what the usual spellings of an answer come to."""
    responses = [definition.response_to(n) for n in range(1, definition.counts[-1] + 1)]
    tables = {id(one): _spellings(one) for one in responses}
    return tuple(tables[id(one)] for one in responses)


def _spellings(response: Response) -> Mapping[object, int | None]:
    """Raw items by the text that is written for them: `8.8`, `9`, a word of the scale."""
    taken = range(response.low, response.high + 1, response.stride)
    if len(taken) > _MOST_SPELLED:  # no scale, but the bounds of storing whole numbers
        return {}
    whole = range(response.low // response.scale, response.high // response.scale + 1)
    texts = [*map(response.shown, taken), *map(str, whole)]
    spellings: dict[object, int | None] = {None: None, "": None}
    for text in (*texts, *response.labels.values()):
        with suppress(ItemOutOfRange):
            spellings[text] = _parsed(response, 0, text)
    return spellings


def _parsed_items(definition: Definition, answers: Sequence[object]) -> RawItems:
    items: list[int | None] = []
    faults: list[ItemOutOfRange] = []
    for number, answer in enumerate(answers, 1):
        try:
            items.append(_parsed(definition.response_to(number), number, answer))
        except ItemOutOfRange as fault:
            faults.append(fault)
    _refuse_all(faults)
    return tuple(items)


def _check_count(definition: Definition, items: Sequence[object]) -> None:
    if len(items) not in definition.counts:
        raise ItemCountWrong(instrument=definition.id, expected=definition.counted, got=len(items))


def _refuse_all(faults: Iterable[ItemOutOfRange]) -> None:
    """Raises the first of them, if there is one; it carries the others."""
    found = tuple(faults)
    if found:
        found[0].others = found[1:]
        raise found[0]


def _off_the_scale(definition: Definition, items: Sequence[int | None]) -> Iterator[ItemOutOfRange]:
    for number, item in enumerate(items, 1):
        if item is None:
            continue
        response = definition.response_to(number)
        if isinstance(item, bool) or not isinstance(item, int):
            yield ItemNotUnderstood(sent=quoted(item), item=number, response=response)
        elif not response.takes(item):
            near = abs(item) < 2**53
            sent = response.shown(item) if near else "a number beyond 2^53"
            yield ItemOutOfRange(sent=sent, item=number, response=response)


def _parsed(response: Response, number: int, answer: object) -> int | None:
    if is_blank(answer):
        return None
    exact = exact_number(answer)
    if exact is None and isinstance(answer, str):
        word = normal_word(answer)
        exact = next(
            (Decimal(key) for key, label in response.labels.items() if normal_word(label) == word),
            None,
        )
    if exact is None:
        raise ItemNotUnderstood(sent=quoted(answer), item=number, response=response)
    item = response.item(exact)
    if item is None:
        raise ItemOutOfRange(sent=cut_short(str(exact)), item=number, response=response)
    return item


# --- Scores ---------------------------------------------------------------------------------


class Flag(StrEnum):
    """What a reader of a score must be told; carried to every view and export (rule 36)."""

    UNVERIFIED = "unverified"
    """Some fact of the key was neither read nor recomputed."""
    RAW_ITEMS_ONLY = "raw_items_only"
    """The instrument's key is not known: its raw items are kept, and nothing is scored."""
    INCOMPLETE = "incomplete"
    """Too many items are missing: a scale has no score."""
    PRORATED = "prorated"
    """Missing items were given the mean of those answered."""
    MISSING_RULE_PRODUCT_DEFAULT = "missing_rule_product_default"
    """Items were missing, and the rule applied to them is ours, not a published one."""
    NOT_ASKED = "not_asked"
    """The question only follows another answer, which was not given: there is nothing to score."""
    CONTRADICTORY = "contradictory"
    """An item was answered that the other answers say was not asked; it is not scored."""


@dataclass(frozen=True, slots=True)
class ScaleScore:
    """The score of one scale; `value` is None where the missing rule allows none."""

    scale: str
    value: Fraction | None
    low: Fraction
    high: Fraction
    missing: tuple[int, ...]
    """Numbers of the unanswered items."""
    flags: tuple[Flag, ...]
    text: str | None
    """The value in decimals: whole units as they are, anything finer to two places."""
    metric: str = "sum"
    """How it is made of its items: `sum`, `mean`, `mean x 10`."""
    restates: str | None = None
    """The scale that this is in another metric."""

    def __hash__(self) -> int:
        """Cheap, so that what follows from a score can be kept at hand."""
        return hash((self.scale, self.text))


@dataclass(frozen=True, slots=True)
class CutOffReading:
    """One published threshold against one score; conventions that disagree stand side by side."""

    cutoff: CutOff
    item: int | None
    """The item compared, by its answer as given; None: the scale."""
    value: Fraction
    met: bool


@dataclass(frozen=True, slots=True)
class BandReading:
    """The word of one published band set; None: the score lies in a gap between its bands."""

    bands: BandSet
    label: str | None


@dataclass(frozen=True, slots=True)
class Score:
    """What a key makes of raw items. The same items and key give the same score for ever."""

    instrument: str
    version: str
    key_hash: str
    perspective: Perspective | None
    metric: str
    scales: Mapping[str, ScaleScore]
    """What is followed over time; empty where the key is not known."""
    missing: tuple[int, ...]
    flags: tuple[Flag, ...]
    cutoffs: tuple[CutOffReading, ...]
    bands: tuple[BandReading, ...]
    risk_items: tuple[RiskItem, ...] = ()
    """Those above their threshold (rule 35)."""
    restated: Mapping[str, ScaleScore] = field(default_factory=dict)
    """The same scales in another metric that sources use: given beside them, on no axis."""

    @property
    def total(self) -> ScaleScore | None:
        """The scale called total, where the instrument has one."""
        return self.scales.get("total")

    def of(self, scale: str) -> ScaleScore:
        """The score of any scale of the definition, restated ones too."""
        return self.scales[scale] if scale in self.scales else self.restated[scale]


def score(
    definition: Definition,
    items: Sequence[int | None],
    *,
    perspective: str | None = None,
    at: date | None = None,
) -> Score:
    """The score of raw items, by the rules in force at the date `at` (rules 28, 30, 36).

    Without a date, by the newest rules. Refuses what `check_items` refuses, and a perspective
    that the instrument has no form for. By a definition without a key there are no scales.
    """
    # A datetime is a date, but compares with none.
    at = at.date() if isinstance(at, datetime) else at
    scored = score_scales(definition, items, at)
    restated = {
        name: _restated(definition, name, scored[scale.restates])
        for name, scale in definition.scales.items()
        if scale.restates is not None
    }
    every = scored | restated
    flags = {flag for part in every.values() for flag in part.flags}
    if not every:
        flags |= {Flag.UNVERIFIED, Flag.RAW_ITEMS_ONLY}
    required = items[: definition.items.count]
    return Score(
        instrument=definition.id,
        version=definition.version,
        key_hash=definition.key_hash,
        perspective=None if perspective is None else definition.perspective(perspective),
        metric=definition.metric,
        scales=scored,
        missing=tuple(
            number
            for number, item in enumerate(required, 1)
            if item is None and definition.was_asked(number, items)
        ),
        flags=tuple(flag for flag in Flag if flag in flags),
        cutoffs=tuple(_cutoff_readings(definition, items, every, at)),
        bands=tuple(_band_readings(definition, every, at)),
        risk_items=definition.risk_items_raised(items, at),
        restated=restated,
    )


def score_scales(
    definition: Definition, items: Sequence[int | None], at: date | None
) -> dict[str, ScaleScore]:
    """The scales of `score` alone: what is followed over time. Refuses what `check_items` does."""
    check_items(definition, items)
    scored = {}
    for name, facts, in_full in _followed(definition):
        total = None if facts is None else _in_all(facts, items)
        if total is None:
            scored[name] = _of_parts(definition, name, items, definition.missing_rule(at))
        else:
            scored[name] = in_full(total)
    return scored


class _Facts(NamedTuple):
    """What a definition says of one scale."""

    numbers: tuple[int, ...]
    reversed: frozenset[int]
    ends: int
    """Lowest and highest raw item added: a reversed item is what an answer lacks of that."""
    unit: int
    """Raw items to one of the instrument's own units."""
    factor: int
    """By how much the score is larger than the mean of the answers."""
    low: Fraction
    high: Fraction
    metric: str
    verified: bool


@lru_cache(4096)
def _facts(definition: Definition, name: str) -> _Facts:
    scale = definition.scales[name]
    low, high = map(Fraction, scale.range)
    response = definition.response_to(definition.items_of(name)[0])
    return _Facts(
        numbers=scale.items,
        reversed=frozenset(definition.reverse.items),
        ends=response.low + response.high,
        unit=response.scale,
        factor=definition.factor(name),
        low=low,
        high=high,
        metric=str(definition.metric_of(name)),
        verified=definition.scale_verified(name),
    )


class _Followed(NamedTuple):
    """A scale that is followed over time."""

    name: str
    facts: _Facts | None
    """None: it takes more than its own answers added up."""
    in_full: Callable[[int], ScaleScore]
    """What it comes to where all were answered, by their sum, whoever's it is."""


@lru_cache(256)
def _followed(definition: Definition) -> tuple[_Followed, ...]:
    """All but those that restate another: looked up once for a rating, not once for each."""
    return tuple(
        _Followed(
            name,
            None if scale.sum_of or definition.asked else _facts(definition, name),
            lru_cache(1024)(partial(_in_full, definition, name)),
        )
        for name, scale in definition.scales.items()
        if scale.restates is None
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What the items of one scale come to."""

    value: Fraction | None
    missing: tuple[int, ...] = ()
    unasked: tuple[int, ...] = ()
    answered_unasked: bool = False


def _of_parts(
    definition: Definition, name: str, items: Sequence[int | None], rule: MissingRule
) -> ScaleScore:
    """Whatever was left out, not asked, or is added up of other scales."""
    scale = definition.scales[name]
    parts = [_over_items(definition, part, items, rule) for part in scale.sum_of or (name,)]
    missing = tuple(sorted(number for part in parts for number in part.missing))
    unasked = any(part.unasked for part in parts)
    value = _added(parts, rule.prorate_up_to[name]) if scale.sum_of else parts[0].value
    flags = {
        Flag.UNVERIFIED: not _facts(definition, name).verified,
        Flag.INCOMPLETE: value is None and not unasked,
        Flag.PRORATED: bool(missing) and value is not None,
        Flag.MISSING_RULE_PRODUCT_DEFAULT: bool(missing) and not rule.confidence.verified,
        Flag.NOT_ASKED: unasked,
        Flag.CONTRADICTORY: any(part.answered_unasked for part in parts),
    }
    raised = tuple(flag for flag, is_raised in flags.items() if is_raised)
    return _told(definition, name, value, missing, raised)


def _in_all(facts: _Facts, items: Sequence[int | None]) -> int | None:
    """The answers added up, each in the scale's direction; None where one is missing."""
    total = 0
    for number in facts.numbers:
        if (item := items[number - 1]) is None:
            return None
        total += facts.ends - item if number in facts.reversed else item
    return total


def _in_full(definition: Definition, name: str, total: int) -> ScaleScore:
    facts = _facts(definition, name)
    value = Fraction(total * facts.factor, len(facts.numbers) * facts.unit)
    return _told(definition, name, value, (), () if facts.verified else (Flag.UNVERIFIED,))


def _told(
    definition: Definition,
    name: str,
    value: Fraction | None,
    missing: tuple[int, ...],
    flags: tuple[Flag, ...],
    restates: str | None = None,
) -> ScaleScore:
    facts = _facts(definition, name)
    text = None if value is None else _text(value, definition.response)
    return ScaleScore(
        name, value, facts.low, facts.high, missing, flags, text, facts.metric, restates
    )


def _restated(definition: Definition, name: str, of: ScaleScore) -> ScaleScore:
    """The score of a scale in another metric: prorated and flagged as it is."""
    facts = _facts(definition, name)
    factor = _facts(definition, of.scale).factor
    value = None if of.value is None else of.value * facts.factor / factor
    unverified = [] if facts.verified else [Flag.UNVERIFIED]
    flags = (*unverified, *(flag for flag in of.flags if flag is not Flag.UNVERIFIED))
    return _told(definition, name, value, of.missing, flags, restates=of.scale)


def _over_items(
    definition: Definition, name: str, items: Sequence[int | None], rule: MissingRule
) -> _Part:
    """A scale over items, and which of them are missing. The mean of the answered items stands
    for the missing ones: that is what proration is."""
    facts = _facts(definition, name)
    if definition.asked:
        unasked = tuple(n for n in facts.numbers if not definition.was_asked(n, items))
        if unasked:
            return _Part(None, (), unasked, any(items[n - 1] is not None for n in unasked))
    missing = tuple([number for number in facts.numbers if items[number - 1] is None])
    if len(missing) > rule.prorate_up_to[name]:
        return _Part(None, missing)
    answered = [
        facts.ends - item if number in facts.reversed else item
        for number in facts.numbers
        if (item := items[number - 1]) is not None
    ]
    value = Fraction(sum(answered) * facts.factor, len(answered) * facts.unit)
    return _Part(value, missing)


def _added(parts: Sequence[_Part], limit: int) -> Fraction | None:
    values = [part.value for part in parts if part.value is not None]
    complete = len(values) == len(parts) and sum(len(part.missing) for part in parts) <= limit
    return sum(values, Fraction(0)) if complete else None


def _text(value: Fraction, response: Response) -> str:
    scaled, rest = divmod(value.numerator * response.scale, value.denominator)
    if not rest:
        return response.shown(scaled)
    return f"{Decimal(round(value * 100)).scaleb(-2):f}"


def _cutoff_readings(
    definition: Definition,
    items: Sequence[int | None],
    scored: Mapping[str, ScaleScore],
    at: date | None,
) -> Iterator[CutOffReading]:
    for cutoff in definition.cutoffs:
        if not cutoff.in_force(at):
            continue
        compared: list[tuple[int | None, Fraction | None]] = [
            (number, None if item is None else Fraction(item, definition.response_to(number).scale))
            for number in cutoff.items
            for item in (items[number - 1],)
        ]
        if cutoff.scale is not None:
            compared.append((None, scored[cutoff.scale].value))
        for number, value in compared:
            if value is not None:
                yield CutOffReading(cutoff, number, value, cutoff.met(value))


def _band_readings(
    definition: Definition, scored: Mapping[str, ScaleScore], at: date | None
) -> Iterator[BandReading]:
    for bands in definition.bands:
        value = scored[bands.scale].value
        if value is None or not bands.in_force(at):
            continue
        within = (b.label for b in bands.bands if Fraction(b.low) <= value <= Fraction(b.high))
        yield BandReading(bands, next(within, None))
