"""Base rates: in how many relationships of the demonstration each method flags something.

The demonstration is filled through the real commands into a record of its own, and read back as any
reader would read it. None or nearly all means a detector that is broken.

    python -m benchmarks.detectors_in_the_demonstration [RELATIONSHIPS] [--write]
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.demonstration import filled
from api.composition import Service, open_service
from api.demo import RELATIONSHIPS
from benchmarks.detectors_beside_planted_truth import Share, asked, write
from benchmarks.detectors_planted import WOBBLES
from domain.definition import Perspective
from domain.methods.card import Outcome
from domain.methods.series import Series
from infra.settings import Settings
from projections.trajectory import trajectories


@dataclass(frozen=True, slots=True)
class Told:
    """One relationship's ratings, and whether a rupture was planted in it."""

    series: tuple[Series, ...]
    planted: bool


def relationships(service: Service) -> Iterator[Told]:
    """The SRS totals of every client, relationship by relationship."""
    demonstration = filled(service, relationships=_wanted(sys.argv[1:]))
    truth = json.loads(demonstration.ground_truth.read_text(encoding="utf-8"))
    ruptured = {one["relationship"] for one in truth["relationships"] if one["ruptures"]}
    for stream in service.log.streams("relationship"):
        found = trajectories(service.log.history(stream))
        lines = [
            series
            for series in found.of(instrument="SRS-3", perspective=Perspective.CLIENT)
            if series.axis.scale == "total"
        ]
        yield Told(tuple(lines), str(stream.id) in ruptured)


def table(told: Sequence[Told]) -> str:
    """How many relationships each method flags, those with a planted rupture apart."""
    rows = [
        f"{sum(one.planted for one in told)} of {len(told)} relationships hold a planted rupture.",
        "",
        "| method | by | flagged | of those with one | of those without | declined |",
        "|---|---|---|---|---|---|",
    ]
    for question in asked(300, WOBBLES["calm"]):
        shares = {True: Share(), False: Share()}
        declined = 0
        for one in told:
            outcomes = {question.card(series).outcome for series in one.series}
            if outcomes <= {Outcome.REFUSED}:
                declined += 1
            else:
                shares[one.planted].add(Outcome.FLAGGED in outcomes)
        both = [*shares.values()]
        every = Share(sum(one.hits for one in both), sum(one.of for one in both))
        rows.append(
            f"| {question.method} | {question.how} | {every} | {shares[True]} | {shares[False]} | "
            f"{declined} |"
        )
    return "\n".join(rows)


def _wanted(arguments: Sequence[str]) -> int:
    return next((int(one) for one in arguments if one.isdecimal()), RELATIONSHIPS)


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the table; with `--write` docs/detectors.md gets it."""
    with tempfile.TemporaryDirectory(prefix="rapport-bench-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        with open_service(Settings(home=home / "home")) as service:
            told = list(relationships(service))
    tables = {"demonstration": table(told)}
    print(tables["demonstration"])
    if "--write" in arguments:
        write(tables)


if __name__ == "__main__":
    main(sys.argv[1:])
