"""`rapport role`: who may use the record in which capacity."""

from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter

from api.cli.terminal import Exit, Failed, Format, FormatOption, say, settings_of_record, show
from api.composition import by_machine, open_service, revoke_role
from domain.event import Text
from domain.role import GrantRole, Role, role_stream, roles_of

_TEXT: TypeAdapter[str] = TypeAdapter(Text)

_role = typer.Typer(
    help="In what capacity somebody may use the record: a token works only while its role stands.",
    no_args_is_help=True,
)

PrincipalOption = Annotated[UUID, typer.Option(help="Whose role: a person or practitioner by id.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it stands in the record for good.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(_role, name="role")


@_role.command("grant")
def grant(
    principal: PrincipalOption,
    role: Annotated[Role, typer.Option(help="The capacity.")],
    reason: ReasonOption = "Works here.",
    format_: FormatOption = Format.TEXT,
) -> None:
    """Let somebody use the record in a capacity. A token to do it with is made by `rapport token`.

    \b
    Examples:
      rapport role grant --principal 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --role supervisor
    """
    command = GrantRole(person=principal, role=role, reason=_TEXT.validate_python(reason))
    with open_service(settings_of_record(), progress=say) as service:
        receipt = service.records.record(command, by_machine(service))
        roles = roles_of(service.log.history(role_stream(principal)))
    document = {
        "principal": str(principal),
        "roles": [each.value for each in roles],
        "position": receipt.position,
    }
    show(format_, document, f"{principal}: {', '.join(roles)}")


@_role.command("revoke")
def revoke(
    principal: PrincipalOption,
    role: Annotated[Role, typer.Option(help="The capacity.")],
    reason: ReasonOption = "No longer works here.",
    format_: FormatOption = Format.TEXT,
) -> None:
    """End a capacity, and every token that carries it, from the next request on.

    \b
    Examples:
      rapport role revoke --principal 5f2b7a34-8d7e-4a3a-b1a4-0a8f8f3d9c55 --role supervisor
    """
    with open_service(settings_of_record(), progress=say) as service:
        if not revoke_role(service, principal, role, _TEXT.validate_python(reason)):
            raise Failed(Exit.FOUND, f"{principal} does not have the role {role.value}.")
        roles = roles_of(service.log.history(role_stream(principal)))
    document = {"principal": str(principal), "roles": [each.value for each in roles]}
    show(format_, document, f"{principal}: {', '.join(roles) or 'no role'}")


@_role.command("list")
def list_(format_: FormatOption = Format.TEXT) -> None:
    """List everybody who ever had a role, with those that stand.

    \b
    Examples:
      rapport role list --format json
    """
    with open_service(settings_of_record(), progress=say) as service:
        found = {
            stream.id: roles_of(service.log.history(stream))
            for stream in service.log.streams("role")
        }
    document = {"roles": {str(id_): [r.value for r in roles] for id_, roles in found.items()}}
    lines = [f"{id_}  {', '.join(roles) or '(none)'}" for id_, roles in found.items()]
    show(format_, document, "\n".join(lines) or "Nobody has a role.")
