"""What is told of things by their ids: above all of goals, tasks and ruptures, which go on.

Entries about such a thing count in the order in which they happened, and a late entry takes its
place among them. What refers to a thing whose beginning is erased, entered in error or lies later
is passed over.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Generic, TypeVar
from uuid import UUID

from domain.event import Entries, Event, Fold, History, RecordedEvent

T = TypeVar("T")

_occurred_at = attrgetter("occurred_at")


def ids(field: str, *kinds: type[Event], ever: bool = False) -> Fold[frozenset[UUID]]:
    """The ids in that field of all standing entries of these kinds; `ever`: also of those that
    were amended or entered in error since, for an id is used once."""

    def among(entries: Iterable[RecordedEvent]) -> frozenset[UUID]:
        return frozenset(getattr(e.event, field) for e in entries if isinstance(e.event, kinds))

    return Fold(
        lambda history: among(history if ever else history.standing),
        *kinds,
        then=lambda used, news: used | among(news),
    )


@dataclass(frozen=True, slots=True)
class _Told(Generic[T]):
    things: Mapping[UUID, T]
    """In the order in which they began."""
    entries: Mapping[UUID, Entries]
    """What each of them comes from, in order of time; the first is its beginning."""
    passed_over: frozenset[UUID]
    """Ids of which something was passed over: told before they began, or that they began again."""


class Telling(Generic[T]):
    """How the entries about one kind of thing are read.

    They name the thing by `field`. It begins with the first of kind `begins`. `come_to` makes it of
    its entries in order of time, or of what it was and further ones.
    """

    def __init__(
        self,
        field: str,
        begins: type[Event],
        *goes_on: type[Event],
        come_to: Callable[[Entries, T | None], T],
    ) -> None:
        self._id_of: Callable[[RecordedEvent], UUID] = attrgetter(f"event.{field}")
        self._begins = begins
        self._kinds = (begins, *goes_on)
        self._come_to = come_to
        self.fold = Fold(self._all, *self._kinds, then=self._further)

    def of(self, history: History) -> Mapping[UUID, T]:
        """Every thing by its id, in the order in which they began."""
        return history.folded(self.fold).things

    def by(self, history: History, id_: UUID, at: datetime) -> T | None:
        """One thing as what had happened by then leaves it; None: it had not begun."""
        told = history.folded(self.fold)
        entries = told.entries.get(id_, ())
        count = bisect_right(entries, at, key=_occurred_at)
        if count == 0:
            return None
        return told.things[id_] if count == len(entries) else self._come_to(entries[:count], None)

    def after(
        self, history: History, id_: UUID, at: datetime, *kinds: type[Event]
    ) -> list[RecordedEvent]:
        """What happened to a thing after that, of these kinds, in order of time."""
        entries = history.folded(self.fold).entries.get(id_, ())
        later = entries[bisect_right(entries, at, key=_occurred_at) :]
        return [entry for entry in later if isinstance(entry.event, kinds)]

    def _all(self, history: History) -> _Told[T]:
        told: dict[UUID, list[RecordedEvent]] = {}
        passed_over: set[UUID] = set()
        entries = (entry for entry in history.standing if isinstance(entry.event, self._kinds))
        for entry in sorted(entries, key=_occurred_at):
            id_ = self._id_of(entry)
            if isinstance(entry.event, self._begins) == (id_ not in told):
                told.setdefault(id_, []).append(entry)
            else:
                passed_over.add(id_)
        of = {id_: tuple(entries) for id_, entries in told.items()}
        things = {id_: self._come_to(entries, None) for id_, entries in of.items()}
        return _Told(things, of, frozenset(passed_over))

    def _further(self, told: _Told[T], news: Entries) -> _Told[T] | None:
        things, entries = {**told.things}, {**told.entries}
        passed_over = set(told.passed_over)
        for entry in news:
            id_, at = self._id_of(entry), entry.occurred_at
            before = entries.get(id_, ())
            if isinstance(entry.event, self._begins):
                last = next(reversed(entries.values()), (entry,))
                if before or id_ in passed_over or at < last[0].occurred_at:
                    return None
                things[id_], entries[id_] = self._come_to((entry,), None), (entry,)
            elif not before or at < before[0].occurred_at:
                passed_over.add(id_)
            elif at >= before[-1].occurred_at:
                things[id_] = self._come_to((entry,), things[id_])
                entries[id_] = (*before, entry)
            else:
                place = bisect_right(before, at, key=_occurred_at)
                entries[id_] = (*before[:place], entry, *before[place:])
                things[id_] = self._come_to(entries[id_], None)
        return _Told(things, entries, frozenset(passed_over))
