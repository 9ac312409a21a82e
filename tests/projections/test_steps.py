"""The steps of the worker that leads: one statement for all views, or nothing at all."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random

import psycopg
import pytest

from api.worker import Worker
from infra.clinics import pinned
from infra.postgres import EmbeddedPostgres
from infra.tiles import WIDTH, SubtreeFiller
from infra.view_store import Steps, ViewStore
from projections.folding import Batch, Change, Folds
from projections.rebuild import rebuild
from projections.view import ViewReader
from tests.projections.story import House, Told
from tests.projections.test_tables import (
    ALL,
    assert_as_folded,
    cut_connections_of_views,
    digests,
    key_of,
    rebuilt_equal,
    superuser,
    told_a_lot,
)

Stands = Mapping[str, tuple[int, object]]


def stands(store: ViewStore) -> Stands:
    return store.tracked(view.table for view in ALL)


def news(house: House, store: ViewStore) -> tuple[dict[str, Sequence[Change]], int]:
    """What the log holds past where the views stand, folded from the histories."""
    log = house.clinic.log
    start = min(at.position for at in store.tracked(view.table for view in ALL).values())
    batch = Batch(log.scan(start, 1_000), log)
    return {view.table: list(Folds(view).changes(batch)) for view in ALL}, log.head_size()


def lead(worker: Worker, steps: Steps) -> None:
    """One waking of the worker that leads."""
    steps.wait(0.2)
    worker.catch_up()


def test_a_step_moves_all_views_or_none(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rules 6, 8: rows and positions of all views come with one commit, each entry once."""
    told = told_a_lot(house)
    worker.catch_up()
    told.rate(told.session())
    changes, position = news(house, store)
    with store.stepping(ALL) as steps:
        standing = steps.standing()
        assert standing is not None
        after = steps.taken(standing, changes, position)
        assert after is not None
        assert {at.position for at in store.tracked(v.table for v in ALL).values()} == {position}
        assert_as_folded(reader, house.clinic, told.stream)
        assert after == steps.standing()
        # What was known before the step is not what is there: it does nothing a second time.
        assert steps.taken(standing, changes, position + 1) is None
    assert {at.position for at in store.tracked(v.table for v in ALL).values()} == {position}
    rebuilt_equal(house.clinic, store)


def moved(house: House, store: ViewStore, told: Told) -> None:
    Worker(ALL[:1], house.clinic.open_log(), store).catch_up()


def swapped(house: House, store: ViewStore, told: Told) -> None:
    rebuild(ALL[:1], house.clinic.log, store)


def settled(house: House, store: ViewStore, told: Told) -> None:
    house.clinic.keyring.destroy(house.clinic.id, key_of(house.clinic, told, told.client))
    Worker(ALL, house.clinic.open_log(), store).settle()


@pytest.mark.parametrize("done", [moved, swapped, settled])
def test_a_step_does_nothing_where_somebody_else_has_changed_a_view(
    house: House,
    worker: Worker,
    store_of: Callable[..., ViewStore],
    done: Callable[[House, ViewStore, Told], None],
) -> None:
    """Rule 6: a worker that was outrun, whose view was rebuilt or whose rows were folded again
    while it was busy, writes nothing of what it had in memory."""
    told = told_a_lot(house)
    worker.catch_up()
    told.rate(told.session())
    store = store_of(house.clinic)
    changes, position = news(house, store)
    with store.stepping(ALL) as steps:
        standing = steps.standing()
        assert standing is not None
        done(house, store_of(house.clinic), told)
        before, rows = stands(store), digests(store)
        assert steps.taken(standing, changes, position) is None
        assert (stands(store), digests(store)) == (before, rows)
    worker.catch_up()
    rebuilt_equal(house.clinic, store)


def test_a_step_waits_for_nobody(
    house: House, worker: Worker, store_of: Callable[..., ViewStore]
) -> None:
    """Rule 6: where somebody holds a view's row, a step does nothing and does not wait."""
    told = told_a_lot(house)
    worker.catch_up()
    told.session()
    store = store_of(house.clinic)
    changes, position = news(house, store)
    with store.stepping(ALL) as steps, store_of(house.clinic).advancing(ALL[:1]):
        standing = steps.standing()
        assert standing is not None
        assert steps.taken(standing, changes, position) is None


@pytest.mark.parametrize("seed", [1, 2])
def test_steps_and_whole_transactions_leave_the_same(
    house: House, store_of: Callable[..., ViewStore], reader: ViewReader, seed: int
) -> None:
    """Rule 6: whoever moves the views, by a step or with locks, one after the other or after a
    cut, the rows are those that a rebuild makes."""
    random, told = Random(seed), [house.open(), house.open()]  # noqa: S311  any will do
    stores = [store_of(house.clinic) for _ in range(2)]
    leader, other = (Worker(ALL, house.clinic.open_log(), store) for store in stores)
    leader.catch_up()
    with leader.listening() as steps:
        assert steps.leads()
        for _ in range(12):
            one = random.choice(told)
            for _ in range(random.randint(1, 3)):
                one.rate(one.session())
            match random.randrange(4):
                case 0:
                    other.catch_up()
                case 1:
                    rebuild([random.choice(ALL)], house.clinic.log, stores[1])
                case _:
                    lead(leader, steps)
        lead(leader, steps)
        leader.catch_up()
    for each in told:
        assert_as_folded(reader, house.clinic, each.stream)
    rebuilt_equal(house.clinic, stores[0])


