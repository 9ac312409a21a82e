"""One sealed view moved along to the end of the log, exactly once, beside the stock runner.

Each round appends entries that no view has seen; then each contender brings its view to the end.
Ours as `rapport work` does: by a process for each processor, begun when there is first much to do.
Stock: its projection runner on as many events of its own as it manages in a few seconds, one plain
row each. Bare: the same plain rows by a hand-written batch, COPY and position in one transaction.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing import active_children
from typing import Any
from uuid import uuid4

import psutil
import psycopg

from api.sharing import helpers_for
from api.worker import Worker
from benchmarks.harness import Contender, Effort, Measured, asked, compare, timed
from benchmarks.invented import InventedClinic, told
from benchmarks.places import Place, place
from benchmarks.stock import Stock, noted, runner, stock
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from projections.view import View

_AT_ONCE = 5_000


def _cpu_of_helpers() -> float:
    """Of the processes that this one has begun, so far."""
    found = [psutil.Process(child.pid).cpu_times() for child in active_children()]
    return float(sum(times.user + times.system for times in found))


@contextmanager
def moved(at: Place, *views: View[Any, Any]) -> Iterator[Contender]:
    """A worker of the product for these views, at the end of the log as it is now."""
    service = at.service
    store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
    with helpers_for(service.settings, service.clinic, views) as helpers:
        # Never so far behind that it would rather rebuild: that is another benchmark.
        worker = Worker(views, service.log, store, far_behind=10**9, helpers=helpers)
        worker.catch_up()

        def position() -> int:
            return min(store.tracked([one.table])[one.table].position for one in views)

        def work() -> int:
            before = position()
            worker.catch_up()
            return position() - before

        def contender(_: int, __: float) -> Measured:
            used = _cpu_of_helpers()
            done = timed(work)
            own = done.cpu_seconds or 0.0
            return replace(done, cpu_seconds=own + _cpu_of_helpers() - used)

        try:
            yield contender
        finally:
            store.close()


def run(application: Stock, dsn: str) -> Contender:
    """The stock library's runner, from where its view stands to its last event."""

    def work() -> int:
        before = application.recorder.max_notification_id() or 0
        with runner(dsn) as running:
            covered = running.view.max_tracking_id(application.name) or 0
            running.wait(before, timeout=60)
        return before - covered

    return lambda _, __: timed(work)


def batched(dsn: str) -> Contender:
    """Plain rows in batches of five thousand, position and rows in one transaction."""
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE plain (position bigint PRIMARY KEY, stream uuid, said bytea)")
        conn.execute("CREATE TABLE plain_position AS SELECT 0::bigint AS position")

    def work() -> int:
        done = 0
        with psycopg.connect(dsn) as conn:
            while moved := _batch(conn):
                done += moved
        return done

    return lambda _, __: timed(work)


def _batch(conn: psycopg.Connection) -> int:
    with conn.transaction():
        row = conn.execute("SELECT position FROM plain_position FOR UPDATE").fetchone()
        assert row is not None
        events = conn.execute(
            "SELECT notification_id, originator_id, state FROM stock_events "
            "WHERE notification_id > %s ORDER BY notification_id LIMIT %s",
            (row[0], _AT_ONCE),
        ).fetchall()
        if not events:
            return 0
        with conn.cursor().copy("COPY plain FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "uuid", "bytea"])
            for event in events:
                copy.write_row(event)
        conn.execute("UPDATE plain_position SET position = %s", (events[-1][0],))
        return len(events)


def main(effort: Effort) -> None:
    """Prints the comparison."""
    with ExitStack() as opened:
        at = opened.enter_context(place())
        application = opened.enter_context(stock(at.dsn()))
        clinic = InventedClinic()
        told(at.records, list(clinic.founding()))
        contenders = {
            "ours, timeline": opened.enter_context(moved(at, VIEWS.timeline)),
            "ours, alliance course": opened.enter_context(moved(at, VIEWS.alliance_course)),
            "ours, the six others": opened.enter_context(moved(at, *VIEWS.all()[2:])),
            "stock runner": run(application, at.dsn()),
            "bare batches": batched(at.dsn()),
        }

        def append() -> None:
            told(at.records, list(clinic.proposals(effort.entries)))
            for _ in range(4):
                stream = uuid4()
                application.save(*(noted(stream, version) for version in range(1, 1001)))

        compare("catch-up", contenders, at, rounds=effort.rounds, before=append)
        at.require_sound()


if __name__ == "__main__":
    main(asked())
