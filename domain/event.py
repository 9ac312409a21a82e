"""The grammar of the record: events, entries, histories, commands and refusals.

An *event* is a plain fact in the past tense. An *entry* (`RecordedEvent`) is that fact in its
envelope: where it stands in the log, when it happened, when it was recorded and by whom. A
*command* looks at what is given and answers with new events, or raises a `Refusal`. Nothing here
knows of bytes, keys or PostgreSQL.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import chain
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar, cast, overload
from uuid import UUID

from domain.fold import Among, Stored, read
from domain.policy import Policy
from domain.refusal import Refusal
from domain.values import EARLIEST, Line, Model, Moment, Text

__all__ = ["Line", "Model", "Moment", "Policy", "Refusal", "Stored", "Text"]  # looked for here


class Stream(NamedTuple):
    """The name of a stream: a category and the random id of what the stream is about."""

    category: str
    id: UUID

    def __str__(self) -> str:
        return f"{self.category}-{self.id}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """The stream with that name; ValueError if it is no stream's name."""
        category, _, id_ = name.partition("-")
        stream = cls(category, UUID(id_))
        if str(stream) != name or not category.isalpha():
            raise ValueError("not a stream name")
        return stream


class Source(StrEnum):
    """How an entry came into the record."""

    ENTERED = "entered"
    IMPORT = "import"
    SYSTEM = "system"


# --- Facts ----------------------------------------------------------------------------------


_SET = object.__setattr__
_NOT_KEPT: Final[set[str]] = set()  # pydantic copies it before it adds to a copy's


class Event(Model):
    """A fact about a relationship, a person or the clinic, in the past tense.

    `topic` and `schema_version` are stored forever; `domain/topics.py` lists every topic. What a
    class may read but no longer writes is brought up to date by `upcast`.
    """

    topic: ClassVar[str]
    schema_version: ClassVar[int] = 1
    correctable: ClassVar[bool] = True
    fixed: ClassVar[frozenset[str]] = frozenset()
    """Fields that a correction keeps, as it keeps ids: later entries were judged by them."""

    late_reason: Text | None = None
    """Why it was recorded late (rule 3)."""
    import_id: UUID | None = None
    """The ImportDeclared it stands on (rule 45)."""
    reported: tuple[str, ...] = ()
    """Codes of refusals that an import reports instead of raising (rule 45)."""

    def model_post_init(self, context: Any, /) -> None:
        """Lets go of the set of the fields that were given: of a fact nobody asks for it, and it
        takes as much memory as all the rest."""
        _SET(self, "__pydantic_fields_set__", _NOT_KEPT)

    def carrying(
        self, late_reason: str | None, import_id: UUID | None, reported: tuple[str, ...]
    ) -> Self:
        """The same fact with what every event carries."""
        if (self.late_reason, self.import_id, self.reported) == (late_reason, import_id, reported):
            return self
        common = {"late_reason": late_reason, "import_id": import_id, "reported": reported}
        event = self.__class__.__new__(self.__class__)
        _SET(event, "__dict__", self.__dict__ | common)
        _SET(event, "__pydantic_fields_set__", _NOT_KEPT)
        _SET(event, "__pydantic_extra__", None)
        _SET(event, "__pydantic_private__", None)
        return event

    def subject(self) -> UUID | None:
        """The one person whose key seals this content; None: joint, the stream's own key."""
        return None

    def outlives_closure(self) -> bool:
        """Rule 16: whether it may also tell of a time when its relationship was closed."""
        return False

    def amends(self) -> "Amendment | None":
        """What this entry changes in how an earlier entry of its stream reads; most: nothing."""
        return None

    @classmethod
    def upcast(cls, content: dict[str, Any], schema_version: int) -> dict[str, Any]:
        """Content of an older `schema_version` in the shape of the current one."""
        raise ValueError(f"{cls.topic} has no schema version {schema_version}")


@dataclass(frozen=True, slots=True)
class Erased:
    """Content whose key was destroyed. That the entry existed is still proven."""


ERASED = Erased()

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Amendment:
    """Entry `version` reads as `content` from now on, or, without content, not at all."""

    version: int
    content: dict[str, Any] | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An entry: the fact in its envelope. Two times: it *happened* and it *was recorded*."""

    clinic: UUID
    position: int
    stream: Stream
    version: int
    topic: str
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: UUID
    on_behalf_of: UUID | None
    source: Source
    command_id: UUID
    command_index: int
    key_id: UUID
    event: Event | Erased
    commitment: str = ""
    """The salted commitment to its content, in hex: what an attestation refers to.

    Empty while the entry is decided on and not yet in the log.
    """
    amended_at: int | None = None
    """Position of the entry that corrected this one, in a standing history."""

    def amends(self) -> Amendment | None:
        """What it changes in how an earlier entry reads; an erased one changes nothing any more."""
        return None if isinstance(self.event, Erased) else self.event.amends()

    def is_late(self, policy: "Policy") -> bool:
        """Rule 3: recorded more than the policy's delay after it occurred."""
        return self.recorded_at - self.occurred_at > policy.late_after


