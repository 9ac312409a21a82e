"""Where what several processes decided and sealed gets its place in one log.

A seal is not bound to an entry's position; only its leaf is. So processes decide and seal side by
side, each for streams of its own (`infra/apart.py`), and one, here, gives positions, hashes the
leaves and appends. It holds them to what makes a decision current: nothing of what it was decided
on was added to by anybody else since, and times never go back. What does not hold is decided again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection, wait
from struct import Struct
from typing import Any, Final, NamedTuple, cast

from domain.ids import id_of
from infra.batch import Batch, CommandRow, Head
from infra.event_store import ClinicLog, Contended
from infra.merkle import leaf_hash
from infra.packed import BYTEA_OID, bigint
from infra.recorder import CommandSeen, LostRace, StoreUnavailable

_ATTEMPTS: Final = 100
_POSITION: Final = b'"position":'
_FIELD: Final = Struct("!Ii").pack
_FIELD_BEGINS: Final = len(_FIELD(0, 0))
_PLACE_BEGINS: Final = 4 + _FIELD_BEGINS + 16 + _FIELD_BEGINS
"""In a packed row: after the number of its fields, the clinic's field, and what begins the next."""
_PLACE_ENDS: Final = _PLACE_BEGINS + 8


Unplaced = tuple[bytes, bytes, bytes, bytes]
"""A sealed entry without its position: what stands before and after that, in its packed row, which
goes up to the leaf, and in its leaf. A plain tuple, which takes the least to be sent."""


def unplaced(position: int, row: bytes, leaf: bytes) -> Unplaced:
    """A packed row and its leaf, cut where their position stands."""
    before, found, after = leaf.partition(_POSITION)
    assert found, "a leaf tells its position"
    return (
        row[:_PLACE_BEGINS],
        row[_PLACE_ENDS : -len(leaf) - _FIELD_BEGINS],
        before + found,
        after[len(str(position)) :],
    )


def placed(position: int, entry: Unplaced) -> tuple[bytes, bytes]:
    """The packed row and the leaf of the entry at that position."""
    row_before, row_after, leaf_before, leaf_after = entry
    leaf = b"%b%d%b" % (leaf_before, position, leaf_after)
    begins = _FIELD(BYTEA_OID, len(leaf))
    return b"".join((row_before, bigint(position), row_after, begins, leaf)), leaf


class Begun(NamedTuple):
    """A batch is being decided; this is its time."""

    attempt: int
    now: datetime


class Handed(NamedTuple):
    """A batch that was decided and sealed, apart from its place."""

    attempt: int
    """How often this process was told to decide again before."""
    now: datetime
    """When it was decided, and so when it is recorded."""
    as_of: int
    """A size of the log: what was read for it was read at that size or later."""
    reads: tuple[str, ...]
    """The streams that were looked at."""
    writes: tuple[str, ...] = ()
    commands: tuple[tuple[bytes, bytes, int, int], ...] = ()
    """Id, MAC of the body, where its entries begin in the batch, and how many they are."""
    entries: tuple[Unplaced, ...] = ()


class Placed(NamedTuple):
    """The batch is in the log, durable."""


class Again(NamedTuple):
    """It is not, nor is what was decided on it: all of it is decided again, on the log as it is.

    Whoever is told this hands in another batch, if need be an empty one; others wait for it.
    """

    size: int
    recorded_at: datetime
    """Of the log's last entry: no decision may be older."""


Heard = Callable[[Connection, Any], bool]
"""Takes what a process says besides, and tells whether it was its last word."""


@dataclass(eq=False, slots=True)
class _Hand:
    """A process that decides."""

    end: Connection
    attempt: int = 0
    begun: datetime | None = None
    """The time of the batch that it is deciding."""
    handed: deque[Handed] = field(default_factory=deque)


