"""Corrections: a new entry that says how an earlier one reads from now on, or that it was an error.

Nothing is changed in place (rule 1). `History.standing` applies what is recorded here; iterating
a history still gives every entry as it was first written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from domain.alliance import require_rated_afterwards
from domain.amendment import AmendmentEntry
from domain.assent import AssentDissented
from domain.clinic import ConsentDocumentPublished, ImportDeclared
from domain.consent import ConsentScopeNarrowed, ConsentWithdrawn, require_informed_still
from domain.event import (
    Amendment,
    Command,
    EntryUnknown,
    Erased,
    Event,
    Given,
    History,
    Moment,
    New,
    OccursInTheFuture,
    RecordedEvent,
    Refusal,
    Stream,
    Text,
)
from domain.goal_rating import require_agreed_still
from domain.note import NoteCosigned, NoteSigned
from domain.participant import require_participation
from domain.process_note import ProcessNoteShared, ProcessNoteWritten
from domain.recording import RecordingUsed, require_recordings
from domain.relationship import require_order
from domain.restriction import RestrictionAgreed, RestrictionLifted
from domain.risk import RiskItemRaised
from domain.session import (
    Medium,
    MediumNotStated,
    SessionHeld,
    SessionScheduled,
    SessionTimeTaken,
    hold_again,
    require_sessions,
)
from domain.supervision import CountertransferenceNoted

Version = Annotated[int, Field(ge=1, lt=2**53)]
"""The version of an entry in its stream."""


def _stream(name: Any) -> Any:
    if isinstance(name, Stream):
        return name
    try:
        return Stream.parse(name)
    except (ValueError, TypeError, AttributeError):
        raise PydanticCustomError(
            "not_a_stream",
            "Name a stream as category-uuid, as in relationship-….",
        ) from None


StreamName = Annotated[
    Stream,
    BeforeValidator(_stream),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]+-[0-9a-f-]{36}$"}),
]
"""A stream by its name."""

_DEEPEST = 8


def _shallow(content: dict[str, Any]) -> dict[str, Any]:
    """No entry nests deeper; what does would exhaust whoever compares or prints the command."""
    level: list[Any] = [content]
    for _ in range(_DEEPEST):
        level = [inner for part in level for inner in _parts(part)]
    if level:
        raise PydanticCustomError("nested_too_deep", "No entry nests that deep.")
    return content


def _parts(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list() | tuple():
            return value
    return ()


def _as_stored(value: Any) -> Any:
    """The value in the types of stored content, so that it is the same when it is read again."""
    match value:
        case dict():
            return {name: _as_stored(part) for name, part in value.items()}
        case list() | tuple():
            return [_as_stored(part) for part in value]
        case datetime():
            utc = value.astimezone(UTC).isoformat(timespec="microseconds")
            return {"at": f"{utc[:26]}Z", "offset": value.isoformat()[-6:]}
        case date():
            return value.isoformat()
        case UUID() | StrEnum():
            return str(value)
    return value


# Others rest on these, or nobody but the person concerned may undo them: they stay for ever.
_FINAL = (
    ConsentDocumentPublished,
    ImportDeclared,
    ConsentScopeNarrowed,
    ConsentWithdrawn,
    AssentDissented,
    RiskItemRaised,
    RecordingUsed,
    SessionTimeTaken,
    NoteSigned,
    NoteCosigned,
    RestrictionAgreed,
    RestrictionLifted,
    AmendmentEntry,
)

_TRAILS = frozenset({"access", "role", "hold", "disclosure", "erasure"})
"""Streams that tell who read, could do, held, received and erased what: nobody's to mend."""
# What somebody wrote for nobody else is mended by nobody else, and others do not learn of it.
_PRIVATE = (ProcessNoteWritten, ProcessNoteShared, CountertransferenceNoted)


# --- What happened --------------------------------------------------------------------------


class EntryCorrected(Event):
    """The entry reads as `content` from now on; what it said before stays in the record."""

    topic = "entry.corrected"
    correctable = False

    entry: Version
    reason: Text
    of_topic: str
    """Topic and schema version of `content`: an old correction is upcast like an old entry."""
    of_schema_version: int
    content: Annotated[dict[str, Any], AfterValidator(_as_stored)]
    occurred: Moment | None = None
    """When it really happened, where that was wrong too."""
    about: UUID | None = None
    """The person whose key seals the corrected entry: the same key seals its correction."""

    def subject(self) -> UUID | None:
        return self.about

    def amends(self) -> Amendment:
        return Amendment(self.entry, self.content, self.occurred)


