"""What is told of things by their ids: above all of goals, tasks and ruptures, which go on.

Entries about such a thing count in the order in which they happened, and a late entry takes its
place among them. What refers to a thing whose beginning is erased, entered in error or lies later
is passed over.
"""

from bisect import bisect_right
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Final, Generic, NamedTuple, TypeVar, cast, overload
from uuid import UUID

from domain.event import Entries, Event, Fold, History, RecordedEvent

D = TypeVar("D")
K = TypeVar("K")
T = TypeVar("T")

_NOTHING: Final = object()
_occurred_at = attrgetter("occurred_at")


class Growing(Mapping[K, T]):
    """A mapping that never changes; one with more in it takes far fewer steps than copying it.

    What is new stands apart until it is about as long as the square root of the rest, so that
    neither it nor the rest is copied often.
    """

    __slots__ = ("_new", "_old")

    def __init__(self, old: dict[K, T] | None = None, new: dict[K, T] | None = None) -> None:
        self._old = {} if old is None else old
        self._new = {} if new is None else new

    def having(self, more: Mapping[K, T]) -> "Growing[K, T]":
        """The same with these in it; what is in both reads as in `more`."""
        old, new = self._old, {**self._new, **more}
        return Growing({**old, **new}) if len(new) ** 2 > len(old) else Growing(old, new)

    def __getitem__(self, key: K) -> T:
        return self._new[key] if key in self._new else self._old[key]

    @overload
    def get(self, key: K, /) -> T | None: ...
    @overload
    def get(self, key: K, default: T | D, /) -> T | D: ...
    def get(self, key: K, default: T | D | None = None, /) -> T | D | None:
        found = self._new.get(key, _NOTHING)
        return self._old.get(key, default) if found is _NOTHING else cast(T, found)

    def __contains__(self, key: object) -> bool:
        return key in self._new or key in self._old

    def __iter__(self) -> Iterator[K]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._old) + sum(key not in self._old for key in self._new)

    def items(self) -> ItemsView[K, T]:
        return self._whole().items()

    def values(self) -> ValuesView[T]:
        return self._whole().values()

    def _whole(self) -> dict[K, T]:
        return {**self._old, **self._new} if self._new else self._old


@cache
def ids(field: str, *kinds: type[Event], ever: bool = False) -> Fold[Growing[UUID, None]]:
    """The ids in that field of all standing entries of these kinds; `ever`: also of those that
    were amended or entered in error since, for an id is used once."""

    def named(entries: Iterable[RecordedEvent]) -> dict[UUID, None]:
        return {getattr(entry.event, field): None for entry in entries}

    def among(history: History) -> Growing[UUID, None]:
        return Growing(named(history.among(*kinds, ever=ever)))

    return Fold(among, *kinds, then=lambda used, news: used.having(named(news)), lasts=True)


class _Told(NamedTuple, Generic[T]):
    things: Growing[UUID, T]
    """In the order in which they began."""
    entries: Growing[UUID, Entries]
    """What each of them comes from, in order of time; the first is its beginning."""
    passed_over: frozenset[UUID]
    """Ids of which something was passed over: told before they began, or that they began again."""
    last: datetime | None
    """When the last of them began."""


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
        lasts: bool = False,
    ) -> None:
        self._id_of: Callable[[RecordedEvent], UUID] = attrgetter(f"event.{field}")
        self._begins = begins
        self._kinds = (begins, *goes_on)
        self._come_to = come_to
        self.fold = Fold(self._all, *self._kinds, then=self._further, lasts=lasts)

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
        for entry in sorted(history.among(*self._kinds), key=_occurred_at):
            id_ = self._id_of(entry)
            its = told.get(id_)
            if isinstance(entry.event, self._begins) != (its is None):
                passed_over.add(id_)
            elif its is None:
                told[id_] = [entry]
            else:
                its.append(entry)
        of = {id_: tuple(entries) for id_, entries in told.items()}
        things = {id_: self._come_to(entries, None) for id_, entries in of.items()}
        last = max((entries[0].occurred_at for entries in of.values()), default=None)
        return _Told(Growing(things), Growing(of), frozenset(passed_over), last)

    def _further(self, told: _Told[T], news: Entries) -> _Told[T] | None:
        things: dict[UUID, T] = {}
        entries: dict[UUID, Entries] = {}
        passed_over, last = told.passed_over, told.last
        for entry in news:
            id_, at = self._id_of(entry), entry.occurred_at
            before = entries.get(id_) or told.entries.get(id_, ())
            if isinstance(entry.event, self._begins):
                if before or id_ in passed_over or (last is not None and at < last):
                    return None
                things[id_], entries[id_], last = self._come_to((entry,), None), (entry,), at
            elif not before or at < before[0].occurred_at:
                passed_over |= {id_}
            elif at >= before[-1].occurred_at:
                was = things[id_] if id_ in things else told.things[id_]
                things[id_], entries[id_] = self._come_to((entry,), was), (*before, entry)
            else:
                place = bisect_right(before, at, key=_occurred_at)
                entries[id_] = (*before[:place], entry, *before[place:])
                things[id_] = self._come_to(entries[id_], None)
        return _Told(told.things.having(things), told.entries.having(entries), passed_over, last)
