"""When a checkpoint was there at the latest, said by somebody else: RFC 3161 timestamps.

The authority signs the SHA-256 of a checkpoint's note with a time. What is kept is its token (DER,
a CMS SignedData), which any software for RFC 3161 checks, `openssl ts -verify` for one. The
authority learns that a hash was stamped, and nothing of what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from infra.outward import Address, Unanswered, post

_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"
_MOST_BYTES: Final = 64 << 10
_SECONDS: Final = 20.0
_SHA256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")

# PKIStatusInfo { status granted(0) }: what stands before the token in a response.
_GRANTED: Final = bytes.fromhex("3003020100")


class TimestampBroken(ValueError):
    """A token that does not show what it should.

    `code` is `malformed`, `another_message`, or `not_authentic` (signature, chain to the trusted
    roots at the time it tells, purpose of the certificate, or nonce).
    """

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class RootsUnusable(ValueError):
    """The file of trusted roots cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A token, and the time that its authority vouches for."""

    token: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """A timestamp authority: where it is asked, and what its certificates must lead to."""

    address: Address
    roots: tuple[x509.Certificate, ...]

    def stamp(self, message: bytes) -> Timestamp:
        """A verified timestamp over `message`. Raises Unanswered or TimestampBroken."""
        request = (
            TimestampRequestBuilder()
            .data(message)
            .hash_algorithm(HashAlgorithm.SHA256)
            .nonce(nonce=True)
            .cert_request(cert_request=True)
            .build()
        )
        answer = post(self.address, request.as_bytes(), _QUERY, seconds=_SECONDS, most=_MOST_BYTES)
        if answer.status != 200:
            raise Unanswered(f"status-{answer.status}")
        if answer.content_type != _REPLY:
            raise Unanswered("not-a-reply")
        response = _decoded(answer.body)
        if PKIStatus(response.status) is not PKIStatus.GRANTED:
            raise Unanswered(f"refused-{response.status}")
        at = _verified(response, message, self.roots, request.nonce)
        return Timestamp(response.time_stamp_token(), at)


def verified(token: bytes, message: bytes, roots: Sequence[x509.Certificate]) -> datetime:
    """The time (UTC) at which `message` existed, by a kept token. Raises TimestampBroken.

    The certificates have to be valid at that time, not today.
    """
    granted = _GRANTED + token
    return _verified(_decoded(_sequence(granted)), message, roots, nonce=None)


def trusted_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file. Raises RootsUnusable."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError:
        raise RootsUnusable("cannot be read") from None
    except ValueError:
        raise RootsUnusable("holds no certificates in PEM form") from None


def _verified(
    response: TimeStampResponse,
    message: bytes,
    roots: Sequence[x509.Certificate],
    nonce: int | None,
) -> datetime:
    try:
        said = response.tst_info
        imprint = said.message_imprint
    except ValueError:
        raise TimestampBroken("malformed") from None
    if (imprint.hash_algorithm, imprint.message) != (_SHA256, sha256(message).digest()):
        raise TimestampBroken("another_message")
    try:
        verifier = VerifierBuilder(roots=list(roots), nonce=nonce).build()
        verifier.verify_message(response, message)
    except (VerificationError, ValueError):
        raise TimestampBroken("not_authentic") from None
    return said.gen_time.astimezone(UTC)


def _decoded(response: bytes) -> TimeStampResponse:
    try:
        return decode_timestamp_response(_in_order(response))
    except ValueError:
        raise TimestampBroken("malformed") from None


# --- DER, as far as it is needed ------------------------------------------------------------

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_IN_BRACKETS: Final = 0xA0  # [0], constructed
_OID: Final = 0x06
_INTEGER: Final = 0x02

# Where the certificates stand: TimeStampResp, status, token, its type, [0], SignedData, version,
# digest algorithms, what was signed, [0]. True: go into it, False: pass by.
_TO_CERTIFICATES: Final = (
    (_SEQUENCE, True),
    (_SEQUENCE, False),
    (_SEQUENCE, True),
    (_OID, False),
    (_IN_BRACKETS, True),
    (_SEQUENCE, True),
    (_INTEGER, False),
    (_SET, False),
    (_SEQUENCE, False),
    (_IN_BRACKETS, True),
)


def _in_order(response: bytes) -> bytes:
    """The same response with its certificates in the order that DER asks for.

    OpenSSL sends them in the order of the chain, and our library reads strict DER alone. They are
    no part of what is signed, and a set has no order, so nothing is lost. ValueError for nonsense.
    """
    at, end = 0, len(response)
    for tag, enter in _TO_CERTIFICATES:
        if at >= end or response[at] != tag:
            return response  # no certificates: refused later, by whoever misses them
        first, after = _content(response, at)
        at, end = (first, after) if enter else (after, end)
    begin, certificates = at, []
    while at < end:
        _, after = _content(response, at)
        certificates.append(response[at:after])
        at = after
    return response[:begin] + b"".join(sorted(certificates)) + response[end:]


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the value at `at` begins, and where it ends."""
    first, length = at + 2, int.from_bytes(data[at + 1 : at + 2])
    if length >= 0x80:
        first += length - 0x80
        length = int.from_bytes(data[at + 2 : first])
    if first + length > len(data):
        raise ValueError("cut short")
    return first, first + length


def _sequence(content: bytes) -> bytes:
    """The content as a DER SEQUENCE."""
    length = len(content)
    if length < 0x80:
        return bytes([_SEQUENCE, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([_SEQUENCE, 0x80 | len(octets)]) + octets + content
