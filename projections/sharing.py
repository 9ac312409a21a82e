"""Catching up by several hands: each folds the new entries of some streams, one of them writes.

What a hand folds comes back in bytes, so that rows and position are written in the one transaction
of whoever deals the streams out: each entry counts once, whoever folded it.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from domain.event import RecordedEvent
from projections.folding import Batch, Change, Folds, LogReader

_ENTRIES_IN_SHARE = 200
_STREAMS_KNOWN = 100_000


class Stretch(NamedTuple):
    """Entries of one stream that follow each other, by their versions."""

    stream: str
    first: int
    last: int

    @property
    def entries(self) -> int:
        return self.last - self.first + 1


class SharedLog(LogReader, Protocol):
    """The log, as whoever folds a share reads it."""

    def scan_stretches(
        self, stretches: Sequence[Stretch], after: int, upto: int
    ) -> Sequence[RecordedEvent]: ...


class Preparing(Protocol):
    """The tables of views, as whoever folds a share needs them."""

    def prepared(self, table: Any, build: UUID, changes: Iterable[Change]) -> Any:
        """Changes of a build in bytes, as its writer puts them; may be sent to other processes."""
        ...

    def generation(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Span:
    """What all shares of one transaction have in common."""

    after: int
    upto: int
    """Entries past one position, up to and with another."""
    builds: Mapping[str, UUID]
    """By table: what moves along."""
    parked: Mapping[str, Collection[str]]
    """By table: the streams that it has no rows of."""


class Share(NamedTuple):
    """What one hand folds at a time."""

    span: Span
    stretches: Sequence[Stretch]


class Done(NamedTuple):
    """What one share comes to."""

    prepared: Mapping[str, Any]
    """By table: what its writer puts."""
    keys: int
    """The keyring's generation, as whoever folded it saw it. Where it is another one than that of
    whoever writes, one of them may have opened what a key sealed that is destroyed by now."""


class Hand:
    """Folds shares, and remembers the streams that it touched last."""

    def __init__(
        self, folds: Mapping[str, Folds[Any, Any]], log: SharedLog, store: Preparing
    ) -> None:
        self._folds = folds
        self._log = log
        self._store = store
        self._keys = store.generation()

    def look(self) -> int:
        """Forgets everything if a key was destroyed; the generation that was found."""
        keys = self._store.generation()
        if keys != self._keys:
            for folds in self._folds.values():
                folds.clear()
            self._keys = keys
        return keys

    def fold(self, share: Share) -> Done:
        """What follows from a share in each table."""
        keys, (span, stretches) = self.look(), share
        batch = Batch(self._log.scan_stretches(stretches, span.after, span.upto), self._log)
        prepared = {}
        for name, build in span.builds.items():
            folds = self._folds[name]
            changes = folds.changes(batch, span.parked[name])
            prepared[name] = self._store.prepared(folds.view, build, changes)
        return Done(prepared, keys)


class Dealt:
    """Deals out streams: to the hand that folded one before, for it may remember it; else to
    whoever is free. Hands are numbers."""

    def __init__(self) -> None:
        self._hand_of: dict[str, int] = {}

    def forget(self) -> None:
        """Nobody remembers anything any more."""
        self._hand_of.clear()

    def over(self, hands: int, span: Span, stretches: Iterable[Stretch]) -> "Dealing":
        """What so many hands are to fold."""
        if len(self._hand_of) > _STREAMS_KNOWN:
            self.forget()
        return Dealing(self._hand_of, hands, span, stretches)


class Dealing:
    """The shares of one transaction, until all are given."""

    def __init__(
        self, hand_of: dict[str, int], hands: int, span: Span, stretches: Iterable[Stretch]
    ) -> None:
        self._hand_of = hand_of
        self._span = span
        own: list[list[Stretch]] = [[] for _ in range(hands)]
        anybodys = list[Stretch]()
        for stretch in stretches:
            hand = hand_of.get(stretch.stream, hands)
            (own[hand] if hand < hands else anybodys).append(stretch)
        self._own = [deque(_pieces(its)) for its in own]
        self._anybodys = deque(_pieces(anybodys))

    def next(self, hand: int) -> Share | None:
        """What this hand folds next; None: nothing is left for it."""
        own = self._own[hand]
        if own:
            return Share(self._span, own.popleft())
        if not self._anybodys:
            return None
        piece = self._anybodys.popleft()
        self._hand_of.update(dict.fromkeys([stretch.stream for stretch in piece], hand))
        return Share(self._span, piece)


def _pieces(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """Some streams each, of about as many entries."""
    piece: list[Stretch] = []
    held = 0
    for stretch in stretches:
        piece.append(stretch)
        held += stretch.entries
        if held >= _ENTRIES_IN_SHARE:
            yield piece
            piece, held = [], 0
    if piece:
        yield piece
