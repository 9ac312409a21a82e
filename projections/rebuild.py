"""Rebuilding views: replay the log into builds beside those that are read, compare, swap.

Readers go on reading the old build of a view until the transaction that swaps it. Every stream is
read once for all views, and memory holds a hundred streams at a time, however long the log is.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from domain.event import History, Stream
from projections.folding import Change, Folds, LogReader
from projections.view import View, up_to

_STREAMS_AT_ONCE = 100
_ENTRIES_AT_ONCE = 5_000

Progress = Callable[[int], None]
"""Called with the number of streams folded so far."""


# --- Ports ------------------------------------------------------------------------------------


class Build(Protocol):
    """The rows of a view as of a position."""

    @property
    def position(self) -> int: ...
    def write(self, changes: Iterable[Change]) -> None: ...
    def parked(self) -> Collection[str]:
        """The streams of which it has no rows, because they could not be folded."""
        ...


C_co = TypeVar("C_co", covariant=True)


class Finishing(Protocol[C_co]):
    """The transaction in which a build is completed, compared and swapped in."""

    @property
    def read(self) -> Build | None:
        """What is read so far; it does not move meanwhile."""
        ...

    @property
    def fresh(self) -> Build: ...
    @property
    def read_version(self) -> int | None:
        """The version of the view that folded it."""
        ...

    def compare(self, position: int) -> C_co | None: ...
    def swap(self, position: int) -> None: ...


class Building(Protocol[C_co]):
    """A build in the making."""

    def position(self) -> int | None:
        """Where what is read so far stands; None: nothing is."""
        ...

    def write(self, changes: Iterable[Change]) -> None: ...
    def finishing(self) -> AbstractContextManager[Finishing[C_co]]: ...


class BuildStore(Protocol[C_co]):
    """The tables of views, as a rebuild needs them."""

    def make(self, tables: Sequence[View[Any, Any]]) -> None: ...
    def building(
        self, tables: Sequence[View[Any, Any]]
    ) -> AbstractContextManager[Mapping[str, Building[C_co]]]: ...
    def generation(self) -> int: ...
    def erased_streams(self, category: str) -> list[str]: ...


# --- Rebuilding -------------------------------------------------------------------------------

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Rebuilt(Generic[C]):
    """What a rebuild found."""

    view: str
    version: int
    position: int
    replaced_version: int | None
    """The version of what was read before; a comparison with an older one may well differ."""
    comparison: C | None
    """Of what was read before and what is read now; None: nothing was, or it was not asked for."""


def rebuild(
    views: Sequence[View[Any, Any]],
    log: LogReader,
    store: BuildStore[C],
    *,
    compare: bool = True,
    progress: Progress = lambda folded: None,
) -> list[Rebuilt[C]]:
    """Replays the whole log into new builds of these views, and swaps them in one by one.

    Compared, a view comes out at the position at which its old build stands; if not, or without an
    old build, at the log's end. The store's error comes through where another process rebuilds one
    of the views.
    """
    store.make(views)
    with store.building(views) as building:
        fresh = [_begun(view, building[view.table], log, compare=compare) for view in views]
        folded = 0
        for category in sorted({view.category for view in views}):
            its_views = [one for one in fresh if one.view.category == category]
            for streams in _batches(log.streams(category)):
                histories = log.scan_streams(streams)
                for one in its_views:
                    one.building.write(_refolded(one.folds, histories, one.position))
                folded += len(streams)
                progress(folded)
        return [_finished(one, log, store, compare=compare) for one in fresh]


@dataclass(frozen=True, slots=True)
class _Fresh(Generic[C]):
    """A view on its way to a new build as of `position`."""

    view: View[Any, Any]
    folds: Folds[Any, Any]
    building: Building[C]
    position: int


def _begun(
    view: View[Any, Any], building: Building[C], log: LogReader, *, compare: bool
) -> _Fresh[C]:
    position = building.position() if compare else None
    end = log.head_size() if position is None else position
    return _Fresh(view, Folds(view, capacity=0), building, end)


def _finished(
    fresh: _Fresh[C], log: LogReader, store: BuildStore[C], *, compare: bool
) -> Rebuilt[C]:
    with fresh.building.finishing() as end:
        position = _caught_up(fresh, end, log)
        comparison = _compared(fresh, end, log, store, position) if compare else None
        end.swap(position)
        replaced = end.read_version
    return Rebuilt(fresh.view.name, fresh.view.version, position, replaced, comparison)


def _caught_up(fresh: _Fresh[C], end: Finishing[C], log: LogReader) -> int:
    """Brings the fresh build to where the old one has come meanwhile."""
    position = fresh.position
    target = position if end.read is None else end.read.position
    while position < target:
        entries = log.scan(position, min(_ENTRIES_AT_ONCE, target - position))
        end.fresh.write(fresh.folds.changes(entries, log, end.fresh.parked()))
        position = entries[-1].position
    return position


def _compared(
    fresh: _Fresh[C], end: Finishing[C], log: LogReader, store: BuildStore[C], position: int
) -> C | None:
    """Both builds side by side, erased content being erased in both."""
    while True:
        generation = store.generation()
        erased = map(Stream.parse, store.erased_streams(fresh.view.category))
        for streams in _batches(erased):
            histories = log.scan_streams(streams)
            changes = list(_refolded(fresh.folds, histories, position))
            end.fresh.write(changes)
            if end.read is not None and end.read_version == fresh.view.version:
                end.read.write(changes)
        comparison = end.compare(position)
        if generation == store.generation():
            return comparison


def _refolded(
    folds: Folds[Any, Any], histories: Iterable[History], position: int
) -> Iterator[Change]:
    """Streams folded afresh as of `position`."""
    for history in histories:
        seen = up_to(history, position)
        if seen:
            yield folds.refold(seen[0].stream, seen)


def _batches(streams: Iterator[Stream]) -> Iterator[list[Stream]]:
    while batch := list(islice(streams, _STREAMS_AT_ONCE)):
        yield batch
