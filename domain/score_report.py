"""The report of a score: all that a reader needs to judge it, as a document and as a table.

It is what `rapport score` prints and what the API answers. No record is read for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from domain.definition import Dated, Definition, Threshold
from domain.instrument import load
from domain.methods.response_quality import RESPONSE_QUALITY
from domain.methods.series import UNNAMED, Forms, Point
from domain.scoring import (
    BandReading,
    CutOffReading,
    RawItems,
    ScaleScore,
    Score,
    parse_items,
    score,
)


def score_report(
    instrument: str,
    answers: Sequence[object],
    *,
    perspective: str | None = None,
    at: date | None = None,
) -> dict[str, Any]:
    """The score of answers as people give them, with what a reader needs to judge it.

    Refuses as `load`, `parse_items` and `score` do. The shape is that of `render_score`, with
    name, form, answers, their quality, the changes that count as reliable, citation, licence and
    sources.
    """
    definition = load(instrument)
    items = parse_items(definition, answers)
    scored = score(definition, items, perspective=perspective, at=at)
    licence = definition.licence
    return {
        **render_score(scored),
        "name": definition.name,
        "citation": definition.citation,
        "form": None if scored.perspective is None else definition.forms[scored.perspective],
        "as_of": at and at.isoformat(),
        "answers": [
            None if item is None else definition.response_to(number).shown(item)
            for number, item in enumerate(items, 1)
        ],
        "risk_items_unanswered": list(definition.risk_items_unanswered(items, at)),
        "quality": list(_quality(definition, items)),
        "missing_rule": definition.missing_rule(at).note if definition.missing else None,
        "changes": [
            {"scale": change.scale, "kind": change.kind, **_render_threshold(change)}
            for change in definition.changes
            if change.in_force(at)
        ],
        "licence": {
            "state": licence.state,
            "statement": licence.statement,
            "attestation_required": licence.attestation_required,
        },
        "note": definition.note,
        "sources": dict(definition.sources),
    }


_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""One form has no course, so when it was filled in does not matter."""


def _quality(definition: Definition, items: RawItems) -> Iterator[dict[str, Any]]:
    """What the answers say of how the form was filled in: a reason to ask, never a verdict."""
    answers = tuple(
        None if item is None else Fraction(item, definition.response_to(number).scale)
        for number, item in enumerate(items, 1)
    )
    form = Point(UNNAMED, Fraction(0), _ANY_TIME, _ANY_TIME, items=answers)
    forms = Forms.of(
        [form],
        lowest=Fraction(definition.response.min),
        highest=Fraction(definition.response.max),
        reversed_items=definition.reverse.items,
    )
    asked = ", ".join(f"{each.item}={each.answer}" for each in definition.attention)
    card = RESPONSE_QUALITY.card(forms, {"attention": asked})
    for finding in card.findings:
        yield {
            "kind": finding.kind.value,
            "flagged": finding.flagged,
            "says": finding.says,
            "method": f"{card.method} {card.version}",
        }


# --- As a document --------------------------------------------------------------------------


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
        "scales": {
            name: render_scale(part)
            for name, part in (*score.scales.items(), *score.restated.items())
        },
        "cutoffs": [_render_cutoff(reading) for reading in score.cutoffs],
        "bands": [_render_band(reading) for reading in score.bands],
        "risk_items": [{"item": risk.item, **_render_threshold(risk)} for risk in score.risk_items],
    }


def render_scale(part: ScaleScore) -> dict[str, Any]:
    """The score of one scale for JSON."""
    return {
        "value": part.text,
        "exact": None if part.value is None else str(part.value),
        "metric": part.metric,
        "restates": part.restates,
        "range": [str(part.low), str(part.high)],
        "missing": list(part.missing),
        "flags": [flag.value for flag in part.flags],
    }


def _render_cutoff(reading: CutOffReading) -> dict[str, Any]:
    cutoff = reading.cutoff
    return {
        "scale": cutoff.scale,
        "item": reading.item,
        **_render_threshold(cutoff),
        "met": reading.met,
    }


def _render_band(reading: BandReading) -> dict[str, Any]:
    bands = reading.bands
    return {
        "name": bands.name,
        "scale": bands.scale,
        "label": reading.label,
        **_render_dated(bands),
    }


def _render_threshold(fact: Threshold) -> dict[str, Any]:
    return {
        "operator": fact.operator,
        "value": str(fact.value),
        "meaning": fact.meaning,
        **_render_dated(fact),
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


# --- As a table -----------------------------------------------------------------------------


def report_text(report: Mapping[str, Any]) -> str:
    """What `score_report` gives, as a table for people."""
    who = f" - {report['perspective']} form {report['form']}" if report["form"] else ""
    lines = [
        f"{report['instrument']} {report['version']} - {report['name']}{who}",
        f"key {report['key_hash']}",
        "",
        *_scales(report),
        *_risks(report),
    ]
    if report["missing"]:
        lines += ["", f"not answered: {', '.join(map(str, report['missing']))}"]
        lines += [f"missing rule: {report['missing_rule']}"] if report["missing_rule"] else []
    asking = [f"quality: {each['says']}" for each in report["quality"] if each["flagged"]]
    lines += ["", *asking] if asking else []
    readings = [*_readings(report)]
    if readings:
        facts = (*report["cutoffs"], *report["bands"], *report["risk_items"], *report["changes"])
        cited = {name for fact in facts for name in fact["source"]}
        lines += ["", *readings, ""]
        lines += [f"{name}: {report['sources'][name]}" for name in sorted(cited)]
    lines += ["", report["citation"], f"licence: {report['licence']['state']}"]
    return "\n".join(lines)


def _scales(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["scales"]:
        yield f"no score: the key is not known here ({', '.join(report['flags'])})"
        return
    yield f"{'scale':<18}{'score':>9}  {'range':<10}  flags"
    for name, part in report["scales"].items():
        value, bounds = part["value"] or "none", " to ".join(part["range"])
        yield f"{name:<18}{value:>9}  {bounds:<10}  {', '.join(part['flags'])}".rstrip()


def _risks(report: Mapping[str, Any]) -> Iterator[str]:
    if report["risk_items"] or report["risk_items_unanswered"]:
        yield ""
    for risk in report["risk_items"]:
        yield f"RISK item {risk['item']} {_threshold(risk)}"
    for item in report["risk_items_unanswered"]:
        yield f"RISK item {item} was not answered: that says neither yes nor no"


def _readings(report: Mapping[str, Any]) -> Iterator[str]:
    for cut in report["cutoffs"]:
        where = cut["scale"] or f"item {cut['item']}"
        whom = f", {cut['population']}" if cut["population"] else ""
        yield (
            f"{where} {cut['operator']} {cut['value']}{whom}: {'yes' if cut['met'] else 'no'} "
            f"({cut['meaning']}; {_cited(cut)})"
        )
    for band in report["bands"]:
        yield (
            f"{band['scale']}: {band['label'] or 'between two bands'} "
            f"({band['name']}; {_cited(band)})"
        )
    for change in report["changes"]:
        yield f"change of {change['scale']} {_threshold(change)}"


def _threshold(fact: Mapping[str, Any]) -> str:
    return f"{fact['operator']} {fact['value']}: {fact['meaning']} ({_cited(fact)})"


def _cited(fact: Mapping[str, Any]) -> str:
    """By name where it was read; else how well it is known."""
    return ", ".join(fact["source"]) or str(fact["confidence"])
