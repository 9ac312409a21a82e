"""Entries and commands as rows of their tables, each packed in one go.

Whatever is appended goes through here; a property test has PostgreSQL read it.
"""

from datetime import datetime
from functools import lru_cache
from struct import Struct
from typing import Final
from uuid import UUID

from infra.canonical import offset_text
from infra.mapper import Written
from infra.packed import (
    BYTEA_OID,
    INT4_OID,
    INT8_OID,
    NO_UUID,
    TIMESTAMPTZ_OID,
    UUID_OID,
    microseconds,
    text,
)
from infra.sealing import Envelope

_ENTRY_COLUMNS: Final = 18
_COMMAND_COLUMNS: Final = 6

# Runs of fields whose length is known: for each its type, its length and its value.
_CLINIC_POSITION: Final = Struct("!iIi16sIiq").pack
_VERSION: Final = Struct("!Iiq").pack
_SCHEMA_OCCURRED: Final = Struct("!IiiIiq").pack
_RECORDED_ACTOR: Final = Struct("!IiqIi16s").pack
_ID: Final = Struct("!Ii16s").pack
_COMMAND_KEY_COMMITMENT: Final = Struct("!Ii16sIiiIi16sIi32sIi").pack
_LEAF: Final = Struct("!Ii").pack
_COMMAND: Final = Struct("!iIi16sIi16sIi32sIiqIiiIiq").pack

# Bytes of ids are taken from their numbers: `UUID.bytes` is a call of its own, for each of five.
_since_2000 = lru_cache(1024)(microseconds)  # equal moments are as far away, in whatever offset


def packed_entry(envelope: Envelope, written: Written) -> bytes:
    """The row of an entry that has its place in the log: the number of its fields, and them."""
    (
        clinic, stream, version, topic, schema_version, occurred_at, actor, on_behalf_of,
        source, command_id, command_index, key_id, position, recorded_at,
    ) = envelope  # fmt: skip
    assert isinstance(recorded_at, datetime), "it was placed when it was decided"
    ciphertext, commitment, leaf_input = written
    return b"".join((
        _CLINIC_POSITION(
            _ENTRY_COLUMNS, UUID_OID, 16, clinic.int.to_bytes(16), INT8_OID, 8, position
        ),
        text(stream),
        _VERSION(INT8_OID, 8, version),
        text(topic),
        _SCHEMA_OCCURRED(
            INT4_OID, 4, schema_version, TIMESTAMPTZ_OID, 8, _since_2000(occurred_at)
        ),
        text(offset_text(occurred_at)),
        _RECORDED_ACTOR(
            TIMESTAMPTZ_OID, 8, _since_2000(recorded_at), UUID_OID, 16, actor.int.to_bytes(16)
        ),
        NO_UUID if on_behalf_of is None else _ID(UUID_OID, 16, on_behalf_of.int.to_bytes(16)),
        text(source),
        _COMMAND_KEY_COMMITMENT(
            UUID_OID, 16, command_id.int.to_bytes(16), INT4_OID, 4, command_index,
            UUID_OID, 16, key_id.int.to_bytes(16), BYTEA_OID, 32, commitment,
            BYTEA_OID, len(ciphertext),
        ),
        ciphertext,
        _LEAF(BYTEA_OID, len(leaf_input)),
        leaf_input,
    ))  # fmt: skip


def packed_command(
    clinic: UUID, command_id: UUID, body_mac: bytes, first: int, entries: int, tree_size: int
) -> bytes:
    """The row of a command whose entries, so many, begin at position `first`."""
    return _COMMAND(
        _COMMAND_COLUMNS,
        UUID_OID, 16, clinic.int.to_bytes(16), UUID_OID, 16, command_id.int.to_bytes(16),
        BYTEA_OID, 32, body_mac, INT8_OID, 8, first, INT4_OID, 4, entries, INT8_OID, 8, tree_size,
    )  # fmt: skip
