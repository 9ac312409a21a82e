"""Sealing content, committing to it, and the leaf of the log that holds both.

The format `rapport-entry/1` is written down in docs/formats/entry.md with MUST and SHOULD, a worked
example and test vectors. What is stored here is read for decades: nothing in this module changes
without a new format name.
"""

import hmac
import os
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.canonical import encode, offset_text, time_text

FORMAT: Final = "rapport-entry/1"
KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
FRESH_BYTES: Final = SALT_BYTES + NONCE_BYTES
LEAF_INPUT_LIMIT: Final = 16 * 1024
_COMMITMENT_PREFIX: Final = b"rapport-commitment/1"
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST: Final = bytes(SHA256.block_size - SALT_BYTES).translate(_INNER) + _COMMITMENT_PREFIX
_OUTER_REST: Final = bytes(SHA256.block_size - SALT_BYTES).translate(_OUTER)
_LEAF: Final = (
    b'%b"ciphertext_sha256":"%b",%b"commitment":"%b",%b"position":%d,"recorded_at":"%b",%b'
)
_ACTOR_ENDS: Final = len('{"actor":"",') + len(str(UUID(int=0)))
_SHORTEST_ENTRY: Final = NONCE_BYTES + SALT_BYTES + TAG_BYTES


Mac = Callable[[bytes], bytes]
"""A message's keyed digest, under one key and for one purpose."""


class SealBroken(Exception):
    """Sealed bytes that do not open: `code` is `truncated`, `not_authentic` or `commitment`.

    Either the bytes or what they are bound to (the AAD) were changed, or the key is another one.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class LeafRefused(ValueError):
    """An envelope that cannot be a leaf: `code` is `not_placed` or `too_large`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Sealed(NamedTuple):
    """Sealed content: nonce ‖ AES-256-GCM ciphertext ‖ tag, and the 32 bytes that commit to it."""

    ciphertext: bytes
    commitment: bytes


class Envelope(NamedTuple):
    """All that is known of an entry without its key. Position and recorded_at come last.

    `stream` and `source` are the text that is stored; versions and positions begin at 1.
    """

    clinic: UUID
    stream: str
    stream_version: int
    topic: str
    schema_version: int
    occurred_at: datetime
    actor: UUID
    on_behalf_of: UUID | None
    source: str
    command_id: UUID
    command_index: int
    key_id: UUID
    position: int | None = None
    recorded_at: datetime | None = None


def subkey(key: bytes, purpose: str) -> bytes:
    """HKDF-SHA-256 of a 32-byte data key with info `rapport/<purpose>/1` and no salt: 32 bytes.

    Purposes: `log` for entries, `view/<name>` and `snapshot/<name>`, `mac/<what>`, `digest`.
    """
    if len(key) != KEY_BYTES:
        raise ValueError("a data key has 32 bytes")
    info = f"rapport/{purpose}/1".encode("ascii")
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


