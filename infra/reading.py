"""Reading a clinic's log as it stands: stretches of it, and whole streams of one category or many.

For views, exports, imports and whoever shows entries. What a process remembers of streams, to
decide over it, is not looked at here (`infra/event_store.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence

from domain.cycles import search_put_off
from domain.event import History, RecordedEvent, Stream
from infra.batch import Head
from infra.mapper import stream_name
from infra.recorder import EntryRecorder, ScannedRow
from infra.scanned import Scans


class ReadableLog(ABC):
    """One clinic's log, as far as it is read."""

    _recorder: EntryRecorder
    _scans: Scans

    @abstractmethod
    def _forget_erased(self) -> int:
        """Drops opened content from memory when any process destroyed a key; gives the keyring's
        generation."""

    def read_log(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Up to `limit` entries past position `after`, in the order of the log."""
        self._forget_erased()
        return self._scans.opened(self._recorder.scan_positions(after, limit))

    def scan(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """The same for views: opened when asked, Unreadable where `read_log` would fail at all."""
        return self.scanned(self._recorder.scan_positions(after, limit))

    def scanned(self, rows: Sequence[ScannedRow]) -> Sequence[RecordedEvent]:
        """The same of rows that somebody else has selected by SCAN_POSITIONS."""
        self._forget_erased()
        return self._scans.entries(rows)

    def stretches(self, category: str, after: int, upto: int) -> list[tuple[str, int, int]]:
        """The names of a category's streams with entries past one position, up to and with
        another, and the versions of the first and the last of these."""
        return self._recorder.stretches(category, after, upto)

    def scan_stretches(
        self, stretches: Sequence[tuple[str, int, int]], after: int, upto: int
    ) -> Sequence[RecordedEvent]:
        """The entries of such stretches between these positions, as `scan` gives them."""
        return self.scanned(self._recorder.scan_stretches(stretches, after, upto))

    def scan_streams(self, streams: Sequence[Stream]) -> list[History]:
        """Whole streams for views, in the same way; in the order of `streams`."""
        self._forget_erased()
        names = [stream_name(stream) for stream in streams]
        entries = self._scans.entries(self._recorder.scan_streams(names))
        return list(by_stream(names, entries).values())

    def histories(self, streams: Collection[Stream]) -> dict[Stream, History]:
        """Whole streams to decide over, read by one statement."""
        self._forget_erased()
        named = {stream_name(stream): stream for stream in streams}
        with search_put_off():
            entries = self._scans.opened(self._recorder.scan_streams(list(named)))
        return {named[name]: history for name, history in by_stream(named, entries).items()}

    def streams(self, category: str) -> Iterator[Stream]:
        """Every stream of a category, by name."""
        return map(Stream.parse, self._recorder.stream_names(category))

    def sized_streams(self, category: str) -> Iterator[tuple[Stream, int]]:
        """The same, each with the number of its entries."""
        for name, entries in self._recorder.stream_sizes(category):
            yield Stream.parse(name), entries

    def streams_since(self, category: str, position: int) -> list[Stream]:
        """Those of the category that have entries past a position, by name."""
        return [Stream.parse(name) for name in self._recorder.streams_since(category, position)]

    def head(self) -> Head:
        """The head as committed."""
        return self._recorder.head()

    def head_size(self) -> int:
        """The position of the last entry; 0 for an empty log."""
        return self._recorder.head().size


def by_stream(names: Iterable[str], entries: Iterable[RecordedEvent]) -> dict[str, History]:
    """The histories of these streams, each of those entries that are its own."""
    found: dict[str, list[RecordedEvent]] = {name: [] for name in names}
    for entry in entries:
        found[stream_name(entry.stream)].append(entry)
    return {name: History(its_own) for name, its_own in found.items()}
