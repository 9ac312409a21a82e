"""The search for reference cycles waits, and goes on."""

import gc
from collections.abc import Iterator

import pytest

from domain.cycles import search_put_off


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.enable()


def test_the_search_waits_and_goes_on() -> None:
    """Performance: within, nothing is looked through; afterwards all is as before."""
    with search_put_off():
        assert not gc.isenabled()
        with search_put_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


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
