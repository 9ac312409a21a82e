"""The log's format: the document, a second implementation, its stored vectors, and our code."""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from infra.checkpoint import Checkpoint, NoteBroken, VerifierKey
from infra.log_key import LogKey
from infra.merkle import HASH_BYTES, Frontier, leaf_hash
from infra.proof import (
    ProofBroken,
    TlogProof,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from infra.sealing import subkey
from infra.tiles import TilePath, subtree_from, tile_root, tiles_of

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/data/vectors/make_log_vectors.py"
STORED = ROOT / "tests/data/vectors/log-1.json"
DOCUMENT = ROOT / "docs/formats/log.md"
VECTORS: Final[dict[str, Any]] = json.loads(STORED.read_text(encoding="utf-8"))

LEAVES = [b'{"leaf":%d}' % number for number in range(66_000)]
KEY = LogKey([bytes.fromhex(VECTORS["key"]["seed"])])


class Hashes:
    """Our code over the leaves of the vectors, in memory."""

    def __init__(self) -> None:
        levels = [b"".join(map(leaf_hash, LEAVES))]
        for _ in range(2):
            below = levels[-1]
            full = range(0, len(below) // 8_192 * 8_192, 8_192)
            levels.append(b"".join(tile_root(below[at : at + 8_192]) for at in full))
        self._levels = levels

    def subtree(self, level: int, index: int) -> bytes:
        return subtree_from(self, level, index)

    def tile(self, level: int, index: int, width: int) -> bytes:
        first = index * 256
        return self._levels[level][first * HASH_BYTES : (first + width) * HASH_BYTES]


HASHES = Hashes()


def roots() -> dict[int, bytes]:
    return {each["size"]: bytes.fromhex(each["root"]) for each in VECTORS["checkpoints"]}


def test_the_independent_script_gives_the_stored_vectors() -> None:
    """Format: the vectors are those of a second implementation, which shares no code with ours."""
    made = subprocess.run([sys.executable, SCRIPT], capture_output=True, check=True)
    assert made.stdout == STORED.read_bytes()
    imported = set(re.findall(r"^(?:from|import) (\w+)", SCRIPT.read_text(), re.MULTILINE))
    assert imported <= {*sys.stdlib_module_names, "cryptography"}


def test_the_documents_worked_example_is_in_the_vectors() -> None:
    """Format: the document shows real bytes, and they are right."""
    document = DOCUMENT.read_text(encoding="utf-8").replace("\n    ", "\n")
    key, small = VECTORS["key"], VECTORS["small"]
    shown = [key["data_key"], key["seed"], key["public"], key["vkey"], *small.values()]
    shown += [VECTORS["checkpoints"][3]["note"], VECTORS["proofs"][2]["proof"]]
    shown += VECTORS["consistency"][2]["path"]
    assert [each for each in shown if each not in document] == []


def test_key_and_name() -> None:
    """Format, section 2: the key comes out of the keyring, and the log is named after it."""
    told = VECTORS["key"]
    assert subkey(bytes.fromhex(told["data_key"]), "log-key").hex() == told["seed"]
    assert (KEY.log_id, KEY.origin) == (told["log_id"], told["origin"])
    assert str(KEY.verifier) == told["vkey"]
    assert VerifierKey.parse(told["vkey"]).public.hex() == told["public"]


@pytest.mark.parametrize("vector", VECTORS["checkpoints"], ids=lambda each: str(each["size"]))
def test_checkpoints(vector: dict[str, Any]) -> None:
    """Format, section 3: the same note to the byte, and read again as what it says."""
    root = Frontier().append(map(leaf_hash, LEAVES[: vector["size"]])).root()
    assert root.hex() == vector["root"]
    assert str(KEY.sign(vector["size"], root)) == vector["note"]
    found = Checkpoint.verified(vector["note"], KEY.verifier)
    assert found == Checkpoint(KEY.origin, vector["size"], root)


def test_tiles_and_bundles() -> None:
    """Format, sections 4 and 5: every tile and bundle of three trees, no other, and upper tiles."""
    for vector in VECTORS["tiles"]:
        held = {str(path) for path in tiles_of(vector["size"])}
        assert held == {path for path in vector["sha256"] if "entries" not in path}
        for path, digest in vector["sha256"].items():
            assert sha256(given(TilePath.parse(path))).hexdigest() == digest, path
    for path, digest in VECTORS["top_tiles"].items():
        assert sha256(given(TilePath.parse(path))).hexdigest() == digest, path
    assert given(TilePath(0, 0, 3)).hex() == VECTORS["small"]["tile"]
    assert given(TilePath(None, 0, 3)).hex() == VECTORS["small"]["bundle"]


def given(path: TilePath) -> bytes:
    if path.level is not None:
        return HASHES.tile(path.level, path.index, path.width)
    told = LEAVES[path.first : path.end]
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in told)


@pytest.mark.parametrize("vector", VECTORS["proofs"], ids=lambda each: str(each["index"]))
def test_inclusion_proofs(vector: dict[str, Any]) -> None:
    """Format, section 6: the same text to the byte, and it leads from leaf to root."""
    index, size = vector["index"], vector["size"]
    path = inclusion_proof(index, size, HASHES)
    note = str(KEY.sign(size, roots()[size]))
    assert str(TlogProof(index, path, note)) == vector["proof"]
    assert TlogProof.parse(vector["proof"]).path == path
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, path, roots()[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda each: str(each["old"]))
def test_consistency_proofs(vector: dict[str, Any]) -> None:
    """Format, section 7: the same hashes, and they lead from one root to the other."""
    old, new = vector["old"], vector["new"]
    path = consistency_proof(old, new, HASHES)
    assert [each.hex() for each in path] == vector["path"]
    older = Frontier().append(map(leaf_hash, LEAVES[:old])).root()
    newer = Frontier().append(map(leaf_hash, LEAVES[:new])).root()
    verify_consistency(old, older, new, newer, path)


@pytest.mark.parametrize("number", range(len(VECTORS["broken_notes"])))
def test_notes_that_must_be_refused(number: int) -> None:
    """Format, section 3: what differs by a byte from what was signed is no checkpoint."""
    with pytest.raises(NoteBroken):
        Checkpoint.verified(VECTORS["broken_notes"][number], KEY.verifier)


@pytest.mark.parametrize("number", range(len(VECTORS["broken_proofs"])))
def test_proofs_that_must_be_refused(number: int) -> None:
    """Format, section 6: what is not written so, or leads elsewhere, proves nothing."""
    with pytest.raises((ProofBroken, NoteBroken)):
        prove(VECTORS["broken_proofs"][number])
    prove(VECTORS["proofs"][2]["proof"])


def prove(text: str) -> None:
    """That the leaf of index 1 is where the proof says."""
    proof = TlogProof.parse(text)
    signed = Checkpoint.verified(proof.checkpoint, KEY.verifier)
    verify_inclusion(leaf_hash(LEAVES[1]), proof.index, signed.size, proof.path, signed.root)
