"""What is in the log stays: refused by grant to every role, and by trigger to the owner too.

Each test tries one statement and sees it refused; at the end the whole log is verified. All of it
runs on plain tables and on tables that are hash-partitioned by clinic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from domain.records import Author, Proposal
from infra.clinics import found_clinic, pinned
from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres, Role
from infra.verify import verify
from tests.infra.logs import acknowledged, open_log, read

LOG = ("entries", "batches", "commands")
ROLES: tuple[Role, ...] = ("app", "import", "views", "read")
CHANGES = {
    "update": "UPDATE rapport.{table} SET clinic = clinic",
    "delete": "DELETE FROM rapport.{table}",
    "truncate": "TRUNCATE rapport.{table}",
}
SELECT = "SELECT * FROM rapport.{} WHERE clinic = %s"
INSERT = "INSERT INTO rapport.{} VALUES (%s{})"
MOVE = "UPDATE rapport.heads SET {} WHERE clinic = %s"
COUNT = "SELECT count(*), count(DISTINCT clinic), min(clinic::text) FROM rapport.{}"
COPY_OF_A_ROW = "INSERT INTO rapport.{table} SELECT * FROM rapport.{table} LIMIT 1"


@dataclass(frozen=True)
class Record:
    """A database that holds the logs of two clinics."""

    database: Database
    ours: UUID
    theirs: UUID

    def run(
        self, role: Role, statement: str, *parameters: object, clinic: UUID | None = None
    ) -> int:
        """Runs a statement in a session of our clinic (or another's); the number of rows."""
        conninfo = pinned(self.database.dsn(role), clinic or self.ours)
        with psycopg.connect(conninfo) as conn:
            return conn.execute(statement.encode(), parameters).rowcount


@pytest.fixture(scope="module", params=[0, 4], ids=["whole", "partitioned"])
def record(
    request: pytest.FixtureRequest,
    server: EmbeddedPostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Record]:
    database = server.create_database(f"append_only_{request.param}")
    migrate(database.dsn("owner"), partitions=request.param)
    record = Record(database, uuid4(), uuid4())
    homes: dict[UUID, Path] = {}
    for clinic in (record.ours, record.theirs):
        homes[clinic] = tmp_path_factory.mktemp("clinic")
        found_clinic(database.dsn("owner"), clinic)
        with open_log(database.dsn("app"), clinic, homes[clinic]) as log:
            for _ in range(2):
                log.append([Proposal(read(), Author(uuid4())) for _ in range(2)])
    yield record
    for clinic, home in homes.items():
        known = acknowledged(clinic, home)
        assert verify(database.dsn("read"), clinic, acknowledged=known).size == 4


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", LOG)
@pytest.mark.parametrize("role", ROLES)
def test_no_role_of_the_product_may_change_the_log(
    record: Record, role: Role, table: str, change: str
) -> None:
    """R29: UPDATE, DELETE and TRUNCATE are granted to nobody."""
    with pytest.raises(InsufficientPrivilege, match=f"permission denied for table {table}"):
        record.run(role, CHANGES[change].format(table=table))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", LOG)
def test_triggers_refuse_what_the_owner_is_granted(record: Record, table: str, change: str) -> None:
    """R29: the owner holds every privilege, and still cannot change the log by mistake."""
    refusal = f"rapport.{table}(_p[0-3])? is append-only: {change.upper()} is refused"
    with pytest.raises(InsufficientPrivilege, match=refusal):
        record.run("owner", CHANGES[change].format(table=table))


@pytest.mark.parametrize("table", LOG)
@pytest.mark.parametrize("role", ["owner", "app", "import"])
def test_an_upsert_is_an_update(record: Record, role: Role, table: str) -> None:
    """R29: ON CONFLICT DO UPDATE is no way around."""
    key = {"entries": "position", "batches": "size", "commands": "command_id"}[table]
    upsert = COPY_OF_A_ROW + " ON CONFLICT (clinic, {key}) DO UPDATE SET clinic = {table}.clinic"
    with pytest.raises(InsufficientPrivilege):
        record.run(role, upsert.format(table=table, key=key))


@pytest.mark.parametrize("table", [*LOG, "heads"])
@pytest.mark.parametrize("role", ["views", "read"])
def test_who_only_reads_cannot_add(record: Record, role: Role, table: str) -> None:
    """Idea 9: the views and the readers write nothing into the log."""
    with pytest.raises(InsufficientPrivilege, match=f"permission denied for table {table}"):
        record.run(role, COPY_OF_A_ROW.format(table=table))


@pytest.mark.parametrize("role", ["app", "import"])
@pytest.mark.parametrize(
    "statement",
    [
        COPY_OF_A_ROW.format(table="heads"),
        "DELETE FROM rapport.heads",
        "TRUNCATE rapport.heads",
        "UPDATE rapport.heads SET clinic = gen_random_uuid()",
    ],
)
def test_writers_cannot_found_remove_or_rename_a_log(
    record: Record, role: Role, statement: str
) -> None:
    """R29: to move its own head forward is all that a writer may do to it."""
    with pytest.raises(InsufficientPrivilege, match="permission denied for table heads"):
        record.run(role, statement)


@pytest.mark.parametrize("role", ["views", "read"])
def test_who_only_reads_cannot_move_the_head(record: Record, role: Role) -> None:
    """R29: nor by a single column."""
    with pytest.raises(InsufficientPrivilege, match="permission denied for table heads"):
        record.run(role, "UPDATE rapport.heads SET size = size + 1")


@pytest.mark.parametrize("role", ["app", "import", "owner"])
@pytest.mark.parametrize(
    "backwards",
    [
        "size = size - 1",
        "size = 0",
        "root = sha256('')",
        "size = size + 1, recorded_at = recorded_at - interval '1 microsecond'",
    ],
)
def test_the_head_moves_forward_only(record: Record, role: Role, backwards: str) -> None:
    """Schema rules: the head moves forward, in size and in time, or not at all."""
    with pytest.raises(InsufficientPrivilege, match="moves forward only"):
        record.run(role, MOVE.format(backwards), record.ours)


def test_the_head_moves_forward_by_postgresqls_own_order(record: Record) -> None:
    """R29: whoever may make operators (the views' role) gives the writers none to go back by."""
    record.run(
        "views",
        "CREATE FUNCTION views.no(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    )
    record.run(
        "views",
        "CREATE OPERATOR views.<= (FUNCTION = views.no, LEFTARG = bigint, RIGHTARG = bigint)",
    )
    with psycopg.connect(pinned(record.database.dsn("app"), record.ours)) as conn:
        conn.execute("SET search_path = views, pg_catalog")
        with pytest.raises(InsufficientPrivilege, match="moves forward only"):
            conn.execute(MOVE.format("size = 0").encode(), (record.ours,))


def test_the_owner_cannot_remove_or_rename_a_head(record: Record) -> None:
    """R29: without its head a log could be begun again."""
    with pytest.raises(InsufficientPrivilege, match="append-only: DELETE"):
        record.run("owner", "DELETE FROM rapport.heads WHERE clinic = %s", record.ours)
    with pytest.raises(InsufficientPrivilege, match="append-only: TRUNCATE"):
        record.run("owner", "TRUNCATE rapport.heads")
    with pytest.raises(InsufficientPrivilege, match="moves forward only"):
        record.run(
            "owner",
            "UPDATE rapport.heads SET clinic = %s, size = size + 1 WHERE clinic = %s",
            uuid4(),
            record.ours,
        )


def test_a_log_begins_empty(record: Record) -> None:
    """R29: nobody founds a log that claims to have entries already."""
    with pytest.raises(InsufficientPrivilege, match="starts empty"):
        record.run(
            "owner",
            "INSERT INTO rapport.heads VALUES (%s, 1, sha256(''), '', now())",
            uuid4(),
        )


@pytest.mark.parametrize("role", ["app", "import"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE rapport.entries DISABLE TRIGGER ALL",
        "ALTER TABLE rapport.entries DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE rapport.entries RENAME TO old_entries",
        "DROP TRIGGER append_only ON rapport.entries",
        "DROP POLICY own_clinic ON rapport.entries",
        "DROP TABLE rapport.entries",
        "CREATE TABLE rapport.mine ()",
        "CREATE OR REPLACE FUNCTION rapport.refuse_change() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
        "SET ROLE rapport_owner",
    ],
)
def test_writers_cannot_take_the_locks_off(record: Record, role: Role, statement: str) -> None:
    """Idea 9: what refuses is not theirs to change."""
    with pytest.raises(InsufficientPrivilege):
        record.run(role, statement)


@pytest.mark.parametrize("table", [*LOG, "heads"])
@pytest.mark.parametrize("role", ROLES)
def test_a_session_sees_its_clinic_alone(record: Record, role: Role, table: str) -> None:
    """R35: no clinic set, no rows; one clinic set, its rows."""
    count = COUNT.format(table).encode()
    with psycopg.connect(record.database.dsn(role)) as conn:
        assert conn.execute(count).fetchone() == (0, 0, None)
        conn.execute("SET rapport.clinic = ''")
        assert conn.execute(count).fetchone() == (0, 0, None)
    with psycopg.connect(pinned(record.database.dsn(role), record.ours)) as conn:
        rows = {"entries": 4, "commands": 4, "batches": 2, "heads": 1}[table]
        assert conn.execute(count).fetchone() == (rows, 1, str(record.ours))


@pytest.mark.parametrize("table", LOG)
@pytest.mark.parametrize("role", ["app", "import"])
def test_a_row_of_another_clinic_cannot_be_added(record: Record, role: Role, table: str) -> None:
    """R35: row-level security checks what is written as well as what is read."""
    with psycopg.connect(record.database.dsn("owner")) as conn:
        select = SELECT.format(table).encode()
        _, *row = conn.execute(select, (record.ours,)).fetchone() or ()
    insert = INSERT.format(table, ", %s" * len(row))
    with pytest.raises(InsufficientPrivilege, match="violates row-level security policy"):
        record.run(role, insert, record.theirs, *row)


@pytest.mark.parametrize("role", ["app", "import"])
def test_the_head_of_another_clinic_is_out_of_reach(record: Record, role: Role) -> None:
    """R35: an update of another clinic's row finds no row."""
    assert record.run(role, MOVE.format("size = size + 1"), record.theirs) == 0
