"""Receipts: what is signed, when, and what becomes of a log that no longer holds it."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from domain.records import Author, Proposal, Receipt
from infra.acknowledged import LogDiverged
from infra.checkpoint import Checkpoint, NoteBroken
from infra.log_key import LogKey, begin_anew, verified_by
from infra.merkle import Frontier, leaf_hash
from infra.proof import TlogProof, verify_inclusion
from infra.receipts import ReceiptRefused, read_receipt
from tests.conftest import Clinic
from tests.infra.logs import read


def checked(receipt: Receipt, key: LogKey) -> Checkpoint:
    """The receipt's head, once each of its entries is proven to stand below it."""
    head = Checkpoint.verified(receipt.checkpoint, key.verifier)
    assert (head.size, head.root.hex()) == (receipt.tree_size, receipt.root)
    for entry in receipt.entries:
        proof = TlogProof.parse(entry.proof)
        assert (proof.index, proof.checkpoint) == (entry.position - 1, receipt.checkpoint)
        verify_inclusion(
            bytes.fromhex(entry.leaf_hash), proof.index, head.size, proof.path, head.root
        )
    return head


def test_each_receipt_proves_its_entries(clinic: Clinic) -> None:
    """Receipts: a proof of each entry over the signed head, in batches of any size."""
    author = Author(uuid4())
    for count in (1, 2, 7, 40, 300):
        for verdict in clinic.log.append([Proposal(read(), author) for _ in range(count)]):
            assert isinstance(verdict, Receipt)
            checked(verdict, clinic.log.key)


def test_a_receipt_asked_for_again_is_the_same_to_the_byte(clinic: Clinic) -> None:
    """Rule 8: later, elsewhere, and when the log has grown."""
    receipts = [clinic.record(read(uuid4())) for _ in range(5)]
    clinic.log.append([Proposal(read(), Author(uuid4())) for _ in range(600)])
    other = clinic.open_log()
    for receipt in receipts:
        again = other.receipt(receipt.command_id)
        assert again == receipt
        assert again.checkpoint == receipt.checkpoint
        assert again.entries[0].proof == receipt.entries[0].proof


def test_the_log_is_named_after_its_key(clinic: Clinic) -> None:
    """The name tells nothing, stays the same, and is in every checkpoint."""
    key = clinic.log.key
    assert clinic.open_log().key.origin == key.origin
    assert str(clinic.id) not in key.origin
    clinic.record(read())
    note = clinic.log.checkpoint()
    assert key.verified(note).origin == f"rapport-record/log/{key.log_id}"


def test_two_writers_never_sign_two_roots_for_one_size(clinic: Clinic) -> None:
    """A clinic must never equivocate: whoever signs a head, it is the same head."""
    logs = [clinic.log, clinic.open_log(), clinic.open_log()]
    notes: dict[int, set[str]] = {}
    for turn in range(30):
        log = logs[turn % 3]
        (verdict,) = log.append([Proposal(read(), Author(uuid4()))])
        assert isinstance(verdict, Receipt)
        for note in (verdict.checkpoint, *(each.checkpoint() for each in logs)):
            notes.setdefault(log.key.verified(note).size, set()).add(note)
    assert len(notes) == 30
    assert all(len(each) == 1 for each in notes.values())


def test_nothing_is_signed_because_a_row_says_so(clinic: Clinic) -> None:
    """PostgreSQL is the suspect: a head that is not the leaves' is neither signed nor built on."""
    clinic.record(read())
    forged = Frontier().append([leaf_hash(b"one"), leaf_hash(b"two")])
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        before = conn.execute("SELECT size, root, frontier FROM rapport.heads").fetchone()
        conn.execute(
            "UPDATE rapport.heads SET size = 2, root = %s, frontier = %s",
            (forged.root(), forged.to_bytes()),
        )
    for asked in (clinic.log.checkpoint, clinic.open_log, lambda: clinic.record(read())):
        with pytest.raises(LogDiverged):
            asked()
    with psycopg.connect(clinic.database.dsn("owner")) as conn:  # for the check at the end
        conn.execute("ALTER TABLE rapport.heads DISABLE TRIGGER USER")
        conn.execute("UPDATE rapport.heads SET size = %s, root = %s, frontier = %s", before)


def test_a_receipt_of_a_changed_log_is_not_signed_again(clinic: Clinic) -> None:
    """The root in the table of commits is not signed for: it is hashed from the leaves."""
    receipt = clinic.record(read())
    clinic.record(read())
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute("ALTER TABLE rapport.batches DISABLE TRIGGER USER")
        old = conn.execute("SELECT root FROM rapport.batches WHERE size = 1").fetchone()
        conn.execute("UPDATE rapport.batches SET root = sha256('x') WHERE size = 1")
    again = clinic.open_log().receipt(receipt.command_id)
    assert again is not None
    assert again.checkpoint == receipt.checkpoint
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute("UPDATE rapport.batches SET root = %s WHERE size = 1", old)


