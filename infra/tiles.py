"""The Merkle tree as tiles (c2sp.org/tlog-tiles), and as the hashes that proofs begin from.

A tile holds up to 256 hashes of one level, eight levels of the tree above those of the tile below.
Level 0 is hashed anew from what is logged, each time; the roots of complete tiles are kept in
`rapport.subtrees`, which is derived: what is missing there is computed.

PostgreSQL is the suspect, so nothing leaves this module for a signed root unless it leads there:
`SignedTree` gives out tiles, entry bundles and proofs, or raises `TilesBroken`.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from threading import Lock
from typing import Any, Final, Protocol, Self
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from infra.clinics import pinned
from infra.merkle import HASH_BYTES, leaf_hash
from infra.proof import (
    Hashes,
    ProofBroken,
    consistency_proof,
    inclusion_proof,
    root_between,
    verify_consistency,
    verify_inclusion,
)

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
"""Hashes in a full tile; entries in a full bundle."""

_TILES_HELD: Final = 512
_BLOCKS_AT_ONCE: Final = 64
_LENGTH_BYTES: Final = 2

_log = logging.getLogger("rapport.log")

_SAYS: Final = {
    "missing": "Entries {first} to {last}: not all of them are there.",
    "subtree": "Entries {first} to {last}: the hash that is kept over them is not theirs.",
    "root": "Entries {first} to {last} do not lead to the root that was signed for the log.",
    "diverged": "The log does not continue the {last} entries that were signed for before.",
}


class TilesBroken(Exception):
    """What is stored does not lead to the signed root; nothing of it is given out.

    `first` to `last` are positions: the smallest range that is known to be wrong. `code` is
    `missing`, `subtree`, `root` or `diverged`.
    """

    def __init__(self, code: str, first: int, last: int) -> None:
        self.code, self.first, self.last = code, first, last
        super().__init__(_SAYS[code].format(first=first, last=last))


# --- Paths ------------------------------------------------------------------------------------

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<index>(x[0-9]{3}/){0,5}[0-9]{3})"
    r"(\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class PathRefused(ValueError):
    """A text that is no path of a tile."""


@dataclass(frozen=True, slots=True)
class TilePath:
    """Which tile: its level (None: a bundle of entries), its index there, and its width."""

    level: int | None
    index: int
    width: int = WIDTH

    @classmethod
    def parse(cls, text: str) -> Self:
        """`tile/<L>/<N>[.p/<W>]` as `str()` writes it and in no other way; or `PathRefused`."""
        found = _PATH.fullmatch(text)
        if found is None:
            raise PathRefused
        level = None if found["level"] == "entries" else int(found["level"])
        index = int(found["index"].replace("/", "").replace("x", ""))
        path = cls(level, index, int(found["width"] or WIDTH))
        if str(path) != text:
            raise PathRefused
        return path

    def __str__(self) -> str:
        number, groups = self.index, [f"{self.index % 1000:03}"]
        while number := number // 1000:
            groups.insert(0, f"x{number % 1000:03}")
        level = "entries" if self.level is None else str(self.level)
        width = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{width}"

    @property
    def first(self) -> int:
        """The first entry below it, by index."""
        return self.index << HEIGHT * ((self.level or 0) + 1)

    @property
    def end(self) -> int:
        """The index past the last entry below it."""
        return self.first + (self.width << HEIGHT * (self.level or 0))


def tiles_of(size: int) -> Iterator[TilePath]:
    """Every hash tile of a tree of that size, level by level from the leaves up."""
    level = 0
    while (hashes := size >> HEIGHT * level) > 0:
        full, rest = divmod(hashes, WIDTH)
        for index in range(full):
            yield TilePath(level, index)
        if rest:
            yield TilePath(level, full, rest)
        level += 1


def tile_root(hashes: bytes) -> bytes:
    """The root over concatenated hashes, a power of two of them."""
    while len(hashes) > HASH_BYTES:
        pairs = range(0, len(hashes), 2 * HASH_BYTES)
        hashes = b"".join(
            [sha256(b"\x01" + hashes[at : at + 2 * HASH_BYTES]).digest() for at in pairs]
        )
    return hashes


class TileReader(Protocol):
    """Where tiles come from."""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of that tile, 32 bytes each."""
        ...


