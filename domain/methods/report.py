"""A method card as a document, and as text for people."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from domain.methods.card import Finding, Method, MethodCard, Outcome, Parameter
from domain.methods.numbers import ratings, text
from domain.methods.series import Axis, Point, place_of


def render_card(card: MethodCard) -> dict[str, Any]:
    """The card for JSON: numbers as decimal text, places counted from 1; no floats."""
    return {
        "method": card.method,
        "version": card.version,
        "title": card.title,
        "asks": card.asks,
        "retrospective": card.retrospective,
        "derived": True,
        "outcome": card.outcome.value,
        "says": card.says,
        "refusal": None
        if card.declined is None
        else {"code": card.declined.code.value, "says": card.declined.says},
        "figures": dict(card.figures),
        "findings": [_finding(finding) for finding in card.findings],
        "notes": list(card.notes),
        "parameters": [_parameter(parameter) for parameter in card.parameters],
        "series": [_axis(axis) for axis in card.axes],
        "inputs": [
            _input(place, point, of_scores=card.of_scores)
            for place, point in enumerate(card.points, 1)
        ],
        "as_known_at": card.as_known_at and card.as_known_at.isoformat(),
        "sources": list(card.sources),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    declined = finding.declined
    return {
        "place": finding.at + 1,
        "kind": finding.kind.value,
        "flagged": finding.flagged,
        "says": finding.says,
        "figures": dict(finding.figures),
        "rests_on": [at + 1 for at in finding.rests_on],
        "refusal": declined and {"code": declined.code.value, "says": declined.says},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    since = parameter.effective_from
    return {
        "name": parameter.name,
        "value": parameter.text,
        "operator": parameter.operator,
        "about": parameter.about,
        "basis": parameter.basis.value,
        "source": parameter.source,
        "effective_from": since.isoformat() if isinstance(since, date) else since,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "instrument": axis.instrument,
        "form": axis.form,
        "metric": axis.metric,
        "key_major": axis.key_major,
        "perspective": axis.perspective and axis.perspective.value,
        "scale": axis.scale,
        "rater": axis.rater and str(axis.rater),
    }


def _input(place: int, point: Point, *, of_scores: bool) -> dict[str, Any]:
    return {
        "place": place,
        "perspective": point.axis.perspective and point.axis.perspective.value,
        "session": point.session,
        "session_id": point.session_id and str(point.session_id),
        "entry": point.entry,
        "value": text(point.value) if of_scores else None,
        "occurred_at": point.occurred_at.isoformat(),
        "known_at": point.known_at.isoformat(),
        "flags": list(point.flags),
    }


# --- For people -----------------------------------------------------------------------------


def card_text(card: MethodCard) -> str:
    """What a person reads in a terminal: the answer first, then what it rests on."""
    return "\n".join(_lines(card))


def _lines(card: MethodCard) -> Iterator[str]:
    looking_back = ", looking back" if card.retrospective else ""
    yield f"{card.title} (method {card.method} {card.version}{looking_back})"
    yield card.asks
    yield ""
    if card.declined is None:
        yield f"{card.outcome.replace('-', ' ')}: {card.says}"
    else:
        yield f"no answer ({card.declined.code}): {card.declined.says}"
    shown = card.findings if card.outcome is Outcome.DESCRIBED else card.flagged
    for finding in shown:
        yield f"  {place_of(card.points[finding.at], finding.at)}: {finding.says}"
    yield from _table("figures", card.figures)
    yield ""
    yield "parameters"
    for parameter in card.parameters:
        operator = f"{parameter.operator} " if parameter.operator else ""
        value = "not given" if parameter.value in (None, "") else f"{operator}{parameter.text}"
        yield f"  {parameter.name:<20}{value:<12} {parameter.basis}; {parameter.source}"
    if card.notes:
        yield ""
        yield from card.notes
    yield ""
    yield f"{ratings(len(card.points))}: derived by a method, no statement by a person."
    yield from card.sources


def _table(title: str, figures: Mapping[str, str]) -> Iterator[str]:
    if figures:
        yield ""
        yield title
    for name, value in figures.items():
        yield f"  {name.replace('_', ' '):<32}{value}"


def render_method(method: Method[Any]) -> dict[str, Any]:
    """A method for the list of methods: what it asks, and its parameters as they are by default."""
    return {
        "method": method.name,
        "version": method.version,
        "title": method.title,
        "asks": method.asks,
        "retrospective": method.retrospective,
        "flags": method.detects,
        "parameters": [
            {**_parameter(spec.resolved(method.name, None)), "must_be": spec.expected}
            for spec in method.specs
        ],
        "sources": list(method.sources),
    }
