"""Rebuilding views in several processes: each folds parts of the log, this one hands them out.

They are spawned, not forked, and open what they need by themselves. A process that is killed ends
the rebuild, not what it has folded so far; without the one that began it, each ends by itself.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, cast
from uuid import UUID

from api.hands import HandLost, hands, portable, received
from api.opening import opened_beside
from domain.cycles import searched_seldom
from infra.event_store import ClinicLog
from infra.settings import Settings
from infra.view_store import ViewStore
from projections.folding import LogReader
from projections.rebuild import Done, Hands, Part, PartStore, fold_part
from projections.view import View

_PARTS_EACH = 2
"""So many are under way with each process, so that none waits for the next."""
_PARTS_AHEAD = 8
"""For each process: so many may be done before one that comes first by name."""
_WORTH_IT = 20_000

__all__ = ["Crew", "HandLost", "Opening", "crew", "hands_for", "open_folding"]

Opening = Callable[[], AbstractContextManager[tuple[LogReader, PartStore]]]
"""Opens, in whichever process, the log and the tables of the views; it can be pickled."""


@contextmanager
def hands_for(
    settings: Settings, clinic: UUID, entries: int, views: Sequence[View[Any, Any]]
) -> Iterator[Hands | None]:
    """A process for each processor, where there are entries enough; else None: this one alone."""
    if entries < _WORTH_IT:
        yield None
        return
    with crew(partial(open_folding, settings, clinic), views, os.cpu_count() or 1) as folding:
        yield folding


@contextmanager
def open_folding(settings: Settings, clinic: UUID) -> Iterator[tuple[ClinicLog, ViewStore]]:
    """The log and the tables of views, for a process beside one that opened the service."""
    with opened_beside(settings, clinic) as (log, database, keyring):
        views = ViewStore(database.dsn("views"), clinic, keyring)
        try:
            yield log, views
        finally:
            views.close()


@contextmanager
def crew(opening: Opening, views: Sequence[View[Any, Any]], number: int) -> Iterator["Crew"]:
    """So many processes that fold these views, until the end of the block."""
    with hands(get_context("spawn"), number, _serve, lambda _: (opening, views)) as ends:
        yield Crew(ends)


class Crew:
    """Processes that fold parts."""

    def __init__(self, ends: Sequence[Connection]) -> None:
        self._ends = ends

    def work(
        self, views: Sequence[View[Any, Any]], round_: Any, parts: Iterator[Part]
    ) -> Iterator[Done]:
        """Folds and compares them; in their order. Raises what a process raised, or HandLost."""
        under_way: dict[Connection, deque[int]] = {end: deque() for end in self._ends}
        done: dict[int, Done] = {}
        given = told = 0
        while True:
            for end in self._free(under_way):
                if given - told >= _PARTS_AHEAD * len(self._ends):
                    break
                part = next(parts, None)
                if part is None:
                    break
                _send(end, round_, part)
                under_way[end].append(given)
                given += 1
            if given == told:
                return
            busy = [end for end, numbers in under_way.items() if numbers]
            for ready in wait(busy):
                end = cast(Connection, ready)
                done[under_way[end].popleft()] = _received(end)
            while told in done:
                yield done.pop(told)
                told += 1

    def _free(self, under_way: dict[Connection, deque[int]]) -> Iterator[Connection]:
        """Who has least to do, as long as somebody has less than is good."""
        while True:
            end = min(self._ends, key=lambda end: len(under_way[end]))
            if len(under_way[end]) >= _PARTS_EACH:
                return
            yield end


def _send(end: Connection, round_: Any, part: Part) -> None:
    try:
        end.send((round_, part))
    except ConnectionError:
        # It may have said why before it ended.
        _received(end)
        raise HandLost from None


def _received(end: Connection) -> Done:
    answer = received(end)
    assert isinstance(answer, Done)
    return answer


# --- In each process --------------------------------------------------------------------------


def _serve(end: Connection, opening: Opening, views: Sequence[View[Any, Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first one says when
    try:
        with searched_seldom(), opening() as (log, store):
            while True:
                round_, part = end.recv()
                end.send(fold_part(views, round_, part, log, store))
    except (EOFError, ConnectionError):
        return  # nobody is there any more
    except Exception as error:
        end.send(portable(error))
