"""How long an append waits while the table of entries is indexed or vacuumed.

`CREATE INDEX CONCURRENTLY` (and its DROP) and `VACUUM` run again and again beside the callers, on
our table and on that of the stock library. The stock recorder locks its table for each commit, in a
mode that waits for those statements, and they for it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg

from benchmarks.appending_beside_plain_inserts import ours, theirs
from benchmarks.harness import Contender, Effort, Measured, asked, compare
from benchmarks.invented import InventedClinic, told
from benchmarks.places import Place, place
from benchmarks.stock import Stock, noted, stock

CALLERS = 8
_PAUSE = 0.05
_INDEX = (
    "DROP INDEX CONCURRENTLY IF EXISTS {schema}bench",
    "CREATE INDEX CONCURRENTLY bench ON {table} ({column})",
)
_VACUUM = ("VACUUM {table}",)
_OURS = {"schema": "rapport.", "table": "rapport.entries", "column": "recorded_at"}
_THEIRS = {"schema": "", "table": "stock_events", "column": "topic"}


def during(contender: Contender, dsn: str, statements: Sequence[str]) -> Contender:
    """The contender with these statements repeated beside it; how often they were, stands beside.

    Those that have begun are waited for. PostgreSQL ends one that waits for an append that waits
    for it, as it does with the stock library; how often, stands beside too.
    """

    def work(callers: int, seconds: float) -> Measured:
        stop = threading.Event()
        done: list[object] = []
        deadlocks: list[object] = []

        def maintain() -> None:
            with psycopg.connect(dsn, autocommit=True) as conn:
                while not stop.wait(_PAUSE):
                    try:
                        for statement in statements:
                            conn.execute(statement.encode())
                        done.append(statements)
                    except psycopg.errors.DeadlockDetected as error:
                        deadlocks.append(error)

        thread = threading.Thread(target=maintain)
        thread.start()
        try:
            measured = contender(callers, seconds)
        finally:
            stop.set()
            thread.join()
        facts = {
            "longest_ms": max(measured.latencies) * 1000,
            "times": float(len(done)),
            "deadlocks": float(len(deadlocks)),
        }
        return replace(measured, facts=facts)

    return work


def _named(statements: Sequence[str], names: dict[str, str]) -> list[str]:
    return [statement.format(**names) for statement in statements]


def fill_stock(application: Stock, events: int, new_id: Callable[[], object]) -> None:
    """As many events as our log has entries."""
    for _ in range(-(-events // 1000)):
        stream = new_id()
        application.save(*(noted(stream, version) for version in range(1, 1001)))  # type: ignore[arg-type]


def contenders(at: Place, application: Stock) -> dict[str, Contender]:
    """Both sides, alone and beside each kind of upkeep."""
    found: dict[str, Contender] = {}
    for side, contender, names in (
        ("ours", ours(at), _OURS),
        ("stock", theirs(application), _THEIRS),
    ):
        found[side] = during(contender, at.dsn(), [])
        found[f"{side}, indexed"] = during(contender, at.dsn(), _named(_INDEX, names))
        found[f"{side}, vacuumed"] = during(contender, at.dsn(), _named(_VACUUM, names))
    return found


def main(effort: Effort) -> None:
    """Prints the comparison."""
    with place() as at, stock(at.dsn()) as application:
        clinic = InventedClinic()
        told(at.records, list(clinic.founding()))
        clinic.fill(at.records, effort.entries)
        fill_stock(application, effort.entries, clinic.new_id)
        compare(
            f"append during maintenance of {effort.entries:,} entries",
            contenders(at, application), at, CALLERS,
            rounds=effort.rounds, seconds=effort.seconds,
        )  # fmt: skip
        at.require_sound()


if __name__ == "__main__":
    main(asked())