def test_a_key_destroyed_while_a_worker_leads(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 9: what a destroyed key sealed is in no row and is not remembered by who leads."""
    told = told_a_lot(house)
    worker = Worker(ALL, house.clinic.open_log(), store)
    worker.catch_up()
    with worker.listening() as steps:
        assert steps.leads()
        told.rate(told.session())
        lead(worker, steps)
        house.clinic.keyring.destroy(house.clinic.id, key_of(house.clinic, told, told.client))
        told.session_in_an_emergency()
        lead(worker, steps)
        lead(worker, steps)
        assert_as_folded(reader, house.clinic, told.stream)
    rebuilt_equal(house.clinic, store)


def test_a_notice_that_a_statement_met_is_not_lost(house: House, store: ViewStore) -> None:
    """Views: an append that is told while the worker asks something else on the same connection
    wakes it all the same, and does not wait until it looks by itself."""
    met = list[psycopg.Notify]()
    with store.stepping(ALL) as steps:
        assert steps.leads()
        steps.connection.add_notify_handler(met.append)
        told_a_lot(house)
        until = time.monotonic() + 20
        while not met:
            assert time.monotonic() < until
            steps.connection.execute("SELECT 1")
        steps.wait(0)
        assert steps.called
        while steps.called:  # and is told of it no longer than there is something to tell
            steps.wait(0.2)


def test_a_worker_rests_no_longer_where_somebody_waits(
    house: House, worker: Worker, store_of: Callable[..., ViewStore]
) -> None:
    """Views: whoever waits for views ends the rest of the worker; an append does not, and is told
    afterwards."""
    worker.catch_up()
    told = house.open()
    with store_of(house.clinic).stepping(ALL) as steps:
        assert steps.leads()
        told.session()
        assert not steps.rest(0.1)
        steps.wait(0)
        assert steps.called
        position = house.clinic.log.head_size()
        assert not store_of(house.clinic).wait_for([ALL[0].table], position, timeout=0.1)
        assert steps.rest(20)
        assert not steps.rest(0)


def test_one_worker_leads_and_another_takes_its_place(
    house: House, store_of: Callable[..., ViewStore], server: EmbeddedPostgres
) -> None:
    """Rule 8: of several workers one answers notices; when it is gone, the next one does."""
    first, second = store_of(house.clinic), store_of(house.clinic)
    Worker(ALL, house.clinic.log, first).catch_up()
    with second.stepping(ALL) as follower:
        with first.stepping(ALL) as leader:
            assert leader.leads()
            assert not follower.leads()
        until = time.monotonic() + 20
        while not follower.leads():
            assert time.monotonic() < until
            time.sleep(0.01)
        with first.stepping(ALL) as late:
            assert not late.leads()
    with superuser(server, house.clinic) as conn:
        row = conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert row == (0,)


def test_others_go_on_where_the_one_that_leads_stands_still(
    house: House, store_of: Callable[..., ViewStore], reader: ViewReader
) -> None:
    """Rule 8: a worker that was stopped with its connection open keeps nobody from the views."""
    worker = Worker(ALL, house.clinic.open_log(), store_of(house.clinic))
    worker.catch_up()
    stop = threading.Event()
    with store_of(house.clinic).stepping(ALL) as stopped:
        assert stopped.leads()
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            told = told_a_lot(house)
            reader.wait_for(ALL, house.clinic.log.head_size(), timeout=20)
        finally:
            stop.set()
            thread.join()
    assert_as_folded(reader, house.clinic, told.stream)


def test_each_entry_comes_once_however_often_connections_are_cut(
    house: House, store_of: Callable[..., ViewStore], reader: ViewReader, server: EmbeddedPostgres
) -> None:
    """Rule 6: two workers at the end of the log, cut off again and again, lose and double
    nothing."""
    workers = [
        Worker(ALL, house.clinic.open_log(), store_of(house.clinic), entries_at_once=50)
        for _ in range(2)
    ]
    stop = threading.Event()
    threads = [threading.Thread(target=worker.run, args=(stop,)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        told = [house.open() for _ in range(2)]
        for _ in range(3):
            for each in told:
                each.rate(each.session())
            cut_connections_of_views(server, house.clinic)
            told[0].session()
        reader.wait_for(ALL, house.clinic.log.head_size(), timeout=30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for each in told:
        assert_as_folded(reader, house.clinic, each.stream)
    rebuilt_equal(house.clinic, store_of(house.clinic))


def test_whoever_leads_keeps_the_hashes_of_full_tiles(house: House, store: ViewStore) -> None:
    """Derived data: filled behind the appends over the connection of the steps, which go on."""
    told = told_a_lot(house)
    clinic = house.clinic
    filler = SubtreeFiller(clinic.database.dsn("views"), clinic.id)
    worker = Worker(ALL, clinic.log, store, subtrees=filler)
    with worker.listening() as steps:
        worker.catch_up()
        while clinic.log.head_size() < 2 * WIDTH:
            told.rate(told.session())
            lead(worker, steps)
        told.rate(told.session())
        lead(worker, steps)
    query = b"SELECT level, index FROM rapport.subtrees ORDER BY level, index"
    with psycopg.connect(pinned(clinic.database.dsn("read"), clinic.id)) as connection:
        assert connection.execute(query).fetchall() == [(1, 0), (1, 1)]
    assert SubtreeFiller(clinic.database.dsn("views"), clinic.id).fill_all() == 0
    assert_as_folded(ViewReader(store), clinic, told.stream)
