"""Processes beside one that tells them what to do, for work that takes every processor.

They hold the only other end of a pipe: without the one that began them, each ends by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pickle import loads
from typing import Any

_ENDING_SECONDS = 10.0


class HandLost(Exception):
    """A process that folded was ended from outside. What it had in hand is to be folded again."""


def received(end: Connection) -> Any:
    """What a process answers; raises what it raised, or HandLost."""
    try:
        answer = end.recv()
    except (EOFError, ConnectionError):
        raise HandLost from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def portable(error: Exception) -> Exception:
    """The error, if it survives the way to another process; else its kind."""
    with suppress(Exception):  # some errors cannot be made anew from what they hold
        if type(loads(ForkingPickler.dumps(error))) is type(error):  # noqa: S301  just pickled
            return error
    return RuntimeError(type(error).__name__)


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
