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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from uuid import UUID, uuid4

import psycopg
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
_REMEMBERED = 10_000
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
    """The tokens of one clinic. Safe to share between threads. The table is asked each time, so
    that a revocation holds from the next request on, in every process."""

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
        )
        self._naming = secrets.token_bytes(32)
        self._genuine: dict[bytes, tuple[int, DictRow]] = {}
        """By the keyed digest of a genuine text: its row, and the keyring's generation then."""

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
        with self._living() as connection:
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
        (who,) = self.authenticate_all([text])
        if who is None:
            raise NotAuthentic
        return who

    def authenticate_all(self, texts: Sequence[str]) -> list[Principal | None]:
        """Whose tokens those are, by one look at the table; None for what `authenticate` refuses.

        What a row says is looked at each time. Only that a text is the genuine one of a row is
        remembered, and only while that row stays what it was, to its last byte.
        """
        shown = [(text, _TEXT.fullmatch(text)) for text in texts]
        asked = {UUID(parts[2]) for _, parts in shown if parts and parts[1] == self._clinic.hex}
        rows = self._rows(list(asked)) if asked else {}
        now = self._clock()
        return [parts and self._principal(text, parts, rows, now) for text, parts in shown]

    def _rows(self, tokens: Sequence[UUID]) -> dict[UUID, DictRow]:
        statement = (
            f"SELECT {_COLUMNS}, authenticator FROM rapport.tokens "  # noqa: S608  constants
            "WHERE clinic = %s AND token_id = ANY(%s)"
        )
        for again in (True, False):
            try:
                with self._pool.connection() as connection:
                    rows = connection.execute(statement, (self._clinic, tokens)).fetchall()
                return {row["token_id"]: row for row in rows}
            except psycopg.OperationalError:
                # Connections are not asked whether they live before each use, but after a failure.
                if not again:
                    raise
                self._pool.check()
        raise AssertionError("the second attempt returns or raises")

    def _principal(
        self, text: str, parts: re.Match[str], rows: Mapping[UUID, DictRow], now: datetime
    ) -> Principal | None:
        row = rows.get(UUID(parts[2]))
        if row is None or parts[1] != self._clinic.hex or row["role"] not in _ROLES:
            return None
        token = _token_of(row)
        if not self._is_genuine(text, parts[3], row, token):
            return None
        if token.revoked_at is not None or token.expires_at <= now:
            return None
        return Principal(token.principal, token.role, token.purpose, token.id, token.created_at)

    def _is_genuine(self, text: str, spelt: str, row: DictRow, token: Token) -> bool:
        # A keyed digest: how long it is looked for tells nothing about any text.
        name = blake2b(text.encode(), digest_size=32, key=self._naming).digest()
        # The key of the MAC may be destroyed like any other.
        known = (self._keyring.generation(), row)
        if self._genuine.get(name) == known:
            return True
        secret = urlsafe_b64decode(spelt + "=")
        genuine = hmac.compare_digest(row["authenticator"], self._authenticator(token, secret))
        # Two last letters may stand for the same bits: a token has one spelling.
        genuine &= hmac.compare_digest(_spelt(secret), spelt)
        if genuine:
            if len(self._genuine) >= _REMEMBERED:
                self._genuine.clear()
            self._genuine[name] = known
        return genuine

    def revoke(self, token: UUID) -> bool:
        """Ends a token from the next request on; False if there is none in force by that id."""
        with self._living() as connection:
            revoked = connection.execute(
                "UPDATE rapport.tokens SET revoked_at = %s "
                "WHERE clinic = %s AND token_id = %s AND revoked_at IS NULL",
                (self._clock(), self._clinic, token),
            )
        return revoked.rowcount == 1

    def known(self) -> Sequence[Token]:
        """Every token ever issued, the newest first."""
        with self._living() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM rapport.tokens WHERE clinic = %s "  # noqa: S608  constants
                "ORDER BY created_at DESC, token_id",
                (self._clinic,),
            ).fetchall()
        return [_token_of(row) for row in rows]

    @contextmanager
    def _living(self) -> Iterator[Connection[DictRow]]:
        """A connection, for what is done seldom and not tried again."""
        self._pool.check()
        with self._pool.connection() as connection:
            yield connection

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
