"""What is said of speed comes from what was measured, and every benchmark is run by somebody."""

from pathlib import Path

from benchmarks import __main__ as benchmarks
from benchmarks.harness import ROOT, Measured, history
from benchmarks.pictures import PAGE, TARGETS, tables

APART = {"__init__", "__main__", "harness", "places", "invented", "stock", "writers", "knocking",
         "bare_endpoints", "pictures", "detectors_planted"}  # fmt: skip
"""What is no benchmark, but serves them."""


def test_no_figure_is_copied_by_hand() -> None:
    """Performance: each table of the page is what the history holds."""
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables(history()).items():
        assert f"<!-- {name} -->\n{text}\n<!-- end of {name} -->" in page, name


def test_every_benchmark_is_run() -> None:
    """Performance: a file named as a sentence is part of `make bench` or `make bench-full`."""
    files = {path.stem for path in Path(ROOT, "benchmarks").glob("*.py")} - APART
    run = {
        one.__module__.rpartition(".")[2]
        for chosen in (benchmarks.SHORT, benchmarks.FULL)
        for one, _ in chosen.values()
    }
    assert {name for name in files - run if not name.startswith("detectors_")} == set()


def test_a_target_finds_its_newest_figure() -> None:
    """Performance: what is reached is read from the last comparison of that name."""
    target = TARGETS[0]
    lines = [
        {
            "title": target.title,
            "callers": target.callers,
            "contenders": {target.contender: {target.figure: found}},
        }
        for found in (1.5, 2.75)
    ]
    assert target.reached(lines) == 2.75
    assert target.reached([]) is None
    assert target.row(lines).endswith("| at least 2.5 | 2.75 |")


def test_percentiles_are_those_of_the_waits() -> None:
    """Performance: p50 and p99 are waits that were measured, in milliseconds."""
    numbers = Measured(200, 2.0, [one / 1000 for one in range(200)], 0.5).numbers()
    assert numbers == {"per_second": 100, "p50_ms": 100, "p99_ms": 198, "cpu_us": 2500}
