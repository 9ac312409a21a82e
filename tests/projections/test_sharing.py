"""Catching up by several hands: the same rows as by one, each entry once, whoever is killed."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from multiprocessing import active_children
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.hands import HandLost
from api.sharing import Helpers, helpers
from api.worker import Worker
from domain.clinic import Scope
from domain.event import Stream
from infra.view_store import ViewStore
from projections import sharing
from projections.dossier import VIEWS
from projections.folding import Batch, Change, Folds
from projections.sharing import Dealt, Span, Stretch
from projections.view import PlainRow, View, ViewReader
from tests.conftest import Clinic
from tests.projections.story import House, Told
from tests.projections.test_rebuild import opening
from tests.projections.test_tables import (
    Brittle,
    assert_as_folded,
    digests,
    key_of,
    rebuilt_equal,
    told_a_lot,
)

ALL = VIEWS.all()

HandOf = Mapping[tuple[int, int], int]
"""By the number of the transaction, and of the stream in it: who folds it."""


@pytest.fixture
def shared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is to do is shared, a stream at a time, few entries in a transaction."""
    monkeypatch.setattr("api.worker._WORTH_SHARING", 0)
    monkeypatch.setattr("api.worker._WORTH_BEGINNING", 0)
    monkeypatch.setattr("api.worker._ENTRIES_SHARED", 25)
    monkeypatch.setattr(sharing, "_ENTRIES_IN_SHARE", 1)


def all_ready(helping: Helpers, number: int) -> None:
    """Waits until so many processes take a share."""
    while helping.ready(begin=True) < number:
        time.sleep(0.02)


# --- Dealing ------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(1, 700), max_size=9), max_size=4),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_every_stretch_is_dealt_once(sizes: list[list[int]], hands: int, by_chance: Any) -> None:
    """Views: whichever hand is free when, each stretch is folded once, and a stream stays with the
    hand that folded it first."""
    dealt, owners = Dealt(), dict[str, int]()
    for its in sizes:
        stretches = [Stretch(f"relationship-{at}", 1, size) for at, size in enumerate(its)]
        dealing = dealt.over(hands, Span(0, 1, {}, {}), stretches)
        told = list[Stretch]()
        waiting = set(range(hands))
        while waiting:
            hand = by_chance.choice(sorted(waiting))
            share = dealing.next(hand)
            if share is None:
                waiting.remove(hand)
                continue
            told += share.stretches
            for stretch in share.stretches:
                assert owners.setdefault(stretch.stream, hand) == hand
        assert sorted(told) == stretches


def applied(rows: dict[tuple[str, int], PlainRow], changes: Sequence[Change]) -> None:
    """The table after these changes."""
    for change in changes:
        assert change.parked is None
        name = str(change.stream)
        gone = [key for key in rows if key[0] == name] if change.afresh else []
        for key in gone:
            rows.pop(key, None)
        rows |= {(name, entry): row for entry, row in change.written.items()}


def folded_by_hands(
    clinic: Clinic,
    view: View[Any, Any],
    ends: Sequence[int],
    hand_of: Mapping[tuple[int, int], int],
) -> dict[tuple[str, int], PlainRow]:
    """The table, moved along to each of these positions, each stream by some hand each time."""
    log, rows = clinic.log, dict[tuple[str, int], PlainRow]()
    hands = [Folds(view) for _ in range(3)]
    start = 0
    for number, end in enumerate(ends):
        found = [Stretch(*one) for one in log.stretches(view.category, start, end)]
        for at, stretch in enumerate(found):
            batch = Batch(log.scan_stretches([stretch], start, end), log)
            applied(rows, list(hands[hand_of.get((number, at), 0)].changes(batch)))
        start = end
    return rows


@pytest.fixture
def told(house: House) -> Told:
    told_a_lot(house).withdraw(Scope.OUTCOME_MEASURES)
    return told_a_lot(house)


@given(
    cuts=st.sets(st.integers(1, 60), max_size=4),
    hand_of=st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 3)), st.integers(0, 2)),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.usefixtures("told")
def test_any_hands_tell_the_same_rows(
    house: House, cuts: set[int], hand_of: dict[tuple[int, int], int]
) -> None:
    """Rule 6: however the log is cut, and whichever hand folds which stream each time, the rows
    are those of the whole history, to the last value."""
    log = house.clinic.log
    ends = [*sorted(cut for cut in cuts if cut < log.head_size()), log.head_size()]
    for view in ALL:
        whole = dict[tuple[str, int], PlainRow]()
        for stream in log.streams(view.category):
            its = view.of(stream, log.history(stream))
            whole |= {(str(stream), entry): view.taken_apart(row) for entry, row in its.items()}
        assert folded_by_hands(house.clinic, view, ends, hand_of) == whole


