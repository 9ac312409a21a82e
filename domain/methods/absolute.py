"""Absolute rules: a score against a published cut-off, an item against its own, a step of a size.

The cut-offs come from the instrument's definition, each with its operator, source and date. Where
sources disagree (the total of the SRS: below 36, or 36 and below) both conventions stand side by
side and neither is preferred. A step is taken from the last available rating.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.definition import Confidence, CutOff
from domain.event import Refusal
from domain.instrument import load
from domain.methods.card import (
    Basis,
    Finding,
    Judgement,
    Kind,
    Method,
    Parameter,
    Parameters,
    Spec,
    Why,
    decline,
)
from domain.methods.numbers import plain, ratings, text
from domain.methods.series import UNNAMED, Better, Series

_OPERATORS = ("<", "<=", ">", ">=")
_CONVENTIONS = {Better.HIGHER: ("<", "<="), Better.LOWER: (">", ">=")}
_SRS = "SRS-3"
_BY_CHOICE = "a cut-off that was chosen"
_ONE_POINT = Parameter(
    name="drop",
    value=Fraction(1),
    about="a fall from the last available rating that is to be talked about",
    operator=">=",
    source="teaching of feedback-informed treatment; not read in a publication",
    effective_from="publication",
    basis=Basis.INSTRUMENT,
)


def _judge(series: Series, parameters: Parameters) -> Judgement:
    notes: tuple[str, ...] = ()
    if series.axis == UNNAMED and parameters.given("threshold") is None:
        known = load(_SRS)
        cutoffs = tuple(cut for cut in known.cutoffs if cut.scale in (None, "total"))
        series = replace(series, cutoffs=cutoffs)
        notes = (f"No instrument was named: the rules are those of the {known.id}.",)
    totals = _of_the_total(series, parameters)
    items = _of_items(series, parameters)
    drop = _drop(series, parameters)
    used = tuple(_used(series, totals, items)) + ((drop,) if drop.basis is Basis.INSTRUMENT else ())
    if not (totals or items or drop.value):
        populations = sorted({cut.population for cut in series.cutoffs if cut.population})
        if populations:
            return decline(
                Why.PARAMETER_NEEDED,
                f"The cut-offs hold for some people only: give population, one of "
                f"{'; '.join(populations)}.",
            )
        return decline(
            Why.NO_CUT_OFF,
            f"No published cut-off of {series.axis.instrument} for {series.axis.scale} is known, "
            "and none is invented: give threshold and operator, with their source.",
        )
    if not series.points:
        return decline(Why.NOT_ENOUGH_DATA, "There are no ratings.", used=used)
    findings = tuple(_findings(series, totals, items, drop.value))
    at = sorted({finding.at for finding in findings if finding.flagged})
    if items and not any(point.items for point in series.points):
        notes += ("The answers to single items are not at hand, so their cut-off was not used.",)
    count = len(series.points)
    return Judgement(
        says=f"{len(at)} of {ratings(count)} {'meets' if len(at) == 1 else 'meet'} a rule.",
        findings=findings,
        notes=notes,
        used=used,
    )


def _of_the_total(series: Series, parameters: Parameters) -> tuple[CutOff, ...]:
    """The thresholds for the score: the one that was chosen, else the instrument's."""
    threshold, operator = parameters.given("threshold"), parameters.word("operator")
    if threshold is not None:
        both = operator == "both"
        return tuple(
            _chosen(parameters["threshold"], convention)
            for convention in (_CONVENTIONS[series.better] if both else (operator,))
        )
    wanted = _OPERATORS if operator == "both" else (operator,)
    fit = (_on_the_worse_side(cut, series) for cut in series.cutoffs if not cut.items)
    return _for_population((cut for cut in fit if cut.operator in wanted), parameters)


def _on_the_worse_side(cut: CutOff, series: Series) -> CutOff:
    """The cut-off met by what is worse: some are published by what lies on the better side."""
    return cut.model_copy(update={"operator": series.better.on_the_worse_side(cut.operator)})


def _of_items(series: Series, parameters: Parameters) -> tuple[CutOff, ...]:
    if parameters.given("item_threshold") is None:
        own = _items_of(series)
        parts = (
            cut.model_copy(update={"items": tuple(n for n in cut.items if own is None or n in own)})
            for cut in series.cutoffs
        )
        return _for_population((cut for cut in parts if cut.items), parameters)
    count = max((len(point.items) for point in series.points), default=0)
    chosen = _chosen(parameters["item_threshold"], parameters.word("item_operator"))
    return (chosen.model_copy(update={"items": tuple(range(1, count + 1))}),)


def _items_of(series: Series) -> frozenset[int] | None:
    """The numbers of the items that make the series' scale; None: not known, so all of them."""
    try:
        scales = load(series.axis.instrument).scales
    except Refusal:
        return None
    scale = scales.get(series.axis.scale)
    if scale is None:
        return None
    parts = [scales[part].items for part in scale.sum_of] or [scale.items]
    return frozenset(number for items in parts for number in items)


def _for_population(cutoffs: Iterable[CutOff], parameters: Parameters) -> tuple[CutOff, ...]:
    """Those for everybody, and those for the population that was named."""
    named = parameters.word("population")
    return tuple(cut for cut in cutoffs if cut.population in (None, named))