Entries = tuple[RecordedEvent, ...]
S = TypeVar("S")


class Fold(Generic[S]):
    """What a history comes to, found without looking at all of it again after each entry.

    `of` folds a whole history; nothing but entries of these kinds changes what it comes to. `then`
    goes on from a state by such entries that came after it, in their order, and gives the same as
    `of` would: it changes nothing in the state that it is given, which other threads may hold, and
    answers None where it has to be folded anew. Where an entry is amended, it always is. What
    `lasts` holds few of the entries, and is remembered also where they are not (`at_rest`).
    """

    def __init__(
        self,
        of: Callable[["History"], S],
        *kinds: type,
        then: Callable[[S, Entries], S | None] = lambda state, news: None,
        lasts: bool = False,
    ) -> None:
        self.of = of
        self.lasts = lasts
        self._among = Among(kinds)
        self._then = then

    def further(self, state: S, news: Entries) -> S | None:
        """The state these entries later; None where it has to be folded anew."""
        among = self._among
        if len(news) == 1:  # as nearly always
            return self._then(state, news) if among[type(news[0].event)] else state
        told = tuple([entry for entry in news if among[type(entry.event)]])
        return self._then(state, told) if told else state


class History(Sequence[RecordedEvent]):
    """The entries of one stream in order of version.

    Iterating gives them as recorded; `standing` gives them as they read today: corrected entries
    with their replacement, entries made in error left out (rule 1: nothing is changed in place).
    It never changes, and may be shared between threads; what it was folded to is remembered.
    """

    __slots__ = ("_folded", "_new", "_old", "version")

    version: int
    """The version of the last entry; 0 for a stream that does not exist."""

    def __init__(self, entries: Iterable[RecordedEvent] = ()) -> None:
        self._old: Entries = tuple(entries)
        self.version = self._old[-1].version if self._old else 0
        self._new: Entries = ()  # apart, until it is long enough to copy the old ones with it
        self._folded: dict[Fold[Any], tuple[int, Any]] = {}  # what the first so many come to

    @overload
    def __getitem__(self, index: int) -> RecordedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RecordedEvent, ...]: ...
    def __getitem__(self, index: int | slice) -> RecordedEvent | tuple[RecordedEvent, ...]:
        return self._after(0)[index]

    def __len__(self) -> int:
        return len(self._old) + len(self._new)

    def __iter__(self) -> Iterator[RecordedEvent]:
        return chain(self._old, self._new)

    def _after(self, length: int) -> Entries:
        old = len(self._old)
        return self._new[length - old :] if length >= old else self._old[length:] + self._new

    @property
    def last(self) -> RecordedEvent | None:
        """The last entry; None for a stream that does not exist."""
        return (self._new or self._old)[-1] if len(self) else None

    def entry(self, version: int) -> RecordedEvent | None:
        """The entry of that version as it was recorded, if it is in this history."""
        entries = self._after(0)
        if 0 < version <= len(entries) and entries[version - 1].version == version:
            return entries[version - 1]
        return next((entry for entry in entries if entry.version == version), None)

    def then(self, *entries: RecordedEvent) -> "History":
        """This history with further entries; what it was folded to is folded on, not anew."""
        if not entries:
            return self
        grown, old, new = History.__new__(History), self._old, self._new + entries
        is_long = len(new) ** 2 > len(old)
        grown._old, grown._new = (old + new, ()) if is_long else (old, new)
        grown.version = entries[-1].version
        grown._folded = self._folded.copy()  # states never change, so both may hold them
        if grown._folded and any(entry.amends() is not None for entry in entries):
            grown._folded = {}  # an amendment reaches back behind them
        return grown

    def at_rest(self, entries: Sequence[RecordedEvent]) -> "History":
        """The same, with `entries`, which need not be in memory, in the place of its own; of what
        it was folded to it keeps what lasts without them."""
        rested, size = History(), len(self)
        rested._old, rested.version = cast(Entries, entries), self.version
        for fold, (length, state) in self._folded.copy().items():
            if fold.lasts:
                is_old = length < size
                lasting = fold.further(read(state), self._after(length)) if is_old else state
                if lasting is not None:
                    rested._folded[fold] = size, lasting
        return rested

    @classmethod
    def of_stored(
        cls, entries: Sequence[RecordedEvent], version: int, states: Mapping[Fold[Any], Stored[Any]]
    ) -> "History":
        """A history at rest: `entries`, the last of that version, and what they came to."""
        rested, size = cls(), len(entries)
        rested._old, rested.version = cast(Entries, entries), version
        rested._folded = {fold: (size, state) for fold, state in states.items()}
        return rested

    def awake(self) -> "History":
        """The same, with its entries in memory."""
        woken = History(self)
        woken._folded = self._folded
        return woken

    def take_over(self, known: "History") -> None:
        """Remembers also what a history of the same entries was folded to."""
        self._folded = {**known._folded, **self._folded}

    @property
    def lasting(self) -> list[Fold[Any]]:
        """What it was folded to, of what lasts without its entries."""
        return [fold for fold in self._folded.copy() if fold.lasts]

    @property
    def resting(self) -> Sequence[RecordedEvent] | None:
        """What stands in the place of its entries, if it is at rest."""
        return None if type(self._old) is tuple else self._old

    @property
    def since_rest(self) -> Entries:
        """Of one that is at rest: the entries that came since."""
        return () if self.resting is None else self._new

    def folded(self, fold: Fold[S]) -> S:
        """What these entries come to; of entries that were folded before, the state is taken."""
        size, known = len(self._old) + len(self._new), self._folded.get(fold)
        state: S | None = None
        if known is not None:
            length, state = known
            if type(state) is Stored:
                self._folded[fold] = length, (state := state.read())
            if length == size:
                return state
            state = fold.further(state, self._after(length))
        found = fold.of(self) if state is None else state
        self._folded[fold] = size, found
        return found

    @property
    def standing(self) -> Entries:
        """The entries as they read today, in their order, amendments themselves left out."""
        return self.folded(_STANDING)

    def of(self, kind: type[E]) -> Iterator[tuple[RecordedEvent, E]]:
        """Standing entries of one kind of event, each with its content."""
        among = self.folded(_of_kind(kind))
        return iter(among)

    def among(self, *kinds: type, ever: bool = False) -> Entries:
        """The standing entries of any of these kinds, in their order; `ever`: as they were
        recorded, also those that were amended or entered in error since."""
        by_kind = self.folded(_RECORDED_BY_KIND if ever else _STANDING_BY_KIND)
        asked = _kinds(kinds)
        found = [entries for kind, entries in by_kind.items() if asked[kind]]
        if len(found) < 2:  # as nearly always: of most kinds there are none
            return found[0] if found else ()
        entries = self if ever else self.standing
        return tuple([entry for entry in entries if asked[type(entry.event)]])

    def as_of(
        self, *, known_at: datetime | None = None, happened_by: datetime | None = None
    ) -> "History":
        """What was known at one time of what had happened by another (rule 5).

        An amendment belongs to the time of the entry that it amends: what is known today of
        January includes what was set right in March.
        """
        recorded, occurred = self.folded(_LAST_TIMES)
        if recorded <= (known_at or recorded) and occurred <= (happened_by or occurred):
            return self
        known = History(e for e in self if known_at is None or e.recorded_at <= known_at)
        if happened_by is None:
            return known
        when = {entry.version: entry.occurred_at for entry in chain(known, known.standing)}

        def happened(entry: RecordedEvent) -> bool:
            amendment = entry.amends()
            version = entry.version if amendment is None else amendment.version
            return when.get(version, entry.occurred_at) <= happened_by

        return History(filter(happened, known))


