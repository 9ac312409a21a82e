"""How the product gets its database: an embedded PostgreSQL of its own, or one named by a URL.

The embedded one is PostgreSQL's own programs (from a wheel, or any folder of them) under a small
supervisor: `infra/cluster.py` makes and starts it, `infra/postmaster.py` knows who uses it and
stops it. Why so: docs/decisions/0002-embedded-postgresql.md.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra import postmaster
from infra.cluster import (
    OLDEST_MAJOR,
    SUPERUSER,
    Binaries,
    BinariesMissing,
    Cluster,
    DiskFull,
    Endpoint,
    HomeUnusable,
    PasswordsUnusable,
    PostgresError,
    StartFailed,
    Unreachable,
    VersionMismatch,
    make_home,
    plain_errors,
    write_file,
)
from infra.postmaster import Place, Progress, Waiting, find_postmaster, quiet
from infra.settings import PREFIX, Settings

__all__ = [
    "ROLES",
    "Binaries",
    "BinariesMissing",
    "Database",
    "DiskFull",
    "EmbeddedPostgres",
    "HomeUnusable",
    "PasswordsUnusable",
    "PostgresError",
    "Role",
    "StartFailed",
    "Unreachable",
    "VersionMismatch",
    "open_database",
]

Role = Literal["owner", "app", "views", "import", "read"]
ROLES: tuple[Role, ...] = get_args(Role)
DATABASE = "rapport"


@dataclass(frozen=True, slots=True)
class Database:
    """How to reach one database, per role."""

    embedded: bool
    description: str
    _dsns: Mapping[Role, str] = field(repr=False)  # hold passwords

    def dsn(self, role: Role) -> str:
        """The libpq connection string of a role. It holds a password."""
        return self._dsns[role]


@contextmanager
def open_database(settings: Settings, progress: Progress | None = None) -> Iterator[Database]:
    """The database the settings name: the embedded one, or the one behind `RAPPORT_DATABASE_URL`.

    Raises a `PostgresError` that says what to do.
    """
    if settings.database_url is not None:
        yield _external(settings)
        return
    binaries = Binaries(settings.postgres_bin) if settings.postgres_bin else None
    with EmbeddedPostgres(settings.home, binaries=binaries, progress=progress) as database:
        yield database


class EmbeddedPostgres:
    """One use of the PostgreSQL under `home`: started by whoever comes first, stopped by whoever
    leaves last.

    Raises a `PostgresError` that says what to do.
    """

    def __init__(
        self,
        home: Path,
        *,
        binaries: Binaries | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._place = Place(home.expanduser().absolute())
        self._binaries = binaries
        self._progress = progress or quiet
        self._user: int | None = None
        self._server: _Server | None = None

    def __enter__(self) -> Database:
        try:
            with plain_errors(self._place.home):
                make_home(self._place.home)
                self._place.prepare()
                with self._place.exclusive(self._progress):
                    self._user = self._place.join()
                    self._server = self._open()
            return self._server.database(DATABASE)
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _open(self) -> "_Server":
        passwords = _load_passwords(self._place)
        cluster = Cluster.at(self._place, self._binaries, self._progress)
        cluster.make(passwords[SUPERUSER])
        if not self._place.watched():
            # Returns at once: the watchdog detaches itself.
            subprocess.run(
                [sys.executable, "-P", postmaster.__file__, str(self._place.home)],
                check=True,
                cwd="/",
                # It lives long, and what else is in there (RAPPORT_TOKEN …) is not for it.
                env={name: v for name, v in os.environ.items() if not name.startswith(PREFIX)},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        server = _Server(cluster.run(), cluster.major, passwords)
        with server.enter(cluster) as connection:
            server.make_roles(connection)
            server.make_database(connection, DATABASE, "template1")
        return server

    def _leave(self) -> None:
        self._server = None
        if self._user is not None:
            os.close(self._user)
            self._user = None
            self._place.stop_if_unused(self._progress)

    @property
    def _running(self) -> "_Server":
        if self._server is None:
            raise Unreachable("The embedded database is used outside its `with` block.")
        return self._server

    def create_database(self, name: str, *, template: str = "template1") -> Database:
        """Another database of the owner role: a copy of `template`, which nobody may be using."""
        with self._running.connect() as connection:
            self._running.make_database(connection, name, template)
        return self._running.database(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, and whoever is connected to it."""
        with self._running.connect() as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))

    def superuser_dsn(self, database: str = DATABASE) -> str:
        """The connection string of the cluster's superuser: for upkeep, and for hostile tests."""
        return self._running.dsn(SUPERUSER, database)


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that answers, and the passwords to it."""

    endpoint: Endpoint
    major: int
    passwords: Mapping[str, str] = field(repr=False)

    def dsn(self, user: str, database: str) -> str:
        return make_conninfo(
            host=self.endpoint.host,
            port=self.endpoint.port,
            user=user,
            password=self.passwords[user],
            dbname=database,
            # The wheel speaks no TLS, and needs none: nothing leaves this machine.
            sslmode="disable",
            gssencmode="disable",
        )

    def database(self, name: str) -> Database:
        return Database(
            embedded=True,
            description=f"embedded PostgreSQL {self.major} at {self.endpoint.host}:"
            f"{self.endpoint.port}, database {name}",
            _dsns={role: self.dsn(f"rapport_{role}", name) for role in ROLES},
        )

    def connect(self) -> psycopg.Connection:
        """A connection of the superuser, each statement its own transaction."""
        return psycopg.connect(self.dsn(SUPERUSER, "postgres"), autocommit=True)

    def enter(self, cluster: Cluster) -> psycopg.Connection:
        """The first connection; waits for a server that is still getting up."""
        waiting = Waiting("The database is starting up", cluster.progress)
        while True:
            try:
                return self.connect()
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    raise PasswordsUnusable(
                        f"passwords.json in {cluster.place.home} is not that of the data beside "
                        "it. Restore both from the same backup."
                    ) from None
                passing = any(words in str(error) for words in _NOT_YET)
                if not passing or find_postmaster(cluster.place.data) is None:
                    raise Unreachable(f"The embedded database: {error}") from None
                waiting.step()

    def make_roles(self, connection: psycopg.Connection) -> None:
        """The product's login roles, those that are missing.

        Passwords travel as SCRAM verifiers, so the server never sees one. Errors of these roles
        stay out of the server's log, because their text repeats rejected values.
        """
        found = connection.execute("SELECT rolname FROM pg_roles").fetchall()
        missing = [role for role in ROLES if (f"rapport_{role}",) not in found]
        with connection.transaction():
            for role in missing:
                name = f"rapport_{role}"
                verifier = connection.pgconn.encrypt_password(
                    self.passwords[name].encode(), name.encode(), b"scram-sha-256"
                )
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER {} PASSWORD {}").format(
                        sql.Identifier(name),
                        sql.SQL(_ATTRIBUTES.get(role, "")),
                        sql.Literal(verifier.decode()),
                    )
                )
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET log_min_messages = 'log'").format(
                        sql.Identifier(name)
                    )
                )

    def make_database(self, connection: psycopg.Connection, name: str, template: str) -> None:
        """A database of the owner role, unless there is one of that name."""
        query = "SELECT FROM pg_database WHERE datname = %s"
        if connection.execute(query, (name,)).rowcount == 0:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER rapport_owner TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )


# What libpq says of a server that is there but takes no connections yet, or none just now.
_NOT_YET = (
    "starting up",
    "in recovery mode",
    "not yet accepting",
    "shutting down",
    "too many clients",
)

_ATTRIBUTES: Mapping[Role, str] = {"owner": "CREATEROLE"}


def _load_passwords(place: Place) -> dict[str, str]:
    """The passwords of all roles, made on first use: `passwords.json`, for us alone."""
    path = place.home / "passwords.json"
    names = [SUPERUSER, *(f"rapport_{role}" for role in ROLES)]
    try:
        if path.stat().st_mode & 0o077:
            raise PasswordsUnusable(f"{path} can be read by others. Run: chmod 600 {path}")
        loaded = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(loaded[name]) for name in names}
    except FileNotFoundError:
        if place.data.exists():
            raise PasswordsUnusable(
                f"{path} is gone, and with it the way into {place.data}. Restore it from a backup."
            ) from None
    except (ValueError, KeyError, TypeError):
        raise PasswordsUnusable(f"{path} is damaged. Restore it from a backup.") from None
    made = {name: secrets.token_urlsafe(32) for name in names}
    write_file(path, json.dumps(made, indent=1), 0o600)
    return made


def _external(settings: Settings) -> Database:
    given = {
        "owner": settings.database_url,
        "app": settings.database_url_app,
        "views": settings.database_url_views,
        "import": settings.database_url_import,
        "read": settings.database_url_read,
    }
    dsns: dict[Role, str] = {}
    try:
        owner = settings.database_url.get_secret_value() if settings.database_url else ""
        for role in ROLES:
            url = given[role]
            if url is not None:
                dsns[role] = make_conninfo(url.get_secret_value())
            else:
                dsns[role] = _as_role(owner, f"rapport_{role}")
        # The rest of a password that holds an @ is taken for the host, and would be told with it.
        hosts = [str(conninfo_to_dict(dsn).get("host", "")) for dsn in dsns.values()]
        misread = any("@" in host[1:] for host in hosts)  # it may begin with one: a socket's name
    except psycopg.ProgrammingError:
        # libpq's message may quote the URL, password and all.
        misread = True
    if misread:
        raise Unreachable(
            "RAPPORT_DATABASE_URL (or that of a role) is no valid URL. In a password write @ as "
            "%40, : as %3A, / as %2F."
        )
    try:
        with psycopg.connect(dsns["owner"]) as connection:
            info = connection.info
            major = info.server_version // 10000
            encoding = info.parameter_status("server_encoding")
            name = f"PostgreSQL {major} at {info.host}:{info.port}, database {info.dbname}"
    except psycopg.OperationalError as error:
        raise Unreachable(f"RAPPORT_DATABASE_URL: {error}") from None
    if major < OLDEST_MAJOR:
        raise VersionMismatch(f"{name} is too old: {OLDEST_MAJOR} or newer is needed.")
    if encoding != "UTF8":
        raise Unreachable(f"{name} stores text as {encoding}; a database in UTF8 is needed.")
    return Database(embedded=False, description=name, _dsns=dsns)


def _as_role(url: str, role: str) -> str:
    options = conninfo_to_dict(url).get("options")
    return make_conninfo(url, options=f"{options or ''} -c role={role}".strip())
