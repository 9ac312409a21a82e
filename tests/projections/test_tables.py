"""Views in PostgreSQL: sealed rows, the worker that moves them, and their rebuilding."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.worker import Worker
from domain.clinic import Scope
from domain.correction import CorrectEntry, MarkEnteredInError
from domain.event import ERASED, RecordedEvent, Stream
from domain.goal import GoalRated
from domain.relationship import RelationshipOpened
from infra.postgres import EmbeddedPostgres
from infra.sealing import SealBroken
from infra.view_store import RebuildRunning, ViewStore
from projections.dossier import VIEWS, dossier
from projections.rebuild import rebuild
from projections.timeline import State, Timeline
from projections.view import View, ViewBehind, ViewNotBuilt, ViewReader
from tests.conftest import Clinic
from tests.projections.story import SECRET, House, Told

ALL = VIEWS.all()


def told_a_lot(house: House) -> Told:
    told = house.open()
    told.rate(told.session())
    told.agree_on_a_goal()
    told.rate(told.session(), "9", "9", "9", "9")
    told.session()
    return told


def assert_as_folded(reader: ViewReader, clinic: Clinic, stream: Stream) -> None:
    """Every table holds what the fold of the whole history gives."""
    history = clinic.log.history(stream)
    for view in ALL:
        assert reader.read(view, stream).of(stream) == view.of(stream, history)


def digests(store: ViewStore) -> dict[str, str]:
    found = {}
    for view in ALL:
        digest = store.digest(view)
        assert digest is not None
        found[view.table] = digest.mac
    return found


def rebuilt_equal(clinic: Clinic, store: ViewStore) -> None:
    """Rule 6: a rebuild finds every view as it was."""
    before = digests(store)
    for outcome in rebuild(ALL, clinic.log, store):
        assert outcome.comparison is not None
        assert outcome.comparison.differing == ()
        assert outcome.comparison.equal
    assert digests(store) == before


def superuser(server: EmbeddedPostgres, clinic: Clinic) -> psycopg.Connection:
    name = str(conninfo_to_dict(clinic.database.dsn("owner"))["dbname"])
    return psycopg.connect(server.superuser_dsn(name), autocommit=True)


# --- Rows ---------------------------------------------------------------------------------------


def test_tables_hold_what_the_fold_tells(house: House, worker: Worker, reader: ViewReader) -> None:
    """Rules 6, 7: step by step the application reads what the history gives, and how far."""
    told = house.open()
    worker.catch_up()
    assert_as_folded(reader, house.clinic, told.stream)
    told.rate(told.session())
    told.rate(told.session())
    told.agree_on_a_goal()
    worker.catch_up()
    assert_as_folded(reader, house.clinic, told.stream)
    reading = reader.read(VIEWS.timeline, told.stream)
    assert (reading.view, reading.version) == ("timeline", 1)
    assert reading.position == house.clinic.log.head_size()
    assert reading.parked == {}


def test_corrections_reach_the_tables(house: House, worker: Worker, reader: ViewReader) -> None:
    """Rule 1: what is corrected or was an error reads so in the tables from then on."""
    told = told_a_lot(house)
    worker.catch_up()
    history = house.clinic.log.history(told.stream)
    rating = next(entry for entry in history if entry.topic == GoalRated.topic)
    opening = history[0].event
    assert isinstance(opening, RelationshipOpened)
    content = opening.model_dump(exclude_none=True) | {"modality": "schema therapy"}
    house.tell(
        CorrectEntry(stream=told.stream, entry=1, reason="Mistyped.", content=content),
        MarkEnteredInError(stream=told.stream, entry=rating.version, reason="Another client."),
    )
    worker.catch_up()
    assert_as_folded(reader, house.clinic, told.stream)
    modality = reader.read(VIEWS.caseload, told.stream).of(told.stream)[1].modality
    assert (modality.value, modality.ref.version) == ("schema therapy", 1)
    assert modality.ref.amended_at == house.clinic.log.head_size() - 1
    goals = reader.read(VIEWS.goal_course, told.stream).of(told.stream)
    assert rating.version not in goals
    lines = reader.read(VIEWS.timeline, told.stream).of(told.stream)
    in_error = lines[rating.version].in_error
    assert in_error is not None
    assert in_error.value == max(lines)
    assert [mark.value for mark in lines[1].corrected] == [max(lines) - 1]


def test_rows_are_found_by_their_clear_columns(
    house: House, worker: Worker, reader: ViewReader
) -> None:
    """ARCHITECTURE, idea 6: a caseload is found by a practitioner's id, a page by its rows."""
    mine, other = house.open(), house.open()
    worker.catch_up()
    cases = reader.read(VIEWS.caseload, where={"therapists": house.therapist})
    assert cases.rows.keys() == {mine.stream, other.stream}
    assert reader.read(VIEWS.caseload, where={"clients": mine.client}).rows.keys() == {mine.stream}
    assert reader.read(VIEWS.caseload, where={"therapists": uuid4()}).rows == {}
    lines = reader.read(VIEWS.timeline, mine.stream, after=1, limit=2).of(mine.stream)
    assert list(lines) == [2, 3]


