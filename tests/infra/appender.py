"""A process that appends to a log, to be run beside others and to be killed.

`Appender` is the test's end of it; run as a program, this file is the other end: it reads its task
from standard input and writes one line for each receipt, as soon as it has it.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from domain.records import Author, Proposal, Receipt
from infra.event_store import ClinicLog
from tests.infra.logs import clock_from, open_log, read

ROOT = Path(__file__).parents[2]
NOBODY = Author(UUID(int=0))


class Appender:
    """Appends in `threads` threads until it has sent all `commands`, or, without any, is killed.

    Every other command goes to a stream of its own, the others to the stream of `shared`.
    """

    def __init__(
        self,
        conninfo: str,
        clinic: UUID,
        home: Path,
        now: datetime,
        *,
        shared: UUID,
        threads: int,
        commands: Sequence[tuple[UUID, UUID]] = (),
    ) -> None:
        """`commands`: (command id, what is read), each sent by every thread."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.infra.appender"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        task = {
            "conninfo": conninfo,
            "clinic": str(clinic),
            "home": str(home),
            "now": now.isoformat(),
            "shared": str(shared),
            "threads": threads,
            "commands": [[str(id_), str(about)] for id_, about in commands],
        }
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.close()

    def receipts(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The receipts it was given, up to `limit`, or until it ends."""
        assert self.process.stdout is not None
        for number in count(1):
            line = self.process.stdout.readline()
            if not line.endswith("\n"):
                return
            yield json.loads(line)
            if number == limit:
                return

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed, nothing is closed."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(timeout=60)


def _tell(receipt: Receipt) -> None:
    (entry,) = receipt.entries
    line = {
        "command": str(receipt.command_id),
        "position": entry.position,
        "leaf_hash": entry.leaf_hash,
        "tree_size": receipt.tree_size,
        "root": receipt.root,
    }
    # One write of less than a pipe takes at once: lines of threads never mix.
    os.write(sys.stdout.fileno(), f"{json.dumps(line)}\n".encode())


def _append(log: ClinicLog, task: dict[str, Any]) -> None:
    for number in count():
        about = UUID(task["shared"]) if number % 2 else uuid4()
        _send(log, Proposal(read(about), Author(uuid4())))
        if task["commands"]:
            if number == len(task["commands"]):
                return
            id_, about = map(UUID, task["commands"][number])
            _send(log, Proposal(read(about), NOBODY, id_))


def _send(log: ClinicLog, proposal: Proposal) -> None:
    (verdict,) = log.append([proposal])
    assert isinstance(verdict, Receipt)
    _tell(verdict)


def main() -> None:
    task = json.loads(sys.stdin.readline())
    clock = clock_from(datetime.fromisoformat(task["now"]))
    failed = threading.Event()

    def append(log: ClinicLog) -> None:
        try:
            _append(log, task)
        except BaseException:
            failed.set()
            raise

    with open_log(task["conninfo"], UUID(task["clinic"]), Path(task["home"]), clock) as log:
        threads = [threading.Thread(target=append, args=(log,)) for _ in range(task["threads"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.exit(failed.is_set())


if __name__ == "__main__":
    main()
