"""Signed heads of the log, as the C2SP specifications write them, to the byte.

A checkpoint (c2sp.org/tlog-checkpoint) is a signed note (c2sp.org/signed-note) of three lines: the
log's origin, its size, its RFC 6962 root. A witness adds a cosignature (c2sp.org/tlog-cosignature)
to it. Parsing is strict: what is read is written out again and compared, so two texts never mean
the same thing. Ours alone is stated in docs/formats/log.md.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.merkle import HASH_BYTES

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
"""Signature types of a signed note: the log's own, and a witness's with its time (v1)."""

NOTE_LIMIT: Final = 64 * 1024
"""Characters of a note that are read at all: room for hundreds of cosignatures."""

_DASH: Final = "\N{EM DASH} "
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteBroken(ValueError):
    """Text that is no signed note, checkpoint or key, or one that its key did not sign.

    `code` is `malformed`, `unsigned` (no signature of that key) or `not_authentic`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# --- Keys -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key as it is passed around: `<name>+<key id>+<base64 of algorithm ‖ key>`."""

    name: str
    algorithm: int
    """`ED25519` or `COSIGNATURE`."""
    public: bytes
    """32 bytes, RFC 8032."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `str()` writes so; raises `NoteBroken`."""
        name, _, rest = text.partition("+")
        material = base64(rest.partition("+")[2])
        if len(material) != 1 + _KEY_BYTES or material[0] not in {ED25519, COSIGNATURE}:
            raise NoteBroken("malformed")
        key = cls(_named(name), material[0], material[1:])
        if str(key) != text:
            raise NoteBroken("malformed")
        return key

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name ‖ 0x0A ‖ algorithm ‖ public key)."""
        said = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public
        return sha256(said).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        material = b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def verify(self, signature: bytes, text: str) -> datetime | None:
        """When a witness cosigned the text; None for a log's own signature. Or `NoteBroken`."""
        at, message = None, text.encode()
        if self.algorithm == COSIGNATURE:
            seconds, signature = signature[:_TIME_BYTES], signature[_TIME_BYTES:]
            time = int.from_bytes(seconds, "big")
            message = f"cosignature/v1\ntime {time}\n".encode() + message
            try:
                at = datetime.fromtimestamp(time, UTC)
            except (ValueError, OverflowError, OSError):
                raise NoteBroken("not_authentic") from None
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise NoteBroken("not_authentic") from None
        return at


class NoteSigner:
    """Signs notes with an Ed25519 key under a name."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed`: the 32 secret bytes of RFC 8032."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        self.verifier = VerifierKey(_named(name), ED25519, public)

    def sign(self, text: str) -> "SignedNote":
        """The text as a signed note; the same text always gives the same note."""
        signed = Signature(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode()))
        return SignedNote(text, (signed,))


# --- Notes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note."""

    name: str
    key_id: bytes
    """4 bytes; with the name it tells which key signed, and proves nothing."""
    signature: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """The line without its newline; raises `NoteBroken`."""
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        said = base64(encoded)
        signature = cls(_named(name), said[:_ID_BYTES], said[_ID_BYTES:])
        if not signature.signature or str(signature) != line:
            raise NoteBroken("malformed")
        return signature

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.signature).decode()}"


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text, which ends with a newline, and who signed it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str) -> Self:
        """The note; raises `NoteBroken`. It says nothing until a known key has `verified_by`."""
        head, gap, lines = note.rpartition("\n\n")
        if not gap or len(note) > NOTE_LIMIT or not _is_text(note):
            raise NoteBroken("malformed")
        signatures = tuple(map(Signature.parse, lines.removesuffix("\n").split("\n")))
        parsed = cls(head + "\n", signatures)
        if str(parsed) != note:
            raise NoteBroken("malformed")
        return parsed

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{each}\n" for each in self.signatures)

    def verified_by(self, key: VerifierKey) -> datetime | None:
        """Passes if that key signed the text; when, if it is a witness's. Or `NoteBroken`."""
        own = [s for s in self.signatures if (s.name, s.key_id) == (key.name, key.key_id)]
        if not own:
            raise NoteBroken("unsigned")
        times = [key.verify(each.signature, self.text) for each in own]
        return times[0]

    def with_signatures(self, *signatures: Signature) -> Self:
        """The same note, signed by others too."""
        return replace(self, signatures=(*self.signatures, *signatures))


# --- Checkpoints ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """So many entries under this root, in the log of that origin."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    """Further lines; ours has none."""

    @classmethod
    def parse(cls, body: str) -> Self:
        """What `body()` writes so; raises `NoteBroken`."""
        lines = body.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
            raise NoteBroken("malformed")
        checkpoint = cls(lines[0], int(lines[1]), base64(lines[2]), tuple(lines[3:]))
        if len(checkpoint.root) != HASH_BYTES or checkpoint.body() != body:
            raise NoteBroken("malformed")
        return checkpoint

    def body(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def verified(cls, note: str, key: VerifierKey) -> Self:
        """The checkpoint in a note that the log of that key signed; raises `NoteBroken`."""
        signed = SignedNote.parse(note)
        signed.verified_by(key)
        checkpoint = cls.parse(signed.text)
        if checkpoint.origin != key.name:
            raise NoteBroken("not_authentic")
        return checkpoint


# --- Strictness -----------------------------------------------------------------------------


def base64(text: str) -> bytes:
    """What is encoded so and in no other way (RFC 4648, section 4); or `NoteBroken`."""
    try:
        found = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise NoteBroken("malformed") from None
    if b64encode(found).decode() != text:
        raise NoteBroken("malformed")
    return found


def _named(name: str) -> str:
    if not name or " " in name or "+" in name or not name.isprintable():
        raise NoteBroken("malformed")
    return name


def _is_text(note: str) -> bool:
    """Whether it is UTF-8 without control characters but newlines."""
    return not any(
        (character < " " and character != "\n") or "\ud800" <= character <= "\udfff"
        for character in note
    )
