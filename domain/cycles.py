"""Python's search for reference cycles, put off where thousands of values are made at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

_lock: Final = Lock()
_inside: Final[list[bool]] = []
"""Of each that has put it off at the moment: whether the first of them found it on."""


@contextmanager
def search_put_off() -> Iterator[None]:
    """Lets the search wait: entries, cells and rows make no cycles, and it goes through all that
    is in memory, for longer than it takes to make them.

    What is not needed any more is freed as ever. Whoever has switched the search off keeps it off;
    where several threads are in here at once, it goes on when the last of them is done.
    """
    with _lock:
        _inside.append(_inside[0] if _inside else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            searching = _inside.pop()
            if searching and not _inside:
                gc.enable()
