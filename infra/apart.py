"""A log for which this process decides and seals, and to which another one appends.

Several such processes work side by side, each on streams that no other adds to. Each decides on
top of its own batches, which it has handed in and not heard of, and keeps a few of them on their
way. Where one does not hold (`infra/placing.py`), all that was decided on it is decided again.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from multiprocessing.connection import Connection
from typing import Final
from uuid import UUID

from domain.event import Entries, History, Refusal, Stream
from domain.ids import id_of
from domain.records import Proposal, Receipt
from infra.batch import Head
from infra.canonical import written
from infra.event_store import SKEW_LIMIT, ClinicLog, ClockSkew, Contended
from infra.histories import OpenedHistories
from infra.mapper import KeyGone, stream_name
from infra.merkle import EMPTY_ROOT, Frontier
from infra.new_keys import NewKeys
from infra.pending import Pending
from infra.placing import Again, Begun, Handed, Placed, unplaced
from infra.recorder import LostRace
from infra.rehearsal import Rehearsal
from infra.turns import Turn

_COMMANDS_PER_BATCH: Final = 256
"""More take as long each, and whoever else writes waits longer where one is decided again."""
_ON_THEIR_WAY: Final = 3
_ATTEMPTS: Final = 100
_ENTRIES_HELD: Final = 50_000
"""In memory, as in `infra/histories.py`: 80 MB."""
_HELD_AT_REST: Final = 100_000
"""What is known of streams without their entries: a source tells of them again, file by file."""

Verdict = Receipt | Refusal | None
"""None: it was recorded just now."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch that was handed in."""

    turn: Turn
    appended: frozenset[int]
    """Which of its proposals it appends."""
    commands: frozenset[UUID]
    """Their ids."""
    histories: Mapping[Stream, History]
    """The streams that it adds to, as they are then."""
    generation: int
    """Of the keyring when it was decided."""


