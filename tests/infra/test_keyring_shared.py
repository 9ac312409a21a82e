"""The keyring in a database of its own: not the record's, away for a while, and moved there from a
file and back."""

import shutil
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Literal
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.keyring import REFRESH_SECONDS, KeyringError, WrappedKeyring
from infra.keyring_shared import SharedKeyring
from infra.keyrings import restore_keyring
from infra.master_key import MasterFile
from infra.postgres import Database
from infra.wrapped_keyring import WATCH_SECONDS
from tests.infra.conftest import NewShared
from tests.infra.proxy import Proxy
from tests.infra.rings import CLINIC, STREAM, Place, SharedPlace, file_place, shared_place
from tests.infra.users import wait_for

SUBJECTS = ("joint", "access/0", "mac/0")


@pytest.fixture
def place(new_shared: NewShared, tmp_path: Path) -> SharedPlace:
    """A place of its own, in which no ring is yet."""
    return new_shared(tmp_path / "home")


def by(place: SharedPlace, proxy: Proxy) -> WrappedKeyring:
    """The ring of that place, reached through a line that can be cut."""
    place.open().close()
    return SharedKeyring(proxy.conninfo, MasterFile(place.home))


def code_of(ask: Callable[[], object]) -> str:
    """With which code that is refused; no message of it holds a password."""
    with pytest.raises(KeyringError) as refused:
        ask()
    told = "".join(traceback.format_exception(refused.value, chain=True))
    assert "hunter2" not in told + str(refused.value)
    return refused.value.code


# --- Where it may be ------------------------------------------------------------------------


def test_the_records_own_database_is_refused(database: Database, tmp_path: Path) -> None:
    """Idea 4: keys beside the log would be in its every backup, and no erasure would be one."""
    for role in ("owner", "app"):
        place = shared_place(tmp_path / role, database.dsn(role), "")
        assert place.refused() == "same_database"
        with pytest.raises(KeyringError) as refused:
            SharedKeyring(database.dsn(role), MasterFile(place.home))
        assert refused.value.code == "same_database"
        assert not place.master.exists()
    with psycopg.connect(database.dsn("owner")) as db:
        assert db.execute("SELECT to_regnamespace('rapport_keyring')").fetchone() == (None,)


def test_a_ring_stops_where_a_record_moves_in(place: SharedPlace) -> None:
    """Idea 4: also where the record came later, as a restore into the wrong database brings it."""
    place.open().close()
    place.execute("CREATE SCHEMA rapport")
    assert place.refused() == "same_database"


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "127.0.0.1", "port": "1"},
        {"dbname": "nowhere"},
        {"user": "nobody", "password": "hunter2"},
        {"host": "/nowhere"},
    ],
    ids=["port", "database", "role", "socket"],
)
def test_a_database_that_is_not_to_be_had_is_told(
    place: SharedPlace, wrong: dict[str, str]
) -> None:
    """Idea 4: no ring and no master key is made instead, and no password is told."""
    url = SecretStr(make_conninfo(place.url, **wrong))
    place.settings = place.settings.model_copy(update={"keyring_url": url})
    assert code_of(place.open) == "unreachable"
    assert not place.master.exists()


@pytest.mark.parametrize(
    "url", ["postgresql://ring:hunter2@x@db/ring", "postgresql://ring:hunter2@y@db:5/ring"]
)
def test_a_url_with_a_bare_password_is_told_without_it(tmp_path: Path, url: str) -> None:
    """R27: what libpq makes of such a URL would put half of the password in a message."""
    assert code_of(shared_place(tmp_path / "home", url, "").open) == "url_invalid"


def test_a_server_that_takes_no_writes_is_not_used(place: SharedPlace) -> None:
    """Idea 4: a standby's ring lags behind erasures, and could keep no new key."""
    place.open().close()
    with psycopg.connect(place.superuser, autocommit=True) as db:
        name = db.info.dbname
        db.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
    assert place.refused() == "unreachable"


# --- A line that breaks ---------------------------------------------------------------------


def test_a_connection_lost_while_nobody_asked_is_made_again(
    place: SharedPlace,
) -> None:
    """Idea 4: a restart of the key server between two questions is not noticed at all."""
    with place.open() as ring:
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        for subject in SUBJECTS:
            place.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'rapport keyring'"
                " AND datname = current_database()"
            )
            time.sleep(REFRESH_SECONDS)
            assert ring.get(CLINIC, key_id) == key
            ring.key_for(CLINIC, STREAM, subject)
        assert ring.verify() == len(SUBJECTS)


