"""The same work on logs of ten thousand, a hundred thousand and a million entries.

At each size: the log opened, appends by one and by 32 callers, commands to relationships at random,
a dossier of 300 entries as of a time, `rapport rebuild` of all views and `rapport verify`, with the
memory that they hold. Sizes up to `--entries`.
"""

from collections.abc import Callable, Mapping

from benchmarks.appending_beside_plain_inserts import ours
from benchmarks.dossiers_as_of_a_time import in_python, over_http, told_in_time
from benchmarks.harness import Contender, Effort, Measured, asked, keep, timed, together
from benchmarks.invented import Case, InventedClinic
from benchmarks.places import Place, place
from benchmarks.rebuilding_beside_the_live_views import build, rebuilt
from domain.records import system_clock

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)

Runs = dict[str, dict[str, list[Measured]]]
"""Title → size → what was measured."""


def main(effort: Effort) -> None:
    """Prints what grows and what does not; the first size stands for ours in the ratios."""
    runs: Runs = {}
    with place() as at:
        clinic = InventedClinic()
        case = told_in_time(at, clinic)
        for size in (size for size in SIZES if size <= effort.entries):
            label = f"{size:,} entries"
            filled(at, clinic, size, runs, label)
            with over_http(at, case) as http:
                work: Mapping[str, tuple[Contender, int]] = {
                    "growth: log opened": (opened(at), 1),
                    "growth: append, 1 caller": (ours(at), 1),
                    "growth: append, 32 callers": (ours(at), 32),
                    "growth: a rating, any relationship": (any_rating(at, clinic, case), 1),
                    "growth: dossier from the database": (in_python(at, case, cold=True), 1),
                    "growth: dossier over HTTP": (http, 1),
                }
                for title, (contender, callers) in work.items():
                    found = [contender(callers, effort.seconds) for _ in range(effort.rounds)]
                    runs.setdefault(title, {})[label] = found
            before = at.service.log.head_size()
            verified = at.watched("verify").measured(before)
            runs.setdefault("growth: verify", {})[label] = [verified]
            print(f"{label}: {_said(runs, label)}", flush=True)
        for title, by_size in runs.items():
            print(f"\n{title}")
            keep(title, by_size, at)
        at.require_sound()


def opened(at: Place) -> Contender:
    """The log as another process opens it, held against what was acknowledged, and closed."""

    def once() -> None:
        with at.service.log_with(system_clock):
            pass

    return lambda callers, seconds: together(callers, seconds, lambda _: once)


def any_rating(at: Place, clinic: InventedClinic, but: Case) -> Contender:
    """A rating in a relationship drawn at random: what is at hand of it, or is not.

    Never in `but`, whose dossier would grow with it."""
    cases = [case for case in clinic.cases if case is not but]

    def work(_: int) -> Callable[[], object]:
        def once() -> object:
            rating = clinic.rng.choice(cases).rating()
            return at.note(at.records.record(rating.command, rating.author))

        return once

    return lambda callers, seconds: together(callers, seconds, work)


def filled(at: Place, clinic: InventedClinic, size: int, runs: Runs, label: str) -> None:
    """The log brought to that size, and its views to the log's end and rebuilt."""
    missing = size - at.service.log.head_size()
    if missing > 0:
        fill = timed(lambda: clinic.fill(at.records, missing))
        runs.setdefault("growth: fill", {})[label] = [fill]
    build(at)
    runs.setdefault("growth: rebuild", {})[label] = [rebuilt(at)]


def _said(runs: Runs, label: str) -> str:
    return ", ".join(
        f"{title.removeprefix('growth: ')} {by_size[label][0].rate:,.0f}/s"
        for title, by_size in runs.items()
        if label in by_size
    )


if __name__ == "__main__":
    main(asked(Effort(rounds=3, seconds=5, entries=1_000_000)))
