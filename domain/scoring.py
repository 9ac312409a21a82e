"""Scores: what a named, hashed key makes of raw items, exactly and always the same.

Raw items are the fact: integers in the instrument's scaled unit (tenths where `scale` is 10), None
where a question was not answered. Scores are exact fractions; nothing here is a float.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from domain.event import Refusal
from domain.instrument import (
    BandSet,
    CutOff,
    Dated,
    Definition,
    MissingRule,
    Perspective,
    Response,
    cut_short,
    exact_number,
    load,
    normal_word,
    quoted,
    scaled,
)

RawItems = tuple[int | None, ...]
"""One answer per item in the instrument's scaled unit; None: not answered, which is never zero."""


# --- Refusals -------------------------------------------------------------------------------


class ItemCountWrong(Refusal):
    rule = 30
    status = 422
    says = "{instrument} has {expected} items, not {got}: give one each, null where not answered."


class ItemOutOfRange(Refusal):
    """`detail` is fit for a log; `to_caller` repeats the answer and is for its sender alone."""

    rule = 30
    status = 422
    says = "item {item}: {answer} is outside {low} to {high} in steps of {step}"

    def __init__(self, *, sent: str, item: int, response: "Response") -> None:
        low, high = response.shown(response.low), response.shown(response.high)
        super().__init__(item=item, low=low, high=high, step=response.shown(response.stride))
        self.sent = sent
        self.labels = ", ".join(response.labels.values())

    @property
    def detail(self) -> str:
        return self.says.format(answer="the answer", **self.ids)

    @property
    def to_caller(self) -> str:
        """The sentence with the answer that was sent, and the words that would be understood."""
        words = f"; its words are {self.labels}" if self.labels else ""
        return self.says.format(answer=self.sent, **self.ids) + words


class ItemNotUnderstood(ItemOutOfRange):
    says = "item {item}: {answer} is no number and no word of the scale {low} to {high}"


# --- Raw items ------------------------------------------------------------------------------


def check_items(definition: Definition, items: Sequence[int | None]) -> None:
    """Refuses raw items of the wrong count or outside the scale (rule 30). None is an answer
    not given, and always allowed."""
    _check_count(definition, items)
    for number, item in enumerate(items, 1):
        if item is None:
            continue
        if isinstance(item, bool) or not isinstance(item, int):
            raise ItemNotUnderstood(sent=quoted(item), item=number, response=definition.response)
        if not definition.response.takes(item):
            near = abs(item) < 2**53
            sent = definition.response.shown(item) if near else "a number beyond 2^53"
            raise ItemOutOfRange(sent=sent, item=number, response=definition.response)


def parse_items(definition: Definition, answers: Sequence[object]) -> RawItems:
    """Raw items from answers as people give them: numbers, decimal text, the scale's words.

    None and blank text mean not answered. A float is taken by its shortest decimal text, so that
    the 8.8 of a JSON body is 8.8; true and false are no answers.
    """
    _check_count(definition, answers)
    return tuple(_parsed(definition.response, n, answer) for n, answer in enumerate(answers, 1))


def _check_count(definition: Definition, items: Sequence[object]) -> None:
    expected = definition.items.count
    if len(items) != expected:
        raise ItemCountWrong(instrument=definition.id, expected=expected, got=len(items))


def _parsed(response: Response, number: int, answer: object) -> int | None:
    if answer is None or (isinstance(answer, str) and not answer.strip()):
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
    item = scaled(response, exact)
    if item is None:
        raise ItemOutOfRange(sent=cut_short(str(exact)), item=number, response=response)
    return item


# --- Scores ---------------------------------------------------------------------------------


class Flag(StrEnum):
    """What a reader of a score must be told; carried to every view and export (rule 36)."""

    UNVERIFIED = "unverified"
    """Some fact of the key was neither read nor recomputed."""
    INCOMPLETE = "incomplete"
    """Too many items are missing: a scale has no score."""
    PRORATED = "prorated"
    """Missing items were given the mean of those answered."""
    MISSING_RULE_PRODUCT_DEFAULT = "missing_rule_product_default"
    """Items were missing, and the rule applied to them is ours, not a published one."""


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
    missing: tuple[int, ...]
    flags: tuple[Flag, ...]
    cutoffs: tuple[CutOffReading, ...]
    bands: tuple[BandReading, ...]

    @property
    def total(self) -> ScaleScore | None:
        """The scale called total, where the instrument has one."""
        return self.scales.get("total")


