"""A log as files: a checkpoint, the tiles below it, and the entries where they are asked for.

The folder is laid out as c2sp.org/tlog-tiles lays out its URLs, so any web server can serve it and
any reader of tiles can check it. `verify_tiles` is one such reader: it needs no database and no
keyring, holds one tile of each level at a time, and trusts nothing but the key it is given.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from infra.checkpoint import Checkpoint, NoteBroken, VerifierKey
from infra.merkle import HASH_BYTES, Frontier, leaf_hash
from infra.proof import ProofBroken, consistency_proof, verify_consistency
from infra.tiles import (
    HEIGHT,
    WIDTH,
    SignedTree,
    TilePath,
    subtree_from,
    tile_root,
    tiles_of,
)

CHECKPOINT: Final = "checkpoint"
ENTRIES: Final = "tile/entries"

_BUNDLE_LIMIT: Final = WIDTH * (2 + (1 << 16))
_LENGTH_BYTES: Final = 2
_NOTE_BYTES: Final = 1 << 20

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""

_SAYS: Final = {
    "absent": "{path} is not there.",
    "length": "{path} has not the length of what it should hold.",
    "tile": "{path} does not fit what was signed.",
    "entries": "{path} does not hold the entries that the hashes are of.",
    "root": "The tiles fit each other, but not the root that was signed.",
    "note": "{path} is no checkpoint that this key has signed.",
    "behind": "{path} covers fewer entries than were signed for before.",
    "diverged": "{path} does not continue what was signed for before.",
}


class FolderBroken(Exception):
    """A folder of tiles is not what was signed. `path` names the first file that does not fit."""

    def __init__(self, code: str, path: object = "") -> None:
        self.code, self.path = code, str(path)
        super().__init__(_SAYS[code].format(path=path))


# --- Writing --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left in its folder."""

    size: int
    written: int
    """Files that were not there before."""


