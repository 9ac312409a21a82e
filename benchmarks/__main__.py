"""All benchmarks, or those that are named: `python -m benchmarks [--full] [NAME …]`.

`make bench` runs the short set, `make bench-full` the growth curves and the logs of a million
entries. One that fails does not keep the others from running; the exit status says that it did.
"""

import sys
import traceback
from collections.abc import Callable, Mapping

from benchmarks import (
    appending_beside_plain_inserts,
    catching_up_with_the_log,
    commands_on_hot_streams,
    importing_in_bulk,
    serving_beside_bare_endpoints,
)
from benchmarks.harness import Effort

SHORT: Mapping[str, Callable[[Effort], None]] = {
    "append": appending_beside_plain_inserts.main,
    "hot-streams": commands_on_hot_streams.main,
    "bulk": importing_in_bulk.main,
    "catch-up": catching_up_with_the_log.main,
    "http": serving_beside_bare_endpoints.main,
}
EFFORT = Effort(rounds=3, seconds=2, entries=20_000)


def main(arguments: list[str]) -> int:
    """Runs what is asked for; 1 where something failed."""
    wanted = [name for name in arguments if not name.startswith("-")]
    failed = 0
    for name, run in SHORT.items():
        if wanted and name not in wanted:
            continue
        try:
            run(EFFORT)
        except Exception:  # the next one may be well
            print(f"\n{name} failed:", file=sys.stderr)
            traceback.print_exc()
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
