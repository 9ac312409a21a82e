"""What a view's row is in bytes: sealed key by key, and its line of a digest.

The formats `rapport-view/1` and `rapport-view-digest/1` are written down in docs/formats/view.md.
"""

import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import lru_cache, partial
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra import canonical
from infra.canonical import AS_THEY_ARE
from infra.keyring import Keyring, KeyUnknown
from infra.packed import NULLABLE
from infra.sealing import NONCE_BYTES, TAG_BYTES, SealBroken, subkey

FORMAT: Final = "rapport-view/1"
DIGEST_FORMAT: Final = "rapport-view-digest/1"

_KEYS_HELD: Final = 1_024
"""Of each view; a cipher takes 3 kB. Whoever folds goes from stream to stream, and needs a few."""

FIXED: Final = ("clinic", "build", "stream", "entry", "cited", "keys", "sealed", "mac")
"""The columns that every table of a view has; the others are the view's clear fields."""

Ref = tuple[int, int, UUID, int | None]
"""Position, version, key and amended_at of the entry that established a value."""
Cited = tuple[Ref, bool, Sequence[str]]
"""Clear fields (or, where True, erased ones) that one entry established."""
Group = Mapping[str, tuple[int, int, int | None, object]]
"""Sealed under one key: field → position, version, amended_at, value."""