class Placing:
    """Appends to one clinic's log what other processes decide.

    Nothing else appends through the same `ClinicLog` meanwhile.
    """

    def __init__(self, log: ClinicLog, ends: Sequence[Connection], heard: Heard) -> None:
        """`ends`: of the pipes to those processes."""
        self._recorder = log._recorder
        self._promised = log._promised
        self._head = self._promised.followed()
        self._hands = {end: _Hand(end) for end in ends}
        self._heard = heard
        self._moved: dict[str, tuple[int, _Hand | None]] = {}
        """By which size of the log a stream was last added to, and by whom; None: by others."""

    def run(self) -> None:
        """Appends until each process has said its last word. EOFError where one ended without it;
        StoreUnavailable, Contended."""
        while self._hands:
            hand = self._next()
            if not self._hear(0 if hand else None) and hand:
                self._settle(hand)

    def _hear(self, seconds: float | None = 0) -> bool:
        """Takes in what processes have said, within so many seconds; None: waits. Whether any."""
        ready = cast(list[Connection], wait(list(self._hands), seconds))
        for end in ready:
            self._listen(self._hands[end])
        return bool(ready)

    def _listen(self, hand: _Hand) -> None:
        match message := hand.end.recv():
            case Begun(attempt, now):
                if attempt == hand.attempt:
                    hand.begun = now
            case Handed(attempt):
                if attempt == hand.attempt:
                    hand.begun = None
                    hand.handed.append(message)
            case _ if self._heard(hand.end, message):
                del self._hands[hand.end]

    def _next(self) -> _Hand | None:
        """Whose batch is the earliest; None where another may have an earlier one in hand."""
        some = (hand for hand in self._hands.values() if hand.handed)
        first = min(some, key=lambda hand: hand.handed[0].now, default=None)
        if first is None:
            return None
        now = first.handed[0].now
        deciding = (hand.begun for hand in self._hands.values() if hand is not first)
        return None if any(begun and begun < now for begun in deciding) else first

    def _settle(self, hand: _Hand) -> None:
        """Appends a process's next batch. Where it does not hold, everybody waits for another."""
        for attempt in range(_ATTEMPTS):
            with self._recorder.alone() if attempt else nullcontext():
                if attempt:
                    self._look_again()
                    self._have_decided_again(hand)
                if hand.end not in self._hands:
                    return  # it told why it ends
                if self._appended(hand, hand.handed.popleft()):
                    hand.end.send(Placed())
                    return
        raise Contended(attempts=_ATTEMPTS)

    def _have_decided_again(self, hand: _Hand) -> None:
        hand.attempt, hand.begun = hand.attempt + 1, None
        hand.handed.clear()
        hand.end.send(Again(self._head.size, self._head.recorded_at))
        while not hand.handed and hand.end in self._hands:
            self._listen(hand)

    def _appended(self, hand: _Hand, batch: Handed) -> bool:
        if not batch.entries:  # all was refused: that holds if nothing moved what it stands on
            if self._recorder.head().size != self._head.size:
                self._look_again()
            return self._holds(hand, batch)
        if not self._holds(hand, batch):
            return False
        try:
            after = self._append(batch)
        except (LostRace, CommandSeen, StoreUnavailable):
            return False
        self._promised.remember(after)
        self._head = after
        self._moved.update((stream, (after.size, hand)) for stream in batch.writes)
        return True

    def _holds(self, hand: _Hand, batch: Handed) -> bool:
        if batch.now < self._head.recorded_at:
            return False
        moved = (self._moved.get(stream) for stream in batch.reads)
        return not any(one and one[0] > batch.as_of and one[1] is not hand for one in moved)

    def _append(self, batch: Handed) -> Head:
        """The head with the batch on it; LostRace, CommandSeen, StoreUnavailable."""
        entries = [placed(at, entry) for at, entry in enumerate(batch.entries, self._head.size + 1)]
        after = Head(
            self._head.frontier.append([leaf_hash(leaf) for _, leaf in entries]), batch.now
        )
        commands = [
            CommandRow(id_of(id_), mac, first, number) for id_, mac, first, number in batch.commands
        ]
        rows = [row for row, _ in entries]
        self._recorder.append(Batch(self._head, after, commands), rows, self._hear)
        return after

    def _look_again(self) -> None:
        """Follows the log to its end, and notes which streams others added to."""
        before, self._head = self._head, self._promised.followed(self._head)
        size = self._head.size
        if size > before.size:
            moved = self._recorder.streams_between(before.size, size)
            self._moved.update((stream, (size, None)) for stream in moved)
