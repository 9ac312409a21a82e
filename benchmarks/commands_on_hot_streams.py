"""Whole commands on streams of 300 entries that many callers write at once.

Ours: the client's rating of the alliance, decided by every rule over the relationship's history,
and beside it the smallest command there is. Stock: `repository.get`, a decision, `save`, on
aggregates of 300 events, with its cache of aggregates on. Every caller has a stream of its own, so
that nobody loses a race.
"""

from collections.abc import Callable
from uuid import UUID, uuid4

from benchmarks.harness import Contender, Effort, asked, compare, together
from benchmarks.invented import Case, InventedClinic, told
from benchmarks.places import Place, place
from benchmarks.stock import PAYLOAD, Course, Stock, stock
from domain.access import ReadRecord, Role
from domain.records import Author, Proposal

CALLERS = 32
LENGTH = 300


def rating(at: Place, cases: list[Case]) -> Contender:
    """A rating of the alliance between sessions, on a relationship's stream."""

    def work(caller: int) -> Callable[[], object]:
        case, records = cases[caller], at.records

        def once() -> object:
            proposal = case.rating()
            return at.note(records.record(proposal.command, proposal.author))

        return once

    return lambda callers, seconds: together(callers, seconds, work)


def reading(at: Place) -> Contender:
    """The smallest command, on access streams of as many entries."""
    streams = [uuid4() for _ in range(CALLERS)]
    author = Author(uuid4())

    def read(about: UUID) -> ReadRecord:
        return ReadRecord(role=Role.SYSTEM, purpose=PAYLOAD, what="dossier", relationship=about)

    told(at.records, [Proposal(read(one), author) for one in streams for _ in range(LENGTH)])

    def work(caller: int) -> Callable[[], object]:
        about, records = streams[caller], at.records
        return lambda: at.note(records.record(read(about), author))

    return lambda callers, seconds: together(callers, seconds, work)


def theirs(application: Stock) -> Contender:
    """`repository.get`, a method with a rule, `save`."""
    streams: list[UUID] = []
    for _ in range(CALLERS):
        course = Course()
        for _ in range(LENGTH - 1):
            course.say(PAYLOAD)
        application.save(course)
        streams.append(course.id)

    def work(caller: int) -> Callable[[], object]:
        id_ = streams[caller]

        def once() -> object:
            course: Course = application.repository.get(id_)
            course.say(PAYLOAD)
            return application.save(course)

        return once

    return lambda callers, seconds: together(callers, seconds, work)


def hot_cases(at: Place) -> list[Case]:
    """One relationship of 298 entries for each caller."""
    clinic = InventedClinic()
    told(at.records, list(clinic.founding()))
    cases = []
    for _ in range(CALLERS):
        before, case = clinic.case()
        told(at.records, [*before, *case.whole()])
        cases.append(case)
    return cases


def main(effort: Effort) -> None:
    """Prints the comparison for 1 and for 32 callers."""
    with place() as at, stock(at.dsn(), AGGREGATE_CACHE_MAXSIZE="1000") as application:
        contenders = {
            "ours, a rating": rating(at, hot_cases(at)),
            "ours, the smallest": reading(at),
            "stock eventsourcing": theirs(application),
        }
        for callers in (1, CALLERS):
            compare(
                "commands on hot streams", contenders, at, callers,
                rounds=effort.rounds, seconds=effort.seconds,
            )  # fmt: skip
        at.require_sound()


if __name__ == "__main__":
    main(asked())
