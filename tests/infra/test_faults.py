"""What breaks, breaks between acknowledgements: real processes, real kills, real lost connections.

Whatever happens: a receipt that was given stays true, a command that was sent again is one entry,
and the log goes on without a gap. Every test ends in a verification of the whole record.
"""

import logging
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.access import ReadRecord, access_stream
from domain.event import EntryUnknown, Event, Given, History, New, Refusal, Stream
from domain.records import Author, Proposal, Receipt
from infra import event_store, recorder
from infra.acknowledged import AcknowledgedHead, AcknowledgedHeadBroken, LogDiverged
from infra.batch import Batch
from infra.canonical import CanonicalError
from infra.clinics import found_clinic
from infra.event_store import ClinicLog, ClockSkew, Contended
from infra.merkle import leaf_hash
from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres
from infra.postmaster import find_postmaster
from infra.recorder import StoreUnavailable
from infra.sealing import SealBroken
from infra.verify import LogBroken, verify
from tests.conftest import Clinic
from tests.infra.appender import Appender
from tests.infra.logs import acknowledged, open_log, read, until
from tests.infra.proxy import Proxy


def a_read(about: UUID | None = None) -> Proposal:
    return Proposal(read(about or uuid4()), Author(uuid4()))


def leaf_hashes(clinic: Clinic) -> list[str]:
    """The leaf hash of every entry in the log, in order of position."""
    query = "SELECT leaf_input FROM rapport.entries WHERE clinic = %s ORDER BY position"
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        return [leaf_hash(row[0]).hex() for row in conn.execute(query, (clinic.id,))]


def commands(log: ClinicLog) -> Counter[UUID]:
    """How many entries each command has."""
    return Counter(entry.command_id for entry in log.read_log(0, 100_000))


def insisted(log: ClinicLog, proposal: Proposal) -> tuple[Receipt, int]:
    """Sends a command until it is answered; its receipt, and how often it was sent."""
    for tries in count(1):
        try:
            (verdict,) = log.append([proposal])
        except StoreUnavailable:
            continue
        assert isinstance(verdict, Receipt)
        return verdict, tries
    raise AssertionError


@pytest.fixture(scope="module")
def database(new_database: Callable[[], Database]) -> Database:
    """One for all tests: each has a clinic of its own in it."""
    return new_database()


@pytest.fixture
def superuser(server: EmbeddedPostgres, database: Database) -> Iterator[psycopg.Connection]:
    name = str(conninfo_to_dict(database.dsn("owner"))["dbname"])
    with psycopg.connect(server.superuser_dsn(name), autocommit=True) as conn:
        yield conn


# --- Processes ------------------------------------------------------------------------------


def test_what_a_killed_process_was_acknowledged_is_in_the_log(clinic: Clinic) -> None:
    """Idea 3: kill -9 in the middle of appending, again and again; the next process goes on."""
    shared = uuid4()
    told: list[dict[str, Any]] = []
    for kill in range(3):
        now = clinic.clock.advance(minutes=1)
        with Appender(
            clinic.database.dsn("app"), clinic.id, clinic.home, now, shared=shared, threads=4
        ) as appender:
            told += appender.receipts(limit=30 + 7 * kill)
            appender.kill()
            told += appender.receipts()
    stored = leaf_hashes(clinic)
    assert {line["position"]: line["leaf_hash"] for line in told}.items() <= dict(
        enumerate(stored, start=1)
    ).items()
    size, _ = clinic.acknowledged() or (0, b"")
    assert max(line["tree_size"] for line in told) <= size <= len(stored)
    clinic.clock.advance(minutes=1)
    assert clinic.record(read(shared)).position == clinic.log.head_size()
    assert clinic.log.head_size() in (len(stored) + 1, len(stored) + 2), "the killed one's last"