class EnteredInError(Event):
    """The entry should never have been made: it reads as if it were not there."""

    topic = "entry.entered_in_error"
    correctable = False

    entry: Version
    reason: Text
    about: UUID | None = None

    def subject(self) -> UUID | None:
        return self.about

    def amends(self) -> Amendment:
        return Amendment(self.entry)


# --- Refusals -------------------------------------------------------------------------------


class AmendsAnAmendment(Refusal):
    rule = 1
    says = "Entry {entry} is itself a correction: name the entry that it corrects."


class NotCorrectable(Refusal):
    rule = 1
    says = "{topic} is never reworded: mark it as entered in error and record it anew."


class StaysAsRecorded(Refusal):
    rule = 1
    says = "{topic} stays as it was recorded; record what follows from the mistake."


class AlreadyEnteredInError(Refusal):
    rule = 1
    says = "Entry {entry} was marked as entered in error; record the fact anew."


class ContentErased(Refusal):
    rule = 9
    says = "The content of entry {entry} was erased; there is nothing left to correct."


class ReplacementInvalid(Refusal):
    """Names the fields that do not fit, never what was sent."""

    rule = 1
    status = 422
    says = "The content does not fit {topic}; look at: {fields}."


class IdentityChanged(Refusal):
    rule = 1
    status = 422
    says = "A correction keeps {field}: mark the entry as entered in error and record it anew."


class NothingCorrected(Refusal):
    rule = 1
    status = 422
    says = "Entry {entry} already reads like this."


# --- Commands -------------------------------------------------------------------------------


class CorrectEntry(Command):
    """Give an entry the content, and where needed the time, it should have had."""

    name = "correct-entry"

    stream: StreamName
    entry: Version
    reason: Text
    content: Annotated[dict[str, Any], AfterValidator(_shallow)]
    """The whole content as it should read, not only what changes."""
    occurred: Moment | None = None

    def decide(self, given: Given) -> Iterator[New]:
        if self.occurred is not None and self.occurred > given.now + given.policy.clock_tolerance:
            raise OccursInTheFuture
        entry, original = _standing(given, self.stream, self.entry)
        if not original.correctable:
            raise NotCorrectable(topic=original.topic)
        replacement = _replacement(original, self.content)
        occurred = self.occurred or entry.occurred_at
        time_taken: list[New] = []
        if isinstance(replacement, SessionHeld):
            replacement, time_taken = _held_again(given, entry, replacement)
            occurred = replacement.started_at
        if isinstance(replacement, SessionScheduled) and replacement.medium is Medium.NOT_STATED:
            replace(given, source=entry.source).unless_imported(MediumNotStated)
        _require_whole(given, entry, replace(entry, event=replacement, occurred_at=occurred))
        if replacement == original and occurred == entry.occurred_at:
            raise NothingCorrected(entry=self.entry)
        corrected = EntryCorrected(
            entry=self.entry,
            reason=self.reason,
            of_topic=original.topic,
            of_schema_version=original.schema_version,
            content=_content(replacement),
            occurred=None if occurred == entry.occurred_at else occurred,
            about=original.subject(),
        )
        yield New(self.stream, corrected)
        yield from time_taken


class MarkEnteredInError(Command):
    """Say that an entry should never have been made."""

    name = "mark-entered-in-error"

    stream: StreamName
    entry: Version
    reason: Text

    def decide(self, given: Given) -> Iterator[New]:
        entry, original = _standing(given, self.stream, self.entry)
        _require_whole(given, entry)
        yield New(
            self.stream,
            EnteredInError(entry=self.entry, reason=self.reason, about=original.subject()),
        )


