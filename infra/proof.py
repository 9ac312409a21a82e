"""Proofs that a log contains an entry, and that a longer log continues a shorter one.

RFC 6962 sections 2.1.1 and 2.1.2, checked as RFC 9162 sections 2.1.3.2 and 2.1.4.2 say; written
down as c2sp.org/tlog-proof. Leaves are numbered from 0: an entry's index is its position less one.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Protocol, Self

from infra.checkpoint import NoteBroken, base64
from infra.merkle import HASH_BYTES, Frontier, node_hash

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"

_PATH_LIMIT: Final = 64
"""Hashes on the longest path of any tree there can be."""
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class ProofBroken(ValueError):
    """A proof that is none, or that does not lead where it should.

    `code` is `malformed` (no proof of this form), `inclusion` or `consistency`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# --- Making proofs --------------------------------------------------------------------------


class Hashes(Protocol):
    """Where the roots of complete subtrees come from."""

    def subtree(self, level: int, index: int) -> bytes:
        """The root over the 2^level leaves from leaf index × 2^level on; level 0: a leaf's hash."""
        ...


def inclusion_proof(index: int, size: int, hashes: Hashes) -> tuple[bytes, ...]:
    """The path of leaf `index` in the tree of `size` leaves, from its sibling up."""
    return Inclusion(size, hashes).path(index)


class Inclusion:
    """The paths of the leaves of one tree. What stands at its edge is hashed once for all."""

    def __init__(self, size: int, hashes: Hashes) -> None:
        self._size = size
        self._hashes = hashes
        self._paths: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def path(self, index: int) -> tuple[bytes, ...]:
        """That of leaf `index`, from its sibling up."""
        if not 0 <= index < self._size:
            raise ValueError("the tree has no such leaf")
        return self._path(0, index)

    def _path(self, level: int, index: int) -> tuple[bytes, ...]:
        """From that node up: leaves that stand together share all but the first steps."""
        if level == len(self._edges):
            return ()
        known = self._paths.get((level, index))
        if known is not None:
            return known
        sibling, last = index ^ 1, self._size >> level
        edge = self._edges[level] if sibling == last else None
        step = self._hashes.subtree(level, sibling) if sibling < last else edge
        above = self._path(level + 1, index >> 1)
        path = self._paths[level, index] = above if step is None else (step, *above)
        return path

    @cached_property
    def _edges(self) -> list[bytes | None]:
        """At each level below the root, what the tree holds past its last complete subtree."""
        edge: bytes | None = None
        edges: list[bytes | None] = []
        for level in range((self._size - 1).bit_length()):
            edges.append(edge)
            if self._size >> level & 1:
                last = self._hashes.subtree(level, (self._size >> level) - 1)
                edge = last if edge is None else node_hash(last, edge)
        return edges


def consistency_proof(old: int, new: int, hashes: Hashes) -> tuple[bytes, ...]:
    """What leads from the root of the first `old` leaves to that of `new`; none where one is 0."""
    if not 0 <= old <= new:
        raise ValueError("a log grows only")
    if old in {0, new}:
        return ()
    start, end, path = 0, new, []
    while end != old:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= split:
            path.append(root_between(split, end, hashes))
            end = split
        else:
            path.append(root_between(start, split, hashes))
            start = split
    if start:
        path.append(root_between(start, end, hashes))
    return tuple(reversed(path))


def root_between(start: int, end: int, hashes: Hashes) -> bytes:
    """The root over the leaves from `start` up to, not including, `end`: RFC 6962's MTH.

    `start` is a multiple of the largest power of two that fits in between, as where a tree splits.
    """
    size, subtrees = end - start, []
    while start < end:
        level = (end - start).bit_length() - 1
        subtrees.append(hashes.subtree(level, start >> level))
        start += 1 << level
    return Frontier(size, tuple(subtrees)).root()


class NewLeaves:
    """The hashes of leaves just appended, and of what stood before them as far as it is needed."""

    def __init__(self, before: Frontier, leaf_hashes: Sequence[bytes]) -> None:
        self._before = before
        self._leaf_hashes = leaf_hashes

    def subtree(self, level: int, index: int) -> bytes:
        first, nodes = self._levels[level]
        return nodes[index - first]

    @cached_property
    def _levels(self) -> list[tuple[int, list[bytes]]]:
        """At each level: the first index that is known there, and the hashes from there on."""
        waiting = list(self._before.subtrees)
        size = self._before.size + len(self._leaf_hashes)
        first, nodes, levels = self._before.size, list(self._leaf_hashes), []
        for level in range(size.bit_length()):
            if self._before.size >> level & 1:
                first -= 1
                nodes = [waiting.pop(), *nodes]
            levels.append((first, nodes))
            pairs = iter(nodes)
            # A left one that waits still is known above only once its right neighbour is.
            nodes = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)]
            first >>= 1
        return levels


# --- Checking them --------------------------------------------------------------------------


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Passes if `path` leads from the leaf to the root; or `ProofBroken`."""
    if not 0 <= index < size:
        raise ProofBroken("inclusion")
    node, last, found = index, size - 1, leaf_hash
    for sibling in path:
        if not last:
            raise ProofBroken("inclusion")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or found != root:
        raise ProofBroken("inclusion")


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Passes if the tree of `new` leaves begins with the one of `old`; or `ProofBroken`.

    Every log begins with the empty one, of which there is only one root.
    """
    if not 0 <= old <= new:
        raise ProofBroken("consistency")
    if old in {0, new}:
        if path or old_root != (new_root if old else Frontier().root()):
            raise ProofBroken("consistency")
        return
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    rest = iter(path)
    # A complete tree is its own first subtree, which whoever asks knows already.
    first = old_root if not node else next(rest, b"")
    older = newer = first
    for sibling in rest:
        if not last:
            raise ProofBroken("consistency")
        if node & 1 or node == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        node, last = node >> 1, last >> 1
    if last or older != old_root or newer != new_root:
        raise ProofBroken("consistency")


# --- Written down ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A `.tlog-proof`: one entry's path to the root of the checkpoint that goes with it."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    """The signed note, as the log issued it."""
    extra: bytes | None = None
    """Whatever else is passed along; nothing proves it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str()` writes so; raises `ProofBroken`. It says nothing until it is verified."""
        head, gap, checkpoint = text.partition("\n\n")
        first, *lines = head.split("\n")
        extra = lines.pop(0) if lines and lines[0].startswith("extra ") else None
        index, *path = lines or [""]
        number = index.removeprefix("index ")
        if first != FIRST_LINE or not gap or len(path) > _PATH_LIMIT:
            raise ProofBroken("malformed")
        if not _INDEX.fullmatch(number):
            raise ProofBroken("malformed")
        try:
            proof = cls(
                int(number),
                tuple(map(base64, path)),
                checkpoint,
                None if extra is None else base64(extra.removeprefix("extra ")),
            )
        except NoteBroken:
            raise ProofBroken("malformed") from None
        if str(proof) != text or any(len(each) != HASH_BYTES for each in proof.path):
            raise ProofBroken("malformed")
        return proof

    def __str__(self) -> str:
        extra = () if self.extra is None else (f"extra {b64encode(self.extra).decode()}",)
        path = map(_encoded, self.path)
        return "\n".join((FIRST_LINE, *extra, f"index {self.index}", *path, "", self.checkpoint))


@lru_cache(4_096)
def _encoded(node: bytes) -> str:
    # Paths of leaves that stand together share most of their nodes.
    return b64encode(node).decode()
