"""The bytes of a command's body, whose keyed digest is stored: what comes again is told by them.

They are what `json.dumps` writes of `Proposal.said`, names sorted, without blanks, everything but
printable ASCII escaped. Most bodies are short and plain: orjson writes the same of them, which a
property test compares, and faster.
"""

import json
from typing import Final

import orjson

from domain.records import Proposal
from infra.canonical import AS_THEY_ARE

_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)  # of ids


def body_of(proposal: Proposal) -> bytes:
    """What the proposal says, as ASCII."""
    said = proposal.said("python")
    if not AS_THEY_ARE.issuperset(map(type, said["body"].values())):
        return _ENCODER.encode(proposal.said("json")).encode()
    try:
        written = orjson.dumps(said, option=_OPTIONS)
    except orjson.JSONEncodeError:
        return _ENCODER.encode(said).encode()
    if written.isascii() and b"\x7f" not in written:
        return written
    return _ENCODER.encode(said).encode()
