"""What left the house before the tampering, and how today's log is held against it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg

from infra.clinics import NoSuchClinic, pinned
from infra.log_key import LogKey
from infra.merkle import Frontier
from infra.opening import open_entries
from infra.proof import consistency_proof
from infra.receipts import ReceiptRefused, read_receipt
from infra.recorder import leaf_hashes
from infra.verify import LogBroken, Trusted, verify
from infra.witness import Witness, WitnessElsewhere, WitnessRefuses
from tests.tamper.forger import Forger

NOTHING = "—"
"""What is said where nothing is found."""


@dataclass(frozen=True)
class Outside:
    """The head that was acknowledged, receipts for the first two commits, a witness of the head."""

    head: tuple[int, bytes]
    receipts: tuple[Path, ...]
    witness: Witness


Check = Callable[[Forger, Outside], str]
"""What is found, in a few words: a code, a column, the entries."""


def by_verify(log: Forger, outside: Outside) -> str:
    """`rapport verify`, where no root from outside is known."""
    return _found(lambda: verify(log.reader, log.clinic))


def by_head(log: Forger, outside: Outside) -> str:
    """`rapport verify`, where the head that was acknowledged last is remembered."""
    return _found(lambda: verify(log.reader, log.clinic, acknowledged=outside.head))


def by_receipts(log: Forger, outside: Outside) -> str:
    """`rapport verify --receipt …`, by somebody who has nothing but receipts and the public key."""

    def check() -> None:
        with log.keyring() as keyring:
            verified = LogKey.of(keyring, log.clinic).verified
        kept = [read_receipt(path, verified) for path in outside.receipts]
        trusted = [Trusted(each.checkpoint.size, each.checkpoint.root, each.name) for each in kept]
        verify(log.reader, log.clinic, trusted=trusted)
        with psycopg.connect(pinned(log.reader, log.clinic)) as connection:
            for each in kept:
                each.contains(partial(leaf_hashes, connection, log.clinic))

    return _found(check)


def by_witness(log: Forger, outside: Outside) -> str:
    """A witness, asked to cosign the head as it is now, signed with the log's own key."""
    known, root = outside.head
    for head in log.rows("SELECT size, root FROM rapport.heads WHERE clinic = %(clinic)s"):
        if (head["size"], head["root"]) != (known, root):
            return _asked(log, outside, head["size"], head["root"])
    return NOTHING  # nothing new, nothing to ask


def _asked(log: Forger, outside: Outside, size: int, root: bytes) -> str:
    known = outside.head[0]
    old = min(known, size)
    proof = consistency_proof(old, size, _Hashes(log.leaves()))
    note = str(log.sign(size, root))
    try:
        outside.witness.add_checkpoint(old, proof, note, datetime.now(UTC))
    except WitnessElsewhere as elsewhere:
        return f"refused: it cosigned {elsewhere.size}"
    except WitnessRefuses as refusal:
        return f"refused: {refusal.code}"
    return NOTHING


def by_opening(log: Forger, outside: Outside) -> str:
    """`rapport verify --open`: what opening every entry finds beyond that."""

    def check() -> None:
        with log.keyring() as keyring:
            opened = open_entries(log.reader, log.clinic, keyring)
        if opened.late:
            raise LogBroken("late", opened.late[0])

    return _found(check)


CHECKS: Mapping[str, Check] = {
    "verify": by_verify,
    "head": by_head,
    "receipts": by_receipts,
    "witness": by_witness,
    "opening": by_opening,
}


class _Hashes:
    """Roots of subtrees; where entries are missing, of whatever else is there."""

    def __init__(self, leaves: list[bytes]) -> None:
        self._leaves = leaves

    def subtree(self, level: int, index: int) -> bytes:
        part = self._leaves[index << level : (index + 1) << level]
        return Frontier().append(part).root()


def _found(check: Callable[[], object]) -> str:
    try:
        check()
    except LogBroken as broken:
        return _told(broken)
    except ReceiptRefused as refused:
        return f"receipt {refused.code}"
    except NoSuchClinic:
        return "no log"
    return NOTHING


def _told(broken: LogBroken) -> str:
    """A root that does not fit speaks of all entries before it, but for those that are proven."""
    first, last = broken.first, broken.last
    proven = broken.proven.size if broken.proven else 0
    places = f"{first}–{last}" if last != first else f"{first}"
    before = "or before" if broken.code == "root" and proven < first - 1 else ""
    return " ".join(filter(None, [broken.code, broken.column, places, before]))
