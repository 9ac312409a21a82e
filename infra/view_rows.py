"""What a view's row is in bytes: sealed key by key, and its line of a digest.

The formats `rapport-view/1` and `rapport-view-digest/1` are written down in docs/formats/view.md.
"""

import hmac
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import lru_cache, partial
from hashlib import sha256
from itertools import groupby, islice
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from infra import canonical
from infra.canonical import AS_THEY_ARE
from infra.keyring import Keyring, KeyUnknown
from infra.packed import NULLABLE
from infra.sealing import NONCE_BYTES, TAG_BYTES, SealBroken, subkey
from infra.view_spelling import IN_ORDER, Form, Ref, spelling, value_for_json

FORMAT: Final = "rapport-view/1"
DIGEST_FORMAT: Final = "rapport-view-digest/1"

_TOLD_AT_ONCE: Final = 200
"""Rows of one entry each that are made ready step by step."""
_KEYS_HELD: Final = 1_024
"""Of each view; a cipher takes 3 kB. Whoever folds goes from stream to stream, and needs a few."""

FIXED: Final = ("clinic", "build", "stream", "entry", "cited", "keys", "sealed", "mac")
"""The columns that every table of a view has; the others are the view's clear fields."""

Cited = tuple[Ref, bool, Sequence[str]]
"""Clear fields (or, where True, erased ones) that one entry established."""
Group = Mapping[str, tuple[int, int, int | None, object]]
"""Sealed under one key: field → position, version, amended_at, value."""


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


Sealed = tuple[Sequence[bytes | None], bytes]
"""A row's groups as they are stored, and its MAC."""


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

    def written(
        self, view: str, table: str, rows: Iterable[tuple[str, int, NewRow]]
    ) -> Iterator["Written"]:
        """Rows, each with its stream and entry, as they are to be sealed. A group whose key is gone
        by now is left out.

        Unsealable where the keyring knows no such key, or a value has no canonical form.
        """
        self._look()
        try:
            for is_told, its in groupby(rows, _is_told):
                if not is_told:
                    yield from (self._written(view, table, *each) for each in its)
                    continue
                while some := list(islice(its, _TOLD_AT_ONCE)):
                    yield from self._told(view, table, some)
        except (canonical.CanonicalError, KeyUnknown, orjson.JSONEncodeError) as error:
            raise Unsealable(type(error).__name__) from error

    def _written(self, view: str, table: str, stream: str, entry: int, row: NewRow) -> "Written":
        cited, plain = _cited_for_json(row.cited), _plain(row.columns)
        columns = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
        aad = _aad(self._place(table, stream), entry, columns, cited)
        keys = sorted(row.groups)
        ready = [self._key(view, key_id) for key_id in keys]
        told = [_told(key, row.groups[key_id]) for key, key_id in zip(ready, keys, strict=True)]
        opened = [
            None if group is None else orjson.dumps(group, option=_CANONICAL) for group in told
        ]
        return Written(stream, entry, row, cited, plain, aad, keys, ready, told, opened)

    def _told(
        self, view: str, table: str, rows: Sequence[tuple[str, int, NewRow]]
    ) -> Iterator["Written"]:
        """The same of rows that one entry tells each. A step is taken for all of them before the
        next, which takes a third less time than each row by itself."""
        told = [row.told for _, _, row in rows if row.told is not None]
        keys = [self._key(view, key_id) for _, (_, _, key_id, _), _ in told]
        spelt = [spelling(form) for form, _, _ in told]
        cited = [
            one.cited(ref, key.id) for one, (_, ref, _), key in zip(spelt, told, keys, strict=True)
        ]
        plain = [one.plain(values) for one, (_, _, values) in zip(spelt, told, strict=True)]
        columns = [orjson.dumps(each) for each in plain]
        places = [self._place(table, stream) for stream, _, _ in rows]
        aads = [
            _aad(place, entry, its, by)
            for place, (_, entry, _), its, by in zip(places, rows, columns, cited, strict=True)
        ]
        cells = [
            None if key.cipher is None else one.cells(ref, values)
            for key, one, (_, ref, values) in zip(keys, spelt, told, strict=True)
        ]
        opened = [None if its is None else orjson.dumps(its, option=IN_ORDER) for its in cells]
        return (
            Written(
                stream, entry, row, by, its, aad, [ref[2]], [key], [group], [said],
            )
            for (stream, entry, row), by, its, aad, (_, ref, _), key, group, said in zip(
                rows, cited, plain, aads, told, keys, cells, opened, strict=True
            )
        )  # fmt: skip

    def sealed(self, rows: Sequence["Written"]) -> list["Sealed"]:
        """Of each row its groups, and its MAC. Nothing is ever kept unsealed."""
        if any(len(row.ready) != 1 or row.opened[0] is None for row in rows):
            return [self._sealed(row) for row in rows]
        ciphers = [row.ready[0].cipher for row in rows]
        nonces = [_nonce() for _ in rows]
        sealed = [
            nonce + cipher.encrypt(nonce, row.opened[0], row.aad)  # type: ignore[union-attr, arg-type]
            for cipher, nonce, row in zip(ciphers, nonces, rows, strict=True)
        ]
        groups = [[group] for group in sealed]
        macs = map(self._mac, [row.aad for row in rows], [row.ready for row in rows], groups)
        return list(zip(groups, macs, strict=True))

    def _sealed(self, row: "Written") -> "Sealed":
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
        columns = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
        aad = _aad(self._place(table, row["stream"]), row["entry"], columns, cited)
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
            self._mac_key = HMAC(subkey(key, "mac/view"), SHA256())
        message = [aad]
        for ready, group in zip(keys, groups, strict=True):
            said = "null" if group is None else f'"{sha256(group).hexdigest()}"'
            message += ready.line, said.encode(), b"]"
        mac = self._mac_key.copy()  # a new one would take as long again
        mac.update(b"".join(message))
        return mac.finalize()


def _is_told(row: tuple[str, int, NewRow]) -> bool:
    return row[2].told is not None


def _aad(place: tuple[bytes, bytes], entry: int, columns: bytes, cited: bytes) -> bytes:
    """What a row and its groups are bound to: its place, and all that stands in the clear.

    A canonical object; what is the same for all rows of a stream is written once.
    """
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


_CANONICAL: Final = orjson.OPT_SORT_KEYS | IN_ORDER


def group_bytes(group: Group) -> bytes:
    """`canonical.encode(dict(group))`, which looks at every part of every cell.

    Most values are of types that have one form in JSON; the others are encoded by themselves.
    Raises as `canonical.encode` does, or orjson's error for a surrogate or an integer too large.
    """
    return orjson.dumps(_for_json(group), option=_CANONICAL)


def _for_json(group: Group) -> Group:
    """The cells as orjson writes them canonically."""
    others = {
        name: (*cell[:3], value_for_json(cell[3]))
        for name, cell in group.items()
        if type(cell[3]) not in AS_THEY_ARE
    }
    return {**group, **others} if others else group


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
