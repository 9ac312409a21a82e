"""Processes that use an embedded PostgreSQL, to be killed, interrupted and asked questions."""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import psutil

from infra import postmaster
from infra.postmaster import Place, Postmaster, find_postmaster

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, resource, signal, sys
from pathlib import Path
import psycopg
from infra.postgres import EmbeddedPostgres, PostgresError

limit = int(os.environ.get("LIMIT_FILE_SIZE", "0"))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with EmbeddedPostgres(Path(sys.argv[1]), progress=lambda said: print(said, flush=True)) as pg:
        print("up", flush=True)
        for line in sys.stdin:
            with psycopg.connect(pg.dsn("app")) as connection:
                print("answer", *connection.execute("SELECT current_user").fetchone(), flush=True)
    print("left", flush=True)
except PostgresError as error:
    print(error.code, str(error).replace(chr(10), " "), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class User:
    """A process of its own, in a process group of its own, that uses the server of a home."""

    def __init__(
        self,
        home: Path,
        *,
        account: int | None = None,
        python: str = sys.executable,
        limit_file_size: int = 0,
    ) -> None:
        self.process = subprocess.Popen(
            [python, "-W", "error", "-c", SCRIPT, str(home)],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": ":".join([str(ROOT), *filter(None, sys.path)]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LIMIT_FILE_SIZE": str(limit_file_size),
            },
            user=account,
            group=None if account is None else pwd.getpwuid(account).pw_gid,
            extra_groups=None if account is None else [],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.heard: list[str] = []

    def hear(self, word: str) -> str:
        """The next line that begins with the word; all lines before it are in `heard`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(line.rstrip())
            if line.startswith(word):
                return self.heard[-1]
        raise AssertionError(f"never said {word!r}, but: {self.heard}")

    def up(self) -> Self:
        self.hear("up")
        return self

    def ask(self) -> str:
        """Who the application role is, to the server."""
        assert self.process.stdin is not None
        self.process.stdin.write("who\n")
        self.process.stdin.flush()
        return self.hear("answer").removeprefix("answer ")

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.hear("left")
        self.close()

    def interrupt(self) -> None:
        """Ctrl-C in its terminal: SIGINT to its whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.hear("interrupted")
        self.close()

    def fail(self, code: str) -> None:
        """It must not get a server, for this reason."""
        self.hear(code)
        self.close()

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()


T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """What `look` finds, as soon as it finds something true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"waited {seconds} s for {what}")


def server_of(home: Path) -> Postmaster:
    found = find_postmaster(Place(home).data)
    assert found is not None, "no server is running"
    return found


def stopped(home: Path) -> bool:
    return find_postmaster(Place(home).data) is None


def watchdogs(home: Path) -> Sequence[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[-2:] == [postmaster.__file__, str(home)]
    ]


def kill_watchdog(home: Path) -> None:
    for process in watchdogs(home):
        process.kill()
    wait_for(lambda: not Place(home).watched(), "the end of the watchdog")


def crash(home: Path) -> None:
    """As if the power failed: server and watchdog end at once, nothing is cleaned up."""
    kill_watchdog(home)
    server = server_of(home)
    backends = psutil.Process(server.pid).children(recursive=True)
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: not server.alive, "the end of the server")
    wait_for(lambda: not any(map(alive, backends)), "the end of the server's children")


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
