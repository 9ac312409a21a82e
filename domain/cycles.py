"""Python's search for reference cycles, put off where thousands of values are made at once.

The search goes through the values themselves and, from time to time, through all that is in memory:
with many histories there that takes longer than to make them, and stops every thread. Entries,
cells and rows make no cycles, and what is not needed any more is freed as ever.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

Thresholds = tuple[int, int, int]
"""As `gc.set_threshold` takes them: new objects, and how many searches of the younger each."""

_SELDOM: Final[Thresholds] = (100_000, 20, 100)
_RARELY: Final[Thresholds] = (5_000, 20, 2**30)
_A_LITTLE: Final[Thresholds] = (2_000, 2**30, 2**30)
_MANY_TURNS, _MOST_TURNS = 10_000, 100_000
"""After so many of them everything is searched: once nobody waits, and in any case."""
_MOST_UNSEARCHED: Final = 500_000
"""So many objects that may be in cycles are put aside before everything is searched once."""

_lock: Final = RLock()
_off: Final[list[bool]] = []
"""Of each that has put it off at the moment: whether the first of them found it on."""
_others: Final[list[Thresholds]] = []
"""Of each that searches by other ones at the moment: what the first of them found."""
_unsearched: Final[list[int]] = [0]


@contextmanager
def search_put_off() -> Iterator[None]:
    """Lets the search wait, where nothing is made but what makes no cycles.

    Whoever has switched the search off keeps it off; where several threads are in here at once, it
    goes on when the last of them is done. What was made is then not gone through either.
    """
    before = gc.get_count()[0]
    with _lock:
        _off.append(_off[0] if _off else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            searching = _off.pop()
            if searching and not _off:
                _put_aside(before)
                gc.enable()


@contextmanager
def searched_seldom() -> Iterator[None]:
    """Meanwhile the search looks seldom at what is new, and hardly ever at everything: for work
    that makes very many objects, of which few are in cycles."""
    with _searched_by(_SELDOM):
        yield


@contextmanager
def searched_when_quiet() -> Iterator[Callable[[bool], None]]:
    """For work that somebody waits for turn by turn: meanwhile what is new is searched a little at
    a time, for half a millisecond. What of it stays, whenever nobody waits; all there is, seldom.

    It gives what is to be called after each turn, and told whether nobody waits.
    """
    turns = 0

    def turned(quiet: bool) -> None:
        nonlocal turns
        turns += 1
        if turns >= (_MANY_TURNS if quiet else _MOST_TURNS):
            turns = 0
            gc.collect()
        elif quiet:
            gc.collect(1)

    with _searched_by(_A_LITTLE):
        yield turned


@contextmanager
def _searched_by(meanwhile: Thresholds) -> Iterator[None]:
    with _lock:
        usual = gc.get_threshold()
        _others.append(_others[0] if _others else usual)
        if 0 < usual[0] < meanwhile[0]:  # 0: whoever has switched it off so keeps it off
            gc.set_threshold(*meanwhile)
    try:
        yield
    finally:
        with _lock:
            usual = _others.pop()
            if not _others:
                gc.set_threshold(*usual)
                if gc.isenabled() and usual[0]:
                    _put_aside(gc.get_count()[0])


def search_rarely() -> None:
    """From now on only what is new is looked through; everything, when `gc.collect` is called."""
    gc.collect()
    gc.set_threshold(*_RARELY)


def search_ended() -> None:
    """Nothing that is there now is gone through any more: for a process that is about to end, which
    would else look through all it has ever loaded, twice. What is not in cycles is freed as ever.
    """
    gc.disable()
    gc.freeze()


def _put_aside(suspect: int) -> None:
    """What is new joins the old, where the search seldom comes, without being gone through; of it
    `suspect` objects may be in cycles.

    Freezing and letting go takes no time. It is left to whoever has frozen something on purpose.
    """
    if gc.get_count()[0] <= gc.get_threshold()[0] or gc.get_freeze_count():
        return
    _unsearched[0] += suspect
    if _unsearched[0] > _MOST_UNSEARCHED:
        _unsearched[0] = 0
        gc.collect()
    else:
        gc.freeze()
        gc.unfreeze()