class Form(Protocol):
    """Fields that one entry establishes at once: all that are clear, and others."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def clear(self) -> Sequence[str]: ...
    def __hash__(self) -> int: ...


class NewRow(Protocol):
    """A row to be written."""

    @property
    def told(self) -> tuple[Form, Ref, Sequence[Any]] | None:
        """Where one entry tells all of it: in which form, which one, and the values."""
        ...

    @property
    def columns(self) -> Mapping[str, object]: ...
    @property
    def cited(self) -> Sequence[Cited]: ...
    @property
    def groups(self) -> Mapping[UUID, Group]: ...


class StoredRow(NamedTuple):
    """A row as it was kept; a group is None where its key was destroyed."""

    stream: str
    entry: int
    columns: Mapping[str, Any]
    cited: Sequence[Cited]
    groups: Mapping[UUID, Group | None]


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
    alone: bytes
    """The field `keys` of a row that has no other, packed."""
    id: bytes
    """As text."""


_OfKeys = tuple[Sequence[UUID], Sequence[_Key], Sequence[Group | None], Sequence[bytes | None]]
"""Keys, the same ready to seal, and of each the group, and the group in bytes."""


class Written(NamedTuple):
    """A row in bytes, not yet sealed."""

    stream: str
    entry: int
    row: NewRow
    cited: bytes
    """As JSON."""
    plain: Mapping[str, object]
    """The clear columns as they are digested."""
    aad: bytes
    """What its groups are bound to."""
    keys: Sequence[UUID]
    ready: Sequence[_Key]
    """The same, ready to seal."""
    groups: Sequence[Group | None]
    opened: Sequence[bytes | None]
    """What is to be sealed under each key; None: it was destroyed."""


class Spelling:
    """How rows of one form are spelt: which of their values stand where, by name."""

    def __init__(self, form: Form) -> None:
        self._names = form.names
        self.columns = sorted(form.clear)
        self.sealed = sorted(set(form.names).difference(form.clear))
        self.of_columns, self.of_sealed = self.picking(self.columns), self.picking(self.sealed)
        self._cited = b",false,%b]]" % orjson.dumps(form.clear)

    def picking(self, names: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]]:
        """What picks the values of these fields."""
        first, *others = map(self._names.index, names)
        return itemgetter(first, *others) if others else itemgetter(slice(first, first + 1))

    def cited(self, ref: Ref, key: bytes) -> bytes:
        """The citation of that entry, as JSON."""
        position, version, _, amended_at = ref
        amended = b"null" if amended_at is None else b"%d" % amended_at
        return b'[[%d,%d,"%b",%b%b' % (position, version, key, amended, self._cited)


spelling = lru_cache(256)(Spelling)
"""Of a form, made once."""


class _HmacKey(NamedTuple):
    """A key of HMAC-SHA-256 (RFC 2104), written out as `commitment` of infra/sealing.py is: the
    inner and the outer hash, which have begun."""

    inner: Any
    outer: Any

    @classmethod
    def of(cls, key: bytes) -> "_HmacKey":
        block = key.ljust(64, b"\0")
        inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
        return cls(sha256(inner), sha256(outer))


class Seals:
    """Seals and opens the rows of one clinic's views."""

    def __init__(self, clinic: UUID, keyring: Keyring) -> None:
        self._clinic = clinic
        self._keyring = keyring
        self._generation = keyring.generation()
        self._keys: dict[str, dict[UUID, _Key]] = {}
        """By view and key."""
        self._mac_key: _HmacKey | None = None
        self._place = lru_cache(1_024)(partial(_place, clinic))
        keyring.on_destroyed(self.forget)

    def forget(self) -> None:
        """Drops every cipher kept ready; called when a key was destroyed."""
        self._keys.clear()
        self._mac_key = None

    def written(
        self, view: str, table: str, stream: str, rows: Iterable[tuple[int, NewRow]]
    ) -> Iterator["Written"]:
        """Rows of a stream, each with its entry, as they are to be sealed. A group whose key is
        gone by now is left out.

        Unsealable where the keyring knows no such key, or a value has no canonical form.
        """
        self._look()
        place = self._place(table, stream)
        try:
            for entry, row in rows:
                if row.told is not None:
                    yield self._told_by(view, place, stream, entry, row)
                    continue
                cited, plain = _cited_for_json(row.cited), _plain(row.columns)
                aad = _aad(place, entry, plain, cited)
                if len(row.groups) == 1:  # as nearly all have
                    ((key_id, group),) = row.groups.items()
                    key = self._key(view, key_id)
                    told = _told(key, group)
                    opened = None if told is None else orjson.dumps(told, option=_CANONICAL)
                    of_keys: _OfKeys = ([key_id], [key], [told], [opened])
                else:
                    of_keys = self._of_keys(view, row.groups)
                yield Written(stream, entry, row, cited, plain, aad, *of_keys)
        except (canonical.CanonicalError, KeyUnknown, orjson.JSONEncodeError) as error:
            raise Unsealable(type(error).__name__) from error

    def _told_by(
        self, view: str, place: tuple[bytes, bytes], stream: str, entry: int, row: NewRow
    ) -> "Written":
        """The same of a row that one entry tells, without what that would be made of."""
        assert row.told is not None, "it was asked"
        form, ref, values = row.told
        spelt = spelling(form)
        position, version, key_id, amended_at = ref
        key = self._key(view, key_id)
        cited = spelt.cited(ref, key.id)
        said = [
            canonical.time_text(value) if type(value) is datetime else value
            for value in spelt.of_columns(values)
        ]
        plain = dict(zip(spelt.columns, said, strict=True))
        aad = _aad(place, entry, plain, cited)
        if key.cipher is None:
            return Written(stream, entry, row, cited, plain, aad, [key_id], [key], [None], [None])
        cells = {
            name: (position, version, amended_at, _value_for_json(value))
            for name, value in zip(spelt.sealed, spelt.of_sealed(values), strict=True)
        }
        opened = orjson.dumps(cells, option=_IN_ORDER)
        return Written(stream, entry, row, cited, plain, aad, [key_id], [key], [cells], [opened])

    def _of_keys(self, view: str, groups: Mapping[UUID, Group]) -> _OfKeys:
        """The keys of several groups in order, and of each what is to be sealed under it."""
        keys = sorted(groups)
        ready = [self._key(view, key_id) for key_id in keys]
        told = [_told(key, groups[key_id]) for key, key_id in zip(ready, keys, strict=True)]
        opened = [
            None if group is None else orjson.dumps(group, option=_CANONICAL) for group in told
        ]
        return keys, ready, told, opened

    def sealed(self, view: str, row: "Written") -> tuple[list[bytes | None], bytes]:
        """The row's groups, and its MAC. Nothing is ever kept unsealed."""
        aad, sealed = row.aad, list[bytes | None]()
        for key, opened in zip(row.ready, row.opened, strict=True):
            if key.cipher is None or opened is None:
                sealed.append(None)
            else:
                nonce = _nonce()
                sealed.append(nonce + key.cipher.encrypt(nonce, opened, aad))
        return sealed, self._mac(aad, row.ready, sealed)

    def holds(self, view: str, row: "Written", groups: Sequence[bytes | None], mac: bytes) -> bool:
        """Whether these groups, stored beside the same clear columns, say the same as the row:
        they are opened, and what they are bound to is proven, as `line` does."""
        self._look()
        if not hmac.compare_digest(mac, self._mac(row.aad, row.ready, groups)):
            return False
        for key, sealed, opened in zip(row.ready, groups, row.opened, strict=True):
            if _opened(key, row.aad, sealed) != opened:
                return False
        return True

    def opened(self, view: str, table: str, row: Mapping[str, Any]) -> StoredRow:
        """A row as it was written; SealBroken if it, or what it is bound to, was changed."""
        columns = {name: value for name, value in row.items() if name not in FIXED}
        groups = self._groups(view, table, row, _plain(columns))
        return StoredRow(
            row["stream"], row["entry"], columns, _cited_from_json(row["cited"]), groups
        )

    def line(self, view: str, table: str, row: Mapping[str, Any]) -> bytes:
        """`digest_line` of the row as `opened` gives it, without making that row; SealBroken."""
        plain = {
            name: canonical.time_text(value) if isinstance(value, datetime) else value
            for name, value in row.items()
            if name not in FIXED
        }
        groups = self._groups(view, table, row, plain)
        cells: dict[str, object] = {}
        for position, version, _, amended_at, erased, fields in row["cited"]:
            for name in fields:
                cell = [position, version, amended_at]
                cells[name] = cell if erased else [*cell, plain[name]]
        for group in groups.values():
            cells.update(group or {})
        return _line(row["stream"], row["entry"], cells, groups)

    def _groups(
        self, view: str, table: str, row: Mapping[str, Any], plain: Mapping[str, object]
    ) -> dict[UUID, Group | None]:
        """The row's groups, opened, once it is known that nothing of it was changed."""
        self._look()
        cited = orjson.dumps(row["cited"])
        aad = _aad(self._place(table, row["stream"]), row["entry"], plain, cited)
        keys = [self._key(view, key_id) for key_id in row["keys"]]
        if not hmac.compare_digest(row["mac"], self._mac(aad, keys, row["sealed"])):
            raise SealBroken("not_authentic")
        groups: dict[UUID, Group | None] = {}
        for key, key_id, sealed in zip(keys, row["keys"], row["sealed"], strict=True):
            opened = _opened(key, aad, sealed)
            groups[key_id] = None if opened is None else orjson.loads(opened)
        return groups

    def digesting(self, view: str, version: int, position: int) -> "Digesting":
        """A digest to be filled with the lines of a view's rows in key order."""
        _, key = self._keyring.key_for(self._clinic, f"clinic-{self._clinic}", "digest/0")
        header = {
            "clinic": self._clinic,
            "format": DIGEST_FORMAT,
            "position": position,
            "version": version,
            "view": view,
        }
        return Digesting(subkey(key, "digest"), position, canonical.encode(header))

    def _look(self) -> None:
        """Forgets if a key was destroyed since: once for a row, however many keys it has."""
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
            id_ = str(key_id).encode()
            alone = NULLABLE["uuid[]"]([key_id])
            keys[key_id] = found = _Key(cipher, b'\n["%b",' % id_, alone, id_)
            return found

    def _mac(self, aad: bytes, keys: Sequence[_Key], groups: Sequence[bytes | None]) -> bytes:
        """Binds a row that has no group, or whose groups were taken away, to what it says too."""
        if self._mac_key is None:
            _, key = self._keyring.key_for(self._clinic, f"clinic-{self._clinic}", "mac/0")
            self._mac_key = _HmacKey.of(subkey(key, "mac/view"))
        inner, outer = self._mac_key.inner.copy(), self._mac_key.outer.copy()
        inner.update(aad)
        for ready, group in zip(keys, groups, strict=True):
            said = "null" if group is None else f'"{sha256(group).hexdigest()}"'
            inner.update(b"%b%b]" % (ready.line, said.encode()))
        outer.update(inner.digest())
        mac: bytes = outer.digest()
        return mac


