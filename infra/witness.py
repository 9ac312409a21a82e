"""Witnesses: others who remember how far our log was, and cosign only what continues it.

A client of c2sp.org/tlog-witness. Whoever rolls the log back or rewrites it may well do so
everywhere in this house; a witness elsewhere then refuses, and that refusal is an alarm here.
A witness learns size and root of the log and nothing else.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.checkpoint import COSIGNATURE, NoteBroken, Signature, SignedNote, VerifierKey
from infra.outward import Address, AddressUnusable, Unanswered, post

SECONDS: Final = 15.0
"""For one question to a witness, from connecting to the last byte."""

_MOST_BYTES: Final = 16 << 10
_PLAIN: Final = "text/plain; charset=utf-8"
_TELLS_SIZE: Final = "text/x.tlog.size"
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_AHEAD_OF_US: Final = timedelta(minutes=5)
"""How far a witness's clock may be ahead of ours."""


class WitnessesUnusable(ValueError):
    """The configured witnesses cannot be used; the text says which and why."""


class WitnessElsewhere(Exception):
    """The witness stands at another size than it was asked to go on from (409)."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(size)


class WitnessRefuses(Exception):
    """The witness says that this log is not the one it knows: a rollback, or a rewritten log.

    `code` is `not-an-extension` (422) or `another-root` (409 without a size to go on from).
    """

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Witness:
    """Whose cosignatures count, and where they are asked for."""

    key: VerifierKey
    submission: Address
    """The submission prefix."""

    @property
    def name(self) -> str:
        return self.key.name

    def add_checkpoint(
        self, old: int, proof: Sequence[bytes], note: str, now: datetime
    ) -> tuple[Signature, datetime]:
        """The witness's cosignature of a checkpoint, verified, and the time it tells.

        `old` is the size that the witness knows, `proof` leads from there to the checkpoint.
        Raises WitnessElsewhere, WitnessRefuses; Unanswered for everything else, with a code.
        """
        lines = (f"old {old}", *(b64encode(each).decode() for each in proof), "", note)
        answer = post(
            self.submission.below("add-checkpoint"),
            "\n".join(lines).encode(),
            _PLAIN,
            seconds=SECONDS,
            most=_MOST_BYTES,
        )
        match answer.status:
            case 200:
                return self._cosigned(note, answer.body, now)
            case 409:
                told = _SIZE.fullmatch(answer.body)
                if told is None or answer.content_type != _TELLS_SIZE or int(told[1]) == old:
                    raise WitnessRefuses("another-root")
                raise WitnessElsewhere(int(told[1]))
            case 422:
                raise WitnessRefuses("not-an-extension")
            case status:
                raise Unanswered(f"status-{status}")

    def _cosigned(self, note: str, body: bytes, now: datetime) -> tuple[Signature, datetime]:
        """The first cosignature of this key among the lines; those of others are passed by."""
        try:
            signed = SignedNote.parse(note + body.decode())
            at = signed.verified_by(self.key)
        except (NoteBroken, UnicodeDecodeError):
            raise Unanswered("not-cosigned") from None
        # What came back must not begin a text of its own; only a cosignature tells a time.
        if signed.text != SignedNote.parse(note).text or at is None:
            raise Unanswered("not-cosigned")
        if at > now + _AHEAD_OF_US:
            raise Unanswered("clock-ahead")
        own = (self.key.name, self.key.key_id)
        return next(each for each in signed.signatures if (each.name, each.key_id) == own), at


def witnesses_of(text: str) -> tuple[Witness, ...]:
    """The witnesses that a setting names: pairs of verifier key and submission prefix, all
    separated by white space. Raises WitnessesUnusable."""
    words = text.split()
    if len(words) % 2:
        raise WitnessesUnusable("needs a verifier key and a URL for each witness")
    found: dict[str, Witness] = {}
    for number, (vkey, url) in enumerate(zip(words[::2], words[1::2], strict=True), start=1):
        try:
            key, address = VerifierKey.parse(vkey), Address.parse(url)
        except NoteBroken:
            raise WitnessesUnusable(
                f"the verifier key of witness {number} is none: <name>+<key id>+<base64>, Ed25519"
            ) from None
        except AddressUnusable as error:
            raise WitnessesUnusable(f"the URL of witness {number} {error}") from None
        if "?" in address.target:
            raise WitnessesUnusable(f"the URL of witness {number} must not hold a query")
        if key.algorithm != COSIGNATURE:
            raise WitnessesUnusable(
                f"the key of witness {number} is no cosigner's (algorithm 4, cosignature/v1)"
            )
        if key.name in found:
            raise WitnessesUnusable(f"witness {number} has the name of another")
        found[key.name] = Witness(key, address)
    return tuple(found.values())
