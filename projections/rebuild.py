"""Rebuilding views: replay the log into builds beside those that are read, compare, swap.

Readers go on reading the old build of a view until the transaction that swaps it. A category's
streams are cut, by name, into parts; each is read once for all views, folded and compared by
whoever has a hand free, in this process or in others. What is folded stays: a rebuild that was
interrupted goes on where it was. Memory holds a few parts at a time, however long the log is.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Generic, Protocol, TypeVar

from domain.cycles import search_put_off
from domain.event import History, Stream
from projections.folding import Change, Folds, LogReader
from projections.view import View, up_to

_ENTRIES_IN_PART = 2_000
_STREAMS_AT_ONCE = 100
_FEW_ENTRIES = 1_000

Progress = Callable[[int], None]
"""Called with the number of streams folded so far."""

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)

# --- Ports ------------------------------------------------------------------------------------


class SizedLog(LogReader, Protocol):
    """The log, and how much there is of it."""

    def sized_streams(self, category: str) -> Iterator[tuple[Stream, int]]:
        """Every stream of a category with the number of its entries, by name."""
        ...

    def streams_since(self, category: str, position: int) -> Sequence[Stream]:
        """Those with entries past a position."""
        ...


class Build(Protocol):
    """The rows of a view as of a position."""

    @property
    def position(self) -> int: ...
    def write(self, changes: Iterable[Change]) -> None: ...


class Finishing(Protocol):
    """The transaction in which a build is completed and swapped in."""

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

    def swap(self, position: int) -> None: ...


class Round(Protocol):
    """What all know who fold or compare parts at the same time; may be sent to other processes."""

    @property
    def positions(self) -> Mapping[str, int]:
        """By table: as of which position the view is folded."""
        ...

    def uncompared(self) -> "Round":
        """The same, with nothing to compare."""
        ...


class Comparing(Protocol):
    """Two builds of a view compared part after part."""

    def add(self, part: Any) -> None: ...


class Building(Protocol[C_co]):
    """New builds of some views in the making."""

    def parts(self, category: str) -> Sequence[tuple[str, str, int]]:
        """What is folded already, by name: past, up to, and the position as of which."""
        ...

    def note(self, category: str, past: str, upto: str, position: int) -> None:
        """Says that a part is folded as of a position."""
        ...

    def round(self, *, compare: bool) -> AbstractContextManager[Round]:
        """A moment as of which to fold: compared, where each view stands; else the log's end."""
        ...

    def comparing(self, round_: Any) -> Mapping[str, Comparing]: ...
    def compared(self, round_: Any, found: Any) -> Mapping[str, C_co]: ...
    def settling(self, table: View[Any, Any]) -> AbstractContextManager[Build | None]:
        """A transaction on what is read so far, if it is of the same version."""
        ...

    def finishing(self, table: View[Any, Any]) -> AbstractContextManager[Finishing]: ...