def score(
    definition: Definition,
    items: Sequence[int | None],
    *,
    perspective: str | None = None,
    at: date | None = None,
) -> Score:
    """The score of raw items, by the rules in force at the date `at` (rules 28, 30, 36).

    Without a date, by the newest rules. Refuses what `check_items` refuses, and a perspective
    that the instrument has no form for.
    """
    check_items(definition, items)
    at = (
        at.date() if isinstance(at, datetime) else at
    )  # a datetime is a date, but compares with none
    rule = definition.missing_rule(at)
    scored: dict[str, ScaleScore] = {}
    for name, scale in definition.scales.items():
        parts = [_over_items(definition, part, items, rule) for part in scale.sum_of or (name,)]
        whole = _added(parts, rule.prorate_up_to[name]) if scale.sum_of else parts[0][0]
        missing = tuple(sorted(number for _, part in parts for number in part))
        scored[name] = _scale_score(definition, name, whole, missing, rule)
    return Score(
        instrument=definition.id,
        version=definition.version,
        key_hash=definition.key_hash,
        perspective=None if perspective is None else definition.perspective(perspective),
        metric=definition.metric,
        scales=scored,
        missing=tuple(number for number, item in enumerate(items, 1) if item is None),
        flags=_in_order(flag for part in scored.values() for flag in part.flags),
        cutoffs=tuple(_cutoff_readings(definition, items, scored, at)),
        bands=tuple(_band_readings(definition, scored, at)),
    )


_Part = tuple[Fraction | None, tuple[int, ...]]


def _over_items(
    definition: Definition, name: str, items: Sequence[int | None], rule: MissingRule
) -> _Part:
    """A scale over items, and which of them are missing. The mean of the answered items stands
    for the missing ones: that is what proration is."""
    numbers = definition.scales[name].items
    missing = tuple(number for number in numbers if items[number - 1] is None)
    if len(missing) > rule.prorate_up_to[name]:
        return None, missing
    response, reverse = definition.response, definition.reverse.items
    answered = [
        response.low + response.high - item if number in reverse else item
        for number in numbers
        if (item := items[number - 1]) is not None
    ]
    mean = Fraction(sum(answered), len(answered) * response.scale)
    counted = len(numbers) if definition.scoring.metric == "sum" else 1
    return mean * counted * definition.scoring.multiplier, missing


def _added(parts: Sequence[_Part], limit: int) -> Fraction | None:
    values = [value for value, _ in parts if value is not None]
    complete = len(values) == len(parts) and sum(len(gone) for _, gone in parts) <= limit
    return sum(values, Fraction(0)) if complete else None


def _scale_score(
    definition: Definition,
    name: str,
    value: Fraction | None,
    missing: tuple[int, ...],
    rule: MissingRule,
) -> ScaleScore:
    flags = {
        Flag.UNVERIFIED: not definition.verified,
        Flag.INCOMPLETE: value is None,
        Flag.PRORATED: bool(missing) and value is not None,
        Flag.MISSING_RULE_PRODUCT_DEFAULT: bool(missing) and not rule.confidence.verified,
    }
    low, high = map(Fraction, definition.scales[name].range)
    return ScaleScore(
        scale=name,
        value=value,
        low=low,
        high=high,
        missing=missing,
        flags=tuple(flag for flag, raised in flags.items() if raised),
        text=None if value is None else _text(value, definition.response),
    )


def _in_order(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    raised = set(flags)
    return tuple(flag for flag in Flag if flag in raised)


def _text(value: Fraction, response: Response) -> str:
    scaled = value * response.scale
    if scaled.denominator == 1:
        return response.shown(int(scaled))
    return f"{Decimal(round(value * 100)).scaleb(-2):f}"


_COMPARE: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


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
            (number, None if item is None else Fraction(item, definition.response.scale))
            for number in cutoff.items
            for item in (items[number - 1],)
        ]
        if cutoff.scale is not None:
            compared.append((None, scored[cutoff.scale].value))
        for number, value in compared:
            if value is not None:
                met = _COMPARE[cutoff.operator](value, Fraction(cutoff.value))
                yield CutOffReading(cutoff, number, value, met)


def _band_readings(
    definition: Definition, scored: Mapping[str, ScaleScore], at: date | None
) -> Iterator[BandReading]:
    for bands in definition.bands:
        value = scored[bands.scale].value
        if value is None or not bands.in_force(at):
            continue
        within = (b.label for b in bands.bands if Fraction(b.low) <= value <= Fraction(b.high))
        yield BandReading(bands, next(within, None))


# --- Series ---------------------------------------------------------------------------------


class SeriesId(NamedTuple):
    """Scores share a series or an axis only if all four agree (rule 32)."""

    instrument: str
    form: str
    metric: str
    key_major: int

    def __str__(self) -> str:
        return f"{self.instrument}/{self.form}/{self.metric}/{self.key_major}"


