"""The erasure certificate: which keys were destroyed, shown from the log, in a file of its own.

It shows the entries that say so, word for word, each with its proof in a signed checkpoint, and is
signed itself by the log's key. So whoever has that key checks it without database, keyring or
network. The format `rapport-erasure-certificate/1` stands in docs/formats/erasure-certificate.md.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationError

from domain.clinic import Sha256
from domain.erasure import KeyDestroyed, LogProven, erasure_stream
from domain.event import Model
from domain.restriction import RecipientKind
from infra import canonical
from infra.checkpoint import Checkpoint, NoteBroken, NoteSigner, SignedNote, VerifierKey
from infra.merkle import leaf_hash
from infra.proof import ProofBroken, TlogProof, verify_inclusion
from infra.sealing import commitment

FORMAT: Final = "rapport-erasure-certificate/1"

Position = Annotated[int, Field(ge=1, lt=2**53)]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
Code = Annotated[str, StringConstraints(pattern="^[a-z][a-z_.-]*$", max_length=100)]


class CertificateBroken(ValueError):
    """No certificate, or one that does not hold.

    `code` is `malformed`, `unsigned` (by none of the keys), `not_authentic`, `entry` (an entry is
    not what the certificate says), or `proof` (the log is not shown to hold it).
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# --- What it says ---------------------------------------------------------------------------


class Extent(StrEnum):
    """How much of a relationship's record became unreadable."""

    WHOLE = "whole"
    PART = "part"
    """What that person gave; others' content, and what is joint, stays."""


class Affected(Model):
    relationship: UUID
    extent: Extent


class Destruction(Model):
    """One entry `key.destroyed`, disclosed: what it says, and that the log holds it."""

    leaf_input: str
    content: str
    """Canonical JSON, as it was sealed."""
    salt: Sha256
    """In hex; with the content it gives the commitment that stands in the leaf."""
    proof: str
    """A `.tlog-proof` of the leaf, with a signed checkpoint in it."""
    affected: tuple[Affected, ...]

    @property
    def envelope(self) -> dict[str, Any]:
        envelope: dict[str, Any] = canonical.decode(self.leaf_input.encode())
        return envelope

    @property
    def position(self) -> int:
        return int(self.envelope["position"])

    @property
    def recorded_at(self) -> str:
        return str(self.envelope["recorded_at"])

    @property
    def checkpoint(self) -> Checkpoint:
        """The head of the log that the proof leads to."""
        return Checkpoint.parse(SignedNote.parse(TlogProof.parse(self.proof).checkpoint).text)

    @property
    def event(self) -> KeyDestroyed:
        return KeyDestroyed.model_validate(canonical.decode(self.content.encode()))


class Counted(Model):
    """So many entries of one topic in streams of one category."""

    category: Code
    topic: Code
    entries: Position


class CopyMade(Model):
    """A copy that left the record, as the account of disclosures has it."""

    kind: Literal["disclosure", "export"]
    id: UUID
    relationship: UUID
    position: Position
    """Of the entry that says so."""
    made_at: Time
    recipient_kind: RecipientKind | None
    recipient: str | None
    """By name, where it is an institution or a professional; nobody near the subject is named."""
    person: UUID | None
    """Who was handed it, where the record knows them."""
    what: Code | None
    """Of an export: through which door it went."""
    entries: tuple[Position, ...]
    """By version in the relationship's stream; empty: the whole record."""


class OutOfReach(StrEnum):
    """What no erasure reaches; docs/formats/erasure-certificate.md, section 6."""

    COPIES = "copies"
    KEYRING_BACKUPS = "keyring_backups"
    MEMORY = "memory"
    ENVELOPES = "envelopes"


class Certificate(Model):
    """What is certified. It holds no content of the record and no name of the subject."""

    format: Literal["rapport-erasure-certificate/1"] = FORMAT
    clinic: UUID
    log: str
    """The origin under which the log's key signs now."""
    subject: UUID
    issued_at: Time
    destructions: Annotated[tuple[Destruction, ...], Field(min_length=1)]
    unreadable: tuple[Counted, ...]
    """What the destroyed keys had sealed."""
    remaining: tuple[Counted, ...]
    """What the clinic's own keys seal of it: the account of what was done."""
    copies: tuple[CopyMade, ...]
    not_reached: tuple[OutOfReach, ...] = tuple(OutOfReach)
    proven: LogProven
    """The whole log as it was read and hashed again before this was issued."""

    @property
    def keys(self) -> frozenset[UUID]:
        return frozenset(key for each in self.destructions for key in each.event.keys)

    @property
    def affected(self) -> tuple[Affected, ...]:
        """Every relationship of which something became unreadable, as of its last entry here."""
        last = {one.relationship: one for each in self.destructions for one in each.affected}
        return tuple(last.values())