_ByKind = Mapping[type, Entries]
"""Entries by the class of their content."""

_kinds: Callable[[tuple[type, ...]], Among] = cache(Among)


def _by_kind(entries: Iterable[RecordedEvent]) -> _ByKind:
    found: dict[type, list[RecordedEvent]] = {}
    for entry in entries:
        kind = type(entry.event)
        if kind in found:
            found[kind].append(entry)
        else:
            found[kind] = [entry]
    return {kind: tuple(entries) for kind, entries in found.items()}


# Looked through once for all who ask for some kinds: views ask dozens of times for entries of which
# a stream has few or none. What grows has its answers, and seldom asks for this again.
_RECORDED_BY_KIND: Fold[_ByKind] = Fold(_by_kind, object)
_STANDING_BY_KIND: Fold[_ByKind] = Fold(
    lambda history: (
        _by_kind(history.standing) if _amended(history) else history.folded(_RECORDED_BY_KIND)
    ),
    object,
)


def _amended(history: History) -> bool:
    """Whether an entry is there of a kind that may amend another."""
    kinds = history.folded(_RECORDED_BY_KIND)
    return any(issubclass(kind, Event) and kind.amends is not Event.amends for kind in kinds)


def _standing(history: History) -> Entries:
    if not _amended(history):
        return tuple(history)
    standing: dict[int, RecordedEvent] = {}
    contents: dict[int, dict[str, Any]] = {}  # by version: only the last is read
    for entry in history:
        amendment = entry.amends()
        if amendment is None:
            standing[entry.version] = entry
            continue
        amended = standing.get(amendment.version)
        if amended is None or isinstance(amended.event, Erased):
            continue
        if amendment.content is None:
            del standing[amendment.version]
            contents.pop(amendment.version, None)
            continue
        contents[amendment.version] = amendment.content
        standing[amendment.version] = replace(
            amended,
            occurred_at=amendment.occurred_at or amended.occurred_at,
            amended_at=entry.position,
        )
    for version, content in contents.items():
        amended = standing[version]
        assert isinstance(amended.event, Event), "nothing erased is amended"
        standing[version] = replace(amended, event=amended.event.model_validate(content))
    return tuple(standing.values())


