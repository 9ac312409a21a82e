"""Threads, of which there are few: what many ask for at once is answered together in one, and
whoever waits in one lends it to others."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Final, Generic, TypeVar

from anyio import from_thread, to_thread

Q = TypeVar("Q")
A = TypeVar("A")

AT_ONCE: Final = 256
WORTH_A_SECOND: Final = 15
"""Questions that wait, for which a second thread is worth its while: it works where the first waits
for the database. With fewer there would only be twice as many batches."""
_THREADS: Final = 2


@dataclass(slots=True)
class _Asked(Generic[Q, A]):
    question: Q
    answer: "asyncio.Future[A]"


class Tray(Generic[Q, A]):
    """Questions that come while others are answered are answered next, all together.

    A thread for each would cost more than the answer, and threads that wait for the same thing
    hinder each other. One is at work while there are questions, a second where many wait, and none
    otherwise; nobody waits for what may come, only for what the loop has at hand.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A | Exception]]) -> None:
        """`answer` gives one answer for each question, or why there is none."""
        self._answer = answer
        self._lock = Lock()
        self._asked: deque[_Asked[Q, A]] = deque()
        self._at_work = 0
        self._due = False
        """Whether it is about to be looked whether a thread is to begin."""
        # Of its own: those of the loop would wake the loop once more whenever it is done.
        self._threads = ThreadPoolExecutor(_THREADS, "tray")

    async def ask(self, question: Q) -> A:
        """The answer; raises what stands in its place."""
        return await self.lay(question)

    def lay(self, question: Q) -> "asyncio.Future[A]":
        """The answer, once there is one: a future of the loop that this is called in."""
        loop = asyncio.get_running_loop()
        asked: _Asked[Q, A] = _Asked(question, loop.create_future())
        with self._lock:
            self._asked.append(asked)
            due, self._due = self._due, True
        if not due:
            loop.call_soon(self._begin, loop, 0)
        return asked.answer

    def _begin(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        """Lets a thread begin, once the loop was turned without bringing more questions.

        Those who were answered together ask again close after each other: to begin with the first
        of them would make them two batches, a small one and what has to wait for it. `before`: how
        many waited a turn ago.
        """
        with self._lock:
            waiting = len(self._asked)
            if before < waiting < AT_ONCE:
                loop.call_soon(self._begin, loop, waiting)
                return
            self._due = False
            enough = waiting if self._at_work == 0 else waiting // WORTH_A_SECOND
            begin = enough > 0 and self._at_work < _THREADS
            self._at_work += begin
        if begin:
            self._threads.submit(self._work)

    def close(self) -> None:
        """Waits until what is being answered is."""
        self._threads.shutdown()

    def _work(self) -> None:
        while batch := self._next():
            try:
                answers = self._answer([asked.question for asked in batch])
            except Exception as error:  # of all of them, so nobody waits for ever
                answers = [error] * len(batch)
            _tell(batch, answers)

    def _next(self) -> list[_Asked[Q, A]]:
        with self._lock:
            batch = [self._asked.popleft() for _ in range(min(AT_ONCE, len(self._asked)))]
            self._at_work -= not batch
        return batch


def _tell(batch: Sequence[_Asked[Q, A]], answers: Sequence[A | Exception]) -> None:
    """Gives the answers in the loops where they are waited for, each woken once."""
    told: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[A], A | Exception]]] = {}
    for asked, answer in zip(batch, answers, strict=True):
        told.setdefault(asked.answer.get_loop(), []).append((asked.answer, answer))
    for loop, answered in told.items():
        with suppress(RuntimeError):  # that loop was closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, answered)


def _settle(answered: Sequence[tuple[asyncio.Future[A], A | Exception]]) -> None:
    for future, answer in answered:
        if future.done():  # whoever waited was cancelled
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


@contextmanager
def thread_lent() -> Iterator[None]:
    """While it waits, a thread that serves a request is not counted among those that may."""
    try:
        from_thread.run_sync(_allow, 1)
    except RuntimeError:  # not such a thread: nobody else waits for it
        yield
        return
    try:
        yield
    finally:
        from_thread.run_sync(_allow, -1)


def _allow(more: int) -> None:
    to_thread.current_default_thread_limiter().total_tokens += more