def _aad(
    place: tuple[bytes, bytes], entry: int, plain: Mapping[str, object], cited: bytes
) -> bytes:
    """What a row and its groups are bound to: its place, and all that stands in the clear.

    A canonical object; what is the same for all rows of a stream is written once.
    """
    columns = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    return b'{"cited":%b%b%b,"entry":%d%b' % (cited, place[0], columns, entry, place[1])


def _told(key: _Key, group: Group) -> Group | None:
    """A group as it is to be sealed; None where its key is gone."""
    return None if key.cipher is None else _for_json(group)


def _opened(key: _Key, aad: bytes, sealed: bytes | None) -> bytes | None:
    """What a group says; None where its key is destroyed, or was when it was to be sealed."""
    if key.cipher is None or sealed is None:
        return None
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise SealBroken("truncated")
    try:
        return key.cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except InvalidTag:
        raise SealBroken("not_authentic") from None


# --- Digests --------------------------------------------------------------------------------


class Digest(NamedTuple):
    """HMAC-SHA-256, in hex, over a view's opened rows as of a position."""

    position: int
    mac: str
    rows: int
    parked: int


class Digesting:
    """HMAC-SHA-256 over lines of canonical JSON, each ended by a line feed."""

    def __init__(self, key: bytes, position: int, header: bytes) -> None:
        self._mac = hmac.new(key, header + b"\n", "sha256")
        self._position = position
        self._rows = 0

    def add(self, line: bytes) -> None:
        self._mac.update(line + b"\n")
        self._rows += 1

    def add_lines(self, lines: bytes, rows: int) -> None:
        """So many rows' lines, each ended by a line feed."""
        self._mac.update(lines)
        self._rows += rows

    def copy(self) -> "Digesting":
        """Another one that has got as far."""
        other = copy(self)
        other._mac = self._mac.copy()
        return other

    def finished(self, parked: Mapping[str, tuple[int, str]]) -> Digest:
        for stream, (position, code) in sorted(parked.items()):
            line = {"code": code, "parked": stream, "position": position}
            self._mac.update(canonical.encode(line) + b"\n")
        return Digest(self._position, self._mac.hexdigest(), self._rows, len(parked))


