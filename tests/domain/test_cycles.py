"""The search for reference cycles waits, and goes on."""

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from domain import cycles
from domain.cycles import (
    search_ended,
    search_put_off,
    search_rarely,
    searched_seldom,
    searched_when_quiet,
)

USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What other tests put aside in this process counts as searched.
    monkeypatch.setattr(cycles, "_unsearched", [0])
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.enable()
    gc.set_threshold(*before)


@pytest.fixture
def searches() -> Iterator[list[int]]:
    """The generations that were searched meanwhile."""
    found: list[int] = []

    def note(phase: str, told: dict[str, int]) -> None:
        if phase == "start" and threading.current_thread() is threading.main_thread():
            found.append(told["generation"])

    gc.collect()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


class _Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_the_search_waits_and_goes_on() -> None:
    """Performance: within, nothing is looked through; afterwards all is as before."""
    with search_put_off():
        assert not gc.isenabled()
        with search_put_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_made_meanwhile_is_not_gone_through_afterwards(searches: list[int]) -> None:
    """Performance: thousands of new values do not begin a search once it goes on."""
    with search_put_off():
        kept = [[number] for number in range(50_000)]
    more = [[number] for number in range(USUAL[0] // 2)]
    assert searches == []
    assert len(kept) + len(more) == 50_000 + USUAL[0] // 2


def test_what_others_left_in_cycles_is_freed_in_the_end() -> None:
    """House rule: memory stays bounded, also where the search is put off again and again."""
    lost = []
    for _ in range(1_500):
        knots = [_Knot() for _ in range(200)]
        lost.append(weakref.ref(knots[0]))
        del knots
        with search_put_off():
            kept = [[number] for number in range(1_000)]
    gone = sum(1 for one in lost if one() is None)
    assert kept
    assert gone > len(lost) / 2


def test_what_somebody_froze_stays_frozen() -> None:
    """Performance: a program that decides for itself what is never searched is not overruled."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        with search_put_off():
            kept = [[number] for number in range(5_000)]
        assert kept
        assert 0 < frozen - 1_000 < gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_it_goes_on_after_a_failure() -> None:
    """Performance: what fails within does not leave the search switched off."""
    with pytest.raises(LookupError), search_put_off():
        raise LookupError
    assert gc.isenabled()


def test_who_switched_it_off_keeps_it_off() -> None:
    """Performance: a program that decides for itself when to search is not overruled."""
    gc.disable()
    with search_put_off():
        assert not gc.isenabled()
    assert not gc.isenabled()
    gc.enable()
    gc.set_threshold(0)
    with searched_seldom():
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_the_search_goes_on_whoever_leaves_last() -> None:
    """House rule: threads that put it off at once, in whatever order they end, leave it on."""
    first, second = search_put_off(), search_put_off()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    third = search_put_off()
    third.__enter__()
    second.__exit__(None, None, None)
    third.__exit__(None, None, None)
    assert gc.isenabled()


def test_seldom_is_as_usual_again_whoever_leaves_last(searches: list[int]) -> None:
    """Performance: long work searches seldom; afterwards the thresholds are what they were."""
    first, second = searched_seldom(), searched_seldom()
    first.__enter__()
    second.__enter__()
    kept = [[number] for number in range(50_000)]
    assert searches == []
    first.__exit__(None, None, None)
    assert gc.get_threshold() != USUAL
    second.__exit__(None, None, None)
    assert gc.get_threshold() == USUAL
    assert searches == []
    assert kept


def test_rarely_leaves_everything_to_whoever_asks_for_it(searches: list[int]) -> None:
    """Performance: a server looks through all that it holds when nobody waits for it."""
    search_rarely()
    searches.clear()
    kept = [[number] for number in range(1_000_000)]
    assert kept
    assert set(searches) <= {0, 1}


def test_while_somebody_waits_only_little_is_searched(searches: list[int]) -> None:
    """Performance: between two turns that somebody waits for, nothing old is gone through."""
    with searched_when_quiet() as turned:
        searches.clear()
        kept = []
        for _ in range(100):
            kept += [[number] for number in range(1_000)]
            turned(False)
        assert set(searches) == {0}
        turned(True)
        assert searches[-1] == 1
    assert gc.get_threshold() == USUAL
    assert kept


def test_what_is_lost_in_cycles_is_freed_when_it_is_quiet() -> None:
    """House rule: memory stays bounded, also where cycles live longer than what is new."""
    with searched_when_quiet() as turned:
        knots = [_Knot() for _ in range(5_000)]
        lost = [weakref.ref(knot) for knot in knots]
        del knots
        turned(False)
        assert any(one() is not None for one in lost)
        turned(True)
        assert all(one() is None for one in lost)


@pytest.mark.parametrize("quiet", [True, False])
def test_after_many_turns_everything_is_searched(quiet: bool) -> None:
    """House rule: memory stays bounded, also where it is never quiet."""
    with searched_when_quiet() as turned:
        knot = _Knot()
        turned(True)  # it is old from now on
        lost = weakref.ref(knot)
        del knot
        turned(True)
        assert lost() is not None
        for _ in range(10_000 if quiet else 100_000):
            turned(quiet)
        assert lost() is None


def test_what_is_there_at_the_end_is_gone_through_no_more() -> None:
    """Start and end: a process that ends looks for no cycles in what it has loaded; what is in none
    is freed as ever."""
    in_a_cycle, alone = _Knot(), _Knot()
    del alone.itself
    kept, freed = weakref.ref(in_a_cycle), weakref.ref(alone)
    search_ended()
    try:
        del in_a_cycle, alone
        gc.collect()
        assert not gc.isenabled()
        assert kept() is not None
        assert freed() is None
    finally:
        gc.unfreeze()
        gc.collect()
    assert kept() is None
