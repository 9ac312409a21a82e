"""What rows of views are in bytes: sealed key by key, in blocks of some that follow each other.

The format `rapport-view/2` is written down in docs/formats/view.md.
"""

import hmac
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from infra import canonical
from infra.keyring import Keyring, KeyUnknown
from infra.sealing import NONCE_BYTES, TAG_BYTES, SealBroken, subkey
from infra.view_spelling import (
    Form,
    Keys,
    NewRow,
    Spelt,
    StoredRow,
    block,
    spellings,
    spelt_rows,
    stored_rows,
)

FORMAT: Final = "rapport-view/2"

_ROWS_IN_BLOCK: Final = 64
"""So many at most: who reads one opens all of them."""
_KEYS_HELD: Final = 1_024
"""Of each view; a cipher takes 3 kB. Whoever folds goes from stream to stream, and needs a few."""

FIXED: Final = (
    "clinic", "build", "stream", "entry", "until", "clear", "keys", "sealed", "mac",
)  # fmt: skip
"""The columns that every table of a view has; the others are those that are searched."""


class NewRows(Protocol):
    """What becomes of one stream's rows; `afresh`: all that are there go first."""

    @property
    def stream(self) -> object: ...
    @property
    def afresh(self) -> bool: ...
    @property
    def written(self) -> Mapping[int, NewRow]: ...
    @property
    def since(self) -> int:
        """Rows from this one on were never written before."""
        ...

    @property
    def parked(self) -> tuple[int, str] | None: ...
    @property
    def position(self) -> int: ...


class Table(Protocol):
    """What a view tells of its table."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def table(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, str]:
        """Name → type of those clear fields that are searched."""
        ...

    @property
    def forms(self) -> Sequence[Form]:
        """In which one entry tells a whole row, as most are told."""
        ...


class Unsealable(Exception):
    """A row that has no sealed form; `code` is the kind of error, never its text."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Key(NamedTuple):
    """A key as rows of one view are sealed under it."""

    cipher: AESGCM | None
    """None: it is destroyed."""
    line: bytes
    """What its line of a MAC begins with."""


class Block(NamedTuple):
    """Some rows of a stream in bytes, not yet sealed."""

    stream: str
    entry: int
    """Of its first row."""
    until: int
    """Of its last row."""
    rows: Sequence[Spelt]
    clear: bytes
    keys: Sequence[UUID]
    groups: Sequence[bytes | None]
    """What is to be sealed under each key; None: that was destroyed."""
    searched: Mapping[str, object]
    """The columns that are searched; a block of a table that has some has one row."""


Sealed = tuple[Sequence[bytes | None], bytes]
"""A block's groups as they are stored, and its MAC."""