def digest_line(row: StoredRow) -> bytes:
    """The row's line: every cell with the entry that established it, and no ciphertext."""
    columns = _plain(row.columns)
    cells: dict[str, list[object]] = {}
    for (position, version, _, amended_at), erased, fields in row.cited:
        for name in fields:
            cells[name] = [position, version, amended_at]
            if not erased:
                cells[name].append(columns[name])
    for group in row.groups.values():
        for name, cell in (group or {}).items():
            cells[name] = list(cell)
    return _line(row.stream, row.entry, cells, row.groups)


def line_of(row: Written) -> bytes:
    """The same of a row that is not yet sealed."""
    plain = row.plain
    if row.row.told is not None:
        _, (position, version, _, amended_at), _ = row.row.told
        cells: dict[str, object] = {
            name: (position, version, amended_at, value) for name, value in plain.items()
        }
    else:
        cells = _cited_cells(row)
    for group in row.groups:
        if group is not None:
            cells |= group
    gone = [key_id for key_id, group in zip(row.keys, row.groups, strict=True) if group is None]
    return _json({"cells": cells, "entry": row.entry, "erased_keys": gone, "stream": row.stream})


def _cited_cells(row: Written) -> dict[str, object]:
    """The clear cells, and those that are erased, of several entries."""
    cells: dict[str, object] = {}
    plain = row.plain
    for (position, version, _, amended_at), erased, fields in row.row.cited:
        for name in fields:
            if erased:
                cells[name] = position, version, amended_at
            else:
                cells[name] = position, version, amended_at, plain[name]
    return cells


