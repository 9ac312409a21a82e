"""The evidence bundle `rapport-bundle/1`: which files it holds, and its bytes, written and read.

docs/formats/bundle.md is the format. Whoever checks a bundle may have nothing else of ours, so this
module stands on the standard library, pydantic and the domain alone: no orjson, no database. All
reading is strict: what was read is written again and compared, down to the bytes of the zip file,
so that no two bundles mean the same and no byte of one goes unread.
"""

import hmac
import json
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, StrEnum
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID, uuid4

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from domain import topics
from domain.event import ERASED, Erased, Event, Model, RecordedEvent, Source, Stream

FORMAT: Final = "rapport-bundle/1"
BYTES_LIMIT: Final = 256 << 20
"""Of a whole bundle. Nothing in it is compressed, so nothing in it grows when it is read."""
FILES_LIMIT: Final = 60_000
MANIFEST_LIMIT: Final = 32 << 20
LEAF_LIMIT: Final = 16 << 10

README: Final = "README.txt"
REPORT: Final = "report.html"
MANIFEST: Final = "manifest.json"
CHECKPOINT: Final = "checkpoint"

_NAME: Final = re.compile(
    r"README\.txt|report\.html|manifest\.json|checkpoint|entries/\d{12}\.(leaf|content)\.json"
    r"|proofs/\d{12}\.tlog-proof|views/[a-z_]{1,40}\.json"
    r"|heads/\d{12}\.(checkpoint|consistency|tst)",
    re.ASCII,
)
_INTEGER_LIMIT: Final = 2**53
_DEPTH_LIMIT: Final = 64
_MADE_AT: Final = (1980, 1, 1, 0, 0, 0)  # the zip's own times tell nothing: the entries do
_OWNER_ONLY: Final = 0o600


class BundleBroken(Exception):
    """A bundle that is none, or of which something does not fit: `code` says what, `file` where.

    `position` is that of the entry, where it is one. Nothing of the content is ever repeated.
    """

    def __init__(self, code: str, file: str = "", position: int | None = None) -> None:
        super().__init__(code, file, position)
        self.code, self.file, self.position = code, file, position


def leaf_file(position: int) -> str:
    return f"entries/{position:012}.leaf.json"


def content_file(position: int) -> str:
    return f"entries/{position:012}.content.json"


def proof_file(position: int) -> str:
    return f"proofs/{position:012}.tlog-proof"


def view_file(view: str) -> str:
    return f"views/{view}.json"


def head_file(size: int) -> str:
    return f"heads/{size:012}.checkpoint"


def consistency_file(size: int) -> str:
    return f"heads/{size:012}.consistency"


def timestamp_file(size: int) -> str:
    return f"heads/{size:012}.tst"


# --- Canonical JSON, by the standard library --------------------------------------------------


def rendered(document: object) -> bytes:
    """The canonical bytes of docs/formats/entry.md, section 1: the same as `infra/canonical.py`."""
    plain = _plain(document, _DEPTH_LIMIT)
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def parsed(data: bytes) -> Any:
    """The value whose canonical bytes are exactly these; ValueError."""
    try:
        value = json.loads(data.decode())
        if rendered(value) != data:
            raise ValueError("not canonical")
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def _plain(value: object, depth: int) -> object:
    if not depth and isinstance(value, list | tuple | Mapping):
        raise ValueError("nested too deep")
    match value:
        case Enum():
            return _plain(value.value, depth)
        case None | bool() | str():
            return value
        case int() if -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
            return value
        case UUID():
            return str(value)
        case datetime():
            return {"at": time_text(value), "offset": _offset_text(value)}
        case date():
            return value.isoformat()
        case list() | tuple():
            return [_plain(part, depth - 1) for part in value]
        case Mapping():
            if not all(isinstance(name, str) and name.isascii() for name in value):
                raise ValueError("a name is ASCII text")
            return {str(name): _plain(part, depth - 1) for name, part in value.items()}
    raise ValueError("no canonical form")


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC with six digits, as in envelopes."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def _offset_text(moment: datetime) -> str:
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("a time has an offset")
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def committed(salt: bytes, content: bytes) -> str:
    """The salted commitment of docs/formats/entry.md, section 4, in hex."""
    return hmac.digest(salt, b"rapport-commitment/1" + content, "sha256").hex()


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return sha256(data).hexdigest()