def export(
    folder: Path,
    note: str,
    tree: SignedTree,
    key: VerifierKey,
    *,
    entries: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Writes the tiles below the signed checkpoint, then the checkpoint.

    Each file is whole or not there; what is there is left. With `entries` also the bundles, for
    their owner's eyes alone. `key` is the log's; `note` the checkpoint of `tree`. Raises
    FolderBroken where the folder holds another log's checkpoint, TilesBroken where the log does
    not continue it, OSError.
    """
    _require_continued(folder, tree, key)
    if entries:
        (folder / ENTRIES).mkdir(mode=0o700, parents=True, exist_ok=True)
    written = 0
    for path in tiles_of(tree.size):
        if not _is_there(folder / str(path), path.width * HASH_BYTES):
            _write(folder / str(path), tree.tile(path))
            written += 1
        if path.level == 0:
            bundle = TilePath(None, path.index, path.width)
            if entries and not _is_there(folder / str(bundle)):
                _write(folder / str(bundle), tree.entries(bundle), private=True)
                written += 1
            if progress is not None:
                progress(path.end, tree.size)
    # Last: whoever reads a checkpoint finds everything that it needs.
    _write(folder / CHECKPOINT, note.encode())
    _remove_outgrown(folder, tree.size)
    return Exported(tree.size, written)


def _require_continued(folder: Path, tree: SignedTree, key: VerifierKey) -> None:
    """The log continues the checkpoint of an earlier export, if there is one."""
    if not (folder / CHECKPOINT).exists():
        return
    before = checkpoint_of(folder, key)[1]
    if before.size > tree.size:
        raise FolderBroken("behind", "The log")
    tree.consistency(before.size, before.root)


def _is_there(file: Path, length: int | None = None) -> bool:
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        return False
    return length is None or found == length


def _write(file: Path, data: bytes, *, private: bool = False) -> None:
    """A file that is whole or not there; with `private`, its owner's alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{uuid4().hex}")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o644)
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(handle)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _remove_outgrown(folder: Path, size: int) -> None:
    """Partial tiles that have become full ones."""
    for path in tiles_of(size):
        if path.width < WIDTH:
            continue
        bundle = TilePath(None, path.index)
        for full in (path, bundle) if path.level == 0 else (path,):
            if (folder / str(full)).exists():
                shutil.rmtree(folder / f"{full}.p", ignore_errors=True)


# --- Reading --------------------------------------------------------------------------------

ReadTile = Callable[[TilePath], bytes]
"""The bytes at that path, however long; raises FolderBroken where there are none."""


def reader_of(folder: Path) -> ReadTile:
    """Reads tiles from a folder."""

    def read(path: TilePath) -> bytes:
        return _read(folder, str(path), _BUNDLE_LIMIT)

    return read


def _read(folder: Path, name: str, limit: int) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            return file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FolderBroken("absent", name) from None


def checkpoint_of(folder: Path, key: VerifierKey) -> tuple[str, Checkpoint]:
    """The folder's signed note, and what it says. Raises FolderBroken."""
    try:
        note = _read(folder, CHECKPOINT, _NOTE_BYTES).decode()
        return note, Checkpoint.verified(note, key)
    except (UnicodeDecodeError, NoteBroken):
        raise FolderBroken("note", CHECKPOINT) from None


@dataclass(frozen=True, slots=True)
class Checked:
    """What was proven of a folder."""

    checkpoint: Checkpoint
    entries: bool
    """Whether the entries are there, and were hashed too."""


def check(
    folder: Path,
    key: VerifierKey,
    *,
    against: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Checks every file of an exported folder against the key of its log, and nothing else.

    `against`: what the same log signed before, kept elsewhere; the folder must continue it.
    Raises FolderBroken.
    """
    checkpoint = checkpoint_of(folder, key)[1]
    entries = (folder / ENTRIES).is_dir()
    read = reader_of(folder)
    verify_tiles(read, checkpoint.size, checkpoint.root, entries=entries, progress=progress)
    if against is not None:
        require_continues(read, checkpoint, against)
    return Checked(checkpoint, entries)


def require_continues(read: ReadTile, now: Checkpoint, before: Checkpoint) -> None:
    """FolderBroken unless the log of these tiles begins with what was signed for before."""
    if before.size > now.size:
        raise FolderBroken("behind", CHECKPOINT)
    path = consistency_proof(before.size, now.size, _TilesAt(read, now.size))
    try:
        verify_consistency(before.size, before.root, now.size, now.root, path)
    except ProofBroken:
        raise FolderBroken("diverged", CHECKPOINT) from None


def verify_tiles(
    read: ReadTile,
    size: int,
    root: bytes,
    *,
    entries: bool = False,
    progress: Progress | None = None,
) -> None:
    """Checks every tile of a tree against its signed root, from the top down, each read once.

    With `entries` every bundle too, against the hashes. Raises FolderBroken with the first file
    that does not fit.
    """
    _Verification(read, size, entries, progress).run(root)


class _Verification:
    """One pass over a tree's tiles. It holds one tile of each level."""

    def __init__(self, read: ReadTile, size: int, entries: bool, progress: Progress | None) -> None:
        self._read = read
        self._size = size
        self._entries = entries
        self._progress = progress

    def run(self, root: bytes) -> None:
        # The partial tiles at the right edge together make the root: they come first, and what
        # hangs below them, which is all the rest, can then be told wrong tile by tile.
        edge = _edge(self._size)
        hashes = [self._hashes(path) for path in edge]
        if _root(self._size, hashes) != root:
            raise self._misfit(edge, hashes, root)
        for path, held in zip(edge, hashes, strict=True):
            assert path.level is not None
            if path.level == 0:
                self._leaves(path, held)
                continue
            for at in range(path.width):
                self._descend(TilePath(path.level - 1, path.index * WIDTH + at), _hash(held, at))

    def _descend(self, path: TilePath, expected: bytes) -> None:
        """The full tile and all below it, its root known from the tile above."""
        held = self._hashes(path)
        if tile_root(held) != expected:
            raise FolderBroken("tile", path)
        assert path.level is not None
        if path.level == 0:
            self._leaves(path, held)
            return
        for at in range(WIDTH):
            self._descend(TilePath(path.level - 1, path.index * WIDTH + at), _hash(held, at))

    def _hashes(self, path: TilePath) -> bytes:
        hashes = self._read(path)
        if len(hashes) != path.width * HASH_BYTES:
            raise FolderBroken("length", path)
        return hashes

    def _leaves(self, path: TilePath, hashes: bytes) -> None:
        if self._entries:
            bundle = TilePath(None, path.index, path.width)
            if _leaf_hashes(self._read(bundle), bundle) != hashes:
                raise FolderBroken("entries", bundle)
        if self._progress is not None:
            self._progress(path.end, self._size)

    def _misfit(
        self, edge: Sequence[TilePath], hashes: Sequence[bytes], root: bytes
    ) -> FolderBroken:
        """Which tile of the edge is wrong, found by those below: each tells what is above it."""
        below = [self._from_below(path) or held for path, held in zip(edge, hashes, strict=True)]
        differing = [
            path for path, held, told in zip(edge, hashes, below, strict=True) if held != told
        ]
        if differing:
            return FolderBroken("tile", differing[0])
        unchecked = [path for path in edge if path.level == 0 and not self._entries]
        return FolderBroken("tile", unchecked[0]) if unchecked else FolderBroken("root")

    def _from_below(self, path: TilePath) -> bytes | None:
        """What the partial tile should hold, by the tiles or the entries below it."""
        assert path.level is not None
        if path.level == 0:
            bundle = TilePath(None, path.index, path.width)
            return _leaf_hashes(self._read(bundle), bundle) if self._entries else None
        children = (TilePath(path.level - 1, path.index * WIDTH + at) for at in range(path.width))
        return b"".join(tile_root(self._hashes(child)) for child in children)


class _TilesAt:
    """Hashes for proofs, from the tiles of a tree at one size."""

    def __init__(self, read: ReadTile, size: int) -> None:
        self._read, self._size = read, size

    def subtree(self, level: int, index: int) -> bytes:
        return subtree_from(self, level, index)

    def tile(self, level: int, index: int, width: int) -> bytes:
        there = min(WIDTH, (self._size >> HEIGHT * level) - index * WIDTH)
        return self._read(TilePath(level, index, there))[: width * HASH_BYTES]


def _edge(size: int) -> list[TilePath]:
    """The partial tiles of a tree, the highest first."""
    counts = [size >> HEIGHT * level for level in range(-(-size.bit_length() // HEIGHT))]
    return [
        TilePath(level, count // WIDTH, count % WIDTH)
        for level, count in reversed(list(enumerate(counts)))
        if count % WIDTH
    ]


def _root(size: int, edge: Sequence[bytes]) -> bytes:
    """The root of a tree, from the hashes of its partial tiles, the highest first."""
    subtrees = []
    for hashes in edge:
        at, width = 0, len(hashes) // HASH_BYTES
        while at < width:
            part = 1 << (width - at).bit_length() - 1
            subtrees.append(tile_root(hashes[at * HASH_BYTES : (at + part) * HASH_BYTES]))
            at += part
    return Frontier(size, tuple(subtrees)).root()


def _hash(hashes: bytes, at: int) -> bytes:
    return hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]


def _leaf_hashes(bundle: bytes, path: TilePath) -> bytes:
    """The hashes of a bundle's leaf inputs, as many as it should hold."""
    hashes, at = [], 0
    while at < len(bundle):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(bundle[at:begin], "big")
        hashes.append(leaf_hash(bundle[begin:at]))
    if at != len(bundle) or len(hashes) != path.width:
        raise FolderBroken("length", path)
    return b"".join(hashes)
