"""Migrations: each once, in order, never changed; the same SQL whole and partitioned."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from infra.migrate import (
    GROUP_ROLES,
    MIGRATIONS,
    Applied,
    DatabaseNewer,
    MigrationChanged,
    MigrationError,
    MigrationsUnordered,
    ensure_roles,
    load,
    migrate,
    partitioned,
    pending,
)
from infra.postgres import EmbeddedPostgres

ONE = "CREATE TABLE rapport.one (clinic uuid, n int, PRIMARY KEY (clinic, n)) {}\n"
ONE = ONE.format("/*partition by clinic*/;")
TWO = (
    "INSERT INTO rapport.one VALUES (gen_random_uuid(), 5 % 3);\nSELECT count(*) FROM rapport.one;"
)


@pytest.fixture
def owner(server: EmbeddedPostgres) -> Iterator[str]:
    """The owner's connection to an empty database."""
    yield server.create_database("empty").dsn("owner")
    server.drop_database("empty")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text(ONE)
    (tmp_path / "0002_two.sql").write_text(TWO)
    return tmp_path


def names(applied: list[Applied]) -> list[str]:
    return [f"{one.version} {one.name}" for one in applied]


def tables(dsn: str) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'rapport'::regnamespace AND relkind"
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute(query.encode() + b" IN ('r', 'p')")}


def test_each_file_is_applied_once_and_in_order(owner: str, folder: Path) -> None:
    """Migrations own all tables; what was applied is recorded with its digest."""
    assert [one.name for one in pending(owner, folder=folder)] == ["one", "two"]
    assert names(migrate(owner, folder=folder)) == ["1 one", "2 two"]
    assert migrate(owner, folder=folder) == []
    assert pending(owner, folder=folder) == []
    (folder / "0003_three.sql").write_text("DROP TABLE rapport.one")
    assert names(migrate(owner, folder=folder)) == ["3 three"]
    with psycopg.connect(owner) as connection:
        rows = connection.execute("SELECT version, sha256 FROM rapport.migrations ORDER BY 1")
        assert rows.fetchall() == [(one.version, one.sha256) for one in load(folder)]


def test_a_file_that_fails_leaves_no_trace(owner: str, folder: Path) -> None:
    """Each file is one transaction: those before it stay, its own first statements do not."""
    (folder / "0003_three.sql").write_text("CREATE TABLE rapport.three (); SELECT 1/0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(owner, folder=folder)
    assert tables(owner) == {"migrations", "one"}
    assert [one.name for one in pending(owner, folder=folder)] == ["three"]


def test_an_applied_file_that_changed_is_refused(owner: str, folder: Path) -> None:
    """What was applied is history: a comment more is another file."""
    migrate(owner, folder=folder)
    (folder / "0001_one.sql").write_text(ONE + "-- a word more")
    for attempt in (migrate, pending):
        with pytest.raises(MigrationChanged, match="0001_one"):
            attempt(owner, folder=folder)


def test_a_database_of_a_newer_version_is_refused(owner: str, folder: Path) -> None:
    """Old code on a new schema would write what the new one forbids."""
    migrate(owner, folder=folder)
    (folder / "0002_two.sql").unlink()
    for attempt in (migrate, pending):
        with pytest.raises(DatabaseNewer, match=r"0002.*0001"):
            attempt(owner, folder=folder)


@pytest.mark.parametrize("name", ["0004_gap.sql", "0002_again.sql", "three.sql", "0003_Three.sql"])
def test_files_are_numbered_without_a_gap(folder: Path, name: str) -> None:
    """A number used twice or left out is a merge that went wrong."""
    (folder / name).write_text("SELECT 1")
    with pytest.raises(MigrationsUnordered):
        load(folder)


def test_two_processes_at_once_take_turns(owner: str, folder: Path) -> None:
    """An api and a worker that start together: each file is applied by one of them."""
    applied: list[Applied] = []
    start = threading.Barrier(6)

    def run() -> None:
        start.wait()
        applied.extend(migrate(owner, folder=folder))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(applied)) == ["1 one", "2 two"]