# --- The manifest -----------------------------------------------------------------------------

Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Place = Annotated[int, Field(ge=1, lt=_INTEGER_LIMIT)]


def _a_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


When = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"),
    AfterValidator(_a_time),
]


class Withheld(StrEnum):
    """Why an entry's content is not in the bundle."""

    ERASED = "erased"
    """Its key was destroyed; nobody can read it."""
    READER = "reader"
    """It is not for whoever the bundle was made by, or for."""
    SELECTION = "selection"
    """The bundle discloses chosen entries, and this is none of them."""
    HAPPENED_LATER = "happened_later"
    """It tells of what happened after the time by which the bundle tells."""
    RECORDED_LATER = "recorded_later"
    """It was recorded after the bundle's time, and shows that none is missing before."""


class Listed(Model):
    """One entry of the relationship: its content can be checked by `salt`, or is withheld."""

    position: Place
    version: Place
    salt: Hex32 | None
    withheld: Withheld | None


class Contents(Model):
    """What the bundle holds. The export's entry in the log commits to these very bytes."""

    format: Literal["rapport-bundle/1"]
    clinic: UUID
    relationship: UUID
    known_at: When
    happened_by: When
    purpose: str
    recipient: str | None
    program: str
    """The version of the program that made it."""
    report: Place
    """The version of the code that wrote `report.html`."""
    views: dict[str, Place]
    """The version of the code behind each view."""
    entries: tuple[Listed, ...]
    files: dict[str, Hex32]
    """SHA-256 of every file that was there before the export's entry was made."""


class Exported(Model):
    """The entry that says that this bundle was made, in the stream of disclosures."""

    position: Place
    salt: Hex32


class Head(Model):
    """An earlier checkpoint of the same log, of which others said that they saw it."""

    size: Place
    stamped: bool
    """Whether an RFC 3161 timestamp goes with it."""


class Manifest(Model):
    """The table of contents, and what opens the commitment to it."""

    contents: Contents
    salt: Hex32
    """Of the commitment to `contents` that the export's entry holds."""
    export: Exported
    log: str
    """The key of the log, as a C2SP verifier key. Whose it is, a bundle cannot show."""
    heads: Annotated[tuple[Head, ...], Field(max_length=16)]
    files: dict[str, Hex32]
    """SHA-256 of every other file but this one."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """What `render` writes so; BundleBroken."""
        try:
            manifest = cls.model_validate(parsed(data))
            if manifest.render() != data:
                raise ValueError("written otherwise")
        except (ValidationError, ValueError):
            raise BundleBroken("manifest", MANIFEST) from None
        return manifest

    def render(self) -> bytes:
        return rendered(self.model_dump(mode="json"))

    @property
    def known_at(self) -> datetime:
        return datetime.fromisoformat(self.contents.known_at)

    @property
    def happened_by(self) -> datetime:
        return datetime.fromisoformat(self.contents.happened_by)


# --- Entries ----------------------------------------------------------------------------------


class Leaf(Model):
    """An envelope as it stands in the log (docs/formats/entry.md, sections 5 and 7)."""

    actor: UUID
    ciphertext_sha256: Hex32
    clinic: UUID
    command_id: UUID
    command_index: Annotated[int, Field(ge=0, lt=_INTEGER_LIMIT)]
    commitment: Hex32
    format: Literal["rapport-entry/1"]
    key_id: UUID
    occurred_at: When
    occurred_offset: Annotated[str, StringConstraints(pattern=r"^[+-]\d\d:\d\d$")]
    on_behalf_of: UUID | None
    position: Place
    recorded_at: When
    schema_version: Place
    source: Source
    stream: str
    stream_version: Place
    topic: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The envelope whose leaf input is exactly these bytes; ValueError."""
        leaf = cls.model_validate(parsed(data))
        if rendered(leaf.model_dump(mode="json")) != data:
            raise ValueError("written otherwise")
        return leaf


