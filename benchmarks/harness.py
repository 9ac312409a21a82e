"""What every benchmark needs: a real PostgreSQL, contenders in turn, medians and spread.

A benchmark is a file named as a sentence. Its contenders work one after the other within each
round, so that whatever else the machine does meets all of them; ratios are taken within a round.
Each comparison leaves one line in `history.jsonl` (what the numbers mean: docs/performance.md).
"""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres

ROOT: Final = Path(__file__).parents[1]
HISTORY: Final = ROOT / "benchmarks" / "history.jsonl"

Contender = Callable[[int, float], "Measured"]
"""Works with that many callers for that many seconds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Operations done, in how many seconds, and how long each took (seconds)."""

    operations: int
    seconds: float
    latencies: Sequence[float] = ()
    cpu_seconds: float | None = None
    """Of the processes that did the work, PostgreSQL's not included."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Whatever else was measured: name with its unit → value."""

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    def percentile(self, share: float) -> float:
        """The latency (seconds) that this share of the operations stayed under."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def numbers(self) -> dict[str, float]:
        """All that was measured, by the names of history.jsonl."""
        found = {"per_second": self.rate}
        if self.latencies:
            found["p50_ms"] = self.percentile(0.5) * 1000
            found["p99_ms"] = self.percentile(0.99) * 1000
        if self.cpu_seconds is not None and self.operations:
            found["cpu_us"] = self.cpu_seconds / self.operations * 1e6
        return found | dict(self.facts)


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
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    every = [latency for some in latencies for latency in some]
    took, cpu = time.perf_counter() - began, time.process_time() - used
    return Measured(len(every), took, every, cpu)


def timed(work: Callable[[], int]) -> Measured:
    """Runs `work` once; it says how many operations it did. Its child processes count too."""
    used, began = _cpu_seconds(), time.perf_counter()
    operations = work()
    return Measured(operations, time.perf_counter() - began, (), _cpu_seconds() - used)


def _cpu_seconds() -> float:
    """Of this process, and of children that were waited for; an embedded PostgreSQL is neither."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def compare(
    title: str,
    contenders: Mapping[str, Contender],
    callers: int = 1,
    *,
    rounds: int = 3,
    seconds: float = 3,
) -> dict[str, list[Measured]]:
    """Lets the contenders work in turn, prints medians, spread and ratios, keeps a line of history.

    The first contender is ours; ratios are ours over each of the others, round by round.
    """
    runs: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            runs[name].append(contender(callers, seconds))
    print(f"\n{title}, {callers} caller{'s' * (callers != 1)}, {rounds} rounds of {seconds:g} s")
    keep(title, runs, callers)
    return runs


def keep(title: str, runs: Mapping[str, Sequence[Measured]], callers: int = 1) -> None:
    """Prints what was measured, the first contender being ours, and adds it to the history."""
    ours = next(iter(runs))
    kept: dict[str, Any] = {}
    for name, measured in runs.items():
        ratios = [mine.rate / its.rate for mine, its in zip(runs[ours], measured, strict=False)]
        every = [one.numbers() for one in measured]
        medians = {key: statistics.median(each[key] for each in every) for key in every[0]}
        rates = [one.rate for one in measured]
        kept[name] = {
            **{key: _rounded(value) for key, value in medians.items()},
            "slowest": _rounded(min(rates)),
            "fastest": _rounded(max(rates)),
            "ours_over_it": round(statistics.median(ratios), 2),
        }
        print(_line(name, kept[name]))
    line = {**facts(), "title": title, "callers": callers, "contenders": kept}
    with HISTORY.open("a", encoding="utf-8") as history:
        history.write(json.dumps(line) + "\n")


def _line(name: str, numbers: Mapping[str, float]) -> str:
    rate = f"{numbers['per_second']:,.0f}/s ({numbers['slowest']:,.0f}-{numbers['fastest']:,.0f})"
    shown = {"per_second", "slowest", "fastest", "ours_over_it"}
    rest = "   ".join(
        f"{key.replace('_', ' ')} {value:g}" for key, value in numbers.items() if key not in shown
    )
    return f"  {name:<24}{rate:>28}   ours is {numbers['ours_over_it']:.2f} x   {rest}"


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 1000 else float(f"{value:.3g}")


def facts() -> dict[str, object]:
    """When, of which commit, on what kind of machine; nothing that names the machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": round(os.getloadavg()[0], 1),
    }


def history() -> list[dict[str, Any]]:
    """Every comparison that was kept, the oldest first."""
    return [json.loads(line) for line in HISTORY.read_text(encoding="utf-8").splitlines()]
