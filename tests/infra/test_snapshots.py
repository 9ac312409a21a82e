"""Snapshots in PostgreSQL: they save reading a stream whole, and change no answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from api.worker import Worker
from benchmarks.invented import ENTRIES_EACH, Case, InventedClinic, told
from domain.alliance import AllianceRated
from domain.clinic import Scope
from domain.consent import ConsentGiven
from domain.correction import MarkEnteredInError
from domain.event import History, Refusal
from domain.records import Author, Proposal, Receipt, Records
from domain.withdrawal import WithdrawConsent
from infra.event_store import ClinicLog
from infra.mapper import stream_name
from infra.snapshots import Kept
from infra.view_store import ViewStore
from tests.conftest import Clinic
from tests.domain.test_folding import FOLDS, plain
from tests.infra.logs import until


@pytest.fixture
def cases(clinic: Clinic) -> list[Case]:
    """Two whole relationships; the log that recorded them is closed, and has left snapshots."""
    log = clinic.open_log()
    invented = InventedClinic()
    told(Records(log), list(invented.founding()))
    invented.fill(Records(log), 2 * ENTRIES_EACH)
    log.close()
    return invented.cases


def verdict(log: ClinicLog, proposal: Proposal) -> Receipt | str:
    """The receipt, or the code of the refusal."""
    (answer,) = log.append([proposal])
    return answer.code if isinstance(answer, Refusal) else answer


def rows(clinic: Clinic) -> dict[str, dict[str, Any]]:
    """What the table holds, by stream."""
    with psycopg.connect(clinic.database.dsn("owner"), row_factory=dict_row) as conn:
        found = conn.execute("SELECT * FROM rapport.snapshots").fetchall()
    return {row["stream"]: row for row in found}


def change(clinic: Clinic, how: str, *values: object) -> None:
    """Somebody who owns the database changes its snapshots."""
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute(f"UPDATE rapport.snapshots AS s SET {how}".encode(), values)  # noqa: S608


@contextmanager
def whole_reads(log: ClinicLog) -> Iterator[list[str]]:
    """The names of the relationships' streams that are read from their beginning meanwhile."""
    read: list[str] = []
    recorder = log._recorder
    of_stream, from_snapshot = recorder.scan_stream, recorder.scan_from_snapshot

    def note(stream: str, found: Sequence[Any]) -> None:
        if stream.startswith("relationship-") and found and found[0][2] == 1:
            read.append(stream)

    def scan_stream(stream: str, after: int) -> Any:
        found = of_stream(stream, after)
        note(stream, found)
        return found

    def scan_from_snapshot(stream: str, format_: str) -> Any:
        found = from_snapshot(stream, format_)
        note(stream, found[0])
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recorder, "scan_stream", scan_stream)
        patched.setattr(recorder, "scan_from_snapshot", scan_from_snapshot)
        yield read


def require_alike(log: ClinicLog, case: Case) -> None:
    """What is known of the relationship comes to what its whole stream does."""
    log._keep_last()
    known = log._cache.known(case.stream)
    assert known is not None
    whole = History(log.history(case.stream))
    assert known.version == whole.version
    for name, fold in FOLDS.items():
        assert plain(known.folded(fold)) == plain(fold.of(whole)), name


def require_read_from_snapshots(log: ClinicLog, cases: list[Case]) -> None:
    """Each is rated without its stream read whole, and comes to what that would."""
    with whole_reads(log) as read:
        for case in cases:
            assert isinstance(verdict(log, case.rating()), Receipt)
            assert isinstance(verdict(log, case.goal_rating(case.goals[0])), Receipt)
    assert read == []
    for case in cases:
        require_alike(log, case)


def test_the_first_rating_reads_no_stream_whole(clinic: Clinic, cases: list[Case]) -> None:
    """Performance: a process that has just begun decides over what others left it."""
    log = clinic.open_log()
    require_read_from_snapshots(log, cases)


