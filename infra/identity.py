"""Who knocks: bearer tokens, each bound by a MAC to what its row says.

A token reads `rpt_<clinic>_<token id>_<secret>`: two ids in hex and 32 random bytes in base64url.
Its row holds an HMAC-SHA-256, under a key of the clinic's keyring, of the secret and of all that
the row says of it. A stolen table opens nothing, and whoever can write into it, but has not the
keyring, makes no token and changes none: neither person nor role nor end.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool
from pydantic import TypeAdapter

from domain.access import Role
from domain.event import Line
from domain.records import Clock, system_clock
from infra.canonical import encode, time_text
from infra.keyring import Keyring
from infra.recorder import pinned
from infra.sealing import Sealer

_SECRET_BYTES = 32
_TEXT = re.compile(r"rpt_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})", re.ASCII)
_LINE: TypeAdapter[str] = TypeAdapter(Line)
_ROLES = frozenset(role.value for role in Role if role is not Role.SYSTEM)
_COLUMNS = "token_id, principal, role, purpose, created_at, expires_at, revoked_at"


class NotAuthentic(Exception):
    """The text is no token in force here. It is not told apart what is wrong with it."""


class NotForTokens(ValueError):
    """A role that belongs to whoever holds the machine, and that no token carries."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has shown a token, and in what capacity."""

    person: UUID
    role: Role
    purpose: str
    """For what this person reads, where a request does not say."""
    token: UUID
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token: everything but its secret."""

    id: UUID
    principal: UUID
    role: Role
    purpose: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class Tokens:
    """The tokens of one clinic. Safe to share between threads; nothing is remembered, so that a
    revocation holds from the next request on."""

    def __init__(
        self,
        conninfo: str,
        clinic: UUID,
        keyring: Keyring,
        *,
        clock: Clock = system_clock,
        pool_size: int = 4,
    ) -> None:
        """`conninfo` is that of the role `rapport_app`; connections are opened when needed."""
        self._clinic = clinic
        self._keyring = keyring
        self._sealer = Sealer()
        keyring.on_destroyed(self._sealer.forget)
        self._clock = clock
        self._pool = ConnectionPool(
            pinned(conninfo, clinic),
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True},
            min_size=0,
            max_size=pool_size,
            timeout=5,
            open=True,
            check=ConnectionPool.check_connection,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def issue(self, principal: UUID, role: Role, purpose: str, expires: datetime) -> str:
        """A new token's text; it is not kept and cannot be asked for again.

        Raises NotForTokens, or pydantic's ValidationError for a purpose that no entry can hold.
        """
        if role.value not in _ROLES:
            raise NotForTokens(role.value)
        _LINE.validate_python(purpose)
        secret = secrets.token_bytes(_SECRET_BYTES)
        token = Token(uuid4(), principal, role, purpose, self._clock(), expires, None)
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO rapport.tokens (clinic, token_id, authenticator, principal, role, "
                "purpose, created_at, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    self._clinic,
                    token.id,
                    self._authenticator(token, secret),
                    principal,
                    role.value,
                    purpose,
                    token.created_at,
                    expires,
                ),
            )
        return f"rpt_{self._clinic.hex}_{token.id.hex}_{_spelt(secret)}"

    def authenticate(self, text: str) -> Principal:
        """Whose token that is; NotAuthentic if it is none, or expired, revoked, of elsewhere."""
        parts = _TEXT.fullmatch(text)
        if parts is None:
            raise NotAuthentic
        clinic, token_id = UUID(parts[1]), UUID(parts[2])
        with self._pool.connection() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS}, authenticator FROM rapport.tokens "  # noqa: S608  constants
                "WHERE clinic = %s AND token_id = %s",
                (self._clinic, token_id),
            ).fetchone()
        if row is None or clinic != self._clinic or row["role"] not in _ROLES:
            raise NotAuthentic
        token, secret = _token_of(row), urlsafe_b64decode(parts[3] + "=")
        genuine = hmac.compare_digest(row["authenticator"], self._authenticator(token, secret))
        # Two last letters may stand for the same bits: a token has one spelling.
        genuine &= hmac.compare_digest(_spelt(secret), parts[3])
        if not genuine or token.revoked_at is not None or token.expires_at <= self._clock():
            raise NotAuthentic
        return Principal(token.principal, token.role, token.purpose, token.id, token.created_at)

    def revoke(self, token: UUID) -> bool:
        """Ends a token from the next request on; False if there is none in force by that id."""
        with self._pool.connection() as connection:
            revoked = connection.execute(
                "UPDATE rapport.tokens SET revoked_at = %s "
                "WHERE clinic = %s AND token_id = %s AND revoked_at IS NULL",
                (self._clock(), self._clinic, token),
            )
        return revoked.rowcount == 1

    def known(self) -> Sequence[Token]:
        """Every token ever issued, the newest first."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM rapport.tokens WHERE clinic = %s "  # noqa: S608  constants
                "ORDER BY created_at DESC, token_id",
                (self._clinic,),
            ).fetchall()
        return [_token_of(row) for row in rows]

    def _authenticator(self, token: Token, secret: bytes) -> bytes:
        """What binds a secret to its row. Only a revocation stands outside it: it comes later."""
        says = {
            "clinic": self._clinic,
            "created_at": time_text(token.created_at),
            "expires_at": time_text(token.expires_at),
            "principal": token.principal,
            "purpose": token.purpose,
            "role": token.role,
            "secret": secret.hex(),
            "token": token.id,
        }
        _, key = self._keyring.key_for(self._clinic, f"clinic-{self._clinic}", "mac/0")
        return self._sealer.mac(key, "mac/token", encode(says))


def _spelt(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def _token_of(row: DictRow) -> Token:
    return Token(
        row["token_id"],
        row["principal"],
        Role(row["role"]),
        row["purpose"],
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
    )
