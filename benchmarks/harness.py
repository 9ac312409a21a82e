"""What every benchmark needs: contenders in turn, medians and spread, and a history.

A benchmark is a file named as a sentence. Its contenders work one after the other within each
round, so that whatever else the machine does meets all of them; ratios are taken within a round.
Each comparison leaves one line in `history.jsonl` (what the numbers mean: docs/performance.md).
The places they work in are made by `benchmarks/places.py`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

ROOT: Final = Path(__file__).parents[1]
HISTORY: Final = ROOT / "benchmarks" / "history.jsonl"

Contender = Callable[[int, float], "Measured"]
"""Works with that many callers for about that many seconds."""


class Server(Protocol):
    """The PostgreSQL that contenders work on."""

    @property
    def version(self) -> str:
        """As it says itself, for instance `18.1`."""
        ...

    def cpu_seconds(self) -> float:
        """Of all its processes, so far."""
        ...


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


# --- Measuring ------------------------------------------------------------------------------


def together(callers: int, seconds: float, work: Callable[[int], Callable[[], object]]) -> Measured:
    """Runs `work(caller)()` again and again in each of `callers` threads for `seconds`."""
    latencies: list[list[float]] = [[] for _ in range(callers)]
    ready = threading.Barrier(callers + 1)
    failures: list[BaseException] = []

    def run(caller: int) -> None:
        try:
            once = work(caller)
            once()
            ready.wait()
            until = time.perf_counter() + seconds
            while (began := time.perf_counter()) < until:
                once()
                latencies[caller].append(time.perf_counter() - began)
        except BaseException as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError:
        seconds = 0.0
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


# --- Comparing ------------------------------------------------------------------------------


def compare(
    title: str,
    contenders: Mapping[str, Contender],
    on: Server,
    callers: int = 1,
    *,
    rounds: int = 3,
    seconds: float = 3,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[Measured]]:
    """Lets the contenders work in turn, prints medians, spread and ratios, keeps a line of history.

    The first contender is ours; ratios are ours over each of the others, round by round. `before`
    prepares each round, and is not measured.
    """
    runs: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(rounds):
        before()
        for name, contender in contenders.items():
            used = on.cpu_seconds()
            measured = contender(callers, seconds)
            used = on.cpu_seconds() - used
            facts = {"postgres_us": used / max(1, measured.operations) * 1e6, **measured.facts}
            runs[name].append(replace(measured, facts=facts))
    print(f"\n{title}, {callers} caller{'s' * (callers != 1)}, {rounds} rounds")
    keep(title, runs, on, callers)
    return runs


def keep(
    title: str, runs: Mapping[str, Sequence[Measured]], on: Server | None, callers: int = 1
) -> None:
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
            "ours_over_it": _rounded(statistics.median(ratios)),
        }
        print(_line(name, kept[name]), flush=True)
    server = {} if on is None else {"postgresql": on.version}
    line = {**facts(), **server, "title": title, "callers": callers, "contenders": kept}
    with HISTORY.open("a", encoding="utf-8") as history:
        history.write(json.dumps(line) + "\n")


def _line(name: str, numbers: Mapping[str, float]) -> str:
    rate = f"{numbers['per_second']:,.4g}/s ({numbers['slowest']:,.4g}-{numbers['fastest']:,.4g})"
    shown = {"per_second", "slowest", "fastest", "ours_over_it"}
    rest = "   ".join(
        f"{key.replace('_', ' ')} {value:g}" for key, value in numbers.items() if key not in shown
    )
    return f"  {name:<28}{rate:>28}   ours is {numbers['ours_over_it']:.2f} x   {rest}"


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


# --- Effort ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: by default little, so that all benchmarks together stay short."""

    rounds: int = 3
    seconds: float = 2.0
    """Of each contender in each round."""
    entries: int = 20_000
    """Of a log that is made to be read, projected or verified."""


def asked(default: Effort | None = None) -> Effort:
    """The effort that the command line asks for: `--rounds 5 --seconds 3 --entries 1000000`."""
    default = default or Effort()
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--entries", type=int, default=default.entries)
    found = parser.parse_args()
    return Effort(found.rounds, found.seconds, found.entries)
