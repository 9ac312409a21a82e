"""The Merkle tree of RFC 6962 section 2.1, as a frontier that grows.

A leaf's hash is SHA-256(0x00 ‖ leaf input), an inner node's SHA-256(0x01 ‖ left ‖ right), and the
root of nothing is SHA-256 of the empty string. A log of n entries needs no more than the roots of
its complete subtrees (one for each bit set in n) to take further leaves and to tell its root.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
_SIZE_BYTES: Final = 8
_HASH_LENGTHS: Final = frozenset({HASH_BYTES})
_LEAF, _NODE = b"\x00", b"\x01"


class FrontierBroken(ValueError):
    """Bytes or parts that cannot be the frontier of any tree."""


def leaf_hash(leaf_input: bytes) -> bytes:
    """SHA-256(0x00 ‖ leaf input), 32 bytes."""
    return sha256(_LEAF + leaf_input).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right), 32 bytes."""
    return sha256(_NODE + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The complete subtrees of a tree of `size` leaves, the largest (leftmost) first.

    Immutable: `append` gives the next frontier and leaves this one as it was, so a lost race
    costs nothing.
    """

    size: int = 0
    subtrees: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.subtrees) != self.size.bit_count():
            raise FrontierBroken("a frontier holds one hash for each bit set in its size")
        if not _HASH_LENGTHS.issuperset(map(len, self.subtrees)):
            raise FrontierBroken("a hash has 32 bytes")

    def append(self, leaf_hashes: Iterable[bytes]) -> Self:
        """The frontier after `leaf_hashes`, in their order."""
        nodes, carry = list(leaf_hashes), self.size
        size, subtrees, kept = self.size + len(nodes), list(self.subtrees), []
        # Addition with carrying, a level of the tree at a time: a bit set in the old size is a
        # complete subtree that waits for a right neighbour, an odd node out waits for the next.
        while nodes:
            if carry & 1:
                nodes.insert(0, subtrees.pop())
            if len(nodes) & 1:
                kept.append(nodes.pop())
            pairs = iter(nodes)
            nodes = [sha256(_NODE + left + next(pairs)).digest() for left in pairs]
            carry >>= 1
        return type(self)(size, (*subtrees, *reversed(kept)))

    def root(self) -> bytes:
        """The tree's root, 32 bytes."""
        if not self.subtrees:
            return EMPTY_ROOT
        *larger, root = self.subtrees
        for subtree in reversed(larger):
            root = sha256(_NODE + subtree + root).digest()
        return root

    def to_bytes(self) -> bytes:
        """8 bytes of size, big-endian, then the hashes, the largest subtree first."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.subtrees)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote; raises `FrontierBroken` for anything else."""
        if len(data) < _SIZE_BYTES:
            raise FrontierBroken("a frontier begins with 8 bytes of size")
        hashes = data[_SIZE_BYTES:]
        parts = (hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))
        return cls(int.from_bytes(data[:_SIZE_BYTES], "big"), tuple(parts))


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over all leaves at once, as RFC 6962 defines it: the measure of `Frontier`."""
    if not leaf_hashes:
        return EMPTY_ROOT
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    split = 1 << ((len(leaf_hashes) - 1).bit_length() - 1)
    return node_hash(root_of(leaf_hashes[:split]), root_of(leaf_hashes[split:]))
