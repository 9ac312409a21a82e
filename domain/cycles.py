"""Python's search for reference cycles, put off where thousands of values are made at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def search_put_off() -> Iterator[None]:
    """Lets the search wait: entries, cells and rows make no cycles, and it goes through all that
    is in memory, for longer than it takes to make them.

    What is not needed any more is freed as ever. Whoever has switched the search off keeps it off;
    where several threads are in here at once, it may go on as soon as one of them is done.
    """
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()
