"""What every benchmark needs: a real PostgreSQL, contenders in turn, medians and ratios."""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres

HISTORY = Path(__file__).parent / "history.jsonl"

Contender = Callable[[int, float], "Measured"]
"""Works with that many callers for that many seconds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Operations done, in how many seconds, and how long each took (seconds)."""

    operations: int
    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    def percentile(self, share: float) -> float:
        """The latency (seconds) that this share of the operations stayed under."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def database() -> Iterator[Database]:
    """A migrated database on an embedded PostgreSQL of its own, durable as delivered."""
    with tempfile.TemporaryDirectory(prefix="rapport-bench-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        with EmbeddedPostgres(home / "home") as found:
            migrate(found.dsn("owner"))
            yield found


def together(callers: int, seconds: float, work: Callable[[int], Callable[[], object]]) -> Measured:
    """Runs `work(caller)()` again and again in each of `callers` threads for `seconds`."""
    latencies: list[list[float]] = [[] for _ in range(callers)]
    ready = threading.Barrier(callers + 1)
    failures: list[BaseException] = []

    def run(caller: int) -> None:
        try:
            once = work(caller)
            once()
        except BaseException as error:
            failures.append(error)
            ready.abort()
            raise
        ready.wait()
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            once()
            latencies[caller].append(time.perf_counter() - began)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    every = [latency for some in latencies for latency in some]
    return Measured(len(every), time.perf_counter() - began, every)


def compare(
    title: str, contenders: Mapping[str, Contender], callers: int, *, rounds: int, seconds: float
) -> None:
    """Lets the contenders work in turn, prints their medians and ratios, keeps a line of history.

    The first contender is ours; ratios are ours over each of the others, round by round.
    """
    runs: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            runs[name].append(contender(callers, seconds))
    ours = next(iter(contenders))
    print(f"\n{title}, {callers} caller{'s' * (callers != 1)}, {rounds} rounds of {seconds:g} s")
    kept: dict[str, object] = {"title": title, "callers": callers}
    for name, measured in runs.items():
        rates = [one.rate for one in measured]
        ratios = [mine.rate / its.rate for mine, its in zip(runs[ours], measured, strict=True)]
        p50 = statistics.median(one.percentile(0.5) for one in measured) * 1000
        p99 = statistics.median(one.percentile(0.99) for one in measured) * 1000
        rate = f"{statistics.median(rates):,.0f}/s ({min(rates):,.0f}-{max(rates):,.0f})"
        ratio = f"ours is {statistics.median(ratios):.2f} x"
        print(f"  {name:<22}{rate:>26}   p50 {p50:6.2f} ms  p99 {p99:6.2f} ms   {ratio}")
        kept[name] = {
            "per_second": round(statistics.median(rates)),
            "p50_ms": round(p50, 2),
            "p99_ms": round(p99, 2),
            "ours_over_it": round(statistics.median(ratios), 2),
        }
    with HISTORY.open("a", encoding="utf-8") as history:
        kept = {
            "at": datetime.now(UTC).date().isoformat(),
            "python": sys.version[:6].strip(),
            **kept,
        }
        history.write(json.dumps(kept) + "\n")
