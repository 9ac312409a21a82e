"""Digests of views, by which two builds are compared, and which anybody with the key can compute.

The format `rapport-view-digest/2` is written down in docs/formats/view.md.
"""

import hmac
from collections.abc import Iterable, Mapping
from copy import copy
from hashlib import sha256
from itertools import groupby
from typing import Final, NamedTuple
from uuid import UUID

from infra import canonical
from infra.keyring import Keyring
from infra.sealing import subkey
from infra.view_spelling import Spelt

FORMAT: Final = "rapport-view-digest/2"


class Digest(NamedTuple):
    """HMAC-SHA-256, in hex, over a view's opened rows as of a position."""

    position: int
    mac: str
    rows: int
    parked: int


Line = tuple[tuple[str, int], bytes]
"""A row's stream and entry, and what it says."""


def line(stream: str, row: Spelt) -> Line:
    """What a row says, in the clear and sealed; no ciphertext."""
    parts = b",".join([b"null" if part is None else part for part in row.parts])
    return (stream, row.entry), b"[%b,[%b]]\n" % (row.clear, parts)


class Streams(NamedTuple):
    """Streams as they are digested: a line for each, ended by a line feed."""

    text: bytes
    rows: int

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Streams":
        """Of rows in their order. Whoever has folded them hashes what they say: to send all of it
        to one process would take longer than that."""
        text, rows = list[bytes](), 0
        for stream, its in groupby(lines, lambda line: line[0][0]):
            said = [line for _, line in its]
            told = {
                "rows": len(said),
                "sha256": sha256(b"".join(said)).hexdigest(),
                "stream": stream,
            }
            text.append(canonical.encode(told))
            rows += len(said)
        return cls(b"".join([part for each in text for part in (each, b"\n")]), rows)


class Digesting:
    """HMAC-SHA-256 over lines of canonical JSON, each ended by a line feed."""

    def __init__(self, key: bytes, position: int, header: bytes) -> None:
        self._mac = hmac.new(key, header + b"\n", "sha256")
        self._position = position
        self._rows = 0

    def add(self, streams: Streams) -> None:
        """The next streams, by name."""
        self._mac.update(streams.text)
        self._rows += streams.rows

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


def digesting(clinic: UUID, keyring: Keyring, view: str, version: int, position: int) -> Digesting:
    """A digest to be filled with the lines of a view's rows in key order."""
    _, key = keyring.key_for(clinic, f"clinic-{clinic}", "digest/0")
    header = {
        "clinic": clinic,
        "format": FORMAT,
        "position": position,
        "version": version,
        "view": view,
    }
    return Digesting(subkey(key, "digest"), position, canonical.encode(header))