class Seals:
    """Seals and opens the rows of one clinic's views."""

    def __init__(self, clinic: UUID, keyring: Keyring) -> None:
        self._clinic = clinic
        self._keyring = keyring
        self._generation = keyring.generation()
        self._keys: dict[str, dict[UUID, _Key]] = {}
        """By view and key."""
        self._mac_key: HMAC | None = None
        self._place = lru_cache(1_024)(partial(_place, clinic))
        keyring.on_destroyed(self.forget)

    def forget(self) -> None:
        """Drops every cipher kept ready; called when a key was destroyed."""
        self._keys.clear()
        self._mac_key = None

    def blocks(self, table: Table, change: NewRows) -> list[Block]:
        """What is written of a stream, as it is to be sealed. What a destroyed key would have
        sealed is left out.

        Rows that were there before are in blocks of their own: so they stand in the place of the
        older ones, whatever blocks those are in. Unsealable where the keyring knows no such key, or
        a value has no canonical form.
        """
        self._look()
        rows, stream = sorted(change.written.items()), str(change.stream)
        at_once = 1 if table.columns else _ROWS_IN_BLOCK
        news = iter([row for row in rows if row[0] >= change.since])
        pieces = [[row] for row in rows if row[0] < change.since]
        while piece := list(islice(news, at_once)):
            pieces.append(piece)
        try:
            return [self._block(table, stream, piece) for piece in pieces]
        except (canonical.CanonicalError, KeyUnknown, orjson.JSONEncodeError) as error:
            raise Unsealable(type(error).__name__) from error

    def _block(self, table: Table, stream: str, rows: Sequence[tuple[int, NewRow]]) -> Block:
        its = spellings(tuple(table.forms))
        told = list(its.rows(rows))
        # By number: to hash an id takes five times as long.
        ids = {key_id.int: key_id for _, keys in told for key_id in keys}
        gone = {key for key in ids if self._key(table.name, ids[key]).cipher is None}
        if gone:
            told = [(_without(row, keys, gone), keys) for row, keys in told]
        parts = dict[int, list[bytes]]({key: [] for key in sorted(ids)})
        for row, keys in told:
            for key_id, part in zip(keys, row.parts, strict=True):
                if part is not None:
                    parts[key_id.int].append(part)
        groups = [None if key in gone else block(its.sealed, parts[key]) for key in parts]
        spelt = [row for row, _ in told]
        clear = block(its.clear, [row.clear for row in spelt])
        searched = {name: rows[0][1].columns[name] for name in table.columns}
        named = [ids[key] for key in parts]
        return Block(stream, rows[0][0], rows[-1][0], spelt, clear, named, groups, searched)

    def sealed(self, table: Table, its: Block) -> Sealed:
        """A block's groups, and its MAC. Nothing is ever kept unsealed."""
        aad = self._aad(table.table, its.stream, its.entry, its.until, its.clear)
        keys = [self._key(table.name, key_id) for key_id in its.keys]
        sealed = list[bytes | None]()
        for key, group in zip(keys, its.groups, strict=True):
            if key.cipher is None or group is None:
                sealed.append(None)
            else:
                nonce = _nonce()
                sealed.append(nonce + key.cipher.encrypt(nonce, group, aad))
        return sealed, self._mac(aad, keys, sealed)

    def opened(self, view: str, table: str, stored: Mapping[str, Any]) -> list[StoredRow]:
        """The rows of a block as they were written; SealBroken if it, or what it is bound to, was
        changed."""
        rows = stored_rows(stored["stream"], *self._opened(view, table, stored))
        for name in stored.keys() - set(FIXED):
            # They stand in the clear beside what is sealed so that PostgreSQL finds them.
            if any(_plain(stored[name]) != row.columns[name] for row in rows):
                raise SealBroken("not_authentic")
        return rows

    def spelt(self, table: Table, stored: Mapping[str, Any]) -> list[Spelt]:
        """The same as they are spelt; SealBroken."""
        clear, groups = self._opened(table.name, table.table, stored)
        return spelt_rows(clear, groups, spellings(tuple(table.forms)))

    def _opened(
        self, view: str, table: str, stored: Mapping[str, Any]
    ) -> tuple[bytes, dict[UUID, bytes | None]]:
        """What a block says, once it is known that nothing of it was changed."""
        self._look()
        if len(stored["keys"]) != len(stored["sealed"]):
            raise SealBroken("not_authentic")
        clear = stored["clear"].encode()
        aad = self._aad(table, stored["stream"], stored["entry"], stored["until"], clear)
        keys = [self._key(view, key_id) for key_id in stored["keys"]]
        if not hmac.compare_digest(stored["mac"], self._mac(aad, keys, stored["sealed"])):
            raise SealBroken("not_authentic")
        groups = map(partial(_opened, aad), keys, stored["sealed"])
        return clear, dict(zip(stored["keys"], groups, strict=True))

    def _look(self) -> None:
        """Forgets if a key was destroyed since: once for a block, however many keys it has."""
        generation = self._keyring.generation()
        if generation != self._generation:
            self.forget()
            self._generation = generation

    def _key(self, view: str, key_id: UUID) -> _Key:
        try:
            return self._keys[view][key_id]
        except KeyError:
            keys = self._keys.setdefault(view, {})
            if len(keys) >= _KEYS_HELD:
                keys.clear()
            key = self._keyring.get(self._clinic, key_id)
            cipher = None if key is None else AESGCM(subkey(key, f"view/{view}"))
            keys[key_id] = found = _Key(cipher, b'\n["%b",' % str(key_id).encode())
            return found

    def _aad(self, table: str, stream: str, entry: int, until: int, clear: bytes) -> bytes:
        """What a block and its groups are bound to: its place, and all that stands in the clear.

        A canonical object; what is the same for all blocks of a stream is written once.
        """
        before, after = self._place(table, stream)
        return b'{"clear":%b%b%d%b%d}' % (clear, before, entry, after, until)

    def _mac(self, aad: bytes, keys: Sequence[_Key], groups: Sequence[bytes | None]) -> bytes:
        """Binds a block that has no group, or whose groups were taken away, to what it says too."""
        ready_mac = self._mac_key  # another thread may forget it at any moment
        if ready_mac is None:
            _, key = self._keyring.key_for(self._clinic, f"clinic-{self._clinic}", "mac/0")
            ready_mac = self._mac_key = HMAC(subkey(key, "mac/view"), SHA256())
        message = [aad]
        for ready, group in zip(keys, groups, strict=True):
            said = "null" if group is None else f'"{sha256(group).hexdigest()}"'
            message += ready.line, said.encode(), b"]"
        mac = ready_mac.copy()  # a new one would take as long again
        mac.update(b"".join(message))
        return mac.finalize()