class Sealer:
    """Seals and opens with ciphers that it keeps ready; safe to share between threads.

    Call `forget` when a key was destroyed (`Keyring.generation` moved), so that no cipher of it
    stays in memory.
    """

    def __init__(self, capacity: int = 16_384) -> None:
        self._cipher = lru_cache(capacity)(lambda key, purpose: AESGCM(subkey(key, purpose)))
        self._hmacs = lru_cache(capacity)(lambda key, purpose: _hashed_ahead(subkey(key, purpose)))

    def forget(self) -> None:
        """Drops every cipher and subkey that was kept ready."""
        self._cipher.cache_clear()
        self._hmacs.cache_clear()

    def seal_entry(
        self, key: bytes, aad: bytes, content: bytes, fresh: bytes | None = None
    ) -> Sealed:
        """Seals an entry's canonical content under fresh salt and nonce and commits to it.

        `fresh`: 44 random bytes that were never used; whoever seals many draws them at once.
        """
        fresh = fresh or os.urandom(FRESH_BYTES)
        salt, nonce = fresh[:SALT_BYTES], fresh[SALT_BYTES:]
        ciphertext = self._cipher(key, "log").encrypt(nonce, salt + content, aad)
        return Sealed(nonce + ciphertext, commitment(salt, content))

    def open_entry(self, key: bytes, aad: bytes, sealed: Sealed) -> bytes:
        """The canonical content, after checking the seal and the commitment; or `SealBroken`."""
        return self.open_salted(key, aad, sealed)[1]

    def open_salted(self, key: bytes, aad: bytes, sealed: Sealed) -> tuple[bytes, bytes]:
        """The same with the commitment's salt ahead: what it takes to show this one entry."""
        return opened(self._cipher(key, "log"), aad, *sealed)

    def seal(self, key: bytes, purpose: str, aad: bytes, plaintext: bytes) -> bytes:
        """Nonce ‖ ciphertext ‖ tag, for `view/<name>` and `snapshot/<name>`."""
        _require(purpose, "view", "snapshot")
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(key, purpose).encrypt(nonce, plaintext, aad)

    def open(self, key: bytes, purpose: str, aad: bytes, sealed: bytes) -> bytes:
        """What `seal` sealed for the same purpose and AAD; or `SealBroken`."""
        _require(purpose, "view", "snapshot")
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise SealBroken("truncated")
        return self._open(key, purpose, aad, sealed)

    def mac(self, key: bytes, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA-256 for `mac`, `mac/<what>` or `digest`: 32 bytes."""
        return self.macs(key, purpose)(message)

    def macs(self, key: bytes, purpose: str) -> Mac:
        """The same for many messages: what looks for the key and the purpose once."""
        _require(purpose, "mac", "digest")
        inner, outer = self._hmacs(key, purpose)

        def mac(message: bytes) -> bytes:
            within, around = inner.copy(), outer.copy()
            within.update(message)
            around.update(within.digest())
            digest: bytes = around.digest()
            return digest

        return mac

    def _open(self, key: bytes, purpose: str, aad: bytes, sealed: bytes) -> bytes:
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher(key, purpose).decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise SealBroken("not_authentic") from None


def opened(cipher: AESGCM, aad: bytes, ciphertext: bytes, commits: bytes) -> tuple[bytes, bytes]:
    """Salt and canonical content of an entry, for whoever keeps the cipher of its key (`log`) at
    hand; SealBroken."""
    if len(ciphertext) < _SHORTEST_ENTRY:
        raise SealBroken("truncated")
    try:
        salted = cipher.decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], aad)
    except InvalidTag:
        raise SealBroken("not_authentic") from None
    salt, content = salted[:SALT_BYTES], salted[SALT_BYTES:]
    # GCM does not commit to its key: other keys may open the same bytes to other content.
    if not hmac.compare_digest(commitment(salt, content), commits):
        raise SealBroken("commitment")
    return salt, content


def _hashed_ahead(key: bytes) -> tuple[Any, Any]:
    """The two hashes that HMAC-SHA-256 (RFC 2104) begins with, of a key of 32 bytes."""
    padded = key.ljust(SHA256.block_size, b"\0")
    return sha256(padded.translate(_INNER)), sha256(padded.translate(_OUTER))


def commitment(salt: bytes, content: bytes) -> bytes:
    """HMAC-SHA-256(salt, "rapport-commitment/1" ‖ content): 32 bytes that tell nothing alone.

    Written out (RFC 2104) for the salts there are: OpenSSL takes as long again to find its HMAC.
    """
    if len(salt) != SALT_BYTES:
        return hmac.digest(salt, _COMMITMENT_PREFIX + content, "sha256")
    inner = sha256(salt.translate(_INNER) + _INNER_REST + content).digest()
    return sha256(salt.translate(_OUTER) + _OUTER_REST + inner).digest()


def entry_aad(envelope: Envelope) -> bytes:
    """What an entry's seal is bound to: the fields known before it has a place in the log."""
    (
        clinic, stream, stream_version, topic, schema_version, occurred_at,
        actor, on_behalf_of, source, command_id, command_index, key_id, _, _,
    ) = envelope  # fmt: skip
    return _written(
        aad_fields(
            clinic, stream, stream_version, topic, schema_version, time_text(occurred_at),
            offset_text(occurred_at), actor, on_behalf_of, source, command_id, command_index,
            key_id,
        )
    )  # fmt: skip


def aad_fields(
    clinic: UUID,
    stream: str,
    stream_version: int,
    topic: str,
    schema_version: int,
    occurred_at: str,
    occurred_offset: str,
    actor: UUID | str,
    on_behalf_of: UUID | str | None,
    source: str,
    command_id: UUID | str,
    command_index: int,
    key_id: UUID | str,
) -> dict[str, object]:
    """The fields of `entry_aad`, in the order of their names; ids may be text as well."""
    return {
        "actor": actor,
        "clinic": clinic,
        "command_id": command_id,
        "command_index": command_index,
        "format": FORMAT,
        "key_id": key_id,
        "occurred_at": occurred_at,
        "occurred_offset": occurred_offset,
        "on_behalf_of": on_behalf_of,
        "schema_version": schema_version,
        "source": source,
        "stream": stream,
        "stream_version": stream_version,
        "topic": topic,
    }


def leaf_input(envelope: Envelope, sealed: Sealed) -> bytes:
    """The bytes whose RFC 6962 leaf hash stands in the log, at most 16 KiB."""
    return leaf_around(entry_aad(envelope), envelope.position, envelope.recorded_at, sealed)


def leaf_around(
    aad: bytes, position: int | None, recorded_at: datetime | None, sealed: Sealed
) -> bytes:
    """The same for the entry of that `entry_aad`, for whoever has it at hand.

    A leaf holds all that the seal is bound to and four fields more, which are put where their names
    stand in order. Ahead of those places are ids and numbers alone, so that they are found there.
    """
    if position is None or recorded_at is None:
        raise LeafRefused("not_placed")
    digest, commits = sha256(sealed.ciphertext).hexdigest(), sealed.commitment.hex()
    of_format = aad.index(b'"format":', _ACTOR_ENDS)
    of_schema = aad.index(b'"schema_version":', of_format)
    leaf = _LEAF % (
        aad[:_ACTOR_ENDS],
        digest.encode(),
        aad[_ACTOR_ENDS:of_format],
        commits.encode(),
        aad[of_format:of_schema],
        position,
        time_text(recorded_at).encode(),
        aad[of_schema:],
    )
    if len(leaf) > LEAF_INPUT_LIMIT:
        raise LeafRefused("too_large")
    return leaf


def _written(fields: dict[str, object]) -> bytes:
    """The fields, given in the order of their names, as a canonical JSON object.

    The same bytes as `canonical.encode` gives (a property test compares them), which would look at
    each value first and take four times as long: every entry there is goes through here.
    """
    try:
        return orjson.dumps(fields, option=orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        encode(fields)  # says what is wrong
        raise


def _require(purpose: str, *kinds: str) -> None:
    # Keeps apart what must never share a subkey: entries, views, MACs.
    if purpose.partition("/")[0] not in kinds:
        raise ValueError(f"not a purpose for this use: {purpose}")