class LogApart:
    """What an import asks of a log, in a process that appends nothing by itself."""

    def __init__(self, log: ClinicLog, end: Connection) -> None:
        """`end`: of the pipe to the process that appends; `log` is only read."""
        self._log = log
        self._end = end
        self._head = log.head()
        """What the next batch is decided on. Positions past it are not those that entries get."""
        self._as_of = self._head.size
        self._attempt = 0
        self._sent: deque[_Sent] = deque()
        self._ahead: dict[Stream, History] = {}
        """The streams that batches on their way add to, as the last of them leaves them."""
        self._opened = OpenedHistories(
            _ENTRIES_HELD, _HELD_AT_REST, log._forget_erased(), self._recalled, _let_go
        )
        self._mac = log._mac("id")

    def keyed_id(self, *natural_key: str) -> UUID:
        """As `ClinicLog.keyed_id`."""
        return id_of(self._mac(written(natural_key)))

    def seen(self, proposals: Sequence[Proposal]) -> Sequence[Verdict]:
        return self._log.seen(proposals)

    def head_size(self) -> int:
        return self._log.head_size()

    def rehearse(self) -> Rehearsal:
        return self._log.rehearse()

    def read_together(self, streams: Collection[Stream]) -> None:
        """Reads streams at once that commands are about to look at."""
        generation = self._forget_erased()
        wanted = [stream for stream in streams if self._known(stream) is None]
        if wanted:
            self._opened.put(self._log.histories(wanted), generation)

    def append(self, proposals: Sequence[Proposal]) -> Sequence[Verdict]:
        """Decides, and has appended; one verdict each, in order. Durable on return."""
        behind = self._head.recorded_at - self._log._clock()
        if behind > SKEW_LIMIT:
            return [ClockSkew(seconds=int(behind.total_seconds()))] * len(proposals)
        most = _COMMANDS_PER_BATCH
        turns = [Turn(proposals[at : at + most]) for at in range(0, len(proposals), most)]
        waiting = deque(turns)
        while waiting or self._sent:
            if waiting and len(self._sent) < _ON_THEIR_WAY:
                self._hand_in(waiting.popleft())
                continue
            match self._end.recv():
                case Placed():
                    self._settle(self._sent.popleft())
                case Again() as told:
                    again = [sent.turn for sent in self._sent]
                    waiting.extendleft(reversed(again))
                    self._start_again(again, told)
        return [verdict for turn in turns for verdict in turn.verdicts]

    def _hand_in(self, turn: Turn) -> None:
        """Decides and seals one batch on top of the last, and hands it in."""
        now = max(self._log._clock(), self._head.recorded_at)
        self._end.send(Begun(self._attempt, now))
        pending, reads = self._decided(turn, now)
        self._head = _after(pending)
        self._ahead.update(pending.histories)
        decided = frozenset(decided.at for decided in pending.decided.values())
        commands, histories = frozenset(pending.decided), pending.histories
        self._sent.append(_Sent(turn, decided, commands, histories, pending.generation))
        for _, index, refusal in pending.refused:
            turn.verdicts[index] = refusal
        self._end.send(self._handed(pending, reads))

    def _decided(self, turn: Turn, now: datetime) -> tuple[Pending, Collection[Stream]]:
        """The batch, sealed, and what was looked at for it. It is decided anew where a key was made
        or destroyed meanwhile."""
        log, reads = self._log, dict[Stream, History]()

        def before(stream: Stream) -> History:
            known = reads.get(stream)
            if known is None:
                known = reads[stream] = self._read(stream)
            return known

        for _ in range(_ATTEMPTS):
            reads.clear()
            generation, keys = self._forget_erased(), NewKeys(log._keyring, log.clinic)
            pending = Pending(log.clinic, self._head, now, generation, keys.id_for, before)
            with suppress(KeyGone, LostRace):
                log._decide_open([turn], pending)
                for _, error in pending.failed:
                    raise error
                if keys.make():
                    pending.seal(log._mapper)
                    return pending, reads
        raise Contended(attempts=_ATTEMPTS)

    def _handed(self, pending: Pending, reads: Collection[Stream]) -> Handed:
        places = count(pending.head.size + 1)
        rows = [decided.row for decided in pending.decided.values()]
        return Handed(
            self._attempt,
            pending.recorded_at,
            self._as_of,
            tuple(map(stream_name, reads)),
            tuple(map(stream_name, pending.histories)),
            tuple((row.command_id.bytes, *row[1:]) for row in rows),
            tuple(map(unplaced, places, pending.rows, pending.leaves)),
        )

    def _settle(self, sent: _Sent) -> None:
        """Takes in what was appended. A command that came again has its receipt, whatever it would
        be told now."""
        self._opened.put(sent.histories, sent.generation)
        if not self._sent:
            self._ahead.clear()
        # What was refused keeps its refusal, though its id was taken by another after it.
        taken = sent.commands.union(*(later.commands for later in self._sent))
        turn = sent.turn
        others = [
            at
            for at, (proposal, verdict) in enumerate(
                zip(turn.proposals, turn.verdicts, strict=True)
            )
            if at not in sent.appended and (verdict is None or proposal.command_id not in taken)
        ]
        seen = self._log.seen([turn.proposals[at] for at in others]) if others else ()
        for at, verdict in zip(others, seen, strict=True):
            turn.verdicts[at] = verdict or turn.verdicts[at]

    def _start_again(self, turns: Sequence[Turn], told: Again) -> None:
        """Looks at the log as it is, and which commands of what is open are in it."""
        self._attempt += 1
        self._sent.clear()
        self._ahead.clear()
        self._opened.clear(self._opened.generation)
        head = self._log.head()
        self._head = replace(head, recorded_at=max(head.recorded_at, told.recorded_at))
        self._as_of = told.size
        for turn in turns:
            turn.verdicts = list(self._log.seen(turn.proposals))

    def _read(self, stream: Stream) -> History:
        known = self._known(stream)
        if known is None:
            generation = self._forget_erased()
            known = self._log.history(stream)
            self._opened.put({stream: known}, generation)
        return known

    def _known(self, stream: Stream) -> History | None:
        known = self._ahead.get(stream)
        return self._opened.known(stream) if known is None else known

    def _recalled(self, stream: Stream, length: int, generation: int) -> Entries:
        """The first entries of a history that rested; LostRace where a key was destroyed since."""
        history = self._log.histories([stream])[stream]
        if self._log._forget_erased() != generation or len(history) < length:
            raise LostRace
        return history[:length]

    def _forget_erased(self) -> int:
        """Drops opened content from memory when any process destroyed a key."""
        generation = self._log._forget_erased()
        if generation != self._opened.generation:
            self._opened.clear(generation)
            self._mac = self._log._mac("id")
        return generation


def _after(pending: Pending) -> Head:
    """A head as far on as the batch leads it. What it stands on is hashed where it gets its place;
    nobody asks for it here."""
    size = pending.head.size + len(pending.leaves)
    return Head(Frontier(size, (EMPTY_ROOT,) * size.bit_count()), pending.recorded_at)


def _let_go(stream: Stream, history: History) -> None:
    """Whoever appends keeps what lasts; a process that only decides writes no snapshots."""
