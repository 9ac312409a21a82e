"""Waiting for views: whoever waits is called, by whichever process moves the views."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from infra.arrivals import MOVED, WAITED
from infra.postgres import EmbeddedPostgres
from infra.view_store import ViewStore
from tests.conftest import Clinic
from tests.projections.test_tables import superuser

VIEWS = ("first_v1", "second_v1")


def stand_at(clinic: Clinic, position: int, *views: str, told: bool = True) -> None:
    """What a worker's commit does to where views stand."""
    with psycopg.connect(clinic.database.dsn("owner"), autocommit=True) as conn, conn.transaction():
        for view in views:
            conn.execute(
                "INSERT INTO rapport.tracking (clinic, view, position, build) "
                "VALUES (%s, %s, %s, gen_random_uuid()) "
                "ON CONFLICT (clinic, view) DO UPDATE SET position = excluded.position",
                (clinic.id, view, position),
            )
        if told:
            conn.execute("SELECT pg_notify(%s, %s)", (MOVED, str(clinic.id)))


@pytest.fixture
def store(clinic: Clinic, store_of: Callable[..., ViewStore]) -> ViewStore:
    """As the doors read: by the application's role."""
    return store_of(clinic, "app")


def waiting(store: ViewStore, position: int, *views: str, timeout: float = 20) -> Any:
    """Somebody who has begun to wait."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(store.wait_for, views, position, timeout)
    pool.shutdown(wait=False)
    time.sleep(0.2)  # until it waits; the outcome does not depend on it
    return future


def test_who_waits_is_called(clinic: Clinic, store: ViewStore) -> None:
    """Rule 8: as soon as all views cover the position, and not before."""
    stand_at(clinic, 1, *VIEWS)
    assert store.wait_for(VIEWS, 1, timeout=20)
    waits = waiting(store, 5, *VIEWS)
    stand_at(clinic, 5, VIEWS[0])
    assert not store.wait_for(VIEWS, 5, timeout=0.1)
    assert not waits.done()
    stand_at(clinic, 6, VIEWS[1])
    assert waits.result(timeout=20)


def test_a_lost_notice_is_made_up_for(clinic: Clinic, store: ViewStore) -> None:
    """Rule 8: a notice is a hint; positions are looked at without one too."""
    stand_at(clinic, 1, *VIEWS)
    waits = waiting(store, 2, *VIEWS)
    stand_at(clinic, 2, *VIEWS, told=False)
    assert waits.result(timeout=20)


def test_who_waits_a_while_says_so(
    clinic: Clinic, store: ViewStore, server: EmbeddedPostgres
) -> None:
    """Views: a worker that lets entries collect is told that somebody waits for them."""
    stand_at(clinic, 1, *VIEWS)
    with superuser(server, clinic) as conn:
        conn.execute(f"LISTEN {WAITED}")
        assert store.wait_for(VIEWS, 1, timeout=20)
        assert not store.wait_for(VIEWS, 2, timeout=0.1)
        told = [notice.payload for notice in conn.notifies(timeout=0.2)]
    assert told == [str(clinic.id)]


def test_many_wait_on_one_connection(clinic: Clinic, store: ViewStore) -> None:
    """Rule 8: waiters hold no connection of the pool, so readers go on beside any number."""
    stand_at(clinic, 1, *VIEWS)
    many = [waiting(store, 2 + number, *VIEWS) for number in range(20)]
    assert store.tracked(VIEWS).keys() == set(VIEWS)
    stand_at(clinic, 11, *VIEWS)
    assert all(waits.result(timeout=20) for waits in many[:10])
    assert not any(waits.done() for waits in many[10:])
    stand_at(clinic, 30, *VIEWS)
    assert all(waits.result(timeout=20) for waits in many)


def test_listening_goes_on_after_a_cut(
    clinic: Clinic, store: ViewStore, server: EmbeddedPostgres
) -> None:
    """Rule 8: where the connection that listens is cut, another takes its place."""
    stand_at(clinic, 1, *VIEWS)
    for position in (2, 3):
        waits = waiting(store, position, *VIEWS)
        with superuser(server, clinic) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND usename = 'rapport_app'"
            )
        stand_at(clinic, position, *VIEWS)
        assert waits.result(timeout=20)


def test_another_clinic_wakes_nobody(
    new_clinic: Callable[[], Clinic], store_of: Callable[..., ViewStore]
) -> None:
    """R35: what moves in one clinic is neither seen nor waited for in another."""
    mine, other = new_clinic(), new_clinic()
    store = store_of(mine, "app")
    stand_at(other, 9, *VIEWS)
    assert not store.wait_for(VIEWS, 1, timeout=0.3)


def test_closing_ends_the_listening(clinic: Clinic, store: ViewStore) -> None:
    """Views: a store that is closed leaves no thread and no connection behind."""
    assert not store.wait_for(VIEWS, 1, timeout=0.1)
    assert "arrivals" in {thread.name for thread in threading.enumerate()}
    store.close()
    assert "arrivals" not in {thread.name for thread in threading.enumerate()}
