"""Break-glass, by relationship: who opened a record without being entitled, until when, and
whether somebody has looked into it since (rule 41).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.access import AccessReviewed, BreakGlassUsed, Finding
from domain.event import Erased, History, Moment, Policy, Text
from projections.view import Cell, Cells, Gathering, Instant, Row, cell, known, occurred


@dataclass(slots=True, unsafe_hash=True)
class BreakRow(Row):
    """One emergency access."""

    used_at: Cell[Instant]
    person: Cell[UUID]
    reason: Cell[Text]
    until: Cell[Moment]
    finding: Cell[Finding] | None = None
    """What its review came to; None: nobody has looked into it."""


class Breaks(Gathering[BreakRow]):
    name = "break_glass"
    category = "access"
    row = BreakRow
    clear = ("used_at",)
    topics = frozenset({BreakGlassUsed.topic, AccessReviewed.topic})

    def rows_of(self, history: History) -> Iterator[tuple[int, BreakRow]]:
        reviews = {review.entry: (entry, review) for entry, review in history.of(AccessReviewed)}
        for entry in history.standing:
            match entry.event:
                case BreakGlassUsed() as used:
                    here, review = Cells(entry), reviews.get(entry.version)
                    yield (
                        entry.version,
                        BreakRow(
                            used_at=occurred(entry),
                            person=here(used.person),
                            reason=here(used.reason),
                            until=here(used.until),
                            finding=None if review is None else cell(review[0], review[1].finding),
                        ),
                    )
                case Erased() if entry.topic == BreakGlassUsed.topic:
                    yield entry.version, BreakRow.erased(entry, used_at=occurred(entry))


# --- Questions ------------------------------------------------------------------------------


def unreviewed(rows: Mapping[int, BreakRow], policy: Policy) -> Iterator[datetime]:
    """By when each emergency access is to be reviewed that nobody has looked into."""
    for _, row in sorted(rows.items()):
        until = known(row.until)
        if row.finding is None and until is not None:
            yield until + policy.review_within