def test_nothing_clinical_is_in_the_clear(
    house: House, worker: Worker, server: EmbeddedPostgres
) -> None:
    """Rule 9, R27: of words and scores nothing is found in any row of any table of views."""
    told_a_lot(house).beside()
    worker.catch_up()
    with superuser(server, house.clinic) as conn:
        for view in ALL:
            rows = conn.execute(f"SELECT t::text FROM views.{view.table} t").fetchall()  # noqa: S608
            assert rows
            dump = "\n".join(row[0] for row in rows)
            for word in (SECRET, "SRS-3", "relationship.goals", '"value"', "statement", "items"):
                assert word not in dump
                assert word.encode().hex() not in dump


def test_a_changed_column_breaks_the_seal(house: House, worker: Worker, reader: ViewReader) -> None:
    """R3: what stands in the clear is bound to what is sealed beside it."""
    told = told_a_lot(house)
    worker.catch_up()
    with psycopg.connect(house.clinic.database.dsn("views")) as conn:
        conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
        changed = conn.execute(
            'UPDATE views.caseload_v2 SET clear = replace(clear, \'"state":"\', \'"state":"not \')'
        )
        assert changed.rowcount == 1
    with pytest.raises(SealBroken):
        reader.read(VIEWS.caseload, told.stream)


def test_a_row_that_was_made_up_is_not_shown(
    house: House, worker: Worker, reader: ViewReader
) -> None:
    """R35: who writes the tables, and has no key, puts nobody into somebody else's caseload: else
    a page would tell them names that only the keyring opens."""
    told = told_a_lot(house)
    worker.catch_up()
    intruder = uuid4()
    with psycopg.connect(house.clinic.database.dsn("views")) as conn:
        conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
        conn.execute(
            "UPDATE views.caseload_v2 SET therapists = ARRAY[%s], "
            "sealed = array_fill(NULL::bytea, ARRAY[cardinality(keys)])",
            (intruder,),
        )
    with pytest.raises(SealBroken):
        reader.read(VIEWS.caseload, where={"therapists": intruder})
    with pytest.raises(SealBroken):
        reader.read(VIEWS.caseload, told.stream)


