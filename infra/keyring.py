"""The keyring: data keys with a life of their own, apart from the database.

Losing a key is losing what it sealed, and destroying a key *is* the erasure of what it sealed; so
three answers are kept apart everywhere: the key, `None` (destroyed on purpose) and `KeyUnknown`
(never in this ring: a lost or old keyring, which must not pass for an erasure).

Here is the interface, and the version for one host: one SQLite file, several processes and
threads. Its format and its handling are written down in docs/formats/keyring.md. The version for
several hosts is `infra/keyring_shared.py`; which one is meant, `infra/keyrings.py` knows.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from infra.keyring_errors import KeyDestroyed, KeyringError, KeyUnknown
from infra.master_key import (
    MASTER_FILE,
    MasterFile,
    MasterKey,
    make_private,
    refuse_open_to_others,
    settle,
)
from infra.ring_file import RingFile, connect, told
from infra.wrapped_keyring import REFRESH_SECONDS, Keyring, WrappedKeyring, system_clock

__all__ = [
    "MASTER_FILE",
    "REFRESH_SECONDS",
    "RING_FILE",
    "FileKeyring",
    "KeyDestroyed",
    "KeyUnknown",
    "Keyring",
    "KeyringError",
    "WrappedKeyring",
    "open_keyring",
]

RING_FILE: Final = "keyring.db"


class FileKeyring(WrappedKeyring):
    """A keyring in one SQLite file, for the processes of one host. `open_keyring` opens it."""

    def __init__(
        self, path: Path, master: MasterKey, *, clock: Callable[[], datetime] = system_clock
    ) -> None:
        """Opens the ring at `path`; raises `KeyringError` if it is none of this master key."""
        super().__init__(master, clock)
        self.place = str(path.parent)
        self._path = path
        with told():
            if not path.exists():
                raise KeyringError("ring_missing")
            refuse_open_to_others(path)
            self._inode = path.stat().st_ino
            self._db = connect(path)
        self._open()

    def _begin(self, *, write: bool) -> None:
        self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def _commit(self) -> None:
        self._db.execute("COMMIT")

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _execute(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        # All at once: a half-read answer would hold the file's lock until it is collected.
        return self._db.execute(statement, values).fetchall()

    def _execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        return self._db.executemany(statement, rows).rowcount

    def _told(self) -> AbstractContextManager[None]:
        return told()

    def _require_place(self) -> None:
        # A key written to a file that was moved away is a key lost with the process.
        try:
            if self._path.stat().st_ino == self._inode:
                return
        except OSError:
            pass
        raise KeyringError("replaced")

    def _check_whole(self) -> None:
        if self._execute("PRAGMA integrity_check") != [("ok",)]:
            raise KeyringError("damaged")

    def _scrub(self) -> None:
        """SQLite did it: `secure_delete` writes zeros over what it lets go of."""

    def _let_go(self) -> None:
        self._db.close()


def open_keyring(
    directory: Path,
    *,
    master: MasterKey | None = None,
    new_ring: bool = False,
    first_use: bool = True,
    clock: Callable[[], datetime] = system_clock,
) -> FileKeyring:
    """Opens the ring in `directory` under master.key there, making all three on first use.

    `master`: where the master key comes from instead. Where there are entries already it is not
    the first use: without `first_use` nothing is made, and a directory that holds no keyring is
    refused. Never makes half of it anew: a keyring without its master key and a master key without
    its keyring are refused, since going on would bury that keys were lost. `new_ring` makes an
    empty ring beside an existing master key, to restore a backup into.
    """
    ring, master = RingFile(directory / RING_FILE), master or MasterFile(directory)
    with told():
        if first_use or new_ring or directory.exists():
            make_private(directory)
        settle(master, ring, new_ring=new_ring, first_use=first_use)
    return FileKeyring(ring.path, master, clock=clock)
