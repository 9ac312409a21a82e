"""`rapport score`, `gas` and `gbo`: what keys and formulas make of answers. No record is needed."""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from api.cli.terminal import Exit, Failed, Format, FormatOption, show
from domain.attainment import Attainment, GoalCountWrong, Outcome, attainment, goal_change
from domain.score_report import report_text, score_report


def add_to(app: typer.Typer) -> None:
    app.command("score")(score)
    app.command("gas")(gas)
    app.command("gbo")(gbo)


def score(
    instrument: Annotated[
        str, typer.Argument(help="Its id or an alias, in any case: WAI-SR, SRS-3, PHQ-9 …")
    ],
    items: Annotated[
        str,
        typer.Option(
            help="The answers as a JSON list: numbers, words of the scale, or null where not"
            " answered."
        ),
    ],
    perspective: Annotated[
        str | None, typer.Option(help="Whose form it is: client, therapist, observer …")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Score by the rules of that day. Default: newest."),
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Score answers by an instrument's key, with cut-offs, risk items, flags and sources.

    \b
    Examples:
      rapport score SRS-3 --items '[8.5, 9, 7.2, 8]'
      rapport score WAI-SR --items '[5,4,4,5,3,4,5,5,4,4,5,4]' --perspective client
      rapport score SWLS --items '[5,null,4,6,5]' --as-of 2024-03-01 --format json
    """
    answers = json_list("--items", items, "[8.5, 9, null, 8]")
    at = as_of and as_of.date()
    report = score_report(instrument, answers, perspective=perspective, at=at)
    show(format_, report, lambda: report_text(report))


def gas(
    scores: Annotated[
        str, typer.Option(help="What each goal reached: -2 to 2, or null, as a JSON list.")
    ],
    weights: Annotated[
        str | None, typer.Option(help="The weight of each goal, above 0. Default: all alike.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Where each goal stood at first: its T-score stands beside.")
    ] = None,
    rho: Annotated[
        str | None, typer.Option(help="The correlation that goals are assumed to have.")
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Compute the T-score of Goal Attainment Scaling (Kiresuk & Sherman 1968).

    A goal that was not rated drops out of every sum. 50 is what was expected.

    \b
    Examples:
      rapport gas --scores '[1, 0, -1]' --weights '[2, 1, 1]'
      rapport gas --scores '[1, 2]' --baseline '[-1, -2]' --rho 0.3 --format json
    """
    weighed = None if weights is None else json_list("--weights", weights, "[2, 1, 1]")
    reached = attainment(json_list("--scores", scores, "[1, 0, -1]"), weighed, rho=rho)
    began = None
    if baseline is not None:
        first = json_list("--baseline", baseline, "[-1, -1, -2]")
        if len(first) != reached.count:
            raise GoalCountWrong(
                instrument="GAS", goals=reached.count, got=len(first), what="baseline scores"
            )
        began = attainment(first, weighed, rho=rho)
    document = _rendered_gas(reached, began)
    show(format_, document, lambda: "\n".join(_gas_in_words(document)))


def gbo(
    first: Annotated[
        str, typer.Option(help="The first rating of each goal: 0 to 10, or null, as a JSON list.")
    ],
    last: Annotated[str, typer.Option(help="The last rating of each goal, in the same order.")],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Compute how far goals moved, by Goal-Based Outcomes: each by itself, and on the mean.

    \b
    Examples:
      rapport gbo --first '[2, 3, 1]' --last '[6, 5, null]'
    """
    began = json_list("--first", first, "[2, 3, 1]")
    document = _rendered_gbo(goal_change(began, json_list("--last", last, "[6, 5, 4]")))
    show(format_, document, lambda: "\n".join(_gbo_in_words(document)))


def json_list(option: str, text: str, example: str) -> list[object]:
    """The list that an option gives as JSON, every number as the decimal it was written as."""
    mend = f"Give a JSON list, as in {option} '{example}'."
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError):
        raise Failed(Exit.USAGE, f"{option} is no JSON.", mend) from None
    if not isinstance(found, list):
        raise Failed(Exit.USAGE, f"{option} is no list.", mend)
    return found


# --- Goals, as documents and in words -------------------------------------------------------


def _rendered_gas(reached: Attainment, began: Attainment | None) -> dict[str, Any]:
    return {
        "instrument": "GAS",
        "t_score": reached.text,
        "t_score_exact": str(reached.t),
        "rho": str(reached.rho),
        "goals": list(reached.goals),
        "missing": list(reached.missing),
        "as_expected": reached.is_expected,
        "baseline": began and {"t_score": began.text, "missing": list(began.missing)},
        "change": _change(reached, began),
    }


def _change(reached: Attainment, began: Attainment | None) -> str | None:
    """The difference of two T-scores of the same goals; of others it would say nothing."""
    if began is None or began.goals != reached.goals:
        return None
    return f"{Decimal(reached.text) - Decimal(began.text):f}"


def _gas_in_words(document: dict[str, Any]) -> Iterator[str]:
    yield f"T {document['t_score']} over goals {_listed(document['goals'])}, rho {document['rho']}"
    if document["missing"]:
        yield f"not rated, and in no sum: {_listed(document['missing'])}"
    if document["baseline"]:
        change = document["change"] or "none: they are not of the same goals"
        yield f"baseline T {document['baseline']['t_score']}, change {change}"
    yield "50: all goals met as expected (Kiresuk & Sherman 1968)"


def _rendered_gbo(outcome: Outcome) -> dict[str, Any]:
    return {
        "instrument": "GBO",
        "changes": list(outcome.changes),
        "mean_change": outcome.text,
        "mean_change_exact": None if outcome.mean is None else str(outcome.mean),
        "missing": list(outcome.missing),
        "thresholds": [
            {
                "operator": threshold.operator,
                "value": str(threshold.value),
                "meaning": threshold.meaning,
                "met": met,
                "confidence": threshold.confidence.value,
                "note": threshold.note,
            }
            for threshold, met in outcome.reliable
        ],
    }


def _gbo_in_words(document: dict[str, Any]) -> Iterator[str]:
    for number, change in enumerate(document["changes"], 1):
        yield f"goal {number}: {'not rated both times' if change is None else f'{change:+}'}"
    yield f"mean change {document['mean_change'] or 'none'}"
    for threshold in document["thresholds"]:
        yield (
            f"mean change {threshold['operator']} {threshold['value']}: "
            f"{'yes' if threshold['met'] else 'no'} "
            f"({threshold['meaning']}; {threshold['confidence']})"
        )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
