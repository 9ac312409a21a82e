"""The queue of callers: each is called once it is answered, whoever of them is interrupted."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from time import sleep
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.records import Author, Proposal, Receipt
from infra.recorder import StoreUnavailable
from infra.turns import HandOver, Turn, Turns
from tests.infra.logs import interrupted, read, until

_NOW = datetime.now(UTC)


def proposal() -> Proposal:
    return Proposal(read(uuid4()), Author(uuid4()))


def answered(turns: Sequence[Turn]) -> None:
    for turn in turns:
        for index, each in enumerate(turn.proposals):
            turn.verdicts[index] = Receipt(each.command_id, _NOW, 1, "", ())


class Held:
    """Writes that are held up until they are let go; each batch is noted when it is taken."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Turn]] = []
        self.let_go = threading.Semaphore(0)
        self.turns = Turns(self.write, 256)

    def write(self, turns: Sequence[Turn], hand_over: HandOver) -> None:
        self.batches.append(turns)
        assert self.let_go.acquire(timeout=20)
        answered(turns)

    def caller(self) -> threading.Thread:
        """A caller whose turn is taken, or waits, when this returns."""
        before = self.entered()
        thread = threading.Thread(target=lambda: list(self.turns.settled([proposal()])))
        thread.start()
        until(lambda: self.entered() > before)
        return thread

    def entered(self) -> int:
        return sum(map(len, self.batches)) + len(self.turns._waiting)


def test_a_caller_interrupted_while_it_is_written_for_leaves_nobody_uncalled() -> None:
    """Group commit: those who were answered behind one that is gone are called all the same."""
    held = Held()
    callers = [held.caller(), held.caller()]

    def behind() -> None:
        until(lambda: held.entered() == 3)
        callers.extend([held.caller(), held.caller()])
        held.let_go.release()
        until(lambda: len(held.batches) == 2)

    with interrupted(behind):
        list(held.turns.settled([proposal()]))
    assert list(map(len, held.batches)) == [1, 4]
    held.let_go.release()
    for thread in callers:
        thread.join(20)
        assert not thread.is_alive()


def test_a_caller_interrupted_while_it_waits_is_not_written_for() -> None:
    """Group commit: a turn that was not taken is withdrawn; those behind it are written for."""
    held = Held()
    callers = [held.caller(), held.caller()]

    def behind() -> None:
        until(lambda: held.entered() == 3)
        callers.append(held.caller())

    with interrupted(behind):
        list(held.turns.settled([proposal()]))
    for _ in range(2):
        held.let_go.release()
    for thread in callers:
        thread.join(20)
        assert not thread.is_alive()
    assert list(map(len, held.batches)) == [1, 2]


@given(st.builds(Random, st.integers()), st.integers(2, 12))
@settings(max_examples=15, deadline=None)
def test_every_caller_is_answered_once_whatever_their_leaders_do(
    chance: Random, callers: int
) -> None:
    """Group commit: who leads may hand over early, late, twice, or fail; each caller is answered
    its own turns, each once, and nobody is left waiting."""
    written: list[UUID] = []
    failed: list[BaseException] = []

    def write(turns: Sequence[Turn], hand_over: HandOver) -> None:
        for _ in range(chance.randrange(3)):
            hand_over()
        sleep(chance.choice((0, 0, 0.0005)))
        if chance.randrange(8) == 0:
            for turn in turns:
                turn.failure = StoreUnavailable()
            return
        written.extend(each.command_id for turn in turns for each in turn.proposals)
        answered(turns)

    turns = Turns(write, 256)

    def record() -> list[UUID]:
        mine = []
        for _ in range(20):
            for turn in turns.settled([proposal()]):
                if turn.failure is None:
                    mine += [v.command_id for v in turn.verdicts if isinstance(v, Receipt)]
                else:
                    failed.append(turn.failure)
        return mine

    with ThreadPoolExecutor(callers) as pool:
        recording = [pool.submit(record) for _ in range(callers)]
        answers = [id_ for each in recording for id_ in each.result(timeout=30)]
    assert sorted(answers) == sorted(written)
    assert len(answers) + len(failed) == 20 * callers
    assert not turns._waiting
    assert not turns._led
