"""`rapport rebuild` of every view, while people read them and the clinic goes on writing.

Ours is the command as an operator runs it, its start included: it must find both builds equal.
Meanwhile one thread reads a relationship's timeline again and again, and another records; how long
each of them waited at most stands beside the rate.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.worker import Worker
from benchmarks.harness import Contender, Effort, Measured, asked, compare
from benchmarks.invented import Case, InventedClinic, told
from benchmarks.places import Place, Unsound, place
from infra.view_store import ViewStore
from projections.dossier import VIEWS


def build(at: Place) -> float:
    """Brings all views to the end of the log, as a worker does; in how many seconds."""
    service = at.service
    store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
    began = time.perf_counter()
    try:
        Worker(VIEWS.all(), service.log, store).catch_up()
    finally:
        store.close()
    return time.perf_counter() - began


def rebuilt(at: Place) -> Measured:
    """`rapport rebuild`: entries a second, all views together."""
    size = at.service.log.head_size()
    done = at.watched("rebuild")
    unequal = [view["view"] for view in done.answer["views"] if view["equal"] is not True]
    if unequal:
        raise Unsound(f"rebuilt views are not equal to the live ones: {unequal}")
    return done.measured(size)


@contextmanager
def again(pause: float, once: Callable[[], object]) -> Iterator[list[float]]:
    """Does it again and again beside the block; how long each took (seconds)."""
    stop, took = threading.Event(), [0.0]
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.wait(pause):
                began = time.perf_counter()
                once()
                took.append(time.perf_counter() - began)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def beside_readers_and_writers(at: Place, case: Case) -> Contender:
    """The rebuild, with how long a reader and a writer waited meanwhile."""
    views = at.service.views

    def read() -> None:
        if views.read(VIEWS.timeline, stream=str(case.stream), limit=50) is None:
            raise Unsound("the timeline could not be read")

    def write() -> None:
        proposal = case.rating()
        at.note(at.records.record(proposal.command, proposal.author))

    def contender(_: int, __: float) -> Measured:
        with again(0.02, read) as reads, again(0.02, write) as writes:
            done = rebuilt(at)
        waited = {"longest_read_ms": max(reads) * 1000, "longest_write_ms": max(writes) * 1000}
        facts = {**done.facts, **waited}
        return Measured(done.operations, done.seconds, (), done.cpu_seconds, facts)

    return contender


def main(effort: Effort) -> None:
    """Prints how long it took, with nobody there and beside readers and writers."""
    with place() as at:
        clinic = InventedClinic()
        told(at.records, list(clinic.founding()))
        before, case = clinic.case()
        told(at.records, [*before, *case.opening(), *case.session(0)])
        clinic.fill(at.records, effort.entries)
        build(at)
        contenders = {
            "ours": lambda _, __: rebuilt(at),
            "ours, read and written": beside_readers_and_writers(at, case),
        }
        compare("rebuild", contenders, at, rounds=effort.rounds, before=lambda: build(at))
        at.require_sound()


if __name__ == "__main__":
    main(asked())
