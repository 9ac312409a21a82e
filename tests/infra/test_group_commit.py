"""Group commit: one batch is written while the next is decided on top of it, and none is lost.

The statement of a batch is held up for real, by a lock on the head's row, while others are decided.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from domain.access import ReadRecord, access_stream
from domain.event import Given, New, Refusal
from domain.person import PersonRegistered, RegisterPerson, person_stream
from domain.records import Author, Proposal, Receipt
from infra.batch import Batch
from infra.event_store import ClinicLog
from infra.postgres import EmbeddedPostgres
from tests.conftest import Clinic
from tests.infra.logs import interrupted, read, until

SEEN: list[tuple[UUID, int]] = []
"""Each decision of `Looks`: which command it was, and how many entries it saw."""


class Looks(ReadRecord):
    """Tells how long its stream was when it was decided."""

    mark: UUID

    def decide(self, given: Given) -> Iterator[New]:
        SEEN.append(
            (self.mark, given.history(access_stream(self.relationship or given.clinic)).version)
        )
        yield from super().decide(given)


class NeedsAnother(Looks):
    """Is refused where its stream is empty."""

    def decide(self, given: Given) -> Iterator[New]:
        news = list(super().decide(given))
        if not given.history(access_stream(self.relationship or given.clinic)):
            raise Alone
        yield from news


class Alone(Refusal):
    says = "Nothing was read yet."


class DecidesLong(Looks):
    """Takes many times as long to decide as another process needs for a commit."""

    def decide(self, given: Given) -> Iterator[New]:
        yield from super().decide(given)
        sleep(0.1)


class Fails(ReadRecord):
    """Has a fault."""

    def decide(self, given: Given) -> Iterator[New]:
        raise ZeroDivisionError


@pytest.fixture
def superuser(server: EmbeddedPostgres, clinic: Clinic) -> Iterator[psycopg.Connection]:
    name = str(conninfo_to_dict(clinic.database.dsn("owner"))["dbname"])
    with psycopg.connect(server.superuser_dsn(name), autocommit=True) as conn:
        yield conn


@contextmanager
def held_up(clinic: Clinic) -> Iterator[None]:
    """Meanwhile no batch is committed: their statements hang."""
    with psycopg.connect(clinic.database.dsn("owner")) as lock:
        lock.execute("SELECT FROM rapport.heads WHERE clinic = %s FOR UPDATE", (clinic.id,))
        yield


@contextmanager
def about_to_send(log: ClinicLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Meanwhile this log sends no statement; the event says that one is ready.

    What is else done while PostgreSQL works is done: the next batch is decided."""
    arrived, send, insert = threading.Event(), threading.Event(), log._recorder.append

    def wait(batch: Batch, rows: Sequence[bytes], meanwhile: Callable[[], None]) -> None:
        meanwhile()
        arrived.set()
        assert send.wait(20)
        insert(batch, rows, lambda: None)

    monkeypatch.setattr(log._recorder, "append", wait)
    try:
        yield arrived
    finally:
        send.set()


def hanging(superuser: psycopg.Connection, statements: int = 1) -> None:
    """Waits until so many statements hang."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND usename = 'rapport_app' AND wait_event_type = 'Lock'"
    )
    until(lambda: superuser.execute(query).fetchone() == (statements,))


class Callers:
    """Threads that each append one proposal."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.heard: dict[UUID, object] = {}

    def append(self, log: ClinicLog, command: ReadRecord) -> None:
        proposal = Proposal(command, Author(uuid4()))

        def call() -> None:
            try:
                self.heard[proposal.command_id] = log.append([proposal])[0]
            except BaseException as error:
                self.heard[proposal.command_id] = error

        self.threads.append(threading.Thread(target=call, daemon=True))
        self.threads[-1].start()

    def receipts(self) -> list[Receipt]:
        """What each was answered with, in the order of the log."""
        for thread in self.threads:
            thread.join(20)
        found = [each for each in self.heard.values() if isinstance(each, Receipt)]
        assert len(found) == len(self.threads), self.heard
        return sorted(found, key=lambda each: each.position)


