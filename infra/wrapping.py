"""Data keys as a ring keeps them: each sealed under the master key, and bound to its owner.

docs/formats/keyring.md, *Files*.
"""

import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.canonical import encode
from infra.keyring_errors import KeyringError
from infra.master_key import KEY_BYTES, NONCE_BYTES, RING_FORMAT
from infra.ring_file import Row


def _aad(clinic: UUID, key_id: UUID, stream: str, subject: str) -> bytes:
    return encode(
        {
            "clinic": clinic,
            "format": RING_FORMAT,
            "key_id": key_id,
            "stream": stream,
            "subject": subject,
        }
    )


def wrap_key(
    wrap: AESGCM, clinic: UUID, key_id: UUID, stream: str, subject: str, key: bytearray
) -> bytes:
    """Nonce ‖ the key sealed under the master key for this owner alone ‖ tag: 60 bytes."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + wrap.encrypt(nonce, key, _aad(clinic, key_id, stream, subject))


def unwrap_key(
    wrap: AESGCM, clinic: UUID, key_id: UUID, stream: str, subject: str, wrapped: bytes | None
) -> bytearray | None:
    """The key, in bytes that can be overwritten; None: destroyed."""
    if wrapped is None:
        return None
    key, nonce, sealed = bytearray(KEY_BYTES), wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
    try:
        wrap.decrypt_into(nonce, sealed, _aad(clinic, key_id, stream, subject), key)
    except (InvalidTag, ValueError):  # ValueError: too short, or too long, to be a sealed key
        raise KeyringError("damaged", key_id) from None
    return key


def open_row(wrap: AESGCM, row: Row) -> bytearray | None:
    """The row's key; None where it holds none any more; `damaged` where it is not what it was."""
    if row.wrapped is None or row.stream is None or row.subject is None:
        return None
    try:
        clinic, key_id = UUID(row.clinic), UUID(row.key_id)
    except ValueError:
        raise KeyringError("damaged") from None
    return unwrap_key(wrap, clinic, key_id, row.stream, row.subject, row.wrapped)


def rewrap_row(row: Row, wrap: AESGCM, anew: AESGCM) -> Row:
    """The row with its key, if it holds one, wrapped under another master key; it is opened."""
    key = open_row(wrap, row)
    if key is None or wrap is anew:
        return row
    assert row.stream is not None
    assert row.subject is not None
    owner = (UUID(row.clinic), UUID(row.key_id), row.stream, row.subject)
    anew_wrapped = wrap_key(anew, *owner, key)
    overwrite(key)
    return row._replace(wrapped=anew_wrapped)


def overwrite(key: bytearray | None) -> bool:
    """Overwrites the key with zeros; whether there was one."""
    if key is None:
        return False
    key[:] = bytes(len(key))
    return True
