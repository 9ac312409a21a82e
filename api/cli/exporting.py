"""`rapport export-dossier`: a copy of one relationship's record, and a commitment to it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter

from api.cli.operator import AsOption, RoleOfOption, TokenFileOption, coming
from api.cli.replay import moment
from api.cli.terminal import say, settings_of_record, write_private
from api.composition import house, open_service
from api.doors import enter
from api.routes.disclosure import export
from domain.event import Line
from domain.restriction import RecipientKind

_LINE: TypeAdapter[str] = TypeAdapter(Line)


def add_to(app: typer.Typer) -> None:
    app.command("export-dossier")(export_dossier)


def export_dossier(
    relationship: Annotated[UUID, typer.Argument(help="The relationship's id.")],
    file: Annotated[Path, typer.Argument(help="The new file, readable by you alone.")],
    known_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="As it was known then. Default: now."),
    ] = None,
    happened_by: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Of what had happened by then."),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="For what it is made; it stands in the account.")
    ] = None,
    recipient: Annotated[
        RecipientKind | None,
        typer.Option(help="For whom, where not for whoever asks: restrictions bind it."),
    ] = None,
    as_: AsOption = None,
    role: RoleOfOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Write a copy of one relationship's record as JSON. That it was made is an entry first.

    It states both times that it is as of, the version of every view, what was left out, and a
    salted commitment to its content that stands in the record too. Process notes are never in it.

    \b
    Examples:
      rapport export-dossier 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 copy.json --purpose 'own access'
      rapport export-dossier 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 march.json --known-at 2026-03-31
    """
    why = None if purpose is None else _LINE.validate_python(purpose)
    with (
        open_service(settings_of_record(), progress=say) as service,
        coming(service, as_, role, token_file, why) as who,
    ):
        visit = enter(
            house(service),
            who,
            "export",
            relationship=relationship,
            purpose=why,
            known_at=known_at,
            happened_by=happened_by,
            recipient=recipient,
        )
        copy = export(visit.as_copied())
    write_private(file, copy.model_dump_json(indent=2) + "\n")
    say(f"Wrote {file}; commitment {copy.commitment}.")
