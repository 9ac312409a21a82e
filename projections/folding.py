"""Folding streams into changes of a view's table, and remembering them as far as versions prove it.

What a view raises on, or an entry that it needs and that cannot be read, parks that one stream.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import compress, islice
from operator import is_not
from typing import Generic, Protocol, Self, TypeVar

from domain.event import Erased, Event, History, RecordedEvent, Stream
from domain.topics import Unreadable
from projections.view import PlainRow, Row, View, up_to

S = TypeVar("S")
R = TypeVar("R", bound=Row)

_HISTORIES_HELD = 64


class LogReader(Protocol):
    """The log of one clinic, as views read it.

    An entry's content is opened when it is asked for, and is Unreadable then where it cannot be.
    """

    def scan(self, after: int, limit: int) -> Sequence[RecordedEvent]: ...
    def scan_streams(self, streams: Sequence[Stream]) -> Sequence[History]: ...
    def head_size(self) -> int: ...
    def streams(self, category: str) -> Iterator[Stream]: ...


class Unfoldable(Exception):
    """A view raised on an entry, or could not read it; `code` is the kind of error, no text."""

    def __init__(self, position: int, code: str) -> None:
        super().__init__(f"{code} at position {position}")
        self.position = position
        self.code = code

    @classmethod
    def by(cls, error: Exception, position: int) -> Self:
        return cls(position, type(error).__name__)


class Batch:
    """The next entries of the log, by stream; all views fold them, each what it needs."""

    def __init__(self, entries: Iterable[RecordedEvent], log: LogReader) -> None:
        self._log = log
        self._streams: dict[str, dict[Stream, list[RecordedEvent]]] = {}
        self._histories: dict[Stream, History] = {}
        for entry in entries:
            streams = self._streams.setdefault(entry.stream.category, {})
            streams.setdefault(entry.stream, []).append(entry)

    def of(self, category: str) -> Mapping[Stream, Sequence[RecordedEvent]]:
        """The entries of a category's streams."""
        return self._streams.get(category, {})

    def history(self, stream: Stream) -> History:
        """The stream whole, read once for all views; but for too many streams to hold at once."""
        history = self._histories.get(stream)
        if history is None:
            (history,) = self._log.scan_streams([stream])
            if len(self._histories) < _HISTORIES_HELD:
                self._histories[stream] = history
        return history


