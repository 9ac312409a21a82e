"""The running server process of an embedded PostgreSQL, and who is using it.

Users are counted by the kernel: each holds a shared `flock` on one file, which a `kill -9` releases
too. Whoever finds that file free stops the server: the user who leaves last, or, after a crash, the
watchdog, which is this file run as a program. It imports nothing of the product, so it stays small.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

Progress = Callable[[str], None]
Status = Literal["starting", "stopping", "ready", "standby", "unknown"]

POLL_SECONDS = 0.05
_FIRST_POLL_SECONDS = 0.002  # others are mostly done by then

TELL_EVERY_SECONDS = 2.0

WATCH_SECONDS = 1.0

FAST_SHUTDOWN_SECONDS = 60.0


def quiet(_: str) -> None:
    """The progress callback of those who do not want to hear."""


class Waiting:
    """A wait without an end of its own: sleeps in small steps, and says now and then how long."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what = what
        self._progress = progress
        self._begin = self._told = time.monotonic()
        self._pause = _FIRST_POLL_SECONDS

    def step(self) -> None:
        """Sleep once, at first hardly; tell every `TELL_EVERY_SECONDS`."""
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, POLL_SECONDS)
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_SECONDS:
            self._told = now
            self._progress(f"{self._what} … {now - self._begin:.0f} s")


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What `postmaster.pid` says of a server process that is really alive."""

    pid: int
    port: int
    socket_dir: Path | None
    status: Status

    @property
    def alive(self) -> bool:
        """Whether the process still runs; a zombie does not."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def find_postmaster(data: Path) -> Postmaster | None:
    """The server process of the data folder `data`, or None where none is alive.

    A pid alone proves nothing, because another process may have been given it since: the process
    must be a `postgres` and have the data folder as its working directory, as a postmaster does.
    """
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        # Lines: pid, data folder, start time, port, socket folder, TCP address, shared memory,
        # status. The file grows line by line while a server starts.
        lines += [""] * (8 - len(lines))
        found = Postmaster(
            pid=int(lines[0]),
            port=int(lines[3] or 0),
            socket_dir=Path(lines[4]) if lines[4] else None,
            status=_status(lines[7].strip()),
        )
        process = psutil.Process(found.pid)
        at_home = process.name().startswith("postgres") and Path(process.cwd()) == data.resolve()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return found if at_home else None


def _status(word: str) -> Status:
    match word:
        case "starting" | "stopping" | "ready" | "standby":
            return word
    return "unknown"


def stop_postmaster(data: Path, progress: Progress = quiet) -> None:
    """Stop the server of `data` by a fast shutdown, and wait until it is gone.

    A server that was told so while it recovered from a crash of its own (a full disk) may wait
    for ever. After a minute it is stopped at once: what it acknowledged is in its write-ahead log,
    and the next start recovers it.
    """
    postmaster = find_postmaster(data)
    if postmaster is None:
        return
    waiting = Waiting("The database is shutting down", progress)
    patience = time.monotonic() + FAST_SHUTDOWN_SECONDS
    stop = signal.SIGINT
    with suppress(ProcessLookupError):
        os.kill(postmaster.pid, stop)
        while postmaster.alive:
            waiting.step()
            if stop is signal.SIGINT and time.monotonic() > patience:
                stop = signal.SIGQUIT
                os.kill(postmaster.pid, stop)


@dataclass(frozen=True, slots=True)
class Place:
    """The files under one home by which its users and its server find each other."""

    home: Path

    @property
    def data(self) -> Path:
        """The data folder of PostgreSQL."""
        return self.home / "postgres" / "data"

    def prepare(self) -> None:
        """Make the files of the locks. Only here, so that a home removed stays removed."""
        for path in (self._lock, self._users, self._watchdog):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))

    @property
    def _lock(self) -> Path:
        return self.home / "postgres.lock"

    @property
    def _users(self) -> Path:
        return self.home / "postgres.users"

    @property
    def _watchdog(self) -> Path:
        return self.home / "postgres.watchdog"

    @contextmanager
    def exclusive(self, progress: Progress = quiet) -> Iterator[None]:
        """Hold the only right to start or stop the server, and to count its users; waits for it."""
        waiting = Waiting("Another process is starting or stopping the database", progress)
        with _opened(self._lock) as lock:
            while not _taken(lock):
                waiting.step()
            yield

    def join(self) -> int:
        """Be a user from now on, inside `exclusive`; leave by closing the descriptor returned."""
        descriptor = os.open(self._users, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def unused(self) -> bool:
        """Whether no living process is a user, inside `exclusive`."""
        with _opened(self._users) as users:
            return _taken(users)

    def stop_if_unused(self, progress: Progress = quiet) -> None:
        """Stop the server unless somebody uses it."""
        with self.exclusive(progress):
            if self.unused():
                stop_postmaster(self.data, progress)

    def watched(self) -> bool:
        """Whether a watchdog is at work."""
        with _opened(self._watchdog) as watchdog:
            return not _taken(watchdog)

    def watch(self) -> None:
        """Stop the server when its last user is gone, however it went. One watchdog a home.

        It ends when there was no user twice in a row: a user killed in the middle of a start
        leaves a server that has not written its pid yet.
        """
        with ExitStack() as stack:
            if not _taken(stack.enter_context(_opened(self._watchdog))):
                return
            before = False
            while True:
                time.sleep(WATCH_SECONDS)
                with self.exclusive():
                    unused = self.unused()
                    if unused:
                        stop_postmaster(self.data)
                    if unused and before:
                        stack.close()  # inside `exclusive`, or a start might think it is watched
                        return
                    before = unused


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Whether the file could be locked, for us alone, until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    # The parent of the watchdog is nobody: whoever started it neither waits for it nor reaps it.
    if os.fork() == 0:
        with suppress(FileNotFoundError):  # the home was removed
            Place(Path(sys.argv[1])).watch()
