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
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool
from pydantic import TypeAdapter

from domain.access import Role
from domain.event import Line
from domain.records import Clock, system_clock
from infra.canonical import encode, time_text
from infra.clinics import pinned
from infra.keyring import Keyring
from infra.packed import EPOCH
from infra.sealing import Sealer

_SECRET_BYTES = 32
_SPELT = 43
"""Letters of a secret."""
_REMEMBERED = 10_000
_TEXT = re.compile(r"rpt_([0-9a-f]{32})_([0-9a-f]{32})_[A-Za-z0-9_-]{43}", re.ASCII)
_LINE: TypeAdapter[str] = TypeAdapter(Line)
_ROLES = frozenset(role.value for role in Role if role is not Role.SYSTEM)
_COLUMNS = "token_id, principal, role, purpose, created_at, expires_at, revoked_at"
_LOOK = b"token"
_LOOKS = (
    f"SELECT {_COLUMNS}, authenticator FROM rapport.tokens "  # noqa: S608  constants
    "WHERE clinic = $1::uuid AND token_id = ANY($2::uuid[])"
).encode()
_BINARY = 1


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


_Row = tuple[bytes | None, ...]
"""A row of the table as PostgreSQL sends it: `_COLUMNS` and the authenticator."""


@dataclass(frozen=True, slots=True)
class _Genuine:
    """A row of which a text was found to be the genuine one, under the keyring of then."""

    row: _Row
    generation: int
    token: Token
    principal: Principal


@dataclass(frozen=True, slots=True)
class _Shown:
    """A text that is spelt like a token."""

    name: bytes
    token: bytes
    text: str
    genuine: _Genuine | None
    """What is remembered of it."""


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
            configure=_prepare,
            min_size=0,
            max_size=pool_size,
            timeout=5,
            open=True,
        )
        self._naming = secrets.token_bytes(32)
        self._genuine: dict[bytes, _Genuine] = {}
        """By the keyed digest of a genuine text."""

    def connect(self) -> None:
        """Opens a connection, so that whoever comes first does not wait for it."""
        with self._living():
            pass

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
        shown = [self._shown(text) for text in texts]
        rows = self._rows({each.token for each in shown if each is not None})
        now, generation = self._clock(), self._keyring.generation()
        return [
            None if each is None else self._principal(each, rows.get(each.token), generation, now)
            for each in shown
        ]

    def _shown(self, text: str) -> "_Shown | None":
        """The text as one of a token; None if it is spelt like none of this clinic's."""
        parts = _TEXT.fullmatch(text)
        if parts is None or parts[1] != self._clinic.hex:
            return None
        # A keyed digest: how long it is looked for tells nothing about any text.
        name = blake2b(text.encode(), digest_size=32, key=self._naming).digest()
        return _Shown(name, bytes.fromhex(parts[2]), text, self._genuine.get(name))

    def _rows(self, tokens: Collection[bytes]) -> dict[bytes, "_Row"]:
        """What the table says of those tokens, by their ids, in PostgreSQL's own bytes.

        Nothing else is asked as often, so psycopg's cursor is passed by.
        """
        if not tokens:
            return {}
        ids = b"{%s}" % b",".join(token.hex().encode() for token in tokens)
        asked = [self._clinic.hex.encode(), ids]
        for again in (True, False):
            try:
                connection = self._pool.getconn()
                try:
                    found = connection.pgconn.exec_prepared(_LOOK, asked, None, _BINARY)
                    _require(found, connection)
                finally:
                    self._pool.putconn(connection)
                columns = range(found.nfields)
                rows = (
                    tuple(found.get_value(row, column) for column in columns)
                    for row in range(found.ntuples)
                )
                return {row[0] or b"": row for row in rows}
            except psycopg.OperationalError:
                # Connections are not asked whether they live before each use, but after a failure.
                if not again:
                    raise
                self._pool.check()
        raise AssertionError("the second attempt returns or raises")

    def _principal(
        self, shown: "_Shown", row: "_Row | None", generation: int, now: datetime
    ) -> Principal | None:
        if row is None:
            return None
        genuine = shown.genuine
        # The key of the MAC may be destroyed like any other.
        if genuine is None or genuine.row != row or genuine.generation != generation:
            genuine = self._proven(shown, row, generation)
        if genuine is None:
            return None
        token = genuine.token
        if token.revoked_at is not None or token.expires_at <= now:
            return None
        return genuine.principal

    def _proven(self, shown: "_Shown", row: "_Row", generation: int) -> "_Genuine | None":
        """That the text is the genuine one of the row, remembered from now on; None: it is not."""
        token = _read(row)
        if token is None:
            return None
        spelt = shown.text[-_SPELT:]
        secret = urlsafe_b64decode(spelt + "=")
        genuine = hmac.compare_digest(row[-1] or b"", self._authenticator(token, secret))
        # Two last letters may stand for the same bits: a token has one spelling.
        genuine &= hmac.compare_digest(_spelt(secret), spelt)
        if not genuine:
            return None
        who = Principal(token.principal, token.role, token.purpose, token.id, token.created_at)
        if len(self._genuine) >= _REMEMBERED:
            self._genuine.clear()
        found = self._genuine[shown.name] = _Genuine(row, generation, token, who)
        return found

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


def _prepare(connection: Connection[DictRow]) -> None:
    _require(connection.pgconn.prepare(_LOOK, _LOOKS), connection)


def _require(found: PGresult, connection: Connection[DictRow]) -> None:
    """Raises what a statement failed with."""
    if found.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return
    if connection.pgconn.status != ConnStatus.OK:
        raise psycopg.OperationalError("the connection was lost")
    raise psycopg.errors.error_from_result(found)


def _read(row: _Row) -> Token | None:
    """What the row says; None if that is not what any token's says."""
    id_, principal, role, purpose, created_at, expires_at, revoked_at, _ = row
    if role is None or role.decode() not in _ROLES:
        return None
    try:
        return Token(
            UUID(bytes=id_),
            UUID(bytes=principal),
            Role(role.decode()),
            (purpose or b"").decode(),
            _moment(created_at or b""),
            _moment(expires_at or b""),
            None if revoked_at is None else _moment(revoked_at),
        )
    except OverflowError:  # PostgreSQL's infinity
        return None


def _moment(microseconds: bytes) -> datetime:
    return EPOCH + timedelta(microseconds=int.from_bytes(microseconds, "big", signed=True))


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
