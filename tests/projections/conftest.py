"""A house whose views stand in PostgreSQL, and who moves and reads them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api.worker import Worker
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from projections.view import ViewReader
from tests.conftest import Clinic
from tests.projections.story import House


@pytest.fixture
def house(clinic: Clinic) -> House:
    return House(clinic)


@pytest.fixture
def opened() -> Iterator[list[ViewStore]]:
    stores: list[ViewStore] = []
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def store_of(opened: list[ViewStore]) -> Callable[..., ViewStore]:
    def open_store(clinic: Clinic, role: Any = "views") -> ViewStore:
        opened.append(ViewStore(clinic.database.dsn(role), clinic.id, clinic.keyring))
        return opened[-1]

    return open_store


@pytest.fixture
def store(clinic: Clinic, store_of: Callable[..., ViewStore]) -> ViewStore:
    return store_of(clinic)


@pytest.fixture
def worker(clinic: Clinic, store: ViewStore) -> Worker:
    return Worker(VIEWS.all(), clinic.log, store)


@pytest.fixture
def reader(clinic: Clinic, store_of: Callable[..., ViewStore]) -> ViewReader:
    """As the pages read: by the application's role."""
    return ViewReader(store_of(clinic, "app"))