@dataclass(slots=True)
class _Folded(Generic[S, R]):
    """A stream as far as it was folded: up to and with entry `version`."""

    version: int
    state: S
    rows: Mapping[int, R]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a stream's rows in a table.

    `afresh`: all rows that are there go first, and so does the note that the stream is parked. Rows
    that go without others in their place go so.
    """

    stream: Stream
    afresh: bool
    written: Mapping[int, PlainRow]
    parked: tuple[int, str] | None = None
    """Position and code of what could not be folded; a parked stream has no rows."""
    position: int = field(default=0, compare=False)
    """Of the last entry that it follows from."""
    since: int = field(default=0, compare=False)
    """Rows from this one on were never written before."""


class Folds(Generic[S, R]):
    """One view's folds over many streams; remembers those it touched last.

    It trusts its memory only as far as versions prove it: a stream is folded on if its next entry
    is exactly the one that follows, and afresh from its history in all other cases.
    """

    def __init__(self, view: View[S, R], capacity: int = 50_000) -> None:
        """`capacity`: how many rows to remember, over all streams."""
        self.view = view
        self._needs = cache(view.needs)
        self._capacity = capacity
        self._held: OrderedDict[Stream, _Folded[S, R]] = OrderedDict()
        self._weight = 0

    def changes(self, batch: Batch, parked: Collection[str] = ()) -> Iterator[Change]:
        """What follows from the next entries of the log, stream by stream.

        `parked`: the streams that the table has no rows of; they are folded afresh.
        """
        for stream, entries in batch.of(self.view.category).items():
            if parked and str(stream) in parked:
                history = up_to(batch.history(stream), entries[-1].position)
                yield self.refold(stream, history)
            elif any(self._needs(entry.topic) for entry in entries):
                yield self.advance(stream, entries, partial(batch.history, stream))
            else:
                self._pass_over(stream, entries)

    def _pass_over(self, stream: Stream, entries: Sequence[RecordedEvent]) -> None:
        """Notes that these entries were seen, none of which changes anything here."""
        held = self._held.get(stream)
        if held is not None and held.version == entries[0].version - 1:
            held.version = entries[-1].version

    def advance(
        self,
        stream: Stream,
        entries: Sequence[RecordedEvent],
        history: Callable[[], History],
    ) -> Change:
        """What follows from the stream's next entries.

        `history` gives the stream whole, at least as far as the last of `entries`; it is asked
        only where memory and `entries` do not suffice.
        """
        before = self._forget(stream)
        alone = self._alone(entries)
        if alone is not None:
            position, since = entries[-1].position, entries[0].version
            return Change(stream, False, alone, position=position, since=since)
        first = entries[0]
        try:
            if first.version == 1:
                before = self._nothing(stream)
            elif before is None or before.version != first.version - 1:
                whole = up_to(history(), entries[-1].position)
                if any(isinstance(content, Erased) for content in self._needed(whole)):
                    # What the table holds was perhaps folded when more was known.
                    return self.refold(stream, whole)
                entries = [entry for entry in whole if entry.version >= first.version]
                earlier = [entry for entry in whole if entry.version < first.version]
                before = self._on(self._nothing(stream), earlier)
        except Unfoldable:
            return self.refold(stream, whole)
        return self._change(stream, before, entries, afresh=False)

    def _alone(self, entries: Sequence[RecordedEvent]) -> Mapping[int, PlainRow] | None:
        """The rows of entries each of which stands alone: nothing else need be known of the stream.

        None where one does not, is erased, or cannot be told; what is wrong is found out then.
        """
        view, alone = self.view, self.view.alone
        if not alone or not alone.issuperset([entry.topic for entry in entries]):
            return None
        try:
            if any(isinstance(_read(entry), Erased) for entry in entries):
                return None
        except Unfoldable:
            return None
        try:
            return view.alone_apart(entries)
        except Exception:  # whatever a view raises: the long way parks the stream, and says why
            return None

    def refold(self, stream: Stream, history: History) -> Change:
        """The stream folded afresh, as far as `history` goes."""
        self._forget(stream)
        alone = self._alone(history)
        if alone is not None:
            return Change(stream, True, alone, position=history[-1].position)
        return self._change(stream, self._nothing(stream), history, afresh=True)

    def clear(self) -> None:
        """Forgets everything; called when a key was destroyed."""
        self._held.clear()
        self._weight = 0

    def _nothing(self, stream: Stream) -> _Folded[S, R]:
        return _Folded(0, self.view.empty(stream), {})

    def _needed(self, entries: Iterable[RecordedEvent]) -> Iterator[Event | Erased]:
        """The contents that the view needs; Unfoldable where one cannot be read."""
        return (_read(entry) for entry in entries if self._needs(entry.topic))

    def _on(self, before: _Folded[S, R], entries: Sequence[RecordedEvent]) -> _Folded[S, R]:
        """The stream these entries later; Unfoldable, whatever it is that the view raises."""
        needed = [entry for entry in entries if self._needs(entry.topic)]
        last = entries[-1] if entries else None
        version = before.version if last is None else last.version
        if last is None or not needed:
            return _Folded(version, before.state, before.rows)
        for entry in needed:
            _read(entry)  # a keyring that does not answer is not the entry's fault: not below
        state = self._folded(before.state, needed)
        try:
            return _Folded(version, state, self.view.rows(state))
        except Exception as error:  # one stream must not stop all the others
            raise Unfoldable.by(error, last.position) from error

    def _folded(self, state: S, entries: Sequence[RecordedEvent]) -> S:
        """The state these entries later: all at once, or one by one to name the one at fault."""
        try:
            return self.view.fold(state, *entries)
        except Exception:
            for entry in entries:
                try:
                    state = self.view.fold(state, entry)
                except Exception as error:
                    raise Unfoldable.by(error, entry.position) from error
            return state

    def _change(
        self,
        stream: Stream,
        before: _Folded[S, R],
        entries: Sequence[RecordedEvent],
        *,
        afresh: bool,
    ) -> Change:
        position = entries[-1].position
        try:
            after = self._on(before, entries)
            others, gone = differing(before.rows, after.rows)
            if gone:
                before, others, afresh = self._nothing(stream), list(after.rows), True
            written = self._written(before, after, others, position)
        except Unfoldable as error:
            return Change(stream, True, {}, (error.position, error.code), position)
        self._remember(stream, after)
        since = 0 if afresh else entries[0].version
        return Change(stream, afresh, written, None, position, since)

    def _written(
        self, before: _Folded[S, R], after: _Folded[S, R], others: Iterable[int], position: int
    ) -> Mapping[int, PlainRow]:
        """Those of the other rows that are not equal to what they were, taken apart."""
        try:
            return {
                key: self.view.taken_apart(row)
                for key in others
                if (row := after.rows[key]) != before.rows.get(key)
            }
        except Exception as error:
            raise Unfoldable.by(error, position) from error

    def _remember(self, stream: Stream, folded: _Folded[S, R]) -> None:
        self._held[stream] = folded
        self._weight += 1 + len(folded.rows)
        while self._weight > self._capacity and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._weight -= 1 + len(dropped.rows)

    def _forget(self, stream: Stream) -> _Folded[S, R] | None:
        held = self._held.pop(stream, None)
        if held is not None:
            self._weight -= 1 + len(held.rows)
        return held


def differing(before: Mapping[int, R], after: Mapping[int, R]) -> tuple[list[int], list[int]]:
    """The keys of rows that are not the very same, and of those that are gone.

    Most often rows are added, and a few of the others replaced in their places: then they are gone
    through side by side, which takes about half the time.
    """
    count = len(before)
    if list(before) == list(islice(after, count)):
        replaced = compress(after, map(is_not, after.values(), before.values()))
        return [*replaced, *islice(after, count, None)], []
    gone = [key for key in before if key not in after]
    return [key for key, row in after.items() if row is not before.get(key)], gone


def _read(entry: RecordedEvent) -> Event | Erased:
    """The entry's content, opened if it was not yet; Unfoldable where it cannot be read."""
    try:
        return entry.event
    except Unreadable as error:
        raise Unfoldable(entry.position, error.code) from error
