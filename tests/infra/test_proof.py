"""Proofs against RFC 6962 written down naively, and every way to bend one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.merkle import Frontier, leaf_hash, root_of
from infra.proof import (
    Inclusion,
    NewLeaves,
    ProofBroken,
    TlogProof,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(150)]
SIZES = st.integers(1, len(LEAVES))
CHECKPOINT = (
    "rapport-record/log/00\n3\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— a AAAAAAA=\n"
)


class Leaves:
    """Subtrees by the definition."""

    def subtree(self, level: int, index: int) -> bytes:
        part = LEAVES[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "only complete subtrees are asked for"
        return root_of(part)


def path(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return ()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return (*path(index, left), root_of(right))
    return (*path(index - split, right), root_of(left))


def subproof(old: int, leaves: Sequence[bytes], complete: bool = True) -> tuple[bytes, ...]:
    """RFC 6962, section 2.1.2."""
    if old == len(leaves):
        return () if complete else (root_of(leaves),)
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    left, right = leaves[:split], leaves[split:]
    if old <= split:
        return (*subproof(old, left, complete), root_of(right))
    return (*subproof(old - split, right, False), root_of(left))


@given(SIZES, st.data())
def test_a_path_is_that_of_the_rfc_and_leads_to_the_root(size: int, data: st.DataObject) -> None:
    """RFC 6962 2.1.1, RFC 9162 2.1.3.2."""
    index = data.draw(st.integers(0, size - 1))
    found = inclusion_proof(index, size, Leaves())
    assert found == path(index, LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, found, root_of(LEAVES[:size]))


@given(SIZES, st.data())
def test_what_was_appended_is_proven_without_reading_again(size: int, data: st.DataObject) -> None:
    """Receipts: the frontier before and the new leaves are all that their proofs need."""
    before = data.draw(st.integers(0, size - 1))
    new = NewLeaves(Frontier().append(LEAVES[:before]), LEAVES[before:size])
    together = Inclusion(size, new)
    for index in data.draw(st.permutations(range(before, size))):
        assert together.path(index) == path(index, LEAVES[:size])


@given(SIZES, st.data())
def test_a_longer_log_continues_a_shorter_one(size: int, data: st.DataObject) -> None:
    """RFC 6962 2.1.2, RFC 9162 2.1.4.2."""
    old = data.draw(st.integers(1, size))
    found = consistency_proof(old, size, Leaves())
    assert found == subproof(old, LEAVES[:size])
    verify_consistency(old, root_of(LEAVES[:old]), size, root_of(LEAVES[:size]), found)


@given(SIZES, st.data())
def test_no_other_leaf_place_size_or_path_leads_there(size: int, data: st.DataObject) -> None:
    """A proof proves one leaf at one place in one tree."""
    index = data.draw(st.integers(0, size - 1))
    root, found = root_of(LEAVES[:size]), list(inclusion_proof(index, size, Leaves()))
    elsewhere = data.draw(st.integers(-1, size + 1).filter(lambda at: at != index))
    other = data.draw(st.permutations(found).filter(lambda p: p != found)) if found[1:] else [root]
    for leaf, at, of, by in (
        (leaf_hash(b"another"), index, size, found),
        (LEAVES[index], elsewhere, size, found),
        (LEAVES[index], index, size, other),
        (LEAVES[index], index, size, [*found, root]),
        (LEAVES[index], index, size, found[:-1] if found else [root]),
        (LEAVES[index], index, 0, found),
    ):
        with pytest.raises(ProofBroken, match="inclusion"):
            verify_inclusion(leaf, at, of, by, root)


@given(SIZES, st.data())
def test_a_log_that_was_rewritten_or_cut_is_no_continuation(size: int, data: st.DataObject) -> None:
    """What was signed before must stand in what is signed now."""
    old = data.draw(st.integers(1, size))
    found, root = consistency_proof(old, size, Leaves()), root_of(LEAVES[:size])
    before = root_of(LEAVES[:old])
    false = root_of([leaf_hash(b"another"), *LEAVES[1:old]])
    for earlier, by in (
        (false, found),
        (before, (*found, root)),
        (before, found[:-1] if found else (root,)),
        (before, tuple(leaf_hash(each) for each in found) or (before,)),
    ):
        with pytest.raises(ProofBroken, match="consistency"):
            verify_consistency(old, earlier, size, root, by)
    with pytest.raises(ProofBroken, match="consistency"):
        verify_consistency(size + 1, root, size, root, ())


def test_every_log_begins_empty() -> None:
    """RFC 9162 2.1.4: from the empty tree nothing has to be shown, but it has one root only."""
    root = root_of(LEAVES[:5])
    assert consistency_proof(0, 5, Leaves()) == ()
    verify_consistency(0, Frontier().root(), 5, root, ())
    with pytest.raises(ProofBroken):
        verify_consistency(0, root, 5, root, ())
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(ValueError, match="no such leaf"):
            inclusion_proof(index, size, Leaves())
    with pytest.raises(ValueError, match="grows only"):
        consistency_proof(6, 5, Leaves())


@given(SIZES, st.data(), st.none() | st.binary(max_size=40))
def test_a_proof_is_read_as_it_was_written(
    size: int, data: st.DataObject, extra: bytes | None
) -> None:
    """tlog-proof: header, extra, index, path, a blank line, the checkpoint verbatim."""
    index = data.draw(st.integers(0, size - 1))
    proof = TlogProof(index, inclusion_proof(index, size, Leaves()), CHECKPOINT, extra)
    assert TlogProof.parse(str(proof)) == proof
    assert str(proof).startswith("c2sp.org/tlog-proof@v1\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        CHECKPOINT,
        f"c2sp.org/tlog-proof@v1\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v2\nindex 0\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\nindex 00\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\nindex ٣\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\nindex 1\n{'A' * 43}B\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA\n\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\nextra ?\nindex 1\n\n{CHECKPOINT}",
        "c2sp.org/tlog-proof@v1\nindex 1\n" + f"{'A' * 43}=\n" * 65 + f"\n{CHECKPOINT}",
        f"c2sp.org/tlog-proof@v1\r\nindex 1\r\n\r\n{CHECKPOINT}",
    ],
)
def test_what_is_no_proof(text: str) -> None:
    """Strict parsing: written out again, it must be the same text."""
    with pytest.raises(ProofBroken, match="malformed"):
        TlogProof.parse(text)
