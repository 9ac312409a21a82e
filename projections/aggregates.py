"""Counts over the clinic that tell of nobody: base rates, with small cells suppressed (rule 42).

Every table divides the same clients by one question, each client into exactly one answer. A count
of fewer than five clients is not told, and nothing is told from which it could be worked out: where
the counts that are kept back would come to fewer than five together, or only one is, the next
larger one is kept back too. Counts are those of the end of the last quarter, so that nobody learns
from yesterday's table and today's what somebody answered in between. There is no table by
therapist and no way to ask for one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

FEWEST: Final = 5
"""Clients; what tells of fewer is suppressed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How many clients one answer holds for."""

    answer: str
    clients: int | None
    """None: suppressed."""


@dataclass(frozen=True, slots=True)
class Table:
    """One question, and how the clients divide by it."""

    question: str
    total: int | None
    """None: there are too few clients to say anything at all."""
    cells: tuple[Cell, ...]

    @property
    def suppressed(self) -> bool:
        """Whether something is kept back."""
        return self.total is None or any(cell.clients is None for cell in self.cells)


def tabulate(question: str, answers: Sequence[str], given: Mapping[UUID, str]) -> Table:
    """How the clients divide by a question; `answers` are all that there can be, in order.

    An answer that nobody gave is suppressed like any other small one: *none of them* tells of
    everybody.
    """
    counts = Counter(given.values())
    assert counts.keys() <= set(answers), "every client has one of the answers"
    total = counts.total()
    if total < FEWEST:
        return Table(question, None, tuple(Cell(answer, None) for answer in answers))
    hidden = _kept_back({answer: counts[answer] for answer in answers})
    return Table(
        question,
        total,
        tuple(Cell(answer, None if answer in hidden else counts[answer]) for answer in answers),
    )


def _kept_back(counts: Mapping[str, int]) -> frozenset[str]:
    """The answers whose counts are not told, so that none of them follows from the others.

    The total is known: what is kept back is known as a sum. It must be that of two answers at
    least, and of five clients at least.
    """
    ascending = sorted(counts, key=lambda answer: (counts[answer], answer))
    hidden = [answer for answer in ascending if counts[answer] < FEWEST]
    rest = iter(ascending[len(hidden) :])
    while hidden and (len(hidden) < 2 or sum(counts[answer] for answer in hidden) < FEWEST):
        following = next(rest, None)
        if following is None:
            break
        hidden.append(following)
    return frozenset(hidden)


def united(answers: Iterable[tuple[UUID, str]], order: Sequence[str]) -> dict[UUID, str]:
    """One answer per client, whatever the number of their relationships: the first in `order`."""
    found: dict[UUID, str] = {}
    for client, answer in answers:
        known = found.get(client)
        if known is None or order.index(answer) < order.index(known):
            found[client] = answer
    return found


def last_quarter(now: datetime) -> datetime:
    """The end of the last whole quarter of a year, in UTC."""
    utc = now.astimezone(UTC)
    return datetime(utc.year, utc.month - (utc.month - 1) % 3, 1, tzinfo=UTC)
