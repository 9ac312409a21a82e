"""A clinic to measure in: opened as the product opens it, in a home that is thrown away afterwards.

`RAPPORT_POSTGRES_BIN` chooses the PostgreSQL, as for the product; left out, it is the wheel's.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import psutil
import psycopg

from api.composition import Service, issue_token, open_service
from benchmarks.harness import ROOT, Measured
from domain.access import Role
from domain.records import Receipt, Records
from infra.postgres import EmbeddedPostgres
from infra.settings import PREFIX, Settings

_LOOK_SECONDS = 0.25
"""Between two looks at a command's memory: each goes through all its pages, and holds it up."""


class Unsound(AssertionError):
    """A benchmark's load lost, doubled or broke something: its figures count for nothing."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A command's answer, and what it took: seconds, CPU seconds, and the most memory (MB) that it
    and its child processes held at once, what they share counted once."""

    answer: Any
    seconds: float
    cpu_seconds: float
    megabytes: float

    def measured(self, operations: int) -> Measured:
        """As so many operations."""
        memory = {"memory_mb": self.megabytes}
        return Measured(operations, self.seconds, (), self.cpu_seconds, memory)


def _megabytes(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        return sum(_held(one) for one in (process, *process.children(recursive=True))) / 2**20
    except psutil.Error:
        return 0.0  # it ended just now


def _held(process: psutil.Process) -> int:
    found = process.memory_full_info()
    return int(getattr(found, "pss", found.rss))  # only Linux tells the first


@dataclass(frozen=True)
class Place:
    """One clinic on a PostgreSQL of its own, durable as delivered."""

    service: Service
    postgres: EmbeddedPostgres
    version: str
    _postmaster: psutil.Process
    acknowledged: list[int] = field(default_factory=list)
    """Positions that receipts named, in whatever order they came."""

    @property
    def records(self) -> Records:
        return self.service.records

    @property
    def home(self) -> Path:
        return self.service.settings.home

    def dsn(self) -> str:
        """Of the owner role: what the other contenders work as."""
        return self.service.database.dsn("owner")

    def cpu_seconds(self) -> float:
        """Of all processes of this PostgreSQL, so far."""
        own = self._postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for backend in self._postmaster.children():
            try:
                its = backend.cpu_times()
                total += its.user + its.system
            except psutil.NoSuchProcess:
                continue  # it ended since; its parent's times hold it next time
        return float(total)

    def note(self, receipt: Receipt) -> Receipt:
        """Remembers what was acknowledged, for `require_sound`. Safe from any thread."""
        self.acknowledged.extend(entry.position for entry in receipt.entries)
        return receipt

    def environment(self) -> Mapping[str, str]:
        """What a process of the product needs to work in this place."""
        mine = {"RAPPORT_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        # Compiled modules stay, as they do wherever the product is installed.
        without = (PREFIX, "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(without)}
        binaries = self.service.settings.postgres_bin
        return kept | mine | ({"RAPPORT_POSTGRES_BIN": str(binaries)} if binaries else {})

    def command(self, *arguments: str) -> Any:
        """`rapport …` in this place, as a process of its own: its answer in JSON."""
        return self.watched(*arguments).answer

    def watched(self, *arguments: str) -> "Watched":
        """The same, and what it took."""
        began, peak = time.perf_counter(), 0.0
        with (
            tempfile.TemporaryFile("w+") as said,
            tempfile.TemporaryFile("w+") as failed,
            subprocess.Popen(
                [*RAPPORT, *arguments, "--format", "json"],
                env=dict(self.environment()), text=True, stdout=said, stderr=failed,
            ) as process,
        ):  # fmt: skip
            looked = -_LOOK_SECONDS
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                if time.perf_counter() > looked + _LOOK_SECONDS:
                    peak, looked = max(peak, _megabytes(process.pid)), time.perf_counter()
                time.sleep(0.01)
            process.returncode = os.waitstatus_to_exitcode(ended[1])
            took, usage = time.perf_counter() - began, ended[2]
            said.seek(0)
            failed.seek(0)
            if process.returncode:
                raise Unsound(f"rapport {arguments[0]}: {failed.read()[-2000:]}")
            answer = json.loads(said.read())
        return Watched(answer, took, usage.ru_utime + usage.ru_stime, peak)

    def require_sound(self) -> None:
        """Gapless, nothing lost, nothing doubled, and `rapport verify` finds nothing."""
        size = self.service.log.head_size()
        with psycopg.connect(self.dsn()) as conn:
            row = conn.execute(
                "SELECT count(*), coalesce(min(position), 1), coalesce(max(position), 0), "
                "count(DISTINCT (stream, version)) "
                "FROM rapport.entries WHERE clinic = %s",
                (self.service.clinic,),
            ).fetchone()
        if row != (size, 1, size, size):
            raise Unsound(f"the log of {size} entries holds (count, first, last, places) {row}")
        acknowledged = set(self.acknowledged)
        if len(acknowledged) < len(self.acknowledged):
            raise Unsound("a position was acknowledged twice")
        if acknowledged and max(acknowledged) > size:
            raise Unsound("a position was acknowledged that is not in the log")
        verified = self.command("verify")
        if verified["size"] < size:
            raise Unsound(f"verified {verified['size']} of {size}")

    def token(self, person: UUID, role: Role) -> str:
        """A bearer token for a year."""
        expires = datetime.now(UTC) + timedelta(days=365)
        return issue_token(self.service, person, role, "care", expires, "Works here.")

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`rapport …` as it stays, until the block ends."""
        with subprocess.Popen(
            [*RAPPORT, *arguments], env=dict(self.environment()), text=True,
            stdout=subprocess.PIPE, stderr=(self.home / "said.txt").open("a"),
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.terminate()
                process.communicate(timeout=30)

    @contextmanager
    def serving(self, *options: str) -> Iterator[tuple[int, psutil.Process]]:
        """`rapport serve`: its port, and its process."""
        with self.process("serve", "--port", "0", *options) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://[^:]+:(\d+)", line):
                    yield int(found[1]), psutil.Process(process.pid)
                    return
            raise Unsound(f"rapport serve did not start: {(self.home / 'said.txt').read_text()}")


RAPPORT = (sys.executable, "-m", "api.cli")


@contextmanager
def place() -> Iterator[Place]:
    """A new clinic in a folder of its own; both are gone afterwards."""
    with ExitStack() as opened:
        opened.enter_context(_ended_in_order())
        folder = Path(
            opened.enter_context(
                tempfile.TemporaryDirectory(prefix="rapport-bench-", ignore_cleanup_errors=True)
            )
        )
        folder.chmod(0o755)  # PostgreSQL may run as somebody else
        settings = Settings(home=folder / "home", database_url=None)
        service = opened.enter_context(open_service(settings))
        postgres = EmbeddedPostgres(settings.home)
        with psycopg.connect(service.database.dsn("owner")) as conn:
            version = conn.info.parameter_status("server_version") or "unknown"
        pid = (settings.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
        yield Place(service, postgres, version.split()[0], psutil.Process(int(pid)))


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Also whoever ends a benchmark by a signal leaves nothing behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(signal_: int, _: FrameType | None) -> None:
        raise SystemExit(128 + signal_)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
