"""Rebuilding in several processes: killed, resumed, and the same as one fold after the other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from api.rebuilding import HandLost, crew
from api.worker import Worker
from domain.correction import CorrectEntry
from domain.event import Stream
from domain.relationship import RelationshipOpened
from infra.acknowledged import AcknowledgedHead
from infra.event_store import ClinicLog
from infra.keyring import open_keyring
from infra.postgres import EmbeddedPostgres
from infra.sealing import SealBroken
from infra.view_digests import line
from infra.view_rows import Seals
from infra.view_store import RebuildRunning, ViewStore
from projections import rebuild as rebuilding
from projections.dossier import VIEWS
from projections.folding import LogReader
from projections.rebuild import Hands, Part, PartStore, rebuild
from projections.view import View, ViewReader
from tests.conftest import Clinic
from tests.projections.story import House, Told
from tests.projections.test_tables import (
    assert_as_folded,
    digests,
    key_of,
    rebuilt_equal,
    superuser,
    told_a_lot,
)

ALL = VIEWS.all()


@contextmanager
def opened_apart(
    app: str, views: str, clinic: UUID, home: Path
) -> Iterator[tuple[LogReader, PartStore]]:
    """What a process opens for itself: the clinic's log, its keyring and its tables."""
    with open_keyring(home / "keyring", first_use=False) as keyring:
        log = ClinicLog(app, clinic, keyring, AcknowledgedHead(home / "heads", clinic))
        store = ViewStore(views, clinic, keyring)
        try:
            yield log, store
        finally:
            store.close()
            log.close()


def opening(clinic: Clinic) -> Callable[..., object]:
    dsn = clinic.database.dsn
    return partial(opened_apart, dsn("app"), dsn("views"), clinic.id, clinic.home)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream a part, so that even a small clinic has several."""
    monkeypatch.setattr(rebuilding, "_ENTRIES_IN_PART", 1)


@pytest.fixture
def cases(house: House) -> list[Told]:
    return [told_a_lot(house) for _ in range(6)]


def parts_noted(clinic: Clinic) -> int:
    """How many parts of the timeline are noted as folded."""
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        row = conn.execute("SELECT count(*) FROM rapport.folded WHERE view = 'timeline_v1'")
        return int(row.fetchone()[0])  # type: ignore[index]


@pytest.mark.usefixtures("small_parts")
def test_several_processes_do_what_one_does(
    house: House, cases: list[Told], worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 6: folded by three processes, every view has the digest that it had."""
    worker.catch_up()
    before = digests(store)
    with crew(opening(house.clinic), ALL, 3) as hands:  # type: ignore[arg-type]
        outcomes = rebuild(ALL, house.clinic.log, store, hands=hands)
    assert all(outcome.comparison and outcome.comparison.equal for outcome in outcomes)
    assert digests(store) == before
    for told in cases:
        assert_as_folded(reader, house.clinic, told.stream)


class BothWays:
    """A store that tells each part by what was just written, and by reading both builds."""

    def __init__(self, store: ViewStore) -> None:
        self._store = store
        self.briefly: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def told(self, *part: Any) -> Any:
        tell: Callable[..., Any] = self._store.told
        told, read = tell(*part), tell(*part[:-1], {})
        assert told == read
        self.briefly += [one.after is None for one in told.values()]
        return told


@pytest.mark.usefixtures("small_parts", "cases")
@pytest.mark.parametrize(
    "change",
    [
        "clear = replace(clear, 'entered', 'imported')",
        "until = until + 1",
        "keys = '{}', sealed = '{}'",
        "sealed = ARRAY[NULL::bytea]",
        "sealed = ARRAY[set_byte(sealed[1], 20, get_byte(sealed[1], 20) # 1)]",
        "mac = set_byte(mac, 0, get_byte(mac, 0) # 1)",
    ],
)
def test_what_is_compared_briefly_is_compared_wholly(
    house: House, worker: Worker, store: ViewStore, change: str
) -> None:
    """Rule 6: what was just written and what is read tell the lines that both tell when they are
    read row by row; and nothing that was changed in the table that is read passes."""
    worker.catch_up()
    both = BothWays(store)
    outcomes = rebuild(ALL, house.clinic.log, both)
    assert all(outcome.comparison and outcome.comparison.equal for outcome in outcomes)
    assert len(both.briefly) > len(ALL)
    assert all(both.briefly)
    with psycopg.connect(house.clinic.database.dsn("views")) as conn:
        conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
        changed = f"UPDATE views.timeline_v1 SET {change} WHERE entry = 1"  # noqa: S608  constants
        assert conn.execute(changed.encode()).rowcount
    with pytest.raises(SealBroken):
        rebuild(ALL, house.clinic.log, store)


