"""Catching up by every processor: processes beside a worker fold a share of what it writes.

They are begun where there is first much to catch up with, and take part once they are ready; the
worker does not wait for them. They open what they need by themselves, hold nothing that PostgreSQL
locks, and hand over what they folded in bytes. One that is killed costs the transaction in hand.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast
from uuid import UUID

from api.hands import HandLost, hands, portable, received
from api.rebuilding import open_folding
from domain.cycles import searched_seldom
from infra.settings import Settings
from projections.folding import Folds
from projections.sharing import Dealing, Done, Hand, Preparing, Share, SharedLog
from projections.view import View

_SHARES_EACH = 2
"""So many are under way with each process, so that none waits for the next."""
_KEPT_SECONDS = 60.0
_LOOK_SECONDS = 0.5

_READY = "ready"

Opening = Callable[[], AbstractContextManager[tuple[SharedLog, Preparing]]]
"""Opens, in whichever process, the log and the tables of the views; it can be pickled."""


@contextmanager
def helpers_for(
    settings: Settings, clinic: UUID, views: Sequence[View[Any, Any]]
) -> Iterator["Helpers"]:
    """For each processor but one a process, once there is much to do."""
    with helpers(partial(open_folding, settings, clinic), views, (os.cpu_count() or 1) - 1) as its:
        yield its


@contextmanager
def helpers(opening: Opening, views: Sequence[View[Any, Any]], number: int) -> Iterator["Helpers"]:
    """So many processes, of whom none is begun yet; all have ended at the end of the block."""
    beginning = partial(hands, get_context("spawn"), number, _serve, lambda _: (opening, views))
    its = Helpers(beginning)
    try:
        yield its
    finally:
        its.end()


class Helpers:
    """Processes that fold shares."""

    def __init__(
        self, beginning: Callable[[], AbstractContextManager[Sequence[Connection]]]
    ) -> None:
        self._beginning = beginning
        self._begun: ExitStack | None = None
        self._ends: Sequence[Connection] = ()
        self._ready: list[Connection] = []
        self._used = 0.0

    def ready(self, *, begin: bool) -> int:
        """How many can take a share. Where there is enough for it, they `begin`. HandLost."""
        self._used = time.monotonic()
        if self._begun is None and begin:
            self._begun = ExitStack()
            self._ends = self._begun.enter_context(self._beginning())
        try:
            for end in self._ends:
                if end not in self._ready and end.poll():
                    received(end)
                    self._ready.append(end)
        except BaseException:
            self.end()
            raise
        return len(self._ready)

    def work(self, dealing: Dealing, fold: Callable[[Share], Done]) -> Iterator[Done]:
        """What all shares come to, in any order; this process does its own by `fold`, as hand 0.

        Raises what a process raised, or HandLost; then all of them have ended.
        """
        under_way = dict.fromkeys(self._ready, 0)
        try:
            while True:
                for hand, end in enumerate(self._ready, 1):
                    while under_way[end] < _SHARES_EACH and (its := dealing.next(hand)):
                        _send(end, its)
                        under_way[end] += 1
                mine = dealing.next(0)
                if mine is not None:
                    yield fold(mine)
                busy = [end for end, shares in under_way.items() if shares]
                if mine is None and not busy:
                    return
                for ready in wait(busy, timeout=None if mine is None else 0):
                    end = cast(Connection, ready)
                    under_way[end] -= 1
                    yield received(end)
        except BaseException:
            self.end()
            raise

    def rest(self) -> None:
        """Nothing is to be shared at the moment: after a while the processes end."""
        if self._begun is not None and time.monotonic() > self._used + _KEPT_SECONDS:
            self.end()

    def end(self) -> None:
        """Ends them; they are begun anew when they are needed."""
        begun, self._begun, self._ends, self._ready = self._begun, None, (), []
        if begun is not None:
            begun.close()


def _send(end: Connection, share: Share) -> None:
    try:
        end.send(share)
    except ConnectionError:
        received(end)  # it may have said why before it ended
        raise HandLost from None


# --- In each process --------------------------------------------------------------------------


def _serve(end: Connection, opening: Opening, views: Sequence[View[Any, Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first one says when
    try:
        with searched_seldom(), opening() as (log, store), _telling(end) as tell:
            hand = Hand({view.table: Folds(view) for view in views}, log, store)
            tell(_READY)
            while True:
                if end.poll(_LOOK_SECONDS):
                    tell(hand.fold(end.recv()))
                else:
                    hand.look()  # nothing that a destroyed key sealed stays
    except (EOFError, ConnectionError):
        return  # nobody is there any more
    except Exception as error:
        end.send(portable(error))


@contextmanager
def _telling(end: Connection) -> Iterator[Callable[[Any], None]]:
    """What answers without waiting until it is read: the worker writes in between."""
    answers = SimpleQueue[Any]()

    def tell() -> None:
        with suppress(ConnectionError):  # nobody is there any more, which is noticed by who asks
            while (answer := answers.get()) is not None:
                end.send_bytes(answer)

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield lambda answer: answers.put(ForkingPickler.dumps(answer))
    finally:
        answers.put(None)
        thread.join()
