"""Python's search for reference cycles, put off where thousands of values are made at once.

The search goes through the values themselves and, from time to time, through all that is in memory:
with many histories there that takes longer than to make them, and stops every thread. Entries,
cells and rows make no cycles, and what is not needed any more is freed as ever.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

Thresholds = tuple[int, int, int]
"""As `gc.set_threshold` takes them: new objects, and how many searches of the younger each."""

_SELDOM: Final[Thresholds] = (100_000, 20, 100)
_RARELY: Final[Thresholds] = (5_000, 20, 2**30)
_MOST_UNSEARCHED: Final = 500_000
"""So many objects that may be in cycles are put aside before everything is searched once."""

_lock: Final = RLock()
_off: Final[list[bool]] = []
"""Of each that has put it off at the moment: whether the first of them found it on."""
_seldom: Final[list[Thresholds]] = []
"""Of each that has made it seldom at the moment: what the first of them found."""
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
    with _lock:
        usual = gc.get_threshold()
        _seldom.append(_seldom[0] if _seldom else usual)
        if 0 < usual[0] < _SELDOM[0]:  # 0: whoever has switched it off so keeps it off
            gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        with _lock:
            usual = _seldom.pop()
            if not _seldom:
                gc.set_threshold(*usual)
                if gc.isenabled() and usual[0]:
                    _put_aside(gc.get_count()[0])


def search_rarely() -> None:
    """From now on only what is new is looked through; everything, when `gc.collect` is called."""
    gc.collect()
    gc.set_threshold(*_RARELY)


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
