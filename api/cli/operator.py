"""Who stands at the command line: the operator of this machine, or the bearer of a token.

Whoever can start this program here holds the database and the keyring, and could read everything
without us. So the operator comes as `system`, which the table of doors lets in everywhere; what
counts is that each reading is in the record, with the operator's own id. To record what somebody
says, the operator comes as that person: by a token for that one command, which stays in the list
of tokens.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from api.access import Principal
from api.cli.terminal import Exit, Failed
from api.composition import Service, authenticated, issue_token
from api.opening import operator_id
from domain.role import Role, is_revoked, role_stream

TOKEN_VARIABLE = "RAPPORT_TOKEN"  # noqa: S105  a name, no secret
_ONE_COMMAND = timedelta(minutes=5)

AsOption = Annotated[
    UUID | None,
    typer.Option("--as", help="Come as this person, by a token for this command alone."),
]
RoleOfOption = Annotated[
    Role | None, typer.Option("--role", help="In what capacity that person comes.")
]
TokenFileOption = Annotated[
    Path | None, typer.Option(help="Come as the bearer of this token, not as the operator.")
]


@dataclass(frozen=True, slots=True)
class Operator:
    """The account that runs this program."""

    person: UUID
    role: Role
    purpose: str


def who_asks(service: Service, token_file: Path | None, purpose: str | None) -> Principal:
    """The bearer of the token in the file or in RAPPORT_TOKEN; without one, the operator."""
    text = os.environ.get(TOKEN_VARIABLE)
    if token_file is not None:
        try:
            text = token_file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise Failed(Exit.USAGE, f"{token_file} holds no token.") from None
    if not text:
        return Operator(operator_id(service.log), Role.SYSTEM, purpose or "operation")
    who = authenticated(service, text.strip())
    if who is None:
        raise Failed(Exit.USAGE, "The token is not in force here.", "See `rapport token list`.")
    return who


@contextmanager
def coming(
    service: Service,
    person: UUID | None,
    role: Role | None,
    token_file: Path | None,
    purpose: str | None = None,
) -> Iterator[Principal]:
    """Whoever the options of a command name; a token made for it ends with it."""
    if person is None and role is None:
        yield who_asks(service, token_file, purpose)
        return
    if person is None or role is None or token_file is not None:
        raise Failed(
            Exit.USAGE,
            "Who comes? --as and --role name a person together, and --token-file stands alone.",
            "rapport token create makes a token that lasts.",
        )
    if role is Role.SYSTEM:
        raise Failed(
            Exit.USAGE, "The operator comes without --as and --role.", "Leave both options out."
        )
    if is_revoked(service.log.history(role_stream(person)), role):
        raise Failed(
            Exit.USAGE,
            f"The role {role.value} of {person} was revoked.",
            "`rapport role grant` grants it anew.",
        )
    expires, purpose = service.clock() + _ONE_COMMAND, purpose or "one command"
    text = issue_token(service, person, role, purpose, expires, "Came at the command line.")
    who = service.tokens.authenticate(text)
    try:
        yield who
    finally:
        service.tokens.revoke(who.token)
