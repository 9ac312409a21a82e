"""`rapport score`: what an instrument's key makes of answers. It needs no record."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import typer

from api.cli.terminal import Exit, Failed, Format, FormatOption, show
from domain.score_report import report_text, score_report


def add_to(app: typer.Typer) -> None:
    app.command("score")(score)


def score(
    instrument: Annotated[
        str, typer.Argument(help="Its id or an alias: WAI-SR, WAI-36, WAI-S, SRS-3, SWLS.")
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
    on: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Score by the rules of that day. Default: newest."),
    ] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Score answers by an instrument's key, with cut-offs, flags and sources.

    \b
    Examples:
      rapport score SRS-3 --items '[8.5, 9, 7.2, 8]'
      rapport score WAI-SR --items '[5,4,4,5,3,4,5,5,4,4,5,4]' --perspective client
      rapport score SWLS --items '[5,null,4,6,5]' --on 2024-03-01 --format json
    """
    report = score_report(instrument, _answers(items), perspective=perspective, at=on and on.date())
    show(format_, report, lambda: report_text(report))


def _answers(items: str) -> list[object]:
    mend = "Give a JSON list, as in --items '[8.5, 9, null, 8]'."
    try:
        # A number stays the decimal it was written as: nothing here is ever a float.
        answers = json.loads(items, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError):
        raise Failed(Exit.USAGE, "--items is no JSON.", mend) from None
    if not isinstance(answers, list):
        raise Failed(Exit.USAGE, "--items is no list.", mend)
    return answers
