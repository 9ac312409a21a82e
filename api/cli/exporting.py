"""`rapport export`: an evidence bundle of one relationship; `rapport export-dossier`: a copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter

from api.bundles import Made, NotChosen, Overtaken, TimeAhead, make
from api.cli.operator import AsOption, RoleOfOption, TokenFileOption, coming
from api.cli.replay import moment
from api.cli.terminal import (
    Exit,
    Failed,
    Format,
    FormatOption,
    say,
    settings_of_record,
    show,
    write_private,
)
from api.composition import house, open_service
from api.doors import enter
from api.routes.disclosure import export
from domain.event import Line
from domain.restriction import RecipientKind
from infra import bundle
from infra.bundle import BundleBroken

_LINE: TypeAdapter[str] = TypeAdapter(Line)

RelationshipArgument = Annotated[UUID, typer.Argument(help="The relationship's id.")]
KnownAtOption = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="As it was known then. Default: now."),
]
HappenedByOption = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="Of what had happened by then."),
]
PurposeOption = Annotated[
    str | None, typer.Option(help="For what it is made; it stands in the account.")
]
RecipientOption = Annotated[
    RecipientKind | None,
    typer.Option(help="For whom, where not for whoever asks: restrictions bind it."),
]


def add_to(app: typer.Typer) -> None:
    app.command("export")(export_bundle)
    app.command("export-dossier")(export_dossier)


def export_bundle(
    relationship: RelationshipArgument,
    file: Annotated[
        Path, typer.Option("--output", "-o", help="The new bundle, readable by you alone.")
    ],
    known_at: KnownAtOption = None,
    happened_by: HappenedByOption = None,
    purpose: PurposeOption = None,
    recipient: RecipientOption = None,
    only: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="POSITION", help="Disclose this entry's content alone; repeatable."
        ),
    ] = None,
    as_: AsOption = None,
    role: RoleOfOption = None,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Write an evidence bundle of one relationship. That it was made is an entry first.

    The zip file holds each entry with its proof under the log's signed checkpoint, the views, and
    a page for people. Content that is not for its reader is replaced by the commitment to it, so
    one entry can be shown alone. `rapport-verify` checks it without this program and its database.

    \b
    Examples:
      rapport export 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 -o case.zip --purpose 'own access'
      rapport export 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 -o march.zip --known-at 2026-03-31
    """
    why = None if purpose is None else _LINE.validate_python(purpose)
    if not file.parent.is_dir() or file.is_dir():
        raise Failed(Exit.USAGE, f"{file} cannot be written: it is no file in a folder.")
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
        with _explained():
            made = make(service, visit, only or ())
        key = str(service.log.key.verifier)
    bundle.write(file, made.data)
    document = {
        "bundle": str(file),
        "entries": made.entries,
        "withheld": made.withheld,
        "position": made.position,
        "log": key,
    }
    show(format_, document, lambda: _in_words(file, made, key))


@contextmanager
def _explained() -> Iterator[None]:
    """What keeps a bundle from being made, for the person who asked for it."""
    try:
        yield
    except TimeAhead:
        raise Failed(
            Exit.USAGE, "That time has not come: nobody knows what is known then."
        ) from None
    except NotChosen as error:
        raise Failed(
            Exit.USAGE, f"There is no content to disclose at position {error} for this reader."
        ) from None
    except Overtaken:
        raise Failed(Exit.FOUND, "An entry came in between.", "Make the bundle again.") from None
    except BundleBroken as broken:
        raise Failed(
            Exit.FOUND,
            f"What is stored does not prove itself ({broken.code}, {broken.file}): no bundle.",
            "Run `rapport verify`.",
        ) from None


def _in_words(file: Path, made: Made, key: str) -> str:
    return (
        f"Wrote {file}: {made.entries} entries, the content of {made.withheld} withheld.\n"
        f"That it was made stands at position {made.position} of the log.\n"
        f"Check it by: rapport-verify {file.name} --key {key}"
    )


def export_dossier(
    relationship: RelationshipArgument,
    file: Annotated[Path, typer.Argument(help="The new file, readable by you alone.")],
    known_at: KnownAtOption = None,
    happened_by: HappenedByOption = None,
    purpose: PurposeOption = None,
    recipient: RecipientOption = None,
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
