"""Keyrings of both kinds: a test that takes `place` or `ring` runs once with each."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.keyring import WrappedKeyring
from infra.postgres import EmbeddedPostgres
from tests.infra.rings import Place, SharedPlace, file_place, shared_place

NewShared = Callable[..., SharedPlace]


@pytest.fixture(scope="session")
def ring_databases(server: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """Empty databases, each as its owner reaches it and as the superuser does."""

    def made() -> Iterator[tuple[str, str]]:
        for number in itertools.count(1):
            name = f"ring_{number}"
            yield server.create_database(name).dsn("owner"), server.superuser_dsn(name)

    return made()


@pytest.fixture
def new_shared(ring_databases: Iterator[tuple[str, str]]) -> NewShared:
    """Makes a place for a ring in a database of its own; `home` is its host's."""

    def new(home: Path, **settings: Any) -> SharedPlace:
        url, superuser = next(ring_databases)
        return shared_place(home, url, superuser, **settings)

    return new


@pytest.fixture(params=["file", "shared"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Place]:
    """Makes places of the kind that the test runs with now."""
    if request.param == "file":
        return lambda name="home", **settings: file_place(tmp_path / name, **settings)
    new_shared: NewShared = request.getfixturevalue("new_shared")
    return lambda name="home", **settings: new_shared(tmp_path / name, **settings)


@pytest.fixture
def place(new_place: Callable[..., Place]) -> Place:
    """Where a keyring may be made."""
    return new_place()


@pytest.fixture
def ring(place: Place) -> Iterator[WrappedKeyring]:
    """A new keyring, open."""
    with place.open() as ring:
        yield ring
