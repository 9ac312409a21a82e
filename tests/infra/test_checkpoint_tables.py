"""What witnesses and authorities said stays: by grant, by trigger, and each clinic for itself."""

from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from infra.clinics import pinned
from infra.migrate import migrate
from infra.postgres import Database, EmbeddedPostgres, Role

EVIDENCE = ("checkpoints", "cosignatures", "timestamps")
ALL = (*EVIDENCE, "witness_states", "alarms")
CHANGES = {
    "update": "UPDATE rapport.{} SET clinic = clinic",
    "delete": "DELETE FROM rapport.{}",
    "truncate": "TRUNCATE rapport.{}",
}
ROWS = (
    "INSERT INTO rapport.checkpoints VALUES (%(c)s, 'o', 1, 'n', now())",
    "INSERT INTO rapport.cosignatures VALUES (%(c)s, 'o', 1, 'w', 'l', now(), now())",
    "INSERT INTO rapport.timestamps VALUES (%(c)s, 'o', 1, 't', now(), now())",
    "INSERT INTO rapport.witness_states VALUES (%(c)s, 'o', 'w', 1, 0, '', now(), now())",
    "INSERT INTO rapport.alarms VALUES (%(c)s, gen_random_uuid(), 'o', 'w', 'ahead', 1, 2, now())",
)
CLEAR = "UPDATE rapport.alarms SET cleared_at = {}, cleared_by = gen_random_uuid()"


class Kept:
    """Two clinics, with a row each in every table."""

    def __init__(self, database: Database) -> None:
        self.database, self.ours, self.theirs = database, uuid4(), uuid4()
        for clinic in (self.ours, self.theirs):
            for row in ROWS:
                self.run("app", row, clinic)

    def run(self, role: Role, statement: str, clinic: UUID) -> int:
        with psycopg.connect(pinned(self.database.dsn(role), clinic)) as conn:
            return conn.execute(statement.encode(), {"c": clinic}).rowcount


@pytest.fixture(scope="module", params=[0, 4], ids=["whole", "partitioned"])
def kept(request: pytest.FixtureRequest, server: EmbeddedPostgres) -> Kept:
    database = server.create_database(f"checkpoint_tables_{request.param}")
    migrate(database.dsn("owner"), partitions=request.param)
    return Kept(database)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", EVIDENCE)
@pytest.mark.parametrize("role", ["app", "import", "views", "read", "owner"])
def test_evidence_is_never_changed(kept: Kept, role: Role, table: str, change: str) -> None:
    """R29: no role may, and the owner is refused by trigger."""
    with pytest.raises(InsufficientPrivilege):
        kept.run(role, CHANGES[change].format(table), kept.ours)


@pytest.mark.parametrize("change", ["delete", "truncate"])
@pytest.mark.parametrize("role", ["app", "import", "views", "read", "owner"])
def test_an_alarm_is_never_removed(kept: Kept, role: Role, change: str) -> None:
    """Witnesses: a cleared alarm stays too."""
    with pytest.raises(InsufficientPrivilege):
        kept.run(role, CHANGES[change].format("alarms"), kept.ours)


@pytest.mark.parametrize("table", ALL)
@pytest.mark.parametrize("role", ["app", "import", "views", "read"])
def test_a_session_sees_its_clinic_alone(kept: Kept, role: Role, table: str) -> None:
    """R35: one clinic set, its rows; another's cannot be added."""
    count = f"SELECT FROM rapport.{table}"
    assert kept.run(role, count, kept.ours) >= 1
    with psycopg.connect(kept.database.dsn(role)) as conn:
        assert conn.execute(count.encode()).rowcount == 0
    with (
        psycopg.connect(pinned(kept.database.dsn(role), kept.ours)) as conn,
        pytest.raises(InsufficientPrivilege),
    ):
        conn.execute(ROWS[ALL.index(table)].encode(), {"c": kept.theirs})


def test_an_alarm_is_cleared_once_and_for_all(kept: Kept) -> None:
    """Witnesses: nobody raises it from the cleared, clears it anew, or changes what it says."""
    with pytest.raises(InsufficientPrivilege):
        kept.run("app", "UPDATE rapport.alarms SET code = 'x'", kept.theirs)
    assert kept.run("app", CLEAR.format("now()"), kept.theirs) == 1
    assert kept.run("app", CLEAR.format("now()"), kept.theirs) == 0
    assert kept.run("app", CLEAR.format("NULL"), kept.theirs) == 0