def subtree_from(tiles: TileReader, level: int, index: int) -> bytes:
    """The root of a complete subtree, as `infra.proof.Hashes` gives it, by one tile below it."""
    tile_level, above = divmod(level, HEIGHT)
    first = index << above
    offset = first % WIDTH
    hashes = tiles.tile(tile_level, first // WIDTH, offset + (1 << above))
    return tile_root(hashes[offset * HASH_BYTES :])


# --- From the database ------------------------------------------------------------------------


class Connections(Protocol):
    """Lends connections that see one clinic (`infra.recorder.ClinicDatastore`)."""

    clinic: UUID

    def get_connection(self) -> AbstractContextManager[Connection[Any]]: ...


class TiledHashes:
    """The tree's hashes as the database has them; nothing here is checked against a root.

    It remembers some tiles, 8 KiB each; what a tile begins with never changes. Safe to share
    between threads.
    """

    def __init__(self, connections: Connections, *, tiles_held: int = _TILES_HELD) -> None:
        self._connections = connections
        self._tiles_held = tiles_held
        self._held: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = Lock()

    def subtree(self, level: int, index: int) -> bytes:
        """The root over the 2^level leaves from leaf index × 2^level on. Raises TilesBroken where
        entries are missing, StoreUnavailable."""
        return subtree_from(self, level, index)

    def tile(self, level: int, index: int, width: int = WIDTH) -> bytes:
        """The first `width` hashes of that tile, 32 bytes each. Raises as `subtree`."""
        with self._lock:
            held = self._held.get((level, index), b"")
        if len(held) < width * HASH_BYTES:
            first = index * WIDTH
            known = len(held) // HASH_BYTES
            held += self._read(level, first + known, first + width)
        with self._lock:
            self._held[level, index] = max(held, self._held.get((level, index), b""), key=len)
            self._held.move_to_end((level, index))
            while len(self._held) > self._tiles_held:
                self._held.popitem(last=False)
        return held[: width * HASH_BYTES]

    def leaf_inputs(self, first: int, end: int) -> list[bytes]:
        """What is logged, from index `first` up to, not including, `end`. Raises as `subtree`."""
        with self._connections.get_connection() as connection:
            return _leaf_inputs(connection, self._connections.clinic, first, end)

    def forget(self) -> None:
        """Reads everything again from now on."""
        with self._lock:
            self._held.clear()

    def wrong_row(self, level: int, index: int) -> bool:
        """Whether a row is kept for that subtree and is not the root over what stands below it.

        `level` counts in tiles, from 1. Raises as `subtree`.
        """
        kept = self._kept(level, index, index + 1).get(index)
        below = self._read(level - 1, index * WIDTH, (index + 1) * WIDTH)
        return kept is not None and kept != tile_root(below)

    def _read(self, level: int, first: int, end: int) -> bytes:
        """Hashes of a tile's level, from index `first` up to `end`, as they are stored now."""
        if level == 0:
            return b"".join(map(leaf_hash, self.leaf_inputs(first, end)))
        kept = self._kept(level, first, end)
        return b"".join(
            kept.get(index) or tile_root(self._read(level - 1, index * WIDTH, (index + 1) * WIDTH))
            for index in range(first, end)
        )

    def _kept(self, level: int, first: int, end: int) -> dict[int, bytes]:
        with self._connections.get_connection() as connection:
            return _kept(connection, self._connections.clinic, level, first, end)


def _leaf_inputs(connection: Connection[Any], clinic: UUID, first: int, end: int) -> list[bytes]:
    with connection.cursor(binary=True, row_factory=lambda _: tuple) as cursor:
        rows = cursor.execute(_LEAVES, (clinic, first, end), prepare=True).fetchall()
    if [position for position, _ in rows] != list(range(first + 1, end + 1)):
        raise TilesBroken("missing", first + 1, end)
    return [leaf for _, leaf in rows]


def _kept(
    connection: Connection[Any], clinic: UUID, level: int, first: int, end: int
) -> dict[int, bytes]:
    with connection.cursor(binary=True, row_factory=lambda _: tuple) as cursor:
        return dict(cursor.execute(_SUBTREES, (clinic, level, first, end), prepare=True))


_LEAVES: Final = """
SELECT position, leaf_input FROM rapport.entries
WHERE clinic = %s AND position > %s AND position <= %s ORDER BY position
"""

_SUBTREES: Final = """
SELECT index, hash FROM rapport.subtrees
WHERE clinic = %s AND level = %s AND index >= %s AND index < %s
"""


# --- What may be given out --------------------------------------------------------------------


class SignedTree:
    """One clinic's tree at a signed size: tiles, bundles and proofs that lead to its root."""

    def __init__(self, hashes: TiledHashes, size: int, root: bytes) -> None:
        self.size, self.root = size, root
        self._hashes = hashes

    def holds(self, path: TilePath) -> bool:
        """Whether the tree of this size has that tile, or had it on its way there."""
        return 0 < path.end <= self.size

    def tile(self, path: TilePath) -> bytes:
        """The tile's hashes, 32 bytes each; the tree must hold it. Raises TilesBroken."""
        assert path.level is not None, "a bundle of entries is no tile of hashes"
        noted = _Noted(self._hashes)
        found = noted.tile(path.level, path.index, path.width)
        try:
            self._require_within(path, found, noted)
        except ProofBroken:
            raise self._named(noted, path.first, path.end) from None
        return found

    def entries(self, path: TilePath) -> bytes:
        """The bundle: each leaf input after its length in two bytes, big-endian. As `tile`."""
        noted = _Noted(self._hashes)
        leaves = self._hashes.leaf_inputs(path.first, path.end)
        try:
            found = b"".join(map(leaf_hash, leaves))
            self._require_within(replace(path, level=0), found, noted)
        except ProofBroken:
            raise self._named(noted, path.first, path.end) from None
        return b"".join(len(leaf).to_bytes(_LENGTH_BYTES, "big") + leaf for leaf in leaves)

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """The path of leaf `index` to the signed root, from its sibling up. Raises TilesBroken."""
        noted = _Noted(self._hashes)
        leaf = noted.subtree(0, index)
        path = inclusion_proof(index, self.size, noted)
        try:
            verify_inclusion(leaf, index, self.size, path, self.root)
        except ProofBroken:
            raise self._named(noted, index, index + 1) from None
        return path

    def consistency(self, old: int, old_root: bytes | None = None) -> tuple[bytes, ...]:
        """What leads from the root at size `old` to the signed one; TilesBroken.

        `old_root`: the one that was signed for before; without it, the one that is in the tree.
        """
        noted = _Noted(self._hashes)
        path = consistency_proof(old, self.size, noted)
        own = root_between(0, old, noted)
        try:
            verify_consistency(old, own, self.size, self.root, path)
        except ProofBroken:
            raise self._named(noted, 0, self.size) from None
        if own != (old_root or own):
            raise TilesBroken("diverged", 1, old)
        return path

    def _require_within(self, path: TilePath, found: bytes, hashes: Hashes) -> None:
        """ProofBroken unless what the tile holds stands in the tree where it says."""
        assert path.level is not None
        done = 0
        while done < path.width:
            # The largest complete subtree that comes next; of a full tile, all of it at once.
            above = (path.width - done).bit_length() - 1
            level = HEIGHT * path.level + above
            part = found[done * HASH_BYTES : (done + (1 << above)) * HASH_BYTES]
            index = path.index * WIDTH + done >> above
            upper = _Above(hashes, level, self.size)
            proof = inclusion_proof(index, upper.size, upper)
            verify_inclusion(tile_root(part), index, upper.size, proof, self.root)
            done += 1 << above

    def _named(self, noted: "_Noted", first: int, end: int) -> TilesBroken:
        """The narrowest that is wrong: a row over entries that are not its own, or all there is."""
        self._hashes.forget()
        if end - first <= WIDTH <= self.size - (first - first % WIDTH):
            noted.note(1, first // WIDTH)
        wrong = noted.wrong_row()
        if wrong is None:
            broken = TilesBroken("root", 1, self.size)
        else:
            level, index = wrong
            broken = TilesBroken("subtree", *_positions(level, index))
        _log.error("asked for entries %d to %d: %s", first + 1, end, broken)
        return broken


def _positions(level: int, index: int) -> tuple[int, int]:
    """First and last position under a subtree, its level counted in tiles."""
    span = WIDTH**level
    return index * span + 1, (index + 1) * span


class _Noted:
    """The same hashes, and which of the rows they came from."""

    def __init__(self, hashes: TiledHashes) -> None:
        self._hashes = hashes
        self._asked: set[tuple[int, int]] = set()

    def tile(self, level: int, index: int, width: int) -> bytes:
        for at in range(index * WIDTH, index * WIDTH + width):
            self.note(level, at)
        return self._hashes.tile(level, index, width)

    def subtree(self, level: int, index: int) -> bytes:
        return subtree_from(self, level, index)

    def note(self, level: int, index: int) -> None:
        self._asked.add((level, index))

    def wrong_row(self) -> tuple[int, int] | None:
        """The first of the rows, the smallest subtrees first, that is not what stands below it."""
        rows = (row for row in sorted(self._asked) if row[0] > 0)
        return next((row for row in rows if self._hashes.wrong_row(*row)), None)


class _Above:
    """The tree whose leaves are the nodes of one level of another: the last may be incomplete."""

    def __init__(self, hashes: Hashes, level: int, size: int) -> None:
        self.size = -(-size >> level)
        self._hashes, self._level, self._below = hashes, level, size

    def subtree(self, level: int, index: int) -> bytes:
        level += self._level
        return root_between(index << level, min((index + 1) << level, self._below), self._hashes)


# --- Keeping what is derived ------------------------------------------------------------------


class SubtreeFiller:
    """Keeps the roots of complete tiles, so that proofs need not read the whole log.

    Any number of them may run, and be interrupted: a row is written once, whoever comes first.
    """

    def __init__(self, conninfo: str, clinic: UUID) -> None:
        """`conninfo` of the role `rapport_views`."""
        self._conninfo = pinned(conninfo, clinic)
        self._clinic = clinic
        self._filled = 0
        """Every complete tile below that many entries was looked at in this process."""

    def fill(self, size: int, over: Connection[Any] | None = None) -> int:
        """Adds what is missing over the first `size` entries; how many rows. psycopg's errors.

        `over`: a connection that commits by itself and may write here; None: one for this once.
        """
        if size >> HEIGHT == self._filled >> HEIGHT:
            return 0
        once = (
            psycopg.connect(self._conninfo, autocommit=True) if over is None else nullcontext(over)
        )
        written, level = 0, 1
        with once as connection:
            while size >> HEIGHT * level:
                written += self._fill_level(connection, level, size >> HEIGHT * level)
                level += 1
        self._filled = size
        return written

    def fill_all(self) -> int:
        """The same over the whole log as it is now."""
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            query = "SELECT size FROM rapport.heads WHERE clinic = %s"
            row = connection.execute(query, (self._clinic,)).fetchone()
        return self.fill(row[0]) if row else 0

    def _fill_level(self, connection: Connection[Any], level: int, end: int) -> int:
        written, begin = 0, self._filled >> HEIGHT * level
        with connection.cursor(row_factory=tuple_row) as cursor:
            sought = (begin, end - 1, self._clinic, level)
            missing = cursor.execute(_MISSING, sought, prepare=True).fetchall()
        for at in range(0, len(missing), _BLOCKS_AT_ONCE):
            rows = [
                (self._clinic, level, index, root)
                for (index,) in missing[at : at + _BLOCKS_AT_ONCE]
                if (root := self._root(connection, level, index)) is not None
            ]
            with connection.cursor() as cursor, connection.transaction():
                cursor.executemany(_FILL, rows)
            written += len(rows)
        return written

    def _root(self, connection: Connection[Any], level: int, index: int) -> bytes | None:
        """The root of one complete tile; None where what it stands on is not all there."""
        first, end = index * WIDTH, (index + 1) * WIDTH
        try:
            if level == 1:
                below = list(map(leaf_hash, _leaf_inputs(connection, self._clinic, first, end)))
            else:
                kept = _kept(connection, self._clinic, level - 1, first, end)
                below = [kept[each] for each in range(first, end)]
        except (TilesBroken, KeyError):
            # The views go on; `rapport verify` tells what is wrong, proofs are refused.
            _log.error("entries %d to %d have no root: some are missing", *_positions(level, index))
            return None
        return tile_root(b"".join(below))


_MISSING: Final = """
SELECT at FROM generate_series(%s::bigint, %s::bigint) AS at
WHERE NOT EXISTS (
    SELECT FROM rapport.subtrees WHERE clinic = %s AND level = %s AND index = at
) ORDER BY at
"""

_FILL: Final = """
INSERT INTO rapport.subtrees (clinic, level, index, hash) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