@pytest.mark.usefixtures("small_parts", "cases")
def test_processes_compare_what_is_read(house: House, worker: Worker, store: ViewStore) -> None:
    """Rule 6: a row that was lost is named, whichever process finds it."""
    worker.catch_up()
    with psycopg.connect(house.clinic.database.dsn("views")) as conn:
        conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
        gone = conn.execute("DELETE FROM views.timeline_v1 WHERE entry = 1 RETURNING stream, until")
        lost = sorted((str(name), entry) for name, until in gone for entry in range(1, until + 1))
    with crew(opening(house.clinic), ALL, 2) as hands:  # type: ignore[arg-type]
        found = {one.view: one for one in rebuild(ALL, house.clinic.log, store, hands=hands)}
    comparison = found["timeline"].comparison
    assert comparison is not None
    assert comparison.differing == tuple(lost)
    rebuilt_equal(house.clinic, store)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_rows_are_compared_whatever_blocks_they_are_in(
    house: House,
    worker: Worker,
    store: ViewStore,
    reader: ViewReader,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    """Rule 6: rows that came one by one, or many at once, and were replaced since, are those of a
    rebuild, which puts them into blocks as it comes to them; whoever reads sees no difference."""
    told = house.open()
    for _ in range(3):
        told.rate(told.session())
        worker.catch_up()
    opening = house.clinic.log.history(told.stream)[0].event
    assert isinstance(opening, RelationshipOpened)
    content = opening.model_dump(exclude_none=True) | {"modality": "schema therapy"}
    house.tell(CorrectEntry(stream=told.stream, entry=1, reason="Mistyped.", content=content))
    told.agree_on_a_goal()
    worker.catch_up()
    before = digests(store)

    def blocks() -> list[tuple[int, int]]:
        with psycopg.connect(house.clinic.database.dsn("views")) as conn:
            conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
            rows = conn.execute("SELECT entry, until FROM views.timeline_v1 ORDER BY entry, until")
            return [(entry, until) for entry, until in rows]

    live, last = blocks(), len(house.clinic.log.history(told.stream))
    assert (1, 1) in live
    assert any(entry == 1 < until for entry, until in live)
    monkeypatch.setattr("infra.view_rows._ROWS_IN_BLOCK", at_once)
    both = BothWays(store)
    outcomes = rebuild(ALL, house.clinic.log, both)
    assert all(outcome.comparison and outcome.comparison.equal for outcome in outcomes)
    assert all(both.briefly)
    starts = range(1, last + 1, at_once)
    assert blocks() == [(at, min(at + at_once - 1, last)) for at in starts]
    assert digests(store) == before
    assert_as_folded(reader, house.clinic, told.stream)
    for after in range(last):
        lines = reader.read(VIEWS.timeline, told.stream, after=after, limit=2).of(told.stream)
        assert [*lines] == [*range(after + 1, min(after + 2, last) + 1)]


def test_each_part_is_found_by_the_index(
    house: House,
    worker: Worker,
    store_of: Callable[..., ViewStore],
    server: EmbeddedPostgres,
) -> None:
    """Performance: whatever PostgreSQL has found out about the tables, no part of a rebuild reads
    one of them from its beginning to its end; with each part that would take longer."""

    def scans() -> tuple[int, int]:
        query = "SELECT sum(idx_scan), sum(seq_scan) FROM pg_stat_user_tables WHERE schemaname = %s"
        by_index, whole = conn.execute(query, ["views"]).fetchone() or (0, 0)
        return int(by_index), int(whole)

    told_a_lot(house)
    worker.catch_up()
    with superuser(server, house.clinic) as conn:
        conn.execute("ANALYZE")
        by_index, whole = scans()
        store = store_of(house.clinic)
        (rebuilt,) = rebuild([VIEWS.timeline], house.clinic.log, store)
        assert rebuilt.comparison is not None
        assert rebuilt.comparison.equal
        store.close()  # its processes tell what they did when they end
        until = time.monotonic() + 20
        while (found := scans())[0] == by_index:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert found[1] == whole


@pytest.mark.usefixtures("small_parts", "cases")
def test_a_killed_process_costs_what_it_had_in_hand(
    house: House, worker: Worker, store: ViewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views: after kill -9 of a process that folds nothing is swapped, what was folded stays, and
    the next rebuild goes on with it."""
    worker.catch_up()
    before = digests(store)
    # A part each, and none ahead: so both have something in hand when one is killed.
    monkeypatch.setattr("api.rebuilding._PARTS_EACH", 1)
    monkeypatch.setattr("api.rebuilding._PARTS_AHEAD", 1)

    def kill_one(folded: int) -> None:
        if folded == 2:
            os.kill(active_children()[0].pid or 0, signal.SIGKILL)

    with (
        pytest.raises(HandLost),
        crew(opening(house.clinic), ALL, 2) as hands,  # type: ignore[arg-type]
    ):
        rebuild(ALL, house.clinic.log, store, hands=hands, progress=kill_one)
    assert digests(store) == before
    assert parts_noted(house.clinic) >= 2
    rebuilt_equal(house.clinic, store)
    assert parts_noted(house.clinic) == 0


_DIES = """
import os, signal, sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from api.rebuilding import crew
from projections import rebuild as rebuilding
from projections.dossier import VIEWS
from tests.projections.test_rebuild import opened_apart


def die(folded):
    if folded == 3:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    rebuilding._ENTRIES_IN_PART = 1
    app, views, clinic, home = sys.argv[1:]
    opening = partial(opened_apart, app, views, UUID(clinic), Path(home))
    with opening() as (log, store), crew(opening, VIEWS.all(), 2) as hands:
        rebuilding.rebuild(VIEWS.all(), log, store, hands=hands, progress=die)
"""


@pytest.mark.usefixtures("small_parts")
def test_a_killed_rebuild_goes_on_where_it_was(
    house: House, cases: list[Told], worker: Worker, store: ViewStore, tmp_path: Path
) -> None:
    """Views: after kill -9 of the process that rebuilds its processes end, what they folded is
    gone on with, and what came or was erased since is in it."""
    worker.catch_up()
    before = digests(store)
    script = tmp_path / "dies.py"
    script.write_text(_DIES)
    dsn = house.clinic.database.dsn
    died = subprocess.run(
        [sys.executable, script, dsn("app"), dsn("views"), str(house.clinic.id), tmp_path],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        timeout=120,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert digests(store) == before
    assert parts_noted(house.clinic) >= 3
    for told in cases:
        told.session()
    worker.catch_up()
    rebuilt_equal(house.clinic, store)


@pytest.mark.usefixtures("small_parts")
def test_what_is_erased_during_a_rebuild_is_erased_in_it(
    house: House, cases: list[Told], worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 9: a key that is destroyed while processes fold takes along what it sealed, in both
    builds; a rebuild that was interrupted before does not bring it back."""
    worker.catch_up()
    clinic = house.clinic

    def erase(key: UUID, folded: int) -> None:
        if folded == len(cases):
            clinic.keyring.destroy(clinic.id, key)

    for told in (cases[0], cases[-1]):
        key = key_of(clinic, told, told.client)
        outcomes = rebuild(ALL, clinic.log, store, progress=partial(erase, key))
        assert all(outcome.comparison and outcome.comparison.equal for outcome in outcomes)
        assert_as_folded(reader, clinic, told.stream)

    def give_up(folded: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(ALL, clinic.log, store, progress=give_up)
    clinic.keyring.destroy(clinic.id, key_of(clinic, cases[1], cases[1].client))
    rebuild(ALL, clinic.log, store, compare=False)
    assert_as_folded(reader, clinic, cases[1].stream)
    rebuilt_equal(clinic, store)


@pytest.mark.usefixtures("small_parts")
def test_a_worker_has_views_built_by_processes(
    house: House, cases: list[Told], store: ViewStore, reader: ViewReader
) -> None:
    """Rule 6: views that were never built, or are far behind, are built by several processes; the
    worker goes on from there by itself."""
    asked: list[int] = []

    def hands(entries: int, views: Sequence[View[Any, Any]]) -> AbstractContextManager[Hands]:
        asked.append(entries)
        return crew(opening(house.clinic), views, 2)  # type: ignore[arg-type]

    worker = Worker(ALL, house.clinic.log, store, hands=hands)
    worker.catch_up()
    assert asked == [house.clinic.log.head_size()]
    cases[0].session()
    worker.catch_up()
    assert len(asked) == 1
    for told in cases:
        assert_as_folded(reader, house.clinic, told.stream)
    rebuilt_equal(house.clinic, store)


def test_a_view_past_the_end_of_the_log_is_led_back(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 7: a log that was restored from before leaves views that tell of entries it does not
    have; worker and rebuild find that, and neither fails of it."""
    told = told_a_lot(house)
    worker.catch_up()
    size = house.clinic.log.head_size()
    with psycopg.connect(house.clinic.database.dsn("owner"), autocommit=True) as conn:
        beyond = "UPDATE rapport.tracking SET position = position + 7 WHERE position > 0"
        conn.execute(beyond)
        assert {one.position for one in rebuild(ALL, house.clinic.log, store)} == {size}
        conn.execute(beyond)
    worker.catch_up()
    assert {at.position for at in store.tracked([view.table for view in ALL]).values()} == {size}
    assert_as_folded(reader, house.clinic, told.stream)


def test_a_second_rebuild_is_refused_while_processes_fold(
    house: House, cases: list[Told], worker: Worker, store: ViewStore
) -> None:
    """ARCHITECTURE, idea 6: one rebuild of a view at a time, wherever it runs."""
    worker.catch_up()

    def again(folded: int) -> None:
        with pytest.raises(RebuildRunning):
            rebuild([VIEWS.timeline], house.clinic.log, store)

    with crew(opening(house.clinic), ALL, 2) as hands:  # type: ignore[arg-type]
        rebuild(ALL, house.clinic.log, store, hands=hands, progress=again)
    assert len(cases) == 6


def test_lines_of_digests_are_those_of_opened_rows(
    house: House, worker: Worker, store: ViewStore
) -> None:
    """Rule 6: a row's line says what the row says: of any view, whole, corrected, or with content
    that was erased."""
    told = told_a_lot(house)
    told_a_lot(house).beside()
    worker.catch_up()
    clinic = house.clinic
    seals = Seals(clinic.id, clinic.keyring)

    def compare_lines() -> set[bytes]:
        lines = set()
        with psycopg.connect(clinic.database.dsn("views"), row_factory=dict_row) as conn:
            conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(clinic.id),))
            for view in ALL:
                for row in conn.execute(f"SELECT * FROM views.{view.table}".encode()):  # noqa: S608
                    rows = seals.opened(view.name, view.table, row)
                    for spelt, read in zip(seals.spelt(view, row), rows, strict=True):
                        (stream, entry), text = line(row["stream"], spelt)
                        said = json.loads(text)
                        assert (stream, entry) == (read.stream, read.entry)
                        assert [part is None for part in said[1]] == [
                            group is None for group in read.groups.values()
                        ]
                        lines.add(text)
        return lines

    whole = compare_lines()
    clinic.keyring.destroy(clinic.id, key_of(clinic, told, told.client))
    unsettled = compare_lines()
    worker.catch_up()
    settled = compare_lines()
    assert len(whole) == len(unsettled) == len(settled)
    assert whole != unsettled != settled


@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    at_once=st.integers(1, 500),
    folded=st.sets(st.integers(0, 11)),
)
@settings(max_examples=200)
def test_parts_cover_every_stream_once(sizes: list[int], at_once: int, folded: set[int]) -> None:
    """Rule 6: however a category is cut, and whatever parts of it are folded already, its streams
    are each in one part, by name."""
    streams = [UUID(int=number + 1) for number in range(len(sizes))]
    names = [Stream("relationship", each) for each in streams]
    sized = list(zip(names, sizes, strict=True))

    class Log:
        def sized_streams(self, category: str) -> Iterator[tuple[Stream, int]]:
            return iter(sized)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding, "_ENTRIES_IN_PART", at_once)
        first = list(rebuilding._parts("relationship", Log(), [], ()))  # type: ignore[arg-type]
        kept = [(one.past, one.upto, 1) for at, one in enumerate(first) if at in folded]
        patch.setattr(rebuilding, "_ENTRIES_IN_PART", 1)
        changed = set(names[::2])
        parts = list(
            rebuilding._parts("relationship", Log(), kept, changed)  # type: ignore[arg-type]
        )
    assert [stream for part in first for stream in part.streams] == names
    assert sum(part.count for part in parts) == len(names)
    assert all(one.upto <= other.past for one, other in pairwise(parts))

    def covered(part: Part) -> list[Stream]:
        return [name for name in names if part.past < str(name) <= part.upto]

    assert [name for part in parts for name in covered(part)] == names
    for part in parts:
        was_folded = (part.past, part.upto, 1) in kept
        wanted = [name for name in covered(part) if not was_folded or name in changed]
        assert list(part.streams) == wanted