class PartStore(Protocol):
    """The tables of views, as whoever folds parts needs them."""

    def folding(
        self, round_: Any, tables: Sequence[View[Any, Any]], past: str, upto: str
    ) -> AbstractContextManager[Mapping[str, Build]]:
        """The transaction in which a part is written."""
        ...

    def told(
        self,
        round_: Any,
        tables: Sequence[View[Any, Any]],
        past: str,
        upto: str,
        written: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """A part as it stands in both builds, of those views that are compared.

        `written`: the builds that `folding` gave, where it was folded just now.
        """
        ...


class BuildStore(PartStore, Protocol[C_co]):
    """The tables of views, as a rebuild needs them."""

    def make(self, tables: Sequence[View[Any, Any]]) -> None: ...
    def building(
        self, tables: Sequence[View[Any, Any]], *, afresh: bool
    ) -> AbstractContextManager[Building[C_co]]: ...
    def generation(self) -> int: ...
    def erased_streams(self, category: str) -> list[str]: ...


# --- Parts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """The streams of a category past one name, up to and with another."""

    category: str
    past: str
    upto: str
    streams: tuple[Stream, ...]
    """Those that are to be folded: all, or, of a part that was folded, those that have changed."""
    count: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class Done:
    """A part that was folded, and compared if that was asked for."""

    part: Part
    told: Mapping[str, Any]


class Hands(Protocol):
    """Whoever folds parts, in this process or in others."""

    def work(
        self, views: Sequence[View[Any, Any]], round_: Any, parts: Iterator[Part]
    ) -> Iterator[Done]:
        """Folds and compares them; in their order."""
        ...


@search_put_off()
def fold_part(
    views: Sequence[View[Any, Any]], round_: Round, part: Part, log: LogReader, store: PartStore
) -> Done:
    """Folds one part of all views of its category, and compares it with what is read so far."""
    its = [view for view in views if view.category == part.category]
    builds = _written(its, round_, part, log, store) if part.streams else {}
    return Done(part, store.told(round_, its, part.past, part.upto, builds))


def _written(
    views: Sequence[View[Any, Any]], round_: Round, part: Part, log: LogReader, store: PartStore
) -> Mapping[str, Build]:
    """The part folded by each of these views; what was read of the log is not held any longer."""
    histories = log.scan_streams(part.streams)
    with store.folding(round_, views, part.past, part.upto) as builds:
        for view in views:
            build = builds[view.table]
            build.write(_refolded(view, histories, round_.positions[view.table]))
    return builds


@dataclass(frozen=True, slots=True)
class Alone:
    """Folds part after part in this process."""

    log: LogReader
    store: PartStore

    def work(
        self, views: Sequence[View[Any, Any]], round_: Any, parts: Iterator[Part]
    ) -> Iterator[Done]:
        """Folds and compares them, one after the other."""
        return (fold_part(views, round_, part, self.log, self.store) for part in parts)


def _parts(
    category: str,
    log: SizedLog,
    folded: Sequence[tuple[str, str, int]],
    changed: Collection[Stream],
) -> Iterator[Part]:
    """All parts of a category, by name: those that were folded as they are, the rest in pieces."""
    pasts = [past for past, _, _ in folded]

    def place(sized: tuple[Stream, int]) -> int | None:
        """The folded part that a stream stands in."""
        at = bisect_left(pasts, str(sized[0])) - 1
        return at if at >= 0 and str(sized[0]) <= folded[at][1] else None

    last = f"{category}-"
    for at, streams in groupby(log.sized_streams(category), place):
        if at is None:
            for piece in _pieces(streams):
                upto = str(piece[-1])
                yield Part(category, last, upto, tuple(piece), len(piece))
                last = upto
        else:
            names = [stream for stream, _ in streams]
            past, last, _ = folded[at]
            again = tuple(stream for stream in names if stream in changed)
            yield Part(category, past, last, again, len(names))


def _pieces(streams: Iterator[tuple[Stream, int]]) -> Iterator[list[Stream]]:
    """Some streams each, of about as many entries."""
    piece: list[Stream] = []
    held = 0
    for stream, entries in streams:
        piece.append(stream)
        held += entries
        if held >= _ENTRIES_IN_PART:
            yield piece
            piece, held = [], 0
    if piece:
        yield piece


# --- Rebuilding -------------------------------------------------------------------------------


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
    log: SizedLog,
    store: BuildStore[C],
    *,
    compare: bool = True,
    afresh: bool = False,
    hands: Hands | None = None,
    progress: Progress = lambda folded: None,
) -> list[Rebuilt[C]]:
    """Replays the whole log into new builds of these views, and swaps them in one by one.

    Compared, a view comes out at the position at which its old build stands; if not, or without an
    old build, at the log's end. It goes on with what an interrupted rebuild of the same views has
    left, unless `afresh`. The store's error comes through where another process rebuilds one of the
    views.
    """
    store.make(views)
    with store.building(views, afresh=afresh) as building:
        work = _Rebuilding(views, log, store, building, hands or Alone(log, store), progress)
        positions, comparisons = work.folded(compare=compare)
        positions = work.come_nearer(positions, compare=compare)
        return [
            work.finished(view, positions[view.table], comparisons.get(view.table))
            for view in views
        ]


