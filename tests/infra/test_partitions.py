"""The same migrations and the same log, every table hash-partitioned by clinic.

What a sharded engine will need is proven on a plain one. The tests of the log itself run here a
second time; that nothing can be changed is in test_append_only.py, for both kinds of tables.
"""

import threading
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from domain.access import access_stream
from domain.event import Refusal
from domain.records import Author, CommandIdReused, Proposal, Receipt, StaleVersion
from infra.clinics import pinned
from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres, Role
from tests.conftest import Clinic
from tests.infra.logs import read
from tests.infra.test_event_store import (  # noqa: F401  collected here once more
    test_a_command_id_with_another_body_is_refused,
    test_a_log_that_lost_acknowledged_entries_refuses_to_append,
    test_a_refusal_is_never_told_from_what_another_process_has_outdated,
    test_a_stale_expected_version_is_refused_and_a_current_one_is_not,
    test_commands_of_one_batch_are_decided_over_the_pending_state,
    test_content_whose_key_was_destroyed_reads_as_erased,
    test_the_same_command_id_gives_the_identical_receipt,
    test_two_clinics_in_one_database_do_not_see_each_other,
    test_writers_in_threads_and_in_two_logs_leave_no_gap,
)

PARTITIONS = 4
PARTITION = "SELECT tableoid::regclass::text FROM rapport.{} WHERE clinic = %s LIMIT 1"
ROLES: tuple[Role, ...] = ("app", "import", "views", "read")
LOG = ("heads", "entries", "batches", "commands")


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> Database:
    """One for all tests: each has clinics of its own in it."""
    database = server.create_database("partitioned")
    migrate(database.dsn("owner"), partitions=PARTITIONS)
    return database


def test_every_table_is_partitioned(database: Database) -> None:
    """Schema rules: each table of the product is split by clinic, but for that of migrations."""
    with psycopg.connect(database.dsn("owner")) as conn:
        whole = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'rapport'::regnamespace "
            "AND relkind = 'r' AND NOT relispartition"
        ).fetchall()
        partitions = conn.execute(
            "SELECT inhparent::regclass::text, count(*) FROM pg_inherits "
            "JOIN pg_class ON pg_class.oid = inhrelid AND relkind = 'r' GROUP BY 1"
        ).fetchall()
    assert whole == [("migrations",)]
    assert {f"rapport.{table}" for table in LOG} <= {table for table, _ in partitions}
    assert {count for _, count in partitions} == {PARTITIONS}


def test_clinics_lie_in_different_partitions_and_do_not_mix(
    new_clinic: Callable[[], Clinic],
) -> None:
    """R35: eight clinics, more than one partition, each log its own positions."""
    clinics = [new_clinic() for _ in range(8)]
    for number, clinic in enumerate(clinics):
        for _ in range(number + 1):
            clinic.record(read())
    assert [clinic.log.head_size() for clinic in clinics] == list(range(1, 9))
    with psycopg.connect(clinics[0].database.dsn("owner")) as conn:
        lie = conn.execute(
            "SELECT count(DISTINCT tableoid) FROM rapport.heads WHERE clinic = ANY(%s)",
            ([clinic.id for clinic in clinics],),
        ).fetchone()
    assert lie is not None
    assert lie[0] > 1


@pytest.mark.parametrize("statement", ["TRUNCATE", "DELETE FROM", "UPDATE"])
@pytest.mark.parametrize("table", LOG)
def test_one_partition_alone_is_append_only_too(clinic: Clinic, table: str, statement: str) -> None:
    """R29: a trigger of the parent does not see TRUNCATE of a partition; each has its own."""
    clinic.record(read())
    values = " SET clinic = clinic" * (statement == "UPDATE")
    change = f"{statement} {_partition_of(clinic, table)}{values}"
    _refused(clinic, "owner", change, r"append-only|moves forward only")
    _refused(clinic, "app", change, "permission denied")


@pytest.mark.parametrize("table", LOG)
def test_a_partition_is_no_way_around_row_level_security(clinic: Clinic, table: str) -> None:
    """R35: policies stand on the parent; whoever names a partition is refused."""
    clinic.record(read())
    for role in ROLES:
        _refused(clinic, role, f"TABLE {_partition_of(clinic, table)}", "permission denied")


def _refused(clinic: Clinic, role: Role, statement: str, why: str) -> None:
    with (
        psycopg.connect(pinned(clinic.database.dsn(role), clinic.id)) as conn,
        pytest.raises(InsufficientPrivilege, match=why),
    ):
        conn.execute(statement.encode())


def _partition_of(clinic: Clinic, table: str) -> str:
    query = PARTITION.format(table)
    with psycopg.connect(clinic.database.dsn("owner")) as conn:
        (name,) = conn.execute(query.encode(), (clinic.id,)).fetchone() or ("",)
    assert str(name).startswith(f"rapport.{table}_p")
    return str(name)


def test_a_command_that_two_processes_race_for_is_one_entry(clinic: Clinic) -> None:
    """Rule 8: a duplicate names its partition's constraint, and is still told by its table."""
    proposals = [Proposal(read(uuid4()), Author(uuid4())) for _ in range(20)]
    logs = [clinic.log, clinic.open_log()]
    heard: list[list[Receipt | Refusal]] = [[], []]

    def send(number: int) -> None:
        for proposal in proposals[:: 1 if number else -1]:
            heard[number].extend(logs[number].append([proposal]))

    threads = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard[0] == heard[1][::-1]
    assert clinic.log.head_size() == len(proposals)
    other = Proposal(read(uuid4()), proposals[0].author, proposals[0].command_id)
    assert isinstance(logs[1].append([other])[0], CommandIdReused)


def test_a_stream_that_two_processes_race_for_has_each_version_once(clinic: Clinic) -> None:
    """Rule 8: of two who expect the same version one is first, and the other is told."""
    about = uuid4()
    logs = [clinic.log, clinic.open_log()]
    heard: list[Receipt | Refusal] = []

    def send(number: int) -> None:
        for version in range(15):
            expected = {access_stream(about): version}
            proposal = Proposal(read(about), Author(uuid4()), expected=expected)
            heard.extend(logs[number].append([proposal]))

    threads = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [verdict for verdict in heard if isinstance(verdict, Receipt)]
    assert {type(verdict) for verdict in heard} <= {Receipt, StaleVersion}
    assert len(heard) == 30
    assert sorted(receipt.entries[0].version for receipt in won) == list(range(1, 16))
