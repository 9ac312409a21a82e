"""Who stands at the command line: the operator of this machine, or the bearer of a token.

Whoever can start this program here holds the database and the keyring, and could read everything
without us. So the operator comes as `system`, which the table of doors lets in everywhere; what
counts is that each reading is in the record, with the operator's own id.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from api.access import Principal
from api.cli.terminal import Exit, Failed
from api.composition import Service
from domain.access import Role
from infra.identity import NotAuthentic

TOKEN_VARIABLE = "RAPPORT_TOKEN"  # noqa: S105  a name, no secret


class _Log(Protocol):
    def keyed_id(self, *natural_key: str) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Operator:
    """The account that runs this program."""

    person: UUID
    role: Role
    purpose: str


def operator_id(log: _Log) -> UUID:
    """The id of whoever runs this program: the same for the same account of this machine."""
    return log.keyed_id("operator", str(os.getuid()))


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
    try:
        return service.tokens.authenticate(text.strip())
    except NotAuthentic:
        raise Failed(
            Exit.USAGE, "The token is not in force here.", "See `rapport token list`."
        ) from None
