"""Group commit: callers queue, and one of them writes for all that wait.

Whoever comes first leads. It takes the turns that wait, decides on them, and as soon as its own
batch is on its way hands the lead to the first of those that came meanwhile: so one batch is
decided while the one before it is being written.

Python runs one thread at a time, and threads that want to at once stand in each other's way. So
those who were answered are called one after the other, each by the one before it, and while they
are called nobody leads: the first who waits does once the last was called. Where many record, most
are back by then, and share the next batch. Nobody waits for a batch to fill.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Final

from domain.event import Refusal
from domain.records import Proposal, Receipt
from infra.bodies import body_of

_AHEAD: Final = 3
"""Turns of one caller: one that is written, one that is decided meanwhile, one that comes next."""

_OPEN: Final = type(None)

HandOver = Callable[[], None]
Write = Callable[[Sequence["Turn"], HandOver], None]


@dataclass(eq=False, slots=True)
class Turn:
    """Proposals that one caller waits for."""

    proposals: Sequence[Proposal]
    after: "Turn | None" = None
    """The turn before this one of the same caller: if that fails, this one must not be written."""
    verdicts: list[Receipt | Refusal | None] = field(init=False)
    bodies: list[bytes] = field(init=False)
    """What each proposal says. Its caller writes it down, who has the time: while callers come one
    after the other, the next is only waking up."""
    failure: BaseException | None = None
    leads: bool = False
    """Whether its caller is the one to write for all that wait."""
    waits: bool = False
    """Whether it came while somebody else led, and neither leads nor is answered yet."""
    calls: bool = False
    """Whether it was called because it is answered: it calls the next when it leaves."""
    left: bool = False
    """Whether its caller is gone: answered, or interrupted."""
    called: Lock = field(default_factory=Lock)
    """Held until the turn is answered or leads."""

    def __post_init__(self) -> None:
        self.verdicts = [None] * len(self.proposals)
        self.bodies = list(map(body_of, self.proposals))
        self.called.acquire()

    @property
    def done(self) -> bool:
        # By their kinds: a receipt would be compared with None field by field.
        return self.failure is not None or _OPEN not in map(type, self.verdicts)

    def given_up(self) -> bool:
        """Whether it fails because the turn before it did, which is answered by now."""
        if self.after is not None:
            self.failure, self.after = self.after.failure, None
        return self.failure is not None


class Turns:
    """The queue of one log. `write` answers each turn that it is given, or gives it a failure."""

    def __init__(self, write: Write, commands_at_once: int) -> None:
        self._write = write
        self._commands_at_once = commands_at_once
        self._queueing = Lock()
        self._waiting: list[Turn] = []
        self._led = False
        self._answered: deque[Turn] = deque()
        """Those that are still to be called, each by the one before it."""
        self._calling = False
        """Whether one of them was called and has not left yet."""
        self._left_to_last = False
        """Whether the lead goes to the first who waits once all of them were called."""

    def settled(self, proposals: Sequence[Proposal]) -> Iterator[Turn]:
        """The answered turns of one caller, in order: one, or as many as its proposals fill.

        Of many, the next is decided while the one before it is written; after one that failed
        comes none.
        """
        most = self._commands_at_once
        if len(proposals) <= most:
            turn = Turn(proposals)
            self._enter(turn)
            self._settle(turn)
            yield turn
            return
        with ThreadPoolExecutor(_AHEAD) as pool:
            on_their_way: deque[tuple[Turn, Future[None]]] = deque()
            before: Turn | None = None
            for start in range(0, len(proposals), most):
                turn = before = Turn(proposals[start : start + most], after=before)
                self._enter(turn)
                on_their_way.append((turn, pool.submit(self._settle, turn)))
                if len(on_their_way) == _AHEAD:
                    yield from _first_of(on_their_way)
            while on_their_way:
                yield from _first_of(on_their_way)

    def _enter(self, turn: Turn) -> None:
        with self._queueing:
            self._waiting.append(turn)
            turn.leads, turn.waits, self._led = not self._led, self._led, True

    def _settle(self, turn: Turn) -> None:
        """Returns when `turn` is answered: by whoever leads, or by its caller, who leads then."""
        try:
            if turn.waits:
                turn.called.acquire()
            while not turn.done:
                self._lead(turn)
        finally:  # also where the caller is interrupted: somebody else leads then
            self._leave(turn)

    def _leave(self, turn: Turn) -> None:
        with self._queueing:
            turn.left = True
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn.calls:
                self._call_next()
        if turn.leads:
            self._hand_over(turn)

    def _lead(self, leader: Turn) -> None:
        turns = self._next()
        try:
            self._write(turns, partial(self._hand_over, leader))
        finally:
            with self._queueing:
                self._call(turns)
                if self._calling and not self._led:
                    self._led = self._left_to_last = True

    def _next(self) -> list[Turn]:
        with self._queueing:
            taken, commands = 0, 0
            for turn in self._waiting:
                commands += len(turn.proposals)
                if taken and commands > self._commands_at_once:
                    break
                taken += 1
            turns, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return turns

    def _call(self, turns: Sequence[Turn]) -> None:
        """Lets those go, one after the other, who were answered."""
        for turn in turns:
            if turn.waits:
                turn.waits = False
                self._answered.append(turn)
        if not self._calling:
            self._call_next()

    def _call_next(self) -> None:
        while self._answered:
            turn = self._answered.popleft()
            if not turn.left:
                turn.calls = self._calling = True
                turn.called.release()
                return
        self._calling = False
        if self._left_to_last:
            self._pass_on()

    def _hand_over(self, leader: Turn) -> None:
        """Gives the lead away; once, however often it is called."""
        with self._queueing:
            if leader.leads:
                leader.leads, self._left_to_last = False, self._calling
                if not self._calling:
                    self._pass_on()

    def _pass_on(self) -> None:
        """Lets the first who waits lead."""
        self._left_to_last, self._led = False, bool(self._waiting)
        for first in self._waiting[:1]:
            first.leads, first.waits = True, False
            first.called.release()


def _first_of(on_their_way: deque[tuple[Turn, Future[None]]]) -> Iterator[Turn]:
    turn, settled = on_their_way.popleft()
    settled.result()
    yield turn
