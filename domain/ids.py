"""Random ids, from random bytes that are fetched many at a time.

`uuid.uuid4` asks the system for 16 bytes, and Python lets another thread run meanwhile. Where many
threads record, each command would stand back twice behind whatever the others do.
"""

import os
from typing import Final
from uuid import UUID, SafeUUID

_SET: Final = object.__setattr__
_BYTES: Final = 16
_AT_ONCE: Final = 256
_RANDOM: Final = ~(0xF << 76 | 0x3 << 62)
_VERSION_4: Final = 0x4 << 76 | 0x2 << 62
"""RFC 9562, section 5.4: four bits tell the version, two the variant, 122 are random."""

_fetched: Final[list[int]] = []
if hasattr(os, "register_at_fork"):  # two processes never draw from the same bytes
    os.register_at_fork(after_in_child=_fetched.clear)


def new_id() -> UUID:
    """A random UUID (version 4). Safe between threads and processes."""
    try:
        number = _fetched.pop()
    except IndexError:
        fresh = os.urandom(_BYTES * _AT_ONCE)
        number, *others = (
            int.from_bytes(fresh[at : at + _BYTES]) for at in range(0, len(fresh), _BYTES)
        )
        _fetched.extend(others)
    return _numbered(number & _RANDOM | _VERSION_4)


def id_of(digest: bytes) -> UUID:
    """The id that a digest's first 16 bytes are."""
    return _numbered(int.from_bytes(digest[:_BYTES]))


def _numbered(number: int) -> UUID:
    """As `UUID(int=number)`, which first looks for the other five ways to make one, and takes twice
    as long."""
    id_ = UUID.__new__(UUID)
    _SET(id_, "int", number)
    _SET(id_, "is_safe", SafeUUID.unknown)
    return id_