# --- Signed and checked ---------------------------------------------------------------------


def signed(certificate: Certificate, signer: NoteSigner) -> str:
    """The certificate as a file: one line of canonical JSON, the certificate and its note."""
    document = certificate.model_dump(mode="json")
    note = signer.sign(_note_text(certificate.log, document))
    return _written(document, str(note))


def checked(text: str, keys: Sequence[VerifierKey]) -> Certificate:
    """The certificate in a file, once everything in it holds by one of these keys of the log.

    Raises `CertificateBroken`; nothing of it is to be believed before.
    """
    document, note = _read(text)
    try:
        certificate = Certificate.model_validate(document)
        if certificate.model_dump(mode="json") != document:
            raise CertificateBroken("malformed")
        parsed = SignedNote.parse(note)
    except (ValidationError, NoteBroken):
        raise CertificateBroken("malformed") from None
    if parsed.text != _note_text(certificate.log, document):
        raise CertificateBroken("not_authentic")
    _require_signed(parsed, certificate.log, keys)
    for destruction in certificate.destructions:
        _require_shown(certificate, destruction, keys)
    return certificate


def _read(text: str) -> tuple[dict[str, Any], str]:
    try:
        found = canonical.decode(text.removesuffix("\n").encode())
        document, note = found["certificate"], found["note"]
    except (canonical.CanonicalError, UnicodeEncodeError, KeyError, TypeError):
        raise CertificateBroken("malformed") from None
    if not isinstance(document, dict) or not isinstance(note, str):
        raise CertificateBroken("malformed")
    if _written(document, note) != text:
        raise CertificateBroken("malformed")
    return document, note


def _written(document: dict[str, Any], note: str) -> str:
    return canonical.encode({"certificate": document, "note": note}).decode() + "\n"


def _note_text(origin: str, document: dict[str, Any]) -> str:
    return f"{FORMAT}\n{origin}\n{sha256(canonical.encode(document)).hexdigest()}\n"


def _require_signed(note: SignedNote, origin: str, keys: Sequence[VerifierKey]) -> None:
    for key in keys:
        if key.name == origin:
            try:
                note.verified_by(key)
            except NoteBroken as broken:
                raise CertificateBroken(broken.code) from None
            return
    raise CertificateBroken("unsigned")


def _require_shown(
    certificate: Certificate, destruction: Destruction, keys: Sequence[VerifierKey]
) -> None:
    """The entry says what the certificate says, and a signed checkpoint holds it."""
    try:
        envelope, event = destruction.envelope, destruction.event
        said = (envelope["clinic"], envelope["stream"], envelope["topic"])
        position, committed = int(envelope["position"]), bytes.fromhex(envelope["commitment"])
    except (ValueError, KeyError, TypeError):
        raise CertificateBroken("entry") from None
    stream = str(erasure_stream(certificate.subject))
    found = commitment(bytes.fromhex(destruction.salt), destruction.content.encode())
    if (
        said != (str(certificate.clinic), stream, KeyDestroyed.topic)
        or not hmac.compare_digest(found, committed)
        or event.person != certificate.subject
        or {each.relationship for each in destruction.affected} != {*event.relationships}
        or position > certificate.proven.size
    ):
        raise CertificateBroken("entry")
    try:
        proof = TlogProof.parse(destruction.proof)
        checkpoint = _checkpoint(proof.checkpoint, keys)
        leaf = leaf_hash(destruction.leaf_input.encode())
        verify_inclusion(leaf, position - 1, checkpoint.size, proof.path, checkpoint.root)
    except (ProofBroken, NoteBroken):
        raise CertificateBroken("proof") from None
    if proof.index != position - 1:
        raise CertificateBroken("proof")


def _checkpoint(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint, by whichever key of the log its first line names."""
    origin = SignedNote.parse(note).text.partition("\n")[0]
    for key in keys:
        if key.name == origin:
            return Checkpoint.verified(note, key)
    raise NoteBroken("unsigned")


def moment(text: str) -> datetime:
    """A time of a certificate."""
    return canonical.parse_time(text, "+00:00")
