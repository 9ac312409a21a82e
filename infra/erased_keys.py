"""Which keys were destroyed for good, remembered outside PostgreSQL and outside the keyring.

The log says it, under a key of the keyring. But where both are restored from before an erasure,
neither knows of it any more. This file stands beside the acknowledged heads, goes where they go,
and is heard before anything is served. It holds ids of keys, which are random.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from infra.acknowledged import AcknowledgedHeadBroken
from infra.cluster import write_file


class ErasedKeys:
    """One clinic's file `<clinic>.erased`: a line for each key, in order."""

    def __init__(self, directory: Path, clinic: UUID) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / f"{clinic}.erased"

    def read(self) -> frozenset[UUID]:
        """Every key that is remembered; raises AcknowledgedHeadBroken for what is no such file."""
        try:
            text = self._path.read_text(encoding="ascii")
            keys = frozenset(map(UUID, text.split()))
        except FileNotFoundError:
            return frozenset()
        except ValueError:
            raise AcknowledgedHeadBroken(self._path.name) from None
        if text != _written(keys):
            raise AcknowledgedHeadBroken(self._path.name)
        return keys

    def add(self, keys: Iterable[UUID]) -> None:
        """Remembers these too; on disk before it returns."""
        with self._alone():
            known = self.read()
            together = known.union(keys)
            if together != known:
                write_file(self._path, _written(together), 0o600)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; the kernel lets go of the lock if the process dies."""
        handle = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _written(keys: Iterable[UUID]) -> str:
    return "".join(f"{key}\n" for key in sorted(keys))
