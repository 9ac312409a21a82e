"""Ruptures as people marked them, one row each: for counting over the clinic, not for telling.

What was said stays in the entries; a relationship's page tells from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from domain.event import Erased, History, Moment
from domain.instrument import Perspective
from domain.rupture import (
    Kind,
    RepairAttempted,
    RuptureLeftOpen,
    RuptureMarked,
    RuptureResolved,
    ruptures_of,
)
from projections.view import Cell, Cells, Gathering, Instant, Row, cell, occurred


@dataclass(slots=True, unsafe_hash=True)
class RuptureRow(Row):
    """One rupture."""

    marked_at: Cell[Instant]
    perspective: Cell[Perspective]
    kind: Cell[Kind]
    resolved_at: Cell[Moment] | None = None
    """When the last of those concerned saw it as resolved; None: it is open."""


class Ruptures(Gathering[RuptureRow]):
    name = "ruptures"
    row = RuptureRow
    clear = ("marked_at",)
    topics = frozenset(
        kind.topic for kind in (RuptureMarked, RepairAttempted, RuptureResolved, RuptureLeftOpen)
    )

    def rows_of(self, history: History) -> Iterator[tuple[int, RuptureRow]]:
        for rupture in ruptures_of(history).values():
            here = Cells(rupture.entry)
            last = max(rupture.views.values(), key=lambda view: view.occurred_at, default=None)
            closed = last is not None and not rupture.is_open
            yield (
                rupture.entry.version,
                RuptureRow(
                    marked_at=occurred(rupture.entry),
                    perspective=here(rupture.marked.perspective),
                    kind=here(rupture.marked.kind),
                    resolved_at=cell(last, last.occurred_at) if last and closed else None,
                ),
            )
        for entry in history.standing:
            if isinstance(entry.event, Erased) and entry.topic == RuptureMarked.topic:
                yield entry.version, RuptureRow.erased(entry, marked_at=occurred(entry))
