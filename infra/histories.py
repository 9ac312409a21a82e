"""Histories that were opened before, kept in memory while their keys live.

The entries of those used last are kept. Of many more it is kept how far they go and what they were
folded to, as far as that lasts without the entries: most commands are decided over nothing else.
Of such a history the entries are read again where a decision does ask for them.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Final, overload
from uuid import UUID

from domain.event import Entries, Erased, History, RecordedEvent, Stream
from infra.states import fold_all

Recall = Callable[[Stream, int, int], Entries]
"""Reads the first so many entries of a stream again, as under that generation of the keyring."""

Keep = Callable[[Stream, History], None]
"""Hears of histories that leave memory, in whole or in part; takes no time."""

_LONGEST_NEWS: Final = 16
"""So many new entries are kept beside what a history was folded to before them."""
_ENTRIES_TO_ONE: Final = 96
"""So many entries of a history weigh, as each state that it was folded to, as much as one."""


class Recalled(Sequence[RecordedEvent]):
    """Entries of which only the last ones are in memory, until another is asked for."""

    __slots__ = ("_entries", "_keys", "_last", "_length", "_news", "_recall")

    def __init__(
        self,
        length: int,
        last: RecordedEvent,
        recall: Callable[[], Entries],
        news: Entries = (),
        *,
        keys: frozenset[UUID] | None = None,
    ) -> None:
        """`recall` gives the first `length` of them, whose last is `last`; `news` come after.

        `keys`: of the first, as `keys_of` gives them.
        """
        self._keys = keys
        self._length = length
        self._last = last
        self._recall = recall
        self._news = news
        self._entries: Entries | None = None

    @property
    def recalled(self) -> int:
        """How many of them have to be read again when they are asked for."""
        return self._length if self._entries is None else 0

    def __len__(self) -> int:
        return self._length + len(self._news)

    @overload
    def __getitem__(self, index: int) -> RecordedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> RecordedEvent | Entries:
        if index == -1:
            return self._news[-1] if self._news else self._last
        if isinstance(index, slice) and index.stop is None and (index.start or 0) >= self._length:
            return self._news[index.start - self._length :]
        return self._whole()[index]

    def __iter__(self) -> Iterator[RecordedEvent]:
        return iter(self._whole())

    def __add__(self, more: Entries) -> "Entries | Recalled":
        """With these after them."""
        if self._entries is not None:
            return self._entries + more
        return Recalled(self._length, self._last, self._recall, self._news + more, keys=self._keys)

    @property
    def keys(self) -> frozenset[UUID] | None:
        """Of all of them, as `keys_of` gives them."""
        news = _keys(self._news)
        return None if self._keys is None or news is None else self._keys | news

    def _whole(self) -> Entries:
        if self._entries is None:
            self._entries = self._recall() + self._news
        return self._entries


class OpenedHistories:
    """Opened histories, each a prefix of its stream; those used last with their entries.

    `generation` is the keyring's when it was last emptied: what was opened under an older one is
    not taken in, because a key may have been destroyed since.
    """

    def __init__(
        self, limit: int, at_rest: int, generation: int, recall: Recall, keep: Keep
    ) -> None:
        """`limit`: of entries; `at_rest`: of what is known of histories without them, as what
        weighs as much as so many entries."""
        self.generation = generation
        self._keep = keep
        self._recall = recall
        self._lock = Lock()
        self._opened = _Shelf(limit)
        self._resting = _Shelf(at_rest)
        self._asked: set[str] = set()
        """The categories of streams that something was asked of that lasts."""

    def get(self, stream: Stream) -> History | None:
        """The history with its entries."""
        with self._lock:
            return self._opened.get(stream)

    def known(self, stream: Stream) -> History | None:
        """The history, which may be at rest: for whoever decides under the same generation."""
        with self._lock:
            opened, resting = self._opened.get(stream), self._resting.get(stream)
            if resting is None or (opened is not None and opened.version >= resting.version):
                return opened
            return resting

    def put(self, histories: Mapping[Stream, History], generation: int) -> None:
        """Keeps each unless a longer one is kept; drops others while too many entries are held."""
        with self._lock:
            if generation != self.generation:
                return
            for stream, history in histories.items():
                if _is_at_rest(history):
                    self._keep_resting(stream, history)
                else:
                    self._keep_awake(
                        stream, history if history.resting is None else history.awake()
                    )
            for stream, history in self._opened.overflow():
                self._keep_resting(stream, history)
            for stream, history in self._resting.overflow():
                self._keep(stream, history)

    def leaving(self) -> Iterator[tuple[Stream, History]]:
        """All that are kept, each as it is when it leaves memory."""
        with self._lock:
            resting, awake = self._resting.histories(), self._opened.histories()
        yield from resting
        for stream, history in reversed(awake):
            self._fold(stream, history)
            yield stream, history

    def clear(self, generation: int) -> None:
        with self._lock:
            self.generation = generation
            self._opened.clear()
            self._resting.clear()

    def _keep_awake(self, stream: Stream, history: History) -> None:
        rested = self._resting.drop(stream, up_to=history.version)
        if rested is not None and rested.version == history.version:
            history.take_over(rested)
        self._opened.put(stream, history)
        if history.lasting:
            self._asked.add(stream.category)

    def _keep_resting(self, stream: Stream, history: History) -> None:
        last = history.last
        if last is None:
            return
        if not _is_at_rest(history):
            self._fold(stream, history)
        if not _is_at_rest(history) or _in_memory(history) > _LONGEST_NEWS:
            generation, length = self.generation, len(history)
            recall = partial(self._recall, stream, length, generation)
            history = history.at_rest(Recalled(length, last, recall, keys=keys_of(history)))
            self._keep(stream, history)
        self._resting.put(stream, history)

    def _fold(self, stream: Stream, history: History) -> None:
        if stream.category in self._asked:
            fold_all(history)


class _Shelf:
    """Histories up to a weight, the least recently used dropped first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._histories: OrderedDict[Stream, tuple[History, int]] = OrderedDict()

    def get(self, stream: Stream) -> History | None:
        kept = self._histories.get(stream)
        if kept is None:
            return None
        self._histories.move_to_end(stream)
        return kept[0]

    def put(self, stream: Stream, history: History) -> None:
        """Keeps it, unless one is there that is as long."""
        kept = self._histories.get(stream)
        if kept is not None:
            if kept[0].version >= history.version:
                return
            self._held -= kept[1]
        weight = _weight(history)
        self._histories[stream] = history, weight
        self._histories.move_to_end(stream)
        self._held += weight

    def drop(self, stream: Stream, up_to: int) -> History | None:
        """Drops the stream's, unless it goes further than that version."""
        kept = self._histories.get(stream)
        if kept is None or kept[0].version > up_to:
            return None
        del self._histories[stream]
        self._held -= kept[1]
        return kept[0]

    def overflow(self) -> Iterator[tuple[Stream, History]]:
        """Takes out what is too much, but for the last."""
        while self._held > self._limit and len(self._histories) > 1:
            stream, (history, weight) = self._histories.popitem(last=False)
            self._held -= weight
            yield stream, history

    def histories(self) -> list[tuple[Stream, History]]:
        """All of them, the least recently used first."""
        return [(stream, history) for stream, (history, _) in self._histories.items()]

    def clear(self) -> None:
        self._histories.clear()
        self._held = 0


def keys_of(history: History) -> frozenset[UUID] | None:
    """The ids of the keys that its entries are sealed by; None where one of those is erased, or
    where that is not known."""
    resting, since = history.resting, _keys(history.since_rest)
    if resting is None:
        return _keys(history)
    at_rest = resting.keys if isinstance(resting, Recalled) else None
    return None if at_rest is None or since is None else at_rest | since


def _keys(entries: Sequence[RecordedEvent]) -> frozenset[UUID] | None:
    if any(isinstance(entry.event, Erased) for entry in entries):
        return None
    return frozenset(entry.key_id for entry in entries)


def _is_at_rest(history: History) -> bool:
    resting = history.resting
    return isinstance(resting, Recalled) and resting.recalled > 0


def _in_memory(history: History) -> int:
    """How many of its entries are."""
    resting = history.resting
    return len(history) - (resting.recalled if isinstance(resting, Recalled) else 0)


def _weight(history: History) -> int:
    """In entries; that a stream is empty takes its place too. At rest the last entry is kept."""
    if not _is_at_rest(history):
        return 1 + len(history)
    states = len(history.lasting) * (1 + len(history) // _ENTRIES_TO_ONE)
    return 2 + _in_memory(history) + states
