"""All benchmarks, or those that are named: `python -m benchmarks [--full] [--write] [NAME …]`.

`make bench` runs the short set, `make bench-full` the growth curves and the logs of a million
entries; `--write` renews docs/performance.md from the history afterwards. One that fails does not
keep the others from running; the exit status says that it did.
"""

import sys
import traceback
from collections.abc import Callable, Mapping

from benchmarks import (
    appending_beside_plain_inserts,
    appending_during_maintenance,
    catching_up_with_the_log,
    commands_on_hot_streams,
    detectors_beside_planted_truth,
    dossiers_as_of_a_time,
    growing_to_a_million,
    importing_in_bulk,
    many_writers_lose_nothing,
    pictures,
    rebuilding_beside_the_live_views,
    serving_beside_bare_endpoints,
    verifying_the_log,
    what_this_machine_can,
    writes_becoming_visible,
)
from benchmarks.harness import Effort

Benchmark = tuple[Callable[[Effort], None], Effort]

SHORT: Mapping[str, Benchmark] = {
    "limits": (what_this_machine_can.main, Effort(rounds=3, seconds=1)),
    "append": (appending_beside_plain_inserts.main, Effort(rounds=3, seconds=2)),
    "hot-streams": (commands_on_hot_streams.main, Effort(rounds=3, seconds=1.5)),
    "bulk": (importing_in_bulk.main, Effort(rounds=3, entries=20_000)),
    "catch-up": (catching_up_with_the_log.main, Effort(rounds=3, entries=40_000)),
    "visible": (writes_becoming_visible.main, Effort(rounds=3, seconds=1.5)),
    "http": (serving_beside_bare_endpoints.main, Effort(rounds=3, seconds=2)),
    "verify": (verifying_the_log.main, Effort(rounds=3, entries=20_000)),
    "dossier": (dossiers_as_of_a_time.main, Effort(rounds=2, seconds=1, entries=20_000)),
    "rebuild": (rebuilding_beside_the_live_views.main, Effort(rounds=2, entries=10_000)),
    "maintenance": (appending_during_maintenance.main, Effort(rounds=2, seconds=2, entries=20_000)),
    "writers": (many_writers_lose_nothing.main, Effort(seconds=0.5, entries=20_000)),
}
FULL: Mapping[str, Benchmark] = {
    "bulk": (importing_in_bulk.main, Effort(rounds=3, entries=200_000)),
    "catch-up": (catching_up_with_the_log.main, Effort(rounds=3, entries=50_000)),
    "maintenance": (
        appending_during_maintenance.main,
        Effort(rounds=3, seconds=5, entries=500_000),
    ),
    "writers": (many_writers_lose_nothing.main, Effort(seconds=30, entries=1_000_000)),
    "growth": (growing_to_a_million.main, Effort(rounds=3, seconds=3, entries=1_000_000)),
}


def main(arguments: list[str]) -> int:
    """Runs what is asked for; 1 where something failed, 2 where something is unknown."""
    chosen = FULL if "--full" in arguments else SHORT
    wanted = [name for name in arguments if not name.startswith("-")]
    unknown = set(wanted) - set(chosen) - {"detectors"}
    if unknown:
        print(f"there are {', '.join(chosen)}, detectors", file=sys.stderr)
        return 2
    failed = 0
    for name, (run, effort) in chosen.items():
        if wanted and name not in wanted:
            continue
        try:
            run(effort)
        except Exception:  # the next one may be well
            print(f"\n{name} failed:", file=sys.stderr)
            traceback.print_exc()
            failed = 1
    if "detectors" in wanted or not (wanted or "--full" in arguments):
        detectors_beside_planted_truth.main()
    if "--write" in arguments:
        pictures.main()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