def series_id(definition: Definition, perspective: str) -> SeriesId:
    """The series to which scores of that form belong; PerspectiveUnknown if there is none."""
    form = definition.forms[definition.perspective(perspective)]
    return SeriesId(definition.id, form, definition.metric, definition.release[0])


# --- Reports --------------------------------------------------------------------------------


def render_score(score: Score) -> dict[str, Any]:
    """A score for JSON: values as decimal text, and exact (`1436/7`) beside it; no floats."""
    return {
        "instrument": score.instrument,
        "version": score.version,
        "key_hash": score.key_hash,
        "perspective": score.perspective and score.perspective.value,
        "metric": score.metric,
        "flags": [flag.value for flag in score.flags],
        "missing": list(score.missing),
        "scales": {name: _render_scale(part) for name, part in score.scales.items()},
        "cutoffs": [
            {
                "scale": reading.cutoff.scale,
                "item": reading.item,
                "operator": reading.cutoff.operator,
                "value": str(reading.cutoff.value),
                "meaning": reading.cutoff.meaning,
                "met": reading.met,
                **_render_dated(reading.cutoff),
            }
            for reading in score.cutoffs
        ],
        "bands": [
            {
                "name": reading.bands.name,
                "scale": reading.bands.scale,
                "label": reading.label,
                **_render_dated(reading.bands),
            }
            for reading in score.bands
        ],
    }


def _render_scale(part: ScaleScore) -> dict[str, Any]:
    return {
        "value": part.text,
        "exact": None if part.value is None else str(part.value),
        "range": [str(part.low), str(part.high)],
        "missing": list(part.missing),
        "flags": [flag.value for flag in part.flags],
    }


def _render_dated(fact: Dated) -> dict[str, Any]:
    return {
        "source": list(fact.source),
        "confidence": fact.confidence.value,
        "effective_from": str(fact.effective_from),
        "effective_until": fact.effective_until and fact.effective_until.isoformat(),
        "population": fact.population,
        "note": fact.note,
    }


def score_report(
    instrument: str,
    answers: Sequence[object],
    *,
    perspective: str | None = None,
    at: date | None = None,
) -> dict[str, Any]:
    """The score of answers as people give them, with what a reader needs to judge it.

    Refuses as `load`, `parse_items` and `score` do. The shape is that of `render_score`, with
    name, form, answers, citation, licence and the sources that are referred to.
    """
    definition = load(instrument)
    items = parse_items(definition, answers)
    scored = score(definition, items, perspective=perspective, at=at)
    shown = definition.response.shown
    licence = definition.licence
    return {
        **render_score(scored),
        "name": definition.name,
        "citation": definition.citation,
        "form": None if scored.perspective is None else definition.forms[scored.perspective],
        "answers": [None if item is None else shown(item) for item in items],
        "missing_rule": definition.missing_rule(at).note,
        "licence": {
            "state": licence.state,
            "statement": licence.statement,
            "attestation_required": licence.attestation_required,
        },
        "sources": dict(definition.sources),
    }


def report_text(report: Mapping[str, Any]) -> str:
    """What `score_report` gives, as a table for people."""
    who = f" - {report['perspective']} form {report['form']}" if report["form"] else ""
    lines = [
        f"{report['instrument']} {report['version']} - {report['name']}{who}",
        f"key {report['key_hash']}",
        "",
        f"{'scale':<18}{'score':>9}  {'range':<10}  flags",
    ]
    for name, part in report["scales"].items():
        value, bounds = part["value"] or "none", " to ".join(part["range"])
        lines.append(f"{name:<18}{value:>9}  {bounds:<10}  {', '.join(part['flags'])}".rstrip())
    if report["missing"]:
        lines += ["", f"not answered: {', '.join(map(str, report['missing']))}"]
        lines += [f"missing rule: {report['missing_rule']}"] if report["missing_rule"] else []
    readings = [
        f"{cut['scale'] or 'item ' + str(cut['item'])} {cut['operator']} {cut['value']}: "
        f"{'yes' if cut['met'] else 'no'} ({cut['meaning']}; {', '.join(cut['source'])})"
        for cut in report["cutoffs"]
    ] + [
        f"{band['scale']}: {band['label'] or 'between two bands'} "
        f"({band['name']}; {', '.join(band['source'])})"
        for band in report["bands"]
    ]
    if readings:
        lines += ["", *readings, ""]
        cited = {name for read in report["cutoffs"] + report["bands"] for name in read["source"]}
        lines += [f"{name}: {report['sources'][name]}" for name in sorted(cited)]
    lines += ["", report["citation"], f"licence: {report['licence']['state']}"]
    return "\n".join(lines)
