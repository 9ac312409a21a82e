"""The last acknowledged head of each clinic's log, kept outside PostgreSQL.

A database that was rolled back, restored from an old backup or rewritten can be perfectly
consistent in itself. What was once acknowledged to somebody is remembered here, so that such a
log is noticed at the next start and nothing is appended to it.

The file is written after each commit without waiting for the disk: it survives any crash of the
process. After a crash of the machine it may be some commits behind, never ahead.
"""

import fcntl
import os
import re
from pathlib import Path
from uuid import UUID

_LINE = re.compile(rb"([0-9]{20}) ([0-9a-f]{64})\n")


class LogDiverged(Exception):
    """The log is shorter than, or different from, what was acknowledged before. Appends stop."""

    def __init__(self, clinic: UUID, acknowledged: int, found: int) -> None:
        self.clinic, self.acknowledged, self.found = clinic, acknowledged, found
        super().__init__(
            f"The log of clinic {clinic} has {found} entries, but {acknowledged} were acknowledged "
            "and their tree does not stand in it. Nothing will be appended. Most likely an older "
            "backup was restored, or the log was rewritten. Run `rapport verify`, then restore the "
            "newest backup (docs/operate/backup.md)."
        )


class AcknowledgedHead:
    """One clinic's file `<clinic>.head`: one line, `<size> <root in hex>`."""

    def __init__(self, directory: Path, clinic: UUID) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / f"{clinic}.head"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._last: tuple[bytes, tuple[int, bytes]] = b"", (0, b"")
        """The line that was written here last, and what it says."""

    def read(self) -> tuple[int, bytes] | None:
        """(size, root) of the largest head acknowledged by any process; None before the first."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            return self._read()
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def advance(self, size: int, root: bytes) -> None:
        """Remembers a head that is known durable, unless a larger one is remembered already."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            known = self._read()
            if known is None or known[0] < size:
                line = f"{size:020} {root.hex()}\n".encode()
                os.pwrite(self._file, line, 0)
                self._last = line, (size, root)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Lets go of the file; what was written stays. Repeating it is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self) -> tuple[int, bytes] | None:
        line = os.pread(self._file, 128, 0)
        if not line:
            return None
        last, known = self._last
        if line == last:  # most often nobody else wrote meanwhile
            return known
        match = _LINE.fullmatch(line)
        if match is None:
            raise AcknowledgedHeadBroken(self._path.name)
        return int(match[1]), bytes.fromhex(match[2].decode())


def remembered(directory: Path) -> dict[UUID, int]:
    """The size of every log of which something was acknowledged, by clinic."""
    sizes = {}
    for path in sorted(directory.glob("*.head")):
        head = AcknowledgedHead(directory, clinic := UUID(path.stem))
        try:
            known = head.read()
        finally:
            head.close()
        if known is not None:
            sizes[clinic] = known[0]
    return sizes


class AcknowledgedHeadBroken(Exception):
    """The file is not what this code writes; its text is the file's name."""
