"""The worker: keeps the views at the end of the log, and the hashes that proofs begin from.

It is woken by a notice, which is only a hint: it looks by itself every half second, also for
destroyed keys, so that nothing they sealed stays in its memory. Any number of workers may run. One
of them leads and answers notices, by one statement for all views where nobody else has moved one
since (infra/view_steps.py). The others look now and then, and go on where nothing moves. What
takes more than a statement is done by whoever holds a view's row, in one transaction with its rows,
and the others pass on.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event
from typing import Any, Protocol

from api.composition import UNAVAILABLE
from api.pacing import Pace
from api.rebuilding import HandLost
from api.sharing import Helpers
from domain.cycles import searched_seldom, searched_when_quiet
from domain.event import History, RecordedEvent, Stream
from infra.arrivals import Tracked
from infra.tiles import SubtreeFiller
from infra.view_store import RebuildRunning, Standing, Steps, ViewStore, Writer
from projections.folding import Batch, Folds
from projections.rebuild import Hands, SizedLog, rebuild
from projections.sharing import Dealt, Hand, SharedLog, Span, Stretch
from projections.view import View, up_to

_ENTRIES_AT_ONCE = 5_000
_ENTRIES_IN_A_STEP = 2_000
"""More than so many go through a pipeline, by which PostgreSQL writes while the next are folded."""
_WORTH_SHARING = 3_000
_WORTH_BEGINNING = 15_000
"""By more than so many entries a worker is behind before others help, and before they are begun for
it: that takes a second of a processor."""
_ENTRIES_SHARED = 20_000
"""So many are shared in a transaction."""
_FAR_BEHIND = 100_000
_POLL_SECONDS = 0.5
_IDLE_SECONDS = 0.05
_PAUSE_SECONDS = 1.0

_PASSES: tuple[type[Exception], ...] = (*UNAVAILABLE, HandLost)


class WorkedLog(SizedLog, SharedLog, Protocol):
    """The log, of which a step selects rows on its own connection."""

    def scanned(self, rows: Sequence[Any]) -> Sequence[RecordedEvent]: ...
    def stretches(self, category: str, after: int, upto: int) -> list[tuple[str, int, int]]: ...


HandsFor = Callable[[int, Sequence[View[Any, Any]]], AbstractContextManager[Hands | None]]

_log = logging.getLogger("rapport.views")


class Worker:
    """Moves one clinic's views along its log."""

    def __init__(
        self,
        views: Sequence[View[Any, Any]],
        log: WorkedLog,
        store: ViewStore,
        *,
        entries_at_once: int = _ENTRIES_AT_ONCE,
        far_behind: int = _FAR_BEHIND,
        subtrees: SubtreeFiller | None = None,
        hands: HandsFor = lambda entries, views: nullcontext(),
        helpers: Helpers | None = None,
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        """`far_behind`: by how many entries, and by more than half of the log, before views are
        rebuilt instead of moved along.
        `hands`: who folds so many entries of views that are rebuilt; None: this process alone.
        `helpers`: who folds a share of what views are moved along by, where that is much.
        `subtrees`: keeps the hashes that proofs begin from; None: somebody else does.
        `idle`: is called while nothing is appended, if this worker leads, and does a little; it
        says whether there is more."""
        self._views = {view.table: view for view in views}
        self._folds = {view.table: Folds(view) for view in views}
        self._log = log
        self._store = store
        self._entries_at_once = entries_at_once
        self._far_behind = far_behind
        self._subtrees = subtrees
        self._hands = hands
        self._helpers = helpers
        self._dealt = Dealt()
        self._hand = Hand(self._folds, log, store)
        self._idle = idle
        self._generation: int | None = None
        self._reached = 0
        """The position that all views had reached when they were last moved here."""
        self._steps: Steps | None = None
        self._standing: Standing | None = None
        self._behind_at: Mapping[str, int] = {}
        store.make(views)
        for name in store.tracked(self._views):
            # Built by an earlier run: whoever still reads an older version has had time to stop.
            store.forget_older(self._views[name])

    def catch_up(self) -> None:
        """Brings every view to the end of the log, except those another worker is moving."""
        if self._steps is None:
            with searched_seldom():
                self._catch_up()
        elif self._steps.leads():
            if not (self._steps.called and self._stepped(self._steps)):
                self._standing = None
                self._catch_up()
        elif self._nobody_moves():
            self._catch_up()

    def _catch_up(self) -> None:
        head, tracked = self._store.standing(self._views)
        if due := self._due(head, tracked):
            self._build(due, head)
            head, tracked = self._store.standing(self._views)
        self.settle()
        behind = any(place.position < head for place in tracked.values())
        while behind:
            behind = self._step(head)
            self.settle()
        if self._helpers is not None:
            self._helpers.rest()
        self._reached = head
        if self._subtrees is not None:
            self._subtrees.fill(head)

    def run(self, stop: Event) -> None:
        """Works until `stop` is set; outlives lost connections."""
        while not stop.is_set():
            try:
                with searched_when_quiet() as turned, self.listening() as steps:
                    more, pace = False, Pace()
                    while not stop.is_set():
                        pace.begins(time.monotonic())
                        self.catch_up()
                        pace.reached(self._reached)
                        steps.wait(_IDLE_SECONDS if more else _POLL_SECONDS)
                        turned(not steps.called)
                        more = steps.leads() and not steps.called and self._idle()
                        if steps.rest(pace.rest(time.monotonic())):
                            pace.urged(time.monotonic())
            except _PASSES as error:
                _log.warning("views wait: %s", type(error).__name__)
                self._forget()
                stop.wait(_PAUSE_SECONDS)

    @contextmanager
    def listening(self) -> Iterator[Steps]:
        """Meanwhile appends are told, and `catch_up` answers by a step where this worker leads."""
        with self._store.stepping(self._views.values()) as steps:
            self._steps = steps
            try:
                yield steps
            finally:
                self._steps = self._standing = None

    def _nobody_moves(self) -> bool:
        """Whether views are behind, and stand where they stood when this was last asked."""
        self._forget()
        head, tracked = self._store.standing(self._views)
        found = {name: place.position for name, place in tracked.items()}
        if len(found) == len(self._views) and all(at >= head for at in found.values()):
            found = {}
        stand_still = bool(found) and found == self._behind_at
        self._behind_at = found
        return stand_still

    def _stepped(self, steps: Steps) -> bool:
        """All views at the end of the log, by a statement for each step; False where it takes more.

        Then memory is ahead of the tables for the streams concerned, which versions tell.
        """
        if not self.settle():
            return False
        standing = self._standing or steps.standing()
        if standing is None:
            return False
        entries = self._log.scanned(steps.rows_past(standing.position, _ENTRIES_IN_A_STEP))
        if len(entries) == _ENTRIES_IN_A_STEP:
            return False
        if entries:
            batch = Batch(entries, self._log)
            changes = {
                name: list(folds.changes(batch, standing.parked[name]))
                for name, folds in self._folds.items()
            }
            standing = steps.taken(standing, changes, entries[-1].position)
        self._standing = standing
        if standing is None:
            return False
        self._reached = standing.position
        if self._subtrees is not None:
            self._subtrees.fill(standing.position, steps.connection)
        return self.settle()

    def _due(self, head: int, tracked: Mapping[str, Tracked]) -> list[View[Any, Any]]:
        """Views that were never built, are far behind, or tell of entries that there are not."""

        # To move them along takes about as long for an entry, and leaves out those that it covers.
        far = max(self._far_behind, head // 2)

        def stands(name: str) -> bool:
            return name in tracked and 0 <= head - tracked[name].position <= far

        return [view for name, view in self._views.items() if not stands(name)]

    def _build(self, due: Sequence[View[Any, Any]], head: int) -> None:
        """Folds them stream by stream instead of moving them along."""
        _log.info("building %s", ", ".join(view.table for view in due))
        try:
            with self._hands(head, due) as hands:
                rebuild(due, self._log, self._store, compare=False, hands=hands)
        except RebuildRunning as running:
            _log.info("%s is being built by another process", running)

    def settle(self) -> bool:
        """After a key was destroyed: nothing that it sealed stays, in memory or in a row.

        False where another worker is moving a view; that one does the same to it.
        """
        generation = self._store.generation()
        if generation == self._generation:
            return True
        self._forget()
        erased = {
            category: [Stream.parse(name) for name in self._store.erased_streams(category)]
            for category in {view.category for view in self._views.values()}
        }
        with self._store.advancing(self._views.values()) as writers:
            for name, writer in writers.items():
                # What could not be read before a release or a restored ring may be read now.
                again = map(Stream.parse, writer.parked())
                for stream in {*erased[self._views[name].category], *again}:
                    self._refold(writer, name, stream)
        if len(writers) == len(self._store.tracked(self._views)):
            self._generation = generation
        return self._generation == generation

    def _forget(self) -> None:
        """Holds nothing opened any more: a key was destroyed, or nobody can say."""
        self._generation = self._standing = None
        for folds in self._folds.values():
            folds.clear()

    def _refold(self, writer: Writer, name: str, stream: Stream) -> None:
        (whole,) = self._log.scan_streams([stream])
        history: History = up_to(whole, writer.position)
        if history:
            writer.write([self._folds[name].refold(stream, history)])

    def _step(self, head: int) -> bool:
        """One batch for every view that can be moved; whether there may be more to do.

        Views that stand at one position share one reading of the log; one that lags is led to the
        next position where others stand, so that they soon share all of it.
        """
        more = False
        with self._store.advancing(self._views.values()) as writers:
            positions = sorted({writer.position for writer in writers.values()})
            if len(positions) == 1 and self._helped(head - positions[0]):
                upto = min(head, positions[0] + _ENTRIES_SHARED)
                self._shared(writers, positions[0], upto)
                return upto < head
            for start, following in zip(positions, [*positions[1:], None], strict=False):
                limit = self._entries_at_once
                if following is not None:
                    limit = min(limit, following - start)
                entries = self._log.scan(start, limit)
                if not entries:
                    continue
                more = more or len(entries) == limit
                batch = Batch(entries, self._log)
                for name, writer in _standing_at(start, writers):
                    writer.write(self._folds[name].changes(batch, writer.parked()))
                    writer.move(entries[-1].position)
        return more

    def _helped(self, behind: int) -> int:
        """How many others take a share of so many entries; they may be about to begin."""
        if self._helpers is None or behind <= _WORTH_SHARING:
            return 0
        return self._helpers.ready(begin=behind > _WORTH_BEGINNING)

    def _shared(self, writers: Mapping[str, Writer], after: int, upto: int) -> None:
        """All views moved from one position to another, by all hands."""
        assert self._helpers is not None, "it was asked"
        builds = {name: writer.build.id for name, writer in writers.items()}
        parked = {name: frozenset(writer.parked()) for name, writer in writers.items()}
        categories = {self._views[name].category for name in writers}
        stretches = [
            Stretch(*found)
            for category in sorted(categories)
            for found in self._log.stretches(category, after, upto)
        ]
        hands = 1 + self._helpers.ready(begin=False)
        dealing = self._dealt.over(hands, Span(after, upto, builds, parked), stretches)
        for done in self._helpers.work(dealing, self._hand.fold):
            for name, prepared in done.prepared.items():
                writers[name].put(prepared)
            if done.keys != self._generation:
                self._generation = None  # streams that were erased are to be folded again
        for writer in writers.values():
            writer.move(upto)


def _standing_at(position: int, writers: Mapping[str, Writer]) -> list[tuple[str, Writer]]:
    return [(name, writer) for name, writer in writers.items() if writer.position == position]