def _without(row: Spelt, keys: Keys, gone: set[int]) -> Spelt:
    """A row without what these keys would have sealed."""
    its = zip(keys, row.parts, strict=True)
    return row._replace(parts=[None if key_id.int in gone else part for key_id, part in its])


def _opened(aad: bytes, key: _Key, sealed: bytes | None) -> bytes | None:
    """What a group says; None where its key is destroyed, or was when it was to be sealed."""
    if key.cipher is None or sealed is None:
        return None
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise SealBroken("truncated")
    try:
        return key.cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except InvalidTag:
        raise SealBroken("not_authentic") from None


def _place(clinic: UUID, table: str, stream: str) -> tuple[bytes, bytes]:
    """Of what a block is bound to: the fields before its first entry, and those after it."""
    place = {"format": FORMAT, "stream": stream, "table": table}
    before = b',"clinic":"%b","entry":' % str(clinic).encode()
    return before, b',%b,"until":' % orjson.dumps(place)[1:-1]


def _plain(value: Any) -> object:
    """A column's value as it stands in a block."""
    return orjson.loads(orjson.dumps(value))


# --- Order ------------------------------------------------------------------------------------

T = TypeVar("T")


def in_order(
    blocks: Iterable[tuple[str, int, int, Iterable[tuple[int, T]]]],
) -> Iterator[tuple[str, int, T]]:
    """The rows of blocks, which come by stream, first and last entry, in the order of entries.

    A row in a block of its own stands in the place of one in a longer block: that is older.
    """
    at, held = "", dict[int, T]()
    for stream, first, until, rows in blocks:
        done = sorted(entry for entry in held if stream != at or entry < first)
        yield from ((at, entry, held.pop(entry)) for entry in done)
        at = stream
        for entry, row in rows:
            if first == until or entry not in held:
                held[entry] = row
    yield from ((at, entry, held[entry]) for entry in sorted(held))


# --- Nonces -----------------------------------------------------------------------------------

_NONCES_AT_ONCE: Final = 256
_nonces: Final[list[bytes]] = []
if hasattr(os, "register_at_fork"):  # two processes never draw from the same bytes
    os.register_at_fork(after_in_child=_nonces.clear)


def _nonce() -> bytes:
    """Random bytes that were never used; the system is asked for many at a time."""
    try:
        return _nonces.pop()
    except IndexError:
        fresh = os.urandom(NONCE_BYTES * _NONCES_AT_ONCE)
        places = range(0, len(fresh), NONCE_BYTES)
        first, *others = (fresh[at : at + NONCE_BYTES] for at in places)
        _nonces.extend(others)
        return first
