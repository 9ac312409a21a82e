"""Signed notes and checkpoints: as other software writes them, and what is none."""

import os
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra.checkpoint import (
    COSIGNATURE,
    Checkpoint,
    NoteBroken,
    NoteSigner,
    Signature,
    SignedNote,
    VerifierKey,
)

# The example of Go's golang.org/x/mod/sumdb/note, whose format the specification took over.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENIGMA = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
ORIGIN = "rapport-record/log/00112233445566778899aabbccddeeff"
ROOT = bytes(range(32))


@pytest.fixture
def signer() -> NoteSigner:
    return NoteSigner(ORIGIN, os.urandom(32))


def cosigned(note: SignedNote, name: str, key: Ed25519PrivateKey, at: int) -> Signature:
    """As c2sp.org/tlog-cosignature says, written here once more."""
    message = f"cosignature/v1\ntime {at}\n".encode() + note.text.encode()
    witness = VerifierKey(name, COSIGNATURE, key.public_key().public_bytes_raw())
    return Signature(name, witness.key_id, at.to_bytes(8, "big") + key.sign(message))


def test_a_note_that_other_software_signed_is_read() -> None:
    """signed-note: a published key and note of the Go implementation."""
    key = VerifierKey.parse(PETER)
    note = SignedNote.parse(ENIGMA)
    assert str(key) == PETER
    assert str(note) == ENIGMA
    assert note.verified_by(key) is None


def test_a_checkpoint_is_read_as_it_was_signed(signer: NoteSigner) -> None:
    """tlog-checkpoint: three lines, and the log's own signature."""
    head = Checkpoint(ORIGIN, 20852163, ROOT)
    note = str(signer.sign(head.body()))
    assert note.startswith(
        f"{ORIGIN}\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— "
    )
    assert Checkpoint.verified(note, VerifierKey.parse(str(signer.verifier))) == head
    assert str(signer.sign(head.body())) == note


def test_a_witness_says_when_it_saw_a_checkpoint(signer: NoteSigner) -> None:
    """tlog-cosignature: the time is signed with the text."""
    key = Ed25519PrivateKey.generate()
    witness = VerifierKey("witness.example/w1", COSIGNATURE, key.public_key().public_bytes_raw())
    note = signer.sign(Checkpoint(ORIGIN, 1, ROOT).body())
    both = note.with_signatures(cosigned(note, witness.name, key, 1_679_315_147))
    read = SignedNote.parse(str(both))
    assert read.verified_by(witness) == datetime.fromtimestamp(1_679_315_147, UTC)
    assert read.verified_by(signer.verifier) is None
    late = note.with_signatures(cosigned(note, witness.name, key, 2**62))
    with pytest.raises(NoteBroken, match="not_authentic"):
        late.verified_by(witness)


def test_a_signature_of_an_unknown_key_proves_nothing(signer: NoteSigner) -> None:
    """signed-note: unknown keys are passed over; where no known one signed, the note is refused."""
    note = signer.sign(Checkpoint(ORIGIN, 1, ROOT).body())
    stranger = NoteSigner(ORIGIN, os.urandom(32))
    with pytest.raises(NoteBroken, match="unsigned"):
        note.verified_by(stranger.verifier)
    note.with_signatures(*stranger.sign(note.text).signatures).verified_by(signer.verifier)


def test_every_signature_of_a_known_key_must_hold(signer: NoteSigner) -> None:
    """signed-note: one true line does not excuse a false one of the same key."""
    note = signer.sign(Checkpoint(ORIGIN, 1, ROOT).body())
    other = signer.sign(Checkpoint(ORIGIN, 2, ROOT).body())
    with pytest.raises(NoteBroken, match="not_authentic"):
        note.with_signatures(*other.signatures).verified_by(signer.verifier)


def test_a_checkpoint_of_another_log_is_refused(signer: NoteSigner) -> None:
    """tlog-checkpoint: the key is the log's of that origin."""
    note = str(signer.sign(Checkpoint("elsewhere.example/log", 1, ROOT).body()))
    with pytest.raises(NoteBroken, match="not_authentic"):
        Checkpoint.verified(note, signer.verifier)


@given(st.data())
def test_no_altered_byte_is_read_as_the_same_promise(data: st.DataObject) -> None:
    """Strict parsing: whatever is changed in a note, it is refused or says what was signed."""
    signer = NoteSigner(ORIGIN, bytes(32))
    head = Checkpoint(ORIGIN, 300, ROOT)
    note = str(signer.sign(head.body())).encode()
    at = data.draw(st.integers(0, len(note) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != note[at]))
    altered = (note[:at] + bytes([byte]) + note[at + 1 :]).decode(errors="surrogateescape")
    with pytest.raises(NoteBroken):
        Checkpoint.verified(altered, signer.verifier)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        f"{ORIGIN}\n",
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        f"{ORIGIN}\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        f"{ORIGIN}\n１\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        f"{ORIGIN}\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        f"{ORIGIN}\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        f"{ORIGIN}\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\n",
        f"\n{ORIGIN}\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    ],
)
def test_what_is_no_checkpoint(body: str) -> None:
    """tlog-checkpoint: no leading zeros, no other digits, one way to write a root."""
    with pytest.raises(NoteBroken, match="malformed"):
        Checkpoint.parse(body)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "PeterNeumann",
        PETER + " ",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("Peter", "Peter "),
        PETER[:-4],
        "a+00000000+",
    ],
)
def test_what_is_no_key(key: str) -> None:
    """signed-note: a verifier key carries its own check."""
    with pytest.raises(NoteBroken, match="malformed"):
        VerifierKey.parse(key)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name\n",
        "text\n\n— name AAAAAA==\n",
        "text\n\n-- name AAAAAAA=\n",
        "text\n\n— name AAAAAAA=",
        "te\txt\n\n— name AAAAAAA=\n",
        "text\n\n— na+me AAAAAAA=\n",
        "text\n\n— name AAAAAAB=\n",
        "x" * 70_000 + "\n\n— name AAAAAAA=\n",
    ],
)
def test_what_is_no_note(note: str) -> None:
    """signed-note: lines, names and limits."""
    with pytest.raises(NoteBroken, match="malformed"):
        SignedNote.parse(note)
