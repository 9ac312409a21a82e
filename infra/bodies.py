"""The bytes of a command's body, whose keyed digest is stored: what comes again is told by them.

They are what `json.dumps` writes of `Proposal.said`, names sorted, without blanks, everything but
printable ASCII escaped. Most bodies are plain: orjson writes the same of their fields as they are,
which a property test compares.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import orjson

from domain.event import Model
from domain.records import Proposal
from infra.canonical import AS_THEY_ARE

_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_UTC_Z
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def body_of(proposal: Proposal) -> bytes:
    """What the proposal says, as ASCII."""
    written = _plain_body(proposal)
    if written is not None and _is_plain(written):
        return written
    said = proposal.said()
    if not _holds_a_float(said.values()):
        with suppress(orjson.JSONEncodeError):
            written = orjson.dumps(said, option=_OPTIONS)
            if _is_plain(written):
                return written
    return _ENCODER.encode(said).encode()


def _is_plain(written: bytes) -> bool:
    return written.isascii() and b"\x7f" not in written


def _holds_a_float(values: Iterable[Any]) -> bool:
    """Among values as JSON has them: floats alone the two do not always write the same."""
    return any(
        kind is float
        or (kind is list and _holds_a_float(value))
        or (kind is dict and _holds_a_float(value.values()))
        for value, kind in [(value, type(value)) for value in values if type(value) is not str]
    )


def _plain_body(proposal: Proposal) -> bytes | None:
    """What the proposal says, in UTF-8; None where it holds more than texts, numbers, ids, moments,
    tuples of the first three, and models of all these."""
    command, author = proposal.command, proposal.author
    body = _sent(command)
    if body is None:
        return None
    said = {
        "actor": author.actor,
        "body": body,
        "command": command.name,
        "on_behalf_of": author.on_behalf_of or "None",
    }
    try:
        return orjson.dumps(said, option=_OPTIONS)
    except orjson.JSONEncodeError:
        return None


def _sent(model: Model) -> dict[str, object] | None:
    """The fields that were sent."""
    fields, sent = model.__dict__, dict[str, object]()
    for name in model.model_fields_set:
        value = fields[name]
        kind = type(value)
        if kind not in AS_THEY_ARE and kind is not datetime:
            if isinstance(value, Model):
                value = _sent(value)
                if value is None:
                    return None
            elif kind is not tuple or not AS_THEY_ARE.issuperset(map(type, value)):
                return None
        sent[name] = value
    return sent
