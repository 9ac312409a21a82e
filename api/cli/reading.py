"""`rapport read`: one relationship's entries, word for word, by the same doors as over HTTP."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer
from fastapi import Response
from pydantic import BaseModel, TypeAdapter

from api.cli.operator import AsOption, RoleOfOption, TokenFileOption, coming
from api.cli.replay import moment
from api.cli.terminal import Format, FormatOption, say, settings_of_record, show
from api.composition import house, open_service
from api.doors import Visit, enter
from api.routes import analysis, entries
from domain.event import Line

_LINE: TypeAdapter[str] = TypeAdapter(Line)
_EVERYTHING = 2**31


class What(StrEnum):
    """The doors through which entries of a relationship are read, and what is computed of them."""

    ENTRIES = "entries"
    RUPTURES = "ruptures"
    ANALYSES = "analyses"
    SUPERVISION = "supervision"
    PROCESS_NOTES = "process-notes"
    HOLDS = "holds"


def add_to(app: typer.Typer) -> None:
    app.command("read")(read)


def read(
    relationship: Annotated[UUID, typer.Argument(help="The relationship's id.")],
    what: Annotated[
        What,
        typer.Argument(
            help="Its own entries, those of a stream kept apart, or what methods make of it."
        ),
    ] = What.ENTRIES,
    family: Annotated[
        str | None, typer.Option(help="Only topics that begin so, as goal or consent.")
    ] = None,
    recorded: Annotated[
        bool,
        typer.Option("--recorded", help="Each entry as it was recorded, corrections not applied."),
    ] = False,
    known_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="As it was known then. Default: now."),
    ] = None,
    happened_by: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Of what had happened by then."),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="For what it is read; it goes into the access trail.")
    ] = None,
    as_: AsOption = None,
    role: RoleOfOption = None,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Show the entries of one relationship, as far as one may see them. The reading is recorded.

    Each stands with its version, which is what corrections and signatures name. Process notes are
    shown to whoever wrote them, supervision to therapist and supervisor: come as one, by --as and
    --role or a token. Ruptures are those that people marked, with the possible ones that methods
    find beside them; analyses are the cards of all methods over all lines of ratings.

    \b
    Examples:
      rapport read 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55
      rapport read 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --family goal --recorded
      rapport read 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 entries \\
        --known-at 2026-03-01 --purpose audit --format json
    """
    why = None if purpose is None else _LINE.validate_python(purpose)
    with (
        open_service(settings_of_record(), progress=say) as service,
        coming(service, as_, role, token_file, why) as who,
    ):
        visit = enter(
            house(service),
            who,
            what.value,
            relationship=relationship,
            purpose=why,
            known_at=known_at,
            happened_by=happened_by,
            limit=_EVERYTHING,
        )
        document = _shown(what, visit, family, standing=not recorded).model_dump(mode="json")
    show(format_, document, lambda: "\n".join(_TOLD.get(what, _lines)(document)))


def _shown(what: What, visit: Visit, family: str | None, *, standing: bool) -> BaseModel:
    match what:
        case What.ENTRIES:
            return entries.entries(visit, Response(), family=family, standing=standing)
        case What.SUPERVISION:
            return entries.supervision(visit, family=family, standing=standing)
        case What.PROCESS_NOTES:
            return entries.process_notes(visit, standing=standing)
        case What.HOLDS:
            return entries.holds(visit, standing=standing)
        case What.RUPTURES:
            return analysis.ruptures(visit)
        case What.ANALYSES:
            return analysis.analyses(visit)


# --- In words -------------------------------------------------------------------------------


def _ruptures(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{len(told['items'])} marked by people"
    for rupture in told["items"]:
        yield f"\nrupture {rupture['rupture']}, {'open' if rupture['open'] else 'resolved'}"
        for entry in (rupture["marked"], *rupture["repairs"], *rupture["views"]):
            yield from _entry(entry)
    found = told["possible"] or []
    yield f"\n{len(found)} possible ruptures, found by a method"
    for possible in found:
        said = "dismissed" if possible["dismissed"] else "not dismissed"
        yield f"\n  {possible['onset']['says']} ({possible['possible']['method']}; {said})"


def _cards(told: Mapping[str, Any]) -> Iterator[str]:
    for card in told["items"]:
        lines = ", ".join(
            f"{one['instrument']} {one['scale']} by the {one['perspective']}"
            for one in card["series"]
        )
        yield f"{card['method']} {card['version']}: {lines}"
        if card["refusal"]:
            yield f"  no answer ({card['refusal']['code']}): {card['refusal']['says']}"
        else:
            yield f"  {card['outcome']}: {card['says']}"


_TOLD = {What.RUPTURES: _ruptures, What.ANALYSES: _cards}


def _lines(page: Mapping[str, Any]) -> Iterator[str]:
    yield f"{page['stream']}: {len(page['items'])} entries"
    for entry in page["items"]:
        yield ""
        yield from _entry(entry)


def _entry(entry: Mapping[str, Any]) -> Iterator[str]:
    said = "on behalf of " + entry["on_behalf_of"] if entry["on_behalf_of"] else ""
    yield (
        f"{entry['version']:>5}  {entry['topic']}, {entry['occurred_at']}, "
        f"recorded {entry['recorded_at']} by {entry['actor']} {said}".rstrip()
    )
    if entry["content"] is None:
        yield f"       ({'withheld' if entry['withheld'] else 'erased'})"
    else:
        yield from _fields(entry["content"])
    if entry["signature"]:
        fits = "fits" if entry["signature"]["fits"] else "DOES NOT FIT"
        yield f"       the signature {fits} entry {entry['signature']['entry']}"


def _fields(content: Mapping[str, Any], depth: int = 7) -> Iterator[str]:
    for name, value in content.items():
        parts = value if isinstance(value, list) else [value]
        if any(isinstance(part, dict) for part in parts):
            for part in parts:
                yield f"{'':{depth}}{name}"
                yield from _fields(part, depth + 2)
        elif value not in ([], None):
            yield f"{'':{depth}}{name}: {', '.join(map(str, parts))}"