def _line(
    stream: str, entry: int, cells: Mapping[str, object], groups: Mapping[UUID, Group | None]
) -> bytes:
    erased_keys = [key_id for key_id, group in groups.items() if group is None]
    return _json({"cells": cells, "entry": entry, "erased_keys": erased_keys, "stream": stream})


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


# --- Forms ----------------------------------------------------------------------------------


def _place(clinic: UUID, table: str, stream: str) -> tuple[bytes, bytes]:
    """Of what a row is bound to: the fields before its columns, and those after its entry."""
    place = {"format": FORMAT, "stream": stream, "table": table}
    return b',"clinic":"%b","columns":' % str(clinic).encode(), b"," + orjson.dumps(place)[1:]


def _cited_for_json(cited: Sequence[Cited]) -> bytes:
    if len(cited) == 1:  # as most rows have
        ((ref, erased, fields),) = cited
        return orjson.dumps(((*ref, erased, fields),))
    return orjson.dumps(
        [
            (position, version, key_id, amended_at, erased, fields)
            for (position, version, key_id, amended_at), erased, fields in cited
        ]
    )


def _cited_from_json(cited: list[Any]) -> tuple[Cited, ...]:
    return tuple(
        ((position, version, UUID(key_id), amended_at), erased, fields)
        for position, version, key_id, amended_at, erased, fields in cited
    )


_IN_ORDER: Final = orjson.OPT_STRICT_INTEGER
"""Of objects whose names are in order already."""
_CANONICAL: Final = orjson.OPT_SORT_KEYS | _IN_ORDER


def group_bytes(group: Group) -> bytes:
    """`canonical.encode(dict(group))`, which looks at every part of every cell.

    Most values are of types that have one form in JSON; the others are encoded by themselves.
    Raises as `canonical.encode` does, or orjson's error for a surrogate or an integer too large.
    """
    return orjson.dumps(_for_json(group), option=_CANONICAL)


def _for_json(group: Group) -> Group:
    """The cells as orjson writes them canonically."""
    others = {
        name: (*cell[:3], _value_for_json(cell[3]))
        for name, cell in group.items()
        if type(cell[3]) not in AS_THEY_ARE
    }
    return {**group, **others} if others else group


def _value_for_json(value: object) -> object:
    if type(value) in AS_THEY_ARE:
        return value
    if type(value) is tuple and AS_THEY_ARE.issuperset(map(type, value)):
        return value
    return orjson.Fragment(canonical.encode(value))


def _plain(columns: Mapping[str, object]) -> dict[str, object]:
    """Clear columns as they are digested; a session's time zone is the server's affair."""
    return {
        name: canonical.time_text(value) if type(value) is datetime else value
        for name, value in columns.items()
    }


def _json(value: object) -> bytes:
    """RFC 8785, for what is known to hold no float, no large integer and no other surprise.

    All of it is ids, codes, positions, and what `canonical.encode` took when it was sealed.
    """
    # A copy: what orjson makes keeps several times the room it needs for as long as it is held.
    return bytes(memoryview(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)))