def test_rules_hold_over_snapshots(clinic: Clinic, cases: list[Case]) -> None:
    """Rules 1, 20, 29: what another process recorded after a snapshot counts, whatever it is."""
    other, (one, two) = clinic.open_log(), cases
    rated = next(each for each in other.history(one.stream).of(AllianceRated))
    again = one.rating(session=rated[1].session)
    assert verdict(clinic.open_log(), again) == "rated-already"
    mistake = MarkEnteredInError(
        stream=one.stream, entry=rated[0].version, reason="Another client's."
    )
    assert isinstance(verdict(other, Proposal(mistake, Author(one.therapist))), Receipt)
    log = clinic.open_log()
    assert isinstance(verdict(log, one.rating(session=rated[1].session)), Receipt)
    require_alike(log, one)
    consents = other.history(two.stream).of(ConsentGiven)
    consent = next(given for _, given in consents if given.scope is Scope.OUTCOME_MEASURES)
    withdrawn = WithdrawConsent(relationship=two.id, consent=consent.consent)
    assert isinstance(verdict(other, Proposal(withdrawn, Author(two.client))), Receipt)
    assert verdict(clinic.open_log(), two.rating()) == "consent-missing"


@pytest.mark.parametrize(
    "how",
    [
        "sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)",
        "sealed = substr(sealed, 1, 20)",
        "version = version - 1",
        "version = version + 10000",
        "keys = keys || gen_random_uuid()",
        "keys = keys[1:1]",
        "sealed = (SELECT o.sealed FROM rapport.snapshots AS o WHERE o.stream <> s.stream LIMIT 1)",
        "format = 'rapport-snapshot/1+0'",
    ],
)
def test_one_that_was_changed_is_of_no_use(clinic: Clinic, cases: list[Case], how: str) -> None:
    """Idea 4: whoever changes a row, moves it or makes it another's, has the stream read whole."""
    change(clinic, how)
    log = clinic.open_log()
    with whole_reads(log) as read:
        for case in cases:
            assert isinstance(verdict(log, case.rating()), Receipt)
    assert set(read) == {stream_name(case.stream) for case in cases}
    for case in cases:
        require_alike(log, case)


def test_an_older_one_is_as_good(clinic: Clinic, cases: list[Case]) -> None:
    """Idea 4: a row that was rolled back holds less, and nothing that is not so."""
    older = rows(clinic)[stream_name(cases[0].stream)]
    log = clinic.open_log()
    for _ in range(20):
        rating = cases[0].rating()
        assert isinstance(verdict(log, rating), Receipt)
    log.close()
    newer = rows(clinic)[stream_name(cases[0].stream)]
    assert newer["version"] > older["version"]
    change(
        clinic, "version = %s, sealed = %s WHERE stream = %s",
        older["version"], older["sealed"], older["stream"],
    )  # fmt: skip
    log = clinic.open_log()
    with whole_reads(log) as read:
        assert verdict(log, Proposal(rating.command, rating.author)) == "rating-exists"
    assert read == []
    require_alike(log, cases[0])


def test_a_destroyed_key_takes_it_away(clinic: Clinic, cases: list[Case]) -> None:
    """Rule 9: nobody opens it from that moment on, it is removed, and there is none again."""
    kept = rows(clinic)[stream_name(cases[0].stream)]
    log = clinic.open_log()
    (*_, entry) = log.history(cases[0].stream)
    assert entry.key_id in kept["keys"]
    clinic.keyring.destroy(clinic.id, entry.key_id)
    assert verdict(log, cases[0].rating()) in ("subject-erased", "consent-missing")
    log.remove_snapshots()
    assert set(rows(clinic)) == {stream_name(cases[1].stream)}
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute(
            "INSERT INTO rapport.snapshots VALUES (%s, %s, %s, %s, %s, %s)", [*kept.values()]
        )
    fresh = clinic.open_log()
    with whole_reads(fresh) as read:
        assert verdict(fresh, cases[0].rating()) in ("subject-erased", "consent-missing")
    assert read == [kept["stream"]]
    for one in (log, fresh):
        one.close()
    clinic.open_log().remove_snapshots()
    assert set(rows(clinic)) == {stream_name(cases[1].stream)}


def test_any_of_its_keys_takes_it_away(clinic: Clinic, cases: list[Case]) -> None:
    """Rule 9: also where the key of one person is destroyed, and the stream's own is not."""
    kept = rows(clinic)[stream_name(cases[0].stream)]
    assert len(kept["keys"]) > 1
    assert clinic.open_log()._snapshots._key(kept["keys"]) is not None
    clinic.keyring.destroy(clinic.id, kept["keys"][0])
    assert clinic.open_log()._snapshots._key(kept["keys"]) is None