def _chosen(parameter: Parameter, operator: str) -> CutOff:
    value = parameter.value
    assert isinstance(value, Fraction), "a threshold was chosen"
    return CutOff.model_validate(
        {
            "operator": operator,
            "value": Decimal(value.numerator) / Decimal(value.denominator),
            "meaning": _BY_CHOICE,
            "effective_from": parameter.effective_from,
            "confidence": Confidence.UNKNOWN,
            "source": (parameter.source,),
        }
    )


def _drop(series: Series, parameters: Parameters) -> Parameter:
    given = parameters["drop"]
    axis = series.axis
    taught = axis == UNNAMED or (axis.instrument, axis.scale) == (_SRS, "total")
    if given.value is None and taught and parameters.given("threshold") is None:
        return _ONE_POINT
    return given


def _used(series: Series, totals: Sequence[CutOff], items: Sequence[CutOff]) -> Iterator[Parameter]:
    described = _sources(_SRS if series.axis == UNNAMED else series.axis.instrument)
    for name, cutoffs in (("threshold", totals), ("item_threshold", items)):
        for cutoff in cutoffs:
            yield Parameter(
                name=name,
                value=Fraction(cutoff.value),
                about=cutoff.meaning,
                operator=cutoff.operator,
                source="; ".join(described.get(code, code) for code in cutoff.source)
                or cutoff.confidence.value,
                effective_from=cutoff.effective_from,
                basis=Basis.CHOSEN if cutoff.meaning == _BY_CHOICE else Basis.INSTRUMENT,
            )


def _sources(instrument: str) -> Mapping[str, str]:
    """What the short names of an instrument's sources stand for; nothing for one unknown here."""
    try:
        return load(instrument).sources
    except Refusal:
        return {}


def _findings(
    series: Series,
    totals: Sequence[CutOff],
    items: Sequence[CutOff],
    drop: Fraction | str | None,
) -> Iterator[Finding]:
    for at, point in enumerate(series.points):
        day = point.occurred_at.date()
        held = {f"{cut.operator} {plain(Fraction(cut.value))}": cut for cut in _on(day, totals)}
        if held:
            yield _total(at, point.value, held)
        for cut in _on(day, items):
            yield from _items(at, point.items, cut)
        if at and isinstance(drop, Fraction):
            yield _step(series, at, drop)


def _on(day: date, cutoffs: Sequence[CutOff]) -> Iterator[CutOff]:
    return (cutoff for cutoff in cutoffs if cutoff.in_force(day))


def _total(at: int, value: Fraction, cutoffs: Mapping[str, CutOff]) -> Finding:
    met = {name: cut.met(value) for name, cut in cutoffs.items()}
    shown = plain(value)
    if all(met.values()):
        says = f"{shown} is {' and '.join(met)}."
    elif any(met.values()):
        yes = " and ".join(name for name, is_met in met.items() if is_met)
        no = " or ".join(name for name, is_met in met.items() if not is_met)
        says = f"{shown} is {yes}, but not {no}."
    else:
        says = f"{shown} is not {' or '.join(met)}."
    figures = {name: "yes" if is_met else "no" for name, is_met in met.items()}
    return Finding(at, Kind.CUT_OFF, any(met.values()), says, {"value": text(value), **figures})


def _items(at: int, items: Sequence[Fraction | None], cut: CutOff) -> Iterator[Finding]:
    for number in cut.items:
        answer = items[number - 1] if number <= len(items) else None
        if answer is None:
            continue
        met = cut.met(answer)
        bound = f"{cut.operator} {plain(Fraction(cut.value))}"
        yield Finding(
            at,
            Kind.ITEM_CUT_OFF,
            met,
            f"Item {number}, {plain(answer)}, is {'' if met else 'not '}{bound}.",
            {"item": str(number), "value": text(answer)},
        )


def _step(series: Series, at: int, drop: Fraction) -> Finding:
    before, now = series.values[at - 1], series.values[at]
    flagged = series.worsening(before, now) >= drop
    relation = "at least" if flagged else "not"
    return Finding(
        at,
        Kind.DROP,
        flagged,
        f"From {plain(before)} to {plain(now)}: {relation} a {series.worse_word} of {plain(drop)}.",
        {"step": text(now - before), "threshold": text(drop)},
        rests_on=(at - 1,),
    )


ABSOLUTE = Method[Series](
    name="absolute",
    version="1.0",
    title="Absolute rules",
    asks="Does a rating meet a published cut-off, or fall by a stated amount since the last one?",
    sources=(
        "The instrument's definition: every cut-off with operator, source and date",
        "For the SRS: sources disagree on the operator; both readings are told",
    ),
    judge=_judge,
    specs=(
        Spec(
            "threshold",
            None,
            "the cut-off for the score",
            "left out: those of the instrument's definition",
        ),
        Spec(
            "operator",
            "both",
            "how a score is compared with the cut-off; both: every convention, side by side",
            "sources disagree",
            words=("both", *_OPERATORS),
        ),
        Spec(
            "item_threshold",
            None,
            "the cut-off for every single item",
            "left out: those of the instrument's definition",
        ),
        Spec(
            "item_operator",
            "<",
            "how an item is compared with a chosen cut-off",
            "convention",
            words=_OPERATORS,
        ),
        Spec(
            "population",
            None,
            "for whom, where the instrument's cut-offs hold for some people only",
            "left out: only what holds for everybody",
            free=True,
        ),
        Spec(
            "drop",
            None,
            "a fall from the last available rating that is flagged",
            "left out: 1 for the SRS, none for other instruments",
            operator=">=",
            above=Fraction(0),
        ),
    ),
)
