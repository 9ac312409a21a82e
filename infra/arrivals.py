"""Waiting until views cover a position: one connection listens, however many wait.

Whoever moves views on sends a notice with the commit. It is only a hint: positions are always read
from `rapport.tracking`, and they are looked at without any notice too.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from select import select
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection, sql
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow

APPENDED: Final = "rapport_log"
"""The channel on which an append is told (infra/recorder.py); the payload is the clinic's id."""
MOVED: Final = "rapport_views"
"""The channel on which it is told that views have moved on, in the same form."""
WAITED: Final = "rapport_waits"
"""The channel on which it is told that somebody has waited for views a while, in the same form."""

_POLL_SECONDS: Final = 0.25
_UNTOLD_SECONDS: Final = 0.004
"""So long somebody waits, and then says so: a worker that rests goes on."""
_SAID_SECONDS: Final = 0.5
"""So long it is not said again: the worker does not rest meanwhile (api/pacing.py)."""
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


class Listening:
    """A connection that is told on some channels what concerns one clinic.

    Past psycopg, which would make an object of each notice and a timer for each wait. But what
    comes with the answer to a statement that goes through a cursor, psycopg takes, and hands on.
    """

    def __init__(self, connection: Connection[Any], clinic: UUID, *channels: str) -> None:
        self._pgconn = connection.pgconn
        self._clinic = str(clinic)
        self._told: set[str] = set()
        """On which channels something was told that nobody has waited for since."""
        connection.add_notify_handler(lambda told: self._take(told.channel, told.payload))
        for channel in channels:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))

    def wait(self, channel: str, seconds: float, *, heed: bool = True) -> bool:
        """Whether something was told there within so many seconds; notices that came together are
        one.

        What was told before counts. Not to `heed` notices is to wait for all of the time. Raises
        OperationalError where the connection was lost.
        """
        until = time.monotonic() + seconds
        while True:
            while (notice := self._pgconn.notifies()) is not None:
                self._take(notice.relname.decode(), notice.extra.decode())
            told = channel in self._told and heed
            self._told.discard(channel)
            left = until - time.monotonic()
            if told or left <= 0:
                return told
            if select([self._pgconn.socket], [], [], left)[0]:
                self._pgconn.consume_input()

    def _take(self, channel: str, payload: str) -> None:
        if payload == self._clinic:
            self._told.add(channel)


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody who waits until all these tables cover the position."""

    tables: Collection[str]
    position: int
    called: Event = field(default_factory=Event)

    def call_if(self, positions: Mapping[str, int]) -> bool:
        """Calls who is served where the views stand at these positions."""
        if all(positions.get(name, -1) >= self.position for name in self.tables):
            self.called.set()
        return self.called.is_set()


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
        self._positions: Mapping[str, int] | None = None
        """Where the views stand, as far as notices tell; None: nobody has looked since."""
        self._listener: Thread | None = None
        self._said_at = -math.inf
        """When it was last said that somebody waits."""
        self._closed = Event()

    def close(self) -> None:
        """Ends the listening."""
        self._closed.set()
        if self._listener is not None:
            self._listener.join()

    def wait(
        self,
        tables: Collection[str],
        position: int,
        timeout: float,
        look: Callable[[], Mapping[str, Tracked]],
        say: Callable[[], object],
    ) -> bool:
        """Waits until all these views cover `position`; False after `timeout` seconds.

        `look` tells where they stand. It is asked where no notice is sure to come any more. `say`
        tells the worker that somebody waits.
        """
        waiter = _Waiter(tables, position)
        with self._lock:
            self._waiters.add(waiter)
            self._listen()
            known = self._positions
        try:
            return (
                waiter.call_if(_positions(look()) if known is None else known)
                or waiter.called.wait(min(timeout, _UNTOLD_SECONDS))
                or self._waits_on(waiter, timeout - _UNTOLD_SECONDS, say)
                or waiter.call_if(_positions(look()))
            )
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _waits_on(self, waiter: _Waiter, seconds: float, say: Callable[[], object]) -> bool:
        if seconds <= 0:
            return False
        now = time.monotonic()
        if now - self._said_at >= _SAID_SECONDS:  # for all of this process
            self._said_at = now
            say()
        return waiter.called.wait(seconds)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = Thread(target=self._call_all, name="arrivals", daemon=True)
            self._listener.start()

    def _call_all(self) -> None:
        while not self._closed.is_set():
            try:
                with Connection[Any].connect(self._conninfo, autocommit=True) as connection:
                    listening = Listening(connection, self._clinic, MOVED)
                    looking = _Looking(connection, self._clinic)
                    while not self._closed.is_set():
                        self._look(looking)
                        listening.wait(MOVED, _POLL_SECONDS)
            except psycopg.Error as error:
                _log.warning("who waits for views is not called: %s", type(error).__name__)
                self._closed.wait(_PAUSE_SECONDS)
            finally:
                self._positions = None

    def _look(self, looking: "_Looking") -> None:
        """One look at the positions for all who wait; none where nobody does."""
        with self._lock:
            if not self._waiters:
                self._positions = None
                return
        positions = looking.positions()
        with self._lock:
            # Whoever has come since finds these, or is called by the notice of what came since.
            self._positions = positions
            for waiter in self._waiters:
                waiter.call_if(positions)


class _Looking:
    """Where a clinic's views stand, asked again and again on one connection.

    The statement goes to libpq as it is: those who wait are threads of this process, and a cursor
    would let go of the interpreter several times before they are called.
    """

    def __init__(self, connection: Connection[Any], clinic: UUID) -> None:
        self._pgconn = connection.pgconn
        self._clinic = str(clinic).encode()
        self._done(self._pgconn.prepare(_NAME, _ALL))

    def positions(self) -> Mapping[str, int]:
        """By table. Raises psycopg's errors."""
        found = self._done(self._pgconn.exec_prepared(_NAME, [self._clinic]))
        return {
            (found.get_value(row, 0) or b"").decode(): int(found.get_value(row, 1) or 0)
            for row in range(found.ntuples)
        }

    def _done(self, result: PGresult) -> PGresult:
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return result
        raise psycopg.errors.error_from_result(result)


def _positions(found: Mapping[str, Tracked]) -> Mapping[str, int]:
    return {name: at.position for name, at in found.items()}


_TRACKED: Final = (
    "SELECT view, position, build FROM rapport.tracking WHERE clinic = %s AND view = ANY(%s)"
)
_NAME: Final = b"positions"
_ALL: Final = b"SELECT view, position FROM rapport.tracking WHERE clinic = $1::uuid"