@pytest.mark.parametrize("partitions", [1, 4])
def test_marked_tables_are_partitioned_by_clinic(owner: str, folder: Path, partitions: int) -> None:
    """Schema rules: the same SQL, hash-partitioned, stands for a sharded engine."""
    migrate(owner, partitions=partitions, folder=folder)
    parts = {f"one_p{number}" for number in range(partitions)}
    assert tables(owner) == {"migrations", "one"} | parts
    with psycopg.connect(owner) as connection:
        row = connection.execute("SELECT pg_get_partkeydef('rapport.one'::regclass)").fetchone()
    assert row == ("HASH (clinic)",)
    assert migrate(owner, folder=folder) == []


def test_a_marker_that_closes_no_table_is_refused() -> None:
    """A table left whole by a slip of the pen would show nothing."""
    script = "CREATE TABLE a (n int);\nCREATE TABLE b (\n n int -- c;\n) /*partition by clinic*/;"
    assert partitioned(script, 0) == script
    assert partitioned(script, 2).count("PARTITION OF b ") == 2
    assert "CREATE TABLE a (n int);" in partitioned(script, 2)
    with pytest.raises(MigrationError, match="close a CREATE TABLE"):
        partitioned("CREATE INDEX i ON a (n) /*partition by clinic*/;", 2)


@pytest.mark.parametrize("partitions", [0, 3])
def test_our_own_migrations_apply(owner: str, partitions: int) -> None:
    """Schema = the sum of the migrations, whole and partitioned."""
    assert len(migrate(owner, partitions=partitions)) == len(list(MIGRATIONS.glob("*.sql")))
    parts = {name for name in tables(owner) if name.rpartition("_p")[2].isdigit()}
    assert len(parts) == partitions * (len(tables(owner)) - len(parts) - 1)


@pytest.fixture
def tenant(server: EmbeddedPostgres) -> Iterator[str]:
    """An owner who may create roles and is no superuser, on a server without our roles."""
    with psycopg.connect(server.superuser_dsn("postgres"), autocommit=True) as connection:
        for role in GROUP_ROLES:
            connection.execute(f"ALTER ROLE {role} RENAME TO hidden_{role}".encode())
        connection.execute("CREATE ROLE tenant LOGIN CREATEROLE PASSWORD 's3cret'")
        connection.execute("CREATE DATABASE tenant OWNER tenant")
        yield make_conninfo(server.superuser_dsn("tenant"), user="tenant", password="s3cret")
        connection.execute("DROP DATABASE tenant WITH (FORCE)")
        for role in GROUP_ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {role}".encode())
            connection.execute(f"ALTER ROLE hidden_{role} RENAME TO {role}".encode())
        connection.execute("DROP ROLE tenant")


def test_roles_are_made_where_they_are_missing(tenant: str) -> None:
    """On a server of one's own the owner makes the roles, and may become each of them."""
    with psycopg.connect(tenant) as connection:
        ensure_roles(connection)
        ensure_roles(connection)
        for role in GROUP_ROLES:
            connection.execute(f"SET ROLE {role}".encode())
            connection.execute("RESET ROLE")


def test_no_role_passes_row_level_security(tenant: str, server: EmbeddedPostgres) -> None:
    """R35: not even where the owner could say so."""
    with psycopg.connect(server.superuser_dsn("postgres")) as connection:
        connection.execute("ALTER ROLE tenant BYPASSRLS")
    with psycopg.connect(tenant) as connection:
        ensure_roles(connection)
        bypass = "SELECT rolname FROM pg_roles WHERE rolbypassrls AND rolname LIKE 'rapport_%'"
        assert connection.execute(bypass).fetchall() == []


def test_roles_made_at_once_from_two_databases_are_made_once(
    tenant: str, server: EmbeddedPostgres
) -> None:
    """Roles belong to the server, the migrations' lock to a database: the slower one finds them."""
    server.create_database("other")
    dsns = [tenant, make_conninfo(tenant, dbname="other")]
    start = threading.Barrier(2)
    failures: list[BaseException] = []

    def run(dsn: str) -> None:
        try:
            with psycopg.connect(dsn) as connection:
                start.wait()
                ensure_roles(connection)
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(dsn,)) for dsn in dsns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.drop_database("other")
    assert failures == []