def test_clinics_do_not_see_each_other(
    new_clinic: Callable[[], Clinic], store_of: Callable[..., ViewStore]
) -> None:
    """R35: tables are shared, rows are not: neither read, nor rebuilt, nor cleared by another."""
    first, second = (House(new_clinic()) for _ in range(2))
    told = [told_a_lot(house) for house in (first, second)]
    stores = [store_of(house.clinic) for house in (first, second)]
    for house, its_store in zip((first, second), stores, strict=True):
        Worker(ALL, house.clinic.log, its_store).catch_up()
    before = digests(stores[1])
    rebuilt_equal(first.clinic, stores[0])
    assert digests(stores[1]) == before
    cases = ViewReader(stores[0]).read(VIEWS.caseload)
    assert cases.rows.keys() == {told[0].stream}
    with psycopg.connect(first.clinic.database.dsn("views")) as conn:
        assert conn.execute("SELECT count(*) FROM views.caseload_v2").fetchone() == (0,)


def test_readers_cannot_write(house: House, worker: Worker) -> None:
    """R29: the application and the reading role see the tables of views, and change nothing."""
    worker.catch_up()
    for role in ("app", "read"):
        with psycopg.connect(house.clinic.database.dsn(role), autocommit=True) as conn:
            conn.execute("SELECT 1 FROM views.timeline_v1")
            for statement in (
                "DELETE FROM views.timeline_v1",
                "UPDATE rapport.tracking SET position = 0",
                "DROP TABLE views.timeline_v1",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement)


# --- Moving along -------------------------------------------------------------------------------


def test_a_view_that_was_never_built_says_so(reader: ViewReader) -> None:
    """Rule 7: no table is not the same as nothing to tell."""
    with pytest.raises(ViewNotBuilt, match="timeline"):
        reader.read(VIEWS.timeline)
    with pytest.raises(ViewBehind):
        reader.wait_for(ALL, 1, timeout=0.05)


def test_who_wrote_can_wait_for_it(house: House, worker: Worker, reader: ViewReader) -> None:
    """Rule 8: with a receipt's position a reader waits until the views cover it."""
    worker.catch_up()
    told = house.open()
    with pytest.raises(ViewBehind):
        reader.wait_for(ALL, house.clinic.log.head_size(), timeout=0.05)
    thread = threading.Thread(target=worker.catch_up)
    thread.start()
    reader.wait_for(ALL, house.clinic.log.head_size(), timeout=20)
    thread.join()
    assert reader.read(VIEWS.caseload, told.stream).rows