def _standing(given: Given, stream: Stream, version: int) -> tuple[RecordedEvent, Event]:
    """The entry as it reads today, if it may be amended at all."""
    history = given.history(stream)
    recorded = history.entry(version)
    if recorded is None:
        raise EntryUnknown(what="entry")
    if isinstance(recorded.event, Erased):
        raise ContentErased(entry=version)
    if isinstance(recorded.event, _PRIVATE) and recorded.actor != given.actor:
        raise EntryUnknown(what="entry")
    if recorded.event.amends() is not None:
        raise AmendsAnAmendment(entry=version)
    if isinstance(recorded.event, _FINAL) or stream.category in _TRAILS:
        raise StaysAsRecorded(topic=recorded.topic)
    for entry in history.standing:
        if entry.version == version and not isinstance(entry.event, Erased):
            return entry, entry.event
    raise AlreadyEnteredInError(entry=version)


_WHOLE = (
    require_order,
    require_participation,
    require_sessions,
    require_recordings,
    require_informed_still,
    require_agreed_still,
    require_rated_afterwards,
)
"""What still holds in a relationship in which an entry reads otherwise, or not at all."""


def _require_whole(given: Given, entry: RecordedEvent, *instead: RecordedEvent) -> None:
    """Rules 10, 13, 16–18, 22, 26 and 28: what stands beside an entry was judged by it."""
    if entry.stream.category == "relationship":
        before = given.history(entry.stream).standing
        at = before.index(entry)
        for require in _WHOLE:
            require(before, (*before[:at], *instead, *before[at + 1 :]))


# Fields that nobody enters: they say how the entry came about, and stay.
_NOT_ENTERED = frozenset({"late_reason", "import_id", "reported", "relies_on"})


def _replacement(original: Event, content: dict[str, Any]) -> Event:
    """`content` as an event of the original's class, about the same things and people.

    Ids tie entries together under rules that a correction does not look at again. Another id is
    another fact: mark the entry as entered in error and record that one.
    """
    kind = type(original)
    kept = original.model_dump(include=set(_NOT_ENTERED))
    try:
        replacement = kind.model_validate({**content, **kept})
    except ValidationError as error:
        raise ReplacementInvalid(topic=kind.topic, fields=_faulty(kind, error)) from None
    before, after = original.model_dump(), replacement.model_dump()
    for field in kind.model_fields:
        is_fixed = field in kind.fixed and before[field] != after[field]
        if is_fixed or [*_ids(before[field])] != [*_ids(after[field])]:
            raise IdentityChanged(field=field)
    return replacement


def _held_again(
    given: Given, entry: RecordedEvent, held: SessionHeld
) -> tuple[SessionHeld, list[New]]:
    """A session is corrected by deciding it again, as though the old entry were not there.

    So every rule about holding a session also holds for its correction. Gives the session with
    the consents it now relies on, and the hours it takes where they have changed.
    """

    def history(stream: Stream) -> History:
        found = given.history(stream)
        if stream != entry.stream:
            return found
        return History(other for other in found if other.version != entry.version)

    again = replace(
        given,
        at=held.started_at,
        source=entry.source,
        import_id=held.import_id,
        history=history,
        reported=[],
    )
    before = entry.event
    assert isinstance(before, SessionHeld)
    decided, *time_taken = hold_again(before, held, entry.stream.id).decide(again)
    assert isinstance(decided.event, SessionHeld)
    kept = {"late_reason": held.late_reason, "import_id": held.import_id}
    anew = decided.event.model_copy(update={**kept, "reported": tuple(again.reported)})
    same_hour = (anew.started_at, anew.ended_at, anew.joint) == (
        before.started_at,
        before.ended_at,
        before.joint,
    )
    return anew, [] if same_hour else time_taken


def _content(event: Event) -> dict[str, Any]:
    """The fields as an entry of its own would hold them: without what is None or not reported."""
    return event.model_dump(exclude_none=True, exclude=None if event.reported else {"reported"})


def _faulty(kind: type[Event], error: ValidationError) -> str:
    places = {str(next(iter(part["loc"]), "")) for part in error.errors()}
    # A name that the class does not know came from the caller; it is not repeated.
    known = sorted(places & kind.model_fields.keys())
    return ", ".join(known) or "names of fields, and how they fit together"


def _ids(value: object) -> Iterator[UUID]:
    """The ids that a value names, however deep in it."""
    if isinstance(value, UUID):
        yield value
    for part in _parts(value):
        yield from _ids(part)
