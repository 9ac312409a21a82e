"""The Merkle tree against RFC 6962's own definition and published roots."""

from dataclasses import FrozenInstanceError
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.merkle import (
    EMPTY_ROOT,
    Frontier,
    FrontierBroken,
    leaf_hash,
    node_hash,
    root_of,
)

# The leaves and roots that the Certificate Transparency implementations have published since 2013
# (google/certificate-transparency, merkle_tree_test): root after each of the first eight leaves.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


def by_levels(hashes: list[bytes]) -> bytes:
    """Another way to the same root: pair up level by level, an odd one out rises unhashed."""
    if not hashes:
        return sha256(b"").digest()
    level = hashes
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [
            sha256(b"\x01" + b"".join(pair)).digest() if pair[1:] else pair[0] for pair in pairs
        ]
    return level[0]


def test_published_roots() -> None:
    """Idea 5: RFC 6962, so that software which is not ours computes the same root."""
    frontier = Frontier()
    for size, root in enumerate(ROOTS):
        hashes = [leaf_hash(leaf) for leaf in LEAVES[:size]]
        assert root_of(hashes).hex() == root
        assert frontier.root().hex() == root
        assert frontier.size == size
        if size < len(LEAVES):
            frontier = frontier.append([leaf_hash(LEAVES[size])])


def test_leaves_and_nodes_are_hashed_apart() -> None:
    """R3: an inner node can never be passed off as an entry."""
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"") == sha256(b"\x00").digest()
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


@given(HASHES, st.integers(0, 70))
def test_the_frontier_agrees_with_the_definition_however_it_grew(
    hashes: list[bytes], split: int
) -> None:
    """Rule 6: the root of a log does not depend on the batches in which it was appended."""
    whole = Frontier().append(hashes)
    parts = Frontier().append(hashes[:split]).append(hashes[split:])
    assert whole == parts
    assert whole.root() == root_of(hashes) == by_levels(hashes)
    assert whole.size == len(hashes)


@given(HASHES)
def test_the_frontier_survives_its_bytes(hashes: list[bytes]) -> None:
    """Idea 3: the head's row carries the frontier from one process to the next."""
    frontier = Frontier().append(hashes)
    stored = frontier.to_bytes()
    assert Frontier.from_bytes(stored) == frontier
    assert len(stored) == 8 + 32 * len(hashes).bit_count()


@given(HASHES.filter(bool), st.data())
def test_any_other_leaf_order_or_count_gives_another_root(
    hashes: list[bytes], data: st.DataObject
) -> None:
    """R3: altered, missing and swapped entries all move the root."""
    at = data.draw(st.integers(0, len(hashes) - 1))
    altered = [*hashes]
    altered[at] = bytes([altered[at][0] ^ 1]) + altered[at][1:]
    swapped = [*hashes[:at], *hashes[at + 1 :], hashes[at]]
    assert root_of(altered) != root_of(hashes)
    assert root_of(hashes[:at] + hashes[at + 1 :]) != root_of(hashes)
    if swapped != hashes:
        assert root_of(swapped) != root_of(hashes)


def test_appending_leaves_the_frontier_as_it_was() -> None:
    """Idea 3: a lost race decides again on what it had."""
    frontier = Frontier().append([leaf_hash(b"1")])
    before = frontier.to_bytes()
    frontier.append([leaf_hash(b"2")])
    assert frontier.to_bytes() == before
    with pytest.raises(FrozenInstanceError):
        frontier.size = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        (1).to_bytes(8, "big"),
        (1).to_bytes(8, "big") + bytes(31),
        (1).to_bytes(8, "big") + bytes(33),
        (4).to_bytes(8, "big") + bytes(64),
        (2**64 - 1).to_bytes(8, "big") + bytes(32),
    ],
)
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    """R3: a damaged head is an error, never another tree."""
    with pytest.raises(FrontierBroken):
        Frontier.from_bytes(data)


def test_parts_that_are_no_frontier_are_refused() -> None:
    """R3: size and hashes of a head must belong together."""
    with pytest.raises(FrontierBroken):
        Frontier(-1, (bytes(32),))
    with pytest.raises(FrontierBroken):
        Frontier(3, (bytes(32),))
    with pytest.raises(FrontierBroken):
        Frontier(1, (b"short",))
