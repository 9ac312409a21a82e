"""Sixteen writer processes and several workers on one clinic: nothing lost, nothing twice.

Every writer is a process with a log, a keyring and callers of its own; they share one clinic, as
the processes of several doors do. Meanwhile three `rapport work` keep the views. In the end the log
is gapless, every receipt's position is there once, `rapport verify` finds nothing, and every view
is rebuilt from the log and found equal to what the workers made of it while it was written.

Stock: as many writer processes and one subscriber, in its default mode, which locks the table for
each commit, and with POSTGRES_ENABLE_DB_FUNCTIONS, which does not, and whose subscribers miss
events: how many stands beside its rate.
"""

import time
from contextlib import ExitStack
from threading import Event, Thread

from benchmarks.harness import Contender, Effort, Measured, asked, compare
from benchmarks.invented import ENTRIES_EACH, InventedClinic, told
from benchmarks.places import Place, Unsound, place
from benchmarks.rebuilding_beside_the_live_views import rebuilt
from benchmarks.stock import environment, stock
from benchmarks.writers import CALLERS, processes, save, write
from projections.dossier import VIEWS

WRITERS = 16
WORKERS = 3
_STOCK_EVENTS = 2_000
"""Of all its writers together: enough to see losses, few enough to stay short."""


def ours(at: Place, entries: int) -> Contender:
    """All writers at once, for `seconds` at most; then the workers to the end of the log."""
    seeds = iter(range(100, 10**9))

    def contender(_: int, seconds: float) -> Measured:
        each = range(max(CALLERS, -(-entries // WRITERS // ENTRIES_EACH)))
        service = at.service
        place_of = (service.database.dsn("app"), service.clinic, str(at.home), each)
        with processes(WRITERS) as pool:
            before, began = service.log.head_size(), time.perf_counter()
            until = time.time() + seconds
            writing = [pool.submit(write, *place_of, next(seeds), until) for _ in range(WRITERS)]
            positions = [position for one in writing for position in one.result()]
            took = time.perf_counter() - began
        size = service.log.head_size()
        if sorted(positions) != list(range(before + 1, size + 1)):
            raise Unsound(f"{len(positions)} acknowledged, {size - before} in the log")
        if not service.views.wait_for([view.table for view in VIEWS.all()], size, timeout=1200):
            raise Unsound("the workers did not reach the end of the log")
        behind = time.perf_counter() - began - took
        return Measured(size - before, took, (), None, {"views_behind_s": behind, "lost": 0.0})

    return contender


def theirs(dsn: str, **mode: str) -> Contender:
    """The stock library with one subscriber; how many events it never saw stands beside."""
    # Its writers find tables and functions made; all making them at once, they fail.
    made = {"POSTGRES_POOL_SIZE": "2", "CREATE_TABLE": "n"}
    settings = {**environment(dsn), **made, **mode}

    def contender(_: int, __: float) -> Measured:
        with stock(dsn, POSTGRES_POOL_SIZE="5", **mode) as application:
            start = application.recorder.max_notification_id() or 0
            seen: set[int] = set()
            quiet = Event()
            subscription = application.recorder.subscribe(gt=start)

            def follow() -> None:
                for notification in subscription:
                    seen.add(notification.id)
                    quiet.clear()

            with subscription:
                follower = Thread(target=follow)
                follower.start()
                with processes(WRITERS) as pool:
                    began = time.perf_counter()
                    each = _STOCK_EVENTS // WRITERS
                    saved = sum(pool.map(save, [settings] * WRITERS, [each] * WRITERS))
                    took = time.perf_counter() - began
                while not quiet.is_set():  # until nothing came for two seconds
                    quiet.set()
                    time.sleep(2)
                subscription.stop()
                follower.join()
        return Measured(saved, took, (), None, {"lost": float(saved - len(seen))})

    return contender


def main(effort: Effort) -> None:
    """Prints the comparison; raises where anything of ours was lost or doubled."""
    with place() as at, ExitStack() as working:
        told(at.records, list(InventedClinic().founding())[:1])
        for _ in range(WORKERS):
            working.enter_context(at.process("work"))
        contenders = {
            "ours": ours(at, effort.entries),
            "stock": theirs(at.dsn()),
            "stock, DB functions": theirs(at.dsn(), POSTGRES_ENABLE_DB_FUNCTIONS="y"),
        }
        compare("writers", contenders, at, WRITERS, rounds=1, seconds=30 * effort.seconds)
        working.close()
        at.require_sound()
        rebuilt(at)


if __name__ == "__main__":
    main(asked())