def looks(about: UUID, mark: UUID) -> Looks:
    return Looks(**dict(read(about)), mark=mark)


def seen(mark: UUID) -> list[int]:
    return [version for one, version in SEEN if one == mark]


def test_a_batch_is_decided_on_top_of_the_one_that_is_written(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: what is on its way counts as the end of the log; nobody waits for it to decide."""
    about, mark = uuid4(), uuid4()
    clinic.record(read(about))
    callers = Callers()
    with held_up(clinic):
        callers.append(clinic.log, read(about))
        hanging(superuser)
        callers.append(clinic.log, looks(about, mark))
        until(lambda: seen(mark) == [2])
        assert callers.heard == {}
    assert [each.entries[0].version for each in callers.receipts()] == [2, 3]
    assert seen(mark) == [2], "decided once"


def test_what_was_decided_on_a_batch_that_lost_is_decided_again(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idea 3: another process was first; both batches are decided anew over what it wrote."""
    about, marks, other = uuid4(), (uuid4(), uuid4()), clinic.open_log()
    callers = Callers()
    with about_to_send(clinic.log, monkeypatch) as arrived:
        callers.append(clinic.log, looks(about, marks[0]))
        assert arrived.wait(20)
        callers.append(clinic.log, looks(about, marks[1]))
        until(lambda: seen(marks[1]) == [1])
        other.append([Proposal(read(about), Author(uuid4()))])
    assert [each.entries[0].version for each in callers.receipts()] == [2, 3]
    assert seen(marks[0]) == [0, 1]
    assert seen(marks[1])[-1] == 2


def test_what_was_decided_on_a_batch_whose_connection_broke_is_decided_again(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: a crash acknowledges nothing that is not durable, and doubles nothing."""
    about, mark = uuid4(), uuid4()
    callers = Callers()
    with held_up(clinic):
        callers.append(clinic.log, read(about))
        hanging(superuser)
        callers.append(clinic.log, looks(about, mark))
        until(lambda: seen(mark) == [1])
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND usename = 'rapport_app' AND datname = current_database()"
        )
    versions = [each.entries[0].version for each in callers.receipts()]
    assert versions == [1, 2]
    assert len(clinic.log.read_log(0, 10)) == 2


def test_who_is_interrupted_while_postgresql_works_leaves_no_answer_to_another(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Idea 3: the next one is not told what the interrupted one was; nothing is doubled."""
    about = uuid4()
    proposals = [Proposal(read(about), Author(uuid4())) for _ in range(2)]
    with held_up(clinic), interrupted(lambda: hanging(superuser)):
        clinic.log.append(proposals[:1])
    again, other = clinic.log.append(proposals)
    assert isinstance(again, Receipt)
    assert isinstance(other, Receipt)
    assert [again.entries[0].version, other.entries[0].version] == [1, 2]
    assert clinic.log.append(proposals) == [again, other]
    assert len(clinic.log.read_log(0, 10)) == 2


def test_a_refusal_holds_only_if_what_it_was_decided_on_was_committed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 8, idea 3: refused on top of a batch that loses, a command is judged again."""
    about, mark, other = uuid4(), uuid4(), clinic.open_log()
    callers = Callers()
    with about_to_send(clinic.log, monkeypatch) as arrived:
        callers.append(clinic.log, read())
        assert arrived.wait(20)
        callers.append(clinic.log, NeedsAnother(**dict(read(about)), mark=mark))
        until(lambda: seen(mark) == [0])
        other.append([Proposal(read(about), Author(uuid4()))])
    assert [each.position for each in callers.receipts()] == [2, 3]
    assert seen(mark)[-1] == 1


def test_many_proposals_of_one_caller_stand_in_their_order(clinic: Clinic) -> None:
    """Rule 8: a caller's commands are decided in its order, however many batches they fill."""
    about = uuid4()
    proposals = [Proposal(read(about), Author(uuid4())) for _ in range(900)]
    verdicts = clinic.log.append(proposals)
    assert [each.command_id for each in verdicts if isinstance(each, Receipt)] == [
        each.command_id for each in proposals
    ]
    stored = clinic.log.history(access_stream(about))
    assert [each.command_id for each in stored] == [each.command_id for each in proposals]
    assert clinic.log.append(proposals) == verdicts, "the same receipts again"


@pytest.mark.parametrize("place", [10, 300])
def test_nothing_of_a_caller_is_written_after_a_turn_that_failed(
    clinic: Clinic, place: int
) -> None:
    """House rule: after a fault nothing that came behind it is in the record."""
    proposals = [Proposal(read(), Author(uuid4())) for _ in range(1200)]
    proposals[place] = Proposal(Fails(**dict(read())), Author(uuid4()))
    with pytest.raises(ZeroDivisionError):
        clinic.log.append(proposals)
    written = {entry.command_id for entry in clinic.log.read_log(0, 10_000)}
    assert written == {each.command_id for each in proposals[:place]}


def test_callers_of_many_and_of_one_do_not_starve_each_other(clinic: Clinic) -> None:
    """House rule: the queue is fair; every caller is answered, each stream without a gap."""
    streams = [uuid4() for _ in range(4)]
    many = [Proposal(read(streams[at % 4]), Author(uuid4())) for at in range(1500)]
    bulk = threading.Thread(target=clinic.log.append, args=(many,))
    callers = Callers()
    bulk.start()
    for at in range(40):
        callers.append(clinic.log, read(streams[at % 4]))
    receipts = callers.receipts()
    bulk.join(60)
    assert len(receipts) == 40
    assert clinic.log.head_size() == 1540
    for stream in streams:
        history = clinic.open_log().history(access_stream(stream))
        assert [each.version for each in history] == list(range(1, len(history) + 1))


def test_a_person_registered_ahead_is_registered_once(
    clinic: Clinic, superuser: psycopg.Connection
) -> None:
    """Rule 8: the same id twice, the second decided while the first is on its way, is one entry."""
    person = uuid4()
    proposal = Proposal(RegisterPerson(person=person, full_name="Invented"), Author(uuid4()))
    heard: list[object] = []
    with held_up(clinic):
        threads = [
            threading.Thread(target=lambda: heard.append(clinic.log.append([proposal])[0]))
            for _ in range(3)
        ]
        threads[0].start()
        hanging(superuser)
        for thread in threads[1:]:
            thread.start()
        until(lambda: not clinic.log._turns._waiting or len(clinic.log._turns._waiting) == 1)
    for thread in threads:
        thread.join(20)
    assert len(heard) == 3
    assert heard[0] == heard[1] == heard[2]
    stored = clinic.log.history(person_stream(person))
    assert [type(each.event) for each in stored] == [PersonRegistered]


def test_who_decides_long_is_not_outrun_for_ever(clinic: Clinic) -> None:
    """Idea 3: after a lost race a process waits for its turn, and decides when it has it."""
    other, marks, enough = clinic.open_log(), [uuid4() for _ in range(5)], threading.Event()

    def write() -> None:
        while not enough.is_set():
            other.append([Proposal(read(), Author(uuid4()))])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for mark in marks:
            command = DecidesLong(**dict(read(uuid4())), mark=mark)
            assert isinstance(clinic.log.append([Proposal(command, Author(uuid4()))])[0], Receipt)
    finally:
        enough.set()
        writer.join()
    assert max(len(seen(mark)) for mark in marks) <= 3


def test_who_keeps_others_out_and_stands_still_is_put_out(clinic: Clinic) -> None:
    """House rule: a process that hangs while it has its turn holds nobody up for long."""
    with clinic.log._datastore.writer() as writer:
        writer.keep_others_out(clinic.id)
        writer._connection.pgconn.exec_(b"SET idle_in_transaction_session_timeout = '200ms'")
    assert clinic.open_log().append([Proposal(read(), Author(uuid4()))])
    assert clinic.record(read()).position == 2
