"""What a view's row is in bytes: sealed key by key, and its line of a digest.

The formats `rapport-view/1` and `rapport-view-digest/1` are written down in docs/formats/view.md.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import orjson

from infra import canonical
from infra.keyring import Keyring, KeyUnknown
from infra.sealing import SealBroken, Sealer, subkey

FORMAT: Final = "rapport-view/1"
DIGEST_FORMAT: Final = "rapport-view-digest/1"

_KEYS_HELD: Final = 65_536

FIXED: Final = ("clinic", "build", "stream", "entry", "cited", "keys", "sealed", "mac")
"""The columns that every table of a view has; the others are the view's clear fields."""

Ref = tuple[int, int, UUID, int | None]
"""Position, version, key and amended_at of the entry that established a value."""
Cited = tuple[Ref, bool, Sequence[str]]
"""Clear fields (or, where True, erased ones) that one entry established."""
Group = Mapping[str, tuple[int, int, int | None, object]]
"""Sealed under one key: field → position, version, amended_at, value."""


class NewRow(Protocol):
    """A row to be written."""

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


class Seals:
    """Seals and opens the rows of one clinic's views."""

    def __init__(self, clinic: UUID, keyring: Keyring) -> None:
        self._clinic = clinic
        self._keyring = keyring
        self._generation = keyring.generation()
        self._sealer = Sealer()
        self._keys: dict[UUID, bytes | None] = {}
        self._mac_key: bytes | None = None
        keyring.on_destroyed(self.forget)

    def forget(self) -> None:
        """Drops every key and cipher kept ready; called when a key was destroyed."""
        self._sealer.forget()
        self._keys.clear()
        self._mac_key = None

    def sealed(
        self, view: str, table: str, stream: str, entry: int, row: NewRow
    ) -> dict[str, object]:
        """The row by column. A group whose key is gone by now is left out: never kept unsealed.

        Unsealable where the keyring knows no such key, or a value has no canonical form.
        """
        self._look()
        keys = sorted(row.groups)
        cited = _cited_for_json(row.cited)
        try:
            aad = self._aad(table, stream, entry, _plain(row.columns), cited)
            groups = [self._sealed_group(view, key, row.groups[key], aad) for key in keys]
        except (canonical.CanonicalError, KeyUnknown, orjson.JSONEncodeError) as error:
            raise Unsealable(type(error).__name__) from error
        return {
            "stream": stream,
            "entry": entry,
            "cited": cited,
            "keys": keys,
            "sealed": groups,
            "mac": self._mac(aad, keys, groups),
            **row.columns,
        }

    def _sealed_group(self, view: str, key_id: UUID, group: Group, aad: bytes) -> bytes | None:
        key = self._key(key_id)
        return key and self._sealer.seal(key, f"view/{view}", aad, group_bytes(group))

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
        aad = self._aad(table, row["stream"], row["entry"], plain, row["cited"])
        if not hmac.compare_digest(row["mac"], self._mac(aad, row["keys"], row["sealed"])):
            raise SealBroken("not_authentic")
        groups: dict[UUID, Group | None] = {}
        for key_id, sealed in zip(row["keys"], row["sealed"], strict=True):
            key = self._key(key_id)
            opened = key and sealed and self._sealer.open(key, f"view/{view}", aad, sealed)
            groups[key_id] = orjson.loads(opened) if opened else None
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

    def _key(self, key_id: UUID) -> bytes | None:
        try:
            return self._keys[key_id]
        except KeyError:
            if len(self._keys) >= _KEYS_HELD:
                self._keys.clear()
            key = self._keys[key_id] = self._keyring.get(self._clinic, key_id)
            return key

    def _mac(self, aad: bytes, keys: Sequence[UUID], groups: Sequence[bytes | None]) -> bytes:
        """Binds a row that has no group, or whose groups were taken away, to what it says too."""
        lines = [aad]
        for key_id, group in zip(keys, groups, strict=True):
            lines.append(_json([key_id, group and sha256(group).hexdigest()]))
        key = self._mac_key
        if key is None:
            _, key = self._keyring.key_for(self._clinic, f"clinic-{self._clinic}", "mac/0")
            self._mac_key = key
        return self._sealer.mac(key, "mac/view", b"\n".join(lines))

    def _aad(
        self,
        table: str,
        stream: str,
        entry: int,
        plain: Mapping[str, object],
        cited: Sequence[object],
    ) -> bytes:
        """What a row and its groups are bound to: its place, and all that stands in the clear."""
        return _json(
            {
                "cited": cited,
                "clinic": self._clinic,
                "columns": plain,
                "entry": entry,
                "format": FORMAT,
                "stream": stream,
                "table": table,
            }
        )


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


def _line(
    stream: str, entry: int, cells: Mapping[str, object], groups: Mapping[UUID, Group | None]
) -> bytes:
    erased_keys = [key_id for key_id, group in groups.items() if group is None]
    return _json({"cells": cells, "entry": entry, "erased_keys": erased_keys, "stream": stream})


# --- Forms ----------------------------------------------------------------------------------


def _cited_for_json(cited: Sequence[Cited]) -> list[object]:
    return [
        [position, version, str(key_id), amended_at, erased, list(fields)]
        for (position, version, key_id, amended_at), erased, fields in cited
    ]


def _cited_from_json(cited: list[Any]) -> tuple[Cited, ...]:
    return tuple(
        ((position, version, UUID(key_id), amended_at), erased, fields)
        for position, version, key_id, amended_at, erased, fields in cited
    )


_WRITTEN_AS_THEY_ARE = frozenset({str, int, bool, type(None), UUID})


def group_bytes(group: Group) -> bytes:
    """`canonical.encode(dict(group))`, which looks at every part of every cell.

    Most values are of types that have one form in JSON; the others are encoded by themselves.
    Raises as `canonical.encode` does, or orjson's error for a surrogate or an integer too large.
    """
    return orjson.dumps(
        {
            name: cell
            if type(cell[3]) in _WRITTEN_AS_THEY_ARE or cell[3] == ()
            else (*cell[:3], orjson.Fragment(canonical.encode(cell[3])))
            for name, cell in group.items()
        },
        option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER,
    )


def _plain(columns: Mapping[str, object]) -> dict[str, object]:
    """Clear columns as they are digested; a session's time zone is the server's affair."""
    return {
        name: canonical.time_text(value) if isinstance(value, datetime) else value
        for name, value in columns.items()
    }


def _json(value: object) -> bytes:
    """RFC 8785, for what is known to hold no float, no large integer and no other surprise.

    All of it is ids, codes, positions, and what `canonical.encode` took when it was sealed.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
