"""Receipts that somebody kept: what they promise of a log, once it is seen that the log signed it.

Three forms say the same: the JSON that a command was answered with, the `.tlog-proof` of one entry
in it, and a signed checkpoint alone. `rapport verify --receipt` holds the log against them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.checkpoint import Checkpoint, NoteBroken
from infra.proof import FIRST_LINE, ProofBroken, TlogProof, verify_inclusion

_LIMIT: Final = 4 * 1024 * 1024

_SAYS: Final = {
    "unreadable": "{name} cannot be read.",
    "malformed": "{name} is no receipt: neither the JSON answer to a command, nor a .tlog-proof, "
    "nor a signed checkpoint, or not whole.",
    "unsigned": "{name} was not signed by this log. Whoever holds it has it of another log, or of "
    "this one under a key that is not here: name that key by --key.",
    "not_authentic": "{name} bears a signature that the log's key did not make: it was altered.",
    "inclusion": "{name} contradicts itself: its proof does not lead from its entry to its root.",
}


class ReceiptRefused(Exception):
    """A file that promises nothing of this log. `code` is a key of the table above."""

    def __init__(self, code: str, name: str) -> None:
        self.code, self.name = code, name
        super().__init__(_SAYS[code].format(name=name))


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """What a receipt promises: this head, and with it these entries."""

    name: str
    checkpoint: Checkpoint
    proofs: tuple[TlogProof, ...] = ()
    """Of each entry; none where the receipt is a checkpoint alone."""

    def contains(self, leaf_hashes: Callable[[int, int], Sequence[bytes]]) -> None:
        """Passes if the log's own entries are the ones that were promised; or `ReceiptRefused`.

        `leaf_hashes(start, end)` gives the log's; its root was held against the checkpoint before.
        """
        head = self.checkpoint
        for proof in self.proofs:
            for leaf in leaf_hashes(proof.index, proof.index + 1) or [b""]:
                _require(self.name, leaf, proof, head)


def read_receipt(path: Path, verified: Callable[[str], Checkpoint]) -> KeptReceipt:
    """The receipt in a file; raises `ReceiptRefused`.

    `verified` gives the checkpoint of a note that the log signed, as `LogKey.verified` does.
    """
    name = path.name
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT).decode()
    except (OSError, UnicodeDecodeError):
        raise ReceiptRefused("unreadable", name) from None
    try:
        if text.startswith(FIRST_LINE):
            proof = TlogProof.parse(text)
            return KeptReceipt(name, verified(proof.checkpoint), (proof,))
        if text.lstrip().startswith("{"):
            return _answered(name, json.loads(text), verified)
        return KeptReceipt(name, verified(text))
    except NoteBroken as broken:
        raise ReceiptRefused(broken.code, name) from None
    except (ProofBroken, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ReceiptRefused("malformed", name) from None


def _answered(name: str, answer: Any, verified: Callable[[str], Checkpoint]) -> KeptReceipt:
    """The JSON answer to a command: its parts must say the same thing."""
    head = verified(answer["checkpoint"])
    proofs = []
    for entry in answer["entries"]:
        proof = TlogProof.parse(entry["proof"])
        if proof.checkpoint != answer["checkpoint"] or proof.index + 1 != entry["position"]:
            raise ReceiptRefused("inclusion", name)
        _require(name, bytes.fromhex(entry["leaf_hash"]), proof, head)
        proofs.append(proof)
    if (head.size, head.root.hex()) != (answer["tree_size"], answer["root"]) or not proofs:
        raise ReceiptRefused("inclusion", name)
    return KeptReceipt(name, head, tuple(proofs))


def _require(name: str, leaf_hash: bytes, proof: TlogProof, head: Checkpoint) -> None:
    try:
        verify_inclusion(leaf_hash, proof.index, head.size, proof.path, head.root)
    except ProofBroken:
        raise ReceiptRefused("inclusion", name) from None