def test_a_log_that_may_be_shorter_goes_on_under_another_name(clinic: Clinic) -> None:
    """Failover and restore: what is signed after one contradicts nothing signed before it."""
    clinic.record(read())
    old, before = clinic.log.key, clinic.log.checkpoint()
    begin_anew(clinic.keyring, clinic.id)
    log = clinic.open_log()
    after = log.checkpoint()
    assert log.key.origin != old.origin
    assert log.key.verified(before) == old.verified(before)
    assert log.key.verified(after).root == old.verified(before).root
    with pytest.raises(NoteBroken, match="unsigned"):
        old.verified(after)
    assert begin_anew(clinic.keyring, clinic.id).verifiers[:2] == log.key.verifiers


# --- Receipts that somebody kept ------------------------------------------------------------


def answer(receipt: Receipt) -> str:
    """As a command is answered over HTTP."""
    return json.dumps(
        {
            "command_id": str(receipt.command_id),
            "tree_size": receipt.tree_size,
            "root": receipt.root,
            "checkpoint": receipt.checkpoint,
            "entries": [
                {"position": e.position, "leaf_hash": e.leaf_hash, "proof": e.proof}
                for e in receipt.entries
            ],
        }
    )


FORMS: list[Callable[[Receipt], str]] = [
    answer,
    lambda receipt: receipt.entries[0].proof,
    lambda receipt: receipt.checkpoint,
]


@pytest.mark.parametrize("form", FORMS)
def test_a_kept_receipt_says_what_it_promises(
    clinic: Clinic, tmp_path: Path, form: Callable[[Receipt], str]
) -> None:
    """Receipts: the answer, a proof, or a checkpoint alone."""
    clinic.record(read())
    receipt = clinic.record(read())
    file = tmp_path / "kept"
    file.write_text(form(receipt))
    kept = read_receipt(file, clinic.log.key.verified)
    assert (kept.checkpoint.size, kept.checkpoint.root.hex()) == (2, receipt.root)
    leaf = bytes.fromhex(receipt.entries[0].leaf_hash)
    kept.contains(lambda start, end: [leaf])
    if kept.proofs:
        with pytest.raises(ReceiptRefused, match="contradicts itself"):
            kept.contains(lambda start, end: [leaf_hash(b"another")])
        with pytest.raises(ReceiptRefused, match="contradicts itself"):
            kept.contains(lambda start, end: [])


@pytest.mark.parametrize("form", FORMS)
def test_a_receipt_of_another_log_or_altered_promises_nothing(
    clinic: Clinic, tmp_path: Path, form: Callable[[Receipt], str]
) -> None:
    """Receipts: only what the log's own key signed."""
    receipt, file = clinic.record(read()), tmp_path / "kept"
    file.write_text(form(receipt))
    stranger = LogKey([bytes(32)])
    with pytest.raises(ReceiptRefused, match="was not signed by this log"):
        read_receipt(file, stranger.verified)
    name = stranger.origin.encode()
    file.write_bytes(file.read_bytes().replace(clinic.log.key.origin.encode(), name))
    with pytest.raises(ReceiptRefused):
        read_receipt(file, lambda note: verified_by([stranger.verifier], note))


def test_what_is_no_receipt(clinic: Clinic, tmp_path: Path) -> None:
    """A clear answer to any other file."""
    receipt, file = clinic.record(read()), tmp_path / "kept"
    whole = answer(receipt)
    for text in ("", "{", "{}", "[]", whole[:-20], "{" * 100_000, "c2sp.org/tlog-proof@v1\n"):
        file.write_text(text)
        with pytest.raises(ReceiptRefused, match="is no receipt"):
            read_receipt(file, clinic.log.key.verified)
    changes: list[dict[str, object]] = [{"tree_size": 7}, {"root": "00" * 32}, {"entries": []}]
    for change in changes:
        file.write_text(json.dumps(json.loads(whole) | change))
        with pytest.raises(ReceiptRefused, match="contradicts itself"):
            read_receipt(file, clinic.log.key.verified)
    file.write_bytes(b"\xff\xfe")
    for missing in (file, tmp_path / "nothing", tmp_path):
        with pytest.raises(ReceiptRefused, match="cannot be read"):
            read_receipt(missing, clinic.log.key.verified)
