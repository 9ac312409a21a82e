"""`rapport record`: hand in any command there is, by the same doors as over HTTP."""

import json
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import typer
from pydantic import ValidationError

from api.access import DOORS
from api.cli.operator import AsOption, RoleOfOption, TokenFileOption, coming
from api.cli.terminal import Exit, Failed, Format, FormatOption, say, settings_of_record, show
from api.composition import house, open_service
from api.doors import Desk
from api.problems import (
    DOES_NOT_FIT,
    INVALID,
    Fault,
    FieldError,
    MalformedJson,
    document,
    field_errors,
    problem,
)
from api.routes.body import parse
from api.routes.command import EXAMPLES, ReceiptDocument
from domain.answers import quoted
from domain.event import Command, Refusal
from domain.topics import COMMANDS

_BODY_LIMIT: Final = 1 << 20


def add_to(app: typer.Typer) -> None:
    app.command("record")(record)


def record(
    command: Annotated[
        str | None, typer.Argument(help="The command, by its name; --list shows them all.")
    ] = None,
    body: Annotated[str | None, typer.Option(help="The command as a JSON object.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A file that holds it; - is stdin. Free text is safer there: arguments can be"
            " seen by others on this machine.",
            allow_dash=True,
        ),
    ] = None,
    as_: AsOption = None,
    role: RoleOfOption = None,
    token_file: TokenFileOption = None,
    id_: Annotated[
        UUID | None,
        typer.Option("--id", help="The command's id: the same again gives the same receipt."),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(min=0, help="Only if the stream that it is about is at this version."),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Show every command, and who may hand it in.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Show a whole body of that command.")
    ] = False,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Record what happened: any command of the record, and its receipt as the answer.

    What it may say, and who may say it, is the same as over HTTP, and so is what it is answered
    with where it is refused. The operator of this machine founds the clinic and registers people;
    what a person says is recorded as that person, by --as and --role or by the person's token.

    \b
    Examples:
      rapport record --list
      rapport record give-consent --example
      rapport record register-person --body '{"full_name": "Maria Beispiel"}'
      rapport record register-person --file person.json --format json
      rapport record register-practitioner --file practitioner.json \\
        --as 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --role administrator
    """
    if list_:
        show(format_, {"commands": list(_listed())}, lambda: "\n".join(_lines()))
        return
    kind = _kind(command)
    if example:
        typer.echo(json.dumps(EXAMPLES[kind.name], indent=2, ensure_ascii=False))
        return
    command_id = id_ or uuid4()
    try:
        asked = kind.model_validate(_parsed(body, file, kind.name))
        with (
            open_service(settings_of_record(), progress=say) as service,
            coming(service, as_, role, token_file) as who,
        ):
            receipt = Desk(house(service), who, command_id, version).record(asked)
    except (Refusal, Fault, ValidationError) as error:
        raise _told(error, kind, command_id, format_) from None
    answer = ReceiptDocument.of(receipt)
    show(format_, answer.model_dump(mode="json"), lambda: "\n".join(_in_words(answer)))


# --- What there is --------------------------------------------------------------------------


def _kind(name: str | None) -> type[Command]:
    if name is None:
        raise Failed(Exit.USAGE, "Which command?", "`rapport record --list` shows them all.")
    if name not in DOORS or name not in COMMANDS:
        near = get_close_matches(name, [name for name in COMMANDS if name in DOORS], n=3)
        raise Failed(
            Exit.USAGE,
            f"There is no command {name!a}.",
            f"Did you mean {' or '.join(near)}?"
            if near
            else "`rapport record --list` shows them all.",
        )
    return COMMANDS[name]


def _listed() -> Iterator[dict[str, Any]]:
    for name, kind in COMMANDS.items():
        if name in DOORS:
            yield {
                "command": name,
                "says": " ".join((kind.__doc__ or "").split()),
                "who": {role.value: reach.value for role, reach in DOORS[name].who.items()},
                "fields": list(kind.model_fields),
                "required": [
                    field for field, info in kind.model_fields.items() if info.is_required()
                ],
            }


def _lines() -> Iterator[str]:
    for one in _listed():
        yield f"{one['command']:<28}{one['says']}"
        yield f"{'':<28}{', '.join(one['who'])}"


# --- What was sent --------------------------------------------------------------------------


def _parsed(body: str | None, file: Path | None, name: str) -> object:
    if (body is None) == (file is None):
        raise Failed(
            Exit.USAGE,
            "Give the command's body, by --body or by --file.",
            f"`rapport record {name} --example` shows one.",
        )
    if body is not None:
        return parse(body.encode("utf-8", "surrogatepass"))
    assert file is not None
    if str(file) == "-":
        sent = sys.stdin.buffer.read(_BODY_LIMIT + 1)
    else:
        with file.open("rb") as opened:
            sent = opened.read(_BODY_LIMIT + 1)
    if len(sent) > _BODY_LIMIT:
        raise MalformedJson(reason=f"it is longer than {_BODY_LIMIT} bytes")
    return parse(sent)


# --- What is answered -----------------------------------------------------------------------


def _in_words(receipt: ReceiptDocument) -> Iterator[str]:
    yield f"Recorded at {receipt.recorded_at:%Y-%m-%d %H:%M:%S %z} as command {receipt.command_id}."
    for entry in receipt.entries:
        yield (
            f"  {entry.stream} version {entry.version}, position {entry.position}, "
            f"leaf {entry.leaf_hash}"
        )
    yield f"The log has {receipt.tree_size} entries, root {receipt.root}"


def _told(
    error: Refusal | Fault | ValidationError, kind: type[Command], command_id: UUID, format_: Format
) -> Exception:
    """The same problem as over HTTP: as a document on stdout, or in words on stderr."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False)
        errors = field_errors([{**fault, "loc": ("body", *fault["loc"])} for fault in faults])
        found = problem(command_id, 422, INVALID, DOES_NOT_FIT, errors=errors)
        said: Exception = Failed(
            Exit.USAGE,
            "\n".join(_field(*each) for each in zip(errors, faults, strict=True)),
            f"`rapport record {kind.name} --example` shows a body that fits.",
        )
    else:
        rule = error.rule if isinstance(error, Refusal) else None
        found = problem(
            command_id, error.status, error.code, error.detail, rule=rule, ids=error.ids
        )
        said = error
    if format_ is Format.JSON:
        show(format_, document(found), "")
    return said


_TEXTS: Final = frozenset({"blank_text", "unstorable_text", "missing", "extra_forbidden"})


def _field(error: FieldError, fault: Mapping[str, Any]) -> str:
    """What does not fit, with the value where it is a word or a number: never with free text."""
    value, kind = fault["input"], error.code
    shown = isinstance(value, str | int | float) and not (
        kind in _TEXTS or kind.startswith("string_")
    )
    said = f", not {quoted(str(value))}" if shown else ""
    return f"{error.pointer or 'the body'}: {error.message.rstrip('.')}{said} ({kind})"