@pytest.mark.parametrize("marker", [b"INSERT INTO keys", b"COMMIT"])
@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_line_that_breaks_in_between_makes_no_second_key(
    place: SharedPlace, lost: Literal["request", "answer"], marker: bytes
) -> None:
    """Idea 4: not known to be durable is not given out; asked again, the owner has one key."""
    with Proxy(place.url) as proxy, by(place, proxy) as ring:
        proxy.lose(lost, marker)
        time.sleep(REFRESH_SECONDS)
        assert code_of(lambda: ring.key_for(CLINIC, STREAM, "joint")) == "unreachable"
        assert proxy.lost == 1
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        assert set(place.wrapped()) == {key_id}
        with place.open() as other:
            assert other.get(CLINIC, key_id) == key


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_line_that_breaks_while_keys_are_made_together_gives_out_none(
    place: SharedPlace, lost: Literal["request", "answer"]
) -> None:
    """Idea 4: what is not known to be durable is kept nowhere; asked again, each owner has one."""
    owners = [(STREAM, subject) for subject in SUBJECTS]
    with Proxy(place.url) as proxy, by(place, proxy) as ring:
        proxy.lose(lost, b"COMMIT")
        time.sleep(REFRESH_SECONDS)
        wanted = {owner: uuid4() for owner in owners}
        assert code_of(lambda: ring.make_keys(CLINIC, wanted)) == "unreachable"
        assert proxy.lost == 1
        again = {owner: uuid4() for owner in owners}
        assert ring.make_keys(CLINIC, again) == (lost == "request")
        stands = again if lost == "request" else wanted
        assert {owner: ring.key_id_of(CLINIC, *owner, ask=False) for owner in owners} == stands
        assert set(place.wrapped()) == set(stands.values())


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_line_that_breaks_while_a_key_is_destroyed(
    place: SharedPlace, lost: Literal["request", "answer"]
) -> None:
    """Rule 9: said to have failed, or done; asked again it is done, and the key is nowhere."""
    with Proxy(place.url) as proxy, by(place, proxy) as ring:
        key_id, _ = ring.key_for(CLINIC, STREAM, "joint")
        wrapped = place.wrapped()[key_id]
        proxy.lose(lost, b"COMMIT")
        assert code_of(lambda: ring.destroy_again(CLINIC, [key_id])) == "unreachable"
        ring.destroy(CLINIC, key_id)
        assert ring.get(CLINIC, key_id) is None
        assert ring.destroyed(CLINIC) == {key_id}
        assert wrapped not in place.stored()


def test_nothing_is_answered_from_memory_while_the_ring_is_away(place: SharedPlace) -> None:
    """Rule 9: nobody could say then whether the key was destroyed; the cache is overwritten."""
    with Proxy(place.url) as proxy, by(place, proxy) as ring:
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        held = ring._keys[CLINIC, key_id]
        assert held == bytearray(key)
        proxy.go_down()
        time.sleep(REFRESH_SECONDS)
        asks: list[Callable[[], object]] = [
            lambda: ring.get(CLINIC, key_id),
            lambda: ring.key_for(CLINIC, STREAM, "joint"),
            lambda: ring.destroy(CLINIC, key_id),
            ring.generation,
            ring.verify,
        ]
        assert [code_of(ask) for ask in asks] == ["unreachable"] * len(asks)
        assert held == bytearray(32)
        proxy.come_up()
        assert ring.get(CLINIC, key_id) == key


def test_who_watches_a_ring_that_is_away_forgets(place: SharedPlace) -> None:
    """Rule 9: also a process that nobody asks anything keeps no key it cannot ask about."""
    with Proxy(place.url) as proxy, by(place, proxy) as ring:
        key_id, key = ring.key_for(CLINIC, STREAM, "joint")
        with ring.watched():
            time.sleep(3 * WATCH_SECONDS)  # it forgets twice when it begins
            assert ring.get(CLINIC, key_id) == key
            held = ring._keys[CLINIC, key_id]
            proxy.go_down()
            wait_for(lambda: held == bytearray(32), "the key to be overwritten", seconds=2)
            proxy.come_up()
            assert ring.get(CLINIC, key_id) == key


def test_threads_that_destroy_at_once_do_not_stand_in_each_others_way(place: SharedPlace) -> None:
    """Rule 9: each destruction is carried to its end, whoever wrote the table anew meanwhile."""
    with place.open() as ring:
        gone = [ring.key_for(CLINIC, STREAM, f"access/{n}")[0] for n in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key_id: ring.destroy(CLINIC, key_id), gone))
        assert ring.destroyed(CLINIC) == set(gone)


# --- Moving there and back ------------------------------------------------------------------


def moved(old: Place, new: Place, copy: Path) -> int:
    """Moves a ring as an operator does: a backup, the master key, a restore."""
    with old.open(first_use=False) as ring:
        ring.backup(copy)
    new.home.mkdir(mode=0o700, parents=True)
    shutil.copy2(old.master, new.master)
    return restore_keyring(new.settings, copy)


def test_a_ring_moves_from_a_file_to_a_database_and_back(
    new_shared: NewShared, tmp_path: Path
) -> None:
    """Idea 4: same ids, same keys, same destructions, wherever the ring lies."""
    places = (file_place(tmp_path / "1"), new_shared(tmp_path / "2"), file_place(tmp_path / "3"))
    with places[0].open() as ring:
        keys = {subject: ring.key_for(CLINIC, STREAM, subject) for subject in SUBJECTS}
        gone, _ = ring.key_for(CLINIC, STREAM, "hold/0")
        ring.destroy(CLINIC, gone)
        live = ring.live(CLINIC)
    for number, (old, new) in enumerate(pairwise(places)):
        assert moved(old, new, tmp_path / f"copy-{number}.db") == len(SUBJECTS)
        with new.open(first_use=False) as ring:
            assert {subject: ring.key_for(CLINIC, STREAM, subject) for subject in SUBJECTS} == keys
            assert ring.live(CLINIC) == live
            assert ring.destroyed(CLINIC) == {gone}
            assert ring.get(CLINIC, gone) is None
            assert ring.verify() == len(SUBJECTS)
    assert places[0].wrapped() == places[2].wrapped()