@dataclass(frozen=True)
class Disclosed:
    """An entry as a bundle holds it."""

    leaf_input: bytes
    content: bytes | None
    """Canonical; None: withheld."""
    salt: bytes | None
    withheld: Withheld | None = None

    @cached_property
    def leaf(self) -> Leaf:
        """The envelope; ValueError."""
        return Leaf.parse(self.leaf_input)

    def without_content(self, why: Withheld) -> "Disclosed":
        return Disclosed(self.leaf_input, None, None, why)

    def recorded(self) -> RecordedEvent:
        """The entry as the domain knows it; what is withheld reads as erased. ValueError or
        UnknownTopic."""
        leaf = self.leaf
        event: Event | Erased = ERASED
        if self.content is not None:
            content = parsed(self.content)
            if not isinstance(content, dict):
                raise ValueError("content is an object")
            event = topics.read(leaf.topic, leaf.schema_version, content)
        sign = 1 if leaf.occurred_offset[0] == "+" else -1
        hours, minutes = leaf.occurred_offset[1:].split(":")
        return RecordedEvent(
            clinic=leaf.clinic,
            position=leaf.position,
            stream=Stream.parse(leaf.stream),
            version=leaf.stream_version,
            topic=leaf.topic,
            schema_version=leaf.schema_version,
            occurred_at=_told_in(leaf.occurred_at, sign * (int(hours) * 60 + int(minutes))),
            recorded_at=datetime.fromisoformat(leaf.recorded_at),
            actor=leaf.actor,
            on_behalf_of=leaf.on_behalf_of,
            source=leaf.source,
            command_id=leaf.command_id,
            command_index=leaf.command_index,
            key_id=leaf.key_id,
            event=event,
            commitment=leaf.commitment,
        )


def _told_in(at: str, minutes: int) -> datetime:
    try:
        return datetime.fromisoformat(at).astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:
        raise ValueError("not a time") from None


# --- The file ---------------------------------------------------------------------------------


def packed(files: Mapping[str, bytes]) -> bytes:
    """The one zip file that holds these: by name, not compressed, without times of its own."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            told = zipfile.ZipInfo(name, _MADE_AT)
            told.create_system, told.external_attr = 3, _OWNER_ONLY << 16
            archive.writestr(told, files[name])
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of a bundle by name; BundleBroken for any zip that `packed` would not write."""
    if len(data) > BYTES_LIMIT:
        raise BundleBroken("too_large")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            told = archive.infolist()
            _require_plain(told, len(data))
            files = {each.filename: archive.read(each) for each in told}
        same = packed(files) == data
    except _NOT_OUR_ZIP:
        raise BundleBroken("container") from None
    if not same:
        raise BundleBroken("container")
    return files


_NOT_OUR_ZIP = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
    struct.error,
)
"""What zipfile raises where bytes are no zip, or one with features that no bundle uses."""


def _require_plain(told: list[zipfile.ZipInfo], size: int) -> None:
    """No other names, none twice, nothing compressed, and no more bytes than there are."""
    if len(told) > FILES_LIMIT or sum(each.file_size for each in told) > size:
        raise BundleBroken("too_large")
    names: set[str] = set()
    for each in told:
        if not _NAME.fullmatch(each.filename):
            raise BundleBroken("file_name")  # it may hold anything, so it is not repeated
        if each.filename in names:
            raise BundleBroken("file_twice", each.filename)
        if each.compress_type != zipfile.ZIP_STORED or each.flag_bits:
            raise BundleBroken("container", each.filename)
        if each.file_size > _limit(each.filename):
            raise BundleBroken("too_large", each.filename)
        names.add(each.filename)


def _limit(name: str) -> int:
    """What is parsed as a whole is not long."""
    if name == MANIFEST:
        return MANIFEST_LIMIT
    return LEAF_LIMIT if name.endswith(".leaf.json") else BYTES_LIMIT


def write(path: Path, data: bytes) -> None:
    """Writes a new file that its owner alone may read, whole or not at all; OSError.

    The draft stands beside it under a random name, and nowhere else is there a copy.
    """
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """The bytes of a bundle's file; BundleBroken, OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > BYTES_LIMIT:
            raise BundleBroken("too_large")
        return file.read(BYTES_LIMIT + 1)  # `unpacked` refuses what is longer
