"""What a definition must be beyond its shape: each fault is a field, and what mends it."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from domain.answers import exact_number, normal_word
from domain.definition import Definition, Response

Faults = Iterator[tuple[str, str]]
"""The field that does not fit, and what would."""


def faults(definition: Definition) -> Faults:
    """All that is wrong with it, in no stated order; nothing for a sound one."""
    yield from _of_responses(definition)
    yield from _of_item_numbers(definition)
    yield from _of_scales(definition)
    yield from _of_missing(definition)
    yield from _of_readings(definition)
    yield from _of_answers(definition)
    yield from _of_sources(definition)
    if not definition.forms:
        yield "forms", "name at least one perspective and its form"
    text = definition.text
    if text is not None and not definition.licence.ship_item_text:
        yield "text", "remove it: the licence does not let item texts be shipped"
    if text is not None and len(text.items) not in definition.counts:
        yield "text.items", f"give {definition.items.count} texts, one for each item"


def _of_responses(definition: Definition) -> Faults:
    yield from _of_response("response", definition.response)
    for index, other in enumerate(definition.responses):
        yield from _of_response(f"responses[{index}]", other)
    others = [number for other in definition.responses for number in other.items]
    if len(set(others)) < len(others):
        yield "responses", "an item answers on one scale"


def _of_response(field: str, response: Response) -> Faults:
    if response.step <= 0 or response.min >= response.max:
        yield field, "min must lie below max, and step above 0"
        return
    for name in ("min", "max", "step"):
        if getattr(response, name) * response.scale % 1:
            yield f"{field}.{name}", "times scale it must be a whole number"
            return
    if (response.high - response.low) % response.stride:
        yield f"{field}.step", "max must lie a whole number of steps above min"
    for number in response.labels:
        exact = exact_number(number)
        if exact is None or response.item(exact) is None:
            yield f"{field}.labels.{number}", "a label belongs to an answer of the scale"
    words = [normal_word(label) for label in response.labels.values()]
    if len(set(words)) < len(words) or any(exact_number(word) is not None for word in words):
        yield f"{field}.labels", "labels must differ and must not be numbers"


def _of_item_numbers(definition: Definition) -> Faults:
    numbered: list[tuple[str, tuple[int, ...]]] = [("reverse.items", definition.reverse.items)]
    numbered += [(f"scales.{name}.items", s.items) for name, s in definition.scales.items()]
    numbered += [(f"cutoffs[{i}].items", c.items) for i, c in enumerate(definition.cutoffs)]
    numbered += [(f"asked[{i}].items", (*a.items, a.where)) for i, a in enumerate(definition.asked)]
    numbered += [(f"risk_items[{i}].item", (r.item,)) for i, r in enumerate(definition.risk_items)]
    numbered += [(f"attention[{i}].item", (a.item,)) for i, a in enumerate(definition.attention)]
    for field, items in numbered:
        if len(set(items)) < len(items):
            yield field, "name each item once"
        if any(not 1 <= item <= definition.items.count for item in items):
            yield field, f"items are numbered from 1 to {definition.items.count}"
    last = definition.counts[-1]
    for index, other in enumerate(definition.responses):
        if any(item > last for item in other.items):
            yield f"responses[{index}].items", f"items are numbered from 1 to {last}"


def _of_scales(definition: Definition) -> Faults:
    scales = definition.scales
    if not scales and definition.scoring is not None:
        yield "scales", "name at least one scale, or leave out scoring: then raw items are kept"
    if scales and definition.scoring is None:
        yield "scoring", "say how the scales are made of their items"
        return
    for name, scale in scales.items():
        field = f"scales.{name}"
        if [bool(scale.items), bool(scale.sum_of), bool(scale.restates)].count(True) != 1:
            yield field, "give either items or sum_of or restates"
            return
        if any(part not in scales or not scales[part].items for part in scale.sum_of):
            yield f"{field}.sum_of", "name scales of this file that have items of their own"
            return
        if scale.sum_of and definition.metric_of(name).of != "sum":
            yield f"{field}.sum_of", "only sums add up; give items"
        if scale.restates is not None and (
            scale.restates not in scales or scales[scale.restates].restates is not None
        ):
            yield f"{field}.restates", "name a scale of this file that restates none itself"
            return
        if (scale.restates is None) != (scale.metric is None):
            yield f"{field}.metric", "give it where a scale is restated in it, and nowhere else"
    for name, scale in scales.items():
        responses = [definition.response_to(number) for number in definition.items_of(name)]
        if len({(r.min, r.max, r.scale) for r in responses}) > 1:
            yield f"scales.{name}.items", "items of one scale take the same answers"
        low, high = _bounds(definition, name, responses[0])
        if tuple(map(Fraction, scale.range)) != (low, high):
            yield f"scales.{name}.range", f"by items and answers it runs from {low} to {high}"


def _bounds(definition: Definition, name: str, response: Response) -> tuple[Fraction, Fraction]:
    times = definition.factor(name)
    return Fraction(response.min) * times, Fraction(response.max) * times


def _of_missing(definition: Definition) -> Faults:
    own = {name for name, scale in definition.scales.items() if scale.restates is None}
    begins = [rule.effective_from for rule in definition.missing]
    dates = [begin for begin in begins if begin != "publication"]
    if not definition.scales:
        if begins:
            yield "missing", "remove it: where there is no score, nothing is missing in it"
        return
    if begins[:1] != ["publication"] or len(dates) != len(begins) - 1:
        yield "missing", 'the first rule, and no other, holds from "publication"'
    if any(later <= earlier for earlier, later in pairwise(dates)):
        yield "missing", "put the rules in order of effective_from"
    for index, rule in enumerate(definition.missing):
        field = f"missing[{index}].prorate_up_to"
        if rule.prorate_up_to.keys() != own:
            yield field, "name every scale that restates no other, and nothing else"
            return
        for name, limit in rule.prorate_up_to.items():
            items = definition.scales[name].items
            if items and limit >= len(items):
                yield f"{field}.{name}", "a mean needs at least one answer"


def _of_readings(definition: Definition) -> Faults:
    for index, cutoff in enumerate(definition.cutoffs):
        if (cutoff.scale is None) != bool(cutoff.items):
            yield f"cutoffs[{index}]", "give either scale or items"
    named: list[tuple[str, str | None]] = [
        (f"{table}[{index}].scale", fact.scale)
        for table in ("cutoffs", "bands", "changes", "norms")
        for index, fact in enumerate(getattr(definition, table))
    ]
    for field, scale in named:
        if scale is not None and scale not in definition.scales:
            yield field, "name a scale of this file"
    for index, bands in enumerate(definition.bands):
        edges = [edge for band in bands.bands for edge in (band.low, band.high)]
        ordered = all(edge <= later for edge, later in pairwise(edges))
        apart = all(band.high < later.low for band, later in pairwise(bands.bands))
        if not (ordered and apart):
            yield f"bands[{index}].bands", "put the bands in rising order, without overlap"


def _of_answers(definition: Definition) -> Faults:
    """Values that are compared with answers are answers that can be given."""
    given: list[tuple[str, int, Decimal]] = [
        (f"risk_items[{i}].value", risk.item, risk.value)
        for i, risk in enumerate(definition.risk_items)
    ]
    given += [(f"asked[{i}].answered", a.where, a.answered) for i, a in enumerate(definition.asked)]
    given += [
        (f"attention[{i}].answer", attention.item, attention.answer)
        for i, attention in enumerate(definition.attention)
    ]
    for field, number, value in given:
        if definition.response_to(number).item(value) is None:
            yield field, f"it is no answer to item {number}"


def _of_sources(definition: Definition) -> Faults:
    for field, fact in definition.facts():
        if any(source not in definition.sources for source in fact.source):
            yield f"{field}.source", "describe each source in [sources]"
        if fact.confidence.verified and not fact.source:
            yield f"{field}.source", f"say where it was {fact.confidence}"
