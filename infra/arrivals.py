"""Waiting until views cover a position: one connection listens, however many wait.

Whoever moves views on sends a notice with the commit. It is only a hint: positions are always read
from `rapport.tracking`, and they are looked at without any notice too.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection, sql
from psycopg.rows import DictRow, dict_row

APPENDED: Final = "rapport_log"
"""The channel on which an append is told (infra/recorder.py); the payload is the clinic's id."""
MOVED: Final = "rapport_views"
"""The channel on which it is told that views have moved on, in the same form."""

_POLL_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 0.25

_log = logging.getLogger("rapport.views")


class Tracked(NamedTuple):
    """Where a clinic's view stands, and which rows of its table are the ones to read."""

    position: int
    build: UUID


def tracked(conn: Connection[DictRow], clinic: UUID, tables: Iterable[str]) -> dict[str, Tracked]:
    """Where those of the views stand that were built, by table."""
    rows = conn.execute(_TRACKED, (clinic, list(tables)), prepare=True)
    return {row["view"]: Tracked(row["position"], row["build"]) for row in rows}


def notices(connection: Connection[Any], channel: str, clinic: UUID, poll: float) -> Iterator[None]:
    """At once, then after each notice for the clinic, or after `poll` seconds without any.

    Who looks at each step misses nothing; notices that came together make one step.
    """
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    payload = str(clinic)
    while True:
        yield
        until = time.monotonic() + poll
        while (left := until - time.monotonic()) > 0:
            # All that came with the first one, too: they say the same.
            if payload in [n.payload for n in connection.notifies(timeout=left, stop_after=1)]:
                break


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody who waits until all these tables cover the position."""

    tables: Collection[str]
    position: int
    called: Event = field(default_factory=Event)

    def is_served_by(self, found: Mapping[str, Tracked]) -> bool:
        return all(name in found and found[name].position >= self.position for name in self.tables)


class Arrivals:
    """Calls those who wait once the views have come that far. Safe to share between threads.

    Its thread and its connection begin with the first who waits. A waiter holds neither.
    """

    def __init__(self, conninfo: str, clinic: UUID) -> None:
        """`conninfo`: sessions that see this clinic."""
        self._conninfo = conninfo
        self._clinic = clinic
        self._lock = Lock()
        self._waiters: set[_Waiter] = set()
        self._listener: Thread | None = None
        self._closed = Event()

    def close(self) -> None:
        """Ends the listening."""
        self._closed.set()
        if self._listener is not None:
            self._listener.join()

    @contextmanager
    def waiter(self, tables: Collection[str], position: int) -> Iterator[_Waiter]:
        """A waiter who is called from now on; who looks after this begins misses nothing."""
        waiter = _Waiter(tables, position)
        with self._lock:
            self._waiters.add(waiter)
            if self._listener is None:
                self._listener = Thread(target=self._listen, name="arrivals", daemon=True)
                self._listener.start()
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                with Connection[DictRow].connect(
                    self._conninfo, row_factory=dict_row, autocommit=True
                ) as connection:
                    for _ in notices(connection, MOVED, self._clinic, _POLL_SECONDS):
                        if self._closed.is_set():
                            return
                        self._call(connection)
            except psycopg.Error as error:
                _log.warning("who waits for views is not called: %s", type(error).__name__)
                self._closed.wait(_PAUSE_SECONDS)

    def _call(self, connection: Connection[DictRow]) -> None:
        """One look at the positions for all who wait."""
        with self._lock:
            waiters = list(self._waiters)
        if not waiters:
            return
        tables = {name for waiter in waiters for name in waiter.tables}
        found = tracked(connection, self._clinic, tables)
        for waiter in waiters:
            if waiter.is_served_by(found):
                waiter.called.set()


_TRACKED: Final = (
    "SELECT view, position, build FROM rapport.tracking WHERE clinic = %s AND view = ANY(%s)"
)