@pytest.mark.usefixtures("told")
def test_stretches_are_the_log_between_two_positions(house: House) -> None:
    """Views: the stretches of a category hold exactly its entries past one position, up to and with
    another, in order."""
    log = house.clinic.log
    for start, end in ((0, log.head_size()), (7, 31), (12, 12)):
        found = [Stretch(*one) for one in log.stretches("relationship", start, end)]
        its = [
            (entry.position, entry.stream, entry.version, entry.event)
            for entry in log.scan(start, end - start)
            if entry.stream.category == "relationship"
        ]
        scanned = log.scan_stretches(found, start, end) if found else []
        assert [(e.position, e.stream, e.version, e.event) for e in scanned] == its
        assert sum(stretch.entries for stretch in found) == len(its)


# --- By processes -------------------------------------------------------------------------------


@pytest.mark.usefixtures("shared_at_once")
def test_processes_move_views_along_as_one_does(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 6: moved along by three processes, once and again, every table holds what the fold of
    the whole history gives."""
    cases = [told_a_lot(house) for _ in range(5)]
    with helpers(opening(house.clinic), ALL, 2) as helping:  # type: ignore[arg-type]
        worker = Worker(ALL, house.clinic.log, store, helpers=helping)
        worker.catch_up()  # builds them
        for _ in range(2):
            all_ready(helping, 2)
            for told in cases:
                told.rate(told.session())
            cases.append(told_a_lot(house))
            worker.catch_up()
            for told in cases:
                assert_as_folded(reader, house.clinic, told.stream)
        rebuilt_equal(house.clinic, store)
    assert not active_children()


@pytest.mark.usefixtures("shared_at_once")
def test_a_killed_helper_costs_a_transaction(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """R27: after kill -9 of a process that helps, the worker says so and goes on; each entry counts
    once."""
    cases = [told_a_lot(house) for _ in range(3)]
    with helpers(opening(house.clinic), ALL, 1) as helping:  # type: ignore[arg-type]
        worker = Worker(ALL, house.clinic.log, store, helpers=helping)
        worker.catch_up()
        before = digests(store)
        all_ready(helping, 1)
        for told in cases:
            told.rate(told.session())
        os.kill(active_children()[0].pid or 0, signal.SIGKILL)
        with pytest.raises(HandLost):
            worker.catch_up()
        assert digests(store) == before
        all_ready(helping, 1)
        worker.catch_up()
        for told in cases:
            assert_as_folded(reader, house.clinic, told.stream)
        rebuilt_equal(house.clinic, store)


@pytest.mark.usefixtures("shared_at_once")
def test_what_a_helper_remembers_does_not_outlive_its_key(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 9: a key that is destroyed between two shares takes along what it sealed, also in the
    memory of whoever helps."""
    cases = [told_a_lot(house) for _ in range(3)]
    clinic = house.clinic
    with helpers(opening(clinic), ALL, 2) as helping:  # type: ignore[arg-type]
        worker = Worker(ALL, clinic.log, store, helpers=helping)
        worker.catch_up()
        all_ready(helping, 2)
        for told in cases:
            told.rate(told.session())
        worker.catch_up()
        clinic.keyring.destroy(clinic.id, key_of(clinic, cases[0], cases[0].client))
        for told in cases[1:]:
            told.rate(told.session())
        cases[0].session_in_an_emergency()
        worker.catch_up()
        for told in cases:
            assert_as_folded(reader, clinic, told.stream)
        rebuilt_equal(clinic, store)


@pytest.mark.usefixtures("shared_at_once")
def test_a_helper_parks_what_it_cannot_fold(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """R27: a stream that a view cannot fold is parked, whoever folds it; the others go on."""
    brittle = Brittle()
    views: list[View[Any, Any]] = [brittle, VIEWS.timeline]
    with helpers(opening(house.clinic), views, 2) as helping:  # type: ignore[arg-type]
        worker = Worker(views, house.clinic.log, store, helpers=helping)
        worker.catch_up()
        all_ready(helping, 2)
        told = [house.open() for _ in range(4)]
        worker.catch_up()
        receipts = [one.withdraw(Scope.TREATMENT) for one in told[:2]]
        told[3].session()
        worker.catch_up()
        told[0].withdraw(Scope.OUTCOME_MEASURES)
        worker.catch_up()
    reading = reader.read(brittle)
    assert reading.rows.keys() == {one.stream for one in told[2:]}
    parked: dict[Stream, tuple[int, str]] = {
        one.stream: (receipt.position, "LookupError")
        for one, receipt in zip(told, receipts, strict=False)
    }
    assert reading.parked == parked


@pytest.mark.usefixtures("shared_at_once")
def test_helpers_end_when_nothing_is_to_be_shared(
    house: House, store: ViewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operating: who helped is ended after a while without work, and begun anew for more."""
    with helpers(opening(house.clinic), ALL, 1) as helping:  # type: ignore[arg-type]
        worker = Worker(ALL, house.clinic.log, store, helpers=helping)
        told_a_lot(house)
        worker.catch_up()
        all_ready(helping, 1)
        worker.catch_up()
        assert active_children()
        monkeypatch.setattr("api.sharing._KEPT_SECONDS", 0.0)
        worker.catch_up()
        assert not active_children()
        told_a_lot(house)
        worker.catch_up()
        rebuilt_equal(house.clinic, store)
