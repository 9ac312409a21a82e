"""How soon a view shows what was acknowledged, at 500 commands a second.

Sixteen callers record at an even pace; after each receipt its caller waits until the views of that
entry cover it, by the product's own waiting, as a reader who names the position does. The worker is
a process of its own, `rapport work`. Stock: its runner beside it; its callers look every half
millisecond, since its own `wait()` sleeps for 100.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import psutil

from benchmarks.harness import Contender, Effort, Measured, asked, compare
from benchmarks.invented import Case, InventedClinic, told
from benchmarks.places import Place, Unsound, place
from benchmarks.stock import Stock, noted, runner, stock
from projections.dossier import VIEWS

RATE = 500
CALLERS = 16
_VIEWS = (VIEWS.timeline.table, VIEWS.alliance_course.table)

Write = Callable[[], int]
"""Records one command; its position."""
Seen = Callable[[int], bool]
"""Waits until that position is covered; False if it gave up."""


def paced(seconds: float, writes: list[Write], seen: Seen) -> Measured:
    """Records RATE commands a second, each seen before its caller records the next.

    Latencies are from the receipt until it is seen; who is late for a turn takes it at once.
    """
    waits: list[float] = []
    whole: list[float] = []
    failures: list[BaseException] = []
    began, used = time.perf_counter() + 0.05, time.process_time()

    def run(caller: int, write: Write) -> None:
        try:
            for turn in range(caller, int(RATE * seconds), len(writes)):
                time.sleep(max(0.0, began + turn / RATE - time.perf_counter()))
                start = time.perf_counter()
                position = write()
                written = time.perf_counter()
                if not seen(position):
                    raise Unsound(f"position {position} was not seen")
                end = time.perf_counter()
                waits.append(end - written)
                whole.append(end - start)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(writes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    took, cpu = time.perf_counter() - began, time.process_time() - used
    both = sorted(whole)
    facts = {
        "write_and_wait_p50_ms": both[len(both) // 2] * 1000,
        "write_and_wait_p99_ms": both[int(len(both) * 0.99)] * 1000,
    }
    return Measured(len(waits), took, waits, cpu, facts)


def ours(at: Place, cases: list[Case], worker: psutil.Process) -> Contender:
    """Ratings of the alliance, seen in the timeline and in the alliance's course."""

    def write_of(case: Case) -> Write:
        def write() -> int:
            proposal = case.rating()
            return at.note(at.records.record(proposal.command, proposal.author)).position

        return write

    def seen(position: int) -> bool:
        return at.service.views.wait_for(_VIEWS, position, timeout=10)

    def contender(_: int, seconds: float) -> Measured:
        used = sum(worker.cpu_times()[:2])
        measured = paced(seconds, [write_of(case) for case in cases], seen)
        used = sum(worker.cpu_times()[:2]) - used
        facts = {**measured.facts, "worker_us": used / measured.operations * 1e6}
        return replace(measured, facts=facts)

    return contender


def theirs(application: Stock, dsn: str) -> Contender:
    """Events of the stock library, seen in its view of plain rows."""

    def write_of() -> Write:
        stream, version = uuid4(), 0

        def write() -> int:
            nonlocal version
            version += 1
            (recording,) = application.save(noted(stream, version))
            return int(recording.notification.id)

        return write

    def contender(_: int, seconds: float) -> Measured:
        with runner(dsn) as running:

            def seen(position: int) -> bool:
                until = time.monotonic() + 10
                while (running.view.max_tracking_id(application.name) or 0) < position:
                    if time.monotonic() > until:
                        return False
                    time.sleep(0.0005)
                return True

            return paced(seconds, [write_of() for _ in range(CALLERS)], seen)

    return contender


def main(effort: Effort) -> None:
    """Prints the comparison."""
    with place() as at, stock(at.dsn()) as application:
        clinic, cases = InventedClinic(), []
        told(at.records, list(clinic.founding()))
        for _ in range(CALLERS):
            before, case = clinic.case()
            told(at.records, [*before, *case.opening(), *case.session(0)])
            cases.append(case)
        with at.process("work") as working:
            if not at.service.views.wait_for(_VIEWS, at.service.log.head_size(), timeout=30):
                raise Unsound("rapport work built no views")
            contenders = {
                "ours": ours(at, cases, psutil.Process(working.pid)),
                "stock eventsourcing": theirs(application, at.dsn()),
            }
            compare(
                "write to visible", contenders, at, CALLERS,
                rounds=effort.rounds, seconds=2 * effort.seconds,
            )  # fmt: skip
        at.require_sound()


if __name__ == "__main__":
    main(asked())
