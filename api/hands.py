"""Processes beside one that tells them what to do, for work that takes every processor.

They hold the only other end of a pipe: without the one that began them, each ends by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

_ENDING_SECONDS = 10.0


@contextmanager
def hands(
    context: Any,
    number: int,
    serve: Callable[..., None],
    told: Callable[[Sequence[Connection]], tuple[Any, ...]],
) -> Iterator[Sequence[Connection]]:
    """The ends of the pipes to so many processes, until the end of the block.

    Each, begun by `context` (`multiprocessing.get_context`), does `serve` with its own end and with
    what it is `told`, which is given the ends of this process so far.
    """
    with ExitStack() as started:
        ends: list[Connection] = []
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, *told([*ends, ours])))
            process.start()
            theirs.close()  # from here on only the process holds it: its end is noticed
            started.callback(_end, ours, process)
            ends.append(ours)
        yield ends


def _end(connection: Connection, process: Any) -> None:
    connection.close()
    process.join(_ENDING_SECONDS)
    process.kill()
    process.join()
