"""Triage: which relationship to look at first, by what is missing or waits in it.

What waits in streams of their own (supervision, access) is joined here, at reading, for whoever may
know of it. Nobody is ranked, and nothing is predicted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from domain.event import Policy, Stream
from projections.actions import ActionRow, overdue
from projections.break_glass import BreakRow, unreviewed
from projections.caseload import PRESSING, Case, Finding, Missing, missing
from projections.view import known

Beside = Mapping[UUID, Sequence[Finding]]
"""By relationship, what waits in the streams beside its own."""


@dataclass(frozen=True, slots=True)
class Triaged:
    """A case with what is missing in it."""

    relationship: Stream
    case: Case
    findings: tuple[Finding, ...]


def triage(
    cases: Mapping[Stream, Case],
    now: datetime,
    beside: Beside | None = None,
    lapse_within: timedelta = timedelta(days=30),
) -> list[Triaged]:
    """Cases by what is missing in them: what presses first, then most, then the longest since a
    session."""
    found = [
        Triaged(
            stream,
            case,
            (*(beside or {}).get(stream.id, ()), *missing(case, now, lapse_within)),
        )
        for stream, case in cases.items()
    ]
    return sorted(found, key=_urgency)


def _urgency(triaged: Triaged) -> tuple[bool, int, datetime, str]:
    last = known(triaged.case.last_session_at) or datetime.min.replace(tzinfo=UTC)
    pressing = any(finding.what in PRESSING for finding in triaged.findings)
    return not pressing, -len(triaged.findings), last, str(triaged.relationship)


def actions_waiting(rows: Mapping[int, ActionRow], now: datetime) -> Iterator[Finding]:
    """Rule 40: what was agreed in supervision and is overdue."""
    for row in overdue(rows, now.date()):
        due = known(row.due)
        if due is not None:
            yield Finding(
                Missing.ACTION_OVERDUE, datetime.combine(due, time(), UTC), party=known(row.owner)
            )


def accesses_waiting(rows: Mapping[int, BreakRow], policy: Policy) -> Iterator[Finding]:
    """Rule 41: emergency accesses that nobody has looked into."""
    for due in unreviewed(rows, policy):
        yield Finding(Missing.ACCESS_REVIEW, due)