_STANDING = Fold(_standing, object, then=lambda standing, news: standing + news)


@cache
def _of_kind(kind: type[E]) -> Fold[tuple[tuple[RecordedEvent, E], ...]]:
    def told(entries: Entries) -> tuple[tuple[RecordedEvent, E], ...]:
        return tuple([(entry, cast(E, entry.event)) for entry in entries])

    return Fold(
        lambda history: told(history.among(kind)), kind, then=lambda some, news: some + told(news)
    )


def _last_times(
    entries: Iterable[RecordedEvent], recorded: datetime = EARLIEST, occurred: datetime = EARLIEST
) -> tuple[datetime, datetime]:
    for entry in entries:
        recorded, occurred = max(recorded, entry.recorded_at), max(occurred, entry.occurred_at)
    return recorded, occurred


_LAST_TIMES = Fold(
    lambda history: _last_times(chain(history, history.standing)),
    object,
    then=lambda times, news: _last_times(news, *times),
)
"""When the last of its entries was recorded, and when the last of them occurred."""


# --- Decisions ------------------------------------------------------------------------------


class OccursInTheFuture(Refusal):
    rule = 4
    status = 422
    says = "occurred_at lies in the future; only what is scheduled may, by its own times."


class LateReasonMissing(Refusal):
    rule = 3
    status = 422
    says = "This is recorded more than {hours} h after it occurred: give a late_reason."


class EntryUnknown(Refusal):
    status = 404
    says = "There is no such {what} in this record."


class New(NamedTuple):
    """An event that a decision adds to a stream; without a time of its own, the command's."""

    stream: Stream
    event: Event
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """All that a decision may look at. The same given always gives the same decision.

    Every stream that is read through it becomes a read guard: the append holds only if none of
    them has moved since.
    """

    clinic: UUID
    now: datetime
    """The clock, UTC."""
    at: datetime
    """When what the command tells of occurred."""
    actor: UUID
    history: Callable[[Stream], History]
    on_behalf_of: UUID | None = None
    source: Source = Source.ENTERED
    import_id: UUID | None = None
    policy: Policy = field(default_factory=Policy)
    reported: list[str] = field(default_factory=list)

    def unless_imported(self, refusal: type[Refusal], **ids: UUID | int | str) -> None:
        """Raises such a refusal; for an imported entry reports it instead (rule 45)."""
        if self.source is not Source.IMPORT:
            raise refusal(**ids)
        if refusal.code not in self.reported:
            self.reported.append(refusal.code)


class Command(Model):
    """What somebody asks to be recorded. The body of a request *is* the command."""

    name: ClassVar[str]
    """The verb in kebab-case, as it stands in routes and on the command line."""

    occurred_at: Moment | None = None
    """When it happened; left out: now."""
    late_reason: Text | None = None
    """Why it is recorded late, where it is (rule 3)."""

    def effective_at(self) -> datetime | None:
        """When it happened, by the command's own times where it has some; None: now."""
        return self.occurred_at

    def decide(self, given: Given) -> Iterable[New]:
        """The events that follow, or a Refusal. Reads nothing but what is given."""
        raise NotImplementedError


class Immediate(Command):
    """A command that takes effect when it is given: it is neither dated back nor late."""

    occurred_at: None = None
    late_reason: None = None