def test_whoever_goes_further_stands(clinic: Clinic, cases: list[Case]) -> None:
    """Several processes write at once: none takes another's place that goes further."""
    name, logs = stream_name(cases[0].stream), [clinic.open_log() for _ in range(4)]
    histories = []
    for log in logs:
        for _ in range(20):
            assert isinstance(verdict(log, cases[0].rating()), Receipt)
        histories.append(log.history(cases[0].stream))
    written = [(cases[0].stream, history) for history in histories]
    threads = [Thread(target=_write, args=(log, written)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _write(logs[0], written[:1])
    assert rows(clinic)[name]["version"] == histories[-1].version
    log = clinic.open_log()
    with whole_reads(log) as read:
        assert isinstance(verdict(log, cases[0].rating()), Receipt)
    assert read == []
    require_alike(log, cases[0])


def _write(log: ClinicLog, some: Sequence[Any]) -> None:
    for one in some:
        log._snapshots._write([Kept(*one)])


def test_missing_ones_are_filled_in(clinic: Clinic, cases: list[Case]) -> None:
    """Performance: also where whoever recorded it left none, as an import does."""
    before = rows(clinic)
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute("DELETE FROM rapport.snapshots")
    log = clinic.open_log()
    while log.fill_snapshots():
        pass
    assert not log.fill_snapshots()
    assert {name: row["version"] for name, row in rows(clinic).items()} == {
        stream_name(case.stream): log.history(case.stream).version for case in cases
    }
    assert rows(clinic).keys() == before.keys()
    log = clinic.open_log()
    assert not log.fill_snapshots()
    require_read_from_snapshots(log, cases)


def test_a_worker_with_nothing_to_do_fills_them_in(clinic: Clinic, cases: list[Case]) -> None:
    """Performance: nobody has to ask for it, and no command waits for it."""
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute("DELETE FROM rapport.snapshots")
    store = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    stop, log = Event(), clinic.open_log()
    working = Thread(target=Worker([], log, store, idle=log.fill_snapshots).run, args=(stop,))
    working.start()
    try:
        until(lambda: rows(clinic).keys() == {stream_name(case.stream) for case in cases})
    finally:
        stop.set()
        working.join()
        store.close()


def test_one_that_does_not_open_stops_no_other(clinic: Clinic, cases: list[Case]) -> None:
    """A stream with an entry that was changed gets none; the next one does, and it ends."""
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute("DELETE FROM rapport.snapshots")
    with changed_entry(clinic, stream_name(cases[0].stream), 40):
        log = clinic.open_log()
        while log.fill_snapshots():
            pass
    assert set(rows(clinic)) == {stream_name(cases[1].stream)}


@contextmanager
def changed_entry(clinic: Clinic, stream: str, version: int) -> Iterator[None]:
    """Meanwhile one of its entries is cut short in the table."""
    at = (stream, version)
    with psycopg.connect(clinic.database.dsn("owner"), autocommit=True) as conn:
        conn.execute("ALTER TABLE rapport.entries DISABLE TRIGGER ALL")
        found = conn.execute(
            "SELECT ciphertext FROM rapport.entries WHERE stream = %s AND version = %s", at
        ).fetchone()
        assert found is not None
        update = "UPDATE rapport.entries SET ciphertext = %s WHERE stream = %s AND version = %s"
        conn.execute(update, (found[0][:90], *at))
        yield
        conn.execute(update, (found[0], *at))
        conn.execute("ALTER TABLE rapport.entries ENABLE TRIGGER ALL")


def test_where_it_cannot_be_written_nothing_else_changes(clinic: Clinic, cases: list[Case]) -> None:
    """A cache: without its table's rights commands are decided as before, and the log closes."""
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        conn.execute("DELETE FROM rapport.snapshots")
        conn.execute("REVOKE INSERT, UPDATE, DELETE ON rapport.snapshots FROM rapport_app")
    log = clinic.open_log()
    assert isinstance(verdict(log, cases[0].rating()), Receipt)
    log.close()
    assert rows(clinic) == {}


def test_a_short_stream_has_none(clinic: Clinic) -> None:
    """What is read sooner than a snapshot of it is read."""
    log = clinic.open_log()
    invented = InventedClinic()
    told(Records(log), list(invented.founding()))
    opening, _ = invented.case()
    told(Records(log), opening)
    log.close()
    assert rows(clinic) == {}