def test_one_reading_of_the_log_serves_views_that_lag(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 6: views that stand at different places come together in small batches."""
    Worker([VIEWS.timeline], house.clinic.log, store).catch_up()
    told = told_a_lot(house)
    Worker([VIEWS.caseload], house.clinic.log, store).catch_up()
    house.open()
    Worker(ALL, house.clinic.log, store, entries_at_once=3).catch_up()
    assert_as_folded(reader, house.clinic, told.stream)
    rebuilt_equal(house.clinic, store)


def test_a_view_far_behind_is_built_anew(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 6: past a certain distance a view is folded stream by stream, with the same result."""
    worker = Worker(ALL, house.clinic.log, store, far_behind=5)
    worker.catch_up()
    build = store.tracked(["timeline_v1"])["timeline_v1"].build
    told = told_a_lot(house)
    worker.catch_up()
    assert store.tracked(["timeline_v1"])["timeline_v1"].build != build
    assert_as_folded(reader, house.clinic, told.stream)


def test_a_rebuild_that_compares_nothing_ends_with_the_log(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 7: compared, a view stays where it stood; if not, it comes out at the log's end."""
    worker.catch_up()
    stood = house.clinic.log.head_size()
    told = told_a_lot(house)
    assert {outcome.position for outcome in rebuild(ALL, house.clinic.log, store)} == {stood}
    outcomes = rebuild(ALL, house.clinic.log, store, compare=False)
    assert {outcome.position for outcome in outcomes} == {house.clinic.log.head_size()}
    assert_as_folded(reader, house.clinic, told.stream)


def test_two_workers_do_no_harm(
    house: House, store_of: Callable[..., ViewStore], reader: ViewReader
) -> None:
    """Rule 6: two workers that start and run together leave what one would have left."""
    stores = [store_of(house.clinic) for _ in range(2)]
    told = [house.open() for _ in range(3)]
    stop, ready = threading.Event(), threading.Barrier(3)
    failures: list[Exception] = []

    def work(store: ViewStore) -> None:
        worker = Worker(ALL, house.clinic.open_log(), store, entries_at_once=2)
        ready.wait()
        try:
            while not stop.is_set():
                worker.catch_up()
            worker.catch_up()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    ready.wait()
    for _ in range(4):
        for each in told:
            each.rate(each.session())
    reader.wait_for(ALL, house.clinic.log.head_size(), timeout=60)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    for each in told:
        assert_as_folded(reader, house.clinic, each.stream)
    rebuilt_equal(house.clinic, stores[0])


def cut_connections_of_views(server: EmbeddedPostgres, clinic: Clinic) -> None:
    with superuser(server, clinic) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = 'rapport_views'"
        )


def test_a_worker_is_woken_and_outlives_its_connections(
    house: House, worker: Worker, reader: ViewReader, server: EmbeddedPostgres
) -> None:
    """ARCHITECTURE, idea 6: woken by a notice; connections that are cut are made anew."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        reader.wait_for(ALL, house.clinic.log.head_size(), timeout=20)
        cut_connections_of_views(server, house.clinic)
        told = house.open()
        reader.wait_for(ALL, house.clinic.log.head_size(), timeout=20)
        assert reader.read(VIEWS.caseload, told.stream).rows
    finally:
        stop.set()
        thread.join()


class Brittle(Timeline):
    """A timeline that cannot stand the withdrawal of consent."""

    name = "brittle"
    alone = frozenset()

    def fold(self, state: State, *entries: RecordedEvent) -> State:
        if any(entry.topic == "consent.withdrawn" for entry in entries):
            raise LookupError("whatever was said must not be repeated")
        return super().fold(state, *entries)


def test_a_poison_entry_stops_one_stream_only(
    house: House, store: ViewStore, reader: ViewReader
) -> None:
    """R27: the stream is parked with a code, the others go on, and the view says it lacks it."""
    brittle = Brittle()
    views: list[View[Any, Any]] = [brittle, VIEWS.timeline]
    worker = Worker(views, house.clinic.log, store)
    worker.catch_up()
    told, other = house.open(), house.open()
    worker.catch_up()
    whole = store.digest(brittle)
    receipt = told.withdraw(Scope.TREATMENT)
    worker.catch_up()
    told.withdraw(Scope.OUTCOME_MEASURES)
    other.session()
    worker.catch_up()
    reading = reader.read(brittle)
    assert reading.rows.keys() == {other.stream}
    assert reading.parked == {told.stream: (receipt.position, "LookupError")}
    digest = store.digest(brittle)
    assert whole is not None
    assert digest is not None
    assert (whole.parked, digest.parked) == (0, 1)
    assert reader.read(VIEWS.timeline).rows.keys() == {told.stream, other.stream}
    (outcome,) = rebuild([brittle], house.clinic.log, store)
    assert outcome.comparison is not None
    assert outcome.comparison.equal


# --- Rebuilding ---------------------------------------------------------------------------------


def test_every_view_is_rebuilt_equal(house: House, worker: Worker, store: ViewStore) -> None:
    """Rule 6: dropped and replayed, every view has the digest that it had."""
    for _ in range(3):
        told_a_lot(house)
        worker.catch_up()
    rebuilt_equal(house.clinic, store)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_rebuild_names_the_rows_that_differ(
    house: House,
    worker: Worker,
    store: ViewStore,
    reader: ViewReader,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    """Rule 6: rows that were lost are named, all of their block, and are there again."""
    monkeypatch.setattr("infra.view_rows._ROWS_IN_BLOCK", at_once)
    told = told_a_lot(house)
    worker.catch_up()
    with psycopg.connect(house.clinic.database.dsn("views")) as conn:
        conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
        conn.execute("DELETE FROM views.timeline_v1 WHERE 2 BETWEEN entry AND until")
    outcome = next(r for r in rebuild(ALL, house.clinic.log, store) if r.view == "timeline")
    assert outcome.comparison is not None
    assert not outcome.comparison.equal
    lost = (2,) if at_once == 1 else (1, 2, 3)
    assert outcome.comparison.differing == tuple((str(told.stream), entry) for entry in lost)
    assert_as_folded(reader, house.clinic, told.stream)
    rebuilt_equal(house.clinic, store)


def test_readers_are_never_blocked_by_a_rebuild(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """ARCHITECTURE, idea 6: at every moment of a rebuild the old rows are read, at once."""
    told = told_a_lot(house)
    worker.catch_up()
    before = reader.read(VIEWS.timeline, told.stream)
    seen: list[int] = []

    def look(folded: int) -> None:
        assert reader.read(VIEWS.timeline, told.stream) == before
        seen.append(folded)

    rebuild(ALL, house.clinic.log, store, progress=look)
    assert seen == [1]
    assert reader.read(VIEWS.timeline, told.stream) == before


def test_a_rebuild_ends_where_the_view_has_come_meanwhile(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 6: entries that are folded while a rebuild runs are in it when it is swapped in."""
    told = told_a_lot(house)
    worker.catch_up()
    news: list[Told] = []

    def go_on(folded: int) -> None:
        told.session()
        news.append(house.open())
        worker.catch_up()

    outcomes = rebuild(ALL, house.clinic.log, store, progress=go_on)
    assert {outcome.position for outcome in outcomes} == {house.clinic.log.head_size()}
    assert all(outcome.comparison and outcome.comparison.equal for outcome in outcomes)
    for each in (told, *news):
        assert_as_folded(reader, house.clinic, each.stream)


def test_one_rebuild_at_a_time(house: House, worker: Worker, store: ViewStore) -> None:
    """ARCHITECTURE, idea 6: a second rebuild of the same view is refused, and harms nothing."""
    told_a_lot(house)
    worker.catch_up()

    def again(folded: int) -> None:
        with pytest.raises(RebuildRunning):
            rebuild([VIEWS.timeline], house.clinic.log, store)

    rebuild([VIEWS.timeline], house.clinic.log, store, progress=again)
    rebuilt_equal(house.clinic, store)


def test_an_interrupted_rebuild_is_gone_on_with(
    house: House, worker: Worker, store: ViewStore
) -> None:
    """ARCHITECTURE, idea 6: given up half-way, nothing is swapped; the next one goes on with what
    is folded, byte for byte, unless it is asked not to, and leaves nothing behind."""
    told_a_lot(house)
    worker.catch_up()
    before = digests(store)

    def give_up(folded: int) -> None:
        raise KeyboardInterrupt

    def macs() -> dict[UUID, set[bytes]]:
        with psycopg.connect(house.clinic.database.dsn("views")) as conn:
            conn.execute("SELECT set_config('rapport.clinic', %s, false)", (str(house.clinic.id),))
            found: dict[UUID, set[bytes]] = {}
            for build, mac in conn.execute("SELECT build, mac FROM views.timeline_v1"):
                found.setdefault(build, set()).add(mac)
            return found

    (live,) = macs()
    with pytest.raises(KeyboardInterrupt):
        rebuild(ALL, house.clinic.log, store, progress=give_up)
    assert digests(store) == before
    (left,) = macs().keys() - {live}
    folded = macs()[left]
    rebuilt_equal(house.clinic, store)
    assert macs() == {left: folded}
    with pytest.raises(KeyboardInterrupt):
        rebuild(ALL, house.clinic.log, store, progress=give_up)
    (given_up,) = macs().keys() - {left}
    rebuild(ALL, house.clinic.log, store, afresh=True)
    assert macs().keys().isdisjoint({left, given_up})
    assert len(macs()) == 1


class Newer(Timeline):
    """A later version of the code."""

    version = 2


class Closer(Newer):
    """One that tells less in the clear."""

    clear = Timeline.clear[:-1]  # type: ignore[assignment]


@pytest.mark.parametrize("newer", [Newer(), Closer()])
def test_a_new_version_is_built_beside_the_old(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader, newer: Timeline
) -> None:
    """ARCHITECTURE, idea 6: the old version stays readable; what differs in the new is named."""
    told = told_a_lot(house)
    worker.catch_up()
    house.open()
    (outcome,) = rebuild([newer], house.clinic.log, store)
    old = reader.read(VIEWS.timeline)
    assert outcome.position == old.position < house.clinic.log.head_size()
    assert outcome.replaced_version == 1
    assert outcome.comparison is not None
    assert outcome.comparison.equal is not isinstance(newer, Closer)
    assert outcome.comparison.differences == (
        len(old.of(told.stream)) if isinstance(newer, Closer) else 0
    )
    assert reader.read(newer).rows == old.rows
    Worker([newer], house.clinic.log, store).catch_up()
    with pytest.raises(ViewNotBuilt):
        reader.read(VIEWS.timeline)
    assert reader.read(newer).rows.keys() > old.rows.keys()
    assert reader.read(newer, told.stream).rows


# --- Erasure ------------------------------------------------------------------------------------


def key_of(clinic: Clinic, told: Told, subject: UUID | str) -> UUID:
    return clinic.keyring.key_for(clinic.id, str(told.stream), str(subject))[0]


def test_a_destroyed_key_takes_its_cells_along(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 9: at once nothing sealed under it is told; folded again, each gap names its entry."""
    told = told_a_lot(house)
    other = told_a_lot(house)
    worker.catch_up()
    kept = reader.read(VIEWS.alliance_course, other.stream)
    house.clinic.keyring.destroy(house.clinic.id, key_of(house.clinic, told, told.client))
    house.clinic.log.history(told.stream)
    ratings = reader.read(VIEWS.alliance_course, told.stream).of(told.stream)
    assert ratings
    assert all(row.items.value == ERASED for row in ratings.values())
    worker.catch_up()
    assert_as_folded(reader, house.clinic, told.stream)
    ratings = reader.read(VIEWS.alliance_course, told.stream).of(told.stream)
    assert {row.items.ref.version for row in ratings.values()} == ratings.keys()
    assert reader.read(VIEWS.alliance_course, other.stream) == kept
    rebuilt_equal(house.clinic, store)


def test_a_rebuild_after_an_erasure_is_equal(
    house: House, worker: Worker, store: ViewStore
) -> None:
    """Rule 6: also where nobody has folded the erased stream again before the rebuild."""
    told = told_a_lot(house)
    worker.catch_up()
    house.clinic.keyring.destroy(house.clinic.id, key_of(house.clinic, told, "joint"))
    for outcome in rebuild(ALL, house.clinic.log, store):
        assert outcome.comparison is not None
        assert outcome.comparison.differing == ()
        assert outcome.comparison.equal


def test_a_stream_goes_on_after_an_erasure(
    house: House, worker: Worker, store: ViewStore, reader: ViewReader
) -> None:
    """Rule 9: after a client's key is gone the next entry finds the tables in order."""
    told = told_a_lot(house)
    worker.catch_up()
    house.clinic.keyring.destroy(house.clinic.id, key_of(house.clinic, told, told.client))
    session = told.session_in_an_emergency()
    told.rate(session, *["4"] * 36, by_client=False)
    worker.catch_up()
    assert_as_folded(reader, house.clinic, told.stream)
    seen = dossier(told.stream, house.clinic.log.history(told.stream))
    assert seen.case is not None
    assert seen.case.erased_entries is not None
    rebuilt_equal(house.clinic, store)
