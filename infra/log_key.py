"""The key that signs a clinic's log, and the name that it gives the log.

It comes out of the keyring, so it is backed up with it and lies nowhere in the database. A log is
named after its key's hash: the name tells nobody whose log it is, and whoever knows the name can
check that a key belongs to it.

A log that was restored from a backup may be shorter than what was promised before, and nobody on
that machine can tell. So it goes on under a new key and a new name (`begin_anew`): what is signed
from then on contradicts nothing that was signed before. docs/formats/log.md, *Restored logs*.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Self
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.checkpoint import Checkpoint, NoteBroken, NoteSigner, SignedNote, VerifierKey
from infra.keyring import Keyring
from infra.sealing import subkey

ORIGIN: Final = "rapport-record/log/"

_SUBJECT: Final = "log/"
_NAME_BYTES: Final = 16


class LogKey:
    """The log key of a clinic, and those it had before."""

    def __init__(self, seeds: Sequence[bytes]) -> None:
        """`seeds`: 32 secret bytes for each key the log has had; the last one signs."""
        signers = [_signer(seed) for seed in seeds]
        self.signer = signers[-1]
        self.verifiers: tuple[VerifierKey, ...] = tuple(each.verifier for each in signers)
        """Every key there has been: what one of them signed still stands."""

    @classmethod
    def of(cls, keyring: Keyring, clinic: UUID) -> Self:
        """The clinic's; made durably at first use."""
        stream = f"clinic-{clinic}"
        return cls(
            [
                subkey(keyring.key_for(clinic, stream, f"{_SUBJECT}{number}")[1], "log-key")
                for number in range(max(1, _count(keyring, clinic)))
            ]
        )

    @property
    def verifier(self) -> VerifierKey:
        """The public key that checks what is signed now."""
        return self.signer.verifier

    @property
    def origin(self) -> str:
        """The log's name: the first line of its checkpoints."""
        return self.verifier.name

    @property
    def log_id(self) -> str:
        """32 hex digits: the first half of SHA-256 of the public key."""
        return self.origin.removeprefix(ORIGIN)

    def sign(self, size: int, root: bytes) -> SignedNote:
        """The signed checkpoint of a head. Whoever asks knows that its commit is durable."""
        return self.signer.sign(Checkpoint(self.origin, size, root).body())

    def verified(self, note: str) -> Checkpoint:
        """The checkpoint that one of the keys signed; raises `NoteBroken` where none did."""
        return verified_by(self.verifiers, note)


def verified_by(keys: Sequence[VerifierKey], note: str) -> Checkpoint:
    """The checkpoint that one of the keys, each of a log of its own, signed; or `NoteBroken`."""
    origin = SignedNote.parse(note).text.partition("\n")[0]
    for key in keys:
        if key.name == origin:
            return Checkpoint.verified(note, key)
    raise NoteBroken("unsigned")


def begin_anew(keyring: Keyring, clinic: UUID) -> LogKey:
    """A further log key: for a log that may be shorter than what was promised of it."""
    held = len(LogKey.of(keyring, clinic).verifiers)
    keyring.key_for(clinic, f"clinic-{clinic}", f"{_SUBJECT}{held}")
    return LogKey.of(keyring, clinic)


def _count(keyring: Keyring, clinic: UUID) -> int:
    """How many log keys there are; they are numbered from 0 and none is ever destroyed.

    Each is asked for by its name: a ring holds several keys for each relationship.
    """
    stream, held = f"clinic-{clinic}", 0
    while keyring.key_id_of(clinic, stream, f"{_SUBJECT}{held}") is not None:
        held += 1
    return held


def _signer(seed: bytes) -> NoteSigner:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return NoteSigner(ORIGIN + sha256(public).digest()[:_NAME_BYTES].hex(), seed)