def test_two_processes_of_eight_threads_lose_and_double_nothing(clinic: Clinic) -> None:
    """Idea 3: no gap, no loss, no double effect, though both send the same commands too."""
    shared = uuid4()
    both = [(uuid4(), uuid4()) for _ in range(12)]

    def appender() -> Appender:
        return Appender(
            clinic.database.dsn("app"), clinic.id, clinic.home, clinic.clock.now,
            shared=shared, threads=8, commands=both,
        )  # fmt: skip

    with appender() as one, appender() as two:
        told = [*one.receipts(), *two.receipts()]
    assert (one.process.returncode, two.process.returncode) == (0, 0)
    own = 2 * 8 * (len(both) + 1)
    assert len(told) == own + 2 * 8 * len(both)
    stored = leaf_hashes(clinic)
    assert len(stored) == own + len(both), "each command that was sent sixteen times is one entry"
    assert {(line["position"], line["leaf_hash"]) for line in told} == set(enumerate(stored, 1))
    assert len({tuple(line.items()) for line in told}) == len(stored), "the same receipt each time"
    clinic.clock.advance(minutes=1)
    assert [entry.version for entry in clinic.log.history(access_stream(shared))] == list(
        range(1, 2 * 8 * (len(both) // 2) + 1)
    )


# --- Connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("lost, losses", [("request", 1), ("request", 2), ("answer", 1)])
def test_a_lost_message_leaves_one_entry(
    clinic: Clinic, lost: Literal["request", "answer"], losses: int
) -> None:
    """Idea 3: whether the append or its answer got lost, the same id again is one entry."""
    proposal = a_read()
    with (
        Proxy(clinic.database.dsn("app")) as proxy,
        open_log(proxy.conninfo, clinic.id, clinic.home, clinic.clock) as log,
    ):
        log.append([a_read()])
        proxy.lose(lost, b"record.read", times=losses)
        receipt, tries = insisted(log, proposal)
        assert (receipt.position, tries, proxy.lost) == (2, losses, losses)
        assert receipt == clinic.log.receipt(proposal.command_id)
        assert clinic.log.head_size() == 2
        assert insisted(log, a_read())[0].position == 3


def test_terminated_connections_cost_no_entry_and_double_none(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: backends are terminated under eight writers, who send again until they are told."""
    sent: list[Proposal] = []
    told: list[Receipt] = []
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            sent.append(a_read())
            told.append(insisted(clinic.log, sent[-1])[0])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    terminated = 0
    while terminated < 8:
        _more(told, 10)
        terminated += superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = 'rapport_app' AND datname = current_database()"
        ).rowcount
    enough.set()
    for thread in threads:
        thread.join()
    assert Counter(proposal.command_id for proposal in sent) == commands(clinic.log)
    assert sorted(receipt.position for receipt in told) == list(range(1, len(sent) + 1))


def test_a_store_that_is_down_is_said_to_be_so_and_found_when_it_is_back(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idea 3: for appends and reads alike, soon; nobody waits for pauses that grew meanwhile."""
    monkeypatch.setattr(recorder, "_CONNECTION_SECONDS", 1)
    proposal = a_read()
    with (
        Proxy(clinic.database.dsn("app")) as proxy,
        open_log(proxy.conninfo, clinic.id, clinic.home, clinic.clock) as log,
    ):
        log.append([a_read()])
        proxy.go_down()
        with pytest.raises(StoreUnavailable):
            log.append([proposal])
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                log.history(Stream("access", clinic.id))
        with pytest.raises(StoreUnavailable), open_log(proxy.conninfo, clinic.id, clinic.home):
            pass
        proxy.come_up()
        back = monotonic()
        assert insisted(log, proposal)[0].position == 2
        assert log.history(Stream("access", clinic.id)).version == 0
        assert monotonic() - back < 2


def test_an_answer_that_takes_too_long_is_no_answer(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: with a statement_timeout in the connection string, a stuck store is unavailable."""
    conninfo = make_conninfo(clinic.database.dsn("app"), options="-c statement_timeout=200")
    proposal = a_read()
    with open_log(conninfo, clinic.id, clinic.home, clinic.clock) as log:
        with superuser.transaction():
            superuser.execute(
                "SELECT FROM rapport.heads WHERE clinic = %s FOR UPDATE", (clinic.id,)
            )
            with pytest.raises(StoreUnavailable):
                log.append([proposal])
        log.append([proposal])
    assert commands(clinic.log) == {proposal.command_id: 1}


# --- PostgreSQL -----------------------------------------------------------------------------


def test_a_restarted_postgresql_is_found_again_with_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    """Idea 3: stopped and killed under a writer; the log goes on without a new process."""
    clinic = uuid4()
    told: list[Receipt] = []
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="rapport-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        with EmbeddedPostgres(home) as database:
            migrate(database.dsn("owner"))
            found_clinic(database.dsn("owner"), clinic)
            with open_log(database.dsn("app"), clinic, tmp_path) as log:

                def write() -> None:
                    while not stop.is_set():
                        told.append(insisted(log, a_read())[0])

                writer = threading.Thread(target=write)
                writer.start()
                try:
                    for end in (signal.SIGINT, signal.SIGKILL):
                        _more(told)
                        _restart(home, end)
                    _more(told)
                finally:
                    stop.set()
                    writer.join()
                assert [receipt.position for receipt in told] == list(range(1, len(told) + 1))
                known = acknowledged(clinic, tmp_path)
                assert verify(database.dsn("read"), clinic, acknowledged=known).size == len(told)


def _more(told: Sequence[Receipt], receipts: int = 20) -> None:
    enough = len(told) + receipts
    until(lambda: len(told) >= enough)


def _restart(home: Path, end: signal.Signals) -> None:
    """Ends the server as `end` does, then starts it as another user of its home would."""
    postmaster = find_postmaster(home / "postgres" / "data")
    assert postmaster is not None
    os.kill(postmaster.pid, end)
    until(lambda: not postmaster.alive)
    with EmbeddedPostgres(home):
        pass


def test_a_running_log_that_is_rolled_back_is_not_appended_to(
    database: Database, superuser: psycopg.Connection, tmp_path: Path
) -> None:
    """Idea 5: an older backup restored under a running process stops it, not only the next."""
    clinic = uuid4()
    found_clinic(database.dsn("owner"), clinic)
    with open_log(database.dsn("app"), clinic, tmp_path) as log:
        log.append([a_read()])
        backup = superuser.execute(
            "SELECT size, root, frontier, recorded_at FROM rapport.heads WHERE clinic = %s",
            (clinic,),
        ).fetchone()
        assert backup is not None
        log.append([a_read()])
        superuser.execute("SET session_replication_role = replica")
        for statement in (
            "DELETE FROM rapport.entries WHERE clinic = %s AND position > 1",
            "DELETE FROM rapport.commands WHERE clinic = %s AND tree_size > 1",
            "DELETE FROM rapport.batches WHERE clinic = %s AND size > 1",
        ):
            superuser.execute(statement, (clinic,))
        superuser.execute(
            "UPDATE rapport.heads SET (size, root, frontier, recorded_at) = (%s, %s, %s, %s) "
            "WHERE clinic = %s",
            (*backup, clinic),
        )
        for _ in range(2):
            with pytest.raises(LogDiverged, match="has 1 entries, but 2 were acknowledged"):
                log.append([a_read()])
        assert log.head_size() == 1
    verify(database.dsn("read"), clinic)


def test_a_refused_statement_acknowledges_nothing(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: what fails for any other reason fails closed: no receipt, no entry, no half one."""
    clinic.record(read())
    proposal = a_read()
    superuser.execute("REVOKE INSERT ON rapport.entries FROM rapport_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        clinic.log.append([proposal])
    assert clinic.acknowledged() == (1, clinic.log.head().frontier.root())
    assert clinic.log.receipt(proposal.command_id) is None
    superuser.execute("GRANT INSERT ON rapport.entries TO rapport_app")
    (receipt,) = clinic.log.append([proposal])
    assert isinstance(receipt, Receipt)
    assert receipt.position == 2


# --- Other writers --------------------------------------------------------------------------


FORGE = """
INSERT INTO rapport.entries SELECT clinic, %s, %s, %s, topic, schema_version, occurred_at,
    occurred_offset, recorded_at, actor, on_behalf_of, source, command_id, command_index, key_id,
    commitment, ciphertext, leaf_input
FROM rapport.entries WHERE clinic = %s
"""
UNFORGE = "DELETE FROM rapport.entries WHERE position = %s AND clinic = %s"


def test_a_position_that_is_taken_is_never_taken_twice(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: behind a row that no head knows of nothing is appended, and verify says why."""
    clinic.record(read())
    superuser.execute(FORGE, (2, f"access-{uuid4()}", 1, clinic.id))
    proposal = a_read()
    for log in (clinic.log, clinic.open_log()):
        (verdict,) = log.append([proposal])
        assert isinstance(verdict, Contended)
    with pytest.raises(LogBroken, match="Entry 2 lies beyond"):
        clinic.check_record()
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(UNFORGE, (2, clinic.id))
    assert insisted(clinic.log, proposal)[0].position == 2


def test_a_version_that_is_taken_is_never_taken_twice(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: a forged entry opens under no key; its stream stops, and no other."""
    about = uuid4()
    clinic.record(read(about))
    superuser.execute(FORGE, (99, f"access-{about}", 2, clinic.id))
    proposal = a_read(about)
    log = clinic.open_log()
    assert insisted(log, a_read())[0].position == 2
    for each in (clinic.log, log):
        with pytest.raises(SealBroken):
            each.append([proposal])
    with pytest.raises(LogBroken, match="Entry 3 lies beyond"):
        clinic.check_record()
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(UNFORGE, (99, clinic.id))
    assert insisted(clinic.log, proposal)[0].entries[0].version == 2


def test_a_race_that_the_other_gives_up_is_won(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: an append waits for whoever was first with its command, and goes on if he was not."""
    proposal = a_read()
    verdicts: list[Receipt | Refusal] = []
    with superuser.transaction():
        superuser.execute(
            "INSERT INTO rapport.commands VALUES (%s, %s, sha256(''), 1, 1, 1)",
            (clinic.id, proposal.command_id),
        )
        thread = threading.Thread(target=lambda: verdicts.extend(clinic.log.append([proposal])))
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with psycopg.connect(clinic.database.dsn("owner"), autocommit=True) as conn:
            until(lambda: conn.execute(waiting).fetchone() == (1,))
        raise psycopg.Rollback
    thread.join()
    assert [type(verdict) for verdict in verdicts] == [Receipt]


def test_a_log_that_is_opened_beside_writers_raises_no_false_alarm(clinic: Clinic) -> None:
    """Idea 5: others may append between the two looks that are compared."""

    class BusyHead(AcknowledgedHead):
        def read(self) -> tuple[int, bytes] | None:
            clinic.log.append([a_read()])
            return super().read()

    clinic.log.append([a_read()])
    head = BusyHead(clinic.home / "heads", clinic.id)
    clinic.others.append(
        ClinicLog(clinic.database.dsn("app"), clinic.id, clinic.keyring, head, clock=clinic.clock)
    )


class CountsReads(ReadRecord):
    """A rule over another stream: refused unless exactly so many reads of `other` are known."""

    other: UUID
    reads: int

    def decide(self, given: Given) -> Iterator[New]:
        if given.history(access_stream(self.other)).version != self.reads:
            raise EntryUnknown(what="read")
        yield from super().decide(given)


def test_a_slow_reader_never_makes_a_decision_rest_on_the_past(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idea 3: an unchanged head proves what was read for it, not what a slow reader remembers."""
    monkeypatch.setattr(event_store, "_ENTRIES_HELD", 1)
    about = uuid4()
    clinic.record(read(about))
    log = clinic.open_log()
    has_read, goes_on = threading.Event(), threading.Event()
    put = log._cache.put

    def slow_put(histories: Mapping[Stream, History], generation: int) -> None:
        if threading.current_thread() is reader:
            has_read.set()
            goes_on.wait(10)
        put(histories, generation)

    monkeypatch.setattr(log._cache, "put", slow_put)
    reader = threading.Thread(target=log.history, args=(access_stream(about),))
    reader.start()
    has_read.wait(10)
    log.append([a_read(about)])
    log.append([a_read()])
    goes_on.set()
    reader.join()
    counting = CountsReads(**dict(read()), other=about, reads=2)
    assert isinstance(log.append([Proposal(counting, Author(uuid4()))])[0], Receipt)


@pytest.mark.parametrize("when", ["never", "before", "after"])
def test_the_last_batch_counts_whatever_comes_between(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Idea 3: what was appended last is decided over before it is kept with the rest: also where
    all is forgotten while it is on its way, or where it is read, or others were first."""
    log, other, about = clinic.log, clinic.open_log(), uuid4()
    stream, insert = access_stream(about), log._recorder.append

    def forgotten(now: str) -> None:
        if now == when:
            log.forget()
            log.history(access_stream(uuid4()))

    def forgetful(batch: Batch, rows: Sequence[bytes], meanwhile: Callable[[], None]) -> None:
        def does() -> None:
            forgotten("before")
            meanwhile()
            forgotten("after")

        insert(batch, rows, does)

    between: Sequence[Callable[[], object]] = (
        lambda: None,
        log.forget,
        lambda: log.history(stream),
        lambda: log.read_together([stream]),
        lambda: other.append([a_read(about)]),
        lambda: other.append([a_read()]),
    )
    for happens in between:
        log.append([a_read(about)])
        with monkeypatch.context() as patched:
            patched.setattr(log._recorder, "append", forgetful)
            log.append([a_read(about), a_read()])
        happens()
        reads = other.history(stream).version
        counting = CountsReads(**dict(read()), other=about, reads=reads)
        assert isinstance(log.append([Proposal(counting, Author(uuid4()))])[0], Receipt)
        assert log.history(stream).version == reads


# --- What one command may do to others --------------------------------------------------------

DECIDING, GO_ON = threading.Event(), threading.Event()


class Waits(ReadRecord):
    """Keeps the writer busy until enough others wait."""

    def decide(self, given: Given) -> Iterator[New]:
        DECIDING.set()
        GO_ON.wait(20)
        yield from super().decide(given)


class Faulty(ReadRecord):
    """A fault of ours in a decision."""

    def decide(self, given: Given) -> Iterator[New]:
        raise ZeroDivisionError


class Unstorable(Event):
    topic = "test.unstorable"
    number: int


class DecidesUnstorable(ReadRecord):
    """A fault of ours that shows only when the entry is sealed."""

    def decide(self, given: Given) -> Iterator[New]:
        yield New(access_stream(given.clinic), Unstorable(number=2**60))


class Interrupted(ReadRecord):
    """Somebody presses Ctrl-C while this is decided."""

    def decide(self, given: Given) -> Iterator[New]:
        raise KeyboardInterrupt


def outcomes_of_one_commit(log: ClinicLog, commands: Sequence[ReadRecord]) -> list[type]:
    """What the callers hear whose commands waited for the same writer."""
    DECIDING.clear()
    GO_ON.clear()
    heard: dict[int, type] = {}

    def append(number: int, command: ReadRecord) -> None:
        try:
            heard[number] = type(log.append([Proposal(command, Author(uuid4()))])[0])
        except BaseException as error:
            heard[number] = type(error)

    threads = [
        threading.Thread(target=append, args=each, daemon=True)
        for each in enumerate([Waits(**dict(read())), *commands])
    ]
    threads[0].start()
    DECIDING.wait(20)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(log._turns._waiting) == len(commands))
    GO_ON.set()
    for thread in threads:
        thread.join(20)
    assert heard.pop(0) is Receipt
    return [heard[number] for number in sorted(heard)]


@pytest.mark.parametrize(
    "faulty, fault", [(Faulty, ZeroDivisionError), (DecidesUnstorable, CanonicalError)]
)
def test_a_faulty_command_fails_none_of_its_neighbours(
    clinic: Clinic, faulty: type[ReadRecord], fault: type[Exception]
) -> None:
    """House rule: of the callers that share a commit, each hears of its own command alone."""
    commands = [read(), faulty(**dict(read())), read()]
    assert outcomes_of_one_commit(clinic.log, commands) == [Receipt, fault, Receipt]
    assert clinic.log.head_size() == 3


def test_an_interrupted_writer_leaves_nobody_waiting(clinic: Clinic) -> None:
    """House rule: Ctrl-C ends one caller; the others are told to send again, and can."""
    commands = [read(), Interrupted(**dict(read())), read()]
    heard = outcomes_of_one_commit(clinic.log, commands)
    assert Counter(heard) == {KeyboardInterrupt: 1, StoreUnavailable: 2}
    assert clinic.record(read()).position == 2


# --- Clocks and files -----------------------------------------------------------------------


def test_a_clock_far_behind_the_log_refuses(clinic: Clinic) -> None:
    """Rule 2: beyond 60 s behind the last entry nothing is recorded until the clock is set."""
    first = clinic.record(read())
    clinic.clock.advance(seconds=-70)
    with pytest.raises(ClockSkew) as refused:
        clinic.record(read())
    assert 60 <= int(refused.value.ids["seconds"]) <= 70
    clinic.clock.advance(seconds=+70)
    assert clinic.record(read()).recorded_at >= first.recorded_at


def test_a_clock_a_little_behind_the_log_alarms(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule 2, R31: beyond 5 s the operator hears of it, and time still does not run backwards."""
    first = clinic.record(read())
    clinic.clock.advance(seconds=-4)
    with caplog.at_level(logging.ERROR, logger="rapport.log"):
        assert clinic.record(read()).recorded_at == first.recorded_at
        assert caplog.messages == []
        clinic.clock.advance(seconds=-4)
        assert clinic.record(read()).recorded_at == first.recorded_at
    assert caplog.messages == ["clock is 7 s behind the log's last entry"]


def head_file(clinic: Clinic) -> Path:
    return clinic.home / "heads" / f"{clinic.id}.head"


@pytest.mark.parametrize(
    "break_",
    [
        lambda honest: honest[:-1],
        lambda honest: honest[:40],
        lambda honest: honest[:5],
        lambda honest: bytes(len(honest)),
        lambda honest: honest + honest,
        lambda honest: honest.replace(b"0", b"-", 1),
        lambda honest: honest.upper().replace(b"A", b"G"),
        lambda honest: b"garbage\n",
    ],
)
def test_a_broken_acknowledged_head_is_no_head(
    clinic: Clinic, break_: Callable[[bytes], bytes]
) -> None:
    """Idea 5: a file that is not whole is told from one that says the log was rewritten."""
    clinic.record(read())
    honest = head_file(clinic).read_bytes()
    head_file(clinic).write_bytes(break_(honest))
    with pytest.raises(AcknowledgedHeadBroken, match=str(clinic.id)):
        clinic.open_log()
    proposal = a_read()
    with pytest.raises(AcknowledgedHeadBroken):
        clinic.log.append([proposal])
    head_file(clinic).write_bytes(honest)
    (receipt,) = clinic.log.append([proposal])
    assert isinstance(receipt, Receipt)
    assert receipt.position == clinic.log.head_size() == 2


def test_a_receipt_that_is_given_again_is_acknowledged_then(clinic: Clinic) -> None:
    """Idea 5: the machine crashed before the head was on disk; what is receipted now counts."""
    clinic.record(read())
    before = head_file(clinic).read_bytes()
    proposal = a_read()
    clinic.log.append([proposal])
    clinic.record(read())
    head_file(clinic).write_bytes(before)
    log = clinic.open_log()
    (receipt,) = log.append([proposal])
    assert isinstance(receipt, Receipt)
    size, _ = clinic.acknowledged() or (0, b"")
    assert size >= receipt.tree_size == 2
