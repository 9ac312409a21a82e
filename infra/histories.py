"""Histories that were opened before, kept in memory while their keys live."""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from domain.event import History, Stream


class OpenedHistories:
    """Opened histories, the least recently used dropped first; each is a prefix of its stream.

    `generation` is the keyring's when it was last emptied: what was opened under an older one is
    not taken in, because a key may have been destroyed since.
    """

    def __init__(self, limit: int, generation: int) -> None:
        self.generation = generation
        self._limit = limit
        self._held = 0
        self._lock = Lock()
        self._histories: OrderedDict[Stream, History] = OrderedDict()

    def get(self, stream: Stream) -> History | None:
        with self._lock:
            history = self._histories.get(stream)
            if history is not None:
                self._histories.move_to_end(stream)
            return history

    def put(self, histories: Mapping[Stream, History], generation: int) -> None:
        """Keeps each unless a longer one is kept; drops others while too many entries are held."""
        with self._lock:
            if generation != self.generation:
                return
            for stream, history in histories.items():
                known = self._histories.get(stream)
                if known is not None and known.version >= history.version:
                    continue
                self._histories[stream] = history
                self._histories.move_to_end(stream)
                self._held += _weight(history) - (0 if known is None else _weight(known))
            while self._held > self._limit and len(self._histories) > 1:
                _, dropped = self._histories.popitem(last=False)
                self._held -= _weight(dropped)

    def clear(self, generation: int) -> None:
        with self._lock:
            self.generation = generation
            self._histories.clear()
            self._held = 0


def _weight(history: History) -> int:
    """In entries; that a stream is empty takes its place too."""
    return len(history) + 1
