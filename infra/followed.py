"""How far a process knows a log to which others may add as well.

What it remembers counts as long as the head is the one that it knows: then nobody else has added
anything. Where somebody was first, it follows the log to its end and forgets of which streams it
cannot say any more where they end.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Final

from domain.event import History, Stream
from infra.mapper import stream_named
from infra.promised import Promised
from infra.recorder import EntryRecorder

_ENTRIES_FOLLOWED: Final = 10_000
_STREAMS_FOLLOWED: Final = 100_000
_OTHERS_SECONDS: Final = 1.0


class Followed:
    """One log, as one process knows it."""

    def __init__(self, recorder: EntryRecorder, promised: Promised) -> None:
        """Begins at the head as committed; LogDiverged."""
        self._recorder = recorder
        self._promised = promised
        self._others_wrote_at = -_OTHERS_SECONDS
        self.head = promised.opened()
        self.complete: dict[Stream, int] = {}
        """The versions at which streams end, as of the head.

        It is another dict whenever streams are forgotten: whoever still decides on what was known
        before writes into the old one.
        """

    def others_write(self) -> bool:
        """Whether another process was first not long ago. Then each waits for its turn before it
        decides: whoever decides longest would never be first."""
        return monotonic() - self._others_wrote_at < _OTHERS_SECONDS

    def note(self, histories: Mapping[Stream, History]) -> None:
        """Where these streams end as of the head."""
        complete = self.complete
        for stream, history in histories.items():
            complete[stream] = history.version

    def forget(self) -> None:
        """From now on it is known of no stream where it ends."""
        self.complete = {}

    def forget_if_many(self) -> None:
        """The same, where that would take too much memory."""
        if len(self.complete) > _STREAMS_FOLLOWED:
            self.complete = {}

    def look_again(self) -> None:
        """Follows the log to its end."""
        before, head = self.head, self._promised.followed(self.head)
        if head.size == before.size:
            self.complete = {}
            return
        self._others_wrote_at = monotonic()
        if head.size - before.size > _ENTRIES_FOLLOWED:
            self.complete = {}
        else:
            moved = set(map(stream_named, self._recorder.streams_between(before.size, head.size)))
            self.complete = {
                stream: version
                for stream, version in self.complete.copy().items()
                if stream not in moved
            }
        self.head = head
