"""What was agreed in supervision, by relationship: who does it, by when, and what came of it.

Supervision has a stream and keys of its own; who reads a caseload as therapist or supervisor reads
this beside it. It never stands in a client-facing view (rule 40).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from domain.clinic import Day
from domain.event import Erased, History, Moment, Text
from domain.supervision import (
    ActionOutcome,
    SupervisionActionAgreed,
    SupervisionActionReviewed,
    actions_of,
)
from projections.view import Cell, Cells, Gathering, Row, cell, known


@dataclass(slots=True, unsafe_hash=True)
class ActionRow(Row):
    """One action."""

    action: Cell[UUID]
    owner: Cell[UUID]
    due: Cell[Day]
    """By the last review, where it goes on."""
    text: Cell[Text]
    agreed_at: Cell[Moment]
    outcome: Cell[ActionOutcome] | None = None
    """Of the last review."""
    reviewed_at: Cell[Moment] | None = None

    @property
    def is_open(self) -> bool:
        return self.outcome is None or known(self.outcome) is ActionOutcome.CONTINUED


class Actions(Gathering[ActionRow]):
    name = "actions"
    category = "supervision"
    row = ActionRow
    topics = frozenset({SupervisionActionAgreed.topic, SupervisionActionReviewed.topic})

    def rows_of(self, history: History) -> Iterator[tuple[int, ActionRow]]:
        for action in actions_of(history).values():
            here, last = Cells(action.entry), action.last
            review = {} if last is None else _reviewed(action.reviews[-1], last)
            due = here(action.due) if last is None else cell(action.reviews[-1], action.due)
            yield (
                action.entry.version,
                ActionRow(
                    action=here(action.agreed.action),
                    owner=here(action.agreed.owner),
                    due=due,
                    text=here(action.agreed.text),
                    agreed_at=here(action.entry.occurred_at),
                    **review,
                ),
            )
        for entry in history.standing:
            if isinstance(entry.event, Erased) and entry.topic == SupervisionActionAgreed.topic:
                yield entry.version, ActionRow.erased(entry)


def _reviewed(entry: Any, review: SupervisionActionReviewed) -> dict[str, Cell[Any]]:
    return {"outcome": cell(entry, review.outcome), "reviewed_at": cell(entry, entry.occurred_at)}


# --- Questions ------------------------------------------------------------------------------


def overdue(rows: Mapping[int, ActionRow], on: date) -> Iterator[ActionRow]:
    """Rule 40: the actions still open after the day on which they were due."""
    for _, row in sorted(rows.items()):
        due = known(row.due)
        if row.is_open and due is not None and due < on:
            yield row
