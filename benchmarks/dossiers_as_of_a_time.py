"""A dossier of 300 entries as of a time, alone and beside the rest of a clinic.

In Python with its history in memory; in Python from the database, every entry opened; and through
`rapport serve`, where the reading becomes an entry before anything is shown.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from benchmarks.harness import Contender, Effort, Measured, asked, compare, together
from benchmarks.invented import WEEKS, Case, InventedClinic, told
from benchmarks.knocking import Load, Request, knock
from benchmarks.places import Place, place
from domain.access import Role
from domain.records import Records
from projections.dossier import Dossier, dossier


def as_of(case: Case) -> datetime:
    """A time at which four fifths of it had happened."""
    return case.begins(WEEKS * 4 // 5)


def in_python(at: Place, case: Case, *, cold: bool) -> Contender:
    """Told from the log; `cold`: from the database each time."""
    when = as_of(case)

    def work(_: int) -> Callable[[], object]:
        def once() -> Dossier:
            if cold:
                at.service.log.forget()
            history = at.records.history(case.stream)
            return dossier(case.stream, history, known_at=when)

        return once

    def contender(callers: int, seconds: float) -> Measured:
        return together(callers, seconds, work)

    return contender


@contextmanager
def over_http(at: Place, case: Case) -> Iterator[Contender]:
    """`GET /api/v1/relationships/…` by its therapist."""
    when = as_of(case).isoformat().replace("+00:00", "Z")
    path = f"/api/v1/relationships/{case.id}?known_at={when}"
    request = Request("GET", path, at.token(case.therapist, Role.THERAPIST))
    with at.serving("--no-worker") as (port, server):
        yield lambda callers, seconds: knock(
            Load("127.0.0.1", port, seconds, [request] * callers), 200, server
        )


def told_in_time(at: Place, clinic: InventedClinic) -> Case:
    """One relationship, recorded as it happens, by a clock that runs through its 57 weeks."""
    before, case = clinic.case(late_reason=None)
    now = case.begins(0)
    with at.service.log_with(lambda: now) as log:
        records = Records(log)
        told(records, [*clinic.founding(), *before, *case.opening()])
        for week in range(WEEKS):
            now = case.begins(week) + timedelta(hours=1)
            told(records, list(case.session(week)))
    return case


def main(effort: Effort) -> None:
    """Prints the comparison, alone and beside `entries` others."""
    with place() as at:
        clinic = InventedClinic()
        case = told_in_time(at, clinic)
        for beside in (0, effort.entries):
            clinic.fill(at.records, beside)
            with over_http(at, case) as http:
                contenders = {
                    "from memory": in_python(at, case, cold=False),
                    "from the database": in_python(at, case, cold=True),
                    "over HTTP": http,
                }
                compare(
                    f"dossier beside {beside:,} entries", contenders, at,
                    rounds=effort.rounds, seconds=effort.seconds,
                )  # fmt: skip
        at.require_sound()


if __name__ == "__main__":
    main(asked())