@dataclass(frozen=True, slots=True)
class _Rebuilding(Generic[C]):
    """One rebuild of some views."""

    views: Sequence[View[Any, Any]]
    log: SizedLog
    store: BuildStore[C]
    building: Building[C]
    hands: Hands
    progress: Progress

    def folded(self, *, compare: bool) -> tuple[Mapping[str, int], Mapping[str, C]]:
        """All parts folded and compared, under one set of destroyed keys; as of which positions."""
        erased: set[Stream] = set()
        while True:
            generation = self.store.generation()
            if compare:
                self._settle()
            with self.building.round(compare=compare) as round_:
                comparing = self.building.comparing(round_)
                done = 0
                for part in self._worked(round_, erased):
                    for table, told in part.told.items():
                        comparing[table].add(told)
                    done += part.part.count
                    self.progress(done)
                comparisons = self.building.compared(round_, comparing)
            if generation == self.store.generation():
                return round_.positions, comparisons
            # Somewhere a key was destroyed meanwhile: what it sealed must be gone from both builds.
            erased = set(self._erased(self._categories()))

    def come_nearer(self, positions: Mapping[str, int], *, compare: bool) -> Mapping[str, int]:
        """Where many entries came meanwhile: what they changed folded again, before the views must
        stand still for the rest."""
        with self.building.round(compare=compare) as now:
            if all(now.positions[name] - at <= _FEW_ENTRIES for name, at in positions.items()):
                return positions
            for _ in self._worked(now.uncompared(), ()):
                pass
            return now.positions

    def finished(self, view: View[Any, Any], position: int, comparison: C | None) -> Rebuilt[C]:
        """Brings the fresh build to where the old one has come meanwhile, and swaps it in."""
        with self.building.finishing(view) as end:
            target = position
            if end.read is not None:
                target = max(position, min(end.read.position, self.log.head_size()))
            if target > position:
                changed = self.log.streams_since(view.category, position)
                self._refold(view, end.fresh, changed, target)
            end.swap(target)
            replaced = end.read_version
        return Rebuilt(view.name, view.version, target, replaced, comparison)

    def _worked(self, round_: Round, erased: Collection[Stream]) -> Iterator[Done]:
        for done in self.hands.work(self.views, round_, self._all_parts(round_, erased)):
            part = done.part
            at = self._position(round_, part.category)
            self.building.note(part.category, part.past, part.upto, at)
            yield done

    def _all_parts(self, round_: Round, erased: Collection[Stream]) -> Iterator[Part]:
        for category in self._categories():
            folded = self.building.parts(category)
            changed = {*erased}
            if folded:
                earliest = min(position for _, _, position in folded)
                since = min(earliest, self._position(round_, category))
                changed.update(self.log.streams_since(category, since))
            yield from _parts(category, self.log, folded, changed)

    def _position(self, round_: Round, category: str) -> int:
        """The first position that any view of the category is folded as of."""
        its = [view.table for view in self.views if view.category == category]
        return min(round_.positions[table] for table in its)

    def _settle(self) -> None:
        """What is read so far loses what destroyed keys sealed, as its worker would see to."""
        for view in self.views:
            erased = list(self._erased([view.category]))
            if erased:
                with self.building.settling(view) as build:
                    if build is not None:
                        self._refold(view, build, erased, build.position)

    def _refold(
        self, view: View[Any, Any], build: Build, streams: Iterable[Stream], position: int
    ) -> None:
        pending = iter(streams)
        while batch := list(islice(pending, _STREAMS_AT_ONCE)):
            build.write(_refolded(view, self.log.scan_streams(batch), position))

    def _erased(self, categories: Iterable[str]) -> Iterator[Stream]:
        for category in categories:
            yield from map(Stream.parse, self.store.erased_streams(category))

    def _categories(self) -> list[str]:
        return sorted({view.category for view in self.views})


def _refolded(
    view: View[Any, Any], histories: Iterable[History], position: int
) -> Iterator[Change]:
    """Streams folded afresh as of `position`."""
    folds = Folds(view, capacity=0)
    for history in histories:
        if history:
            seen = up_to(history, position)
            stream = history[0].stream
            yield folds.refold(stream, seen) if seen else Change(stream, afresh=True, written={})
