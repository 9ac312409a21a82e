"""Group commit: callers queue, and one of them writes for all that wait.

Whoever comes first leads. It takes the turns that wait, decides on them, and hands the lead to the
first of those that came meanwhile as soon as its own batch is on its way: so one batch is decided
while the one before it is being written. Nobody waits for a batch to fill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from domain.event import Refusal
from domain.records import Proposal, Receipt

HandOver = Callable[[], None]
Write = Callable[[Sequence["Turn"], HandOver], None]


@dataclass(eq=False, slots=True)
class Turn:
    """Proposals that one caller waits for."""

    proposals: Sequence[Proposal]
    after: "Turn | None" = None
    """The turn before this one of the same caller: if that fails, this one must not be written."""
    verdicts: list[Receipt | Refusal | None] = field(default_factory=list)
    failure: BaseException | None = None
    leads: bool = False
    """Whether its caller is the one to write for all that wait."""
    called: Lock = field(default_factory=Lock)
    """Held until the turn is answered or leads."""

    def __post_init__(self) -> None:
        self.verdicts = [None] * len(self.proposals)
        self.called.acquire()

    @property
    def done(self) -> bool:
        return self.failure is not None or None not in self.verdicts


class Turns:
    """The queue of one log. `write` answers each turn that it is given, or gives it a failure."""

    def __init__(self, write: Write, commands_at_once: int) -> None:
        self._write = write
        self._commands_at_once = commands_at_once
        self._queueing = Lock()
        self._waiting: list[Turn] = []
        self._led = False

    def enter(self, turn: Turn) -> None:
        """Takes a place in the queue; whoever does must `settle` next."""
        with self._queueing:
            self._waiting.append(turn)
            turn.leads, self._led = not self._led, True

    def settle(self, turn: Turn) -> None:
        """Returns when `turn` is answered: by whoever leads, or by its caller, who leads then."""
        try:
            if not turn.leads:
                turn.called.acquire()
            while not turn.done:
                self._lead(turn)
        finally:  # also where the caller is interrupted: somebody else leads then
            with self._queueing:
                if turn in self._waiting:
                    self._waiting.remove(turn)
            self._hand_over(turn)

    def _lead(self, leader: Turn) -> None:
        turns = self._next()
        try:
            self._write(turns, partial(self._hand_over, leader))
        finally:
            for turn in turns:
                turn.called.release()

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

    def _hand_over(self, leader: Turn) -> None:
        """Lets the first who waits lead; once, however often it is called."""
        with self._queueing:
            if not leader.leads:
                return
            leader.leads, self._led = False, bool(self._waiting)
            for first in self._waiting[:1]:
                first.leads = True
                first.called.release()
