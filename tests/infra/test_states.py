"""What histories come to, as bytes and back: nothing is other than it was."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain.event import Entries, History, Stream
from domain.topics import COMMANDS
from infra import states
from infra.histories import Recalled
from infra.states import Unstorable, code_of, fold_all, opened, stored
from tests.domain.test_folding import FOLDS, decided, plain, proposed, streams, streams_of
from tests.domain.test_records import (
    _CLIENT,
    _THERAPIST,
    OTHERS,
    wild_records,
)
from tests.infra.test_histories import never
from tests.kit import OFFICE, Record

LASTING = {name: fold for name, fold in FOLDS.items() if fold.lasts}


def first(entries: Entries, length: int) -> Entries:
    return entries[:length]


def from_bytes(entries: Entries, size: int) -> History:
    """These entries, of which the first were a history whose states went through bytes."""
    history = History(entries[:size])
    if history.last is None:
        return History(entries)
    fold_all(history)
    kept = Recalled(size, history.last, partial(first, entries, size))
    return History.of_stored(kept, history.version, opened(stored(history))).then(*entries[size:])


@settings(max_examples=400)
@for_all(streams())
def test_every_state_that_lasts_is_what_it_was(told: list[Entries]) -> None:
    """Performance: a state that was stored is the same, in order too, and needs no entry."""
    for entries in told:
        history = History(entries)
        if history.last is None:
            continue
        fold_all(history)
        kept = Recalled(len(history), history.last, never)
        again = History.of_stored(kept, history.version, opened(stored(history)))
        for name, fold in LASTING.items():
            if (state := fold.of(History(entries))) is not None:
                assert plain(again.folded(fold)) == plain(state), name


@settings(max_examples=300)
@for_all(streams(), st.integers(1, 12))
def test_what_came_after_is_folded_on_top(told: list[Entries], size: int) -> None:
    """Rules 1, 6, 9: also where what came after amends what was before, or takes it back."""
    for entries in told:
        grown = from_bytes(entries, size)
        assert grown.version == History(entries).version
        for name, fold in FOLDS.items():
            assert plain(grown.folded(fold)) == plain(fold.of(History(entries))), name


@settings(max_examples=300)
@for_all(
    wild_records(),
    st.sampled_from(sorted(COMMANDS)),
    OTHERS,
    st.sampled_from([_CLIENT, _THERAPIST, OFFICE]),
    st.none() | st.integers(0, 60),
    st.integers(1, 40),
)
def test_a_command_is_decided_alike_over_what_was_stored(
    record: Record, name: str, others: set[str], by: Any, days_ago: int | None, size: int
) -> None:
    """Rule 8: the same given gives the same decision, whether its history was read whole or not."""
    proposal = proposed(name, others, by, days_ago)
    known: dict[Stream, History] = {}
    for stream in streams_of(record):
        entries = tuple(record.history(stream))
        known[stream] = from_bytes(entries, min(size, len(entries)))
    assert decided(proposal, lambda stream: known.get(stream, History())) == decided(
        proposal, record.history
    )


def test_every_fold_that_lasts_has_a_name() -> None:
    """A state is found again by where its fold stands in the domain; none is left out."""
    assert set(states._folds().values()) == set(LASTING.values())


def test_another_line_is_other_code(tmp_path: Path) -> None:
    """A state that other code folded is never read: any change of any file makes another code."""
    files = [tmp_path / "one.py", tmp_path / "two.py"]
    found = set()
    for texts in (("a = 1", "b = 1"), ("a = 1", "b = 2"), ("a = 1b = 1", ""), ("b = 1", "a = 1")):
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        found.add(code_of(files))
    assert len(found) == 4


def test_what_has_no_form_is_refused() -> None:
    """Of a state that cannot be written exactly nothing is written: floats, and strange classes."""
    for value in (1.5, object(), {"a": {1.5}}, [b"bytes"]):
        with pytest.raises(Unstorable):
            states._Writer().written(value)
